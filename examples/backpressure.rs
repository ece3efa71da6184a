//! Memory stays within the budget: what happens at its edge is yours to choose.
//!
//! `cargo run --example backpressure`
//!
//! ```text
//! accepted at once: 100, handed back: 900
//! accepted by waiting: 900
//! stored: 1000
//! ```

mod common;

use std::time::Duration;

use anabranch::producer::SendErrorKind;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    // At most 100 messages queued and unanswered together, and at most 1 MiB.
    let producer = far
        .producer("events")
        .buffer_messages(100)
        .buffer_bytes(1 << 20)
        .build()?;

    // Never wait: a full buffer hands the message back. Nothing is connected yet, so nothing leaves.
    let mut back = Vec::new();
    for i in 0..1000 {
        match producer.try_send_async(format!("event {i}")) {
            Ok(_receipt) => {}
            Err(error) if error.kind() == SendErrorKind::Full => back.extend(error.into_message()),
            Err(error) => return Err(error.into()),
        }
    }
    println!(
        "accepted at once: {}, handed back: {}",
        1000 - back.len(),
        back.len()
    );

    // Wait for room, first come first served: the sender goes as fast as the broker.
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
