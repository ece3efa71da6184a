//! A relay between a client and the broker. It terminates QUIC on both sides and copies streams, so that it can reset one
//! stream or close one connection without affecting anything else, which a network cannot.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anabranch::conn::{self, Admission, ClientTls, ServerTls, TransportConfig};
use bytes::Bytes;
use fastrand::Rng;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use tokio_util::sync::CancellationToken;

use super::host::Host;

/// Error code of reset streams and closed connections.
const BY_THE_RELAY: VarInt = VarInt::from_u32(0);

#[derive(Debug, Clone)]
pub struct Relay {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Open streams, in the order of their opening, each with the token that ends it.
    streams: BTreeMap<u64, CancellationToken>,
    connections: BTreeMap<u64, CancellationToken>,
    next: u64,
}

impl Relay {
    /// Listens at `listen`, and opens a connection to `broker` for each incoming one.
    pub fn start(
        host: &Host,
        listen: SocketAddr,
        broker: SocketAddr,
        shown: &ServerTls,
        trusted: &ClientTls,
    ) -> Self {
        let settings = TransportConfig::server();
        let tls = shown.to_rustls().unwrap();
        let config = conn::internals::server_config(tls, &settings, &Admission::default()).unwrap();
        let front =
            conn::internals::server_endpoint(listen, config, &settings, host, None).unwrap();
        let back = SocketAddr::new(listen.ip(), 0);
        let mut back =
            conn::internals::client_endpoint(back, &TransportConfig::default(), host).unwrap();
        let config = conn::internals::client_config(trusted.to_rustls().unwrap()).unwrap();
        back.set_default_client_config(config);
        let relay = Self {
            shared: Arc::default(),
        };
        tokio::spawn(relay.clone().accept(front, back, broker));
        relay
    }

    /// Resets one of the open streams in both directions. Returns false without open streams.
    pub fn reset_a_stream(&self, rng: &mut Rng) -> bool {
        end_one(&mut self.shared.lock().unwrap().streams, rng)
    }

    /// Closes one of the connections. Returns false without connections.
    pub fn close_a_connection(&self, rng: &mut Rng) -> bool {
        end_one(&mut self.shared.lock().unwrap().connections, rng)
    }

    async fn accept(self, front: Endpoint, back: Endpoint, broker: SocketAddr) {
        while let Some(incoming) = front.accept().await {
            let (this, back) = (self.clone(), back.clone());
            tokio::spawn(async move {
                if let Ok(client) = incoming.await {
                    this.join(client, &back, broker).await;
                }
            });
        }
    }

    async fn join(self, client: Connection, back: &Endpoint, broker: SocketAddr) {
        let Ok(connecting) = back.connect(broker, "broker") else {
            return;
        };
        let Ok(server) = connecting.await else {
            return;
        };
        let ended = CancellationToken::new();
        let number = self
            .shared
            .lock()
            .unwrap()
            .insert(|s| &mut s.connections, &ended);
        tokio::select! { biased;
            () = ended.cancelled() => {
                client.close(BY_THE_RELAY, b"");
                server.close(BY_THE_RELAY, b"");
            }
            end = client.closed() => close_as(&server, &end),
            end = server.closed() => close_as(&client, &end),
            () = self.streams(&client, &server) => {}
        }
        self.shared.lock().unwrap().connections.remove(&number);
    }

    async fn streams(&self, client: &Connection, server: &Connection) {
        // The first stream is the session, which ends only with its connection.
        let mut may_be_reset = false;
        while let Ok(near) = client.accept_bi().await {
            let Ok(far) = server.open_bi().await else {
                break;
            };
            tokio::spawn(self.clone().pipe(near, far, may_be_reset));
            may_be_reset = true;
        }
        std::future::pending().await
    }

    async fn pipe(
        self,
        near: (SendStream, RecvStream),
        far: (SendStream, RecvStream),
        may_be_reset: bool,
    ) {
        let ended = CancellationToken::new();
        let number = may_be_reset.then(|| {
            let mut shared = self.shared.lock().unwrap();
            shared.insert(|s| &mut s.streams, &ended)
        });
        let (mut near_send, mut near_recv) = near;
        let (mut far_send, mut far_recv) = far;
        let both = async {
            tokio::join!(
                copy(&mut near_recv, &mut far_send),
                copy(&mut far_recv, &mut near_send)
            )
        };
        if ended.run_until_cancelled(both).await.is_none() {
            for send in [&mut near_send, &mut far_send] {
                let _ = send.reset(BY_THE_RELAY);
            }
            for recv in [&mut near_recv, &mut far_recv] {
                let _ = recv.stop(BY_THE_RELAY);
            }
        }
        if let Some(number) = number {
            self.shared.lock().unwrap().streams.remove(&number);
        }
    }
}

impl Shared {
    fn insert(
        &mut self,
        among: impl FnOnce(&mut Self) -> &mut BTreeMap<u64, CancellationToken>,
        token: &CancellationToken,
    ) -> u64 {
        self.next += 1;
        let number = self.next;
        among(self).insert(number, token.clone());
        number
    }
}

fn end_one(among: &mut BTreeMap<u64, CancellationToken>, rng: &mut Rng) -> bool {
    let chosen = rng.choice(among.keys().copied());
    let token = chosen.and_then(|number| among.remove(&number));
    token.is_some_and(|token| {
        token.cancel();
        true
    })
}

/// Copies one direction, including how it ends.
async fn copy(from: &mut RecvStream, to: &mut SendStream) {
    let mut chunks: [Bytes; 8] = Default::default();
    loop {
        let read = tokio::select! { biased;
            stopped = to.stopped() => {
                let code = stopped.ok().flatten().unwrap_or(BY_THE_RELAY);
                let _ = from.stop(code);
                return;
            }
            read = from.read_chunks(&mut chunks) => read,
        };
        match read {
            Ok(Some(n)) => {
                if to.write_all_chunks(&mut chunks[..n]).await.is_err() {
                    let _ = from.stop(BY_THE_RELAY);
                    return;
                }
            }
            Ok(None) => {
                let _ = to.finish();
                return;
            }
            Err(quinn::ReadError::Reset(code)) => {
                let _ = to.reset(code);
                return;
            }
            Err(_) => {
                let _ = to.reset(BY_THE_RELAY);
                return;
            }
        }
    }
}

/// Closes a connection as the other one was closed.
fn close_as(connection: &Connection, end: &ConnectionError) {
    match end {
        ConnectionError::ApplicationClosed(close) => {
            connection.close(close.error_code, &close.reason);
        }
        _ => connection.close(BY_THE_RELAY, b""),
    }
}
