//! What the tests of this folder share: a network in memory, and a broker that does as it is told.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use quinn::{
    AsyncUdpSocket, Connection, Endpoint, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{
    admission::Admission,
    close::CloseCode,
    config::Config,
    dev_certs::DevCerts,
    network::{NetworkProvider, Resolving},
    quic::{self, TransportConfig},
    tls::{ClientTls, ServerTls},
};
use crate::{
    ProducerId,
    wire::{Connect, Connected, Failure, FailureCode, Packet, PacketCodec, RegisteredProducer},
};

/// A network without loss or limits, in which addresses can be made deaf and names can move.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sockets: Mutex<BTreeMap<SocketAddr, Arc<MemorySocket>>>,
    names: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
    deaf: Mutex<Vec<SocketAddr>>,
    next_port: AtomicU16,
    delay: Mutex<Duration>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            next_port: AtomicU16::new(50_000),
            ..Self::default()
        })
    }

    /// From now on `name` stands for these addresses.
    pub(crate) fn name(&self, name: &str, addresses: &[SocketAddr]) {
        let mut names = self.names.lock().unwrap();
        names.insert(name.into(), addresses.to_vec());
    }

    /// From now on every packet takes this long. At first it takes no time at all.
    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// From now on nothing reaches `address`, or everything does again.
    pub(crate) fn set_deaf(&self, address: SocketAddr, deaf: bool) {
        let mut list = self.deaf.lock().unwrap();
        list.retain(|a| *a != address);
        if deaf {
            list.push(address);
        }
    }
}

/// The network as one machine sees it.
#[derive(Debug, Clone)]
pub(crate) struct At(pub(crate) Arc<Memory>, pub(crate) &'static str);

impl NetworkProvider for At {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let port = match local.port() {
            0 => self.0.next_port.fetch_add(1, Relaxed),
            port => port,
        };
        let address = SocketAddr::new(self.1.parse().unwrap(), port);
        let socket = Arc::new(MemorySocket {
            address,
            network: Arc::clone(&self.0),
            inbox: Mutex::default(),
        });
        let mut sockets = self.0.sockets.lock().unwrap();
        // Nobody unbinds; the next one at an address takes it over, as after a restart.
        sockets.insert(address, Arc::clone(&socket));
        Ok(socket)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move {
            if let Ok(ip) = host.parse() {
                return Ok(vec![SocketAddr::new(ip, port)]);
            }
            let names = self.0.names.lock().unwrap();
            names
                .get(host)
                .cloned()
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
        })
    }
}

#[derive(Default)]
struct Inbox {
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
}

struct MemorySocket {
    address: SocketAddr,
    network: Arc<Memory>,
    inbox: Mutex<Inbox>,
}

impl MemorySocket {
    fn deliver(&self, packet: (SocketAddr, Vec<u8>)) {
        let mut inbox = self.inbox.lock().unwrap();
        inbox.packets.push_back(packet);
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }
}

impl std::fmt::Debug for MemorySocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySocket({})", self.address)
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for MemorySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        assert!(transmit.segment_size.is_none(), "one packet at a time");
        let to = transmit.destination;
        if self.network.deaf.lock().unwrap().contains(&to) {
            return Ok(());
        }
        let receiver = self.network.sockets.lock().unwrap().get(&to).cloned();
        if let Some(receiver) = receiver {
            let packet = (self.address, transmit.contents.to_vec());
            let delay = *self.network.delay.lock().unwrap();
            if delay.is_zero() {
                receiver.deliver(packet);
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    receiver.deliver(packet);
                });
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.lock().unwrap();
        let Some((from, packet)) = inbox.packets.pop_front() else {
            inbox.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        bufs[0][..packet.len()].copy_from_slice(&packet);
        meta[0] = RecvMeta {
            addr: from,
            len: packet.len(),
            stride: packet.len(),
            ecn: None,
            dst_ip: Some(self.address.ip()),
        };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Development certificates for every test, made once a process.
pub(crate) fn certs() -> DevCerts {
    static FOLDER: std::sync::OnceLock<(tempfile::TempDir, DevCerts)> = std::sync::OnceLock::new();
    let (_, certs) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let certs = DevCerts::ensure(folder.path(), &["192.0.2.1", "192.0.2.2", "broker.test"]);
        (folder, certs.unwrap())
    });
    certs.clone()
}

/// Options of a client for `server` in tests.
pub(crate) fn client(server: impl Into<String>) -> Config {
    let mut config = Config::to(server);
    config.tls = ClientTls::trusting(certs().trust());
    config.reconnect_backoff.seed = Some(7);
    config
}

/// What a test broker answers to `Connect`.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The session stands, and every ping is answered.
    Welcome,
    /// The session stands, and no ping is answered.
    Mute,
    /// As [`Answer::Welcome`], and right after it that the broker is about to close.
    GoAway,
    /// Nothing.
    Nothing,
    /// A refusal on the stream. It is for the client to close: a close of the broker's would overtake it.
    Refuse(FailureCode, &'static str),
    /// The connection closed, without a word on the stream.
    Close(CloseCode, &'static str),
    /// Another packet than belongs there.
    Nonsense,
    /// The session's stream reset, and nothing else.
    Reset,
}

/// A broker that does as it is told, and tells what it sees. Dropping it takes its endpoint away without a word.
pub(crate) struct TestBroker {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// The sessions that were opened: who came, and on which connection.
    pub(crate) sessions: mpsc::Receiver<(Connect, Connection)>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestBroker {
    pub(crate) fn start(listen: &str, answer: Answer, network: &dyn NetworkProvider) -> Self {
        Self::with(
            listen,
            answer,
            network,
            &certs().server_tls(),
            &TransportConfig::server(),
        )
    }

    pub(crate) fn with(
        listen: &str,
        answer: Answer,
        network: &dyn NetworkProvider,
        tls: &ServerTls,
        settings: &TransportConfig,
    ) -> Self {
        let tls = tls.to_rustls().unwrap();
        let config = quic::server_config(tls, settings, &Admission::default()).unwrap();
        let endpoint =
            quic::server_endpoint(listen.parse().unwrap(), config, settings, network).unwrap();
        let (opened, sessions) = mpsc::channel(16);
        let accepting = endpoint.clone();
        let task = tokio::spawn(Self::accept(accepting, answer, opened));
        Self {
            address: endpoint.local_addr().unwrap(),
            endpoint,
            sessions,
            task,
        }
    }

    async fn accept(
        endpoint: Endpoint,
        answer: Answer,
        opened: mpsc::Sender<(Connect, Connection)>,
    ) {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(serve(incoming, answer.clone(), opened.clone()));
        }
    }

    /// Serves at `endpoint` and tells nobody of it.
    pub(crate) async fn serve_all(endpoint: Endpoint, answer: Answer) {
        Self::accept(endpoint, answer, mpsc::channel(1).0).await;
    }

    /// The connection of the next session that is opened.
    pub(crate) async fn session(&mut self) -> Connection {
        self.sessions.recv().await.unwrap().1
    }
}

async fn serve(
    incoming: quinn::Incoming,
    answer: Answer,
    opened: mpsc::Sender<(Connect, Connection)>,
) {
    let Ok(connection) = incoming.await else {
        return;
    };
    let Ok((send, recv)) = connection.accept_bi().await else {
        return;
    };
    let mut send = FramedWrite::new(send, PacketCodec::new(4096));
    let mut recv = FramedRead::new(recv, PacketCodec::new(70_000));
    let Some(Ok(Packet::Connect(connect))) = recv.next().await else {
        return;
    };
    let _ = opened.try_send((connect.clone(), connection.clone()));
    match answer {
        Answer::Nothing => {}
        Answer::Close(code, reason) => connection.close(code.into(), reason.as_bytes()),
        Answer::Refuse(code, detail) => {
            let detail = detail.into();
            let failed = Packet::Failed(Failure { code, detail });
            send.send(failed).await.unwrap();
        }
        Answer::Reset => drop(send.get_mut().reset(7_u32.into())),
        Answer::Nonsense => send.send(Packet::Probed { nonce: 1 }).await.unwrap(),
        Answer::Welcome | Answer::GoAway | Answer::Mute => {
            let connected = Connected {
                producer: connect.producer.map(|_| RegisteredProducer {
                    id: ProducerId(1),
                    forgotten: false,
                }),
                max_frame: 1 << 20,
                max_message: 1 << 16,
                stream_window: 1 << 20,
            };
            send.send(Packet::Connected(connected)).await.unwrap();
            if matches!(answer, Answer::GoAway) {
                send.send(Packet::GoAway).await.unwrap();
            }
        }
    }
    while let Some(Ok(packet)) = recv.next().await {
        if let (Packet::Ping { nonce }, Answer::Welcome | Answer::GoAway) = (packet, &answer) {
            let _ = send.send(Packet::Pong { nonce }).await;
        }
    }
}

/// Keeps a test that should fail by an assertion from hanging instead. Real time; far more than any test needs.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it does not take this long")
}
