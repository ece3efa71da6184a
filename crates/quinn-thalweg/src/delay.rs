//! Pure: the least round trip, and the queue that stands on top of it.
//!
//! A single round trip says little: packets travel in clumps, and each waits for those before it in its clump. What
//! all packets of a sixteenth of a round trip waited for is a queue that *stands*. (Copa calls it the standing round trip.)

use std::time::{Duration, Instant};

use super::deliveries::Sample;

/// A stretch whose least round trip is a standing one, as a part of a round trip,
const STRETCH: u32 = 16;
/// and at least so long: quinn's pacer sends a clump every 2 ms.
const CLUMP: Duration = Duration::from_micros(2500);
/// With less than so many packets in flight, all of them may be one clump, and the stretch is a whole round trip.
const FEW: f64 = 40.0;

/// What was least in a stretch of time, and what was in flight with it.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    began: Instant,
    rtt: Duration,
    in_flight: u64,
}

/// The round trips of a path.
#[derive(Debug, Clone, Default)]
pub(super) struct Delay {
    least: Option<Duration>,
    /// When the round trip was last (almost) the least.
    seen: Option<Instant>,
    latest: Option<Duration>,
    before: Option<Stretch>,
    current: Option<Stretch>,
}

impl Delay {
    pub(super) fn least(&self) -> Option<Duration> {
        self.least
    }

    pub(super) fn latest(&self) -> Option<Duration> {
        self.latest
    }

    /// For how long no round trip has been the least.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.seen
            .map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen))
    }

    /// A round trip of a path with `window` packets.
    pub(super) fn on_sample(&mut self, now: Instant, sample: &Sample, window: f64) {
        let rtt = sample.rtt;
        self.latest = Some(rtt);
        if self.least.is_none_or(|least| rtt < least) {
            self.least = Some(rtt);
        }
        let near = self.least.map(|least| least + least / 32);
        if near.is_some_and(|near| rtt <= near) {
            self.seen = Some(now);
        }
        let stretch = match window < FEW {
            true => rtt,
            false => (rtt / STRETCH).max(CLUMP).min(rtt),
        };
        match &mut self.current {
            Some(current) if now.saturating_duration_since(current.began) < stretch => {
                if rtt < current.rtt {
                    current.rtt = rtt;
                    current.in_flight = sample.in_flight;
                }
            }
            current => {
                self.before = current.replace(Stretch {
                    began: now,
                    rtt,
                    in_flight: sample.in_flight,
                });
            }
        }
    }

    /// The standing round trip, and what was in flight with it; `None` before there is a whole stretch.
    pub(super) fn standing(&self) -> Option<(Duration, u64)> {
        let (before, current) = (self.before?, self.current?);
        let less = if before.rtt < current.rtt {
            before
        } else {
            current
        };
        Some((less.rtt, less.in_flight))
    }

    /// How long a packet waits in the queue that stands.
    pub(super) fn queue(&self) -> Option<Duration> {
        Some(self.standing()?.0.saturating_sub(self.least?))
    }

    /// The stretches begin anew: what follows has nothing to do with what was.
    pub(super) fn forget_standing(&mut self) {
        self.before = None;
        self.current = None;
    }

    /// Another least, measured with a drained pipe.
    pub(super) fn settle(&mut self, now: Instant, least: Duration) {
        self.least = Some(least);
        self.seen = Some(now);
        self.forget_standing();
    }

    /// The path may be another.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}
