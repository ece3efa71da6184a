//! A broker on loopback, and what it has stored.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anabranch::{
    Offset, Producer,
    broker::Broker,
    consumer::Record,
    producer::Builder,
    store::{LogConfig, LogStore, MemoryStore, Store},
};
use tempfile::TempDir;

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/stored.rs"]
mod in_store;
pub use common::begun;
pub use in_store::text;

pub const TOPIC: &str = "events";
pub const LONG: Duration = Duration::from_secs(30);

/// A broker, the folder of its certificate, and its store.
pub struct Far {
    pub folder: TempDir,
    pub store: Arc<dyn Store>,
    pub broker: Broker,
    pub address: SocketAddr,
}

impl Far {
    pub async fn with_memory() -> Self {
        Self::start(
            tempfile::tempdir().unwrap(),
            Arc::new(MemoryStore::default()),
            "127.0.0.1:0".parse().unwrap(),
        )
        .await
    }

    pub async fn with_log() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open_log(folder.path()).await;
        Self::start(folder, store, "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start(folder: TempDir, store: Arc<dyn Store>, listen: SocketAddr) -> Self {
        let broker = Broker::builder()
            .listen(listen)
            .development_certificate(folder.path().join("certificates"))
            .store(Arc::clone(&store))
            .bind()
            .await
            .unwrap();
        let address = broker.local_addr();
        Self {
            folder,
            store,
            broker,
            address,
        }
    }

    /// Stops the broker and starts another on the same folder and port.
    pub async fn restart(self) -> Self {
        let Self {
            folder,
            store,
            broker,
            address,
        } = self;
        broker.shutdown(LONG).await.unwrap();
        drop(store);
        let store = open_log(folder.path()).await;
        Self::start(folder, store, address).await
    }

    pub fn producer(&self) -> Builder {
        let ca = self.folder.path().join("certificates").join("ca.pem");
        Producer::builder()
            .server(self.address.to_string())
            .ca_file(ca)
            .topic(TOPIC)
    }

    /// Everything in a topic, with offsets.
    pub async fn stored(&self, topic: &str) -> Vec<(Offset, Record)> {
        in_store::stored(&*self.store, topic).await
    }

    pub async fn payloads(&self) -> Vec<String> {
        in_store::payloads(&*self.store, TOPIC).await
    }
}

pub async fn open_log(folder: &Path) -> Arc<dyn Store> {
    Arc::new(
        LogStore::open(folder.join("log"), LogConfig::default())
            .await
            .unwrap(),
    )
}
