//! The simulated UDP socket, as quinn sees it.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::network::{Datagram, Shared, SocketId};
use crate::time;

/// As many datagrams as quinn ever hands over at once.
const MAX_SEGMENTS: usize = 10;

/// A UDP socket of the network, from [`Network::socket`](super::Network::socket).
///
/// It can always be written to: what the network cannot carry it drops, and counts. It is one for quinn; keep a
/// clone of the `Arc` to move it to another address while it is in use.
pub struct Socket {
    shared: Arc<Shared>,
    id: SocketId,
    /// Where it was bound, which is all that its owner knows of its address.
    local: SocketAddr,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("local", &self.local)
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Socket {
    pub(super) fn new(shared: Arc<Shared>, id: SocketId, local: SocketAddr) -> Self {
        Self { shared, id, local }
    }

    /// The address that peers see. It differs from the one that it was bound to after [`Socket::rebind`].
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.state().address(self.id).unwrap_or(self.local)
    }

    /// Peers see another address from now on, as happens behind a NAT that forgets, or with a change of network
    /// that nobody tells the program about. What is on its way to the old address is lost. Port 0 stands for any
    /// that is free; another host needs routes of its own. Returns the new address.
    ///
    /// (For a program that knows that it moves: a second [`Network::socket`](super::Network::socket) and
    /// `quinn::Endpoint::rebind_abstract`.)
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another socket has it, `AddrNotAvailable` if all ports are taken.
    pub fn rebind(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.shared.state().on_rebind(self.id, address)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let alarm = self.shared.state().on_socket_dropped(self.id);
        drop(alarm);
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = time::now();
        let payload = Bytes::copy_from_slice(transmit.contents);
        let segment = transmit.segment_size.unwrap_or(payload.len()).max(1);
        let mut bell = None;
        let mut state = self.shared.state();
        for start in (0..payload.len()).step_by(segment) {
            let end = payload.len().min(start + segment);
            let datagram = Datagram {
                from: self.id,
                to: transmit.destination,
                ecn: transmit.ecn,
                payload: payload.slice(start..end),
            };
            // The first one that comes before all others is the one to wake up for, unless a later one comes
            // before it.
            bell = state.on_datagram(now, datagram).or(bell);
        }
        drop(state);
        if let Some(bell) = bell {
            bell.set();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let now = time::now();
        let mut state = self.shared.state();
        let mut received = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(arrival) = state.poll_arrived(now, self.id) else {
                break;
            };
            // What does not fit is cut off, as by any UDP socket.
            let len = arrival.payload.len().min(buf.len());
            buf[..len].copy_from_slice(&arrival.payload[..len]);
            if let Some(bit) = arrival.flipped_bit {
                flip(&mut buf[..len], bit);
            }
            *meta = RecvMeta {
                addr: arrival.from,
                len,
                stride: len,
                ecn: arrival.ecn,
                dst_ip: Some(self.local.ip()),
            };
            received += 1;
        }
        if received > 0 {
            return Poll::Ready(Ok(received));
        }
        let bell = state.on_reader(self.id, cx.waker());
        drop(state);
        if let Some(bell) = bell {
            bell.set();
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        MAX_SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Flips the bit of this number, counted around `bytes` as often as needed.
fn flip(bytes: &mut [u8], bit: u64) {
    let Ok(len @ 1..) = u64::try_from(bytes.len()) else {
        return;
    };
    let place = usize::try_from(bit / 8 % len).unwrap_or_default();
    bytes[place] ^= 1 << (bit % 8);
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
