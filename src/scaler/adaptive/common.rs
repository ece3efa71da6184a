//! Sans-I/O: what several files of the adaptive policy use.

use std::time::Duration;

/// The shortest time that anything is measured or waited for. Timers are not finer (RFC 9002 §6.1.2).
pub(super) const GRANULARITY: Duration = Duration::from_millis(1);
/// The part of a window from which on it counts as full. The last tenth comes and goes with each acknowledgement.
pub(super) const FULL: f64 = 0.9;
/// The longest time for which a measurement is used without being repeated.
pub(super) const MAX_VALIDITY: Duration = Duration::from_secs(300);

/// Returns a number of lanes from a measurement that may be any float.
pub(super) fn whole(lanes: f64) -> usize {
    const MAX: f64 = 1e6;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within 0 and a million; NaN becomes 0"
    )]
    let lanes = lanes.clamp(0.0, MAX) as usize;
    lanes
}
