//! The only clock: tokio's, which the simulation advances.
#![allow(clippy::disallowed_methods, reason = "this file is the only clock")]

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

pub(crate) use tokio::time::{sleep_until, timeout};

/// Returns the monotonic time of the simulation.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until `deadline`; returns at once where it has passed.
pub(crate) fn until(deadline: Instant) -> tokio::time::Sleep {
    sleep_until(deadline.into())
}

thread_local! {
    /// The start of the run on this thread; `None` outside of a run.
    static RUN_START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Returns the virtual time since the start of the run on this thread; `None` outside of [`run`](crate::run).
///
/// Code that reads the wall clock can read this instead in a simulation, so that runs stay repeatable.
#[must_use]
pub fn elapsed() -> Option<Duration> {
    RUN_START
        .get()
        .map(|start| now().saturating_duration_since(start))
}

/// Marks the current thread as one that runs a simulation, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        RUN_START.set(Some(now()));
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUN_START.set(None);
    }
}
