//! Pure: how long to wait before the next attempt to connect.
//!
//! Each wait is about twice the one before, up to a limit, and drawn at random from a range as wide as itself, so
//! that clients who lost their server at the same moment do not come back at the same moment.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::config::Problems;

/// The limits of the waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// No wait is shorter. Default: 100 ms.
    pub min: Duration,
    /// No wait is longer. Default: 10 s. At least twice `min`. A connection that lasted this long counts as
    /// sound, and the wait after it is a short one again.
    pub max: Duration,
    /// What chance begins with, so that a test can have the same waits twice. Default: `None`.
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
        problems.expect(
            !self.min.is_zero(),
            "reconnect_backoff.min",
            &self.min,
            "must be more than zero",
        );
        problems.expect(
            self.max >= self.min.saturating_mul(2),
            "reconnect_backoff.max",
            &self.max,
            "must be at least twice reconnect_backoff.min",
        );
    }

    fn waits(&self) -> ExponentialBackoff {
        // backon adds up to as much again to each wait, so the greatest is doubled to `max`.
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

/// The waits between attempts to connect.
#[derive(Debug)]
pub struct Backoff {
    config: BackoffConfig,
    waits: ExponentialBackoff,
}

impl Backoff {
    /// Begins with a short wait.
    #[must_use]
    pub fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            waits: config.waits(),
        }
    }

    /// The wait before the next attempt: between `min` and `max`.
    pub fn next_wait(&mut self) -> Duration {
        self.waits
            .next()
            .unwrap_or(self.config.max)
            .clamp(self.config.min, self.config.max)
    }

    /// A connection was lost that had lasted `lasted`. After one that lasted, the waits begin anew; one that
    /// breaks again and again does not make the client knock without a pause.
    pub fn on_lost(&mut self, lasted: Duration) {
        if lasted >= self.config.max {
            // The seed would give every row of waits the same jitter, which is what a test wants.
            self.waits = self.config.waits();
        }
    }
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
            let waits: Vec<_> = (0..30).map(|_| backoff.next_wait()).collect();
            for (i, wait) in waits.iter().enumerate() {
                prop_assert!((config.min..=config.max).contains(wait), "{i}: {wait:?}");
                // The i-th wait lies between 2^i and 2^(i+1) times `min`, below the limit.
                let least = config.min.saturating_mul(1 << i.min(30)).min(config.max / 2);
                prop_assert!(*wait + MS / 100 >= least, "{i}: {wait:?} < {least:?}");
                prop_assert!(*wait <= least * 2 + MS / 100, "{i}: {wait:?} > 2 x {least:?}");
            }
        }

        #[test]
        fn a_connection_that_lasted_makes_the_next_wait_short_and_one_that_broke_does_not(
            seed: u64, lasted in 0u64..20_000,
        ) {
            let config = config(100, 10_000, seed);
            let mut backoff = Backoff::new(config);
            for _ in 0..20 {
                backoff.next_wait();
            }
            backoff.on_lost(Duration::from_millis(lasted));
            let wait = backoff.next_wait();
            if lasted >= 10_000 {
                prop_assert!(wait <= MS * 200, "{wait:?}");
            } else {
                prop_assert!(wait >= MS * 5_000, "{wait:?}");
            }
        }
    }

    #[test]
    fn clients_do_not_wait_in_step() {
        let waits = |seed| {
            let mut backoff = Backoff::new(config(100, 10_000, seed));
            (0..10).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1), "but a seed gives the same again");
        let at_the_limit: std::collections::BTreeSet<_> =
            (0..50).map(|seed| waits(seed)[9]).collect();
        assert!(at_the_limit.len() > 40, "not even at the limit");
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
