//! Pure: what was seen of the flows on a bottleneck, and the figures of it.

use std::{ops::Range, time::Duration};

use super::super::quantiles::{Quantiles, quantile};
use anabranch::sim::Rate;

/// What one look saw. Numbers count from the start.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// Bytes that wait.
    pub(crate) queue: u64,
    /// Bytes of packets that have arrived.
    pub(crate) passed: u64,
    /// Packets that came to the link, and those that found no room.
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    /// Bytes of payload that each flow has delivered, in order.
    pub(crate) delivered: Vec<u64>,
}

/// What was seen of a trial.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    samples: Vec<Sample>,
    /// The messages of each flow: when each was due, and how long it took.
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

    /// The payload that each flow delivered in this time, as a part of what the link carries.
    pub(crate) fn shares(&self, span: &Range<Duration>, rate: Rate) -> Vec<f64> {
        let Some((first, last)) = self.ends(span) else {
            return Vec::new();
        };
        let all = rate.bytes_in(last.at - first.at).max(1) as f64;
        let pairs = first.delivered.iter().zip(&last.delivered);
        pairs.map(|(a, b)| (b - a) as f64 / all).collect()
    }

    /// The payload of all flows together.
    pub(crate) fn goodput(&self, span: &Range<Duration>, rate: Rate) -> f64 {
        self.shares(span, rate).iter().sum()
    }

    /// Packets that found no room in this time.
    pub(crate) fn drops(&self, span: &Range<Duration>) -> u64 {
        self.ends(span)
            .map_or(0, |(first, last)| last.dropped - first.dropped)
    }

    /// As a part of those that were sent.
    pub(crate) fn dropped_share(&self, span: &Range<Duration>) -> f64 {
        let sent = self
            .ends(span)
            .map_or(1, |(first, last)| (last.sent - first.sent).max(1));
        self.drops(span) as f64 / sent as f64
    }

    /// How long the last in the queue waits, in milliseconds, by quantile of the looks in this time.
    pub(crate) fn queueing(&self, span: &Range<Duration>, rate: Rate, q: f64) -> f64 {
        let mut depths: Vec<u64> = self
            .within(span)
            .iter()
            .map(|sample| sample.queue)
            .collect();
        depths.sort_unstable();
        rate.time_for(quantile(&depths, q)).as_secs_f64() * 1e3
    }

    /// When it was settled, from the start of this time: from then on, `smooth` long pieces of it carried
    /// at least `share` of the link, and the queue was shorter than `queue`. `None` where it never was.
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
        let mut behind = 0;
        for sample in within {
            while sample.at - within[behind].at > smooth {
                behind += 1;
            }
            let before = &within[behind];
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

    /// How long the messages of the first flow took that were due in this time.
    pub(crate) fn delivery(&self, span: &Range<Duration>) -> Quantiles {
        let times = self.times.first().map_or(&[][..], Vec::as_slice);
        let due = times.iter().filter(|(due, _)| span.contains(due));
        let mut nanos: Vec<u64> = due
            .map(|(_, took)| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
            .collect();
        Quantiles::of(&mut nanos)
    }
}

/// Jain's index of fairness: 1 where all are the same, 1/n where one has all.
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

    /// A second each: what has passed and what waits, in kB.
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
