//! The broker that is restarted, and its clients.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anabranch::{
    Admin, Producer,
    broker::{Broker, Retention, StartError},
    conn::{self, DevCerts},
    producer,
    store::{LogConfig, LogStore, OpenError},
};
use anabranch_cli::harness;
use anyhow::Context;

pub(super) const TOPIC: &str = "soak";

/// Time limit of a graceful shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for the folder and port of the old broker to become free. QUIC may keep the port for an idle timeout.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two attempts to start.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct SoakBroker {
    folder: PathBuf,
    max_bytes: u64,
    certs: DevCerts,
    address: SocketAddr,
    connection: conn::Config,
    /// `None` during a restart.
    broker: Option<Broker>,
}

impl SoakBroker {
    /// Starts a broker on loopback that stores in `folder`.
    pub(super) async fn start(folder: &Path, max_bytes: u64) -> anyhow::Result<Self> {
        let certs = DevCerts::ensure(folder, &[])?;
        let mut this = Self {
            folder: folder.to_owned(),
            max_bytes,
            address: ([127, 0, 0, 1], 0).into(),
            connection: conn::Config::default(),
            certs,
            broker: None,
        };
        let broker = this.bind().await?;
        this.address = broker.local_addr();
        this.connection = harness::loopback_client(this.address, &this.certs);
        this.broker = Some(broker);
        Ok(this)
    }

    async fn bind(&self) -> anyhow::Result<Broker> {
        let opened = async {
            loop {
                match LogStore::open(self.folder.join("log"), LogConfig::default()).await {
                    Err(OpenError::InUse(_)) => tokio::time::sleep(RETRY_PAUSE).await,
                    opened => return opened,
                }
            }
        };
        let store = Arc::new(tokio::time::timeout(RESTART_TIMEOUT, opened).await??);
        let bound = async {
            loop {
                let mut retention = Retention::default();
                retention.max_bytes = Some(self.max_bytes);
                retention.every = Duration::from_secs(5);
                let broker = harness::loopback_broker(&self.certs)
                    .listen(self.address)
                    .store(Arc::clone(&store) as _)
                    .retention(retention);
                match broker.bind().await {
                    Err(StartError::Socket(_)) => tokio::time::sleep(RETRY_PAUSE).await,
                    bound => return bound,
                }
            }
        };
        Ok(tokio::time::timeout(RESTART_TIMEOUT, bound).await??)
    }

    /// Ends the broker, gracefully or abruptly, and starts another one with the same folder at the same port.
    pub(super) async fn restart(&mut self, gracefully: bool) -> anyhow::Result<()> {
        match self.broker.take() {
            // Clients resend what was cut off.
            Some(broker) if gracefully => drop(broker.shutdown(SHUTDOWN_TIMEOUT).await),
            broker => drop(broker),
        }
        let broker = self.bind().await.context("cannot restart the broker")?;
        self.broker = Some(broker);
        Ok(())
    }

    pub(super) const fn connection(&self) -> &conn::Config {
        &self.connection
    }

    pub(super) async fn producer(&self) -> anyhow::Result<Producer> {
        let mut config = producer::Config::default();
        config.connection = self.connection.clone();
        config.name = Some("soak".to_owned());
        let producer = Producer::builder().config(config).topic(TOPIC);
        Ok(producer.connect().await?)
    }

    /// Returns the number of messages ever stored.
    pub(super) async fn stored(&self) -> anyhow::Result<u64> {
        let mut admin = Admin::connect(self.connection.clone()).await?;
        let topics = admin.topics().await?;
        admin.close().await;
        let topic = topics.iter().find(|topic| topic.name.as_str() == TOPIC);
        Ok(topic.map_or(0, |topic| topic.next.0))
    }

    /// Shuts the broker down.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(broker) = self.broker.take() {
            broker.shutdown(SHUTDOWN_TIMEOUT).await?;
        }
        Ok(())
    }
}
