//! Sans-I/O: the minimum RTT, and the standing queue on top of it.
//!
//! A single RTT sample says little about a queue: packets travel in bursts, and each waits for those before it in its
//! burst. A delay that all packets of a sixteenth of a round trip had is a *standing* queue (Copa's standing RTT).

use std::time::{Duration, Instant};

use super::rate_sample::RateSample;

/// An interval of the standing RTT, as a part of a round trip.
const INTERVAL: u32 = 16;
/// The minimum interval: quinn's pacer sends a burst every 2 ms.
const MIN_INTERVAL: Duration = Duration::from_micros(2500);
/// With fewer packets in flight, all of them may be one burst, and the interval is a whole round trip.
const ONE_BURST: f64 = 40.0;

/// The minimum RTT of one interval.
#[derive(Debug, Clone, Copy)]
struct Interval {
    start: Instant,
    rtt: Duration,
    /// The bytes in flight at that RTT.
    in_flight: u64,
}

/// The round trip times of a path.
#[derive(Debug, Clone, Default)]
pub(super) struct DelayEstimator {
    min_rtt: Option<Duration>,
    /// When an RTT of about the minimum was last seen.
    min_rtt_seen: Option<Instant>,
    latest_rtt: Option<Duration>,
    previous: Option<Interval>,
    current: Option<Interval>,
}

impl DelayEstimator {
    pub(super) fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt
    }

    pub(super) fn latest_rtt(&self) -> Option<Duration> {
        self.latest_rtt
    }

    /// Returns the time since an RTT of about the minimum was last seen.
    pub(super) fn min_rtt_age(&self, now: Instant) -> Duration {
        self.min_rtt_seen
            .map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen))
    }

    /// Takes in a sample, at a window of `window` packets.
    pub(super) fn on_sample(&mut self, now: Instant, sample: &RateSample, window: f64) {
        let rtt = sample.rtt;
        self.latest_rtt = Some(rtt);
        if self.min_rtt.is_none_or(|min_rtt| rtt < min_rtt) {
            self.min_rtt = Some(rtt);
        }
        let near = self.min_rtt.map(|min_rtt| min_rtt + min_rtt / 32);
        if near.is_some_and(|near| rtt <= near) {
            self.min_rtt_seen = Some(now);
        }
        let length = match window < ONE_BURST {
            true => rtt,
            false => (rtt / INTERVAL).max(MIN_INTERVAL).min(rtt),
        };
        match &mut self.current {
            Some(current) if now.saturating_duration_since(current.start) < length => {
                if rtt < current.rtt {
                    current.rtt = rtt;
                    current.in_flight = sample.in_flight;
                }
            }
            current => {
                self.previous = current.replace(Interval {
                    start: now,
                    rtt,
                    in_flight: sample.in_flight,
                });
            }
        }
    }

    /// Returns the standing RTT and the bytes in flight at that RTT; `None` before there is a whole interval.
    pub(super) fn standing(&self) -> Option<(Duration, u64)> {
        let (previous, current) = (self.previous?, self.current?);
        let lower = if previous.rtt < current.rtt {
            previous
        } else {
            current
        };
        Some((lower.rtt, lower.in_flight))
    }

    /// Returns the delay of the standing queue.
    pub(super) fn queue_delay(&self) -> Option<Duration> {
        Some(self.standing()?.0.saturating_sub(self.min_rtt?))
    }

    /// Discards the intervals, because the samples to come are unrelated to them.
    pub(super) fn reset_standing(&mut self) {
        self.previous = None;
        self.current = None;
    }

    /// Replaces the minimum RTT by one that was measured with a drained queue.
    pub(super) fn set_min_rtt(&mut self, now: Instant, min_rtt: Duration) {
        self.min_rtt = Some(min_rtt);
        self.min_rtt_seen = Some(now);
        self.reset_standing();
    }

    /// Discards everything, because the path may be another one.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}
