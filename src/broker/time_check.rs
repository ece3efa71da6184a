//! Sans-I/O: whether the clock is believed when messages are dropped for their age.
//!
//! A broker that starts with a clock that is years ahead would drop every message as too old. So a clock that is more than a
//! day ahead of the newest message is not believed before a producer's clock agrees with it, or a day has passed.

use std::time::{Duration, Instant};

use crate::Timestamp;

/// The most that two clocks which agree may differ, and the time after which a clock is believed.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the clock.
#[derive(Debug)]
pub(super) struct TimeCheck {
    started: Instant,
    believed: bool,
}

impl TimeCheck {
    /// Creates a check that begins at `started`, when the clock is not believed yet.
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            believed: false,
        }
    }

    /// A message was stored at `stored`, by an earlier reading of the clock, or a producer's clock shows it.
    pub(super) fn on_time(&mut self, other: Timestamp, wall: Timestamp) {
        let ahead = Duration::from_millis(wall.0.saturating_sub(other.0));
        self.believed |= ahead <= DAY;
    }

    /// Returns whether the clock is believed.
    pub(super) fn is_believed(&mut self, now: Instant) -> bool {
        self.believed |= now.saturating_duration_since(self.started) >= DAY;
        self.believed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

    use super::*;

    fn days(days: u64) -> Timestamp {
        Timestamp(days * 86_400_000)
    }

    #[test]
    fn a_clock_far_ahead_of_the_newest_message_is_believed_when_another_clock_agrees() {
        let start = Instant::now();
        let mut check = TimeCheck::new(start);
        assert!(!check.is_believed(start));
        check.on_time(days(10), days(400));
        assert!(
            !check.is_believed(start),
            "the newest message is a year old"
        );
        check.on_time(days(0), days(400));
        assert!(!check.is_believed(start), "a device without a clock");
        check.on_time(days(399), days(400));
        assert!(check.is_believed(start));
        check.on_time(days(10), days(400));
        assert!(check.is_believed(start), "it stays believed");
    }

    #[test]
    fn after_a_day_the_clock_is_believed() {
        let start = Instant::now();
        let mut check = TimeCheck::new(start);
        assert!(!check.is_believed(start + DAY - Duration::from_secs(1)));
        assert!(check.is_believed(start + DAY));
    }

    #[test]
    fn a_clock_that_is_behind_drops_nothing_and_is_believed() {
        let start = Instant::now();
        let mut check = TimeCheck::new(start);
        check.on_time(days(400), days(10));
        assert!(check.is_believed(start));
    }
}
