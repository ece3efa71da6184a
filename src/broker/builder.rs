//! Putting a broker together.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Broker, Config, Limits, Retention, Tokens, accept, commit::Committer, retention,
    running::Running, session, shared::Shared, topics::Topics,
};
use crate::{
    config::{ConfigError, Problems},
    conn::{
        self, Admission, Congestion, DevCerts, DevCertsError, NetworkProvider, ServerTls,
        StatelessResetKey, TlsError, TransportConfig, Udp,
    },
    store::{Store, StoreError},
    tasks::Tasks,
};

/// Takes what a broker needs; [`Builder::bind`] checks it all at once.
///
/// A store and either [`Builder::tls`] or [`Builder::development_certificate`] must be given.
#[derive(Debug)]
#[must_use = "nothing listens before bind"]
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

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            certificate: None,
            store: None,
            network: Arc::new(Udp::default()),
        }
    }

    /// Everything in [`Config`] at once. What was set there before is replaced.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The UDP address to listen at; see [`Config::listen`].
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.config.listen = address;
        self
    }

    /// The certificate that is shown to clients, and the certificates that clients are asked for.
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.certificate = Some(Certificate::Given(tls));
        self
    }

    /// Shows a certificate made for experiments, kept in `folder` and made there if it is missing. Clients on the
    /// same machine can trust `ca.pem` of that folder.
    pub fn development_certificate(mut self, folder: impl Into<PathBuf>) -> Self {
        self.certificate = Some(Certificate::Development(folder.into()));
        self
    }

    /// Where messages are kept.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The tokens that are accepted; see [`Config::tokens`].
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.config.tokens = Some(tokens);
        self
    }

    /// What the broker keeps to.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// How long messages are kept.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.config.retention = retention;
        self
    }

    /// The numbers of QUIC.
    pub fn transport(mut self, settings: TransportConfig) -> Self {
        self.config.transport = settings;
        self
    }

    /// Who decides how much may be in flight towards its clients. Default: [`Congestion::Cubic`]; see
    /// [`congestion`](crate::congestion) for the one for links that lose.
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.config.transport.congestion = congestion;
        self
    }

    /// By what a broker that was killed and started again tells its clients so, which otherwise find out by their
    /// ping timeout. To be kept beside the store; see [`StatelessResetKey::in_file`].
    pub fn reset_key(mut self, key: StatelessResetKey) -> Self {
        self.config.reset_key = Some(key);
        self
    }

    /// Connections, handshakes, and the time for them.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.config.admission = admission;
        self
    }

    /// Whether topics are made by themselves; see [`Config::auto_create`].
    pub fn auto_create(mut self, yes: bool) -> Self {
        self.config.auto_create = yes;
        self
    }

    /// For experiments; see [`Config::stream_delay`].
    pub fn stream_delay(mut self, delay: Option<Duration>) -> Self {
        self.config.stream_delay = delay;
        self
    }

    /// Where packets go, in place of the operating system's UDP: a simulated network, for instance.
    pub fn network(mut self, network: Arc<dyn NetworkProvider>) -> Self {
        self.network = network;
        self
    }

    /// Checks everything, reads the certificates and the topics, opens the socket, and serves from then on, until
    /// the [`Broker`] is shut down or dropped. It waits for the store to tell its topics.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    ///
    /// # Cancel safety
    /// Dropping this before its end leaves nothing behind.
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
        let config = self.config;
        // Strangers get little; `session` gives the rest to who has one.
        let mut narrow = config.transport.clone();
        narrow.receive_window = narrow.receive_window.min(session::STRANGER_WINDOW);
        narrow.max_streams = narrow.max_streams.min(session::STRANGER_STREAMS);
        let server = conn::server_config(tls.to_rustls()?, &narrow, &config.admission)?;

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
        let shared = Arc::new(Shared {
            topics,
            sessions: Arc::default(),
            committer: Committer::start(Arc::clone(&store), &config.limits, &background),
            store,
            subscriptions: Arc::new(Semaphore::new(config.limits.subscriptions)),
            config,
            drain: CancellationToken::new(),
            connections: Tasks::new(),
        });
        let running = Running::new(endpoint.clone(), address, Arc::clone(&shared), background);
        running.accepting(accept::run(endpoint, Arc::clone(&shared)));
        running.beside(retention::run(shared));
        tracing::info!(%address, "broker serves");
        Ok(Broker::new(running))
    }
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Some fields cannot be used.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The certificates cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// A development certificate could not be made.
    #[error("no development certificate could be made")]
    DevelopmentCertificate(#[from] DevCertsError),
    /// The address cannot be listened at.
    #[error("the address cannot be listened at")]
    Socket(#[from] conn::BindError),
    /// The store does not tell its topics.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
}
