//! The only clock.
//!
//! Everything that needs to know the time asks here, so that a test or the laboratory can hold the clock
//! (tokio's paused time) and the whole library moves with it. Pure files never call this module: they take
//! `now` as an argument.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant, SystemTime};

pub(crate) use tokio::time::{sleep, sleep_until, timeout};

/// The monotonic time, which stands still while tokio's clock is paused.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until `deadline`; at once where it has passed.
pub(crate) fn until(deadline: Instant) -> tokio::time::Sleep {
    sleep_until(deadline.into())
}

/// The wall clock, as a duration since the Unix epoch; zero where the clock stands before it.
pub(crate) fn wall() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The first moment of 2026, in milliseconds since the Unix epoch: when every simulation begins.
#[cfg(all(feature = "sim", any(feature = "producer", feature = "broker")))]
const SIMULATED_EPOCH: u64 = 1_767_225_600_000;

/// The wall clock, as it is written into messages. In a simulation it begins with 2026 and moves with the simulated time:
/// times are written with as many bytes as they need, and those of the real clock would be others in each run.
#[cfg(any(feature = "producer", feature = "broker"))]
pub(crate) fn timestamp() -> crate::Timestamp {
    #[cfg(feature = "sim")]
    if let Some(elapsed) = quinn_simnet::elapsed() {
        return crate::Timestamp(SIMULATED_EPOCH + u64::try_from(elapsed.as_millis()).unwrap_or(0));
    }
    crate::Timestamp(u64::try_from(wall().as_millis()).unwrap_or(u64::MAX))
}
