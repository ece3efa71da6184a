//! What is measured: a broker, and producers that are connected to it.

use std::{path::Path, sync::Arc, time::Duration};

use anabranch::{
    Producer,
    broker::{Broker, Retention},
    conn::{self, ClientTls, DevCerts, TransportConfig},
    producer,
    store::{LogConfig, LogStore, MemoryConfig, MemoryStore, Store},
};

use super::{Args, StoreKind, watched::Watched};

/// How long each part may take to end.
const END: Duration = Duration::from_secs(10);
/// What the store in memory keeps of a topic. A broker that goes on for long would not keep everything either, and
/// uses memory again that it has had.
const KEPT: u64 = 64 << 20;
/// How often the rest is let go.
const LET_GO: Duration = Duration::from_millis(50);
/// What may be there in between.
const ROOM: u64 = 4 << 30;

pub(super) struct Stage {
    broker: Option<Broker>,
    /// That of the broker in this process.
    store: Option<Arc<Watched>>,
    pub(super) producers: Vec<Producer>,
}

impl Stage {
    /// A broker on loopback with everything it writes in `folder`, if none is named, and the producers.
    ///
    /// # Errors
    /// Where one of them does not start, or finds no broker.
    pub(super) async fn set(args: &Args, folder: &Path) -> anyhow::Result<Self> {
        let (broker, store, mut conn) = match args.server() {
            Some(server) => (None, None, server.config()),
            None => {
                let certs = DevCerts::ensure(folder, &[])?;
                let (broker, store) = serve(args, folder, &certs).await?;
                let mut conn = conn::Config::to(broker.local_addr().to_string());
                conn.tls = ClientTls::trusting(certs.trust());
                (Some(broker), Some(store), conn)
            }
        };
        conn.transport.congestion = args.congestion.into();
        let mut producers = Vec::new();
        for _ in 0..args.producers {
            let mut config = producer::Config::default();
            config.connection = conn.clone();
            let producer = Producer::builder()
                .config(config)
                .strategy(args.strategy.strategy())
                .topic(&args.topic);
            producers.push(producer.connect().await?);
        }
        Ok(Self {
            broker,
            store,
            producers,
        })
    }

    /// How many bytes the store got at once, on average since this was last asked.
    pub(super) fn usual_group(&self) -> Option<u64> {
        self.store.as_ref()?.usual_group()
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// What did not end well.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        for producer in self.producers {
            producer.close(END).await?;
        }
        if let Some(broker) = self.broker {
            broker.shutdown(END).await?;
        }
        Ok(())
    }
}

async fn serve(
    args: &Args,
    folder: &Path,
    certs: &DevCerts,
) -> anyhow::Result<(Broker, Arc<Watched>)> {
    let mut retention = Retention::default();
    let store: Arc<dyn Store> = match args.store {
        StoreKind::Log => Arc::new(LogStore::open(folder.join("log"), LogConfig::default()).await?),
        StoreKind::Memory => {
            retention.max_bytes = Some(KEPT);
            retention.every = LET_GO;
            let mut config = MemoryConfig::default();
            config.max_bytes = ROOM;
            Arc::new(MemoryStore::new(config))
        }
    };
    let store = Arc::new(Watched::new(store));
    let mut settings = TransportConfig::server();
    settings.congestion = args.congestion.into();
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .tls(certs.server_tls())
        .store(Arc::<Watched>::clone(&store))
        .transport(settings)
        .retention(retention);
    Ok((broker.bind().await?, store))
}
