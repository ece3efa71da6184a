//! Memory stays within the buffer; what a call does when it is full is an option.
//!
//! `cargo run --example backpressure`
//!
//! ```text
//! accepted at once: 100, returned: 900
//! accepted by waiting: 900
//! stored: events@1000
//! ```

mod common;

use std::time::Duration;

use anabranch::producer::SendErrorKind;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    // At most 100 messages, and at most 1 MiB, queued and unanswered together.
    let producer = far
        .producer("events")
        .buffer_messages(100)
        .buffer_bytes(1 << 20)
        .build()?;

    // Without waiting: a full buffer returns the message. There is no connection yet, so no message is sent.
    let mut back = Vec::new();
    for i in 0..1000 {
        match producer.try_send_async(format!("event {i}")) {
            Ok(_receipt) => {}
            Err(error) if error.kind() == SendErrorKind::Full => back.extend(error.into_message()),
            Err(error) => return Err(error.into()),
        }
    }
    println!(
        "accepted at once: {}, returned: {}",
        1000 - back.len(),
        back.len()
    );

    // Waiting for room, first come first served: the application is as fast as the broker.
    let waited = back.len();
    for message in back {
        drop(producer.send_async(message).await?);
    }
    println!("accepted by waiting: {waited}");

    producer.flush(Duration::from_secs(30)).await?;
    let last = producer.send("the last").await?;
    println!("stored: {last}");
    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}
