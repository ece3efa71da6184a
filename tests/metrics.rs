//! What is recorded is described, and what is described is recorded.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anabranch::{
    Producer, TopicName,
    broker::{Broker, Config, Retention},
    conn::{ClientTls, Trust},
    consumer::{Consumer, Start},
    metrics::{ALL, Kind, Metric},
    store::{MemoryStore, Store},
};
use metrics_util::{MetricKind, debugging::DebuggingRecorder};

const LONG: Duration = Duration::from_secs(20);

#[path = "common/mod.rs"]
#[allow(unreachable_pub, reason = "a test program has no public names")]
mod common;

fn config(listen: std::net::SocketAddr) -> Config {
    let mut retention = Retention::default();
    retention.max_bytes = Some(1000);
    retention.keep_unread = false;
    retention.every = Duration::from_millis(10);
    let mut config = Config::default();
    config.listen = listen;
    config.retention = retention;
    config
}

/// Makes everything happen once that a metric counts, except what is rare.
async fn everything() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let start = |listen| {
        Broker::builder()
            .config(config(listen))
            .development_certificate(folder.path())
            .store(Arc::clone(&store))
            .bind()
    };
    let tls = ClientTls::trusting(Trust::CaFile(folder.path().join("ca.pem")));
    let broker = start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = broker.local_addr();
    let producer = || {
        Producer::builder()
            .server(address.to_string())
            .tls(tls.clone())
            .topic("t")
    };

    let first = producer().name("one").connect().await.unwrap();
    first.send_async("a").await.unwrap().await.unwrap();
    first.try_send_async(vec![0; 64 << 20]).unwrap_err();
    let mut consumer = Consumer::builder()
        .server(address.to_string())
        .tls(tls.clone())
        .topic("t")
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    consumer.recv().await.unwrap();

    // The second producer of the name fences the first.
    let second = producer().name("one").connect().await.unwrap();
    first.send("fenced").await.unwrap_err();
    drop(first);

    // Retention drops messages before a reader gets to them.
    for _ in 0..20 {
        second.send(vec![0; 500]).await.unwrap();
    }
    let topic = TopicName::new("t").unwrap();
    while store.topic(&topic).await.unwrap().unwrap().first.0 == 0 {
        tokio::task::yield_now().await;
    }
    let mut late = Consumer::builder()
        .server(address.to_string())
        .tls(tls.clone())
        .topic("t")
        .from(Start::Offset(anabranch::Offset(0)))
        .subscribe()
        .await
        .unwrap();
    assert!(late.recv().await.unwrap().skipped > 0);
    drop((consumer, late));
    broker.shutdown(LONG).await.unwrap();
    // More than lanes hold.
    let mut waiting = Vec::new();
    for _ in 0..2000 {
        waiting.push(second.send_async(vec![0; 4096]).await.unwrap());
    }
    drop(second);
    for receipt in waiting {
        receipt.await.unwrap_err();
    }
    #[cfg(feature = "spool")]
    spooled(producer(), folder.path(), address).await;
}

/// Sends messages to a spool, and then starts a broker that receives them.
#[cfg(feature = "spool")]
async fn spooled(
    producer: anabranch::producer::Builder,
    folder: &std::path::Path,
    address: std::net::SocketAddr,
) {
    use anabranch::producer::spool;

    let spooling = spool::Config::new(folder.join("spool"));
    let producer = producer
        .buffer_messages(8)
        .buffer_bytes(1 << 20)
        .spool(spooling)
        .build()
        .unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| common::begun(producer.send("to disk")))
        .collect();
    let mut state = producer.watch_spool_state().unwrap();
    state.wait_for(|state| state.messages > 0).await.unwrap();
    let broker = Broker::builder()
        .config(config(address))
        .development_certificate(folder)
        .store(Arc::new(MemoryStore::default()))
        .bind()
        .await
        .unwrap();
    for call in calls {
        call.await.unwrap();
    }
    let over = |state: &spool::State| state.phase == spool::Phase::Memory;
    state.wait_for(over).await.unwrap();
    producer.close(LONG).await.unwrap();
    broker.shutdown(LONG).await.unwrap();
}

/// The line of `docs/metrics.md` about a metric.
fn row(metric: &Metric) -> String {
    let kind = format!("{:?}", metric.kind).to_lowercase();
    let unit = metric.unit.as_str();
    let labels = match metric.labels {
        [] => "–".to_owned(),
        labels => labels.join(", "),
    };
    let Metric { name, help, .. } = metric;
    format!("| `{name}` | {kind} | {unit} | {labels} | {help} |")
}

#[test]
fn the_page_of_metrics_has_a_row_for_each_and_no_other() {
    let page = include_str!("../docs/metrics.md");
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `anabranch_"))
        .collect();
    let expected: Vec<_> = ALL.iter().map(row).collect();
    assert!(
        rows == expected,
        "the table of docs/metrics.md should be:\n{}",
        expected.join("\n")
    );
}

/// Prometheus shows a help text without its neighbours, so it may not point at them.
#[test]
fn every_help_text_is_a_sentence_that_can_be_read_alone() {
    for Metric { name, help, .. } in ALL {
        let starts = ["Their ", "Its ", "The same", "Of these", "As "];
        assert!(help.ends_with('.'), "{name}: {help}");
        assert!(help.len() > 30, "{name}: {help}");
        assert!(
            !starts.iter().any(|start| help.starts_with(start)),
            "{name}: {help}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_recorded_is_described_and_what_is_described_is_recorded() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    anabranch::metrics::describe();
    everything().await;

    let described: BTreeMap<_, _> = ALL.iter().map(|m| (m.name, m)).collect();
    assert_eq!(described.len(), ALL.len(), "two metrics have one name");
    let mut seen = BTreeMap::new();
    for (key, unit, help, _) in snapshotter.snapshot().into_vec() {
        let name = key.key().name().to_owned();
        let metric = described
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is recorded and not described"));
        let kind = match key.kind() {
            MetricKind::Counter => Kind::Counter,
            MetricKind::Gauge => Kind::Gauge,
            MetricKind::Histogram => Kind::Histogram,
        };
        assert_eq!(kind, metric.kind, "{name}");
        assert_eq!(unit, Some(metric.unit), "{name}");
        assert_eq!(help.as_deref(), Some(metric.help), "{name}");
        let labels: Vec<_> = key.key().labels().map(|l| l.key().to_owned()).collect();
        assert_eq!(labels, metric.labels, "{name}");
        seen.insert(name, ());
    }
    // Recording these takes a connection that breaks with batches in flight, lanes that open and retire, or a
    // damaged spool or log.
    let rare = [
        "anabranch_producer_spool_messages_lost_total",
        "anabranch_store_damaged_messages_total",
        "anabranch_store_verified_bytes_total",
        "anabranch_producer_retries_total",
        "anabranch_broker_batches_duplicate_total",
        "anabranch_producer_lanes_opened_total",
        "anabranch_producer_lanes_retired_total",
        "anabranch_connection_ping_rtt_seconds",
    ];
    let missing: Vec<_> = described
        .keys()
        .filter(|name| !seen.contains_key(**name) && !rare.contains(name))
        .filter(|name| cfg!(feature = "spool") || !name.contains("_spool_"))
        .collect();
    assert!(
        missing.is_empty(),
        "described and never recorded: {missing:?}"
    );
}
