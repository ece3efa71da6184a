//! A network in memory, in which addresses can be cut off and names can move.
#![allow(clippy::disallowed_methods, reason = "delayed packets are tasks")]

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

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use crate::conn::{NetworkProvider, Resolving};

/// A network without losses or limits, in which addresses can be made unreachable and names can change their addresses.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sockets: Mutex<BTreeMap<SocketAddr, Arc<MemorySocket>>>,
    names: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
    unreachable: Mutex<Vec<SocketAddr>>,
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

    /// Sets the addresses that `name` resolves to.
    pub(crate) fn name(&self, name: &str, addresses: &[SocketAddr]) {
        let mut names = self.names.lock().unwrap();
        names.insert(name.into(), addresses.to_vec());
    }

    /// Sets the delay of every packet, which is zero at first.
    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// Sets whether packets to `address` are dropped.
    pub(crate) fn set_unreachable(&self, address: SocketAddr, unreachable: bool) {
        let mut list = self.unreachable.lock().unwrap();
        list.retain(|a| *a != address);
        if unreachable {
            list.push(address);
        }
    }
}

/// The network as the machine with this IP address uses it.
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
            queue: Mutex::default(),
        });
        let mut sockets = self.0.sockets.lock().unwrap();
        // Sockets are never unbound. The next one at an address replaces the previous one, as after a restart.
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
struct ReceiveQueue {
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
}

struct MemorySocket {
    address: SocketAddr,
    network: Arc<Memory>,
    queue: Mutex<ReceiveQueue>,
}

impl MemorySocket {
    fn deliver(&self, packet: (SocketAddr, Vec<u8>)) {
        let mut queue = self.queue.lock().unwrap();
        queue.packets.push_back(packet);
        if let Some(reader) = queue.reader.take() {
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
        if self.network.unreachable.lock().unwrap().contains(&to) {
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
        let mut queue = self.queue.lock().unwrap();
        let Some((from, packet)) = queue.packets.pop_front() else {
            queue.reader = Some(cx.waker().clone());
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
