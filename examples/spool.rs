//! An outage that memory cannot hold: further messages go to disk, outlive the producer, and are delivered by the next one.
//!
//! `cargo run --features spool --example spool`
//!
//! ```text
//! without a broker: 488 messages are on disk, 24 are returned
//! stored: events@488, the others before it
//! ```

mod common;

use std::{path::Path, time::Duration};

use anabranch::{
    Producer,
    producer::{CloseError, spool},
};

fn spooling(builder: anabranch::producer::Builder, folder: &Path) -> anyhow::Result<Producer> {
    let mut spool = spool::Config::new(folder);
    spool.receipts = spool::Receipts::WhenSpooled;
    // At most 32 messages in memory: 24 that wait for an answer, 8 on their way to disk.
    Ok(builder
        .buffer_messages(32)
        .buffer_bytes(1 << 20)
        .spool(spool)
        .build()?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;

    // No broker listens there. The first messages stay in memory. The receipts of the others resolve when they are on disk.
    let nowhere = Producer::builder().server("127.0.0.1:9").topic("events");
    let producer = spooling(nowhere, folder.path())?;
    for n in 0..512 {
        drop(producer.send_async(n.to_string()).await?);
    }
    let Err(CloseError {
        undelivered,
        spooled,
        ..
    }) = producer.close(Duration::ZERO).await
    else {
        anyhow::bail!("there is no broker to deliver to");
    };
    println!(
        "without a broker: {spooled} messages are on disk, {} are returned",
        undelivered.len()
    );

    // The next producer of the folder, in this process or another, delivers them before anything of its own.
    let far = common::Far::start().await?;
    let producer = spooling(far.producer("events"), folder.path())?;
    let mut state = producer.watch_spool_state().expect("it has one");
    state
        .wait_for(|state| state.phase == spool::Phase::Memory)
        .await?;
    let after = producer.send("after").await?;
    println!("stored: {after}, the others before it");
    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}
