//! What the pool's handles, its guards and its tasks share: the books behind one lock, and the keeper's bell.
//!
//! Every change of the books goes through [`Shared::change`]: it locks, changes, asks the books what follows,
//! unlocks, and only then calls the manager or wakes a waiter. No foreign code runs under the lock.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{Notify, oneshot};

use super::{
    config::Config,
    error::PoolError,
    guard::PooledStream,
    manage::ManageStream,
    slots::{Action, Slots, Work},
    status::{EvictReason, Status},
};
use crate::{tasks::Tasks, time};

/// What a caller in line gets in the end.
pub(super) type Outcome<M> = Result<PooledStream<M>, PoolError<<M as ManageStream>::Error>>;
/// Where a caller in line is reached. Nobody receives on the other end once the caller is gone.
pub(super) type Waiter<M> = oneshot::Sender<Outcome<M>>;
type Books<M> = Slots<<M as ManageStream>::Stream, Waiter<M>>;
type Actions<M> = VecDeque<Action<<M as ManageStream>::Stream, Waiter<M>>>;

pub(super) struct Shared<M: ManageStream> {
    pub(super) manager: M,
    pub(super) config: Config,
    pub(super) tasks: Tasks,
    /// Rung when the keeper has to look at the books before the time it set itself.
    pub(super) bell: Notify,
    desk: Mutex<Desk<M>>,
}

/// All that is behind the lock.
struct Desk<M: ManageStream> {
    books: Books<M>,
    /// The time at which the keeper will look by itself. It writes this; a change that is earlier rings.
    keeper_wakes: Option<Instant>,
}

impl<M: ManageStream> Shared<M> {
    pub(super) fn new(manager: M, config: Config) -> Self {
        let desk = Desk {
            books: Slots::new(config.clone()),
            keeper_wakes: None,
        };
        Self {
            manager,
            config,
            tasks: Tasks::new(),
            bell: Notify::new(),
            desk: Mutex::new(desk),
        }
    }

    /// Changes the books and does what follows from it.
    pub(super) fn change<R>(self: &Arc<Self>, f: impl FnOnce(&mut Books<M>, Instant) -> R) -> R {
        let mut todo = Actions::<M>::new();
        let answer = self.record(&mut todo, f);
        self.carry_out(todo);
        answer
    }

    /// The keeper's change: takes all work there is, and notes until when the keeper sleeps.
    pub(super) fn take_work(self: &Arc<Self>) -> (Vec<Work<M::Stream>>, Option<Instant>) {
        let mut todo = Actions::<M>::new();
        let mut work = Vec::new();
        let wake = {
            let mut desk = self.lock();
            let now = time::now();
            todo.extend(std::iter::from_fn(|| desk.books.poll(now)));
            work.extend(std::iter::from_fn(|| desk.books.poll_work(now)));
            desk.keeper_wakes = desk.books.poll_wake();
            desk.keeper_wakes
        };
        self.carry_out(todo);
        (work, wake)
    }

    /// Closes the books and tells every task to stop.
    pub(super) fn shut(self: &Arc<Self>) {
        self.change(|books, _| books.close());
        self.tasks.stop();
    }

    pub(super) fn status(&self) -> Status {
        self.lock().books.status()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().books.is_closed()
    }

    pub(super) fn at_limit(&self) -> bool {
        self.lock().books.at_limit()
    }

    #[cfg(test)]
    pub(super) fn keeper_wakes(&self) -> Option<Instant> {
        self.lock().keeper_wakes
    }

    fn record<R>(&self, todo: &mut Actions<M>, f: impl FnOnce(&mut Books<M>, Instant) -> R) -> R {
        let mut desk = self.lock();
        let now = time::now();
        let answer = f(&mut desk.books, now);
        // At the same `now`, so that a stream that has just been proved counts as fresh for whoever waits.
        todo.extend(std::iter::from_fn(|| desk.books.poll(now)));
        let sooner = match (desk.books.poll_wake(), desk.keeper_wakes) {
            (Some(wanted), Some(set)) => wanted < set,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if sooner || desk.books.has_work(now) {
            self.bell.notify_one();
        }
        answer
    }

    fn carry_out(self: &Arc<Self>, mut todo: Actions<M>) {
        while let Some(action) = todo.pop_front() {
            match action {
                Action::Discard(stream, why) => {
                    self.manager.discard(stream, why);
                    self.record(&mut todo, |books, _| books.on_discarded());
                }
                Action::TellClosed(waiter) => {
                    // An error means that the caller is gone, and needs no answer.
                    let _ = waiter.send(Err(PoolError::Closed));
                }
                Action::Hand(waiting, slot) => {
                    let guard = PooledStream::undelivered(slot, Arc::clone(self));
                    if self.manager.is_broken(&guard) {
                        let slot = guard.into_slot();
                        self.record(&mut todo, |books, _| {
                            books.retire(slot, EvictReason::Broken);
                            // A caller who goes away at this very moment is found gone at the next hand.
                            if !waiting.waiter.is_closed() {
                                books.rejoin(waiting);
                            }
                        });
                    } else if let Err(Ok(guard)) = waiting.waiter.send(Ok(guard)) {
                        let slot = guard.into_slot();
                        self.record(&mut todo, |books, _| books.on_unused(slot));
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Desk<M>> {
        // The books run no foreign code under the lock, so a panic cannot have left them half written.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
