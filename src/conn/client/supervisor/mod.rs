//! The one owner of a client's connection: it connects, notices the loss, and connects again.
//!
//! ```text
//!              ┌─ retried ─┐                        ┌── retried ──┐
//! start ──▶ Connecting ────┴──▶ Up(link 1) ──▶ Down ────────────────┴──▶ Up(link 2) ──▶ ...
//!              │                   │             │ fenced, unauthorised, another version
//!              ▼                   ▼             ▼
//!           Closed ◀───────────────┴─────────────┘
//! ```
//!
//! Nobody else reconnects. Everybody else awaits the next [`ConnectionState`].

mod task;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::task::Task;
use super::{
    config::Config,
    endpoints::Endpoints,
    error::{Cause, ConnectError},
    session::Session,
};
use crate::config::{ConfigError, Problems};
use crate::conn::{
    quic::{BindError, CloseReason},
    tls::TlsError,
};
use crate::{ordered_watch, tasks::Tasks, time, wire::ProducerIdentity};

/// How the connection stands.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// The first connection is being made.
    Connecting {
        /// Which attempt this is, counted from 1. One attempt goes through all servers.
        attempt: u32,
        /// What became of the attempt before.
        last_error: Option<Arc<ConnectError>>,
    },
    /// It stands.
    Connected(Arc<Session>),
    /// It is lost, and another one is being made.
    Reconnecting {
        /// Which attempt this is, counted from 1; 0 before the first.
        attempt: u32,
        /// What became of the attempt before, or why the connection was lost.
        last_error: Arc<ConnectError>,
        /// When it was lost.
        since: Instant,
    },
    /// There will be no other. Of the kind [`ClosedHere`](super::error::ConnectErrorKind::ClosedHere) where that
    /// was our own will.
    Closed(Arc<ConnectError>),
}

/// Options with which nothing can begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Some field is wrong.
    #[error("the connection's options are wrong: {0}")]
    Config(#[from] ConfigError),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A handle to the task that owns the connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Supervisor {
    state: ordered_watch::Receiver<ConnectionState>,
    endpoints: Arc<Endpoints>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Starts to connect, as a client that does not produce: to ping, for instance. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// Wrong options, and files that cannot be used. Everything else is published as [`ConnectionState`].
    pub fn connect(config: Config) -> Result<Self, StartError> {
        Self::start(config, None, &Tasks::new())
    }

    /// Starts to connect, as one of `tasks`. `producer` says who we are where we mean to produce.
    ///
    /// # Errors
    ///
    /// Wrong options, and files that cannot be used. Everything else is published as [`ConnectionState`].
    pub(crate) fn start(
        config: Config,
        producer: Option<ProducerIdentity>,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        config.check()?;
        let mut problems = Problems::default();
        if let Some(identity) = &producer {
            problems.expect(
                (1..=200).contains(&identity.name.len()),
                "name",
                &identity.name,
                "must have 1 to 200 bytes",
            );
        }
        problems.into_result()?;
        let (publish, state) = ordered_watch::channel(ConnectionState::Connecting {
            attempt: 1,
            last_error: None,
        });
        let stop = tasks.stopped().child_token();
        let task = Task::new(config, producer, publish, stop.clone())?;
        let endpoints = task.endpoints();
        tasks.spawn(task.run());
        Ok(Self {
            state,
            endpoints,
            stop,
        })
    }

    /// The state, and a way to await the next one. It closes with the task, whose last word is [`ConnectionState::Closed`].
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.as_watch()
    }

    /// The same, for those whose order must not be left to dice.
    #[cfg(feature = "producer")]
    pub(crate) fn ordered_state(&self) -> ordered_watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Waits until the connection stands.
    ///
    /// # Errors
    ///
    /// Why there will be none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_connected(&self) -> Result<Arc<Session>, Arc<ConnectError>> {
        wait_connected(&mut self.state()).await
    }

    /// Moves to a new local socket, with all that is open, as when the network has changed. Packets on the way are
    /// lost and sent again.
    ///
    /// # Errors
    ///
    /// Where there is no new socket. What has not moved stays with the old one.
    pub fn rebind(&self) -> Result<(), BindError> {
        self.endpoints.rebind()
    }

    /// Closes the connection, with [`Done`](super::close::CloseCode::Done), and waits until the broker has heard of
    /// it, at most `limit`. What was written and not acknowledged is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping this closes just the same, and does not wait.
    pub async fn close(self, limit: Duration) {
        self.stop.cancel();
        let mut state = self.state();
        let ended = async {
            // An error means that the task is gone.
            let _ = state
                .wait_for(|state| matches!(state, ConnectionState::Closed(_)))
                .await;
            self.endpoints.wait_idle().await;
        };
        if time::timeout(limit, ended).await.is_err() {
            tracing::debug!(
                ?limit,
                "the broker may not have heard that the connection is closed"
            );
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits until `state` is up.
///
/// # Errors
///
/// Why it never will be.
pub async fn wait_connected(
    state: &mut watch::Receiver<ConnectionState>,
) -> Result<Arc<Session>, Arc<ConnectError>> {
    let settled = state
        .wait_for(|state| {
            matches!(
                state,
                ConnectionState::Connected(_) | ConnectionState::Closed(_)
            )
        })
        .await;
    match settled.as_deref() {
        Ok(ConnectionState::Connected(link)) => Ok(Arc::clone(link)),
        Ok(ConnectionState::Closed(error)) => Err(Arc::clone(error)),
        Ok(ConnectionState::Connecting { .. } | ConnectionState::Reconnecting { .. }) | Err(_) => {
            // The task says `Closed` last, so it was cut off, with its runtime.
            Err(Arc::new(closed_here("the server")))
        }
    }
}

fn closed_here(server: &str) -> ConnectError {
    ConnectError::connecting(server, None, Cause::Ended(CloseReason::Ours))
}
