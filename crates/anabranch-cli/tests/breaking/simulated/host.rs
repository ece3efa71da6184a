//! A host whose sockets can be rebound to another port, or silenced, as those of a killed process.

use std::{
    fmt, io,
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use anabranch::{
    conn::{NetworkProvider, Resolving},
    sim::{self, Socket},
};
use quinn::{
    AsyncUdpSocket, Runtime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

/// A host of the simulated network, with control over its sockets.
#[derive(Debug)]
pub struct Host {
    host: sim::Host,
    network: sim::Network,
    address: IpAddr,
    sockets: Mutex<Vec<Weak<Socket>>>,
    silent: Arc<AtomicBool>,
}

impl Host {
    pub fn new(network: &sim::Network, address: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            host: sim::Host::new(network, address),
            network: network.clone(),
            address,
            sockets: Mutex::default(),
            silent: Arc::default(),
        })
    }

    /// Rebinds its sockets to other ports, without the program's knowledge.
    pub fn rebind(&self) {
        for socket in self.sockets.lock().unwrap().iter() {
            if let Some(socket) = socket.upgrade() {
                socket.rebind(SocketAddr::new(self.address, 0)).unwrap();
            }
        }
    }

    /// Drops everything that its sockets send from now on.
    pub fn silence(&self) {
        self.silent.store(true, SeqCst);
    }
}

impl NetworkProvider for Host {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = SocketAddr::new(self.address, local.port());
        let socket = self.network.socket(local)?;
        let mut sockets = self.sockets.lock().unwrap();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(&socket));
        Ok(Arc::new(SilenceableSocket {
            socket,
            silent: Arc::clone(&self.silent),
        }))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        self.host.runtime()
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        NetworkProvider::resolve(&self.host, host, port)
    }

    fn seed(&self) -> Option<[u8; 32]> {
        self.host.seed()
    }
}

/// A socket that drops what it sends while its host is silenced.
struct SilenceableSocket {
    socket: Arc<Socket>,
    silent: Arc<AtomicBool>,
}

impl fmt::Debug for SilenceableSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl AsyncUdpSocket for SilenceableSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.silent.load(SeqCst) {
            return Ok(());
        }
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
