//! A producer, a link that misbehaves, a broker, and what its store holds: all in virtual time.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anabranch::{
    Offset, Producer, TopicName,
    broker::{Broker, StartError},
    conn::{
        self, ClientTls, ServerTls, TransportConfig, Trust,
        tls::{CertifiedKey, Fingerprint, Pem},
    },
    consumer::Record,
    producer::{self, Builder},
    sim::{Direction, Host, LinkConfig, Network},
    store::{MemoryStore, Store},
    wire::internals::Batch,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};

#[path = "../common/mod.rs"]
mod common;
pub use common::begun;

pub const TOPIC: &str = "events";
/// Longer than any test's faults.
pub const LONG: Duration = Duration::from_secs(600);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 4433);

/// Always as many bytes, so that packets are the same from run to run.
fn identity() -> &'static (ServerTls, Fingerprint) {
    static IDENTITY: OnceLock<(ServerTls, Fingerprint)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(["broker".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(vec![1; 8]));
        let certificate = params.self_signed(&key).unwrap();
        let tls = ServerTls::presenting(CertifiedKey {
            chain: Pem::Text(certificate.pem().into_bytes()),
            key: Pem::Text(key.serialize_pem().into_bytes()),
        });
        (tls, Fingerprint::of(certificate.der()))
    })
}

pub struct World {
    pub network: Network,
    pub store: Arc<dyn Store>,
    pub there: Direction,
    pub back: Direction,
    /// Whether the next broker makes topics by itself.
    pub topics: bool,
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
            broker: None,
            streams,
        };
        world.broker = Some(world.bind().await.unwrap());
        world
    }

    async fn bind(&self) -> Result<Broker, StartError> {
        let mut transport = TransportConfig::server();
        transport.max_streams = self.streams;
        Broker::builder()
            .listen(BROKER)
            .tls(identity().0.clone())
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
        config.tls = ClientTls::trusting(Trust::Pinned(identity().1));
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
        let topic = TopicName::new(TOPIC).unwrap();
        let mut all = Vec::new();
        let mut next = Offset(0);
        loop {
            let batches = self.store.read(&topic, next, 1 << 20).await.unwrap();
            if batches.is_empty() {
                return all;
            }
            for stored in batches {
                let batch = Batch::decode(stored.batch).unwrap();
                for (i, record) in (0..).zip(batch.records()) {
                    all.push((Offset(stored.base.0 + i), record));
                }
                next = Offset(stored.base.0 + u64::from(stored.count));
            }
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
