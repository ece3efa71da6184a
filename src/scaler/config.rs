//! Sans-I/O: the adaptive policy's options, their defaults and their rules.

use std::time::Duration;

use crate::config::{ConfigError, Problems, rules};

/// The most lanes that any policy can have. The producer keeps the set of lanes to be woken in one 64-bit word.
pub const MAX_LANES: usize = 64;

/// Bounds of the adaptive policy, and how easily it opens and retires lanes.
///
/// ```
/// use anabranch::scaler::Config;
///
/// let mut config = Config::default();
/// config.max_lanes = 64;
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Lanes that are kept when nothing happens. Default 1; at least 1, at most [`max_lanes`](Self::max_lanes).
    ///
    /// More lanes serve the first moments of a burst faster, and each costs the broker a task.
    pub min_lanes: usize,

    /// The most lanes. Default 64; at least [`min_lanes`](Self::min_lanes), at most [`MAX_LANES`].
    ///
    /// Where packets are lost, and the congestion controller tolerates it, each packet of a round trip is worth a lane: at
    /// 100 Mbit/s, 50 ms, 1 % loss and half the link's rate, 16 lanes leave the 90th percentile at twice the floor, and 64 reach
    /// it. Lanes that do not help are not opened.
    pub max_lanes: usize,

    /// Messages queued for each lane before another lane is considered. Default 64, at least 1.
    ///
    /// A lower threshold reacts to shorter bursts. One lane's [window](Self::lane_window) of queued bytes reaches it too, so
    /// that large messages need not be many.
    pub backlog_threshold: usize,

    /// Bytes that one lane may have unanswered. Default 256 KiB, at least 4 KiB.
    ///
    /// A lane with that much is full. A smaller window shows sooner that a broker works through each stream one batch at a time;
    /// a larger one fills a long fat link with fewer lanes. Choose less than the peer's flow-control window for a stream
    /// (1.25 MB by default), which otherwise fills first.
    pub lane_window: u64,

    /// How long a lane must have been unneeded before it is retired. Default 10 s, 100 ms to 1 hour.
    ///
    /// This is also the least time between opening a lane and opening it again after a retirement. A shorter time gives lanes
    /// back sooner; a longer one saves the next burst its openings.
    pub idle_timeout: Duration,

    /// What twice the lanes must add to the rate of answers to be kept. Default 0.10 (a tenth), above 0 and at most 1. Smaller
    /// steps must add their share of it.
    ///
    /// A higher value retreats sooner where the broker is the limit, and also where the measurement is noisy.
    pub min_gain: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_lanes: 1,
            max_lanes: MAX_LANES,
            backlog_threshold: 64,
            lane_window: 256 * 1024,
            idle_timeout: Duration::from_secs(10),
            min_gain: 0.10,
        }
    }
}

impl Config {
    /// Checks every field against its rule.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names every field that breaks its rule, with its value.
    pub fn check(&self) -> Result<(), ConfigError> {
        const MIN_WINDOW: u64 = 4 * 1024;
        const MIN_IDLE: Duration = Duration::from_millis(100);
        const MAX_IDLE: Duration = Duration::from_secs(3600);
        let mut problems = Problems::default();
        problems.nested("scaler", |problems| {
            rules!(problems, self;
                min_lanes in 1.. => "must be at least 1";
                max_lanes in self.min_lanes.. => format!("must be at least scaler.min_lanes ({})", self.min_lanes);
                max_lanes in ..=MAX_LANES => format!("must be at most {MAX_LANES}");
                backlog_threshold in 1.. => "must be at least 1";
                lane_window in MIN_WINDOW.. => format!("must be at least {MIN_WINDOW}");
                idle_timeout in MIN_IDLE..=MAX_IDLE => format!("must be {MIN_IDLE:?} to {MAX_IDLE:?}");
                min_gain where self.min_gain > 0.0 && self.min_gain <= 1.0 => "must be above 0 and at most 1";
            );
        });
        problems.into_result()
    }
}

#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::default();
    min_lanes, max_lanes, backlog_threshold, lane_window, idle_timeout, min_gain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let config = Config::default();
        assert_eq!(config.min_lanes, 1);
        assert_eq!(config.max_lanes, MAX_LANES);
        assert_eq!(config.backlog_threshold, 64);
        assert_eq!(config.lane_window, 262_144);
        assert_eq!(config.idle_timeout, Duration::from_secs(10));
        assert!((config.min_gain - 0.10).abs() < f64::EPSILON);
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn every_problem_is_reported_at_once_with_field_value_and_rule() {
        let config = Config {
            min_lanes: 100,
            max_lanes: 99,
            backlog_threshold: 0,
            lane_window: 1,
            idle_timeout: Duration::MAX,
            min_gain: f64::NAN,
        };
        let error = config.check().unwrap_err();
        assert_eq!(error.problems().len(), 6, "{error}");
        assert!(error.to_string().starts_with(
            "scaler.max_lanes = 99: must be at least scaler.min_lanes (100); \
             scaler.max_lanes = 99: must be at most 64; scaler.backlog_threshold = 0"
        ));
        let none = Config {
            min_lanes: 0,
            ..Config::default()
        };
        assert_eq!(
            none.check().unwrap_err().to_string(),
            "scaler.min_lanes = 0: must be at least 1"
        );
    }
}
