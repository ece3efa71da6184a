//! Every message has exactly one outcome, and an error says what is known of the message.
//!
//! `cargo run --example receipts`
//!
//! ```text
//! "small": outcomes@0
//! "large": not sent: the message is larger than max_message_bytes; it is not stored
//! "too late": no outcome within delivery_timeout; it is not stored
//! ```

mod common;

use std::time::Duration;

use anabranch::producer::Fate;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let producer = far
        .producer("outcomes")
        .max_message_bytes(1024)
        .delivery_timeout(Duration::from_millis(500))
        .connect()
        .await?;

    // A receipt may be awaited at once, later, elsewhere, or never.
    let ack = producer.send_async("small").await?.await?;
    println!("\"small\": {ack}");

    if let Err(error) = producer.send_async(vec![0; 4096]).await {
        println!("\"large\": not sent: {error}");
    }

    // With the broker gone, the deadline gives the outcome.
    far.broker.shutdown(Duration::from_secs(1)).await?;
    let receipt = producer.send_async("too late").await?;
    if let Err(error) = receipt.await {
        println!("\"too late\": {error}");
        if error.fate() == Fate::NotStored {
            // Sending it again cannot duplicate it. The error returns it.
            let _again = error.into_message();
        }
    }
    Ok(())
}
