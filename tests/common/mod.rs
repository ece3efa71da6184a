//! What several test programs use.

use futures_util::{FutureExt, future::BoxFuture};

/// Polls a future once, so that a message is handed over now, and returns it to be awaited later.
pub fn begun<F>(future: F) -> BoxFuture<'static, F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut future = Box::pin(future);
    match future.as_mut().now_or_never() {
        Some(output) => Box::pin(std::future::ready(output)),
        None => future,
    }
}
