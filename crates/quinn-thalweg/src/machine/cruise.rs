//! Pure: how the window is found on a path of our own: start-up, and then as much as the pipe holds and a few packets.
//!
//! What was in flight, times least over standing round trip, is what fits into the pipe without a queue. The window is
//! that and a few packets, by the root of their number: the law of FAST TCP. It says the same whatever is lost, several
//! such flows come to equal shares, and the queue that it keeps tells a pipe that is full from one that is not. Where
//! there is no such queue, there is room, and the window grows faster with every round of that.

use std::time::{Duration, Instant};

use super::{LEAST, Machine, OLD, STALE, Sample, State};

/// Packets kept in the queue, by the root of those in the pipe. Of the pacer's clumps (17 packets at 100 Mbit/s) two must
/// fit, or the link idles between them; less than in proportion, so that who has less takes more from the others.
const STANDING: f64 = 1.5;
/// And at least so many.
const FEWEST: f64 = 2.0;
/// No queue is meant to be shorter than this: clocks, wake-ups and clumps make that much by themselves.
const SHORTEST: Duration = Duration::from_micros(400);
/// Rounds after a change of state in which the queue is not judged: it still is that of before.
pub(super) const PATIENCE: u32 = 3;
/// Growth of the rate below which it has stopped to follow the window, and for how many rounds (BBR's start-up).
const GROWTH: (f64, u32) = (1.25, 3);
/// A path that loses more than this by itself has its ambient share measured anew now and then.
const LOSSY: f64 = 0.01;

impl Machine {
    /// The queue as it stands has been looked at.
    pub(super) fn on_queue(&mut self, now: Instant) {
        let (Some((rtt, in_flight)), Some(queue), Some(least)) = (
            self.delay.standing(),
            self.delay.queue(),
            self.delay.least(),
        ) else {
            return;
        };
        let pipe = self.pipe(rtt, in_flight);
        let meant = self.meant(pipe);
        self.queued = self.queued.max(queue);
        match self.state {
            State::StartUp if queue > (least / 16).max(meant) => {
                self.enter_cruise(now, pipe);
            }
            State::Cruise if self.room > 0 && queue > meant => {
                self.room = 0;
                self.window = (pipe + self.standing(pipe)).min(self.window);
                self.losses.forgive(now);
                self.delay.forget_standing();
            }
            State::Cruise
                if self.patience == 0
                    && queue > meant * 2 + least / 2
                    && self.used >= 0.7 * self.window =>
            {
                self.brake(now, rtt, None);
            }
            State::Beside(_) => self.longest = self.longest.max(queue),
            _ => {}
        }
    }

    pub(super) fn enter_cruise(&mut self, now: Instant, pipe: f64) {
        self.state = State::Cruise;
        // What is lost of what was sent before has been answered by this.
        self.losses.forgive(now);
        self.window = pipe + self.standing(pipe);
        self.window = self.window.max(LEAST);
        self.room = 0;
        self.long = 0;
        self.patience = PATIENCE;
        self.past = [None; 2];
        self.delay.forget_standing();
    }

    /// Start-up is over too when the rate stops to grow without a queue.
    pub(super) fn on_start_up_round(&mut self, now: Instant, sample: &Sample, app_limited: bool) {
        if self.rate > GROWTH.0 * self.best {
            self.best = self.rate;
            self.plateau = 0;
        } else if !app_limited && !sample.app_limited {
            self.plateau += 1;
            if self.plateau >= GROWTH.1 {
                let least = self.delay.least().unwrap_or_default().as_secs_f64();
                let pipe = self.rate * least / (1.0 - self.losses.ambient());
                self.enter_cruise(now, pipe);
            }
        }
    }

    pub(super) fn on_cruise_round(&mut self, now: Instant, queued: Duration) {
        let (Some((rtt, in_flight)), Some(queue), Some(least)) = (
            self.delay.standing(),
            self.delay.queue(),
            self.delay.least(),
        ) else {
            return;
        };
        let pipe = self.pipe(rtt, in_flight);
        let meant = self.meant(pipe);
        if queue > meant * 2 + least / 8 {
            self.long += 1;
        } else {
            self.long = 0;
        }
        if self.long >= 2 && self.patience == 0 {
            self.brake(now, rtt, None);
            return;
        }
        let fresh = self.delay.age(now) < STALE.0.max(least * STALE.1)
            && (self.losses.ambient() < LOSSY
                || now.saturating_duration_since(self.refreshed) < OLD);
        if !fresh && now.saturating_duration_since(self.refreshed) > STALE.0 {
            self.brake(now, rtt, None);
            return;
        }
        // A clump that goes round leaves a part of the pipe empty: that is no room for more.
        self.room = match queued < meant / 2 {
            true => self.room + 1,
            false => 0,
        };
        if queue >= meant && self.ceiling.is_some_and(|ceiling| ceiling.rest == 0) {
            // The queue says how much there is room for.
            self.ceiling = None;
        }
        if self.room == 0 {
            let target = pipe + self.standing(pipe);
            let window = self.window + (target - self.window) / 2.0;
            self.window = self.below_ceiling(window).max(LEAST);
        }
    }

    /// What may be in flight with the pipe full and its queue empty, going by a round trip and what was in flight with it.
    pub(super) fn pipe(&self, rtt: Duration, in_flight: u64) -> f64 {
        let least = self.delay.least().unwrap_or(rtt);
        self.packets(in_flight) * least.as_secs_f64() / rtt.as_secs_f64()
    }

    /// How many packets are meant to stand in the queue, with so many in the pipe.
    pub(super) fn standing(&self, pipe: f64) -> f64 {
        let rate = pipe
            / self
                .delay
                .least()
                .unwrap_or_default()
                .as_secs_f64()
                .max(1e-6);
        (STANDING * pipe.sqrt())
            .max(FEWEST)
            .max(rate * SHORTEST.as_secs_f64())
    }

    /// The queue that is meant to stand, in time.
    pub(super) fn meant(&self, pipe: f64) -> Duration {
        let least = self.delay.least().unwrap_or_default();
        least.mul_f64((self.standing(pipe) / pipe.max(0.01)).min(100.0))
    }
}
