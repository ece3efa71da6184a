//! The only clock: tokio's, which the simulation moves.
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
    /// When the run on this thread began; empty outside of a run.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Returns how long the run on this thread has taken so far, in virtual time; `None` outside of [`run`](crate::run).
///
/// Code under test that reads the wall clock can use it to stay repeatable.
#[must_use]
pub fn elapsed() -> Option<Duration> {
    BEGAN
        .get()
        .map(|began| now().saturating_duration_since(began))
}

/// Marks the current thread as one that runs a simulation, while it lives.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        BEGAN.set(Some(now()));
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        BEGAN.set(None);
    }
}
