//! What the tasks of a broker share, and what those of one connection do.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Config, Permissions, commit::Committer, sessions::Sessions, topics::Topics};
use crate::{ProducerId, store::Store, tasks::Tasks};

/// What every task of a broker can reach.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) store: Arc<dyn Store>,
    pub(super) topics: Topics,
    pub(super) committer: Committer,
    /// Which connection speaks for which producer.
    pub(super) sessions: Arc<Sessions>,
    /// One permit a subscription.
    pub(super) subscriptions: Arc<Semaphore>,
    /// Cancelled when a shutdown begins: answer what was read, then end.
    pub(super) drain: CancellationToken,
    /// The tasks of connections. Told to stop, they end at once.
    pub(super) connections: Tasks,
}

/// What the streams of one connection share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: quinn::Connection,
    pub(super) producer: Option<ProducerId>,
    pub(super) permissions: Permissions,
    /// Bytes of batches read and not yet answered, over all streams of the connection.
    pub(super) buffered: Arc<Semaphore>,
}

impl Peer {
    /// In a shutdown: how long nothing must come before nothing more is expected. What the client sent before it
    /// heard of the shutdown is under way for one round trip.
    pub(super) fn quiet_time(&self) -> Duration {
        (2 * self.connection.rtt()).clamp(Duration::from_millis(20), Duration::from_millis(500))
    }
}
