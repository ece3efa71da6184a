//! A broker in this process, for the examples about something else. `embedded_broker.rs` explains it. In the tests of an
//! application, `anabranch::testing::broker()` does the same (feature `testing`).

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anabranch::{
    Producer,
    broker::Broker,
    consumer::{self, Consumer},
    producer,
    store::MemoryStore,
};
use tempfile::TempDir;

pub(crate) struct Far {
    pub(crate) broker: Broker,
    folder: TempDir,
}

impl Far {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = Broker::builder()
            .listen("127.0.0.1:0".parse()?)
            .development_certificate(folder.path())
            .store(Arc::new(MemoryStore::default()))
            .bind()
            .await?;
        Ok(Self { broker, folder })
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the builder of a producer that sends to this broker.
    #[allow(dead_code, reason = "not every example produces")]
    pub(crate) fn producer(&self, topic: &str) -> producer::Builder {
        self.producer_through(self.broker.local_addr(), topic)
    }

    /// Returns the builder of a producer that reaches this broker by another address, such as a relay's.
    #[allow(dead_code, reason = "not every example has one")]
    pub(crate) fn producer_through(&self, address: SocketAddr, topic: &str) -> producer::Builder {
        Producer::builder()
            .server(address.to_string())
            .ca_file(self.ca())
            .topic(topic)
    }

    /// Returns the builder of a consumer that reads from this broker.
    #[allow(dead_code, reason = "not every example consumes")]
    pub(crate) fn consumer(&self, topic: &str) -> consumer::Builder {
        Consumer::builder()
            .server(self.broker.local_addr().to_string())
            .ca_file(self.ca())
            .topic(topic)
    }
}
