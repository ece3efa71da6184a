//! Sans-I/O: what was measured in a run.

use std::collections::BTreeMap;

use super::{
    recording_policy::Decided,
    strategy::Strategy,
    trace::{Sample, Stretch},
};
use crate::stats::Quantiles;

/// The measurement of one scenario with one strategy.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Outcome {
    /// Name of the strategy.
    pub name: String,
    /// The strategy.
    #[serde(skip)]
    pub strategy: Strategy,
    /// One-way delivery times, from when a message was due to when the broker had stored it. A message not stored by the
    /// end of the run counts with its time until then.
    pub delivery_ms: Quantiles,
    /// Times from when a message was due to its receipt. A message without a receipt by the end of the run counts with its
    /// time until then.
    pub receipt_ms: Quantiles,
    /// Payload stored during the load.
    pub throughput_mbit: f64,
    /// Counts of lanes.
    pub lanes: Lanes,
    /// Number of decisions, by reason.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Number of messages that were due.
    pub offered: u64,
    /// Number of messages stored.
    pub delivered: u64,
    /// Number of messages not stored by the end of the run. The producer handed them back.
    pub undelivered: u64,
    /// Number of messages acknowledged and not stored. More than 0 is a bug.
    pub lost: u64,
    /// Time the application waited for room in the producer, in seconds.
    pub blocked_seconds: f64,
    /// Packets toward the broker.
    pub packets: Packets,
    /// CPU time of both ends and the simulation. `None` on systems other than Linux.
    pub cpu_seconds: Option<f64>,
    /// Comparison with the best static strategy of the same scenario.
    pub regret: Option<Regret>,
    /// Samples over time.
    #[serde(skip)]
    pub trace: Trace,
}

/// Counts of lanes. With one stream per message, counts of streams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Lanes {
    /// Lanes opened, without the first, which every producer has.
    pub opened: u64,
    /// Lanes retired.
    pub retired: u64,
    /// Largest number at once.
    pub max: usize,
    /// Mean number during the load.
    pub mean: f64,
    /// Number at the end of the run.
    #[serde(rename = "final")]
    pub last: usize,
}

/// Packets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Packets {
    /// Packets sent.
    pub sent: u64,
    /// Packets lost on the wire or dropped at a full queue.
    pub lost: u64,
    /// Packets dropped at a full queue.
    pub dropped: u64,
}

/// Samples of a run over time.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Trace {
    /// Samples of the producer and its connection, in order of time.
    pub samples: Vec<Sample>,
    /// Delivery latencies over time.
    pub latency: Vec<Stretch>,
    /// Points of the distribution: share of messages, and delivery latency in milliseconds.
    pub distribution: Vec<[f64; 2]>,
    /// Decisions of the scaling policy that differ from the one before.
    pub decisions: Vec<Decided>,
}

/// How much worse a strategy is than the best static one, relative to it: 0.1 is 10 % worse, negative is better.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Regret {
    /// Regret of the median delivery time.
    pub p50: f64,
    /// Regret of the 90th percentile.
    pub p90: f64,
    /// Regret of the 99th percentile.
    pub p99: f64,
    /// Regret of the throughput.
    pub throughput: f64,
}

impl Regret {
    /// Compares an outcome with that of the best static strategy.
    pub(super) fn between(outcome: &Outcome, best: &Outcome) -> Self {
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

    /// Returns the largest of the four.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.p50.max(self.p90).max(self.p99).max(self.throughput)
    }
}
