//! The only place that starts tasks.
//!
//! A [`Tasks`] group owns the tasks it starts. Its shutdown tells each of them to stop and waits until all have ended, so no
//! task outlives the handle that started it.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of tasks that are stopped and awaited together. Clones share the group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Creates an empty group.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Starts `future` as a task of this group. The group never aborts a task: the task watches [`Tasks::stopped`] and
    /// returns.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(future)
    }

    /// Returns the token that is cancelled when the tasks of this group must stop. Every task watches it.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells every task to stop, without waiting for them.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every task has ended, without telling them to stop.
    pub(crate) async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tells every task to stop and waits until all have ended.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        self.join().await;
    }

    /// Returns the number of tasks that have not ended.
    #[cfg(any(feature = "broker", test))]
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }
}
