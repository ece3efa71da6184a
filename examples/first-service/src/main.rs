//! An HTTP service that hands its events over. `docs/first-service.md` explains it.
//!
//! ```console
//! $ cargo run -p first-service                 # with a broker at localhost:4433, see the page
//! $ cargo run -p first-service -- --self-test  # starts a broker, sends events, ends itself, and checks the topic
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "an application starts tasks of its own"
)]

mod self_test;

use std::{env, future::Future, path::PathBuf, time::Duration};

use anabranch::{Message, Producer, metrics, producer::SendErrorKind};
use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::{net::TcpListener, signal::unix};

/// How long the service may take, after its last request, to deliver what it has accepted.
const DRAIN: Duration = Duration::from_secs(10);

/// Where the broker is, and where the service keeps what it cannot deliver.
#[derive(Debug, Clone)]
struct Options {
    server: String,
    ca: PathBuf,
    spool: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if env::args().any(|arg| arg == "--self-test") {
        return self_test::run().await;
    }
    let variable = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.into());
    let options = Options {
        server: variable("SERVER", "localhost:4433"),
        ca: variable("CA", "anabranch-data/ca.pem").into(),
        spool: variable("SPOOL", "spool").into(),
    };
    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:8080")).await?;
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    serve(listener, &options, stop).await
}

/// Serves until `stop`, then answers the requests that have begun, and delivers what was accepted.
async fn serve(
    listener: TcpListener,
    options: &Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), metrics::BUCKETS)?
        .install_recorder()?;
    metrics::describe();

    // Does not wait for the broker: the service starts in any order, and the spool takes events meanwhile.
    let producer = Producer::builder()
        .server(&options.server)
        .ca_file(&options.ca)
        .topic("events")
        .spool(&options.spool)
        .build()
        .context("the producer does not start")?;

    let routes = Router::new()
        .route("/events", post(events))
        .route("/metrics", get(move || async move { recorder.render() }))
        .with_state(producer.clone());
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await?;

    match producer.close(DRAIN).await {
        Ok(()) => Ok(()),
        // What is in the spool goes out with the next start.
        Err(error) if error.undelivered.is_empty() => {
            eprintln!("{} events are in the spool", error.spooled);
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Responds once the event is stored by the broker, or on this machine's disk.
async fn events(State(producer): State<Producer>, event: Bytes) -> (StatusCode, String) {
    let outcome = match producer.send_async(Message::new(event)).await {
        Ok(receipt) => receipt.await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(ack) if ack.is_spooled() => (StatusCode::ACCEPTED, "spooled\n".into()),
        Ok(ack) => (StatusCode::CREATED, format!("{ack}\n")),
        Err(error) if error.kind() == SendErrorKind::TooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n"))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
