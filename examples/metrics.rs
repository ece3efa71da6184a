//! What Prometheus sees: install a recorder, describe the metrics, and serve or print them.
//!
//! `cargo run --example metrics`
//!
//! ```text
//! # HELP anabranch_producer_messages_acked_total Messages that the broker has stored and ack...
//! # TYPE anabranch_producer_messages_acked_total counter
//! anabranch_producer_messages_acked_total 1000
//! ...
//! ```

mod common;

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before the first producer. `with_http_listener` would serve the same text at /metrics.
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_seconds".to_owned()),
            anabranch::metrics::BUCKETS,
        )?
        .install_recorder()?;
    anabranch::metrics::describe();

    let far = common::Far::start().await?;
    let producer = far.producer("events").connect().await?;
    for i in 0..1000 {
        drop(producer.send_async(format!("event {i}")).await?);
    }
    producer.close(Duration::from_secs(5)).await?;

    println!("{}", recorder.render());
    Ok(())
}
