//! What several test programs use.
//!
//! | file | what it is |
//! |---|---|
//! | `world.rs` | a producer, a link that misbehaves and a broker, in virtual time |
//! | `stored.rs` | what a store holds |

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
