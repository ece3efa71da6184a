//! The only clock.
//!
//! All code reads the time through this module, so tests and the simulator can pause and move it (tokio's paused time).
//! Sans-I/O files never call it: they take `now` as an argument.
#![allow(
    clippy::disallowed_methods,
    reason = "this file is the only clock of the crate"
)]

use std::time::Instant;
#[cfg(any(feature = "producer", feature = "broker", feature = "dev-certs", test))]
use std::time::{Duration, SystemTime};

#[cfg(any(feature = "producer", feature = "broker", test))]
pub(crate) use tokio::time::sleep;
pub(crate) use tokio::time::timeout;

/// Returns the monotonic time. It does not advance while tokio's clock is paused.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until `deadline`. Returns at once if it has passed.
pub(crate) fn sleep_until(deadline: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(deadline.into())
}

/// Returns the wall-clock time since the Unix epoch, or zero if the clock is set before the epoch.
#[cfg(any(feature = "producer", feature = "broker", feature = "dev-certs", test))]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The start of every simulation: the first moment of 2026, in milliseconds since the Unix epoch.
#[cfg(all(feature = "sim", any(feature = "producer", feature = "broker")))]
const SIMULATED_EPOCH: u64 = 1_767_225_600_000;

/// Returns the wall-clock time as it is written into messages.
///
/// In a simulation it is 2026-01-01 plus the simulated time. Timestamps are encoded with a variable number of bytes, so
/// the real time would change the size of packets from run to run.
#[cfg(any(feature = "producer", feature = "broker"))]
pub(crate) fn timestamp() -> crate::Timestamp {
    #[cfg(feature = "sim")]
    if let Some(elapsed) = quinn_simnet::elapsed() {
        return crate::Timestamp(SIMULATED_EPOCH + u64::try_from(elapsed.as_millis()).unwrap_or(0));
    }
    crate::Timestamp(u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX))
}
