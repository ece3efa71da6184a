//! A durable broker inside your own process.
//!
//! `cargo run --example embedded_broker`
//!
//! ```text
//! broker on 127.0.0.1:PORT, log in a folder
//! after the restart: "kept" at offset 0
//! ```

use std::{sync::Arc, time::Duration};

use anabranch::{
    Broker, Consumer, Producer,
    consumer::Start,
    store::{LogConfig, LogStore},
};

const SOON: Duration = Duration::from_secs(5);

async fn start(folder: &std::path::Path) -> anyhow::Result<Broker> {
    // Messages, dedupe windows and positions live in one log, synced to disk before each answer.
    let log = LogStore::open(folder.join("log"), LogConfig::default()).await?;
    let broker = Broker::builder()
        .listen("127.0.0.1:0".parse()?)
        // For a network, give `.tls(...)` a certificate of your own.
        .development_certificate(folder.join("certificates"))
        .store(Arc::new(log))
        .bind()
        .await?;
    Ok(broker)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let ca = folder.path().join("certificates").join("ca.pem");

    let broker = start(folder.path()).await?;
    println!("broker on {}, log in a folder", broker.local_addr());
    let producer = Producer::builder()
        .server(broker.local_addr().to_string())
        .ca_file(&ca)
        .topic("events")
        .connect()
        .await?;
    producer.send("kept").await?;
    producer.close(SOON).await?;
    broker.shutdown(SOON).await?;

    let broker = start(folder.path()).await?;
    let mut consumer = Consumer::builder()
        .server(broker.local_addr().to_string())
        .ca_file(&ca)
        .topic("events")
        .from(Start::Earliest)
        .subscribe()
        .await?;
    let received = consumer.recv().await?;
    let text = String::from_utf8_lossy(&received.record.payload).into_owned();
    println!("after the restart: {text:?} at offset {}", received.offset);
    consumer.close(SOON).await?;
    broker.shutdown(SOON).await?;
    Ok(())
}
