//! Pure: from what was seen in a run to its figures.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Decided, Lanes, Outcome, Packets, Quantiles, Sample, Scenario, Strategy, Trace,
    pattern::Pattern,
    store::NEVER,
    trace::{distribution, stretches},
};
use anabranch::{producer, scaler::Reason};

/// When each message was due, was stored and was acknowledged, in nanoseconds since the load began; [`NEVER`] where it
/// was not.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) due: Vec<u64>,
    pub(super) stored: Vec<u64>,
    pub(super) answered: Vec<u64>,
    /// How long the application waited for room.
    pub(super) blocked: Duration,
    /// When the run was over.
    pub(super) end: u64,
}

/// What else was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) lanes: producer::Lanes,
    pub(super) packets: Packets,
    pub(super) samples: Vec<Sample>,
    pub(super) decisions: Vec<Decided>,
}

/// What one run or several found: each figure is the median of the runs', each count the sum.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) outcome: Outcome,
    runs: Vec<Figures>,
    /// The delivery times of all runs.
    delivery: Vec<u64>,
}

/// The figures of one run.
#[derive(Debug, Clone, Copy)]
struct Figures {
    delivery: Quantiles,
    receipt: Quantiles,
    throughput_mbit: f64,
}

impl Measured {
    pub(super) fn new(scenario: &Scenario, strategy: Strategy, times: Times, seen: Seen) -> Self {
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
            lanes: lanes(scenario, strategy, &seen, stored),
            decisions: decisions(&seen.lanes),
            offered,
            delivered: stored,
            undelivered: offered - stored,
            lost: lost(&times),
            blocked_seconds: times.blocked.as_secs_f64(),
            packets: seen.packets,
            cpu_seconds: None,
            regret: None,
            trace: Trace {
                latency,
                distribution: Vec::new(),
                samples: seen.samples,
                decisions: seen.decisions,
            },
        };
        Self {
            outcome,
            runs: vec![figures],
            delivery,
        }
    }

    /// Another run of the same. What was seen over time stays that of the first.
    pub(super) fn add(&mut self, other: Self) {
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

    /// The outcome of all runs together.
    pub(super) fn settle(mut self) -> Outcome {
        let runs = self.runs.len() as f64;
        let medians = |of: fn(&Figures) -> &Quantiles| {
            let of_all =
                |figure: fn(&Quantiles) -> f64| median(self.runs.iter().map(|run| figure(of(run))));
            Quantiles {
                p50: of_all(|q| q.p50),
                p90: of_all(|q| q.p90),
                p99: of_all(|q| q.p99),
                p999: of_all(|q| q.p999),
                max: of_all(|q| q.max),
            }
        };
        let mut outcome = self.outcome;
        outcome.delivery_ms = medians(|run| &run.delivery);
        outcome.receipt_ms = medians(|run| &run.receipt);
        outcome.throughput_mbit = median(self.runs.iter().map(|run| run.throughput_mbit));
        self.delivery.sort_unstable();
        outcome.trace.distribution = distribution(&self.delivery);
        outcome.lanes.mean /= runs;
        outcome
    }
}

/// The middle one, or the mean of the two in the middle; 0 where there are none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

fn decisions(lanes: &producer::Lanes) -> BTreeMap<&'static str, u64> {
    let counted = Reason::ALL.iter().zip(lanes.decisions);
    counted
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.as_str(), count))
        .collect()
}

/// Messages that were acknowledged and are not in the store.
fn lost(times: &Times) -> u64 {
    let both = times.stored.iter().zip(&times.answered);
    both.filter(|(stored, answered)| **stored == NEVER && **answered != NEVER)
        .count() as u64
}

/// Payload stored while the load lasted, in Mbit/s; of messages that all came at once, until the last was stored.
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

fn lanes(scenario: &Scenario, strategy: Strategy, seen: &Seen, stored: u64) -> Lanes {
    let load = scenario.duration.as_secs_f64();
    let during = || seen.samples.iter().filter(|look| look.at <= load);
    let sum: usize = during().map(|look| look.lanes).sum();
    let mean = sum as f64 / during().count().max(1) as f64;
    match strategy {
        Strategy::PerMessage => Lanes {
            opened: stored,
            retired: stored,
            max: during().map(|look| look.lanes).max().unwrap_or(0),
            mean,
            last: 0,
        },
        _ => Lanes {
            // The first is there from the start.
            opened: seen.lanes.opened.saturating_sub(1),
            retired: seen.lanes.retired,
            max: seen.lanes.most,
            mean,
            last: seen.lanes.open,
        },
    }
}
