//! What the handles of one network share.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use crate::{
    clock::Clock,
    config::ConfigError,
    link::{Change, LinkId},
    runtime::SimRuntime,
    state::State,
    time,
};

/// The network behind its handles.
pub(crate) struct Shared {
    seed: u64,
    start: Instant,
    clock: Clock,
    runtime: Arc<SimRuntime>,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        Self {
            seed,
            start: time::now(),
            runtime: Arc::new(SimRuntime::new(clock.clone())),
            clock,
            state: Mutex::new(State::new(seed)),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the start of the run.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn runtime(&self) -> &Arc<SimRuntime> {
        &self.runtime
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the network")
    }

    pub(crate) fn change(&self, link: LinkId, change: &Change) -> Result<(), ConfigError> {
        let wakeups = self.state().on_change(time::now(), link, change)?;
        for wakeup in wakeups {
            wakeup.schedule();
        }
        Ok(())
    }

    /// Applies a change that has been checked, or that has nothing to check.
    pub(crate) fn change_checked(&self, link: LinkId, change: &Change) {
        self.change(link, change)
            .expect("the change has been checked");
    }
}
