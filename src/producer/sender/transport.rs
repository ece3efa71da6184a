//! The road to the broker: the connection that stands, the pool of its streams, and the turn to write on them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::producer::{
    sender::streams::{StreamError, Streams},
    sender::write_gate::{WriteGate, WritePermit},
};
use crate::{
    conn::{ConnectionState, Session},
    ordered_watch,
    pool::{PoolError, PooledStream, StreamPool},
};

/// The connection that stands now.
pub(crate) fn standing(links: &ordered_watch::Receiver<ConnectionState>) -> Option<Arc<Session>> {
    match &*links.borrow() {
        ConnectionState::Connected(link) => Some(Arc::clone(link)),
        ConnectionState::Connecting { .. }
        | ConnectionState::Reconnecting { .. }
        | ConnectionState::Closed(_) => None,
    }
}

/// As [`standing`], and from now on `links` tells of what comes after this look. A fresh clone tells of what was
/// before it, so that who waits for the next change without a look would wait for nothing.
pub(crate) fn look(links: &mut ordered_watch::Receiver<ConnectionState>) -> Option<Arc<Session>> {
    drop(links.borrow_and_update());
    standing(links)
}

/// Shared by all lanes of one producer.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    links: ordered_watch::Receiver<ConnectionState>,
    /// The number of the last connection on which the broker was asked what it has stored. Written by `resume.rs`.
    resumed: ordered_watch::Receiver<u64>,
    pool: StreamPool<Streams>,
    turn: Arc<WriteGate>,
    /// Roads, of `send` and of `send_async`, that have no stream at all and wait for one.
    in_need: Arc<AtomicUsize>,
    stopped: CancellationToken,
}

/// A road without a stream.
#[derive(Debug)]
pub(crate) struct InNeed(Arc<AtomicUsize>);

impl Drop for InNeed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Transport {
    pub(crate) fn new(
        links: ordered_watch::Receiver<ConnectionState>,
        resumed: ordered_watch::Receiver<u64>,
        pool: StreamPool<Streams>,
        stopped: CancellationToken,
    ) -> Self {
        Self {
            links,
            resumed,
            pool,
            turn: Arc::new(WriteGate::new()),
            in_need: Arc::default(),
            stopped,
        }
    }

    /// The connection that stands now.
    pub(crate) fn link(&self) -> Option<Arc<Session>> {
        standing(&self.links)
    }

    /// To await changes of the connection.
    pub(crate) fn links(&self) -> ordered_watch::Receiver<ConnectionState> {
        self.links.clone()
    }

    /// Waits until it is known what the broker has stored of what was written before `link`. False where the
    /// connection is lost meanwhile.
    pub(crate) async fn resumed(&self, link: &Session) -> bool {
        let mut resumed = self.resumed.clone();
        tokio::select! { biased;
            () = resumed.wait_for(|&number| number >= link.number()) => true,
            _ = link.connection().closed() => false,
        }
    }

    /// A tested stream from the pool.
    pub(crate) async fn stream(&self) -> Result<PooledStream<Streams>, PoolError<StreamError>> {
        self.pool.get().await
    }

    /// Says, while the answer lives, that the only lane of a road waits for a stream.
    pub(crate) fn in_need(&self) -> InNeed {
        self.in_need.fetch_add(1, Ordering::SeqCst);
        InNeed(Arc::clone(&self.in_need))
    }

    /// Whether the only lane of a road waits for a stream while the peer permits no further one.
    pub(crate) fn is_wanted(&self) -> bool {
        self.in_need.load(Ordering::SeqCst) > 0 && self.pool.status().limit.is_some()
    }

    pub(crate) const fn pool(&self) -> &StreamPool<Streams> {
        &self.pool
    }

    /// The turn to write on `link`, of which there are so many `streams`.
    pub(crate) async fn turn(&self, link: &Session, streams: usize) -> WritePermit<'_> {
        self.turn.take(link, streams).await
    }

    /// Whether QUIC takes no more from any lane at this moment.
    pub(crate) fn is_blocked(&self) -> bool {
        self.turn.is_blocked()
    }

    /// The sign that the producer ends.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }
}
