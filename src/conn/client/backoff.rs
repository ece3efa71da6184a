//! Sans-I/O: exponential backoff with jitter between attempts to connect.
//!
//! Each delay is about twice the previous one, up to a limit. It is drawn at random from a range as wide as its lower
//! bound, so that clients that lost their server at the same moment do not reconnect at the same moment.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::config::{Problems, rules};

/// Limits of the delays between attempts to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// The shortest delay. Default: 100 ms.
    pub min: Duration,
    /// The longest delay. Default: 10 s. At least twice `min`. A connection that lasted this long counts as stable, and the
    /// delays start again from `min` after it.
    pub max: Duration,
    /// The seed of the jitter, for tests that need the same delays twice. Default: `None`, a random one.
    pub seed: Option<u64>,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(10),
            seed: None,
        }
    }
}

impl BackoffConfig {
    pub(super) fn problems(&self, problems: &mut Problems) {
        problems.nested("reconnect_backoff", |problems| {
            rules!(problems, self;
                min where !self.min.is_zero() => "must be more than zero";
                max in self.min.saturating_mul(2).. => "must be at least twice reconnect_backoff.min";
            );
        });
    }

    fn delays(&self) -> ExponentialBackoff {
        // backon's jitter adds up to the delay itself, so the largest delay without jitter is half of `max`.
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.min)
            .with_max_delay(self.max / 2)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter();
        match self.seed {
            Some(seed) => builder.with_jitter_seed(seed).build(),
            None => builder.build(),
        }
    }
}

/// The delays between attempts to connect.
#[derive(Debug)]
pub(crate) struct Backoff {
    config: BackoffConfig,
    delays: ExponentialBackoff,
}

impl Backoff {
    /// Creates a backoff whose first delay is a short one.
    pub(crate) fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            delays: config.delays(),
        }
    }

    /// Returns the delay before the next attempt, between `min` and `max`.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.delays
            .next()
            .unwrap_or(self.config.max)
            .clamp(self.config.min, self.config.max)
    }

    /// Takes note that a connection was lost after `lasted`. The delays start again from `min` only after a stable
    /// connection, so a server that drops every connection at once is not contacted without a pause.
    pub(crate) fn on_lost(&mut self, lasted: Duration) {
        if lasted >= self.config.max {
            self.delays = self.config.delays();
        }
    }
}

#[cfg(feature = "serde")]
crate::de::table_of_options! {
    BackoffConfig = BackoffConfig::default();
    min, max, seed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn config(min: u64, max: u64, seed: u64) -> BackoffConfig {
        BackoffConfig {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
            seed: Some(seed),
        }
    }

    proptest! {
        #[test]
        fn every_wait_is_between_the_limits_and_they_grow_to_the_upper_half(
            min in 1u64..5_000, factor in 2u64..1_000, seed: u64,
        ) {
            let config = config(min, min * factor, seed);
            let mut backoff = Backoff::new(config);
            let delays: Vec<_> = (0..30).map(|_| backoff.next_delay()).collect();
            for (i, delay) in delays.iter().enumerate() {
                prop_assert!((config.min..=config.max).contains(delay), "{i}: {delay:?}");
                // The i-th delay is between 2^i and 2^(i+1) times `min`, up to the limit.
                let least = config.min.saturating_mul(1 << i.min(30)).min(config.max / 2);
                prop_assert!(*delay + MS / 100 >= least, "{i}: {delay:?} < {least:?}");
                prop_assert!(*delay <= least * 2 + MS / 100, "{i}: {delay:?} > 2 x {least:?}");
            }
        }

        #[test]
        fn a_connection_that_lasted_makes_the_next_delay_short_and_one_that_broke_does_not(
            seed: u64, lasted in 0u64..20_000,
        ) {
            let config = config(100, 10_000, seed);
            let mut backoff = Backoff::new(config);
            for _ in 0..20 {
                backoff.next_delay();
            }
            backoff.on_lost(Duration::from_millis(lasted));
            let delay = backoff.next_delay();
            if lasted >= 10_000 {
                prop_assert!(delay <= MS * 200, "{delay:?}");
            } else {
                prop_assert!(delay >= MS * 5_000, "{delay:?}");
            }
        }
    }

    #[test]
    fn clients_do_not_wait_in_step() {
        let delays = |seed| {
            let mut backoff = Backoff::new(config(100, 10_000, seed));
            (0..10).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_ne!(delays(1), delays(2));
        assert_eq!(delays(1), delays(1), "a seed gives the same again");
        let at_the_limit: std::collections::BTreeSet<_> =
            (0..50).map(|seed| delays(seed)[9]).collect();
        assert!(at_the_limit.len() > 40, "also at the limit");
    }

    #[test]
    fn a_range_without_room_for_chance_is_a_problem() {
        for (min, max, problems) in [(100, 200, 0), (100, 199, 1), (0, 10, 1), (0, 0, 1)] {
            let mut found = Problems::default();
            config(min, max, 0).problems(&mut found);
            let found = found
                .into_result()
                .map_or_else(|e| e.problems().len(), |()| 0);
            assert_eq!(found, problems, "{min} {max}");
        }
    }
}
