//! Messages in order, pipelined: the order of the calls is the order in the topic.
//!
//! `cargo run --example ordered`
//!
//! ```text
//! step 0 at offset 0
//! step 1 at offset 1
//! ...
//! step 9 at offset 9
//! ```

mod common;

use std::time::Duration;

use futures_util::future::try_join_all;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let producer = far.producer("steps").connect().await?;

    // All ten are under way at once, on one stream of their own.
    let calls = (0..10).map(|step| producer.send(format!("step {step}")));
    let acks = try_join_all(calls).await?;
    for (step, ack) in acks.iter().enumerate() {
        println!("step {step}: {ack}");
    }

    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}
