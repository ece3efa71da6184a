//! One connection: its handshake, its session, its streams, its end.
//!
//! Before its session stands, a client is a stranger: it may open [`STRANGER_STREAMS`] and send [`STRANGER_WINDOW`]
//! bytes, which bounds what any number of strangers can make the broker hold.
//!
//! The first stream is the session. Until [`Packet::Connect`] is answered, other streams wait unread in QUIC's
//! buffers, for the handshake time at most. Afterwards the session's task does nothing but answer pings, at a
//! higher priority than any data, so a pong waits behind nothing.

use std::{net::SocketAddr, sync::Arc};

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio_util::codec::FramedRead;

use super::{
    Config, Permissions,
    accept::Places,
    commit, failure,
    outgoing::Outgoing,
    sessions::{Overtaken, Seat},
    shared::{Peer, Shared},
    stream,
};
use crate::{
    conn::{CloseCode, handshake},
    metrics::broker as metrics,
    store::StoreError,
    tasks::Tasks,
    time,
    wire::{CodecError, Connect, Connected, FailureCode, Packet, PacketCodec},
};

/// The longest frame on a session stream: its longest packet carries a token and a name.
const MAX_FRAME: usize = 128 * 1024;
/// The bytes that may be under way or unread on a connection without a session.
pub(super) const STRANGER_WINDOW: u32 = 256 * 1024;
/// The streams that may be open on a connection without a session.
pub(super) const STRANGER_STREAMS: u32 = 8;
/// Above every other stream, all of which have 0.
const PRIORITY: i32 = 1;

/// Serves one connection to its end, or until the broker stops.
pub(super) async fn serve(
    connecting: quinn::Connecting,
    address: SocketAddr,
    places: Places,
    shared: Arc<Shared>,
) {
    let Places {
        handshake,
        connection: _place,
    } = places;
    let stopped = shared.connections.stopped();
    let opening = open(connecting, address, &shared);
    let opened = stopped.run_until_cancelled(opening).await;
    drop(handshake);
    let Some(Some(session)) = opened else { return };
    tracing::info!(peer = %address, producer = ?session.peer.producer, "session stands");
    let connection = session.peer.connection.clone();
    let _counted = metrics::connection();
    session.run().await;
    tracing::info!(peer = %address, reason = ?connection.close_reason(), "session ended");
}

/// The handshake, and the session with it: in bounded time together.
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
            tracing::debug!(peer = %address, error = %chain(&error), "no connection");
            return None;
        }
    };
    let remaining = deadline.saturating_duration_since(time::now());
    let refusal = match time::timeout(remaining, establish(&connection, shared)).await {
        Ok(Ok(session)) => return Some(session),
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal(
            CloseCode::HandshakeTimeout,
            format!("no session within {limit:?}"),
        ),
    };
    refusal.close(&connection);
    None
}

/// Why a connection is closed from here.
#[derive(Debug)]
struct Refusal(CloseCode, String);

impl Refusal {
    fn close(self, connection: &quinn::Connection) {
        let peer = connection.remote_address();
        tracing::info!(%peer, code = ?self.0, reason = %self.1, "connection closed");
        connection.close(self.0.into(), self.1.as_bytes());
    }

    fn lost(error: quinn::ConnectionError) -> Self {
        Self(CloseCode::Done, error.to_string())
    }

    fn protocol(sentence: impl Into<String>) -> Self {
        Self(CloseCode::Protocol, sentence.into())
    }
}

/// A session that stands.
struct Session {
    peer: Arc<Peer>,
    /// Where it speaks for a producer.
    seat: Option<Seat>,
    frames: FramedRead<quinn::RecvStream, PacketCodec>,
    outgoing: Outgoing,
}

async fn establish(
    connection: &quinn::Connection,
    shared: &Arc<Shared>,
) -> Result<Session, Refusal> {
    // Streams are accepted in the order of their numbers: this is the client's first, whichever came first.
    let (send, recv) = connection.accept_bi().await.map_err(Refusal::lost)?;
    // An error means that the stream is closed, which its first write will tell.
    let _ = send.set_priority(PRIORITY);
    let mut frames = FramedRead::new(recv, PacketCodec::new(MAX_FRAME));
    let mut outgoing = Outgoing::new(send);
    let connect = match frames.next().await {
        Some(Ok(Packet::Connect(connect))) => connect,
        Some(Ok(_)) => return Err(Refusal::protocol("the first packet must be Connect")),
        Some(Err(error)) => return Err(Refusal::protocol(chain(&error))),
        None => return Err(Refusal::protocol("the session stream ended")),
    };
    let permissions = authenticate(shared, connection, &connect)?;
    let (producer, seat) = match &connect.producer {
        // It could fence one that may.
        Some(_) if permissions.produce.is_empty() => {
            let sentence = "may not produce".to_owned();
            return Err(Refusal(CloseCode::Unauthorised, sentence));
        }
        Some(identity) => {
            let enrolled = shared
                .store
                .register_producer(identity)
                .await
                .map_err(enrolment)?;
            let seat = shared.sessions.enter(identity, enrolled.id).await;
            (Some(enrolled), Some(seat.map_err(enrolment)?))
        }
        None => (None, None),
    };
    // Goes out in front of the answer, so that a client that waits for that finds room.
    let Config {
        limits, transport, ..
    } = &shared.config;
    connection.set_receive_window(transport.receive_window.into());
    connection.set_max_concurrent_bi_streams(transport.max_streams.into());
    outgoing.put(&Packet::Connected(Connected {
        producer,
        max_frame: u32::try_from(limits.max_frame).unwrap_or(u32::MAX),
        max_message: u32::try_from(limits.max_message).unwrap_or(u32::MAX),
        stream_window: transport.stream_receive_window.into(),
    }));
    let written = outgoing.flush().await;
    written.map_err(|_| Refusal::protocol("the session stream was stopped"))?;
    Ok(Session {
        peer: Arc::new(Peer {
            shared: Arc::clone(shared),
            connection: connection.clone(),
            producer: producer.map(|enrolled| enrolled.id),
            permissions,
            buffered: Arc::new(Semaphore::new(
                limits.connection_buffer.min(Semaphore::MAX_PERMITS),
            )),
        }),
        seat,
        frames,
        outgoing,
    })
}

/// A token is good for what stands behind it. A client certificate that TLS has checked stands in for a token.
fn authenticate(
    shared: &Shared,
    connection: &quinn::Connection,
    connect: &Connect,
) -> Result<Permissions, Refusal> {
    let unauthorised = |why: &str| {
        let failure = failure(FailureCode::Unauthorised, why);
        Err(Refusal(CloseCode::Unauthorised, failure.detail))
    };
    let Some(tokens) = &shared.config.tokens else {
        return Ok(Permissions::all());
    };
    match tokens.permissions(&connect.token) {
        Some(permissions) => Ok(permissions.clone()),
        None if !connect.token.is_empty() => unauthorised("the token is not known"),
        None if connection.peer_identity().is_some() => Ok(Permissions::all()),
        None => unauthorised("a token is needed"),
    }
}

fn enrolment(error: StoreError) -> Refusal {
    tracing::warn!(%error, "a producer may not go on");
    let failure = commit::failure(&error);
    match failure.code {
        // The code says it all.
        FailureCode::Fenced => Refusal(CloseCode::Fenced, String::new()),
        FailureCode::Limit => Refusal(CloseCode::Limit, failure.detail),
        _ => Refusal(CloseCode::Internal, failure.detail),
    }
}

impl Session {
    async fn run(self) {
        let Self {
            peer,
            mut seat,
            frames,
            outgoing,
        } = self;
        let streams = Tasks::new();
        let closing = || Refusal(CloseCode::GoingAway, "the broker is closing".to_owned());
        let ending = tokio::select! { biased;
            end = answer_pings(&peer, frames, outgoing) => end.err(),
            overtaken = overtaken(seat.as_mut()) => Some(overtaken),
            () = accept_streams(&peer, &streams) => None,
            () = drain(&peer, &streams) => Some(closing()),
            () = peer.shared.connections.stopped().cancelled() => Some(closing()),
        };
        if let Some(refusal) = ending {
            refusal.close(&peer.connection);
        }
        // The connection is closed. Batches that were read are seen through by the committer all the same.
        streams.shutdown().await;
        drop(seat);
    }
}

/// Ends when another connection speaks for this one's producer.
async fn overtaken(seat: Option<&mut Seat>) -> Refusal {
    let Some(seat) = seat else {
        return std::future::pending().await;
    };
    match seat.overtaken().await {
        Overtaken::ByItself => {
            let sentence = "the same producer has connected again".to_owned();
            Refusal(CloseCode::Done, sentence)
        }
        Overtaken::Fenced => enrolment(StoreError::Fenced),
    }
}

/// Ends when the connection does, or with what the client did wrong.
async fn answer_pings(
    peer: &Peer,
    mut frames: FramedRead<quinn::RecvStream, PacketCodec>,
    mut outgoing: Outgoing,
) -> Result<(), Refusal> {
    let mut told = false;
    loop {
        let answer = tokio::select! { biased;
            () = peer.shared.drain.cancelled(), if !told => {
                told = true;
                Packet::GoAway
            }
            packet = frames.next() => match packet {
                Some(Ok(Packet::Ping { nonce })) => Packet::Pong { nonce },
                Some(Ok(_)) => return Err(Refusal::protocol("only Ping goes on a session")),
                Some(Err(error @ (CodecError::Decode(_) | CodecError::Encode(_)))) => {
                    return Err(Refusal::protocol(chain(&error)));
                }
                // The client pings no more. Its streams go on until it closes the connection.
                Some(Err(_)) | None => break,
            },
        };
        outgoing.put(&answer);
        if outgoing.flush().await.is_err() {
            break;
        }
    }
    peer.connection.closed().await;
    Ok(())
}

/// Ends when the connection does. One task a stream; QUIC bounds how many.
async fn accept_streams(peer: &Arc<Peer>, streams: &Tasks) {
    while let Ok((send, recv)) = peer.connection.accept_bi().await {
        let task = stream::serve(Arc::clone(peer), send, recv);
        let stopped = streams.stopped().clone();
        streams.spawn(stopped.run_until_cancelled_owned(task));
    }
}

/// In a shutdown: ends when every stream has answered what it read.
async fn drain(peer: &Peer, streams: &Tasks) {
    peer.shared.drain.cancelled().await;
    time::sleep(peer.quiet_time()).await;
    streams.join().await;
}

/// An error and its sources in one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
