//! The control stream of a connection: authentication, then pings for as long as the connection lives.
//!
//! ```text
//! client                        broker
//!   ── Connect ──────────────────▶
//!   ◀───────── Connected | Failed ──
//!   ── Ping ─────────────────────▶      every `ping_interval`, and on request; every third interval only
//!                                       while a producer sends nothing
//!   ◀──────────────────────── Pong ──
//!   ◀────────────────────── GoAway ──   at most once, before the broker closes
//! ```
//!
//! It is the first stream of a connection. It carries nothing else and has a higher priority than all other streams, so no
//! ping waits behind data. Pings are all that an idle client sends, and they keep the connection from going idle.

use std::time::{Duration, Instant};

use quinn::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    error::Cause,
    ping::{PingAction, Pings},
};
use crate::{
    conn::quic::{CloseCode, CloseReason},
    metrics::connection as metrics,
    time,
    wire::{Connect, Connected, MaxFrame, Packet, PacketStream, ReadError},
};

/// The priority of the control stream. Streams that carry data have quinn's default of 0.
const PRIORITY: i32 = 1;

/// How long to wait, after the stream has ended, for the close of the connection, which tells the reason.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Results of a session's pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PingStats {
    /// Number of pings that were answered.
    pub pongs: u64,
    /// Time at which the last pong arrived; `None` before the first.
    pub last_pong: Option<Instant>,
    /// Round-trip time of the last ping, including the time that either end needed to handle it; `None` before the first.
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time of the pings, to which each new one contributes an eighth; `None` before the first.
    pub smoothed_rtt: Option<Duration>,
}

impl PingStats {
    fn record(&mut self, now: Instant, rtt: Duration) {
        self.pongs += 1;
        self.last_pong = Some(now);
        self.rtt = Some(rtt);
        self.smoothed_rtt = Some(match self.smoothed_rtt {
            Some(smoothed) => (smoothed * 7 + rtt) / 8,
            None => rtt,
        });
    }
}

/// Where to send the round-trip time of a requested ping.
pub(super) type PingReply = oneshot::Sender<Duration>;

/// The control stream's ends of the channels of a [`Session`](super::Session).
#[derive(Debug)]
pub(super) struct SessionChannels {
    pub(super) ping_stats: watch::Sender<PingStats>,
    pub(super) going_away: watch::Sender<bool>,
    pub(super) ping_requests: mpsc::Receiver<PingReply>,
}

/// The control stream of an authenticated connection.
#[derive(Debug)]
pub(super) struct ControlStream {
    connection: Connection,
    packets: PacketStream,
}

impl ControlStream {
    /// Opens the control stream, authenticates, and waits for the answer. The caller sets the time limit.
    pub(super) async fn open(
        connection: &Connection,
        connect: Connect,
    ) -> Result<(Self, Connected), Cause> {
        let (send, recv) = connection.open_bi().await.map_err(|e| ended(&e))?;
        // An error means that the connection is lost, which the write below reports with its reason.
        let _ = send.set_priority(PRIORITY);
        let mut session = Self {
            connection: connection.clone(),
            packets: PacketStream::new((send, recv), MaxFrame::ANSWER),
        };
        session
            .packets
            .put(&Packet::Connect(connect))
            .map_err(|error| Cause::ProtocolViolation(error.to_string()))?;
        if session.packets.flush().await.is_err() {
            return Err(session.reason_of_failure().await);
        }
        match session.packets.next().await {
            Ok(Some(Packet::Connected(connected))) => Ok((session, connected)),
            Ok(Some(Packet::Failed(failure))) => Err(Cause::Refused(failure)),
            other => Err(session.unexpected(other).await),
        }
    }

    /// Sends pings until the connection is lost, and returns the reason.
    pub(super) async fn run(
        mut self,
        mut pings: Pings<PingReply>,
        mut channels: SessionChannels,
    ) -> Cause {
        let mut frames = self.stream_frames();
        loop {
            let due = match pings.poll(time::now(), || self.stream_frames() != frames) {
                PingAction::TimedOut => return Cause::NoPong(pings.timeout()),
                PingAction::WaitUntil(due) => due,
                PingAction::Send(nonce) => {
                    self.packets
                        .put(&Packet::Ping { nonce })
                        .expect("a ping has no field that can be too long");
                    continue;
                }
            };
            let (reader, writer) = self.packets.halves();
            tokio::select! {
                // A packet that explains a close is read before the close itself.
                biased;
                packet = reader.next() => match packet {
                    Ok(Some(Packet::Pong { nonce })) => {
                        let now = time::now();
                        let Ok((rtt, replies)) = pings.on_pong(now, nonce) else {
                            return Cause::ProtocolViolation("a pong that answers no ping".into());
                        };
                        metrics::ping(rtt);
                        frames = self.stream_frames();
                        channels.ping_stats.send_modify(|stats| stats.record(now, rtt));
                        for reply in replies {
                            // An error means that the caller no longer waits.
                            let _ = reply.send(rtt);
                        }
                    }
                    Ok(Some(Packet::GoAway)) => {
                        channels.going_away.send_replace(true);
                    }
                    Ok(Some(Packet::Failed(failure))) => return Cause::Refused(failure),
                    other => return self.unexpected(other).await,
                },
                written = writer.flush(), if writer.buffered() > 0 => match written {
                    Ok(()) => pings.on_written(time::now()),
                    Err(_) => return self.reason_of_failure().await,
                },
                error = self.connection.closed() => return ended(&error),
                Some(reply) = channels.ping_requests.recv(), if pings.accepts_requests() => pings.request(reply),
                () = sleep_until(due) => {}
            }
        }
    }

    /// Returns the number of STREAM frames sent and received over the whole life of the connection.
    fn stream_frames(&self) -> u64 {
        let stats = self.connection.stats();
        stats.frame_tx.stream + stats.frame_rx.stream
    }

    /// Returns the reason why `got` is not the expected packet.
    async fn unexpected(&self, got: Result<Option<Packet>, ReadError>) -> Cause {
        match got {
            Ok(Some(packet)) => {
                Cause::ProtocolViolation(format!("{} on the session", packet.name()))
            }
            Err(ReadError::Malformed(error)) => Cause::ProtocolViolation(error.to_string()),
            Err(_) | Ok(None) => self.reason_of_failure().await,
        }
    }

    /// Returns why the stream has failed: because the connection was closed, or on its own.
    async fn reason_of_failure(&self) -> Cause {
        match time::timeout(CLOSE_GRACE, self.connection.closed()).await {
            Ok(error) => ended(&error),
            Err(_) => Cause::ControlStreamEnded,
        }
    }
}

fn ended(error: &quinn::ConnectionError) -> Cause {
    Cause::Ended(CloseReason::of(error))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Returns the code with which a connection that failed for `cause` is closed.
pub(super) const fn close_code_for(cause: &Cause) -> CloseCode {
    match cause {
        Cause::NoPong(_) => CloseCode::Unresponsive,
        Cause::ProtocolViolation(_) => CloseCode::Protocol,
        Cause::NoSession(_) | Cause::NoAnswer(_) | Cause::NoAnswerYet | Cause::PortClosed => {
            CloseCode::HandshakeTimeout
        }
        Cause::Refused(_)
        | Cause::Ended(_)
        | Cause::ControlStreamEnded
        | Cause::Resolve(_)
        | Cause::Bind(_)
        | Cause::Unusable(_) => CloseCode::Done,
    }
}
