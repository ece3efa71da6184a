//! Counts the connections and handshakes of a broker.

use std::sync::Arc;

use crate::conn::ActiveCounts;

/// Counts connections, and those of them that are still in their handshake.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounter {
    handshakes: Arc<()>,
    connections: Arc<()>,
}

/// A connection, counted until both parts are dropped.
#[derive(Debug)]
pub(super) struct CountedConnection {
    /// Dropped when the handshake is over.
    pub(super) handshake: Counted,
    /// Dropped when the connection is.
    pub(super) connection: Counted,
}

/// Counts as one until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(#[expect(dead_code, reason = "its references are counted")] Arc<()>);

impl ConnectionCounter {
    /// Returns the present counts.
    pub(super) fn counts(&self) -> ActiveCounts {
        // One reference of each is the counter's own.
        ActiveCounts {
            handshakes: Arc::strong_count(&self.handshakes) - 1,
            connections: Arc::strong_count(&self.connections) - 1,
        }
    }

    /// Counts one more connection.
    pub(super) fn add(&self) -> CountedConnection {
        CountedConnection {
            handshake: Counted(Arc::clone(&self.handshakes)),
            connection: Counted(Arc::clone(&self.connections)),
        }
    }
}
