//! The processor time of this thread, as the system counts it.

use std::time::Duration;

/// What this thread has used since it began; none where the system does not tell.
pub(super) fn used() -> Option<Duration> {
    // Linux: nanoseconds on the processor come first. See "proc/<pid>/schedstat" in its documentation.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
