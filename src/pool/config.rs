//! Sans-I/O: the pool's options, their defaults and their rules.

use std::time::Duration;

use crate::config::{ConfigError, Problems, rules};

/// How many streams a pool keeps, when it tests them, and its time limits.
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
    /// A stream that leaves is replaced at once, and after a failed open again after [`open_retry`](Self::open_retry). More
    /// streams cost the peer memory. With fewer, the first callers of a burst each wait for an open.
    pub min: usize,

    /// Streams that may exist at once: idle, in use, being tested and being opened. Default 16, at least 1.
    ///
    /// When all are in use, a caller waits for one to come back. The peer may permit fewer; see
    /// [`ManageStream::at_limit`](super::ManageStream::at_limit).
    pub max: usize,

    /// Time for one open. Default 2 s, more than zero.
    ///
    /// quinn's `open_bi` waits while the peer permits no further stream, so this is how long a caller may wait to learn that. The
    /// first probe is not included; it has [its own limit](Self::probe_timeout).
    pub open_timeout: Duration,

    /// Time for one probe. Default 2 s, more than zero.
    ///
    /// Choose several round trips of the slowest link. A shorter limit discards streams that are only delayed.
    pub probe_timeout: Duration,

    /// Longest wait of [`StreamPool::get`](super::StreamPool::get). Default 5 s, more than zero.
    pub checkout_timeout: Duration,

    /// Time between two background probes of an idle stream. Default 30 s. `None` probes nothing in the background, and an idle
    /// pool then sets no timer.
    ///
    /// A shorter interval finds dead streams sooner, and costs a probe per stream each time. At most half of the idle streams
    /// are probed at a time, so that the others stay ready.
    pub check_interval: Option<Duration>,

    /// How long after its last use or probe an idle stream is handed out without a probe. Default 10 s; zero probes at every
    /// checkout.
    ///
    /// A stream that was idle for longer is probed first, which costs that caller a round trip.
    pub max_idle: Duration,

    /// How long after an answered probe a returned stream goes back with no other test than
    /// [`is_broken`](super::ManageStream::is_broken). Default zero: every returned stream is probed.
    ///
    /// A probe after each use costs a round trip. That is nothing for a holder that keeps its stream for minutes. Where many
    /// callers share few streams, each use lasts a round trip longer unless probes are valid for a while.
    pub probe_validity: Duration,

    /// How long a stream above [`min`](Self::min) may be idle before it is closed. Default 10 s, more than zero; `None` keeps
    /// it.
    pub idle_timeout: Option<Duration>,

    /// Age at which a stream is closed. Default `None`, which is any age; more than zero.
    ///
    /// A stream over that age is closed when it is idle or comes back, and never taken from its holder.
    pub max_age: Option<Duration>,

    /// Pause after a failed open before the pool opens another that no caller asked for. Default 100 ms, more than zero. It
    /// doubles with each failure in a row, up to 64 times this.
    ///
    /// The pause applies to opens up to `min`, and to all opens at the peer's limit. Other opens for a caller have no pause, and
    /// their failure is returned to a caller.
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
    /// Returns the options of single mode: one stream that all callers share, in the order of their calls. `min` and `max` are 1,
    /// and [`probe_validity`](Self::probe_validity) is 1 s. Everything else is as in [`Config::default`].
    ///
    /// The [module's page](super#single-mode) says when to use it. Callers that share a stream hold it for one write each, and
    /// a probe after every write would make each a round trip longer. With `probe_validity` zero the stream is probed after
    /// every use all the same.
    #[must_use]
    pub fn single() -> Self {
        Self {
            min: 1,
            max: 1,
            probe_validity: Duration::from_secs(1),
            ..Self::default()
        }
    }

    /// Checks every field against its rule.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names every field that breaks its rule, with its value.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = |duration: Option<Duration>| duration.is_none_or(|d| !d.is_zero());
        let rule = "must be more than zero";
        let mut problems = Problems::default();
        problems.nested("pool", |problems| {
            rules!(problems, self;
                max in 1.. => "must be at least 1";
                min in ..=self.max => format!("must be at most pool.max ({})", self.max);
                open_timeout where !self.open_timeout.is_zero() => rule;
                probe_timeout where !self.probe_timeout.is_zero() => rule;
                checkout_timeout where !self.checkout_timeout.is_zero() => rule;
                check_interval where positive(self.check_interval) => rule;
                idle_timeout where positive(self.idle_timeout) => rule;
                max_age where positive(self.max_age) => rule;
                open_retry where !self.open_retry.is_zero() => rule;
            );
        });
        problems.into_result()
    }
}

#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::default();
    min, max, open_timeout, probe_timeout, checkout_timeout, check_interval, max_idle, probe_validity, idle_timeout, max_age, open_retry
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
        let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
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
            said.contains("pool.max_age = Some(0ns): must be more than zero"),
            "{said}"
        );
    }
}
