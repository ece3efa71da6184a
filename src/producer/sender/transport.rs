//! What all lanes of one producer send through: the connection, the pool of its streams, and the right to write.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;

use super::{
    streams::{StreamError, Streams, current_session},
    write_gate::{WriteGate, WritePermit},
};
use crate::{
    conn::{ConnectionState, Session},
    ordered_watch,
    pool::{PoolError, PooledStream, StreamPool},
};

/// Returns the established connection and marks the state as seen, so that the next `changed` waits for a newer one. (A
/// cloned receiver starts with the present state unseen.)
pub(crate) fn current_session_and_mark_seen(
    state: &mut ordered_watch::Receiver<ConnectionState>,
) -> Option<Arc<Session>> {
    drop(state.borrow_and_update());
    current_session(state)
}

/// Shared by all lanes of one producer.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    state: ordered_watch::Receiver<ConnectionState>,
    /// The number of the last connection on which the broker was asked what it has stored. Written by `recovery.rs`.
    recovered: ordered_watch::Receiver<u64>,
    pool: StreamPool<Streams>,
    gate: Arc<WriteGate>,
    /// The number of routes, `send` and `send_async`, that have no stream at all and wait for one.
    demand: Arc<AtomicUsize>,
    stopped: CancellationToken,
}

/// Counts a route without a stream, while it lives.
#[derive(Debug)]
pub(crate) struct StreamDemand(Arc<AtomicUsize>);

impl Drop for StreamDemand {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Transport {
    pub(crate) fn new(
        state: ordered_watch::Receiver<ConnectionState>,
        recovered: ordered_watch::Receiver<u64>,
        pool: StreamPool<Streams>,
        stopped: CancellationToken,
    ) -> Self {
        Self {
            state,
            recovered,
            pool,
            gate: Arc::new(WriteGate::new()),
            demand: Arc::default(),
            stopped,
        }
    }

    /// Returns the established connection, if there is one.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        current_session(&self.state)
    }

    /// Returns a receiver of the connection's state.
    pub(crate) fn state(&self) -> ordered_watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Waits until it is known which of the batches written before `session` the broker has stored. Returns false if the
    /// connection is lost meanwhile.
    pub(crate) async fn recovered(&self, session: &Session) -> bool {
        let mut recovered = self.recovered.clone();
        tokio::select! { biased;
            () = recovered.wait_for(|&number| number >= session.number()) => true,
            _ = session.connection().closed() => false,
        }
    }

    /// Waits for a tested stream from the pool.
    pub(crate) async fn stream(&self) -> Result<PooledStream<Streams>, PoolError<StreamError>> {
        self.pool.get().await
    }

    /// Counts the only lane of a route as waiting for a stream, while the returned value lives.
    pub(crate) fn demand_stream(&self) -> StreamDemand {
        self.demand.fetch_add(1, Ordering::Relaxed);
        StreamDemand(Arc::clone(&self.demand))
    }

    /// Returns whether the only lane of a route waits for a stream while the peer permits no more.
    pub(crate) fn has_stream_demand(&self) -> bool {
        self.demand.load(Ordering::Relaxed) > 0 && self.pool.status().limit.is_some()
    }

    /// Returns the pool of streams.
    pub(crate) const fn pool(&self) -> &StreamPool<Streams> {
        &self.pool
    }

    /// Waits until this lane may write on `session`, whose lanes have `streams` streams.
    pub(crate) async fn write_permit(&self, session: &Session, streams: usize) -> WritePermit<'_> {
        self.gate.acquire(session, streams).await
    }

    /// Returns whether QUIC takes no more from any lane at present.
    pub(crate) fn is_blocked(&self) -> bool {
        self.gate.is_blocked()
    }

    /// Returns the token that is cancelled when the producer ends.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stopped.clone()
    }
}
