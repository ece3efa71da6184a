//! What the tasks of a broker share, and what the tasks of one connection share.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Config, Permissions, Tokens, commit::Committer, log_limit::LogLimit,
    producer_registry::ProducerRegistry, reader_registry::ReaderRegistry, time_check::TimeCheck,
    topics::Topics,
};
use crate::{ProducerId, store::Store, tasks::Tasks};

/// What every task of a broker can reach.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The accepted tokens. A reload replaces them.
    pub(super) tokens: RwLock<Option<Arc<Tokens>>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) topics: Topics,
    pub(super) committer: Committer,
    /// Which connection holds the lease of which producer.
    pub(super) producers: Arc<ProducerRegistry>,
    /// Whether the clock is believed, for retention by age.
    pub(super) clock: Arc<Mutex<TimeCheck>>,
    /// Limits the lines of the log about clients that are refused.
    pub(super) refusals: Mutex<LogLimit>,
    /// Which subscription reads under which name.
    pub(super) readers: Arc<ReaderRegistry>,
    /// One permit for each subscription that may be open.
    pub(super) subscriptions: Arc<Semaphore>,
    /// Cancelled when a shutdown begins: each task answers what was read and ends.
    pub(super) drain: CancellationToken,
    /// The tasks of connections. When told to stop, they end at once.
    pub(super) connections: Tasks,
}

impl Shared {
    /// Returns the tokens that are accepted at present.
    pub(super) fn tokens(&self) -> Option<Arc<Tokens>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.clone()
    }

    /// Accepts these tokens from now on.
    pub(super) fn replace_tokens(&self, tokens: Option<Tokens>) {
        let mut current = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        *current = tokens.map(Arc::new);
    }
}

/// What the streams of one connection share.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: quinn::Connection,
    pub(super) producer: Option<ProducerId>,
    pub(super) permissions: Permissions,
    /// Limits the bytes of batches that are read and not yet answered, over all streams of the connection.
    pub(super) buffered: Arc<Semaphore>,
}

impl Peer {
    /// Returns how long a stream must be silent in a shutdown before nothing more is expected on it. What the client
    /// sent before it learned of the shutdown arrives within one round trip.
    pub(super) fn quiet_time(&self) -> Duration {
        (2 * self.connection.rtt()).clamp(Duration::from_millis(20), Duration::from_millis(500))
    }
}
