//! Order within each key, over many lanes.
//!
//! `cargo run --example keyed`
//!
//! ```text
//! customer-0: 1000 events, in order
//! customer-1: 1000 events, in order
//! customer-2: 1000 events, in order
//! ```

mod common;

use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use anabranch::{Message, consumer::Start};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let four = NonZeroUsize::new(4).ok_or_else(|| anyhow::anyhow!("four lanes"))?;
    let producer = far.producer("orders").fixed_lanes(four).connect().await?;
    for event in 0..1000 {
        for customer in 0..3 {
            let message = Message::new(event.to_string()).with_key(format!("customer-{customer}"));
            drop(producer.send_async(message).await?);
        }
    }
    // The receipts were dropped. The close waits for every outcome all the same.
    producer.close(Duration::from_secs(30)).await?;

    let mut consumer = far
        .consumer("orders")
        .from(Start::Earliest)
        .subscribe()
        .await?;
    let mut next = BTreeMap::<String, u32>::new();
    for _ in 0..3000 {
        let record = consumer.recv().await?.record;
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let expected = next.entry(key).or_default();
        anyhow::ensure!(record.payload == expected.to_string(), "out of order");
        *expected += 1;
    }
    for (customer, events) in next {
        println!("{customer}: {events} events, in order");
    }
    Ok(())
}
