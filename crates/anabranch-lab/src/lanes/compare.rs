//! Runs every strategy of a scenario, and many scenarios in parallel.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Outcome, RunError, Scenario, floor::floor, regret, run::run};
use crate::stats::Quantiles;

/// The outcomes of a scenario with each of its strategies.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The scenario.
    pub scenario: Scenario,
    /// Least one-way delivery times that any protocol can reach.
    pub floor: Quantiles,
    /// Outcomes, in the order of the scenario's strategies.
    pub outcomes: Vec<Outcome>,
    /// Index of the best static strategy. Of those that differ by less than 2 %, the one with the fewest lanes.
    pub best_static: Option<usize>,
    /// Index of the static strategy with the most lanes that differs by less than 2 %.
    pub best_static_widest: Option<usize>,
}

impl Comparison {
    fn new(scenario: &Scenario, mut outcomes: Vec<Outcome>) -> Self {
        let best = regret::set_regrets(&mut outcomes);
        Self {
            scenario: scenario.clone(),
            floor: floor(scenario),
            outcomes,
            best_static: best.map(|best| best.index),
            best_static_widest: best.map(|best| best.widest),
        }
    }

    /// Returns the outcome of a strategy, by its name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.name == name)
    }
}

/// Runs each scenario with each of its strategies, on `threads` threads. Calls `progress` after every run, with the
/// scenario's index and the outcome. Returns the comparisons in the order of the scenarios.
///
/// # Errors
/// The first scenario that is not valid, before anything is run, or that cannot be run.
///
/// # Panics
/// When a run does not end within an hour of virtual time.
pub fn compare_all(
    scenarios: &[Scenario],
    threads: NonZeroUsize,
    progress: impl Fn(usize, &Outcome) + Sync,
) -> Result<Vec<Comparison>, RunError> {
    for scenario in scenarios {
        scenario.check()?;
    }
    let jobs: Vec<_> = scenarios
        .iter()
        .enumerate()
        .flat_map(|(index, scenario)| {
            let strategies = scenario.strategies.iter();
            strategies.map(move |strategy| (index, scenario, *strategy))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<Outcome, RunError>>>> =
        jobs.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(index, scenario, strategy)) = jobs.get(job) else {
                        return;
                    };
                    let outcome = run(scenario, strategy);
                    if let Ok(outcome) = &outcome {
                        progress(index, outcome);
                    }
                    *done[job].lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
                }
            });
        }
    });
    let mut done = done.into_iter();
    scenarios
        .iter()
        .map(|scenario| {
            let outcomes = done
                .by_ref()
                .take(scenario.strategies.len())
                .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
            Ok(Comparison::new(
                scenario,
                outcomes.collect::<Result<_, _>>()?,
            ))
        })
        .collect()
}

/// Runs one scenario with each of its strategies, one after the other, on this thread.
///
/// # Errors
/// When the scenario is not valid, or cannot be run.
///
/// # Panics
/// In a thread that runs a tokio runtime, and when a run does not end within an hour of virtual time.
pub fn compare(scenario: &Scenario) -> Result<Comparison, RunError> {
    scenario.check()?;
    let outcomes = scenario
        .strategies
        .iter()
        .map(|strategy| run(scenario, *strategy));
    Ok(Comparison::new(
        scenario,
        outcomes.collect::<Result<_, _>>()?,
    ))
}
