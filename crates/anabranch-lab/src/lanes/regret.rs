//! Sans-I/O: compares strategies with the best static number of lanes in hindsight.

use super::outcome::{Outcome, Regret};

/// Static strategies whose regrets differ by less than this are equally good.
const AS_GOOD: f64 = 0.02;

/// The best static strategy in hindsight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Best {
    /// Index of the best one, or of the one with the fewest lanes if several are equally good.
    pub(super) index: usize,
    /// Index of the equally good one with the most lanes.
    pub(super) widest: usize,
}

/// Finds the best static strategy, and sets the regret of every outcome. Returns `None` without static strategies.
///
/// Each static strategy has a distance: the largest regret, over all measures, against any other static strategy. The best
/// one has the smallest distance.
pub(super) fn set_regrets(outcomes: &mut [Outcome]) -> Option<Best> {
    let statics: Vec<usize> = (0..outcomes.len())
        .filter(|&index| outcomes[index].strategy.lanes().is_some())
        .collect();
    let distance = |index: usize| {
        let regrets = statics
            .iter()
            .map(|&other| Regret::between(&outcomes[index], &outcomes[other]).worst());
        regrets.fold(0.0, f64::max)
    };
    let least = statics
        .iter()
        .map(|&index| distance(index))
        .fold(f64::MAX, f64::min);
    let as_good = statics
        .iter()
        .copied()
        .filter(|&index| distance(index) <= least + AS_GOOD);
    let lanes = |index: &usize| outcomes[*index].strategy.lanes();
    let best = Best {
        index: as_good.clone().min_by_key(lanes)?,
        widest: as_good.max_by_key(lanes)?,
    };
    let reference = outcomes[best.index].clone();
    for outcome in outcomes.iter_mut() {
        outcome.regret = Some(Regret::between(outcome, &reference));
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lanes, Packets, Quantiles, Trace};

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
            lanes: Lanes::default(),
            decisions: std::collections::BTreeMap::new(),
            offered: 0,
            delivered: 0,
            undelivered: 0,
            lost: 0,
            blocked_seconds: 0.0,
            packets: Packets::default(),
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
            index: 2,
            widest: 3,
        };
        assert_eq!(set_regrets(&mut outcomes), Some(best));
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
        assert_eq!(set_regrets(&mut outcomes), None);
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
            index: 2,
            widest: 2,
        };
        assert_eq!(set_regrets(&mut outcomes), Some(best));
        assert!((outcomes[0].regret.unwrap().worst() - 0.2).abs() < 1e-9);
    }
}
