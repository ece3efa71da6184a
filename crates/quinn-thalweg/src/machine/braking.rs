//! Pure: draining the pipe for a round or two, to see what is left of the queue then, and whose it is.
//!
//! The flow goes on meanwhile, at nine tenths of its rate or so, and where that does not tell, at half of it: nothing
//! stalls, as it would with four packets in flight for a fifth of a second (BBR's way).
//!
//! | what is left | whose queue it was | what then |
//! |---|---|---|
//! | (almost) nothing, and nobody is known to be there | ours | as much as the pipe holds |
//! | something, and it stays when half as much is in flight | ours, or nobody's | what stays is the least round trip |
//! | something, and it becomes less when less is in flight | shared with somebody who fills it | [beside him](super::beside) |
//!
//! The second step needs no least round trip to compare with. Alone on a path, less than the pipe holds makes no
//! round trip shorter; beside somebody, whose packets fill what ours leave empty, it does, however much of his queue
//! has been taken for the path.

use std::time::{Duration, Instant};

use super::{LEAST, Machine, Neighbour, OLD, Sample, State, beside};

/// What a pipe is filled to while its queue drains. So much below one that the queue is gone within a round or two, so
/// much above a half that hardly anything is lost by it.
const DRAIN: f64 = 0.85;
/// What of that is left where a second step must tell.
const DEEPER: f64 = 0.5;
/// What of the least round trip may be left after the first step: other flows of this kind keep queues of that length.
const NEAR: u32 = 8;
/// What of the queue before may be left.
const REST: u32 = 5;
/// By how much the second step makes the round trip shorter where the queue is shared, as a part of it. A flow that has
/// a twelfth of the link shortens it by so much.
const FALLS: u32 = 32;
/// What is left unjudged of a queue, because clocks and clumps make it.
const NOISE: Duration = Duration::from_micros(400);
/// A link that delivers less than this part of what it did is a slower one.
const SLOWER: f64 = 0.8;

/// The pipe is being drained.
#[derive(Debug, Clone)]
pub(super) struct Braking {
    /// The window and the standing round trip before.
    pub(super) window: f64,
    pub(super) rtt: Duration,
    pub(super) target: f64,
    /// When as little as the target was in flight.
    pub(super) drained: Option<Instant>,
    /// The least round trip of what was sent since.
    least: Option<Duration>,
    /// What it was after the first step.
    first: Option<Duration>,
    /// What the link carries, in packets a second, and whether the draining queue has shown that it is less than before.
    rate: f64,
    slower: bool,
    /// What to go back to if the queue is another's.
    neighbour: Option<Neighbour>,
}

impl Machine {
    /// Drains the pipe, to see what is left of the queue.
    pub(super) fn brake(&mut self, now: Instant, rtt: Duration, neighbour: Option<Neighbour>) {
        let least = self.delay.least().unwrap_or_default().as_secs_f64();
        let rate = self.rate / (1.0 - self.losses.ambient());
        let target = (DRAIN * (rate * least).min(self.window)).max(LEAST);
        self.state = State::Braking(Braking {
            window: self.window,
            rtt,
            target,
            drained: None,
            least: None,
            first: None,
            rate,
            slower: false,
            neighbour,
        });
        self.window = target;
        self.refreshed = now;
        self.room = 0;
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
            let slower = rate < SLOWER * braking.window / braking.rtt.as_secs_f64();
            let filled = if slower { 1.0 } else { DRAIN };
            let target = (filled * rate * least.as_secs_f64()).max(LEAST);
            if braking.first.is_none() && sample.rtt > least + least / 8 && target < braking.target
            {
                braking.rate = rate;
                braking.slower = slower;
                braking.target = target;
                self.window = target;
            }
            if in_flight <= braking.target + 1.0 {
                braking.drained = Some(now);
            }
            return;
        };
        if sent < drained {
            return;
        }
        let rtt = braking
            .least
            .map_or(sample.rtt, |known| known.min(sample.rtt));
        braking.least = Some(rtt);
        if sent < drained + least / 4 {
            return;
        }
        let left = rtt.saturating_sub(least);
        let before = braking.rtt.saturating_sub(least);
        let near = (least / NEAR).max(before / REST).max(NOISE);
        let braking = braking.clone();
        match braking.first {
            None if braking.neighbour.is_none() && left <= near => {
                self.on_alone(now, rtt, &braking);
            }
            None => {
                let target = (DEEPER * braking.target).max(LEAST);
                self.window = target;
                self.state = State::Braking(Braking {
                    target,
                    drained: None,
                    least: None,
                    first: Some(rtt),
                    ..braking
                });
            }
            Some(first) if rtt + first / FALLS < first => self.on_shared(now, rtt, braking),
            Some(_) => {
                self.delay.settle(now, rtt);
                self.on_alone(now, rtt, &braking);
            }
        }
    }

    /// The queue was ours, or there was none.
    fn on_alone(&mut self, now: Instant, rtt: Duration, braking: &Braking) {
        self.losses.forgive(now);
        self.claims = beside::CLAIMS;
        if self.delay.age(now) > OLD {
            self.delay.settle(now, rtt);
        }
        let least = self.delay.least().unwrap_or(rtt);
        // By the rate, and by what was in flight before, unless that is too much since the link is slower.
        let least = least.as_secs_f64();
        let carried = braking.rate * least;
        let was = braking.window * least / braking.rtt.as_secs_f64().max(least);
        let pipe = match braking.slower {
            true => carried,
            false => carried.max(was),
        };
        self.enter_cruise(now, pipe.min(braking.window));
    }

    /// Somebody else fills the queue.
    fn on_shared(&mut self, now: Instant, rtt: Duration, braking: Braking) {
        self.losses.forgive(now);
        self.longest = braking
            .rtt
            .saturating_sub(self.delay.least().unwrap_or(rtt));
        let window = self.claim(&braking, rtt);
        let neighbour = match braking.neighbour {
            Some(neighbour) if window <= neighbour.window() => neighbour,
            _ => Neighbour::new(now, window),
        };
        self.window = neighbour.window();
        self.state = State::Beside(neighbour);
        self.proven = true;
        self.delay.forget_standing();
    }
}
