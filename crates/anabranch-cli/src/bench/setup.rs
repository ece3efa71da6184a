//! The broker to measure, and the producers connected to it.

use std::{path::Path, sync::Arc, time::Duration};

use anabranch::{
    Producer,
    broker::{Broker, Retention},
    conn::{DevCerts, TransportConfig},
    producer,
    store::{LogConfig, LogStore, MemoryConfig, MemoryStore, Store},
};

use super::{Args, StoreKind, counting_store::CountingStore};
use crate::harness;

/// Time limit for each part to shut down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Retention of the store in memory, in bytes. A broker in long use has a limit too, and reuses its memory.
const RETAINED: u64 = 64 << 20;
/// Time from one retention to the next.
const RETENTION_INTERVAL: Duration = Duration::from_millis(50);
/// The same with the log.
const LOG_RETENTION_INTERVAL: Duration = Duration::from_secs(1);
/// Limit of the store in memory, in bytes: room for what arrives between two retentions.
const MEMORY: u64 = 4 << 30;

pub(super) struct Setup {
    broker: Option<Broker>,
    /// Store of the broker in this process.
    store: Option<Arc<CountingStore>>,
    pub(super) producers: Vec<Producer>,
}

impl Setup {
    /// Starts a broker on loopback that stores in `folder`, unless `--server` names one, and connects the producers.
    ///
    /// # Errors
    /// When the broker or a producer does not start.
    pub(super) async fn start(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let (broker, store, mut conn) = match args.server() {
            Some(server) => (None, None, server.config()),
            None => {
                let certs = DevCerts::ensure(folder, &[])?;
                let (broker, store) = serve(args, folder, &certs).await?;
                let conn = harness::loopback_client(broker.local_addr(), &certs);
                (Some(broker), Some(store), conn)
            }
        };
        conn.transport.congestion = args.congestion.into();
        let mut producers = Vec::new();
        for _ in 0..args.producers {
            let mut config = producer::Config::default();
            config.connection = conn.clone();
            if let Some(window) = args.lane_window {
                config.scaler.lane_window = window;
            }
            let producer = Producer::builder()
                .config(config)
                .strategy(args.strategy.clone())
                .topic(&args.topic);
            producers.push(producer.connect().await?);
        }
        Ok(Self {
            broker,
            store,
            producers,
        })
    }

    /// Returns the average size of an append since the last call. `None` for a broker elsewhere.
    pub(super) fn average_group(&self) -> Option<u64> {
        self.store.as_ref()?.average_group()
    }

    /// Shuts everything down.
    ///
    /// # Errors
    /// The first part that does not shut down in time.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        for producer in self.producers {
            producer.close(SHUTDOWN_TIMEOUT).await?;
        }
        if let Some(broker) = self.broker {
            broker.shutdown(SHUTDOWN_TIMEOUT).await?;
        }
        Ok(())
    }
}

async fn serve(
    args: &Args,
    folder: &Path,
    certs: &DevCerts,
) -> anyhow::Result<(Broker, Arc<CountingStore>)> {
    let mut retention = Retention::default();
    let store: Arc<dyn Store> = match args.store {
        StoreKind::Log => {
            if let Some(retained) = args.retain {
                retention.max_bytes = Some(retained);
                retention.every = LOG_RETENTION_INTERVAL;
            }
            Arc::new(LogStore::open(folder.join("log"), LogConfig::default()).await?)
        }
        StoreKind::Memory => {
            retention.max_bytes = Some(RETAINED);
            retention.every = RETENTION_INTERVAL;
            let mut config = MemoryConfig::default();
            config.max_bytes = MEMORY;
            Arc::new(MemoryStore::new(config))
        }
    };
    let store = Arc::new(CountingStore::new(store));
    let mut settings = TransportConfig::server();
    settings.congestion = args.congestion.into();
    let broker = harness::loopback_broker(certs)
        .store(Arc::<CountingStore>::clone(&store))
        .transport(settings)
        .retention(retention);
    Ok((broker.bind().await?, store))
}
