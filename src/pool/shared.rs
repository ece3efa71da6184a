//! What the pool's handles, guards and tasks share.
//!
//! Every change of the state goes through [`Shared::change`]. It locks, changes the state, collects the actions that follow,
//! unlocks, and only then calls the manager or a waiter. So no code of the user runs under the lock.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{Notify, oneshot};

use super::{
    config::Config,
    error::PoolError,
    manage::ManageStream,
    slot::Slot,
    state::{Action, PoolState, Work},
    status::{EvictReason, Status},
};
use crate::{tasks::Tasks, time};

/// What a waiting caller receives.
pub(super) type Checkout<M> =
    Result<Slot<<M as ManageStream>::Stream>, PoolError<<M as ManageStream>::Error>>;
/// Reaches a waiting caller. A send fails once the caller has gone.
pub(super) type Waiter<M> = oneshot::Sender<Checkout<M>>;
type State<M> = PoolState<<M as ManageStream>::Stream, Waiter<M>>;
type Actions<M> = VecDeque<Action<<M as ManageStream>::Stream, Waiter<M>>>;

pub(super) struct Shared<M: ManageStream> {
    pub(super) manager: M,
    pub(super) config: Config,
    pub(super) tasks: Tasks,
    /// Wakes the maintenance task before the time that it scheduled.
    pub(super) maintenance_notify: Notify,
    state: Mutex<State<M>>,
}

impl<M: ManageStream> Shared<M> {
    pub(super) fn new(manager: M, config: Config) -> Self {
        let state = PoolState::new(config.clone());
        Self {
            manager,
            config,
            tasks: Tasks::new(),
            maintenance_notify: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Changes the state and does what follows from the change.
    pub(super) fn change<R>(&self, f: impl FnOnce(&mut State<M>, Instant) -> R) -> R {
        let mut actions = Actions::<M>::new();
        let answer = self.record(&mut actions, f);
        self.carry_out(actions);
        answer
    }

    /// Takes all work for the maintenance task, and returns until when that task may sleep.
    pub(super) fn take_work(&self) -> (Vec<Work<M::Stream>>, Option<Instant>) {
        let mut actions = Actions::<M>::new();
        let mut work = Vec::new();
        let wake = {
            let mut state = self.lock();
            let now = time::now();
            actions.extend(std::iter::from_fn(|| state.poll(now)));
            work.extend(std::iter::from_fn(|| state.poll_work(now)));
            state.schedule()
        };
        self.carry_out(actions);
        (work, wake)
    }

    /// Closes the pool and tells its tasks to stop.
    pub(super) fn close(&self) {
        self.change(|state, _| state.close());
        self.tasks.stop();
    }

    pub(super) fn status(&self) -> Status {
        self.lock().status()
    }

    pub(super) fn at_limit(&self) -> bool {
        self.lock().at_limit()
    }

    #[cfg(test)]
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.lock().scheduled()
    }

    fn record<R>(
        &self,
        actions: &mut Actions<M>,
        f: impl FnOnce(&mut State<M>, Instant) -> R,
    ) -> R {
        let mut state = self.lock();
        let now = time::now();
        let answer = f(&mut state, now);
        // The same `now`, so that with `max_idle` zero a stream that was just probed is still ready for a waiter.
        actions.extend(std::iter::from_fn(|| state.poll(now)));
        if state.needs_maintenance(now) {
            self.maintenance_notify.notify_one();
        }
        answer
    }

    fn carry_out(&self, mut actions: Actions<M>) {
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Discard(stream, reason) => {
                    self.manager.discard(stream, reason);
                    self.record(&mut actions, |state, _| state.on_discarded());
                }
                Action::RejectClosed(waiter) => {
                    // Sending fails when the caller has gone, and then it needs no answer.
                    let _ = waiter.send(Err(PoolError::Closed));
                }
                Action::Deliver(dequeued, slot) => {
                    if self.manager.is_broken(&slot.stream) {
                        self.record(&mut actions, |state, _| {
                            state.on_unusable(slot, EvictReason::Broken);
                            // A caller that goes after this check is found to be gone at the next delivery.
                            if !dequeued.waiter.is_closed() {
                                state.requeue(dequeued);
                            }
                        });
                    } else if let Err(Ok(slot)) = dequeued.waiter.send(Ok(slot)) {
                        self.record(&mut actions, |state, _| state.on_unused(slot));
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // No code of the user runs under the lock, so a panic cannot have left the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
