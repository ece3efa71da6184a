//! Admission of connections: which attempts a server accepts, and how long a handshake may take.

use std::time::Duration;

use quinn::{Connecting, Connection, ConnectionError, Incoming};

use crate::config::{ConfigError, Problems, rules};
use crate::time;

/// Limits of a server's connections and handshakes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// Number of attempts that may wait to be accepted. Default: 1024. quinn refuses further ones. Each holds up to 16 kB.
    pub max_incoming: usize,
    /// Number of handshakes in progress from which a client must first prove that it can receive at its address. Default: 64.
    /// The server sends a Retry packet, which costs the client one round trip and the server no state.
    pub retry_above: usize,
    /// Number of handshakes in progress from which the oldest is given up for a new one. Default: 512.
    pub max_handshakes: usize,
    /// The same for one address, of IPv6 a network of 64 bits: its oldest handshake gives way to its newest. Default: 64.
    pub max_handshakes_per_address: usize,
    /// Number of open connections from which further clients are refused. Default: 10,000.
    pub max_connections: usize,
    /// The same for one address, of IPv6 a network of 64 bits. Default: 1000. Clients behind one address translation share it.
    pub max_connections_per_address: usize,
    /// Time limit for a client, from its first packet to its authentication. Default: 10 s.
    pub handshake_timeout: Duration,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            max_incoming: 1024,
            retry_above: 64,
            max_handshakes: 512,
            max_handshakes_per_address: 64,
            max_connections: 10_000,
            max_connections_per_address: 1000,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Numbers of a server's current handshakes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ActiveCounts {
    /// Handshakes in progress.
    pub(crate) handshakes: usize,
    /// Open connections.
    pub(crate) connections: usize,
    /// Open connections of the client's address.
    pub(crate) of_address: usize,
}

/// What to do with an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AdmissionDecision {
    /// Start the handshake.
    Accept,
    /// Ask the client to prove that it can receive at its address.
    Retry,
    /// Refuse the client.
    Refuse,
}

impl Admission {
    /// Decides about an attempt of a client whose address is `validated` or not.
    const fn decide(&self, validated: bool, active: ActiveCounts) -> AdmissionDecision {
        // Retry comes before refusal: a refusal is sent to an address that may be a victim's.
        if !validated && active.handshakes >= self.retry_above {
            AdmissionDecision::Retry
        } else if active.connections >= self.max_connections
            || active.of_address >= self.max_connections_per_address
        {
            AdmissionDecision::Refuse
        } else {
            AdmissionDecision::Accept
        }
    }

    /// Starts the handshake of `incoming`, or asks it to retry, or refuses it.
    ///
    /// With `Some`, the handshake has started and counts as one of [`ActiveCounts::handshakes`] until it is over: see
    /// [`handshake`].
    pub(crate) fn admit(&self, incoming: Incoming, active: ActiveCounts) -> Option<Connecting> {
        match self.decide(incoming.remote_address_validated(), active) {
            AdmissionDecision::Accept => incoming
                .accept()
                .inspect_err(|error| tracing::debug!(%error, "a first packet was invalid"))
                .ok(),
            AdmissionDecision::Retry => {
                if let Err(error) = incoming.retry() {
                    // Unreachable: quinn accepts a Retry for every address that is not validated.
                    error.into_incoming().refuse();
                }
                None
            }
            AdmissionDecision::Refuse => {
                incoming.refuse();
                None
            }
        }
    }

    /// Checks every limit.
    ///
    /// # Errors
    ///
    /// Reports every invalid limit.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.problems(&mut problems);
        problems.into_result()
    }

    pub(crate) fn problems(&self, problems: &mut Problems) {
        problems.nested("admission", |problems| {
            rules!(problems, self;
                max_incoming in 1.. => "must be at least 1";
                max_handshakes in 1.. => "must be at least 1";
                max_handshakes_per_address in 1.. => "must be at least 1";
                max_connections in 1.. => "must be at least 1";
                max_connections_per_address in 1.. => "must be at least 1";
                handshake_timeout where !self.handshake_timeout.is_zero() => "must be more than zero";
            );
        });
    }
}

#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Admission = Admission::default();
    max_incoming, retry_above, max_handshakes, max_handshakes_per_address, max_connections, max_connections_per_address,
    handshake_timeout
}

/// Error of a client's handshake.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// It took longer than the limit.
    #[error("the handshake took longer than {0:?}")]
    TooSlow(Duration),
    /// It failed.
    #[error("the handshake failed")]
    Failed(#[from] ConnectionError),
}

/// Waits for the handshake of a client, at most `limit`. Dropping the future drops the attempt.
pub(crate) async fn handshake(
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
            max_connections: 10,
            max_connections_per_address: 5,
            ..Admission::default()
        };
        use AdmissionDecision::{Accept, Refuse, Retry};
        let table = [
            // handshakes, connections, those of the address, validated, decision
            (0, 0, 0, false, Accept),
            (1, 9, 4, false, Accept),
            (2, 0, 0, false, Retry),
            (2, 0, 0, true, Accept),
            (9, 9, 4, true, Accept),
            (0, 9, 5, true, Refuse),
            (4, 9, 5, false, Retry),
            (0, 10, 0, true, Refuse),
            (0, 10, 0, false, Refuse),
        ];
        for (handshakes, connections, of_address, validated, decision) in table {
            let active = ActiveCounts {
                handshakes,
                connections,
                of_address,
            };
            assert_eq!(
                admission.decide(validated, active),
                decision,
                "{active:?} {validated}"
            );
        }
    }
}
