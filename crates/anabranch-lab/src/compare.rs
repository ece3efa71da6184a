//! Every strategy of a scenario, side by side; and many scenarios at once.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Outcome, Quantiles, RunError, Scenario, floor::floor, regret, run::run};

/// What a scenario came to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// What was tried.
    pub scenario: Scenario,
    /// What no protocol can beat: delivery one way, by quantile.
    pub floor: Quantiles,
    /// Who competed, in the order of the scenario.
    pub outcomes: Vec<Outcome>,
    /// The place of the best static strategy among them. Of those that differ by less than 2 %, the one with the fewest
    /// lanes.
    pub best_static: Option<usize>,
    /// The place of the static strategy with the most lanes that is as good: to the messages any number from the one to the
    /// other is the best.
    pub widest_best: Option<usize>,
}

impl Comparison {
    fn new(scenario: &Scenario, mut outcomes: Vec<Outcome>) -> Self {
        let best = regret::settle(&mut outcomes);
        Self {
            scenario: scenario.clone(),
            floor: floor(scenario),
            outcomes,
            best_static: best.map(|best| best.place),
            widest_best: best.map(|best| best.widest),
        }
    }

    /// The outcome of a strategy, by its name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.name == name)
    }
}

/// Runs each scenario with each of its strategies, on so many threads, and calls `progress` after every run with the
/// scenario's place and the outcome. Returns the comparisons in the order of the scenarios.
///
/// # Errors
/// The first scenario that cannot be run. Nothing is run where one of them cannot be.
///
/// # Panics
/// Where a run does: it does not end within an hour of virtual time.
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
        .flat_map(|(place, scenario)| {
            let strategies = scenario.strategies.iter();
            strategies.map(move |strategy| (place, scenario, *strategy))
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
                    let Some(&(place, scenario, strategy)) = jobs.get(job) else {
                        return;
                    };
                    let outcome = run(scenario, strategy);
                    if let Ok(outcome) = &outcome {
                        progress(place, outcome);
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

/// Runs one scenario with each of its strategies, one after the other.
///
/// # Errors
/// Where it cannot be run.
///
/// # Panics
/// As [`compare_all`].
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
