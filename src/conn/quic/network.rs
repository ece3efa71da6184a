//! The network that packets go through: real UDP, or a replacement.
//!
//! Both ends take an `Arc<dyn NetworkProvider>`. The default is [`Udp`]. With a simulated network, all code above this
//! file runs unchanged in virtual time.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
};

use quinn::{AsyncUdpSocket, Runtime};
use socket2::{Domain, Protocol, Socket, Type};

/// The future of [`NetworkProvider::resolve`].
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// The future of [`NetworkProvider::port_closed`].
pub type PortClosed<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Provides the sockets, the timers and the name resolution of a client or a server.
///
/// [`Udp`] provides those of the operating system. Another implementation can send packets through a simulated network or a
/// proxy.
pub trait NetworkProvider: fmt::Debug + Send + Sync + 'static {
    /// Binds a UDP socket to `local`. Port 0 means any free port.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// Returns the runtime of quinn's timers and tasks. Default: tokio's, which follows tokio's paused clock.
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(quinn::TokioRuntime)
    }

    /// Resolves `host` to its addresses, in order of preference. Default: the operating system's resolver. A literal address
    /// resolves to itself.
    ///
    /// # Errors
    ///
    /// The name is unknown, or no resolver could be reached.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    /// Completes when the system reports that nothing listens at `remote`, as it does for a closed port of this machine and
    /// of most others that are near. `local` is the address to ask from, if one is given. Default: never completes.
    fn port_closed(&self, remote: SocketAddr, local: Option<IpAddr>) -> PortClosed<'_> {
        let _ = (remote, local);
        Box::pin(std::future::pending())
    }

    /// Returns the seed of quinn's random numbers. Default: `None`, a random one.
    fn seed(&self) -> Option<[u8; 32]> {
        None
    }
}

/// UDP sockets of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Udp {
    /// Size of the socket's send and receive buffers, in bytes. Default: 4 MiB. A larger buffer holds longer bursts of packets
    /// that arrive while the process is not scheduled. The operating system may grant less, which is not an error (on Linux,
    /// the limits are `net.core.rmem_max` and `wmem_max`). Buffers that are already larger are kept.
    pub buffer_bytes: usize,
    /// Whether each attempt to connect also sends one datagram of one byte, from a socket of its own, to learn at once that
    /// nothing listens at the server's port. Default: true. Servers of QUIC ignore the byte. Without it, a closed port is as
    /// silent as an unreachable server.
    pub detect_closed_ports: bool,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            buffer_bytes: 4 << 20,
            detect_closed_ports: true,
        }
    }
}

impl Udp {
    fn socket(&self, local: SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        if local.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            && let Err(error) = socket.set_only_v6(false)
        {
            tracing::debug!(%local, %error, "the socket accepts IPv6 only");
        }
        self.raise_buffers(&socket, local);
        socket.bind(&local.into())?;
        Ok(socket.into())
    }

    fn raise_buffers(&self, socket: &Socket, local: SocketAddr) {
        let raise = |now: io::Result<usize>, set: &dyn Fn(usize) -> io::Result<()>| match now {
            Ok(size) if size >= self.buffer_bytes => Ok(()),
            _ => set(self.buffer_bytes),
        };
        let results = [
            raise(socket.recv_buffer_size(), &|n| {
                socket.set_recv_buffer_size(n)
            }),
            raise(socket.send_buffer_size(), &|n| {
                socket.set_send_buffer_size(n)
            }),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            tracing::debug!(%local, %error, "the size of the socket's buffer could not be raised");
        }
    }
}

impl NetworkProvider for Udp {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.runtime().wrap_udp_socket(self.socket(local)?)
    }

    fn port_closed(&self, remote: SocketAddr, local: Option<IpAddr>) -> PortClosed<'_> {
        let detect = self.detect_closed_ports;
        Box::pin(async move {
            if detect && is_port_closed(remote, local).await.unwrap_or(false) {
                return;
            }
            std::future::pending().await
        })
    }
}

/// Sends a byte that is no packet of QUIC, and returns whether the answer is that the port is closed. Otherwise waits for an
/// answer, which a server does not send.
///
/// The system reports a closed port (ICMP, port unreachable) only to a socket that is connected, and quinn's is not.
async fn is_port_closed(remote: SocketAddr, local: Option<IpAddr>) -> io::Result<bool> {
    let any = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = tokio::net::UdpSocket::bind((local.unwrap_or(any), 0)).await?;
    socket.connect(remote).await?;
    let asked = match socket.send(&[0]).await {
        Ok(_) => socket.recv(&mut [0; 1]).await.map(drop),
        Err(error) => Err(error),
    };
    // Windows reports it as a reset.
    Ok(asked.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(buffer_bytes: usize) -> UdpSocket {
        let udp = Udp {
            buffer_bytes,
            ..Udp::default()
        };
        udp.socket("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn receive_buffer(socket: &UdpSocket) -> usize {
        socket2::SockRef::from(socket).recv_buffer_size().unwrap()
    }

    #[test]
    fn buffers_are_raised_and_never_lowered_and_a_refusal_is_no_error() {
        let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
        let plain = receive_buffer(&plain);
        assert_eq!(receive_buffer(&socket(1)), plain);
        assert!(receive_buffer(&socket(4 << 20)) >= plain);
        assert!(receive_buffer(&socket(usize::from(u16::MAX) << 14)) >= plain);
    }

    #[test]
    #[ignore = "needs IPv6"]
    fn a_socket_for_every_ipv6_address_serves_ipv4_too() {
        let server = Udp::default().socket("[::]:0".parse().unwrap()).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", ("127.0.0.1", port)).unwrap();
        server
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        assert_eq!(server.recv(&mut [0; 2]).unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_literal_address_needs_no_resolver() {
        for (host, address) in [("192.0.2.7", "192.0.2.7:4433"), ("::1", "[::1]:4433")] {
            let found = Udp::default().resolve(host, 4433).await.unwrap();
            assert_eq!(found, [address.parse::<SocketAddr>().unwrap()]);
        }
    }
}
