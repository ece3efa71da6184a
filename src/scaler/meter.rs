//! Sans-I/O: the meters that fill a [`Load`]. Each keeps a bounded window of what the producer records.
//!
//! The producer records every answered batch in [`Answers`]. [`Rate`], [`Latency`] and [`Mean`] are its parts. [`Peak`] is the
//! highest number of lanes that was needed lately. A policy of your own may use them too.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::load::Load;

/// Measures what a [`Load`] says about answers.
#[derive(Debug, Clone)]
pub struct Answers {
    bytes: u64,
    last: Option<Instant>,
    rate: Rate,
    took: Latency,
    round: Mean,
    hold: Mean,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            bytes: 0,
            last: None,
            rate: Rate::default(),
            took: Latency::new(Self::LATENCY_WINDOW),
            round: Mean::default(),
            hold: Mean::default(),
        }
    }
}

impl Answers {
    /// The window of the percentile: long enough for the hundreds of answers that a 99th percentile needs, short enough to follow
    /// a link that changes.
    const LATENCY_WINDOW: Duration = Duration::from_secs(2);

    /// Records a batch of `bytes` that was answered `took` after it was sent. `network` is the network's share of that time: the
    /// round trip, or more where the batch waited for the congestion window.
    pub fn on_answer(&mut self, now: Instant, bytes: u64, took: Duration, network: Duration) {
        self.bytes += bytes;
        self.last = Some(now);
        let round = self.round.on_sample(took);
        self.rate.set_window(round.saturating_mul(2));
        self.rate.on_bytes(now, bytes);
        self.took.on_sample(now, took);
        self.hold.on_sample(took.saturating_sub(network));
    }

    /// Sets the fields of `load` that begin with `ack`, and `broker_hold`.
    pub fn fill(&mut self, now: Instant, load: &mut Load) {
        load.acked_bytes = self.bytes;
        load.acked_at = self.last;
        load.ack_rate = self.last.map(|_| self.rate.per_second(now));
        load.ack_mean = self.round.get();
        load.ack_p99 = self.took.quantile(now, 0.99);
        load.broker_hold = self.hold.get();
    }
}

/// Bytes per second over a sliding window, in a fixed number of slots.
#[derive(Debug, Clone)]
pub struct Rate {
    window: Duration,
    slots: VecDeque<(Instant, u64)>,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            window: Self::MIN_WINDOW,
            slots: VecDeque::new(),
        }
    }
}

impl Rate {
    /// The shortest window. It has several calls of the policy even on a local network.
    pub const MIN_WINDOW: Duration = Duration::from_millis(10);
    /// The longest window.
    pub const MAX_WINDOW: Duration = Duration::from_secs(10);
    /// Slots of a window. The error of the oldest slot is a sixteenth of the window.
    const SLOTS: u32 = 16;

    /// Sets the window, within [`MIN_WINDOW`](Self::MIN_WINDOW) and [`MAX_WINDOW`](Self::MAX_WINDOW).
    pub fn set_window(&mut self, window: Duration) {
        self.window = window.clamp(Self::MIN_WINDOW, Self::MAX_WINDOW);
    }

    /// Records bytes.
    pub fn on_bytes(&mut self, now: Instant, bytes: u64) {
        let grain = self.window / Self::SLOTS;
        match self.slots.back_mut() {
            Some((since, sum)) if now.saturating_duration_since(*since) < grain => *sum += bytes,
            _ => self.slots.push_back((now, bytes)),
        }
        self.forget(now);
    }

    /// Returns the bytes per second over the window that ends now.
    pub fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        let bytes: u64 = self.slots.iter().map(|&(_, bytes)| bytes).sum();
        bytes as f64 / self.window.as_secs_f64()
    }

    fn forget(&mut self, now: Instant) {
        while let Some(&(since, _)) = self.slots.front() {
            let old = now.saturating_duration_since(since) >= self.window;
            // A window that grew while slots were short may hold more slots. The oldest are dropped.
            let many = self.slots.len() > 2 * Self::SLOTS as usize;
            if !old && !many {
                break;
            }
            self.slots.pop_front();
        }
    }
}

/// A quantile of durations over a sliding window.
///
/// Two histograms of logarithmic buckets alternate, each for one window. So a quantile covers the last one to two windows. It is
/// at most one sixteenth too high.
#[derive(Debug, Clone)]
pub struct Latency {
    window: Duration,
    since: Option<Instant>,
    recent: Histogram,
    before: Histogram,
}

impl Latency {
    /// Makes a meter that covers the last one to two times `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            since: None,
            recent: Histogram::default(),
            before: Histogram::default(),
        }
    }

    /// Records a duration.
    pub fn on_sample(&mut self, now: Instant, sample: Duration) {
        self.rotate(now);
        self.recent.add(sample);
    }

    /// Returns the `q` quantile, with `q` from 0 to 1. `None` without a recent sample.
    pub fn quantile(&mut self, now: Instant, q: f64) -> Option<Duration> {
        self.rotate(now);
        let total = self.recent.total + self.before.total;
        if total == 0 {
            return None;
        }
        let mut left = (total as f64) * q.clamp(0.0, 1.0);
        for bucket in 0..Histogram::BUCKETS {
            left -= f64::from(self.recent.counts[bucket]) + f64::from(self.before.counts[bucket]);
            if left <= 0.0 {
                return Some(Histogram::ceiling(bucket));
            }
        }
        Some(Histogram::ceiling(Histogram::BUCKETS - 1))
    }

    fn rotate(&mut self, now: Instant) {
        let age = now.saturating_duration_since(*self.since.get_or_insert(now));
        if age < self.window {
            return;
        }
        let past = std::mem::take(&mut self.recent);
        self.before = if age < self.window * 2 {
            past
        } else {
            Histogram::default()
        };
        self.since = Some(now);
    }
}

/// Counts of microseconds, sixteen buckets to each doubling.
#[derive(Debug, Clone)]
struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; Self::BUCKETS].into_boxed_slice(),
            total: 0,
        }
    }
}

impl Histogram {
    const SUB_BITS: u32 = 4;
    const SUBS: usize = 1 << Self::SUB_BITS;
    /// Buckets reach 2^27 microseconds, a little more than two minutes. Longer durations count as that.
    const DOUBLINGS: usize = 27;
    const BUCKETS: usize = (Self::DOUBLINGS - Self::SUB_BITS as usize + 1) * Self::SUBS;

    fn add(&mut self, sample: Duration) {
        let micros = usize::try_from(sample.as_micros()).unwrap_or(usize::MAX);
        let bucket = if micros < Self::SUBS {
            micros
        } else {
            let shift = micros.ilog2() - Self::SUB_BITS;
            (shift as usize + 1) * Self::SUBS + (micros >> shift) - Self::SUBS
        };
        let count = &mut self.counts[bucket.min(Self::BUCKETS - 1)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// The longest duration that falls into `bucket`.
    fn ceiling(bucket: usize) -> Duration {
        let micros = if bucket < Self::SUBS {
            bucket as u64
        } else {
            let shift = bucket / Self::SUBS - 1;
            (((bucket % Self::SUBS + Self::SUBS + 1) as u64) << shift) - 1
        };
        Duration::from_micros(micros)
    }
}

/// An exponentially weighted mean. Each sample weighs an eighth, as in the round trip time of RFC 9002 §5.3.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean(Option<Duration>);

impl Mean {
    /// Records a duration, and returns the mean with it.
    pub fn on_sample(&mut self, sample: Duration) -> Duration {
        *self.0.insert(match self.0 {
            Some(mean) => mean.saturating_mul(7).saturating_add(sample) / 8,
            None => sample,
        })
    }

    /// Returns the mean. `None` before the first sample.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        self.0
    }
}

/// The greatest value of a sliding window.
///
/// Keeps only the values that can still become the greatest. Each is smaller than the one before, so there are at most as many as
/// different values.
#[derive(Debug, Clone)]
pub struct Peak {
    window: Duration,
    falling: VecDeque<(Instant, usize)>,
}

impl Peak {
    /// Makes a meter of the last `window`.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            falling: VecDeque::new(),
        }
    }

    /// Records a value.
    pub fn on_sample(&mut self, now: Instant, value: usize) {
        while self.falling.back().is_some_and(|&(_, v)| v <= value) {
            self.falling.pop_back();
        }
        self.falling.push_back((now, value));
        self.forget(now);
    }

    /// Returns the greatest value of the window that ends now. 0 without a value.
    pub fn get(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.falling.front().map_or(0, |&(_, value)| value)
    }

    /// Returns when the peak will be below `value` if no greater value comes. `None` when it is already.
    #[must_use]
    pub fn falls_below(&self, value: usize) -> Option<Instant> {
        let last = self.falling.iter().rev().find(|&&(_, v)| v >= value)?;
        Some(last.0 + self.window)
    }

    fn forget(&mut self, now: Instant) {
        while let Some(&(at, _)) = self.falling.front() {
            if now.saturating_duration_since(at) < self.window {
                break;
            }
            self.falling.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scaler::tests::origin;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_steady_flow_is_measured_within_a_slot_whatever_its_grain() {
        for every in [1, 3, 7, 20] {
            let mut rate = Rate::default();
            rate.set_window(200 * MS);
            let start = origin();
            for i in 0..1000 {
                rate.on_bytes(start + MS * every * i, 1000 * u64::from(every));
            }
            let now = start + MS * every * 999;
            let measured = rate.per_second(now);
            assert!(
                (measured / 1e6 - 1.0).abs() < 0.11,
                "{every} ms: {measured}"
            );
        }
    }

    #[test]
    fn a_flow_that_stopped_is_forgotten_after_the_window() {
        let mut rate = Rate::default();
        rate.set_window(100 * MS);
        let start = origin();
        rate.on_bytes(start, 500);
        assert!(rate.per_second(start + 99 * MS) > 0.0);
        assert!(rate.per_second(start + 100 * MS) < f64::EPSILON);
    }

    #[test]
    fn a_quantile_is_at_most_a_sixteenth_too_high_and_old_samples_leave() {
        let start = origin();
        let mut latency = Latency::new(Duration::from_secs(1));
        assert_eq!(latency.quantile(start, 0.99), None);
        for i in 1..=1000u32 {
            latency.on_sample(start, MS * i);
        }
        for (q, exact) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let got = latency.quantile(start, q).unwrap().as_secs_f64() * 1e3;
            assert!((exact..=exact * 17.0 / 16.0).contains(&got), "{q}: {got}");
        }
        assert!(latency.quantile(start + 1999 * MS, 0.5).is_some());
        assert_eq!(latency.quantile(start + 4000 * MS, 0.5), None);
    }

    #[test]
    fn the_producer_reads_back_what_the_answers_said() {
        let start = origin();
        let mut answers = Answers::default();
        let mut load = Load::default();
        answers.fill(start, &mut load);
        assert_eq!(
            (load.ack_rate, load.ack_p99, load.acked_at),
            (None, None, None)
        );
        let mut now = start;
        for _ in 0..100 {
            now += 10 * MS;
            answers.on_answer(now, 10_000, 60 * MS, 50 * MS);
        }
        answers.fill(now, &mut load);
        assert_eq!((load.acked_bytes, load.acked_at), (1_000_000, Some(now)));
        assert_eq!(load.broker_hold, Some(10 * MS));
        assert!((60..=64).contains(&load.ack_p99.unwrap().as_millis()));
        assert!((0.9e6..=1.1e6).contains(&load.ack_rate.unwrap()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_duration_falls_into_a_bucket_that_is_less_than_a_sixteenth_wide(micros in 0u64..1 << 27) {
            let mut latency = Latency::new(Duration::from_secs(1));
            latency.on_sample(origin(), Duration::from_micros(micros));
            let got = latency.quantile(origin(), 1.0).unwrap().as_micros() as f64;
            prop_assert!(got >= micros as f64 && got <= micros as f64 * 17.0 / 16.0);
        }

        #[test]
        fn a_peak_is_the_greatest_of_the_window(samples in prop::collection::vec((1u32..50, 0usize..64), 1..200)) {
            let start = origin();
            let window = 100 * MS;
            let mut peak = Peak::new(window);
            let mut now = start;
            let mut all = Vec::new();
            for (gap, value) in samples {
                now += MS * gap;
                all.push((now, value));
                peak.on_sample(now, value);
                let greatest = all.iter().filter(|(at, _)| now - *at < window).map(|s| s.1).max();
                prop_assert_eq!(peak.get(now), greatest.unwrap());
                prop_assert!(peak.falling.len() <= 64);
                if value > 0 {
                    let falls = peak.falls_below(value).unwrap();
                    prop_assert!(peak.clone().get(falls) < value);
                    prop_assert!(peak.clone().get(falls - MS) >= value);
                }
            }
        }

        #[test]
        fn a_rate_keeps_a_bounded_number_of_slots(events in prop::collection::vec((0u32..30, 0u64..3000), 1..300)) {
            let mut rate = Rate::default();
            let mut now = origin();
            for (gap, window) in events {
                now += MS * gap;
                rate.set_window(MS * u32::try_from(window).unwrap());
                rate.on_bytes(now, 1);
                prop_assert!(rate.slots.len() <= 32);
            }
        }
    }
}
