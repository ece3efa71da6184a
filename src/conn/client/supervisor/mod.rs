//! The owner of a client's connection: connects, watches it, reconnects, and publishes its state.
//!
//! ```text
//!               ┌─ retry ─┐                                   ┌─ retry ─┐
//! start ──▶ Connecting ───┴──▶ Connected(session 1) ──▶ Reconnecting ───┴──▶ Connected(session 2) ──▶ ...
//!               │                   │                         │ fenced, credentials refused, another version
//!               ▼                   ▼                         ▼
//!            Closed ◀───────────────┴─────────────────────────┘
//! ```
//!
//! A server that does not answer is tried without end, before the first connection as after it. Nothing else reconnects. All other code waits for the next [`ConnectionState`].

mod task;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::task::Task;
use super::{
    config::Config,
    connection_state::{ConnectionState, connect_within, wait_connected},
    endpoints::Endpoints,
    error::ConnectError,
    session::Session,
};
use crate::{
    config::{ConfigError, Problems},
    conn::{quic::BindError, tls::TlsError},
    ordered_watch,
    tasks::Tasks,
    time,
    wire::ProducerIdentity,
};

/// Error of starting a client with options that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A field is invalid.
    #[error("the connection's options are invalid")]
    Config(#[from] ConfigError),
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A handle to the task that owns the connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Supervisor {
    state: ordered_watch::Receiver<ConnectionState>,
    servers: Vec<String>,
    connect_timeout: Duration,
    endpoints: Arc<Endpoints>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Starts to connect as a client that does not produce, for example to ping. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The options are invalid, or a file cannot be used. All other errors are published in [`ConnectionState`].
    pub fn connect(config: Config) -> Result<Self, StartError> {
        Self::start(config, None, &Tasks::new())
    }

    /// Starts to connect in a task of `tasks`. A producer passes its identity as `producer`.
    ///
    /// # Errors
    ///
    /// The options are invalid, or a file cannot be used. All other errors are published in [`ConnectionState`].
    pub(crate) fn start(
        config: Config,
        producer: Option<ProducerIdentity>,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        config.check()?;
        let mut problems = Problems::default();
        if let Err(error) = config.token.read() {
            problems.expect(
                false,
                "token",
                &config.token,
                format!("cannot be read: {error}"),
            );
        }
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
        let (servers, connect_timeout) = (config.servers.clone(), config.connect_timeout);
        let task = Task::new(config, producer, publish, stop.clone())?;
        let endpoints = task.endpoints();
        tasks.spawn(task.run());
        Ok(Self {
            state,
            servers,
            connect_timeout,
            endpoints,
            stop,
        })
    }

    /// Returns a watch of the state. It closes when the task ends, whose last state is [`ConnectionState::Closed`].
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<ConnectionState> {
        self.state.as_watch()
    }

    /// Returns a receiver of the state that is woken in a fixed order among all receivers.
    #[cfg(feature = "producer")]
    pub(crate) fn ordered_state(&self) -> ordered_watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Waits for the first connection, at most [`connect_timeout`](Config::connect_timeout).
    ///
    /// # Errors
    ///
    /// The client will not connect any more, waiting does not help, or the time is over. In the last two cases the client goes
    /// on trying.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connected(&self) -> Result<Arc<Session>, Arc<ConnectError>> {
        let (servers, limit) = (&self.servers, self.connect_timeout);
        connect_within(&mut self.watch_state(), servers, limit).await
    }

    /// Waits until the client is connected, without a limit.
    ///
    /// # Errors
    ///
    /// The client will not connect any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_connected(&self) -> Result<Arc<Session>, Arc<ConnectError>> {
        wait_connected(&mut self.watch_state()).await
    }

    /// Moves all connections to a new local socket, as after a change of the network. Packets in flight are lost and
    /// retransmitted.
    ///
    /// # Errors
    ///
    /// No new socket could be opened. Connections that have not moved stay on the old one.
    pub fn rebind(&self) -> Result<(), BindError> {
        self.endpoints.rebind()
    }

    /// Closes the connection with [`CloseCode::Done`](crate::conn::CloseCode::Done) and waits until the broker has received
    /// the close, at most `limit`. Data that was written and not acknowledged is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection as well, without waiting.
    pub async fn close(self, limit: Duration) {
        self.stop.cancel();
        let mut state = self.watch_state();
        let drained = async {
            // An error means that the task is gone.
            let _ = state
                .wait_for(|state| matches!(state, ConnectionState::Closed(_)))
                .await;
            self.endpoints.wait_idle().await;
        };
        if time::timeout(limit, drained).await.is_err() {
            tracing::debug!(
                ?limit,
                "the broker may not have received the close of the connection"
            );
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
