//! Samples of a run over virtual time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::stats::quantile;
use anabranch::{
    conn::ConnectionState,
    producer::Producer,
    sim::{Direction, Network},
};

/// Number of samples during the load.
const SAMPLES: u32 = 400;
/// Shortest time between two samples.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Limit of samples. The end of a run that takes much longer than its load has none.
const MAX_SAMPLES: usize = 2_000;
/// Number of points of the latency over time.
const POINTS: usize = 200;

/// A sample of the producer, its connection and the link.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Sample {
    /// Seconds since the load began.
    pub at: f64,
    /// Number of messages that wait for a lane.
    pub queued: usize,
    /// Number of messages sent and not answered.
    pub in_flight: usize,
    /// Number of lanes. With one stream per message, number of streams.
    pub lanes: usize,
    /// Congestion window, in bytes.
    pub cwnd: u64,
    /// Bytes in flight.
    pub unacknowledged: u64,
    /// Bytes in the queue of the link.
    pub link_queue: u64,
}

/// Delivery latencies of the messages sent in an interval, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[derive(serde::Serialize)]
pub struct Stretch {
    /// Middle of the interval, in seconds since the load began.
    pub at: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// Takes samples. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    /// Whether each message has its own stream.
    per_message: bool,
}

impl Sampler {
    pub(super) fn new(per_message: bool) -> Self {
        Self {
            samples: Arc::default(),
            per_message,
        }
    }

    /// Takes samples until dropped.
    pub(super) async fn run(
        self,
        network: Network,
        producer: Producer,
        there: Direction,
        duration: Duration,
    ) {
        let every = (duration / SAMPLES).max(MIN_INTERVAL);
        let began = network.elapsed();
        for number in 0..MAX_SAMPLES {
            let at = (network.elapsed() - began).as_secs_f64();
            self.take(at, &producer, &there);
            let next = every * u32::try_from(number + 1).unwrap_or(u32::MAX);
            network
                .sleep((began + next).saturating_sub(network.elapsed()))
                .await;
        }
    }

    fn take(&self, at: f64, producer: &Producer, there: &Direction) {
        let held = producer.stats();
        let path = match &producer.connection_state() {
            ConnectionState::Connected(session) => Some(session.path_stats()),
            _ => None,
        };
        let sample = Sample {
            at,
            queued: held.queued_messages,
            in_flight: held.in_flight_messages,
            lanes: match self.per_message {
                true => held.in_flight_messages,
                false => producer.lanes().open,
            },
            cwnd: path.map_or(0, |path| path.cwnd),
            unacknowledged: path.map_or(0, |path| path.in_flight),
            link_queue: there.counters().queue_bytes,
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push(sample);
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.clone()
    }
}

/// Returns latencies over time. `sent` is when messages were due, `took` their latencies, in nanoseconds.
pub(super) fn stretches(sent: &[u64], took: &[u64], duration: Duration) -> Vec<Stretch> {
    let whole = duration.as_secs_f64();
    let width = whole / POINTS as f64;
    let mut stretches = Vec::new();
    let mut from = 0;
    for point in 0..POINTS {
        let end = width * (point + 1) as f64;
        let to = from + sent[from..].partition_point(|at| (*at as f64) / 1e9 < end);
        let mut nanos = took[from..to].to_vec();
        if !nanos.is_empty() {
            nanos.sort_unstable();
            stretches.push(Stretch {
                at: end - width / 2.0,
                p50: quantile(&nanos, 0.5) as f64 / 1e6,
                p99: quantile(&nanos, 0.99) as f64 / 1e6,
            });
        }
        from = to;
    }
    stretches
}

/// Returns points of the distribution of latencies: share of messages, and milliseconds. The points are denser toward the
/// slow messages.
pub(super) fn distribution(sorted: &[u64]) -> Vec<[f64; 2]> {
    let shares = (0..50).map(|i| f64::from(i) * 0.02);
    let tail = (0..=40).map(|i| 1.0 - 10f64.powf(-1.0 - f64::from(i) * 0.05));
    let mut shares: Vec<f64> = shares.chain(tail).chain([1.0]).collect();
    shares.sort_by(f64::total_cmp);
    shares
        .into_iter()
        .map(|q| [q, quantile(sorted, q) as f64 / 1e6])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_in_the_stretch_it_was_sent_in() {
        let second = 1_000_000_000;
        let sent = [0, second / 2, 5 * second, 9 * second];
        let took = [1_000_000, 3_000_000, 7_000_000, 9_000_000];
        let stretches = stretches(&sent, &took, Duration::from_secs(10));
        assert_eq!(stretches.len(), 4);
        assert_eq!(stretches[2].p50, 7.0);
        assert!((stretches[2].at - 5.025).abs() < 1e-9);
    }

    #[test]
    fn a_distribution_ends_at_the_slowest() {
        let sorted: Vec<u64> = (1..=1000).map(|ms| ms * 1_000_000).collect();
        let points = distribution(&sorted);
        assert_eq!(points.last(), Some(&[1.0, 1000.0]));
        assert!(points.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1]));
    }
}
