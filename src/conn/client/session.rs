//! One connection whose session stands.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::session_stream::{PingStats, Waiting};
use crate::{
    conn::quic::{CloseCode, CloseReason, PathMonitor, PathStats},
    time,
    wire::Connected,
};

/// A connection whose session stands. After it is lost, the supervisor publishes another one.
///
/// Dropping a link does not close it: the supervisor holds it for as long as it stands.
#[derive(Debug)]
pub struct Session {
    pub(super) number: u64,
    pub(super) server: String,
    pub(super) connection: Connection,
    pub(super) connected: Connected,
    pub(super) sight: Arc<PathMonitor>,
    pub(super) pulse: watch::Receiver<PingStats>,
    pub(super) going_away: watch::Receiver<bool>,
    pub(super) checks: mpsc::Sender<Waiting>,
}

/// No stream was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The broker allows no further stream now. One that is closed makes room for another, a round trip later.
    #[error("the broker allows no further stream on this connection")]
    PeerLimit,
    /// The link is lost.
    #[error("the connection is lost")]
    Lost(CloseReason),
}

impl Session {
    /// Which link of its supervisor this is, counted from 1.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The server, as it stands in the options.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The server's address.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// What the broker said of itself when the session was opened: its limits, and the producer's id.
    #[must_use]
    pub const fn connected(&self) -> &Connected {
        &self.connected
    }

    /// The connection itself.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the congestion controller sees now.
    #[must_use]
    pub fn path(&self) -> PathStats {
        self.sight.snapshot()
    }

    /// Where [`Session::path`] comes from, for those who look often.
    #[must_use]
    pub const fn sight(&self) -> &Arc<PathMonitor> {
        &self.sight
    }

    /// What the pings found, and a way to await the next one.
    #[must_use]
    pub fn pulse(&self) -> watch::Receiver<PingStats> {
        self.pulse.clone()
    }

    /// Whether the broker has announced that it will close.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        *self.going_away.borrow()
    }

    /// Waits until the broker announces that it will close, or the link is lost.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn going_away(&self) {
        // An error means that the session is over.
        let _ = self.going_away.clone().wait_for(|away| *away).await;
    }

    /// Opens a stream, waiting at most `wait` where the broker allows none now.
    ///
    /// A stream does not exist for the broker until something is written on it.
    ///
    /// # Errors
    ///
    /// [`OpenError::PeerLimit`] after `wait`, [`OpenError::Lost`] at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a stream that nobody was given does not count against the limit.
    pub async fn open_bi(&self, wait: Duration) -> Result<(SendStream, RecvStream), OpenError> {
        match self.try_open_bi() {
            Err(OpenError::PeerLimit) if !wait.is_zero() => {}
            outcome => return outcome,
        }
        match time::timeout(wait, self.connection.open_bi()).await {
            Ok(opened) => opened.map_err(|error| OpenError::Lost(CloseReason::of(&error))),
            Err(_) => Err(OpenError::PeerLimit),
        }
    }

    /// Opens a stream now.
    ///
    /// # Errors
    ///
    /// [`OpenError::PeerLimit`] and [`OpenError::Lost`].
    pub fn try_open_bi(&self) -> Result<(SendStream, RecvStream), OpenError> {
        match self.connection.open_bi().now_or_never() {
            Some(opened) => opened.map_err(|error| OpenError::Lost(CloseReason::of(&error))),
            None => Err(OpenError::PeerLimit),
        }
    }

    /// Pings now and waits for the pong: how long it took, or `None` where the link is lost before it comes.
    ///
    /// The link is given up by the usual timeout, so this does not wait for ever unless the broker, alive, keeps
    /// the ping from being written by not reading anything.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the ping may go out all the same.
    pub async fn check(&self) -> Option<Duration> {
        let (asked, answer) = oneshot::channel();
        self.checks.send(asked).await.ok()?;
        answer.await.ok()
    }

    /// Closes the connection. What was written and not acknowledged is lost; the supervisor connects anew
    /// unless it is being closed itself.
    pub fn close(&self, code: CloseCode) {
        self.connection.close(code.into(), &[]);
    }

    /// Waits until the connection is lost, and tells why.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        CloseReason::of(&self.connection.closed().await)
    }
}
