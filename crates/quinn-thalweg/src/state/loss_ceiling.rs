//! Sans-I/O: a ceiling of the window where losses, and no queue, show the limit of the path (a policer, a shallow
//! queue). BBRv3 calls it `inflight_hi`.
//!
//! When more is lost than the ambient rate, the window is set to what was delivered, and a ceiling holds it there. After
//! some rounds the ceiling is raised by one packet, then by two, by four, each time a block of rounds loses no more than
//! the ambient rate. When the limit is met again, the ceiling holds twice as long. A policer drops about one packet in a
//! hundred by this probing.

use std::time::Instant;

use super::{LossLevel, MIN_WINDOW, State, StateMachine};

/// Rounds that a ceiling holds before it is raised the first time.
const MIN_HOLD: u32 = 16;
/// The maximum of rounds that a ceiling holds.
const MAX_HOLD: u32 = 128;
/// The maximum step by which a ceiling is raised, as a part of it.
const MAX_RAISE: f64 = 0.125;
/// Blocks in a row with excess losses, at a window that was clean before, that are taken for congestion.
const MAX_EXCESS_BLOCKS: u32 = 3;
/// A window above the maximum clean window by this factor is an untested one.
const UNTESTED: f64 = 1.02;
/// The minimum part of the window that is kept while the rate was not measured with that window yet (CUBIC's beta).
const BETA: f64 = 0.7;
/// The part of the BDP that is used without a queue: the pacer's bursts need the rest.
const HEADROOM: f64 = 0.97;

/// A limit of the window that losses have shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct LossCeiling {
    pub(super) window: f64,
    /// Rounds until the ceiling is raised.
    pub(super) rounds_left: u32,
    /// Rounds that the ceiling held this time.
    hold: u32,
    /// Packets by which the ceiling is raised next.
    step: f64,
}

impl StateMachine {
    /// Evaluates the losses of a block of rounds. Returns whether the window was reduced.
    pub(super) fn on_loss_block(
        &mut self,
        now: Instant,
        max_in_flight: f64,
        level: LossLevel,
    ) -> bool {
        match level {
            LossLevel::Ambient => {
                self.excess_blocks = 0;
                self.max_clean_window = self.max_clean_window.max(max_in_flight);
                if let Some(ceiling) = &mut self.ceiling
                    && ceiling.rounds_left == 0
                {
                    ceiling.window += ceiling.step;
                    ceiling.step = (ceiling.step * 2.0).min(MAX_RAISE * ceiling.window);
                }
                return false;
            }
            LossLevel::Excess => self.excess_blocks += 1,
            LossLevel::AboveBound => self.excess_blocks = MAX_EXCESS_BLOCKS,
        }
        // At a window that was clean before, one lossy block is not enough evidence.
        let reduce = max_in_flight > UNTESTED * self.max_clean_window
            || self.excess_blocks >= MAX_EXCESS_BLOCKS;
        if reduce {
            self.on_excess_loss(now);
        }
        reduce
    }

    /// Sets the window, and a ceiling, to what the path delivers.
    pub(super) fn on_excess_loss(&mut self, now: Instant) {
        let min_rtt = self.delay.min_rtt().unwrap_or_default().as_secs_f64();
        let rate = self.max_rates.into_iter().fold(0.0, f64::max);
        let bdp = rate * min_rtt / (1.0 - self.losses.ambient());
        // Just after a change of state, the measured rates are those of smaller windows.
        let least = match self.rounds_until_drain > 0 {
            true => BETA * self.window,
            false => 0.0,
        };
        self.set_ceiling(HEADROOM * bdp.clamp(least, self.window));
        self.losses.discard_sent_before(now);
        self.excess_blocks = 0;
        self.max_clean_window = self.window;
        self.state = State::Cruise;
        self.delay.reset_standing();
    }

    pub(super) fn set_ceiling(&mut self, window: f64) {
        let window = window.max(MIN_WINDOW);
        let hold = match self.ceiling {
            Some(ceiling) if ceiling.rounds_left == 0 => (ceiling.hold * 2).min(MAX_HOLD),
            _ => MIN_HOLD,
        };
        self.window = window;
        self.max_cruise_window = window;
        self.ceiling = Some(LossCeiling {
            window,
            rounds_left: hold,
            hold,
            step: 1.0,
        });
        self.rounds_below_target = 0;
        self.rounds_above_target = 0;
    }

    pub(super) fn clamp_to_ceiling(&self, window: f64) -> f64 {
        match self.ceiling {
            Some(ceiling) => window.min(ceiling.window.max(self.window)),
            None => window,
        }
    }
}
