//! The first stream of a connection: who we are, and then pings for as long as the connection lives.
//!
//! ```text
//! client                        broker
//!   ── Connect ──────────────────▶
//!   ◀───────── Connected | Failed ──
//!   ── Ping ─────────────────────▶      every `ping_interval`, and when somebody asks; while a producer sends
//!                                       nothing, every third
//!   ◀──────────────────────── Pong ──
//!   ◀────────────────────── GoAway ──   at most once, before the broker closes
//! ```
//!
//! The stream carries nothing else and has a higher priority than all others, so no ping waits behind data. A ping
//! is the only thing that an idle client does, and it keeps the connection from going idle.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use futures_util::StreamExt;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::codec::{Encoder, FramedRead};

use super::{
    error::Cause,
    ping::{Next, Pings},
};
use crate::{
    conn::quic::{CloseCode, CloseReason},
    metrics::connection as metrics,
    time,
    wire::{CodecError, Connect, Connected, Packet, PacketCodec},
};

/// Above the streams that carry data, which have quinn's default of 0.
const PRIORITY: i32 = 1;

/// The longest frame read here: a refusal with its sentence.
const MAX_READ: usize = 4096;

/// The longest frame written here: a token, and a name beside it.
const MAX_WRITE: usize = 70_000;

/// How long the end of the stream may come before the end of the connection, which says why.
const GRACE: Duration = Duration::from_secs(1);

/// The heartbeat of a link, as its pings find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PingStats {
    /// How many pings were answered.
    pub pongs: u64,
    /// When the last answer came; `None` before the first.
    pub last_pong: Option<Instant>,
    /// How long the last ping took, with the time in which either end was busy; `None` before the first.
    pub rtt: Option<Duration>,
    /// The same, smoothed: an eighth of each new one.
    pub smoothed_rtt: Option<Duration>,
}

impl PingStats {
    fn beat(&mut self, now: Instant, rtt: Duration) {
        self.pongs += 1;
        self.last_pong = Some(now);
        self.rtt = Some(rtt);
        self.smoothed_rtt = Some(match self.smoothed_rtt {
            Some(before) => (before * 7 + rtt) / 8,
            None => rtt,
        });
    }
}

/// Who asked for a ping and waits for its round trip.
pub(super) type Waiting = oneshot::Sender<Duration>;

/// What goes on in a session that others want to know, and what they want to know of it.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) pulse: watch::Sender<PingStats>,
    pub(super) going_away: watch::Sender<bool>,
    pub(super) checks: mpsc::Receiver<Waiting>,
}

/// An open session stream.
#[derive(Debug)]
pub(super) struct SessionStream {
    connection: Connection,
    send: SendStream,
    recv: FramedRead<RecvStream, PacketCodec>,
}

impl SessionStream {
    /// Says who we are and waits for the answer. The caller sets the limit of time.
    pub(super) async fn open(
        connection: &Connection,
        connect: Connect,
    ) -> Result<(Self, Connected), Cause> {
        let (send, recv) = connection.open_bi().await.map_err(|e| ended(&e))?;
        // On an error the connection is lost, and the next line says so better.
        let _ = send.set_priority(PRIORITY);
        let mut frame = BytesMut::new();
        PacketCodec::new(MAX_WRITE)
            .encode(Packet::Connect(connect), &mut frame)
            .map_err(|error| Cause::Nonsense(error.to_string()))?;
        let mut session = Self {
            connection: connection.clone(),
            send,
            recv: FramedRead::new(recv, PacketCodec::new(MAX_READ)),
        };
        if session.send.write_all(&frame).await.is_err() {
            return Err(session.broken().await);
        }
        match session.recv.next().await {
            Some(Ok(Packet::Connected(connected))) => Ok((session, connected)),
            Some(Ok(Packet::Failed(failure))) => Err(Cause::Refused(failure)),
            other => Err(session.not_expected(other).await),
        }
    }

    /// Pings until the link is lost, and tells why it is.
    pub(super) async fn run(mut self, mut pings: Pings<Waiting>, mut desk: Desk) -> Cause {
        let mut unwritten = BytesMut::new();
        let mut frames = self.stream_frames();
        loop {
            let due = match pings.poll(time::now(), || self.stream_frames() != frames) {
                Next::Dead => return Cause::NoPong(pings.timeout()),
                Next::Wait(due) => due,
                Next::Ping(nonce) => {
                    PacketCodec::new(MAX_WRITE)
                        .encode(Packet::Ping { nonce }, &mut unwritten)
                        .expect("a ping is shorter than any limit");
                    continue;
                }
            };
            tokio::select! {
                // What the broker said comes before the news that it has closed.
                biased;
                packet = self.recv.next() => match packet {
                    Some(Ok(Packet::Pong { nonce })) => {
                        let now = time::now();
                        let Ok((rtt, waiting)) = pings.on_pong(now, nonce) else {
                            return Cause::Nonsense("a pong that answers no ping".into());
                        };
                        metrics::ping(rtt);
                        frames = self.stream_frames();
                        desk.pulse.send_modify(|pulse| pulse.beat(now, rtt));
                        for asked in waiting {
                            // Who does not wait any more is not told.
                            let _ = asked.send(rtt);
                        }
                    }
                    Some(Ok(Packet::GoAway)) => {
                        desk.going_away.send_replace(true);
                    }
                    Some(Ok(Packet::Failed(failure))) => return Cause::Refused(failure),
                    other => return self.not_expected(other).await,
                },
                written = self.send.write(&unwritten), if !unwritten.is_empty() => match written {
                    Ok(bytes) => {
                        unwritten.advance(bytes);
                        if unwritten.is_empty() {
                            pings.on_written(time::now());
                        }
                    }
                    Err(_) => return self.broken().await,
                },
                error = self.connection.closed() => return ended(&error),
                Some(waiting) = desk.checks.recv(), if pings.room() => pings.ask(waiting),
                () = sleep_until(due) => {}
            }
        }
    }

    /// How many pieces of streams went either way, ever.
    fn stream_frames(&self) -> u64 {
        let stats = self.connection.stats();
        stats.frame_tx.stream + stats.frame_rx.stream
    }

    /// Why there is no packet that belongs here.
    async fn not_expected(&self, got: Option<Result<Packet, CodecError>>) -> Cause {
        match got {
            Some(Ok(packet)) => Cause::Nonsense(format!("{} on the session", packet.name())),
            Some(Err(CodecError::Decode(error))) => Cause::Nonsense(error.to_string()),
            Some(Err(_)) | None => self.broken().await,
        }
    }

    /// Why the stream is of no more use: with the end of the connection, or all by itself.
    async fn broken(&self) -> Cause {
        match time::timeout(GRACE, self.connection.closed()).await {
            Ok(error) => ended(&error),
            Err(_) => Cause::SessionEnded,
        }
    }
}

fn ended(error: &quinn::ConnectionError) -> Cause {
    Cause::Ended(CloseReason::of(error))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => time::until(due).await,
        None => std::future::pending().await,
    }
}

/// What the broker is told of the end that `cause` is.
pub(super) const fn code_for(cause: &Cause) -> CloseCode {
    match cause {
        Cause::NoPong(_) => CloseCode::Unresponsive,
        Cause::Nonsense(_) => CloseCode::Protocol,
        Cause::NoSession(_) | Cause::TooSlow(_) => CloseCode::HandshakeTimeout,
        Cause::Refused(_)
        | Cause::Ended(_)
        | Cause::SessionEnded
        | Cause::Resolve(_)
        | Cause::Bind(_)
        | Cause::Unusable(_) => CloseCode::Done,
    }
}
