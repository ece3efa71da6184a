//! Sans-I/O: competitive mode: another flow fills the queue until it overflows (CUBIC, Reno).
//!
//! A window that keeps the queue short would be starved there, so while such a flow is present the window follows
//! [CUBIC's law](super::super::cubic_model) (Copa has such a mode too). A competitor is detected in two ways: by the
//! [drain test](super::drain), and by a fall of the queue that we did not cause, which shows that another flow has lost
//! a packet and reduced its window by three tenths. That fall may also be a path that became shorter, so three rounds
//! later a drain test must confirm it.
//!
//! A flow that comes late has far less than the others, and growing to its share by CUBIC's law would overflow the queue.
//! Here up to a third of the link may be claimed at once, three times at most; the rest is left to that law.

use std::time::Instant;

use super::{
    CubicModel, DrainTest, Duration, MIN_RTT_EXPIRY, MIN_RTT_REFRESH, MIN_RTT_REFRESH_ROUNDS,
    RoundSummary, State, StateMachine, cruise::SETTLE_ROUNDS,
};

/// The share of the link that may be claimed at once: the fair share beside two competitors.
const CLAIM: f64 = 1.0 / 3.0;
/// The maximum factor by which a claim increases the window.
const MAX_CLAIM_GROWTH: f64 = 4.0;
/// The part of its window by which a CUBIC flow is reduced after a loss.
const CUBIC_REDUCTION: f64 = 0.3;
/// The minimum time between two drain tests in competitive mode.
const MIN_BETWEEN_TESTS: Duration = Duration::from_secs(1);
/// The part of the minimum RTT by which a queue must fall within two rounds to be a competitor's.
const MIN_FALL: u32 = 8;

impl StateMachine {
    /// Enters competitive mode if the queue has become much shorter and this flow did not cause it: a competitor has
    /// reduced its window. Returns whether it did.
    pub(super) fn enter_competitive_if_queue_fell(&mut self, now: Instant) -> bool {
        let (Some((rtt, in_flight)), Some(min_rtt)) = (self.delay.standing(), self.delay.min_rtt())
        else {
            return false;
        };
        let in_flight = self.packets(in_flight);
        let [last, earlier] = self.past_rounds;
        let this = RoundSummary {
            standing_rtt: rtt,
            in_flight,
            min_rtt,
        };
        self.past_rounds = [Some(this), last];
        let Some(earlier) = earlier else {
            return false;
        };
        let fall = earlier.standing_rtt.saturating_sub(rtt);
        let target = self.target_queue_delay(in_flight);
        let our_part = (earlier.in_flight - in_flight).max(0.0) / self.rate.max(1.0);
        if fall < (min_rtt / MIN_FALL).max(target * 2) || fall.as_secs_f64() < 2.0 * our_part {
            return false;
        }
        // A flow of this kind that starts leaves no queue when it has drained. A competitor still has one, or it has shown
        // that the former minimum RTT contained one.
        let queue_remains = rtt > min_rtt + target * 3 / 2 + min_rtt / 32;
        let min_rtt_was_wrong = rtt < earlier.min_rtt - earlier.min_rtt / MIN_FALL;
        if !queue_remains && !min_rtt_was_wrong {
            return false;
        }
        // If the competitor is CUBIC, it was reduced by three tenths; the rest of what was in flight is ours.
        let their_share = fall.as_secs_f64() / CUBIC_REDUCTION / earlier.standing_rtt.as_secs_f64();
        let our_share = (1.0 - their_share).max(0.1);
        let window = self.window * (CLAIM / our_share).clamp(1.0, MAX_CLAIM_GROWTH);
        self.window = window;
        self.max_competitive_queue = earlier.standing_rtt.saturating_sub(min_rtt);
        self.competitor_confirmed = false;
        self.rounds_until_drain = SETTLE_ROUNDS;
        self.state = State::Competitive(CubicModel::new(now, window));
        true
    }

    /// Returns the window that may be claimed after a drain test has found a competitor.
    ///
    /// The fall of the RTT, with less in flight by a known amount, gives the rate of the link, and with it the share of
    /// the link that this flow had.
    pub(super) fn claimed_window(&mut self, test: &DrainTest, rtt: Duration) -> f64 {
        let fall = test.rtt.saturating_sub(rtt).as_secs_f64();
        if fall <= 0.0 || self.claims_left == 0 {
            return test.window;
        }
        self.claims_left -= 1;
        let link_rate = (test.window - test.target) / fall;
        let all_flows = link_rate * test.rtt.as_secs_f64();
        (CLAIM * all_flows).clamp(test.window, MAX_CLAIM_GROWTH * test.window)
    }

    /// Starts a drain test after an overflow, unless there was one a short time ago.
    ///
    /// An overflow takes packets from most flows at once. Flows of this kind that took each other for a competitor then
    /// drain together, see the queue vanish, and return to cruise. A CUBIC flow keeps seven tenths, and a queue with it.
    pub(super) fn test_after_loss(&mut self, now: Instant) {
        let min_rtt = self.delay.min_rtt().unwrap_or_default();
        let rest = MIN_BETWEEN_TESTS.max(min_rtt * MIN_RTT_REFRESH_ROUNDS / 2);
        if now.saturating_duration_since(self.last_drain) > rest
            && let (Some((rtt, _)), State::Competitive(cubic)) =
                (self.delay.standing(), &self.state)
        {
            let cubic = cubic.clone();
            self.enter_drain(now, rtt, Some(cubic));
        }
    }

    /// Starts a drain test when it is due, to confirm the competitor or to find that it has gone.
    pub(super) fn on_competitive_round(&mut self, now: Instant) {
        let Some((rtt, _)) = self.delay.standing() else {
            return;
        };
        let min_rtt = self.delay.min_rtt().unwrap_or_default();
        let interval = if self.claims_left > 0 {
            MIN_RTT_REFRESH
        } else {
            MIN_RTT_EXPIRY
        };
        let due = match self.competitor_confirmed {
            true => {
                now.saturating_duration_since(self.last_drain)
                    > interval.max(min_rtt * MIN_RTT_REFRESH_ROUNDS)
            }
            false => self.rounds_until_drain == 0,
        };
        if due && let State::Competitive(cubic) = &self.state {
            let cubic = cubic.clone();
            self.enter_drain(now, rtt, Some(cubic));
        }
    }
}
