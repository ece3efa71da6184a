//! The state of a client's connection, which the supervisor publishes.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    error::{Cause, ConnectError},
    session::Session,
};
use crate::time;

/// The state of a client's connection.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// The first connection is being made.
    Connecting {
        /// The number of this attempt, counted from 1. One attempt tries every server.
        attempt: u32,
        /// Why there is no connection yet: why the previous attempt failed, or that there is no answer to this one. `None`
        /// within the first second.
        last_error: Option<Arc<ConnectError>>,
    },
    /// The client is connected and authenticated.
    Connected(Arc<Session>),
    /// The connection was lost, and another one is being made.
    Reconnecting {
        /// The number of this attempt, counted from 1; 0 before the first one.
        attempt: u32,
        /// Why the previous attempt failed, that there is no answer to this one, or why the connection was lost.
        last_error: Arc<ConnectError>,
        /// When the connection was lost.
        since: Instant,
    },
    /// The client will not connect again. The error is of the kind
    /// [`ClosedHere`](super::error::ConnectErrorKind::ClosedHere) if this end closed the connection.
    Closed(Arc<ConnectError>),
}

impl ConnectionState {
    /// Returns why there is no connection; `None` while there is one, and before anything is known.
    #[must_use]
    pub const fn error(&self) -> Option<&Arc<ConnectError>> {
        match self {
            Self::Connecting { last_error, .. } => last_error.as_ref(),
            Self::Reconnecting { last_error, .. } | Self::Closed(last_error) => Some(last_error),
            Self::Connected(_) => None,
        }
    }

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
    /// Writes one line, such as `reconnecting (attempt 3): cannot connect to broker.example:4433: no answer within 5s; ...`.
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

/// Waits for a connection with one of `servers`, at most `limit`.
///
/// # Errors
///
/// The client will not connect any more, waiting does not help ([`ConnectErrorKind::is_retryable`]), or the time is over. In
/// the last two cases the client goes on trying.
///
/// [`ConnectErrorKind::is_retryable`]: super::error::ConnectErrorKind::is_retryable
pub(crate) async fn connect_within(
    state: &mut watch::Receiver<ConnectionState>,
    servers: &[String],
    limit: Duration,
) -> Result<Arc<Session>, Arc<ConnectError>> {
    let useless = |state: &ConnectionState| match state {
        ConnectionState::Connected(_) | ConnectionState::Closed(_) => true,
        _ => state.error().is_some_and(|error| !error.is_retryable()),
    };
    // An error means that the task is gone, or that the time is over. The state tells which.
    let _ = time::timeout(limit, state.wait_for(useless)).await;
    let (now, ended) = (state.borrow().clone(), state.has_changed().is_err());
    if let Some(session) = now.session() {
        return Ok(Arc::clone(session));
    }
    Err(match now.error() {
        Some(error) => error.within(limit),
        None => {
            let cause = match ended {
                true => return wait_connected(state).await,
                false => Cause::NoAnswer(limit),
            };
            Arc::new(ConnectError::connecting(&servers.join(", "), None, cause))
        }
    })
}
