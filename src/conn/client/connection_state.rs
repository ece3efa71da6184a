//! The state of a client's connection, which the supervisor publishes.

use std::{fmt, sync::Arc, time::Instant};

use tokio::sync::watch;

use super::{error::ConnectError, session::Session};

/// The state of a client's connection.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// The first connection is being made.
    Connecting {
        /// The number of this attempt, counted from 1. One attempt tries every server.
        attempt: u32,
        /// Why the previous attempt failed.
        last_error: Option<Arc<ConnectError>>,
    },
    /// The client is connected and authenticated.
    Connected(Arc<Session>),
    /// The connection was lost, and another one is being made.
    Reconnecting {
        /// The number of this attempt, counted from 1; 0 before the first one.
        attempt: u32,
        /// Why the previous attempt failed, or why the connection was lost.
        last_error: Arc<ConnectError>,
        /// When the connection was lost.
        since: Instant,
    },
    /// The client will not connect again. The error is of the kind
    /// [`ClosedHere`](super::error::ConnectErrorKind::ClosedHere) if this end closed the connection.
    Closed(Arc<ConnectError>),
}

impl ConnectionState {
    /// Returns whether the client is connected.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }

    /// Returns the current session, if the client is connected.
    #[must_use]
    pub const fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Connected(session) => Some(session),
            Self::Connecting { .. } | Self::Reconnecting { .. } | Self::Closed(_) => None,
        }
    }
}

impl fmt::Display for ConnectionState {
    /// Writes one line, such as `reconnecting (attempt 3): cannot connect to broker.example:4433: no answer within 5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting {
                attempt,
                last_error: None,
            } => write!(f, "connecting (attempt {attempt})"),
            Self::Connecting {
                attempt,
                last_error: Some(error),
            } => write!(f, "connecting (attempt {attempt}): {error}"),
            Self::Connected(session) => {
                write!(f, "connected to {}", session.server())?;
                let address = session.remote_address().to_string();
                match address == session.server() {
                    true => Ok(()),
                    false => write!(f, " ({address})"),
                }
            }
            Self::Reconnecting {
                attempt,
                last_error,
                ..
            } => write!(f, "reconnecting (attempt {attempt}): {last_error}"),
            Self::Closed(error) => write!(f, "closed: {error}"),
        }
    }
}

/// Waits until `state` is connected.
///
/// # Errors
///
/// The client will not connect any more.
pub(crate) async fn wait_connected(
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
        Ok(ConnectionState::Connected(session)) => Ok(Arc::clone(session)),
        Ok(ConnectionState::Closed(error)) => Err(Arc::clone(error)),
        Ok(ConnectionState::Connecting { .. } | ConnectionState::Reconnecting { .. }) | Err(_) => {
            // The task publishes `Closed` before it ends, so it was aborted together with its runtime.
            Err(Arc::new(ConnectError::closed_here("the server")))
        }
    }
}
