//! Pure: what a run found.

use std::collections::BTreeMap;

use super::{
    quantiles::Quantiles,
    record::Decided,
    regret::Regret,
    strategy::Strategy,
    trace::{Sample, Stretch},
};

/// One scenario with one strategy: what was measured.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Outcome {
    /// The strategy's name.
    pub name: String,
    /// The strategy.
    #[serde(skip)]
    pub strategy: Strategy,
    /// One way: from the moment a message was due to the moment the broker had stored it. A message that was not
    /// stored by the end of the run counts with the time it had waited by then.
    pub delivery_ms: Quantiles,
    /// From the moment a message was due to its receipt, counted in the same way.
    pub receipt_ms: Quantiles,
    /// Payload stored while the load lasted.
    pub throughput_mbit: f64,
    /// The lanes.
    pub lanes: Lanes,
    /// How often each decision was taken.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Messages that were due.
    pub offered: u64,
    /// Messages that were stored.
    pub delivered: u64,
    /// Messages that were not stored when the run was over, and were handed back.
    pub undelivered: u64,
    /// Messages that were acknowledged and are not in the store. Never anything but 0, or a promise is broken.
    pub lost: u64,
    /// How long the application was kept waiting for room, in seconds.
    pub blocked_seconds: f64,
    /// Packets on the way to the broker.
    pub packets: Packets,
    /// Processor time of the run, both ends and the simulation; none where the system does not tell.
    pub cpu_seconds: Option<f64>,
    /// How this compares with the best static strategy of the same comparison.
    pub regret: Option<Regret>,
    /// What was seen over time.
    #[serde(skip)]
    pub trace: Trace,
}

/// The lanes of a run. Where each message has a stream of its own: the streams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Lanes {
    /// Opened beside the first, which every producer has.
    pub opened: u64,
    /// Retired.
    pub retired: u64,
    /// The most at once.
    pub max: usize,
    /// The mean over the time of the load.
    pub mean: f64,
    /// At the end of the run.
    #[serde(rename = "final")]
    pub last: usize,
}

/// Packets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Packets {
    /// Sent.
    pub sent: u64,
    /// Of these, lost on the wire or dropped at a full queue.
    pub lost: u64,
    /// Of these, dropped at the full queue.
    pub dropped: u64,
}

/// What was seen of a run over time.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Trace {
    /// Looks at the producer and its connection, in order of time.
    pub samples: Vec<Sample>,
    /// Delivery latencies over time.
    pub latency: Vec<Stretch>,
    /// Share of messages and delivery latency in milliseconds.
    pub distribution: Vec<[f64; 2]>,
    /// What the scaling policy decided, where it decided anew.
    pub decisions: Vec<Decided>,
}
