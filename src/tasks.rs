//! The only place that starts tasks.
//!
//! A [`Tasks`] owns what it starts: its shutdown tells every task to stop and waits until the last one has.
//! Nothing in this crate outlives the handle that started it.
#![allow(clippy::disallowed_methods)]

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of tasks with one owner and one end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// A group of its own.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Starts `future` as a task of this group. It runs to its own end: it is told to stop by
    /// [`Tasks::stopped`], never cut off.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(future)
    }

    /// The sign to stop, to be awaited by every task of the group.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells every task to stop, without waiting.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until every task has ended. Tasks that nobody told to stop are waited for too.
    pub(crate) async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Tells every task to stop and waits until the last one has.
    pub(crate) async fn shutdown(&self) {
        self.stop();
        self.join().await;
    }

    /// How many tasks of the group are alive.
    #[cfg(any(feature = "broker", test))]
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }
}
