//! Pure: more is lost than the path loses by itself: its limit, where no queue shows it (a policer, a shallow queue).
//!
//! Then the window is what was delivered, and a ceiling holds it there. The ceiling is lifted after some rounds, by one
//! packet, by two, by four, each time a block of rounds lost no more than the path does; and where it is met again, it
//! stands twice as long. A policer so loses a packet in a hundred for being asked whether it has become wider.

use std::time::Instant;

use super::{LEAST, Machine, State, Verdict};

/// How long a ceiling stands before it is lifted, in rounds: at first, and at most.
const HOLD: (u32, u32) = (16, 128);
/// The most that it is lifted by, as a part of it.
const LIFT: f64 = 0.125;
/// Blocks in a row that lose too much, with a window that did not before, until that is believed.
const EXCESSES: u32 = 3;
/// A window greater than the greatest that was carried by this is a new one.
const NEW: f64 = 1.02;
/// What stays of a window at least, where the rate was not measured with that window yet (CUBIC's part).
const MEASURED: f64 = 0.7;
/// What is used of a pipe without a queue: the pacer's clumps need a little room.
const HEADROOM: f64 = 0.97;

/// Where a window came to its limit without a queue to show for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    pub(super) window: f64,
    /// Rounds until it is lifted.
    pub(super) rest: u32,
    /// How long it stands when it is met again.
    hold: u32,
    /// By how many packets it is lifted next.
    step: f64,
}

impl Machine {
    /// The losses of some rounds are counted. Says whether they were answered.
    pub(super) fn on_block(&mut self, now: Instant, used: f64, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Ambient => {
                self.excesses = 0;
                self.carried = self.carried.max(used);
                if let Some(ceiling) = &mut self.ceiling
                    && ceiling.rest == 0
                {
                    ceiling.window += ceiling.step;
                    ceiling.step = (ceiling.step * 2.0).min(LIFT * ceiling.window);
                }
                return false;
            }
            Verdict::Excess => self.excesses += 1,
            Verdict::Beyond => self.excesses = EXCESSES,
        }
        // A window that was carried before is not too much now, unless it goes on.
        let answered = used > NEW * self.carried || self.excesses >= EXCESSES;
        if answered {
            self.on_overrun(now);
        }
        answered
    }

    /// More is lost than the path loses anyway: there is no more room, whatever the queue says.
    pub(super) fn on_overrun(&mut self, now: Instant) {
        let least = self.delay.least().unwrap_or_default().as_secs_f64();
        let rate = self.rates.into_iter().fold(0.0, f64::max);
        let pipe = rate * least / (1.0 - self.losses.ambient());
        // Rates of rounds in which little was sent say little.
        let least = match self.patience > 0 {
            true => MEASURED * self.window,
            false => 0.0,
        };
        self.limit(HEADROOM * pipe.clamp(least, self.window));
        self.losses.forgive(now);
        self.excesses = 0;
        self.carried = self.window;
        self.state = State::Cruise;
        self.delay.forget_standing();
    }

    pub(super) fn limit(&mut self, window: f64) {
        let window = window.max(LEAST);
        let hold = match self.ceiling {
            Some(ceiling) if ceiling.rest == 0 => (ceiling.hold * 2).min(HOLD.1),
            _ => HOLD.0,
        };
        self.window = window;
        self.ceiling = Some(Ceiling {
            window,
            rest: hold,
            hold,
            step: 1.0,
        });
        self.room = 0;
        self.long = 0;
    }

    pub(super) fn below_ceiling(&self, window: f64) -> f64 {
        match self.ceiling {
            Some(ceiling) => window.min(ceiling.window.max(self.window)),
            None => window,
        }
    }
}
