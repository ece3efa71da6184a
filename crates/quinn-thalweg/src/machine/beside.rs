//! Pure: beside a neighbour who fills the queue until it overflows (CUBIC, Reno).
//!
//! Who keeps the queue short there gets nothing, so for as long as he is there the window grows and shrinks by
//! [his law](super::super::neighbour). That he is there shows when ours is [drained](super::braking), and in a queue that
//! becomes much shorter without us: he has lost a packet and given up three tenths of his window. The path may have
//! become shorter instead, so three rounds later a drain must prove it.
//!
//! A late comer has far less than the others, and CUBIC would overrun the queue to take its part. Here up to a third of
//! the link may be claimed at once, three times at most, and the rest is grown into.

use std::time::Instant;

use super::{Braking, Duration, Machine, Neighbour, OLD, STALE, State, cruise::PATIENCE};

/// The share of the link that may be claimed before growing as the neighbour does: no more than beside two of them would
/// be fair.
const CLAIM: f64 = 1.0 / 3.0;
/// How often that is claimed.
pub(super) const CLAIMS: u32 = 3;
/// By how much a window grows by a claim, at most.
const LEAP: f64 = 4.0;
/// What CUBIC gives up of its window after a loss.
const YIELDED: f64 = 0.3;
/// What of the least round trip a queue must have fallen by within two rounds to be a neighbour's.
const FALL: u32 = 8;

impl Machine {
    /// The queue has become much shorter and it was not us: somebody else has given up a part of his window.
    pub(super) fn has_neighbour_yielded(&mut self, now: Instant) -> bool {
        let (Some((rtt, in_flight)), Some(least)) = (self.delay.standing(), self.delay.least())
        else {
            return false;
        };
        let in_flight = self.packets(in_flight);
        let [last, earlier] = self.past;
        self.past = [Some((rtt, in_flight, least)), last];
        let Some((before, was, floor)) = earlier else {
            return false;
        };
        let fall = before.saturating_sub(rtt);
        let ours = (was - in_flight).max(0.0) / self.rate.max(1.0);
        if fall < (least / FALL).max(self.meant(in_flight) * 2) || fall.as_secs_f64() < 2.0 * ours {
            return false;
        }
        // One of our own kind that starts leaves nothing behind; a neighbour still has his queue there, or has given
        // away that what we took for the least was one.
        let stands = rtt > least + self.meant(in_flight) * 3 / 2 + least / 32;
        let hidden = rtt < floor - floor / FALL;
        if !stands && !hidden {
            return false;
        }
        // He has given up three tenths of his, if he is CUBIC, and the rest of what was in flight is ours.
        let his = fall.as_secs_f64() / YIELDED / before.as_secs_f64();
        let share = (1.0 - his).max(0.1);
        let window = self.window * (CLAIM / share).clamp(1.0, LEAP);
        self.window = window;
        self.longest = before.saturating_sub(least);
        self.proven = false;
        self.patience = PATIENCE;
        self.state = State::Beside(Neighbour::new(now, window));
        true
    }

    /// What may be claimed beside a neighbour. By how much the round trip fell when so much less was in flight says
    /// what the link carries for all of us, and so what our share of it was.
    pub(super) fn claim(&mut self, braking: &Braking, rtt: Duration) -> f64 {
        let fall = braking.rtt.saturating_sub(rtt).as_secs_f64();
        if fall <= 0.0 || self.claims == 0 {
            return braking.window;
        }
        self.claims -= 1;
        let carries = (braking.window - braking.target) / fall;
        let all = carries * braking.rtt.as_secs_f64();
        (CLAIM * all).clamp(braking.window, LEAP * braking.window)
    }

    pub(super) fn on_beside_round(&mut self, now: Instant) {
        let Some((rtt, _)) = self.delay.standing() else {
            return;
        };
        let least = self.delay.least().unwrap_or_default();
        let every = if self.claims > 0 { STALE.0 } else { OLD };
        let due = match self.proven {
            true => now.saturating_duration_since(self.refreshed) > every.max(least * STALE.1),
            false => self.patience == 0,
        };
        if due && let State::Beside(neighbour) = &self.state {
            let neighbour = neighbour.clone();
            self.brake(now, rtt, Some(neighbour));
        }
    }
}
