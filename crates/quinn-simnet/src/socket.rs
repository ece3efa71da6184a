//! A simulated UDP socket for quinn.

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

use crate::{
    shared::Shared,
    state::{Datagram, SocketId},
    time,
};

/// The maximum number of datagrams that quinn hands over at once.
const MAX_SEGMENTS: usize = 10;

/// A UDP socket of the network, from [`Network::socket`](crate::Network::socket), to be given to a quinn endpoint.
///
/// Sending never blocks: packets that the network cannot carry are dropped and counted. Keep a clone of the `Arc` to
/// [`rebind`](Socket::rebind) the socket while an endpoint uses it.
pub struct Socket {
    shared: Arc<Shared>,
    id: SocketId,
    /// The address that it was bound to. Like a host behind a NAT, its endpoint does not know of any other.
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
    pub(crate) fn new(shared: Arc<Shared>, id: SocketId, local: SocketAddr) -> Self {
        Self { shared, id, local }
    }

    /// Returns the address that peers see. After [`Socket::rebind`] it differs from the one that the socket was bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.state().address(self.id).unwrap_or(self.local)
    }

    /// Changes the address that peers see, without the endpoint's knowledge, as a NAT rebinding does. Returns the new
    /// address.
    ///
    /// Packets in flight to the old address are lost. Port 0 is replaced by a free one. Another host needs routes of its
    /// own.
    ///
    /// For an endpoint that knows that it moves, bind a second [`Network::socket`](crate::Network::socket) and call
    /// `quinn::Endpoint::rebind_abstract`.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another socket has the address, `AddrNotAvailable` if no port is free.
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
        let mut wakeup = None;
        let mut state = self.shared.state();
        for start in (0..payload.len()).step_by(segment) {
            let end = payload.len().min(start + segment);
            let datagram = Datagram {
                from: self.id,
                to: transmit.destination,
                ecn: transmit.ecn,
                payload: payload.slice(start..end),
            };
            // The last wakeup is the earliest one.
            wakeup = state.on_datagram(now, datagram).or(wakeup);
        }
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.schedule();
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
            // Like any UDP socket, it truncates what does not fit.
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
        let wakeup = state.on_reader(self.id, cx.waker());
        drop(state);
        if let Some(wakeup) = wakeup {
            wakeup.schedule();
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

/// Flips one bit, with the number `bit` modulo the length.
fn flip(bytes: &mut [u8], bit: u64) {
    let Ok(len @ 1..) = u64::try_from(bytes.len()) else {
        return;
    };
    let byte = usize::try_from(bit / 8 % len).unwrap_or_default();
    bytes[byte] ^= 1 << (bit % 8);
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
