//! Sans-I/O: start-up and cruise: finds the window on a path that no competitor fills.
//!
//! The packets in flight, times minimum over standing RTT, are what the path holds without a queue: an estimate of the
//! bandwidth-delay product (BDP). The window is the BDP and a target queue of a few packets, by the square root of the
//! BDP. This is the law of FAST TCP. It does not depend on losses, flows that follow it converge to equal shares, and
//! its target queue tells a full path from one that is not full. While the queue is below its target, the window grows,
//! faster with each such round.

use std::time::{Duration, Instant};

use super::{MIN_RTT_EXPIRY, MIN_RTT_REFRESH, MIN_RTT_REFRESH_ROUNDS, MIN_WINDOW};
use super::{RateSample, State, StateMachine};

/// The target queue in packets, as a multiple of the square root of the BDP. It must hold two bursts of quinn's pacer
/// (17 packets each at 100 Mbit/s), or the link idles between them. It grows less than the BDP, so that a flow with a
/// smaller window gains on the others.
const TARGET_QUEUE: f64 = 1.5;
/// The minimum target queue, in packets.
const MIN_TARGET_QUEUE: f64 = 2.0;
/// The minimum target queue, as a delay: timer granularity, wake-ups and bursts alone cause as much.
const MIN_TARGET_DELAY: Duration = Duration::from_micros(400);
/// The part of its former window below which a flow tests whether another one has taken its place.
const DISPLACED: f64 = 0.75;
/// Rounds after a change of state in which the queue is not tested: it still is what the old state left.
pub(super) const SETTLE_ROUNDS: u32 = 3;
/// The growth of the rate in a round of start-up that shows that the path is not full (BBR).
const STARTUP_GROWTH: f64 = 1.25;
/// Rounds without that growth that end start-up (BBR).
const STARTUP_PLATEAU_ROUNDS: u32 = 3;
/// The ambient loss rate above which the path is drained from time to time, to measure that rate again.
const LOSSY_PATH: f64 = 0.01;

impl StateMachine {
    /// Evaluates the standing queue after a sample.
    pub(super) fn on_queue_sample(&mut self, now: Instant) {
        let (Some((rtt, in_flight)), Some(queue), Some(min_rtt)) = (
            self.delay.standing(),
            self.delay.queue_delay(),
            self.delay.min_rtt(),
        ) else {
            return;
        };
        let bdp = self.bdp(rtt, in_flight);
        let target = self.target_queue_delay(bdp);
        self.max_queue_delay = self.max_queue_delay.max(queue);
        match self.state {
            State::Startup if queue > (min_rtt / 16).max(target) => {
                self.enter_cruise(now, bdp);
            }
            State::Cruise if self.rounds_below_target > 0 && queue > target => {
                self.rounds_below_target = 0;
                self.window = (bdp + self.target_queue(bdp)).min(self.window);
                self.losses.discard_sent_before(now);
                self.delay.reset_standing();
            }
            State::Cruise
                if self.rounds_until_drain == 0
                    && queue > target * 2 + min_rtt / 2
                    && self.max_in_flight >= 0.7 * self.window =>
            {
                self.enter_drain(now, rtt, None);
            }
            State::Competitive(_) => {
                self.max_competitive_queue = self.max_competitive_queue.max(queue);
            }
            _ => {}
        }
    }

    pub(super) fn enter_cruise(&mut self, now: Instant, bdp: f64) {
        self.state = State::Cruise;
        // The new window is the response to the losses among packets sent until now.
        self.losses.discard_sent_before(now);
        self.window = bdp + self.target_queue(bdp);
        self.window = self.window.max(MIN_WINDOW);
        self.max_cruise_window = self.window;
        self.rounds_below_target = 0;
        self.rounds_above_target = 0;
        self.rounds_until_drain = SETTLE_ROUNDS;
        self.past_rounds = [None; 2];
        self.delay.reset_standing();
    }

    /// Ends start-up when the rate has stopped growing without a queue.
    pub(super) fn on_startup_round(
        &mut self,
        now: Instant,
        sample: &RateSample,
        app_limited: bool,
    ) {
        if self.rate > STARTUP_GROWTH * self.max_startup_rate {
            self.max_startup_rate = self.rate;
            self.plateau_rounds = 0;
        } else if !app_limited && !sample.app_limited {
            self.plateau_rounds += 1;
            if self.plateau_rounds >= STARTUP_PLATEAU_ROUNDS {
                let min_rtt = self.delay.min_rtt().unwrap_or_default().as_secs_f64();
                let bdp = self.rate * min_rtt / (1.0 - self.losses.ambient());
                self.enter_cruise(now, bdp);
            }
        }
    }

    pub(super) fn on_cruise_round(&mut self, now: Instant, max_queue_delay: Duration) {
        let (Some((rtt, in_flight)), Some(queue), Some(min_rtt)) = (
            self.delay.standing(),
            self.delay.queue_delay(),
            self.delay.min_rtt(),
        ) else {
            return;
        };
        let bdp = self.bdp(rtt, in_flight);
        let target = self.target_queue_delay(bdp);
        if queue > target * 2 + min_rtt / 8 {
            self.rounds_above_target += 1;
        } else {
            self.rounds_above_target = 0;
        }
        self.max_cruise_window = self.max_cruise_window.max(self.window);
        // This flow made room, and the queue is still there: another flow may have taken the room.
        let displaced = self.window < DISPLACED * self.max_cruise_window && queue > target / 2;
        if (self.rounds_above_target >= 2 || displaced) && self.rounds_until_drain == 0 {
            self.enter_drain(now, rtt, None);
            return;
        }
        let since_drain = now.saturating_duration_since(self.last_drain);
        let up_to_date = self.delay.min_rtt_age(now)
            < MIN_RTT_REFRESH.max(min_rtt * MIN_RTT_REFRESH_ROUNDS)
            && (self.losses.ambient() < LOSSY_PATH || since_drain < MIN_RTT_EXPIRY);
        if !up_to_date && since_drain > MIN_RTT_REFRESH {
            self.enter_drain(now, rtt, None);
            return;
        }
        // A burst leaves another part of the path empty. Only the maximum over the round shows whether the path is full.
        self.rounds_below_target = match max_queue_delay < target / 2 {
            true => self.rounds_below_target + 1,
            false => 0,
        };
        if queue >= target && self.ceiling.is_some_and(|ceiling| ceiling.rounds_left == 0) {
            // The queue shows the limit of the path, so the ceiling is no longer needed.
            self.ceiling = None;
        }
        if self.rounds_below_target == 0 {
            let target = bdp + self.target_queue(bdp);
            let window = self.window + (target - self.window) / 2.0;
            self.window = self.clamp_to_ceiling(window).max(MIN_WINDOW);
        }
    }

    /// Returns the bandwidth-delay product in packets, by a round trip time and the bytes in flight at that time.
    pub(super) fn bdp(&self, rtt: Duration, in_flight: u64) -> f64 {
        let min_rtt = self.delay.min_rtt().unwrap_or(rtt);
        self.packets(in_flight) * min_rtt.as_secs_f64() / rtt.as_secs_f64()
    }

    /// Returns the target queue in packets.
    pub(super) fn target_queue(&self, bdp: f64) -> f64 {
        let min_rtt = self.delay.min_rtt().unwrap_or_default().as_secs_f64();
        let rate = bdp / min_rtt.max(1e-6);
        (TARGET_QUEUE * bdp.sqrt())
            .max(MIN_TARGET_QUEUE)
            .max(rate * MIN_TARGET_DELAY.as_secs_f64())
    }

    /// Returns the target queue as a delay.
    pub(super) fn target_queue_delay(&self, bdp: f64) -> Duration {
        let min_rtt = self.delay.min_rtt().unwrap_or_default();
        min_rtt.mul_f64((self.target_queue(bdp) / bdp.max(0.01)).min(100.0))
    }
}
