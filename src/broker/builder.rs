//! The options of a broker, and how it starts.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Config, Limits, Retention, Tokens, accept,
    broker::{Broker, Running},
    commit::Committer,
    endpoint::server_config,
    reader_registry::ReaderRegistry,
    retention,
    shared::Shared,
    time_check::TimeCheck,
    topics::Topics,
};
use crate::{
    config::{ConfigError, Problems},
    conn::{
        self, Admission, Congestion, DevCerts, DevCertsError, NetworkProvider, ServerTls,
        StatelessResetKey, TlsError, TransportConfig, Udp,
    },
    store::{Store, StoreError},
    tasks::Tasks,
    time,
};

/// Options of a [`Broker`]. [`Builder::bind`] checks all of them at once.
///
/// A store is needed, and a certificate: either [`Builder::tls`] or [`Builder::development_certificate`].
#[derive(Debug)]
#[must_use = "a builder does nothing before bind"]
pub struct Builder {
    config: Config,
    certificate: Option<Certificate>,
    store: Option<Arc<dyn Store>>,
    network: Arc<dyn NetworkProvider>,
}

#[derive(Debug)]
enum Certificate {
    Given(ServerTls),
    Development(PathBuf),
}

impl Broker {
    /// Returns a builder with the default options.
    pub fn builder() -> Builder {
        Builder {
            config: Config::default(),
            certificate: None,
            store: None,
            network: Arc::new(Udp::default()),
        }
    }
}

impl Builder {
    /// Replaces all options in [`Config`] by those of `config`.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the UDP address to listen at. Default: `127.0.0.1:4433`, which only this machine can reach. Port 0 lets the
    /// system choose; see [`Broker::local_addr`].
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.config.listen = address;
        self
    }

    /// Sets the certificate that is shown to clients, and which client certificates are accepted.
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.certificate = Some(Certificate::Given(tls));
        self
    }

    /// Shows a certificate for experiments, kept in `folder` and created there if it is missing. Clients on the same
    /// machine can trust the file `ca.pem` of that folder.
    pub fn development_certificate(mut self, folder: impl Into<PathBuf>) -> Self {
        self.certificate = Some(Certificate::Development(folder.into()));
        self
    }

    /// Sets where messages are stored: a [`LogStore`](crate::store::LogStore) on disk, a
    /// [`MemoryStore`](crate::store::MemoryStore) for tests, or a store of your own.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Accepts only clients with one of these tokens, or with a client certificate that has a line of its own among them.
    /// Default: no token is needed, and every client that TLS accepts may do everything.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.config.tokens = Some(tokens);
        self
    }

    /// Sets whether a topic is created when a client first produces to it. Default: true. If not, such a client gets
    ///  [`FailureCode::UnknownTopic`](crate::wire::FailureCode::UnknownTopic).
    pub fn auto_create(mut self, yes: bool) -> Self {
        self.config.auto_create = yes;
        self
    }

    /// Drops messages older than `age`. Default: age is no reason to drop messages. Messages that a named consumer has
    /// not acknowledged are kept; see [`Retention::keep_unread`].
    pub fn max_age(mut self, age: Duration) -> Self {
        self.config.retention.max_age = Some(age);
        self
    }

    /// Drops the oldest messages of a topic that has more than `bytes`. Default: size is no reason to drop messages.
    /// Messages that a named consumer has not acknowledged are kept; see [`Retention::keep_unread`].
    pub fn max_topic_bytes(mut self, bytes: u64) -> Self {
        self.config.retention.max_bytes = Some(bytes);
        self
    }

    /// Replaces all options of retention: what is dropped, and how often that is checked.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.config.retention = retention;
        self
    }

    /// Limits key, headers and payload of one message to `bytes` together. Default: 8 MiB. It must leave 1 KiB of
    /// [`Limits::max_frame`].
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.config.limits.max_message = bytes;
        self
    }

    /// Replaces all limits of memory and numbers.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Replaces all limits of connections and handshakes, and the time for a handshake.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.config.admission = admission;
        self
    }

    /// Replaces all options of QUIC: windows, streams of a connection, idle time.
    pub fn transport(mut self, transport: TransportConfig) -> Self {
        self.config.transport = transport;
        self
    }

    /// Sets the congestion controller for what the broker sends. Default: [`Congestion::Cubic`].
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.config.transport.congestion = congestion;
        self
    }

    /// Sets the key of stateless resets. With the same key as before a restart, the broker tells its clients of the
    /// restart within a round trip. Default: a new key at each start, so that clients notice by their ping timeout.
    /// Keep the key beside the store; see [`StatelessResetKey::in_file`].
    pub fn reset_key(mut self, key: StatelessResetKey) -> Self {
        self.config.reset_key = Some(key);
        self
    }

    /// Delays each batch of a stream, for experiments with a broker that is slow on each stream; see
    /// [`Config::stream_delay`].
    pub fn stream_delay(mut self, delay: Option<Duration>) -> Self {
        self.config.stream_delay = delay;
        self
    }

    /// Sends packets through `network` in place of the operating system's UDP, for example a simulated one.
    pub fn network(mut self, network: Arc<dyn NetworkProvider>) -> Self {
        self.network = network;
        self
    }

    /// Starts the broker: checks all options, reads the certificates and the list of topics, and opens the socket.
    /// The [`Broker`] serves until it is shut down or dropped.
    ///
    /// # Errors
    /// [`StartError`]. Nothing keeps running then.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing keeps running.
    pub async fn bind(self) -> Result<Broker, StartError> {
        let mut problems = Problems::default();
        self.config.problems(&mut problems);
        let missing: Option<()> = None;
        problems.expect(
            self.certificate.is_some(),
            "tls",
            &missing,
            "a broker needs a certificate",
        );
        problems.expect(
            self.store.is_some(),
            "store",
            &missing,
            "a broker needs a store",
        );
        problems.into_result()?;
        let (Some(certificate), Some(store)) = (self.certificate, self.store) else {
            unreachable!("checked above")
        };
        let tls = match certificate {
            Certificate::Given(tls) => tls,
            Certificate::Development(folder) => DevCerts::ensure(folder, &[])?.server_tls(),
        };
        let mut config = self.config;
        let tokens = config.tokens.take().map(Arc::new);
        let server = server_config(&config, &tls)?;

        let topics = Topics::load(Arc::clone(&store), config.auto_create, config.limits.topics);
        let topics = topics.await?;
        let endpoint = conn::server_endpoint(
            config.listen,
            server,
            &config.transport,
            &*self.network,
            config.reset_key.as_ref(),
        )?;
        let address = endpoint.local_addr().map_err(|source| conn::BindError {
            address: config.listen,
            source,
        })?;

        let background = Tasks::new();
        let clock = Arc::new(Mutex::new(TimeCheck::new(time::now())));
        let shared = Arc::new(Shared {
            topics,
            producers: Arc::default(),
            refusals: Mutex::default(),
            readers: ReaderRegistry::new(micros(time::unix_time())),
            committer: Committer::start(
                Arc::clone(&store),
                &config.limits,
                Arc::clone(&clock),
                &background,
            ),
            clock,
            store,
            subscriptions: Arc::new(Semaphore::new(config.limits.subscriptions)),
            tokens: RwLock::new(tokens),
            config,
            drain: CancellationToken::new(),
            connections: Tasks::new(),
        });
        let running = Running::new(endpoint.clone(), address, Arc::clone(&shared), background);
        running.spawn_accept_loop(accept::run(endpoint, Arc::clone(&shared)));
        running.spawn(retention::run(shared));
        tracing::info!(%address, "broker serves");
        Ok(Broker::new(running))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0)
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Some options are missing or out of range.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The certificates cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The development certificate cannot be created or read.
    #[error("no development certificate could be made")]
    DevelopmentCertificate(#[from] DevCertsError),
    /// The socket cannot be opened at the address.
    #[error("the address cannot be listened at")]
    Socket(#[from] conn::BindError),
    /// The store does not list its topics.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
}
