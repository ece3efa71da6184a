//! `anabranch serve`: a broker in a process of its own.
//!
//! `identity.rs` finds the certificate to show and makes one for development where none is given, `announce.rs`
//! says how to reach the broker, `listen.rs` reads the address.

mod announce;
mod identity;
mod listen;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anabranch::{
    broker::{Broker, Retention, ShutdownError, Tokens},
    conn::{StatelessResetKey, TransportConfig},
    metrics,
    store::{LogConfig, LogStore, MemoryConfig, MemoryStore, Store},
};
use anyhow::Context;
use clap::{ValueEnum, builder::BoolishValueParser};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing::info;

use self::{announce::Announcement, identity::Identity, listen::Listen};
use crate::{connection::Controller, output::Output, progress, signals, units};

/// Where messages are, in the data folder.
const LOG: &str = "log";
/// By what clients learn at once that a broker that was killed is another one now.
const RESET_KEY: &str = "reset.key";

/// Run a broker until Ctrl-C or SIGTERM.
///
/// Without a certificate it makes one for development, in the data folder. The first signal ends it in order: what was
/// accepted is stored and answered. The second one ends it at once; what was answered is stored all the same.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen: UDP. Port 0 takes any free one.
    #[arg(
        long,
        env = "ANABRANCH_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:4470"
    )]
    listen: Listen,

    /// The folder of certificates and keys, with the messages in its folder log. Made where there is none.
    #[arg(
        long,
        env = "ANABRANCH_DATA",
        value_name = "FOLDER",
        default_value = "anabranch-data"
    )]
    data: PathBuf,

    /// Where messages are kept.
    #[arg(long, env = "ANABRANCH_STORE", value_enum, default_value_t)]
    store: StoreKind,

    /// With --store memory: the most that it holds, 256MiB where this is not said. More is refused, unless retention makes room.
    #[arg(long, env = "ANABRANCH_MEMORY", value_name = "SIZE", value_parser = units::size)]
    memory: Option<u64>,

    /// The certificate chain to show to clients: a PEM file.
    #[arg(long, env = "ANABRANCH_CERT", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The private key of the certificate: a PEM file.
    #[arg(long, env = "ANABRANCH_KEY", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Ask clients for a certificate that an authority in this PEM file has signed.
    #[arg(long, env = "ANABRANCH_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,

    /// Ask clients for a token of this file: one a line, and behind it what its bearer may do, such as
    /// produce:orders.* or consume:*; nothing behind it means everything.
    #[arg(long, env = "ANABRANCH_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Serve metrics for Prometheus at http://ADDR/metrics.
    #[arg(long, env = "ANABRANCH_METRICS", value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Messages older than this may go. Without it, age is no reason.
    #[arg(long, env = "ANABRANCH_MAX_AGE", value_name = "TIME", value_parser = units::some_duration)]
    max_age: Option<Duration>,

    /// A topic with more bytes than this loses its oldest messages. Without it, size is no reason.
    #[arg(long, env = "ANABRANCH_MAX_BYTES", value_name = "SIZE", value_parser = units::size)]
    max_bytes: Option<u64>,

    /// Topics are not made by themselves: sending to an unknown one fails.
    #[arg(long, env = "ANABRANCH_NO_CREATE", value_parser = BoolishValueParser::new())]
    no_create: bool,

    /// The congestion controller of what is sent to clients.
    #[arg(long, env = "ANABRANCH_CONGESTION", value_enum, default_value_t)]
    congestion: Controller,

    /// How long clients may take to finish after the first signal.
    #[arg(
        long,
        env = "ANABRANCH_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = units::duration
    )]
    drain_timeout: Duration,

    /// How to say where it listens.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

/// Where a broker keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum StoreKind {
    /// On disk, in the data folder. What is acknowledged survives a crash and a power cut.
    #[default]
    Log,
    /// In memory, and gone with the process.
    Memory,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.memory.is_some() && args.store == StoreKind::Log {
        anyhow::bail!(
            "--memory is for --store memory: the log is on disk, and --max-bytes keeps it small"
        );
    }
    let stop = signals::watch(|| progress::say("ended at once; what was acknowledged is stored"))?;
    if let Some(address) = args.metrics {
        serve_metrics(address)?;
    }
    let tokens = args.token_file.as_deref().map(read_tokens).transpose()?;
    let listen = args.listen.resolve().await?;
    // Before the certificates: a folder that another broker has is not touched.
    let store: Arc<dyn Store> = match args.store {
        StoreKind::Log => {
            let folder = args.data.join(LOG);
            Arc::new(LogStore::open(folder, LogConfig::default()).await?)
        }
        StoreKind::Memory => {
            let mut config = MemoryConfig::default();
            config.max_bytes = args.memory.unwrap_or(config.max_bytes);
            Arc::new(MemoryStore::new(config))
        }
    };
    let identity = Identity::find(&args, listen.ip())?;

    let mut retention = Retention::default();
    retention.max_age = args.max_age;
    retention.max_bytes = args.max_bytes;
    let mut settings = TransportConfig::server();
    settings.congestion = args.congestion.into();
    let mut builder = Broker::builder()
        .listen(listen)
        .transport(settings)
        .tls(identity.tls.clone())
        .store(store)
        .reset_key(reset_key(&args.data)?)
        .retention(retention)
        .auto_create(!args.no_create);
    if let Some(tokens) = tokens {
        builder = builder.tokens(tokens);
    }
    let broker = builder.bind().await?;
    Announcement::new(&args, &identity, broker.local_addr()).tell(args.output)?;

    let failed = tokio::select! {
        () = stop.cancelled() => None,
        ended = broker.serve() => ended.err(),
    };
    info!("the broker ends");
    let drained = broker.shutdown(args.drain_timeout).await;
    match (failed, drained) {
        (Some(error), _) => Err(error.into()),
        // Their producers send it again; nothing that was answered is lost.
        (None, Err(error @ ShutdownError::CutOff { .. })) => {
            progress::say(error);
            Ok(ExitCode::SUCCESS)
        }
        (None, drained) => {
            drained?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Every metric of the crate, in the format of Prometheus.
fn serve_metrics(address: SocketAddr) -> anyhow::Result<()> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), metrics::BUCKETS)
        .map(|builder| builder.with_http_listener(address))
        .and_then(PrometheusBuilder::install)
        .with_context(|| format!("metrics cannot be served at {address}"))?;
    metrics::describe();
    Ok(())
}

fn reset_key(data: &Path) -> anyhow::Result<StatelessResetKey> {
    let path = data.join(RESET_KEY);
    std::fs::create_dir_all(data)
        .and_then(|()| StatelessResetKey::in_file(&path))
        .with_context(|| format!("the key {} cannot be made or read", path.display()))
}

fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token file {}", path.display()))?;
    text.parse()
        .with_context(|| format!("the token file {} is wrong", path.display()))
}
