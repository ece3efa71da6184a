//! `anabranch serve`: runs a broker.
//!
//! `identity.rs` finds the broker's certificate, or makes one for development; `announce.rs` prints how to reach the
//! broker; `listen.rs` reads the address.

mod announce;
mod identity;
mod listen;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anabranch::{
    broker::{Broker, Retention, ShutdownError, Tokens},
    conn::{StatelessResetKey, TransportConfig},
    store::{LogConfig, LogStore, MemoryConfig, MemoryStore, Store, StoreState},
    units,
};
use anyhow::Context;
use clap::{ValueEnum, builder::BoolishValueParser};
use tracing::{error, info};

use self::{announce::Announcement, identity::Identity, listen::Listen};
use crate::{
    args::{self, Controller},
    failure,
    metrics_server::{Access, MetricsServer},
    output::Output,
    progress, secret_file, signals,
};

/// The data folder without `--data`, for a store on disk.
const DATA: &str = "anabranch-data";
/// Folder of the messages, in the data folder.
const LOG: &str = "log";
/// File of the key for stateless resets, in the data folder. With it, a broker that was killed and started again tells its
/// clients so at once.
const RESET_KEY: &str = "reset.key";

/// Run a broker until Ctrl-C or SIGTERM.
///
/// Without --cert, the broker makes a certificate for development. Ctrl-C or SIGTERM shuts it down gracefully: all accepted
/// messages are stored and acknowledged. A second Ctrl-C ends it at once; acknowledged messages are stored all the same.
/// SIGHUP reads certificates, client authorities and tokens again, for connections that begin afterwards.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// UDP address to listen at. Port 0 is any free port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4433")]
    listen: Listen,

    /// Folder of messages, certificates and keys, made if missing [default: anabranch-data; none with --store memory].
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// Where messages are stored.
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,

    /// Size limit of --store memory [default: 256MiB]. Messages beyond it are refused, unless retention makes room.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    memory: Option<u64>,

    /// PEM file of the broker's certificate chain.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// PEM file of the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Name or IP address that the certificate for development must be valid for, besides those of this machine. May be
    /// given again.
    #[arg(long = "dns-name", value_name = "NAME", conflicts_with = "cert")]
    dns_names: Vec<String>,

    /// PEM file of certificate authorities. Clients must show a certificate that one of them has signed.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,

    /// File of access tokens, one per line, each followed by its permissions, such as produce:orders.*, consume:* or
    /// admin:*. A token without permissions may do everything. Clients must show a token, or a certificate (--client-ca)
    /// whose fingerprint has a line of its own: certificate:HEX, and its permissions.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Serve metrics for Prometheus at http://ADDR/metrics, and /health/live and /health/ready. An address that other
    /// machines reach needs --metrics-token-file or --metrics-public.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// File with a token that whoever asks for metrics must show, as `Authorization: Bearer TOKEN`.
    #[arg(long, value_name = "FILE", requires = "metrics")]
    metrics_token_file: Option<PathBuf>,

    /// Answer all clients that reach the address of --metrics from other machines, without a token.
    #[arg(
        long,
        requires = "metrics",
        conflicts_with = "metrics_token_file",
        value_parser = BoolishValueParser::new()
    )]
    metrics_public: bool,

    /// Space that is left free on the disk [default: 256MiB]. With less, messages are refused until there is more; what is
    /// stored can be read and deleted.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    reserve: Option<u64>,

    /// Age limit of messages. Older ones are deleted. Without it, there is no limit.
    #[arg(long, value_name = "TIME", value_parser = args::positive_duration)]
    max_age: Option<Duration>,

    /// Size limit of each topic. The oldest messages beyond it are deleted. Without it, there is no limit.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_bytes: Option<u64>,

    /// Do not create topics on first use: sending to an unknown topic fails.
    #[arg(long, value_parser = BoolishValueParser::new())]
    no_create: bool,

    /// Congestion controller of connections to clients.
    #[arg(long, value_enum, default_value_t)]
    congestion: Controller,

    /// Time limit for clients to finish after Ctrl-C or SIGTERM.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = units::parse_duration
    )]
    drain_timeout: Duration,

    /// Output format of the announcement.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Where a broker stores its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum StoreKind {
    /// On disk, in the data folder. Acknowledged messages survive a crash and a power cut.
    #[default]
    Log,
    /// In memory. All messages are lost when the process ends.
    Memory,
}

impl Args {
    /// Returns the data folder. `None` if nothing is to be written to disk.
    fn data(&self) -> Option<&Path> {
        match (&self.data, self.store) {
            (Some(folder), _) => Some(folder),
            (None, StoreKind::Log) => Some(Path::new(DATA)),
            (None, StoreKind::Memory) => None,
        }
    }

    /// Returns the folder of the messages, for a store on disk.
    fn log(&self) -> PathBuf {
        self.data().unwrap_or(Path::new(DATA)).join(LOG)
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.memory.is_some() && args.store == StoreKind::Log {
        anyhow::bail!(
            "--memory needs --store memory; for a store on disk, --max-bytes limits each topic"
        );
    }
    let before_exit = || progress::say("ended at once; acknowledged messages are stored");
    let (stop, reload) = signals::watch_with_reload(before_exit)?;
    let access = Access {
        token_file: args.metrics_token_file.as_deref(),
        public: args.metrics_public,
    };
    let metrics = args
        .metrics
        .map(|address| MetricsServer::bind(address, access))
        .transpose()?;
    let tokens = args.token_file.as_deref().map(read_tokens).transpose()?;
    let listen = args.listen.resolve().await?;
    // Opened before the certificates are made: the data folder of another broker is not touched.
    let store: Arc<dyn Store> = match args.store {
        StoreKind::Log => {
            let mut config = LogConfig::default();
            config.min_free_bytes = args.reserve.unwrap_or(config.min_free_bytes);
            let store = LogStore::open(args.log(), config).await?;
            if let StoreState::Refusing(why) = store.state() {
                progress::say(format_args!("warning: messages are refused: {why}"));
            }
            Arc::new(store)
        }
        StoreKind::Memory => {
            let mut config = MemoryConfig::default();
            config.max_bytes = args.memory.unwrap_or(config.max_bytes);
            Arc::new(MemoryStore::new(config))
        }
    };
    if let Some(metrics) = metrics {
        metrics.start(Some(Arc::clone(&store)))?;
    }
    let identity = Identity::find(&args, listen.ip())?;
    if let Some(warning) = identity.expiry().and_then(|expiry| expiry.warning()) {
        progress::warn(warning);
    }

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
        .retention(retention)
        .auto_create(!args.no_create);
    if let Some(folder) = args.data() {
        builder = builder.reset_key(reset_key(folder)?);
    }
    if let Some(tokens) = tokens {
        builder = builder.tokens(tokens);
    }
    let broker = builder.bind().await?;
    Announcement::new(&args, &identity, broker.local_addr()).print(args.output)?;

    let reloading = async {
        loop {
            reload.notified().await;
            match reload_files(&args, &identity, listen.ip(), &broker) {
                Ok(()) => info!("certificates and tokens were read again, for new connections"),
                Err(error) => error!(
                    "certificates and tokens stay as they were: {}",
                    failure::sentence(&error)
                ),
            }
        }
    };
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        ended = broker.serve() => ended.err(),
        () = reloading => None,
    };
    match &failed {
        None => info!("shutting down: {}", stop.signal()),
        Some(error) => error!("shutting down: {error}"),
    }
    let drained = broker.shutdown(args.drain_timeout).await;
    match (failed, drained) {
        (Some(error), _) => Err(error.into()),
        // Producers resend what was cut off; no acknowledged message is lost.
        (None, Err(error @ ShutdownError::CutOff { .. })) => {
            progress::warn(error);
            Ok(ExitCode::SUCCESS)
        }
        (None, drained) => {
            drained?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads certificates and tokens again, and gives them to the broker. After an error, nothing has changed.
fn reload_files(
    args: &Args,
    identity: &Identity,
    listen: IpAddr,
    broker: &Broker,
) -> anyhow::Result<()> {
    let tokens = args.token_file.as_deref().map(read_tokens).transpose()?;
    let tls = identity.again(args, listen)?;
    broker.reload(&tls, tokens)?;
    Ok(())
}

fn reset_key(data: &Path) -> anyhow::Result<StatelessResetKey> {
    let path = data.join(RESET_KEY);
    std::fs::create_dir_all(data)
        .and_then(|()| StatelessResetKey::in_file(&path))
        .with_context(|| format!("cannot read or make the key {}", path.display()))
}

fn read_tokens(path: &Path) -> anyhow::Result<Tokens> {
    let text = secret_file::read(path)
        .with_context(|| format!("the token file {} is not used", path.display()))?;
    text.parse()
        .with_context(|| format!("the token file {} is wrong", path.display()))
}
