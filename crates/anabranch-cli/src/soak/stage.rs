//! The broker that is ended and started again, and how it is reached.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anabranch::{
    Producer,
    broker::{Broker, Retention, StartError},
    conn::{self, ClientTls, DevCerts},
    consumer, producer,
    store::{LogConfig, LogStore, OpenError},
};
use anyhow::Context;

pub(super) const TOPIC: &str = "soak";

/// How long clients may take when the broker ends in good order.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the old broker's folder and port may take to be free again: longer than an idle timeout, for which QUIC may keep the port.
const FREE: Duration = Duration::from_secs(60);
/// How often to look whether they are.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Stage {
    folder: PathBuf,
    max_bytes: u64,
    certs: DevCerts,
    address: SocketAddr,
    connection: conn::Config,
    /// None while one takes the place of another.
    broker: Option<Broker>,
}

impl Stage {
    /// A broker on loopback with everything it writes in `folder`.
    pub(super) async fn set(folder: &Path, max_bytes: u64) -> anyhow::Result<Self> {
        let certs = DevCerts::ensure(folder, &[])?;
        let mut stage = Self {
            folder: folder.to_owned(),
            max_bytes,
            address: ([127, 0, 0, 1], 0).into(),
            connection: conn::Config::default(),
            certs,
            broker: None,
        };
        let broker = stage.bind().await?;
        stage.address = broker.local_addr();
        stage.connection = conn::Config::to(stage.address.to_string());
        stage.connection.tls = ClientTls::trusting(stage.certs.trust());
        stage.broker = Some(broker);
        Ok(stage)
    }

    async fn bind(&self) -> anyhow::Result<Broker> {
        let opened = async {
            loop {
                match LogStore::open(self.folder.join("log"), LogConfig::default()).await {
                    Err(OpenError::InUse(_)) => tokio::time::sleep(LOOK).await,
                    opened => return opened,
                }
            }
        };
        let store = Arc::new(tokio::time::timeout(FREE, opened).await??);
        let bound = async {
            loop {
                let mut retention = Retention::default();
                retention.max_bytes = Some(self.max_bytes);
                retention.every = Duration::from_secs(5);
                let broker = Broker::builder()
                    .listen(self.address)
                    .tls(self.certs.server_tls())
                    .store(Arc::clone(&store) as _)
                    .retention(retention);
                match broker.bind().await {
                    Err(StartError::Socket(_)) => tokio::time::sleep(LOOK).await,
                    bound => return bound,
                }
            }
        };
        Ok(tokio::time::timeout(FREE, bound).await??)
    }

    /// Ends the broker, in good order or by force, and starts another one with the same folder at the same port.
    pub(super) async fn start_again(&mut self, in_order: bool) -> anyhow::Result<()> {
        match self.broker.take() {
            // Clients that are not done by then send again.
            Some(broker) if in_order => drop(broker.shutdown(DRAIN).await),
            broker => drop(broker),
        }
        let broker = self.bind().await.context("the broker does not come back")?;
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

    /// How many messages were ever stored.
    pub(super) async fn stored(&self) -> anyhow::Result<u64> {
        let topics = consumer::list_topics(self.connection.clone()).await?;
        let topic = topics.iter().find(|topic| topic.name.as_str() == TOPIC);
        Ok(topic.map_or(0, |topic| topic.next.0))
    }

    /// Ends everything.
    pub(super) async fn strike(mut self) -> anyhow::Result<()> {
        if let Some(broker) = self.broker.take() {
            broker.shutdown(DRAIN).await?;
        }
        Ok(())
    }
}
