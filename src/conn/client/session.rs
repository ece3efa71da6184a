//! The handle of an authenticated connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::control_stream::{PingReply, PingStats};
use crate::{
    conn::quic::{CloseCode, CloseReason, PathMonitor, PathStats},
    time,
    wire::Connected,
};

/// An authenticated connection to a broker.
///
/// After it is lost, the client reconnects and publishes another session in its
/// [`ConnectionState`](super::ConnectionState). Dropping a session does not close the connection: its owner keeps it open.
#[derive(Debug)]
pub struct Session {
    pub(super) number: u64,
    pub(super) server: String,
    pub(super) connection: Connection,
    pub(super) connected: Connected,
    pub(super) monitor: Arc<PathMonitor>,
    pub(super) ping_stats: watch::Receiver<PingStats>,
    pub(super) going_away: watch::Receiver<bool>,
    pub(super) ping_requests: mpsc::Sender<PingReply>,
}

/// Error of opening a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// The broker allows no further stream now. A stream that is closed makes room for another one round trip later.
    #[error("the broker allows no further stream on this connection")]
    PeerLimit,
    /// The connection is lost.
    #[error("the connection is lost")]
    Lost(CloseReason),
}

impl Session {
    /// Returns the number of this session: 1 for the first one of a client, 2 after the first reconnect, and so on.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Returns the server as the options name it.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the server's IP address and port.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Returns the statistics of the network path, as the congestion controller sees it now.
    #[must_use]
    pub fn path_stats(&self) -> PathStats {
        self.monitor.snapshot()
    }

    /// Returns the results of the pings so far.
    #[must_use]
    pub fn ping_stats(&self) -> PingStats {
        *self.ping_stats.borrow()
    }

    /// Returns a watch of the results of the pings, which closes when the connection is lost.
    #[must_use]
    pub fn watch_ping_stats(&self) -> watch::Receiver<PingStats> {
        self.ping_stats.clone()
    }

    /// Returns whether the broker has announced that it will close.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        *self.going_away.borrow()
    }

    /// Waits until the broker announces that it will close, or the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn going_away(&self) {
        // An error means that the session is over.
        let _ = self.going_away.clone().wait_for(|away| *away).await;
    }

    /// Sends a ping now and returns its round-trip time, or `None` if the connection is lost before the pong arrives.
    ///
    /// If the broker does not answer, the connection is given up after the ping timeout. Only a broker that is alive and
    /// reads nothing can make this wait for longer, because flow control then keeps the ping from being written.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. The ping may be sent nevertheless.
    pub async fn ping(&self) -> Option<Duration> {
        let (reply, pong) = oneshot::channel();
        self.ping_requests.send(reply).await.ok()?;
        pong.await.ok()
    }

    /// Returns the broker's answer to the authentication: its limits and the producer's id.
    pub(crate) const fn connected(&self) -> &Connected {
        &self.connected
    }

    /// Returns quinn's connection.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Opens a stream, waiting at most `wait` while the broker allows no further one.
    ///
    /// The broker does not learn of a stream until something is written on it.
    ///
    /// Cancel safe: a stream that was not returned does not count against the limit.
    pub(crate) async fn open_bi(
        &self,
        wait: Duration,
    ) -> Result<(SendStream, RecvStream), OpenError> {
        match self.try_open_bi() {
            Err(OpenError::PeerLimit) if !wait.is_zero() => {}
            outcome => return outcome,
        }
        match time::timeout(wait, self.connection.open_bi()).await {
            Ok(opened) => opened.map_err(|error| OpenError::Lost(CloseReason::of(&error))),
            Err(_) => Err(OpenError::PeerLimit),
        }
    }

    /// Opens a stream without waiting.
    pub(crate) fn try_open_bi(&self) -> Result<(SendStream, RecvStream), OpenError> {
        match self.connection.open_bi().now_or_never() {
            Some(opened) => opened.map_err(|error| OpenError::Lost(CloseReason::of(&error))),
            None => Err(OpenError::PeerLimit),
        }
    }

    /// Closes the connection. Data that was written and not acknowledged is lost. The client reconnects unless it is itself
    /// being closed.
    pub(crate) fn close(&self, code: CloseCode) {
        self.connection.close(code.into(), &[]);
    }

    /// Waits until the connection is lost, and returns the reason.
    ///
    /// Cancel safe.
    pub(crate) async fn closed(&self) -> CloseReason {
        CloseReason::of(&self.connection.closed().await)
    }
}
