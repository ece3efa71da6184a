//! The pool's handle: makes a pool, asks it for streams, shows its status, closes it.

use std::{fmt, sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::{
    config::Config,
    error::PoolError,
    guard::PooledStream,
    maintenance::{self, CloseOnDrop},
    manage::ManageStream,
    shared::{Checkout, Shared},
    state::Ticket,
    status::Status,
};
use crate::{config::ConfigError, time};

/// A pool of tested streams. Clones are handles of the same pool.
///
/// # Drop
///
/// The drop of the last handle closes the pool as [`close`](Self::close) does, without waiting for its tasks. Guards that are
/// still held stay usable, and their streams are discarded when they come back.
pub struct StreamPool<M: ManageStream> {
    handle: Arc<Handle<M>>,
}

/// Closes the pool when the last clone is dropped. Guards and tasks hold only what is inside.
struct Handle<M: ManageStream>(Arc<Shared<M>>);

impl<M: ManageStream> Drop for Handle<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: ManageStream> StreamPool<M> {
    /// Makes a pool and begins to open its first `min` streams in the background.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names every field of `config` that breaks its rule.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime.
    pub fn new(manager: M, config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let shared = Arc::new(Shared::new(manager, config));
        shared
            .tasks
            .spawn(maintenance::run(CloseOnDrop(Arc::clone(&shared))));
        Ok(Self {
            handle: Arc::new(Handle(shared)),
        })
    }

    /// Waits for a tested stream: an idle one if there is one, else the first that is opened or comes back.
    ///
    /// Callers are served in the order of their calls. The stream has just passed [`is_broken`](ManageStream::is_broken), and
    /// has answered a probe: when it was opened, when it was last given back (see [`Config::probe_validity`]), or just now if
    /// it was idle for longer than [`Config::max_idle`].
    ///
    /// # Errors
    ///
    /// [`PoolError::TimedOut`] after [`Config::checkout_timeout`]; [`PoolError::Closed`]; or why an open failed, if no other
    /// open or probe under way would have served this caller. An open that the peer's limit refused
    /// ([`ManageStream::at_limit`]) is no error while a stream may come back.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing but the place in the queue. The pool's own tasks open and probe, so a
    /// stream that was begun for this caller enters the pool and serves the next.
    pub async fn get(&self) -> Result<PooledStream<M>, PoolError<M::Error>> {
        let shared = self.shared();
        let mut waiting = Waiting::begin(shared);
        let timeout = shared.config.checkout_timeout;
        let Ok(received) = time::timeout(timeout, &mut waiting.receiver).await else {
            return Err(PoolError::TimedOut {
                waited: time::now().saturating_duration_since(waiting.since),
                at_limit: shared.at_limit(),
            });
        };
        waiting.is_served = true;
        // The sender is dropped without an answer only if the manager panicked.
        let slot = received.unwrap_or(Err(PoolError::Aborted))?;
        Ok(PooledStream::new(slot, Arc::clone(shared)))
    }

    /// Returns what the pool holds now, and its totals.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared().status()
    }

    /// Closes the pool, for every handle of it, and waits until its tasks have ended.
    ///
    /// Callers that wait, and all later ones, receive [`PoolError::Closed`]. Streams that are idle, being opened or being probed
    /// are discarded before this returns. It does not wait for guards: their holders keep them, and the streams are discarded
    /// when they come back.
    ///
    /// # Cancel safety
    ///
    /// The pool is closed from the first poll on. Dropping the future only stops waiting for the tasks.
    pub async fn close(self) {
        let shared = Arc::clone(self.shared());
        drop(self);
        shared.close();
        shared.tasks.shutdown().await;
    }

    pub(super) fn shared(&self) -> &Arc<Shared<M>> {
        &self.handle.0
    }
}

impl<M: ManageStream> Clone for StreamPool<M> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<M: ManageStream> fmt::Debug for StreamPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A caller's place in the queue. Its drop leaves the queue, and gives back a stream that was sent but not received.
struct Waiting<'a, M: ManageStream> {
    shared: &'a Shared<M>,
    ticket: Ticket,
    since: Instant,
    receiver: oneshot::Receiver<Checkout<M>>,
    /// Whether the receiver has answered, so that the drop has nothing to do.
    is_served: bool,
}

impl<'a, M: ManageStream> Waiting<'a, M> {
    fn begin(shared: &'a Shared<M>) -> Self {
        let (waiter, receiver) = oneshot::channel();
        let (ticket, since) = shared.change(|state, now| (state.enqueue(waiter), now));
        Self {
            shared,
            ticket,
            since,
            receiver,
            is_served: false,
        }
    }
}

impl<M: ManageStream> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        if self.is_served {
            return;
        }
        // From here on no send succeeds, so the stream is either received below or still with its sender.
        self.receiver.close();
        let unused = self.receiver.try_recv().ok().and_then(Result::ok);
        self.shared.change(|state, _| {
            if let Some(slot) = unused {
                state.on_unused(slot);
            }
            state.cancel(self.ticket)
        });
    }
}
