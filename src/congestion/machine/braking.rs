//! Pure: draining the pipe for a round, to see what is left of the queue then, and whose it is.
//!
//! The flow goes on meanwhile, at nine tenths of its rate or so: nothing stalls, as it would with four packets in flight
//! for a fifth of a second (BBR's way).
//!
//! | what is left | whose queue it was | what then |
//! |---|---|---|
//! | (almost) nothing | ours | as much as the pipe holds |
//! | all of it, to a sixteenth | nobody's: the path has become longer | its round trip is the new least one |
//! | some, or more | shared with somebody who fills it | [beside him](super::beside) |

use std::time::{Duration, Instant};

use super::{LEAST, Machine, Neighbour, OLD, Sample, State, beside};

/// What a pipe is filled to while its queue drains. So much below one that the queue is gone within a round or two, so
/// much above a half that hardly anything is lost by it.
const DRAIN: f64 = 0.85;
/// What of the least round trip may be left: an eighth, where nobody is known to be there, for other flows of this kind
/// keep queues of that length; and a sixteenth where somebody is.
const NEAR: (u32, u32) = (8, 16);
/// What of the queue before may be left.
const REST: u32 = 5;
/// How close two round trips are that count as one, as a part of them.
const SAME: u32 = 16;
/// And what of the window must have been taken away for that to mean anything.
const TAKEN: f64 = 0.75;
/// What of a least round trip shows that it was none: there was a queue in it.
const HIDDEN: f64 = 0.97;
/// What is left unjudged of a queue, because clocks and clumps make it.
const NOISE: Duration = Duration::from_micros(400);

/// The pipe is being drained.
#[derive(Debug, Clone)]
pub(super) struct Braking {
    /// The window and the standing round trip before.
    pub(super) window: f64,
    pub(super) rtt: Duration,
    /// The least round trip before.
    floor: Duration,
    pub(super) target: f64,
    /// When as little as the target was in flight.
    pub(super) drained: Option<Instant>,
    /// The least round trip of what was sent since.
    least: Option<Duration>,
    /// What to go back to if the queue is another's.
    neighbour: Option<Neighbour>,
}

/// Whose queue it is that does not go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Shared,
    /// Nobody's: the way has become longer.
    Path,
}

impl Machine {
    /// Drains the pipe, to see what is left of the queue.
    pub(super) fn brake(&mut self, now: Instant, rtt: Duration, neighbour: Option<Neighbour>) {
        let least = self.delay.least().unwrap_or_default().as_secs_f64();
        let pipe = self.rate * least / (1.0 - self.losses.ambient());
        let target = (DRAIN * pipe.min(self.window)).max(LEAST);
        self.state = State::Braking(Braking {
            window: self.window,
            rtt,
            floor: self.delay.least().unwrap_or(rtt),
            target,
            drained: None,
            least: None,
            neighbour,
        });
        self.window = target;
        self.refreshed = now;
        self.short = 0;
        self.long = 0;
    }

    pub(super) fn on_braking(
        &mut self,
        now: Instant,
        sent: Instant,
        sample: &Sample,
        drained: Option<Instant>,
    ) {
        let least = self.delay.least().unwrap_or_default();
        let in_flight = self.packets(self.deliveries.in_flight());
        let rate = self.rate / (1.0 - self.losses.ambient());
        let State::Braking(braking) = &mut self.state else {
            return;
        };
        let Some(drained) = drained else {
            // While there is a queue, what is delivered is what the link carries.
            let pipe = (DRAIN * rate * least.as_secs_f64()).max(LEAST);
            if sample.rtt > least + least / 8 && pipe < braking.target {
                braking.target = pipe;
                self.window = pipe;
            }
            if in_flight <= braking.target + 1.0 {
                braking.drained = Some(now);
            }
            return;
        };
        if sent < drained {
            return;
        }
        braking.least = Some(
            braking
                .least
                .map_or(sample.rtt, |known| known.min(sample.rtt)),
        );
        if sent < drained + least / 4 {
            return;
        }
        let rtt = braking.least.unwrap_or(sample.rtt);
        let braking = braking.clone();
        self.on_verdict(now, rtt, braking);
    }

    pub(super) fn on_verdict(&mut self, now: Instant, rtt: Duration, braking: Braking) {
        let least = self.delay.least().unwrap_or(rtt);
        let left = rtt.saturating_sub(least);
        let before = braking.rtt.saturating_sub(least);
        let part = if braking.neighbour.is_some() {
            NEAR.1
        } else {
            NEAR.0
        };
        let near = (least / part).max(before / REST).max(NOISE);
        let hidden = rtt < braking.floor.mul_f64(HIDDEN);
        let whose = if left <= near && !(hidden && braking.neighbour.is_some()) {
            Whose::Ours
        } else if rtt.abs_diff(braking.rtt) <= braking.rtt / SAME
            && braking.target <= TAKEN * braking.window
        {
            Whose::Path
        } else {
            Whose::Shared
        };
        self.losses.forgive(now);
        match whose {
            Whose::Ours => {
                self.claims = beside::CLAIMS;
                if self.delay.age(now) > OLD {
                    self.delay.settle(now, rtt);
                }
                let least = self.delay.least().unwrap_or(rtt);
                // By what was delivered while the queue drained, and by what was in flight before. Where there was a
                // long queue, the rate has fallen, and only the former counts.
                let carried = braking.target / DRAIN;
                let was =
                    braking.window * least.as_secs_f64() / braking.rtt.max(least).as_secs_f64();
                let pipe = match braking.rtt > least * 2 {
                    true => carried,
                    false => was.max(carried),
                };
                let pipe = pipe.min(braking.window);
                self.enter_cruise(now, pipe);
            }
            Whose::Path => {
                self.delay.settle(now, rtt);
                self.enter_cruise(now, braking.window);
                self.window = braking.window;
            }
            Whose::Shared => {
                self.longest = before;
                let window = self.claim(&braking, rtt);
                let neighbour = match braking.neighbour {
                    Some(neighbour) if window <= neighbour.window() => neighbour,
                    _ => Neighbour::new(now, window),
                };
                self.window = neighbour.window();
                self.state = State::Beside(neighbour);
                self.delay.forget_standing();
            }
        }
    }
}
