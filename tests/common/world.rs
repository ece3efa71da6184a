//! A producer, a link that misbehaves, a broker, and what its store holds: all in virtual time.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anabranch::{
    Offset, Producer,
    broker::{self, Broker, StartError, Tokens},
    conn::{self, TestCertificate, TransportConfig},
    consumer::Record,
    producer::{self, Builder},
    sim::{Direction, Host, LinkConfig, Network},
    store::{MemoryStore, Store},
};

#[path = "mod.rs"]
mod common;
#[path = "stored.rs"]
mod in_store;
pub use common::begun;
pub use in_store::text;

pub const TOPIC: &str = "events";
/// Longer than any test's faults.
pub const LONG: Duration = Duration::from_secs(600);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 4433);

fn certificate() -> &'static TestCertificate {
    static CERTIFICATE: OnceLock<TestCertificate> = OnceLock::new();
    CERTIFICATE.get_or_init(TestCertificate::new)
}

pub struct World {
    pub network: Network,
    pub store: Arc<dyn Store>,
    pub there: Direction,
    pub back: Direction,
    /// Whether the next broker makes topics by itself.
    pub topics: bool,
    /// What the next broker asks of its clients.
    pub tokens: Option<Tokens>,
    broker: Option<Broker>,
    streams: u32,
}

impl World {
    /// Both ends, over two directions of `link`.
    pub async fn new(network: Network, link: LinkConfig) -> Self {
        Self::with_streams(network, link, TransportConfig::server().max_streams).await
    }

    /// Starts a broker that permits this number of streams.
    pub async fn with_streams(network: Network, link: LinkConfig, streams: u32) -> Self {
        let (there, back) = network.connect(CLIENT, BROKER.ip(), link).unwrap();
        let mut world = Self {
            network,
            store: Arc::new(MemoryStore::default()),
            there,
            back,
            topics: true,
            tokens: None,
            broker: None,
            streams,
        };
        world.broker = Some(world.bind().await.unwrap());
        world
    }

    async fn bind(&self) -> Result<Broker, StartError> {
        let mut transport = TransportConfig::server();
        transport.max_streams = self.streams;
        let mut config = broker::Config::default();
        config.tokens.clone_from(&self.tokens);
        Broker::builder()
            .config(config)
            .listen(BROKER)
            .tls(certificate().server_tls())
            .store(Arc::clone(&self.store))
            .transport(transport)
            .auto_create(self.topics)
            .network(Arc::new(Host::new(&self.network, BROKER.ip())))
            .bind()
            .await
    }

    /// The broker ends without a word; its store stays. Another one takes its place.
    pub async fn crash(&mut self) {
        drop(self.broker.take());
        self.broker = loop {
            match self.bind().await {
                Ok(broker) => break Some(broker),
                // The old socket goes with the last of its tasks.
                Err(StartError::Socket(_)) => self.network.sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        };
    }

    /// How a client reaches the broker.
    pub fn client(&self) -> conn::Config {
        let mut config = conn::Config::to(BROKER.to_string());
        config.tls = certificate().client_tls();
        config.network = Arc::new(Host::new(&self.network, CLIENT));
        config.connect_timeout = LONG;
        config
    }

    pub fn producer(&self) -> Builder {
        Producer::builder().config(self.config()).topic(TOPIC)
    }

    pub fn config(&self) -> producer::Config {
        let mut config = producer::Config::default();
        config.delivery_timeout = LONG;
        config.connection = self.client();
        config
    }

    /// Everything stored, with offsets.
    pub async fn stored(&self) -> Vec<(Offset, Record)> {
        in_store::stored(&*self.store, TOPIC).await
    }

    /// The payloads of everything stored.
    pub async fn payloads(&self) -> Vec<String> {
        in_store::payloads(&*self.store, TOPIC).await
    }
}
