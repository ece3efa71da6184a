//! Sans-I/O: computes the figures of a run from its samples.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Decided, Lanes, Outcome, Packets, Sample, Scenario, Strategy, Trace,
    arrivals::Pattern,
    recording_store::NEVER,
    trace::{distribution, stretches},
};
use crate::stats::{Quantiles, median, nanos};
use anabranch::{producer, scaler::Reason};

/// When each message was due, stored and acknowledged, in nanoseconds since the load began, or [`NEVER`].
#[derive(Debug)]
pub(super) struct Times {
    pub(super) due: Vec<u64>,
    pub(super) stored: Vec<u64>,
    pub(super) answered: Vec<u64>,
    /// Time the application waited for room in the producer.
    pub(super) blocked: Duration,
    /// End of the run.
    pub(super) end: u64,
}

/// The other observations of a run.
#[derive(Debug)]
pub(super) struct Observations {
    pub(super) lanes: producer::Lanes,
    pub(super) packets: Packets,
    pub(super) samples: Vec<Sample>,
    pub(super) decisions: Vec<Decided>,
}

/// One run, or several merged runs. Each figure is the median over the runs, each count the sum.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) outcome: Outcome,
    runs: Vec<Figures>,
    /// Delivery times of all runs.
    delivery: Vec<u64>,
}

/// The figures of one run.
#[derive(Debug, Clone, Copy)]
struct Figures {
    delivery: Quantiles,
    receipt: Quantiles,
    throughput_mbit: f64,
}

impl Runs {
    pub(super) fn new(
        scenario: &Scenario,
        strategy: Strategy,
        times: Times,
        observed: Observations,
    ) -> Self {
        let took = |moments: &[u64]| -> Vec<u64> {
            let ends = moments.iter().map(|at| *at.min(&times.end));
            ends.zip(&times.due)
                .map(|(end, due)| end.saturating_sub(*due))
                .collect()
        };
        let mut delivery = took(&times.stored);
        let mut receipt = took(&times.answered);
        let latency = stretches(&times.due, &delivery, scenario.duration);
        let warm_up = nanos(scenario.warm_up);
        let cold = times.due.partition_point(|due| *due < warm_up);
        delivery.drain(..cold);
        receipt.drain(..cold);
        let figures = Figures {
            delivery: Quantiles::of(&mut delivery),
            receipt: Quantiles::of(&mut receipt),
            throughput_mbit: throughput(scenario, &times),
        };
        let stored = times.stored.iter().filter(|at| **at != NEVER).count() as u64;
        let offered = times.due.len() as u64;
        let outcome = Outcome {
            name: strategy.to_string(),
            strategy,
            delivery_ms: Quantiles::default(),
            receipt_ms: Quantiles::default(),
            throughput_mbit: 0.0,
            lanes: lanes(scenario, strategy, &observed, stored),
            decisions: decisions(&observed.lanes),
            offered,
            delivered: stored,
            undelivered: offered - stored,
            lost: lost(&times),
            blocked_seconds: times.blocked.as_secs_f64(),
            packets: observed.packets,
            cpu_seconds: None,
            regret: None,
            trace: Trace {
                latency,
                distribution: Vec::new(),
                samples: observed.samples,
                decisions: observed.decisions,
            },
        };
        Self {
            outcome,
            runs: vec![figures],
            delivery,
        }
    }

    /// Merges another run of the same scenario and strategy. The trace stays that of the first run.
    pub(super) fn merge(&mut self, other: Self) {
        self.delivery.extend(other.delivery);
        self.runs.extend(other.runs);
        let (mine, its) = (&mut self.outcome, other.outcome);
        mine.lanes.opened += its.lanes.opened;
        mine.lanes.retired += its.lanes.retired;
        mine.lanes.max = mine.lanes.max.max(its.lanes.max);
        mine.lanes.mean += its.lanes.mean;
        mine.lanes.last = its.lanes.last;
        for (reason, count) in its.decisions {
            *mine.decisions.entry(reason).or_default() += count;
        }
        mine.offered += its.offered;
        mine.delivered += its.delivered;
        mine.undelivered += its.undelivered;
        mine.lost += its.lost;
        mine.blocked_seconds += its.blocked_seconds;
        mine.packets.sent += its.packets.sent;
        mine.packets.lost += its.packets.lost;
        mine.packets.dropped += its.packets.dropped;
        mine.cpu_seconds = mine.cpu_seconds.zip(its.cpu_seconds).map(|(a, b)| a + b);
    }

    /// Returns the outcome of all runs together.
    pub(super) fn into_outcome(mut self) -> Outcome {
        let runs = self.runs.len() as f64;
        let mut outcome = self.outcome;
        outcome.delivery_ms = Quantiles::medians(self.runs.iter().map(|run| &run.delivery));
        outcome.receipt_ms = Quantiles::medians(self.runs.iter().map(|run| &run.receipt));
        outcome.throughput_mbit = median(self.runs.iter().map(|run| run.throughput_mbit));
        self.delivery.sort_unstable();
        outcome.trace.distribution = distribution(&self.delivery);
        outcome.lanes.mean /= runs;
        outcome
    }
}

/// Returns the number of decisions, by reason.
fn decisions(lanes: &producer::Lanes) -> BTreeMap<&'static str, u64> {
    let counted = Reason::ALL.iter().zip(lanes.decisions);
    counted
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.as_str(), count))
        .collect()
}

/// Returns the number of messages acknowledged and not stored.
fn lost(times: &Times) -> u64 {
    let both = times.stored.iter().zip(&times.answered);
    both.filter(|(stored, answered)| **stored == NEVER && **answered != NEVER)
        .count() as u64
}

/// Returns the payload stored during the load, in Mbit/s. With [`Pattern::Once`], until the last message was stored.
fn throughput(scenario: &Scenario, times: &Times) -> f64 {
    let load = nanos(scenario.duration);
    let last = times.stored.iter().filter(|at| **at != NEVER).max();
    let until = match scenario.pattern {
        Pattern::Once { .. } => *last.unwrap_or(&load),
        _ => load,
    };
    let from = nanos(scenario.warm_up);
    let counted = times
        .stored
        .iter()
        .filter(|at| (from..=until).contains(*at));
    let bits = counted.count() as f64 * scenario.size as f64 * 8.0;
    bits * 1e3 / until.saturating_sub(from).max(1) as f64
}

fn lanes(scenario: &Scenario, strategy: Strategy, observed: &Observations, stored: u64) -> Lanes {
    let load = scenario.duration.as_secs_f64();
    let during = || observed.samples.iter().filter(|sample| sample.at <= load);
    let sum: usize = during().map(|sample| sample.lanes).sum();
    let mean = sum as f64 / during().count().max(1) as f64;
    match strategy {
        Strategy::PerMessage => Lanes {
            opened: stored,
            retired: stored,
            max: during().map(|sample| sample.lanes).max().unwrap_or(0),
            mean,
            last: 0,
        },
        _ => Lanes {
            // Without the first lane.
            opened: observed.lanes.opened.saturating_sub(1),
            retired: observed.lanes.retired,
            max: observed.lanes.peak,
            mean,
            last: observed.lanes.open,
        },
    }
}
