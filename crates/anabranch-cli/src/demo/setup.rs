//! The broker, producer and consumer of the demo.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anabranch::{
    Producer,
    broker::Broker,
    conn::{self, Congestion, DevCerts},
    consumer::{Consumer, Received, Start},
    producer::{self, Strategy},
    scaler::Adaptive,
    store::{LogConfig, LogStore},
};

use super::{check::Check, logging_policy::LoggingPolicy};
use crate::harness;

const TOPIC: &str = "demo";
/// The topic of the comparison.
const LINK_TOPIC: &str = "demo-link";
/// Header with the number of a message.
pub(super) const NUMBER: &str = "number";
/// Short enough to watch lanes close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit for each part to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Setup {
    broker: Broker,
    pub(super) producer: Producer,
    /// Lanes that stay open when idle.
    pub(super) min_lanes: usize,
    connection: conn::Config,
}

impl Setup {
    /// Starts a broker on loopback that stores in `folder`, and connects a producer to it.
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let certs = DevCerts::ensure(folder, &[])?;
        let log = LogStore::open(folder.join("log"), LogConfig::default()).await?;
        let broker = harness::loopback_broker(&certs)
            .store(Arc::new(log))
            .bind()
            .await?;
        let mut config = producer::Config::default();
        config.scaler.idle_timeout = IDLE_TIMEOUT;
        config.connection = harness::loopback_client(broker.local_addr(), &certs);
        let min_lanes = config.scaler.min_lanes;
        let connection = config.connection.clone();
        let policy = Adaptive::new(config.scaler.clone())?;
        let producer = Producer::builder()
            .config(config)
            .policy(move || LoggingPolicy(policy.clone()))
            .topic(TOPIC)
            .connect()
            .await?;
        Ok(Self {
            broker,
            producer,
            min_lanes,
            connection,
        })
    }

    /// Returns the address of the broker.
    pub(super) fn address(&self) -> SocketAddr {
        self.broker.local_addr()
    }

    /// Connects another producer, to a topic of its own, through `address`. Its congestion controller is the one for links
    /// that lose packets.
    pub(super) async fn producer_through(
        &self,
        address: SocketAddr,
        strategy: Strategy,
    ) -> anyhow::Result<Producer> {
        let mut connection = self.connection.clone();
        connection.servers = vec![address.to_string()];
        connection.transport.congestion = Congestion::Thalweg;
        let producer = Producer::builder()
            .connection(connection)
            .strategy(strategy)
            .topic(LINK_TOPIC)
            .connect();
        Ok(producer.await?)
    }

    /// Closes a producer that has its receipts.
    pub(super) async fn close(&self, producer: Producer) -> anyhow::Result<()> {
        Ok(producer.close(SHUTDOWN_TIMEOUT).await?)
    }

    /// Reads the whole topic.
    pub(super) async fn read_back(&self, check: &mut Check) -> anyhow::Result<()> {
        let mut consumer = Consumer::builder()
            .connection(self.connection.clone())
            .topic(TOPIC)
            .from(Start::Earliest)
            .subscribe()
            .await?;
        while !consumer.is_caught_up() {
            let received = consumer.recv().await?;
            check.on_received(number(&received), &received.record.payload);
        }
        consumer.close(SHUTDOWN_TIMEOUT).await?;
        Ok(())
    }

    /// Shuts everything down.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.producer.close(SHUTDOWN_TIMEOUT).await?;
        self.broker.shutdown(SHUTDOWN_TIMEOUT).await?;
        Ok(())
    }
}

fn number(received: &Received) -> Option<u64> {
    let header = received.record.headers.iter().find(|h| h.name == NUMBER)?;
    let number = header.value.as_ref().try_into().ok()?;
    Some(u64::from_be_bytes(number))
}
