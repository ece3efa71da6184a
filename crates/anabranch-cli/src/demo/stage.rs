//! What the demo is played on: a broker, a producer, and later a consumer.

use std::{path::Path, sync::Arc, time::Duration};

use anabranch::{
    Producer,
    broker::Broker,
    conn::{self, ClientTls, DevCerts},
    consumer::{Consumer, Received, Start},
    producer::{self, Strategy},
    scaler::Adaptive,
    store::{LogConfig, LogStore},
};

use super::{check::Check, told::Told};

const TOPIC: &str = "demo";
/// The header with the number of a message.
pub(super) const NUMBER: &str = "number";
/// So that lanes go while one looks on.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long each part may take to end.
const END: Duration = Duration::from_secs(5);

pub(super) struct Stage {
    broker: Broker,
    pub(super) producer: Producer,
    /// Lanes that stay when nothing happens.
    pub(super) least_lanes: usize,
    connection: conn::Config,
}

impl Stage {
    /// A broker on loopback with everything it writes in `folder`, and a producer that is connected to it.
    pub(super) async fn set(folder: &Path) -> anyhow::Result<Self> {
        let certs = DevCerts::ensure(folder, &[])?;
        let log = LogStore::open(folder.join("log"), LogConfig::default()).await?;
        let broker = Broker::builder()
            .listen(([127, 0, 0, 1], 0).into())
            .tls(certs.server_tls())
            .store(Arc::new(log))
            .bind()
            .await?;
        let mut config = producer::Config::default();
        config.scaler.idle_timeout = IDLE_TIMEOUT;
        config.connection = conn::Config::to(broker.local_addr().to_string());
        config.connection.tls = ClientTls::trusting(certs.trust());
        let least_lanes = config.scaler.min_lanes;
        let connection = config.connection.clone();
        let policy = Told(Adaptive::new(config.scaler.clone())?);
        let producer = Producer::builder()
            .config(config)
            .strategy(Strategy::Custom(Box::new(policy)))
            .topic(TOPIC)
            .connect()
            .await?;
        Ok(Self {
            broker,
            producer,
            least_lanes,
            connection,
        })
    }

    /// Reads the topic from its beginning to its end.
    pub(super) async fn read_back(&self, check: &mut Check) -> anyhow::Result<()> {
        let mut consumer = Consumer::builder()
            .connection(self.connection.clone())
            .topic(TOPIC)
            .from(Start::Earliest)
            .subscribe()
            .await?;
        while !consumer.is_caught_up() {
            let received = consumer.recv().await?;
            check.on_came(number(&received), &received.record.payload);
        }
        consumer.close(END).await?;
        Ok(())
    }

    /// Ends everything in order.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        self.producer.close(END).await?;
        self.broker.shutdown(END).await?;
        Ok(())
    }
}

fn number(received: &Received) -> Option<u64> {
    let header = received.record.headers.iter().find(|h| h.name == NUMBER)?;
    let number = header.value.as_ref().try_into().ok()?;
    Some(u64::from_be_bytes(number))
}
