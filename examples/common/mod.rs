//! A broker in this process, for examples that are about something else. `embedded_broker.rs` explains it.

use std::{net::SocketAddr, sync::Arc};

use anabranch::{
    Producer,
    broker::Broker,
    conn::{ClientTls, Trust},
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

    fn tls(&self) -> ClientTls {
        ClientTls::trusting(Trust::CaFile(self.folder.path().join("ca.pem")))
    }

    /// A producer's builder that knows the way to this broker.
    #[allow(dead_code, reason = "not every example produces")]
    pub(crate) fn producer(&self, topic: &str) -> producer::Builder {
        self.producer_through(self.broker.local_addr(), topic)
    }

    /// A producer's builder that knows another way to it.
    #[allow(dead_code, reason = "not every example has one")]
    pub(crate) fn producer_through(&self, way: SocketAddr, topic: &str) -> producer::Builder {
        Producer::builder()
            .server(way.to_string())
            .tls(self.tls())
            .topic(topic)
    }

    /// A consumer's builder that knows the way to this broker.
    #[allow(dead_code, reason = "not every example consumes")]
    pub(crate) fn consumer(&self, topic: &str) -> consumer::Builder {
        Consumer::builder()
            .server(self.broker.local_addr().to_string())
            .tls(self.tls())
            .topic(topic)
    }
}
