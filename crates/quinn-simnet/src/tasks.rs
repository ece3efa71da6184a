//! Starts tasks on the runtime of the run.

use std::future::Future;

/// Starts a task that lives at most as long as the run.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the only place that starts tasks"
)]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
