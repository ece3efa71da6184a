//! A UDP relay in user space, which delays datagrams and drops some of them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Limit of datagrams in flight in one direction. Further ones are dropped, as by a router.
const QUEUE: usize = 16_384;
/// Size of socket buffers, in bytes: large enough that no other datagrams are lost.
const BUFFER: usize = 4 << 20;

/// A relay between one client and one server. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    _directions: JoinSet<()>,
}

impl Relay {
    /// Relays to `server`. Each datagram is delayed by `delay`, and a share of `loss` of them is dropped, the same ones for
    /// the same `seed`.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub async fn start(
        server: SocketAddr,
        delay: Duration,
        loss: f64,
        seed: u64,
    ) -> std::io::Result<Self> {
        let front = Arc::new(socket()?);
        let back = Arc::new(socket()?);
        back.connect(server).await?;
        let address = front.local_addr()?;
        // The client is the last sender, because its address may change.
        let (client, seen) = tokio::sync::watch::channel(None);

        let mut directions = JoinSet::new();
        let (mut there, mut back_again) = (
            Direction::new(delay, loss, seed),
            Direction::new(delay, loss, seed + 1),
        );
        let (from, to) = (Arc::clone(&front), Arc::clone(&back));
        directions.spawn(async move {
            let note = move |from| {
                client.send_replace(Some(from));
            };
            there.run(&from, note, |bytes| to.try_send(bytes)).await
        });
        directions.spawn(async move {
            let send = |bytes: &[u8]| match *seen.borrow() {
                Some(client) => front.try_send_to(bytes, client),
                None => Ok(0),
            };
            back_again.run(&back, |_| {}, send).await
        });
        Ok(Self {
            address,
            _directions: directions,
        })
    }

    /// Returns the address for the client.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn socket() -> std::io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let options = socket2::SockRef::from(&socket);
    // The system may allow less.
    let _ = options.set_recv_buffer_size(BUFFER);
    let _ = options.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

struct Direction {
    delay: Duration,
    loss: f64,
    rng: fastrand::Rng,
}

impl Direction {
    fn new(delay: Duration, loss: f64, seed: u64) -> Self {
        Self {
            delay,
            loss,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    async fn run(
        &mut self,
        socket: &UdpSocket,
        note: impl Fn(SocketAddr) + Send,
        send: impl Fn(&[u8]) -> std::io::Result<usize> + Send,
    ) {
        let (late, mut due) = mpsc::channel::<(Instant, Box<[u8]>)>(QUEUE);
        let receive = async {
            let mut datagram = vec![0; 65_536];
            loop {
                let (len, from) = match socket.recv_from(&mut datagram).await {
                    Ok(received) => received,
                    // An ICMP error: the other end has closed its port.
                    Err(_) => continue,
                };
                note(from);
                if self.rng.f64() >= self.loss {
                    // A full queue drops.
                    let _ = late.try_send((Instant::now() + self.delay, datagram[..len].into()));
                }
            }
        };
        let deliver = async {
            while let Some((at, datagram)) = due.recv().await {
                sleep_until(at).await;
                // A datagram that cannot be sent is lost.
                let _ = send(&datagram);
            }
        };
        tokio::select! {
            () = deliver => {}
            () = receive => {}
        }
    }
}
