//! Sends a message and awaits its receipt.
//!
//! `cargo run --example hello`
//!
//! ```text
//! stored: greetings@0
//! ```

use std::{sync::Arc, time::Duration};

use anabranch::{Broker, Producer, store::MemoryStore};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A broker of our own, with a certificate made for this run.
    let folder = tempfile::tempdir()?;
    let broker = Broker::builder()
        .listen("127.0.0.1:0".parse()?)
        .development_certificate(folder.path())
        .store(Arc::new(MemoryStore::default()))
        .bind()
        .await?;

    let producer = Producer::builder()
        .server(broker.local_addr().to_string())
        .ca_file(folder.path().join("ca.pem"))
        .topic("greetings")
        .connect()
        .await?;
    // Ready once there is room for the message in the buffer.
    let receipt = producer.send_async("hello").await?;
    // Ready once the broker has stored it.
    let ack = receipt.await?;
    println!("stored: {ack}");

    producer.close(Duration::from_secs(5)).await?;
    broker.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
