//! Pure: how far a strategy is from the best number of streams in hindsight.

use super::outcome::Outcome;

/// Statics that differ by less than this are as good as each other, and the one with fewer lanes is better.
const AS_GOOD: f64 = 0.02;

/// How much worse than the best static strategy, as a part of it: 0.1 is a tenth worse, below 0 is better.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Regret {
    /// Of the median delivery.
    pub p50: f64,
    /// Of nine tenths.
    pub p90: f64,
    /// Of the 99th percentile.
    pub p99: f64,
    /// Of the throughput.
    pub throughput: f64,
}

impl Regret {
    fn between(outcome: &Outcome, best: &Outcome) -> Self {
        let (mine, its) = (&outcome.delivery_ms, &best.delivery_ms);
        let longer = |mine: f64, its: f64| match its > 0.0 {
            true => mine / its - 1.0,
            false => 0.0,
        };
        Self {
            p50: longer(mine.p50, its.p50),
            p90: longer(mine.p90, its.p90),
            p99: longer(mine.p99, its.p99),
            throughput: match best.throughput_mbit > 0.0 {
                true => 1.0 - outcome.throughput_mbit / best.throughput_mbit,
                false => 0.0,
            },
        }
    }

    /// The greatest of them.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.p50.max(self.p90).max(self.p99).max(self.throughput)
    }
}

/// The best static strategy in hindsight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Best {
    /// Its place. Of those that are as good as each other, the one with the fewest lanes.
    pub(super) place: usize,
    /// The place of the one with the most lanes that is as good.
    pub(super) widest: usize,
}

/// Finds the best static strategy in hindsight, and writes everybody's regret against it.
///
/// The best is the one whose worst measure is the least behind that of whichever static is best in that measure.
pub(super) fn settle(outcomes: &mut [Outcome]) -> Option<Best> {
    let statics: Vec<usize> = (0..outcomes.len())
        .filter(|&place| outcomes[place].strategy.lanes().is_some())
        .collect();
    let behind = |place: usize| {
        let regrets = statics
            .iter()
            .map(|&other| Regret::between(&outcomes[place], &outcomes[other]).worst());
        regrets.fold(0.0, f64::max)
    };
    let least = statics
        .iter()
        .map(|&place| behind(place))
        .fold(f64::MAX, f64::min);
    let as_good = statics
        .iter()
        .copied()
        .filter(|&place| behind(place) <= least + AS_GOOD);
    let lanes = |place: &usize| outcomes[*place].strategy.lanes();
    let best = Best {
        place: as_good.clone().min_by_key(lanes)?,
        widest: as_good.max_by_key(lanes)?,
    };
    let reference = outcomes[best.place].clone();
    for outcome in outcomes.iter_mut() {
        outcome.regret = Some(Regret::between(outcome, &reference));
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Quantiles, outcome::Trace};

    fn outcome(name: &str, p50: f64, p99: f64, throughput_mbit: f64) -> Outcome {
        let delivery_ms = Quantiles {
            p50,
            p90: p50,
            p99,
            ..Quantiles::default()
        };
        Outcome {
            name: name.to_owned(),
            strategy: name.parse().unwrap(),
            delivery_ms,
            receipt_ms: delivery_ms,
            throughput_mbit,
            lanes: crate::Lanes::default(),
            decisions: std::collections::BTreeMap::new(),
            offered: 0,
            delivered: 0,
            undelivered: 0,
            lost: 0,
            blocked_seconds: 0.0,
            packets: crate::Packets::default(),
            cpu_seconds: None,
            regret: None,
            trace: Trace::default(),
        }
    }

    #[test]
    fn the_best_static_is_good_in_every_measure_and_the_smaller_of_equals() {
        let mut outcomes = [
            outcome("adaptive", 27.0, 88.0, 50.0),
            outcome("1", 65.0, 105.0, 50.0),
            outcome("16", 26.5, 80.0, 50.0),
            outcome("64", 26.4, 79.5, 50.0),
            outcome("per-message", 20.0, 70.0, 50.0),
        ];
        let best = Best {
            place: 2,
            widest: 3,
        };
        assert_eq!(settle(&mut outcomes), Some(best));
        let regret = outcomes[0].regret.unwrap();
        assert!((regret.p99 - 0.1).abs() < 1e-9, "{regret:?}");
        assert!(
            outcomes[4].regret.unwrap().p50 < 0.0,
            "better is below zero"
        );
        assert_eq!(outcomes[2].regret.unwrap().worst(), 0.0);
    }

    #[test]
    fn without_a_static_strategy_nobody_regrets() {
        let mut outcomes = [outcome("adaptive", 27.0, 80.0, 50.0)];
        assert_eq!(settle(&mut outcomes), None);
        assert_eq!(outcomes[0].regret, None);
    }

    #[test]
    fn less_throughput_is_regretted_too() {
        let mut outcomes = [
            outcome("adaptive", 10.0, 10.0, 80.0),
            outcome("1", 10.0, 10.0, 50.0),
            outcome("4", 10.0, 10.0, 100.0),
        ];
        let best = Best {
            place: 2,
            widest: 2,
        };
        assert_eq!(settle(&mut outcomes), Some(best));
        assert!((outcomes[0].regret.unwrap().worst() - 0.2).abs() < 1e-9);
    }
}
