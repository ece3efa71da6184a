//! One connection: its handshake, its session, its streams, its end.
//!
//! Until it is authenticated, a client may open [`UNAUTHENTICATED_STREAMS`] and send [`UNAUTHENTICATED_WINDOW`] bytes.
//! This bounds what any number of such clients can make the broker hold.
//!
//! The first stream is the session. Until [`Packet::Connect`] is answered, other streams wait unread in QUIC's
//! buffers, at most for the handshake time. Then the session's task only answers pings. Its stream has a higher
//! priority than any data, so pongs do not queue after data.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::sync::Semaphore;

use super::{
    Config, Permissions,
    connection_counter::CountedConnection,
    dispatch,
    failure::{self, failure},
    packets::put,
    producer_registry::{ProducerLease, Superseded},
    shared::{Peer, Shared},
};
use crate::{
    conn::{CloseCode, handshake, tls::Fingerprint},
    metrics::broker as metrics,
    store::StoreError,
    tasks::Tasks,
    text::{MAX_REASON, printable},
    time,
    wire::{
        Connect, Connected, FailureCode, MaxFrame, Packet, PacketReader, PacketStream,
        PacketWriter, ReadError,
    },
};

/// The bytes that may be in flight or unread on a connection that is not authenticated.
pub(super) const UNAUTHENTICATED_WINDOW: u32 = 256 * 1024;
/// The streams that may be open on a connection that is not authenticated.
pub(super) const UNAUTHENTICATED_STREAMS: u32 = 8;
/// How long a client whose credentials are refused waits for that. It keeps its place among the handshakes meanwhile.
const REFUSAL_DELAY: Duration = Duration::from_millis(500);
/// The priority of the session stream. All other streams have 0.
const PRIORITY: i32 = 1;

/// Serves one connection to its end, or until the broker stops.
pub(super) async fn serve(
    connecting: quinn::Connecting,
    address: SocketAddr,
    counted: CountedConnection,
    shared: Arc<Shared>,
) {
    let CountedConnection {
        handshake,
        connection: _counted,
    } = counted;
    // A shutdown does not wait for handshakes: what is not connected has sent nothing.
    let opening = open(connecting, address, &shared);
    let opened = tokio::select! { biased;
        () = shared.drain.cancelled() => None,
        () = handshake.given_up.cancelled() => {
            tracing::debug!(peer = %address, "a handshake gave way to a newer one");
            None
        }
        opened = opening => opened,
    };
    drop(handshake);
    let Some(session) = opened else { return };
    match session.peer.producer {
        Some(producer) => tracing::info!(peer = %address, %producer, "a producer has connected"),
        None => tracing::info!(peer = %address, "a client has connected"),
    }
    let connection = session.peer.connection.clone();
    let _gauge = metrics::connection();
    session.run().await;
    let reason = connection.close_reason().map(end_reason);
    tracing::info!(peer = %address, reason, "a client has gone");
}

/// Performs the handshake and opens the session, both together in bounded time.
async fn open(
    connecting: quinn::Connecting,
    address: SocketAddr,
    shared: &Arc<Shared>,
) -> Option<Session> {
    let limit = shared.config.admission.handshake_timeout;
    let deadline = time::now() + limit;
    let connection = match handshake(connecting, limit).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::info!(peer = %address, reason = %chain(&error), "a client was refused");
            return None;
        }
    };
    let remaining = deadline.saturating_duration_since(time::now());
    let refusal = match time::timeout(remaining, establish(&connection, shared)).await {
        Ok(Ok(session)) => return Some(session),
        Ok(Err(refusal)) => {
            if refusal.0 == CloseCode::Unauthorised {
                on_unauthorised(shared, address, &refusal.1).await;
            }
            refusal
        }
        Err(_) => Refusal(
            CloseCode::HandshakeTimeout,
            format!("no session within {limit:?}"),
        ),
    };
    refusal.close(&connection);
    None
}

/// Returns why a connection has ended, in words. What the client gave as its reason is not repeated.
fn end_reason(error: quinn::ConnectionError) -> &'static str {
    match error {
        quinn::ConnectionError::ApplicationClosed(_)
        | quinn::ConnectionError::ConnectionClosed(_) => "it closed the connection",
        quinn::ConnectionError::LocallyClosed => "this broker closed the connection",
        quinn::ConnectionError::TimedOut => "nothing came from it for too long",
        quinn::ConnectionError::Reset => "it has forgotten the connection",
        _ => "it broke the protocol",
    }
}

/// Tells of a client whose credentials were refused, and lets it wait.
async fn on_unauthorised(shared: &Shared, address: SocketAddr, why: &str) {
    let line = {
        let mut limit = shared
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        limit.line(time::now())
    };
    if let Some(left_out) = line {
        tracing::warn!(peer = %address, %why, left_out, "a client is refused");
    }
    time::sleep(REFUSAL_DELAY).await;
}

/// Why the broker closes a connection.
#[derive(Debug)]
struct Refusal(CloseCode, String);

impl Refusal {
    fn close(self, connection: &quinn::Connection) {
        let peer = connection.remote_address();
        match self.0 {
            CloseCode::Done | CloseCode::GoingAway => {
                tracing::debug!(%peer, code = ?self.0, reason = %self.1, "connection closed");
            }
            code => tracing::info!(%peer, ?code, reason = %self.1, "a client was refused"),
        }
        connection.close(self.0.into(), self.1.as_bytes());
    }

    fn lost(error: quinn::ConnectionError) -> Self {
        Self(CloseCode::Done, printable(&error.to_string(), MAX_REASON))
    }

    fn protocol(sentence: impl Into<String>) -> Self {
        Self(CloseCode::Protocol, sentence.into())
    }
}

/// An authenticated connection.
struct Session {
    peer: Arc<Peer>,
    /// The lease of its producer, if it has one.
    lease: Option<ProducerLease>,
    requests: PacketReader,
    answers: PacketWriter,
}

async fn establish(
    connection: &quinn::Connection,
    shared: &Arc<Shared>,
) -> Result<Session, Refusal> {
    // Streams are accepted in the order of their ids, so this is the first that the client opened.
    let (send, recv) = connection.accept_bi().await.map_err(Refusal::lost)?;
    // An error means that the stream is closed. The first write returns that again.
    let _ = send.set_priority(PRIORITY);
    let (mut requests, mut answers) = PacketStream::new((send, recv), MaxFrame::SESSION).split();
    let connect = match requests.next().await {
        Ok(Some(Packet::Connect(connect))) => connect,
        Ok(Some(_)) => return Err(Refusal::protocol("the first packet must be Connect")),
        Ok(None) => return Err(Refusal::protocol("the session stream ended")),
        Err(error) => return Err(Refusal::protocol(chain(&error))),
    };
    let permissions = authenticate(shared, connection, &connect)?;
    let (producer, lease) = match &connect.producer {
        // Refused here already, because it could fence a producer that may produce.
        Some(_) if permissions.produce.is_empty() => {
            let sentence = "may not produce".to_owned();
            return Err(Refusal(CloseCode::Unauthorised, sentence));
        }
        Some(identity) => {
            let registered = shared
                .store
                .register_producer(identity)
                .await
                .map_err(not_registered)?;
            let lease = shared.producers.acquire(identity, registered.id).await;
            (Some(registered), Some(lease.map_err(not_registered)?))
        }
        None => (None, None),
    };
    // Sent before the answer, so that the client has the new limits when it reads the answer.
    let Config {
        limits, transport, ..
    } = &shared.config;
    connection.set_receive_window(transport.receive_window.into());
    connection.set_max_concurrent_bi_streams(transport.max_streams.into());
    let connected = Packet::Connected(Connected {
        producer,
        max_frame: u32::try_from(limits.max_frame).unwrap_or(u32::MAX),
        max_message: u32::try_from(limits.max_message).unwrap_or(u32::MAX),
        stream_window: transport.stream_receive_window.into(),
    });
    put(&mut answers, &connected);
    let written = answers.flush().await;
    written.map_err(|_| Refusal::protocol("the session stream was stopped"))?;
    Ok(Session {
        peer: Arc::new(Peer {
            shared: Arc::clone(shared),
            connection: connection.clone(),
            producer: producer.map(|registered| registered.id),
            permissions,
            buffered: Arc::new(Semaphore::new(
                limits.connection_buffer.min(Semaphore::MAX_PERMITS),
            )),
        }),
        lease,
        requests,
        answers,
    })
}

/// Returns what the client may do. Where the broker has tokens: what the line of its token says, or without a token that of
/// its certificate. A certificate without a line gives nothing then, although TLS has verified it.
fn authenticate(
    shared: &Shared,
    connection: &quinn::Connection,
    connect: &Connect,
) -> Result<Permissions, Refusal> {
    let unauthorised = |why: &str| {
        let failure = failure(FailureCode::Unauthorised, why);
        Err(Refusal(CloseCode::Unauthorised, failure.detail))
    };
    let Some(tokens) = shared.tokens() else {
        return Ok(Permissions::all());
    };
    let certificate = certificate(connection);
    let found = match &certificate {
        Some(shown) if connect.token.is_empty() => tokens.certificate(shown),
        _ => tokens.permissions(&connect.token),
    };
    match found {
        Some(permissions) => Ok(permissions.clone()),
        None if !connect.token.is_empty() => unauthorised("the token is not known"),
        None if certificate.is_some() => unauthorised(
            "a token is needed: this certificate has no line of its own among the tokens",
        ),
        None => unauthorised("a token is needed"),
    }
}

/// Returns the fingerprint of the client's certificate, if it has shown one.
fn certificate(connection: &quinn::Connection) -> Option<Fingerprint> {
    let chain = connection.peer_identity()?;
    let chain = chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>();
    chain.ok()?.first().map(Fingerprint::of)
}

fn not_registered(error: StoreError) -> Refusal {
    tracing::warn!(%error, "a producer is refused");
    let failure = failure::store(&error);
    match failure.code {
        // The code has a sentence of its own.
        FailureCode::Fenced => Refusal(CloseCode::Fenced, String::new()),
        FailureCode::Limit => Refusal(CloseCode::Limit, failure.detail),
        _ => Refusal(CloseCode::Internal, failure.detail),
    }
}

impl Session {
    async fn run(self) {
        let Self {
            peer,
            mut lease,
            requests,
            answers,
        } = self;
        let streams = Tasks::new();
        let closing = || Refusal(CloseCode::GoingAway, "the broker is closing".to_owned());
        let ending = tokio::select! { biased;
            end = answer_pings(&peer, requests, answers) => end.err(),
            refusal = superseded(lease.as_mut()) => Some(refusal),
            () = accept_streams(&peer, &streams) => None,
            () = drain(&peer, &streams) => Some(closing()),
            () = peer.shared.connections.stopped().cancelled() => Some(closing()),
        };
        if let Some(refusal) = ending {
            refusal.close(&peer.connection);
        }
        // The committer still stores the batches that were read.
        streams.shutdown().await;
        drop(lease);
    }
}

/// Waits until another connection takes over the producer of this one.
async fn superseded(lease: Option<&mut ProducerLease>) -> Refusal {
    let Some(lease) = lease else {
        return std::future::pending().await;
    };
    match lease.superseded().await {
        Superseded::BySameProducer => {
            let sentence = "the same producer has connected again".to_owned();
            Refusal(CloseCode::Done, sentence)
        }
        Superseded::Fenced => {
            tracing::warn!("a second producer of a name: the earlier one is shut out");
            not_registered(StoreError::Fenced)
        }
    }
}

/// Runs until the connection ends, or returns how the client broke the protocol.
async fn answer_pings(
    peer: &Peer,
    mut requests: PacketReader,
    mut answers: PacketWriter,
) -> Result<(), Refusal> {
    let mut announced = false;
    loop {
        let answer = tokio::select! { biased;
            () = peer.shared.drain.cancelled(), if !announced => {
                announced = true;
                Packet::GoAway
            }
            packet = requests.next() => match packet {
                Ok(Some(Packet::Ping { nonce })) => Packet::Pong { nonce },
                Ok(Some(_)) => return Err(Refusal::protocol("only Ping is allowed on a session")),
                Err(error @ ReadError::Malformed(_)) => return Err(Refusal::protocol(chain(&error))),
                // The client sends no more pings. Its other streams are served until it closes the connection.
                Ok(None) | Err(_) => break,
            },
        };
        put(&mut answers, &answer);
        if answers.flush().await.is_err() {
            break;
        }
    }
    peer.connection.closed().await;
    Ok(())
}

/// Serves each stream in a task of its own, until the connection ends. QUIC bounds the number of streams.
async fn accept_streams(peer: &Arc<Peer>, streams: &Tasks) {
    while let Ok((send, recv)) = peer.connection.accept_bi().await {
        let task = dispatch::serve(Arc::clone(peer), send, recv);
        let stopped = streams.stopped().clone();
        streams.spawn(stopped.run_until_cancelled_owned(task));
    }
}

/// Waits until a shutdown begins, and then until every stream has answered what it read.
async fn drain(peer: &Peer, streams: &Tasks) {
    peer.shared.drain.cancelled().await;
    time::sleep(peer.quiet_time()).await;
    streams.join().await;
}

/// Returns an error and its sources as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    printable(&text, MAX_REASON)
}
