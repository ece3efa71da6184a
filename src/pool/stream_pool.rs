//! The handle: make a pool, ask it for a stream, look at it, close it.

use std::{fmt, sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::{
    config::Config,
    error::{PoolError, TryGetError},
    guard::PooledStream,
    keeper::{Keeping, keep},
    manage::ManageStream,
    shared::{Outcome, Shared},
    slots::Ticket,
    status::{EvictReason, Status},
};
use crate::{config::ConfigError, time};

/// A pool of tested streams. Clones are handles of the same pool.
///
/// # Drop
///
/// The last handle's drop closes the pool as [`close`](Self::close) does, without waiting for its tasks. Guards
/// that are still held stay good, and their streams are discarded when they come back.
pub struct StreamPool<M: ManageStream> {
    handle: Arc<Handle<M>>,
}

/// Closes the pool when the last clone is gone. Guards and tasks hold only what is inside.
struct Handle<M: ManageStream>(Arc<Shared<M>>);

impl<M: ManageStream> Drop for Handle<M> {
    fn drop(&mut self) {
        self.0.shut();
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
        shared.tasks.spawn(keep(Keeping(Arc::clone(&shared))));
        Ok(Self {
            handle: Arc::new(Handle(shared)),
        })
    }

    /// Waits for a tested stream: a ready one at once, else one that is opened or comes back.
    ///
    /// Callers are served in the order of asking, with a stream or with an error, and no later one overtakes.
    /// What is handed out passed [`is_broken`](ManageStream::is_broken) just now and answered a probe: when it
    /// was opened, when it was last given back (see [`Config::probe_validity`]), or just now if it lay for longer than
    /// [`Config::max_idle`].
    ///
    /// # Errors
    ///
    /// [`PoolError::TimedOut`] after [`Config::checkout_timeout`]; [`PoolError::Closed`]; or why a stream could
    /// not be opened, where nothing else on its way would have served this caller. An open that the peer's
    /// limit refused ([`ManageStream::at_limit`]) is no error while there are streams that may come back.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing but the place in line. Streams are opened and probed by
    /// the pool's own tasks, so what was begun for this caller ends in the pool, ready for the next.
    pub async fn get(&self) -> Result<PooledStream<M>, PoolError<M::Error>> {
        let shared = self.shared();
        let mut place = Place::take(shared);
        let timeout = shared.config.checkout_timeout;
        let outcome = match time::timeout(timeout, &mut place.outcome).await {
            // The sender is dropped unanswered only by a panic of the manager.
            Ok(outcome) => Some(outcome.unwrap_or(Err(PoolError::Aborted))),
            Err(_elapsed) => None,
        };
        let waited = place.waited();
        place.ended = outcome.is_some();
        match outcome {
            Some(outcome) => outcome.map(|stream| stream.deliver(waited)),
            None => Err(PoolError::TimedOut {
                waited,
                at_limit: shared.at_limit(),
            }),
        }
    }

    /// A stream that is ready now, without waiting and without opening one.
    ///
    /// Where the only streams at hand lay for longer than [`Config::max_idle`], one is probed in the
    /// background, so that a later call finds it ready.
    ///
    /// # Errors
    ///
    /// [`TryGetError::Empty`] when no stream is ready or others wait already; [`TryGetError::Closed`].
    pub fn try_get(&self) -> Result<PooledStream<M>, TryGetError> {
        let shared = self.shared();
        let asked = time::now();
        while let Some(slot) = shared.change(|books, now| books.try_take(now)) {
            let stream = PooledStream::undelivered(slot, Arc::clone(shared));
            if !shared.manager.is_broken(&stream) {
                return Ok(stream.deliver(time::now().saturating_duration_since(asked)));
            }
            let slot = stream.into_slot();
            shared.change(|books, _| books.retire(slot, EvictReason::Broken));
        }
        match shared.is_closed() {
            true => Err(TryGetError::Closed),
            false => Err(TryGetError::Empty),
        }
    }

    /// What the pool holds, and what happened so far.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared().status()
    }

    /// The manager that this pool was made with.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared().manager
    }

    /// Closes the pool, for every handle of it, and waits until its tasks have ended.
    ///
    /// Whoever waits in line is told [`PoolError::Closed`], and so is whoever asks later. Streams that are idle,
    /// being opened or being tested are discarded before this returns. It does not wait for guards: their
    /// holders keep them, and the streams are discarded when they come back.
    ///
    /// # Cancel safety
    ///
    /// The pool is closed from the first poll on; dropping the future only stops waiting for the tasks.
    pub async fn close(self) {
        let shared = Arc::clone(self.shared());
        drop(self);
        shared.shut();
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

/// A caller's place in line. Dropped at any moment it leaves nothing behind: the place is given up, and
/// a stream that was handed over just then goes back unused.
struct Place<'a, M: ManageStream> {
    shared: &'a Arc<Shared<M>>,
    ticket: Ticket,
    since: Instant,
    outcome: oneshot::Receiver<Outcome<M>>,
    /// Whether there was an outcome, so that the caller did not give up.
    ended: bool,
}

impl<'a, M: ManageStream> Place<'a, M> {
    /// Joins the line.
    fn take(shared: &'a Arc<Shared<M>>) -> Self {
        let (waiter, outcome) = oneshot::channel();
        let (ticket, since) = shared.change(|books, now| (books.join(waiter), now));
        Self {
            shared,
            ticket,
            since,
            outcome,
            ended: false,
        }
    }

    fn waited(&self) -> std::time::Duration {
        time::now().saturating_duration_since(self.since)
    }
}

impl<M: ManageStream> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.change(|books, _| {
                books.on_gave_up();
                books.leave(self.ticket)
            });
        }
    }
}
