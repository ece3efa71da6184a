//! A named consumer continues where the one before it stopped.
//!
//! `cargo run --example consumer`
//!
//! ```text
//! first reader: 0 1 2 3 4
//! second reader: 5 6 7 8 9
//! ```

mod common;

use std::time::Duration;

use anabranch::consumer::Start;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let producer = far.producer("numbers").connect().await?;
    for n in 0..10 {
        producer.send(n.to_string()).await?;
    }
    producer.close(Duration::from_secs(5)).await?;

    for reader in ["first", "second"] {
        let mut consumer = far
            .consumer("numbers")
            .name("adder")
            .from(Start::Earliest)
            .subscribe()
            .await?;
        print!("{reader} reader:");
        for _ in 0..5 {
            let received = consumer.recv().await?;
            print!(" {}", String::from_utf8_lossy(&received.record.payload));
            // Everything up to here is done. The broker keeps this offset under the name.
            consumer.ack(received.offset).await?;
        }
        println!();
        consumer.close(Duration::from_secs(5)).await?;
    }
    Ok(())
}
