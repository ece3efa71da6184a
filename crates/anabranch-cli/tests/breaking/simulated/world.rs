//! The broker with its disk, the clients' hosts, and the links between them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anabranch::{
    Offset, TopicName,
    broker::{Broker, StartError},
    conn::{
        self, ClientTls, ServerTls, Trust,
        tls::{CertifiedKey, Fingerprint, Pem},
    },
    sim::{Direction, LinkConfig, Network},
    wire::Batch,
};
use fastrand::Rng;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};

use super::{disk::Disk, host::Host, log::id_of, relay::Relay};
use crate::history::MessageId;

pub const TOPIC: &str = "events";
/// Longer than all faults of a history together.
pub const LONG: Duration = Duration::from_secs(900);

const BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 4433);
const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), 4433);

/// Always as many bytes, so that packets are the same from run to run.
fn identity() -> &'static (ServerTls, ClientTls) {
    static IDENTITY: OnceLock<(ServerTls, ClientTls)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(["broker".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(vec![1; 8]));
        let certificate = params.self_signed(&key).unwrap();
        let shown = ServerTls::presenting(CertifiedKey {
            chain: Pem::Text(certificate.pem().into_bytes()),
            key: Pem::Text(key.serialize_pem().into_bytes()),
        });
        let pinned = Fingerprint::of(certificate.der());
        (shown, ClientTls::trusting(Trust::Pinned(pinned)))
    })
}

/// A client's host and its link.
pub struct Client {
    pub host: Arc<Host>,
    pub there: Direction,
    pub back: Direction,
    /// Where it believes the broker to be.
    server: SocketAddr,
}

impl Client {
    pub fn connection(&self) -> conn::Config {
        let mut config = conn::Config::default();
        config.servers = vec![self.server.to_string()];
        config.tls = identity().1.clone();
        config.network = Arc::clone(&self.host) as _;
        config.connect_timeout = LONG;
        config.reconnect_backoff.max = Duration::from_secs(2);
        config
    }
}

pub struct World {
    pub network: Network,
    pub disk: Arc<Disk>,
    pub clients: Vec<Client>,
    /// Between the first client and the broker, where there is one.
    pub relay: Option<Relay>,
    broker: tokio::sync::Mutex<Option<Living>>,
}

/// A broker's process.
struct Living {
    broker: Broker,
    host: Arc<Host>,
}

impl World {
    /// So many clients, each on a link of its own like `link`.
    pub async fn new(network: Network, clients: u8, link: LinkConfig, dice: &mut Rng) -> Self {
        let disk = Disk::new(dice.u64(..));
        let relayed = dice.u8(0..3) == 0;
        let clients: Vec<_> = (0..clients)
            .map(|n| {
                let address = IpAddr::V4(Ipv4Addr::new(10, 0, 1, n + 1));
                let server = if relayed && n == 0 { RELAY } else { BROKER };
                let (there, back) = network.connect(address, server.ip(), link.clone()).unwrap();
                Client {
                    host: Host::new(&network, address),
                    there,
                    back,
                    server,
                }
            })
            .collect();
        let relay = relayed.then(|| {
            let wire = LinkConfig::default().delay(Duration::from_millis(1));
            network.connect(RELAY.ip(), BROKER.ip(), wire).unwrap();
            let host = Host::new(&network, RELAY.ip());
            let (shown, trusted) = identity();
            Relay::start(&host, RELAY, BROKER, shown, trusted)
        });
        let world = Self {
            network,
            disk,
            clients,
            relay,
            broker: tokio::sync::Mutex::new(None),
        };
        *world.broker.lock().await = Some(world.bind().await.unwrap());
        world
    }

    async fn bind(&self) -> Result<Living, StartError> {
        let host = Host::new(&self.network, BROKER.ip());
        let broker = Broker::builder()
            .listen(BROKER)
            .tls(identity().0.clone())
            .store(self.disk.mount())
            .network(Arc::clone(&host) as _)
            .bind()
            .await?;
        Ok(Living { broker, host })
    }

    /// Binds again and again: the old socket goes with the last of its tasks.
    async fn revive(&self) -> Living {
        loop {
            match self.bind().await {
                Ok(living) => return living,
                Err(StartError::Socket(_)) => {
                    self.network.sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Nothing leaves the broker's host from now on. For use from within the store.
    pub async fn gag(&self) -> impl Fn() + Send + use<> {
        let broker = self.broker.lock().await;
        let host = broker.as_ref().map(|living| Arc::clone(&living.host));
        move || {
            if let Some(host) = &host {
                host.silence();
            }
        }
    }

    /// The broker's machine goes without a word and forgets what was not synced; after `down` it is back.
    pub async fn crash(&self, down: Duration) {
        let mut broker = self.broker.lock().await;
        if let Some(living) = broker.take() {
            living.host.silence();
            self.disk.power_cut().await;
        }
        self.network.sleep(down).await;
        *broker = Some(self.revive().await);
    }

    /// The broker is shut down in good order, and started again after `down`.
    pub async fn restart(&self, down: Duration) {
        let mut broker = self.broker.lock().await;
        if let Some(living) = broker.take() {
            // Connections that are cut off by a fault are not done by then.
            let _ = living.broker.shutdown(Duration::from_secs(2)).await;
        }
        self.network.sleep(down).await;
        *broker = Some(self.revive().await);
    }

    /// Everything stored, in order.
    pub async fn topic(&self) -> Vec<(u64, MessageId)> {
        let topic = TopicName::new(TOPIC).unwrap();
        let store = self.disk.mount();
        let mut all = Vec::new();
        let mut next = Offset(0);
        while let Ok(batches) = store.read(&topic, next, 1 << 20).await {
            if batches.is_empty() {
                break;
            }
            for stored in batches {
                next = stored.end();
                let batch = Batch::decode(stored.batch).unwrap();
                for (offset, record) in (stored.base.0..).zip(batch.records()) {
                    all.push((offset, id_of(&record.payload)));
                }
            }
        }
        all
    }
}
