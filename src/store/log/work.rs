//! What the maintenance of a store shares with its calls: what is wanted of it, and the segment made ahead.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::active::Prepared;

/// What the maintenance of a store shares with its calls.
#[derive(Debug)]
pub(super) struct Work {
    state: Mutex<WorkState>,
    woken: Condvar,
    /// Generations of compacted segments and names of files that were tried.
    pub(super) tries: AtomicU32,
    /// A frame was written since the last end mark.
    unmarked: AtomicBool,
}

/// Why a wait of the maintenance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to do.
    Wanted,
    /// The time is up, or something has become due at a time.
    Due,
    /// The store is closed.
    Stopped,
}

#[derive(Debug, Default)]
pub(super) struct WorkState {
    pub(super) prepared: Option<Prepared>,
    pub(super) has_reserve: bool,
    pub(super) wanted: bool,
    /// Something has become due at a time.
    is_due: bool,
    stopped: bool,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Work {
    pub(super) fn new(prepared: Option<Prepared>) -> Self {
        let state = WorkState {
            prepared,
            ..WorkState::default()
        };
        Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
            tries: AtomicU32::new(0),
            unmarked: AtomicBool::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, WorkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the maintenance run.
    pub(super) fn wake(&self) {
        self.state().wanted = true;
        self.woken.notify_one();
    }

    /// Takes back a segment that was not used.
    pub(super) fn give_back(&self, prepared: Prepared) {
        self.state().prepared = Some(prepared);
    }

    /// Lets go of the next segment.
    pub(super) fn clear(&self) {
        self.state().prepared = None;
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        let thread = {
            let mut state = self.state();
            state.stopped = true;
            state.thread.take()
        };
        self.woken.notify_one();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Notes that a frame was written. The maintenance looks at the time for the end mark after the first one.
    pub(super) fn frame_written(&self) {
        if !self.unmarked.swap(true, Relaxed) {
            self.state().is_due = true;
            self.woken.notify_one();
        }
    }

    /// Returns whether a frame was written since the last call, for the end mark.
    pub(super) fn take_unmarked(&self) -> bool {
        self.unmarked.swap(false, Relaxed)
    }

    /// Returns whether a frame was written that no end mark tells of.
    pub(super) fn is_unmarked(&self) -> bool {
        self.unmarked.load(Relaxed)
    }

    /// Waits until there is something to do, for at most `most`.
    pub(super) fn wait(&self, most: Option<Duration>) -> Woken {
        let mut state = self.state();
        if !state.wanted && !state.stopped && !state.is_due {
            state = match most {
                Some(most) => {
                    let waited = self.woken.wait_timeout(state, most);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.woken.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        state.is_due = false;
        match (state.stopped, std::mem::take(&mut state.wanted)) {
            (true, _) => Woken::Stopped,
            (false, true) => Woken::Wanted,
            (false, false) => Woken::Due,
        }
    }

    pub(super) fn has_thread(&self) -> bool {
        self.state().thread.is_some()
    }
}
