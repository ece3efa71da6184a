//! Sans-I/O: samples of the flows on a bottleneck, and their figures.

use std::{ops::Range, time::Duration};

use crate::stats::{Quantiles, millis, nanos, quantile};
use anabranch::sim::Rate;

/// A sample of the link and its flows. Counts are since the start.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// Bytes in the queue.
    pub(crate) queue: u64,
    /// Bytes of packets delivered by the link.
    pub(crate) passed: u64,
    /// Packets sent to the link.
    pub(crate) sent: u64,
    /// Packets dropped at the queue or by the policer.
    pub(crate) dropped: u64,
    /// Payload delivered by each flow, in bytes, in the order of the flows.
    pub(crate) delivered: Vec<u64>,
}

/// The samples and message times of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    samples: Vec<Sample>,
    /// When each message of each flow was due, and its delivery time.
    times: Vec<Vec<(Duration, Duration)>>,
}

impl Record {
    pub(super) fn new(samples: Vec<Sample>, times: Vec<Vec<(Duration, Duration)>>) -> Self {
        Self { samples, times }
    }

    fn within(&self, span: &Range<Duration>) -> &[Sample] {
        let place = |at| self.samples.partition_point(|sample| sample.at < at);
        &self.samples[place(span.start)..place(span.end)]
    }

    fn ends(&self, span: &Range<Duration>) -> Option<(&Sample, &Sample)> {
        let within = self.within(span);
        Some((within.first()?, within.last()?))
    }

    /// Returns the payload that each flow delivered in `span`, as a share of the link's capacity.
    pub(crate) fn shares(&self, span: &Range<Duration>, rate: Rate) -> Vec<f64> {
        let Some((first, last)) = self.ends(span) else {
            return Vec::new();
        };
        let all = rate.bytes_in(last.at - first.at).max(1) as f64;
        let pairs = first.delivered.iter().zip(&last.delivered);
        pairs.map(|(a, b)| (b - a) as f64 / all).collect()
    }

    /// Returns the payload that all flows delivered in `span`, as a share of the link's capacity.
    pub(crate) fn goodput(&self, span: &Range<Duration>, rate: Rate) -> f64 {
        self.shares(span, rate).iter().sum()
    }

    /// Returns the number of packets dropped in `span`.
    pub(crate) fn drops(&self, span: &Range<Duration>) -> u64 {
        self.ends(span)
            .map_or(0, |(first, last)| last.dropped - first.dropped)
    }

    /// Returns the share of sent packets that were dropped in `span`.
    pub(crate) fn dropped_share(&self, span: &Range<Duration>) -> f64 {
        let sent = self
            .ends(span)
            .map_or(1, |(first, last)| (last.sent - first.sent).max(1));
        self.drops(span) as f64 / sent as f64
    }

    /// Returns a quantile of the queueing delay in `span`, in milliseconds.
    pub(crate) fn queueing(&self, span: &Range<Duration>, rate: Rate, q: f64) -> f64 {
        let mut depths: Vec<u64> = self
            .within(span)
            .iter()
            .map(|sample| sample.queue)
            .collect();
        depths.sort_unstable();
        millis(rate.time_for(quantile(&depths, q)))
    }

    /// Returns the time from the start of `span` until the flows settled: from then on, the link delivered at least `share` of
    /// its capacity in every window of length `smooth`, and the queueing delay was below `queue`. `None` if never.
    pub(crate) fn settled(
        &self,
        span: &Range<Duration>,
        rate: Rate,
        smooth: Duration,
        share: f64,
        queue: Duration,
    ) -> Option<Duration> {
        let within = self.within(span);
        let mut since = None;
        let mut window_start = 0;
        for sample in within {
            while sample.at - within[window_start].at > smooth {
                window_start += 1;
            }
            let before = &within[window_start];
            let passed = (sample.passed - before.passed) as f64;
            let carried = passed / rate.bytes_in(sample.at - before.at).max(1) as f64;
            let holds = rate.time_for(sample.queue) < queue && (carried >= share);
            since = match holds {
                true => since.or(Some(sample.at - span.start)),
                false => None,
            };
        }
        since
    }

    /// Returns the delivery times of the first flow's messages that were due in `span`.
    pub(crate) fn delivery(&self, span: &Range<Duration>) -> Quantiles {
        let times = self.times.first().map_or(&[][..], Vec::as_slice);
        let due = times.iter().filter(|(due, _)| span.contains(due));
        let mut nanos: Vec<u64> = due.map(|(_, took)| nanos(*took)).collect();
        Quantiles::of(&mut nanos)
    }
}

/// Returns Jain's fairness index: 1 for equal shares, 1/n if one flow has everything.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    match squares > 0.0 {
        true => sum * sum / (squares * shares.len() as f64),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Returns a record with a sample per second: kB delivered in the second, and kB in the queue.
    fn record(seconds: &[(u64, u64)]) -> Record {
        let mut passed = 0;
        let mut at = Duration::ZERO;
        let samples = seconds.iter().map(|(more, queue)| {
            passed += more * 1000;
            at += S;
            Sample {
                at,
                queue: queue * 1000,
                passed,
                sent: passed / 1000,
                dropped: 0,
                delivered: vec![passed, passed / 2],
            }
        });
        Record::new(samples.collect(), Vec::new())
    }

    #[test]
    fn shares_are_of_what_the_link_carries() {
        let record = record(&[(100, 0); 5]);
        let shares = record.shares(&(S..6 * S), Rate::kbit(1600));
        assert_eq!(shares, [0.5, 0.25]);
    }

    #[test]
    fn settled_is_from_when_it_stays_so() {
        let record = record(&[
            (100, 0),
            (10, 50),
            (90, 0),
            (20, 0),
            (95, 5),
            (99, 0),
            (99, 0),
        ]);
        let settled = |share| record.settled(&(S..8 * S), Rate::kbit(800), S, share, S / 10);
        assert_eq!(settled(0.9), Some(4 * S));
        assert_eq!(settled(1.2), None);
    }

    #[test]
    fn the_index_of_equals_is_one() {
        assert!((jain(&[0.2; 4]) - 1.0).abs() < 1e-9);
        assert!((jain(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
    }
}
