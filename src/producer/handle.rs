//! What all clones of a producer share, and how it ends.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, watch};

use super::{Fate, Lanes, SendError, SendErrorKind, Undelivered, core::Core, road::Road};
use crate::{
    conn::{self, ConnectError, Link, Supervisor},
    tasks::Tasks,
    time,
};

/// How long a producer that closes may take to write to its spool what is in memory for it.
#[cfg(feature = "spool")]
const SPOOL_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Handle {
    pub(super) core: Arc<Core>,
    pub(super) road: Road,
    pub(super) lanes: watch::Receiver<Lanes>,
    tasks: Tasks,
    /// Taken by the close; empty afterwards.
    supervisor: Mutex<Option<Supervisor>>,
}

impl Handle {
    pub(super) fn start(
        core: Arc<Core>,
        road: Road,
        tasks: Tasks,
        supervisor: Supervisor,
        lanes: watch::Receiver<Lanes>,
    ) -> Self {
        Self {
            core,
            road,
            lanes,
            tasks,
            supervisor: Mutex::new(Some(supervisor)),
        }
    }

    /// Waits until there is a connection, or there will be none.
    pub(super) async fn connected(&self) -> Result<Arc<Link>, Arc<ConnectError>> {
        conn::up(&mut self.road.links().to_watch()).await
    }

    /// Drains until the deadline, then ends everything. Answers what has no outcome, and how many messages are left in
    /// the spool.
    pub(super) async fn close(&self, deadline: Duration) -> (Vec<Undelivered>, u64) {
        let until = time::now() + deadline;
        self.core.close_entrance();
        let _ = time::timeout(deadline, self.core.eras.flush()).await;
        let closed = SendError::new(SendErrorKind::Closed, Fate::NotStored);
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.core.spool {
            spool.settle(SPOOL_GRACE).await;
        }
        let left = self.core.end(&closed);
        self.tasks.stop();
        self.road.pool().clone().close().await;
        let supervisor = self.supervisor.lock().await.take();
        if let Some(supervisor) = supervisor {
            supervisor
                .close(until.saturating_duration_since(time::now()))
                .await;
        }
        self.tasks.join().await;
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.core.spool {
            return (left, spool.close().await);
        }
        (left, 0)
    }
}

/// A producer that was dropped and not closed: everything ends at once, and what had no outcome is counted.
impl Drop for Handle {
    fn drop(&mut self) {
        let dropped = SendError::new(SendErrorKind::Closed, Fate::NotStored);
        let left = self.core.end(&dropped).len();
        if left > 0 {
            tracing::warn!(
                messages = left,
                "a producer was dropped and not closed: these messages had no outcome"
            );
            crate::metrics::producer::dropped(left as u64);
        }
        self.tasks.stop();
    }
}
