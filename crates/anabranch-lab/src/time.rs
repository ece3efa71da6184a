//! The only clock: tokio's, which the simulation advances.
#![allow(clippy::disallowed_methods, reason = "this file is the only clock")]

use std::time::{Duration, Instant};

pub(crate) use tokio::time::timeout;

/// Returns the monotonic time of the simulation.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the processor time of this thread since it began. `None` on systems other than Linux.
pub(crate) fn thread_cpu() -> Option<Duration> {
    // The first field is the time on the processor, in nanoseconds: "proc/<pid>/schedstat" in the kernel's documentation.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
