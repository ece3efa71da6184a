//! What all clones of a producer share, and how it ends.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, watch};

#[cfg(feature = "spool")]
use super::spool;
use super::{Fate, Lanes, SendError, SendErrorKind, Undelivered, sender::LaneContext};
use crate::{
    conn::{self, ConnectError, Session, Supervisor},
    metrics::producer as metrics,
    tasks::Tasks,
    time,
};

/// The time that a closing producer may take to write messages in memory to its spool.
#[cfg(feature = "spool")]
const SPOOL_GRACE: Duration = Duration::from_secs(1);

/// What all clones of a producer share.
#[derive(Debug)]
pub(super) struct ProducerInner {
    pub(super) context: LaneContext,
    /// The spool; `None` where none was asked for.
    #[cfg(feature = "spool")]
    pub(super) spool: Option<Arc<spool::Spool>>,
    /// Written by the scaler.
    pub(super) lanes: watch::Receiver<Lanes>,
    tasks: Tasks,
    /// `None` once the producer is closed.
    supervisor: Mutex<Option<Supervisor>>,
}

impl ProducerInner {
    pub(super) fn new(
        context: LaneContext,
        #[cfg(feature = "spool")] spool: Option<Arc<spool::Spool>>,
        tasks: Tasks,
        supervisor: Supervisor,
        lanes: watch::Receiver<Lanes>,
    ) -> Self {
        Self {
            context,
            #[cfg(feature = "spool")]
            spool,
            lanes,
            tasks,
            supervisor: Mutex::new(Some(supervisor)),
        }
    }

    /// Waits until there is a connection, or there will be none.
    pub(super) async fn wait_connected(&self) -> Result<Arc<Session>, Arc<ConnectError>> {
        conn::wait_connected(&mut self.context.transport.state().as_watch()).await
    }

    /// Waits until there is a connection, at most `limit`.
    pub(super) async fn wait_connected_within(
        &self,
        limit: Duration,
    ) -> Result<Arc<Session>, Arc<ConnectError>> {
        let servers = &self.context.config.connection.servers;
        let mut state = self.context.transport.state().as_watch();
        conn::connect_within(&mut state, servers, limit).await
    }

    /// Drains until the deadline, then ends everything. Returns what has no outcome, and how many messages are left in the
    /// spool.
    pub(super) async fn close(&self, deadline: Duration) -> (Vec<Undelivered>, u64) {
        let until = time::now() + deadline;
        self.context.accumulator.close();
        let _ = time::timeout(deadline, self.context.accumulator.epochs().flush()).await;
        let closed = SendError::new(SendErrorKind::Closed, Fate::NotStored);
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            spool
                .write_staged(&self.context.accumulator, SPOOL_GRACE)
                .await;
        }
        let left = self.context.requests.end(&closed);
        self.tasks.stop();
        self.context.transport.pool().clone().close().await;
        let supervisor = self.supervisor.lock().await.take();
        if let Some(supervisor) = supervisor {
            supervisor
                .close(until.saturating_duration_since(time::now()))
                .await;
        }
        self.tasks.join().await;
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return (left, spool.close().await);
        }
        (left, 0)
    }
}

/// Ends everything at once, and counts what had no outcome.
impl Drop for ProducerInner {
    fn drop(&mut self) {
        let dropped = SendError::new(SendErrorKind::Closed, Fate::NotStored);
        let left = self.context.requests.end(&dropped).len();
        if left > 0 {
            tracing::warn!(
                messages = left,
                "a producer was dropped and not closed: these messages had no outcome"
            );
            metrics::dropped(left as u64);
        }
        self.tasks.stop();
    }
}
