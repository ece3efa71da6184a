//! The broker with its disk, the clients' hosts, and the links between them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anabranch::{
    Offset, TopicName,
    broker::{Broker, StartError},
    conn::{self, TestCertificate},
    sim::{Direction, LinkConfig, Network},
    wire::internals::Batch,
};
use fastrand::Rng;

use super::{disk::Disk, host::Host, log::id_of, relay::Relay};
use crate::history::MessageId;

pub const TOPIC: &str = "events";
/// Longer than all faults of a run together.
pub const LONG: Duration = Duration::from_secs(900);

const BROKER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 4433);
const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), 4433);

/// Returns the certificate of the broker. Its length is fixed, so that packets are the same from run to run.
fn certificate() -> &'static TestCertificate {
    static CERTIFICATE: OnceLock<TestCertificate> = OnceLock::new();
    CERTIFICATE.get_or_init(TestCertificate::new)
}

/// The host of a client, and its link.
pub struct Client {
    pub host: Arc<Host>,
    pub there: Direction,
    pub back: Direction,
    /// Address it connects to: the broker's or the relay's.
    server: SocketAddr,
}

impl Client {
    pub fn connection(&self) -> conn::Config {
        let mut config = conn::Config::default();
        config.servers = vec![self.server.to_string()];
        config.tls = certificate().client_tls();
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
    /// The relay between the first client and the broker, in some runs.
    pub relay: Option<Relay>,
    broker: tokio::sync::Mutex<Option<RunningBroker>>,
}

/// A running broker and its host.
struct RunningBroker {
    broker: Broker,
    host: Arc<Host>,
}

impl World {
    /// Starts the broker, and adds `clients` clients, each on its own link.
    pub async fn new(network: Network, clients: u8, link: LinkConfig, rng: &mut Rng) -> Self {
        let disk = Disk::new(rng.u64(..));
        let relayed = rng.u8(0..3) == 0;
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
            let (shown, trusted) = (certificate().server_tls(), certificate().client_tls());
            Relay::start(&host, RELAY, BROKER, &shown, &trusted)
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

    async fn bind(&self) -> Result<RunningBroker, StartError> {
        let host = Host::new(&self.network, BROKER.ip());
        let broker = Broker::builder()
            .listen(BROKER)
            .tls(certificate().server_tls())
            .store(self.disk.mount())
            .network(Arc::clone(&host) as _)
            .bind()
            .await?;
        Ok(RunningBroker { broker, host })
    }

    /// Starts the broker again. Retries until the old socket is closed, which the last of its tasks does.
    async fn start_again(&self) -> RunningBroker {
        loop {
            match self.bind().await {
                Ok(running) => return running,
                Err(StartError::Socket(_)) => {
                    self.network.sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Returns a function that silences the broker's host. The store may call it.
    pub async fn silencer(&self) -> impl Fn() + Send + use<> {
        let broker = self.broker.lock().await;
        let host = broker.as_ref().map(|running| Arc::clone(&running.host));
        move || {
            if let Some(host) = &host {
                host.silence();
            }
        }
    }

    /// Crashes the broker's machine, which loses what was not synced. Starts it again after `down`.
    pub async fn crash(&self, down: Duration) {
        let mut broker = self.broker.lock().await;
        if let Some(running) = broker.take() {
            running.host.silence();
            self.disk.power_cut().await;
        }
        self.network.sleep(down).await;
        *broker = Some(self.start_again().await);
    }

    /// Shuts the broker down gracefully, and starts it again after `down`.
    pub async fn restart(&self, down: Duration) {
        let mut broker = self.broker.lock().await;
        if let Some(running) = broker.take() {
            // Connections cut by a fault do not finish in time.
            let _ = running.broker.shutdown(Duration::from_secs(2)).await;
        }
        self.network.sleep(down).await;
        *broker = Some(self.start_again().await);
    }

    /// Returns all stored messages, in order.
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
