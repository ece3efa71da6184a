//! Which attempts to connect a server takes up, and how long each may take.

use std::time::Duration;

use quinn::{Connecting, Connection, ConnectionError, Incoming};

use crate::config::{ConfigError, Problems};
use crate::time;

/// The limits of a server's front door.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// How many attempts may wait to be looked at; further ones are refused by quinn itself. Default: 1024.
    /// Each holds up to 16 kB.
    pub max_incoming: usize,
    /// With so many handshakes under way, a client must first show that it can receive at its address (a
    /// Retry packet, which costs it one round trip and the server nothing). Default: 64.
    pub retry_above: usize,
    /// With so many handshakes under way, further clients are refused. Default: 512.
    pub max_handshakes: usize,
    /// With so many connections open, further clients are refused. Default: 10,000.
    pub max_connections: usize,
    /// How long a client may take from its first packet to an open session. Default: 10 s.
    pub handshake_timeout: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            max_incoming: 1024,
            retry_above: 64,
            max_handshakes: 512,
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// What a server has on its hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActiveCounts {
    /// Handshakes that are under way.
    pub handshakes: usize,
    /// Connections that are open.
    pub connections: usize,
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The handshake begins.
    Accept,
    /// The client must show first that it can receive at its address.
    Retry,
    /// The client is told to go away.
    Refuse,
}

impl Admission {
    /// What becomes of an attempt of a client whose address is `validated` or not.
    #[must_use]
    pub const fn decide(&self, validated: bool, busy: ActiveCounts) -> Verdict {
        // A retry comes before a refusal: refusing answers to an address that may be a victim's.
        if !validated && busy.handshakes >= self.retry_above {
            Verdict::Retry
        } else if busy.handshakes >= self.max_handshakes || busy.connections >= self.max_connections
        {
            Verdict::Refuse
        } else {
            Verdict::Accept
        }
    }

    /// Does to `incoming` what [`Admission::decide`] says. With `Some`, the handshake has begun and counts
    /// as one of [`ActiveCounts::handshakes`] until it is over; see [`handshake`].
    pub fn admit(&self, incoming: Incoming, busy: ActiveCounts) -> Option<Connecting> {
        match self.decide(incoming.remote_address_validated(), busy) {
            Verdict::Accept => incoming
                .accept()
                .inspect_err(|error| tracing::debug!(%error, "a first packet was no good"))
                .ok(),
            Verdict::Retry => {
                if let Err(error) = incoming.retry() {
                    // Cannot be: an address that is not validated has not been retried.
                    error.into_incoming().refuse();
                }
                None
            }
            Verdict::Refuse => {
                incoming.refuse();
                None
            }
        }
    }

    /// Whether every limit can be used.
    ///
    /// # Errors
    ///
    /// Every wrong one.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.problems(&mut problems);
        problems.into_result()
    }

    pub(crate) fn problems(&self, problems: &mut Problems) {
        problems.expect(
            self.max_incoming >= 1,
            "admission.max_incoming",
            &self.max_incoming,
            "must be at least 1",
        );
        problems.expect(
            self.max_handshakes >= 1,
            "admission.max_handshakes",
            &self.max_handshakes,
            "must be at least 1",
        );
        problems.expect(
            self.max_connections >= 1,
            "admission.max_connections",
            &self.max_connections,
            "must be at least 1",
        );
        problems.expect(
            !self.handshake_timeout.is_zero(),
            "admission.handshake_timeout",
            &self.handshake_timeout,
            "must be more than zero",
        );
    }
}

/// Why a server has no connection of a client.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HandshakeError {
    /// It took longer than it may.
    #[error("the handshake took longer than {0:?}")]
    TooSlow(Duration),
    /// It failed.
    #[error("the handshake failed")]
    Failed(#[from] ConnectionError),
}

/// Waits for the handshake of a client, at most `limit`. A client that is too slow is dropped.
///
/// # Errors
///
/// Where it failed or took too long.
///
/// # Cancel safety
///
/// Dropping this drops the attempt.
pub async fn handshake(
    connecting: Connecting,
    limit: Duration,
) -> Result<Connection, HandshakeError> {
    match time::timeout(limit, connecting).await {
        Ok(connection) => Ok(connection?),
        Err(_) => Err(HandshakeError::TooSlow(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_busy_asks_first_and_refuses_later() {
        let admission = Admission {
            retry_above: 2,
            max_handshakes: 4,
            max_connections: 10,
            ..Admission::default()
        };
        use Verdict::{Accept, Refuse, Retry};
        let table = [
            // handshakes, connections, validated, verdict
            (0, 0, false, Accept),
            (1, 9, false, Accept),
            (2, 0, false, Retry),
            (2, 0, true, Accept),
            (3, 9, true, Accept),
            (4, 0, true, Refuse),
            (4, 0, false, Retry),
            (0, 10, true, Refuse),
            (0, 10, false, Refuse),
        ];
        for (handshakes, connections, validated, verdict) in table {
            let busy = ActiveCounts {
                handshakes,
                connections,
            };
            assert_eq!(
                admission.decide(validated, busy),
                verdict,
                "{busy:?} {validated}"
            );
        }
    }
}
