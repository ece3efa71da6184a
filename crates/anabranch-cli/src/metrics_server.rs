//! Metrics over HTTP, in the format of Prometheus.

use std::net::SocketAddr;

use anabranch::metrics;
use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// Serves the metrics of this process at `http://address/metrics`.
pub(crate) fn start(address: SocketAddr) -> anyhow::Result<()> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), metrics::BUCKETS)
        .map(|builder| builder.with_http_listener(address))
        .and_then(PrometheusBuilder::install)
        .with_context(|| format!("cannot serve metrics at {address}"))?;
    metrics::describe();
    Ok(())
}
