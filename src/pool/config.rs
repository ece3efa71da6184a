//! Pure: the pool's options, their defaults and their rules.

use std::{fmt, time::Duration};

use crate::config::{ConfigError, Problems};

/// How many streams a pool keeps, how it tests them, and how long anything may take.
///
/// ```
/// use std::time::Duration;
/// use anabranch::pool::Config;
///
/// let mut config = Config::default();
/// config.max = 64;
/// config.max_age = Some(Duration::from_secs(3600));
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Streams kept open, idle and in use together. Default 1; 0 keeps none; at most [`max`](Self::max).
    ///
    /// A stream that leaves is replaced at once; when that fails, again after [`open_retry`](Self::open_retry).
    /// More costs the peer memory, fewer costs the first checkouts of a burst an open each.
    pub min: usize,

    /// Streams that may exist at once: idle, in use, being tested and being opened. Default 16, at least 1.
    ///
    /// A caller who comes when all are in use waits for one to come back. The peer may permit fewer; see
    /// [`ManageStream::at_limit`](super::ManageStream::at_limit).
    pub max: usize,

    /// Time for one open. Default 2 s, more than zero.
    ///
    /// Opening waits silently where the peer permits no further stream, so this is how long a caller waits to
    /// be told. It starts before the first probe, which has its own limit.
    pub open_timeout: Duration,

    /// Time for one probe. Default 2 s, more than zero.
    ///
    /// Several round trips of the slowest link in question: a shorter one discards streams that only stalled.
    pub probe_timeout: Duration,

    /// Longest wait for a stream, from the call to the guard. Default 5 s, more than zero.
    pub checkout_timeout: Duration,

    /// How old the last proof of an idle stream may grow before the background task probes it. Default 30 s;
    /// `None` checks nothing in the background, and an idle pool then sets no timer.
    ///
    /// Shorter finds dead streams sooner and costs a round trip a stream each time. At most half of the idle
    /// streams are being checked at a time, so that the others stay ready.
    pub check_interval: Option<Duration>,

    /// How long a stream may have been idle, since it was last used or probed, and still be handed out at
    /// once. Default 10 s; zero probes at every checkout.
    ///
    /// One that was idle for longer is probed before its next use, which costs that caller a round trip.
    pub max_idle: Duration,

    /// How recent the last answered probe of a returned stream must be for it to go back untested but for
    /// [`is_broken`](super::ManageStream::is_broken). Default zero: every returned stream is probed.
    ///
    /// A lane that holds its stream for minutes does not feel the round trip. Callers who take turns on few
    /// streams do: each turn then lasts a round trip longer, unless the last proof is trusted for a while.
    pub probe_validity: Duration,

    /// How long a stream above [`min`](Self::min) stays without being used. Default 10 s, more than zero;
    /// `None` keeps it.
    pub idle_timeout: Option<Duration>,

    /// How old a stream may become. Default `None`, any age; more than zero.
    ///
    /// One over age leaves when it is idle or comes back; it is never taken from its holder.
    pub max_age: Option<Duration>,

    /// Pause after a failed open before the pool tries again of its own accord. Default 100 ms, more than
    /// zero. Doubles with each failure in a row, up to 64 times this.
    ///
    /// It paces the refilling up to `min` and the trying again at a peer's limit. A caller's own request is
    /// tried without a pause, and its failure is told to a caller.
    pub open_retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min: 1,
            max: 16,
            open_timeout: Duration::from_secs(2),
            probe_timeout: Duration::from_secs(2),
            checkout_timeout: Duration::from_secs(5),
            check_interval: Some(Duration::from_secs(30)),
            max_idle: Duration::from_secs(10),
            probe_validity: Duration::ZERO,
            idle_timeout: Some(Duration::from_secs(10)),
            max_age: None,
            open_retry: Duration::from_millis(100),
        }
    }
}

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// All that is wrong, at once: each field with its value and the rule it breaks.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        let mut rule = |holds, field, value: &dyn fmt::Debug, rule: String| {
            problems.expect(holds, field, value, rule);
        };

        rule(
            self.max >= 1,
            "pool.max",
            &self.max,
            "must be at least 1".into(),
        );
        rule(
            self.min <= self.max,
            "pool.min",
            &self.min,
            format!("must be at most pool.max ({})", self.max),
        );
        let durations = [
            ("pool.open_timeout", Some(self.open_timeout)),
            ("pool.probe_timeout", Some(self.probe_timeout)),
            ("pool.checkout_timeout", Some(self.checkout_timeout)),
            ("pool.check_interval", self.check_interval),
            ("pool.idle_timeout", self.idle_timeout),
            ("pool.max_age", self.max_age),
            ("pool.open_retry", Some(self.open_retry)),
        ];
        for (field, duration) in durations {
            let Some(duration) = duration else { continue };
            rule(
                duration > Duration::ZERO,
                field,
                &duration,
                "must be more than zero".into(),
            );
        }

        problems.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let config = Config::default();
        assert_eq!((config.min, config.max), (1, 16));
        assert_eq!(config.open_timeout, Duration::from_secs(2));
        assert_eq!(config.probe_timeout, Duration::from_secs(2));
        assert_eq!(config.checkout_timeout, Duration::from_secs(5));
        assert_eq!(config.check_interval, Some(Duration::from_secs(30)));
        assert_eq!(config.max_idle, Duration::from_secs(10));
        assert_eq!(config.probe_validity, Duration::ZERO);
        assert_eq!(config.idle_timeout, Some(Duration::from_secs(10)));
        assert_eq!(config.max_age, None);
        assert_eq!(config.open_retry, Duration::from_millis(100));
        assert!(config.check().is_ok());
    }

    #[test]
    fn every_wrong_field_is_reported_at_once_with_its_value_and_its_rule() {
        let config = Config {
            min: 3,
            max: 0,
            open_timeout: Duration::ZERO,
            probe_timeout: Duration::ZERO,
            checkout_timeout: Duration::ZERO,
            check_interval: Some(Duration::ZERO),
            idle_timeout: Some(Duration::ZERO),
            max_age: Some(Duration::ZERO),
            open_retry: Duration::ZERO,
            ..Config::default()
        };
        let error = config.check().unwrap_err();
        let fields: Vec<_> = error.problems().iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "pool.max",
                "pool.min",
                "pool.open_timeout",
                "pool.probe_timeout",
                "pool.checkout_timeout",
                "pool.check_interval",
                "pool.idle_timeout",
                "pool.max_age",
                "pool.open_retry",
            ]
        );
        let said = error.to_string();
        assert!(
            said.contains("pool.min = 3: must be at most pool.max (0)"),
            "{said}"
        );
        assert!(
            said.contains("pool.max_age = 0ns: must be more than zero"),
            "{said}"
        );
    }
}
