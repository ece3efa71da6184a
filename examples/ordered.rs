//! Messages in order, pipelined: the order of the stream is the order in the topic.
//!
//! `cargo run --example ordered`
//!
//! ```text
//! step 0: steps@0
//! step 1: steps@1
//! ...
//! step 9: steps@9
//! ```

mod common;

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let producer = far.producer("steps").connect().await?;

    // Up to 100 messages are on their way at once, on one QUIC stream.
    let sends = stream::iter(0..10).map(|step| producer.send(format!("step {step}")));
    let acks: Vec<_> = sends.buffered(100).try_collect().await?;
    for (step, ack) in acks.iter().enumerate() {
        println!("step {step}: {ack}");
    }

    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}
