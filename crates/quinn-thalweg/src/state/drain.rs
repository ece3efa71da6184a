//! Sans-I/O: the drain test: reduces what is in flight for a round or two, to see which part of the queue is ours.
//!
//! The flow keeps sending, at about nine tenths of its rate, and in a second step at half of it. Nothing stalls, as it
//! would with four packets in flight for 200 ms (BBR's ProbeRTT).
//!
//! | the queue that remains | whose queue it was | the response |
//! |---|---|---|
//! | about none | ours | the window becomes the BDP |
//! | some, and it stays with half as much in flight | ours, or the path became longer | the RTT that remains is the new minimum |
//! | some, and it shrinks with half as much in flight | shared with a flow that fills it | [competitive mode](super::competitive) |
//!
//! The second step does not need a correct minimum RTT. On an idle path, less than the BDP in flight does not shorten the
//! round trip. Beside a competitor, whose packets are queued instead of ours, it does, even if part of that competitor's
//! queue was measured as the minimum RTT.

use std::time::{Duration, Instant};

use super::{CubicModel, MAX_CLAIMS, MIN_RTT_EXPIRY, MIN_WINDOW, RateSample, State, StateMachine};

/// The first target, as a part of the BDP: low enough to drain the queue within a round or two, high enough that hardly
/// any throughput is lost.
const DRAIN: f64 = 0.85;
/// The second target, as a part of the first.
const SECOND_DRAIN: f64 = 0.5;
/// The part of the minimum RTT that may remain as a queue after the first step: other flows of this kind keep as much.
const REST_OF_RTT: u32 = 8;
/// The part of the queue that may remain after the first step.
const REST_OF_QUEUE: u32 = 5;
/// The part by which the second step shortens the RTT where the queue is shared. A flow with a twelfth of the link
/// shortens it by this much.
const SHARED_FALL: u32 = 32;
/// A remaining queue that is ignored, because timer granularity and bursts cause as much.
const NOISE: Duration = Duration::from_micros(400);
/// A delivery rate below this part of the former one shows that the link has become slower.
const SLOWER: f64 = 0.8;

/// A drain test that is under way.
#[derive(Debug, Clone)]
pub(super) struct DrainTest {
    /// The window before the test.
    pub(super) window: f64,
    /// The standing RTT before the test.
    pub(super) rtt: Duration,
    /// The packets in flight to be reached.
    pub(super) target: f64,
    /// When the target was reached; `None` before that.
    pub(super) drained: Option<Instant>,
    /// The minimum RTT of packets sent since then.
    min_rtt: Option<Duration>,
    /// The minimum RTT that the first step measured; `None` during the first step.
    first_step_rtt: Option<Duration>,
    /// The rate of the link, in packets a second.
    rate: f64,
    /// Whether the draining queue has shown that the link is slower than before.
    slower: bool,
    /// The state to return to if the queue is shared; `None` when the test began in cruise.
    cubic: Option<CubicModel>,
}

impl StateMachine {
    pub(super) fn enter_drain(&mut self, now: Instant, rtt: Duration, cubic: Option<CubicModel>) {
        let min_rtt = self.delay.min_rtt().unwrap_or_default().as_secs_f64();
        let rate = self.rate / (1.0 - self.losses.ambient());
        let target = (DRAIN * (rate * min_rtt).min(self.window)).max(MIN_WINDOW);
        self.state = State::Drain(DrainTest {
            window: self.window,
            rtt,
            target,
            drained: None,
            min_rtt: None,
            first_step_rtt: None,
            rate,
            slower: false,
            cubic,
        });
        self.window = target;
        self.last_drain = now;
        self.rounds_below_target = 0;
        self.rounds_above_target = 0;
    }

    /// Handles a sample of a packet sent at `sent`. `drained` is when the target was reached, before this sample.
    pub(super) fn on_drain_sample(
        &mut self,
        now: Instant,
        sent: Instant,
        sample: &RateSample,
        drained: Option<Instant>,
    ) {
        let min_rtt = self.delay.min_rtt().unwrap_or_default();
        let in_flight = self.packets(self.sampler.in_flight());
        let rate = self.rate / (1.0 - self.losses.ambient());
        let State::Drain(test) = &mut self.state else {
            return;
        };
        let Some(drained) = drained else {
            // While there is a queue, the delivery rate is the rate of the link.
            let slower = rate < SLOWER * test.window / test.rtt.as_secs_f64();
            let fill = if slower { 1.0 } else { DRAIN };
            let target = (fill * rate * min_rtt.as_secs_f64()).max(MIN_WINDOW);
            if test.first_step_rtt.is_none()
                && sample.rtt > min_rtt + min_rtt / 8
                && target < test.target
            {
                test.rate = rate;
                test.slower = slower;
                test.target = target;
                self.window = target;
            }
            if in_flight <= test.target + 1.0 {
                test.drained = Some(now);
            }
            return;
        };
        if sent < drained {
            return;
        }
        let rtt = test
            .min_rtt
            .map_or(sample.rtt, |known| known.min(sample.rtt));
        test.min_rtt = Some(rtt);
        if sent < drained + min_rtt / 4 {
            return;
        }
        let rest = rtt.saturating_sub(min_rtt);
        let before = test.rtt.saturating_sub(min_rtt);
        let tolerated = (min_rtt / REST_OF_RTT)
            .max(before / REST_OF_QUEUE)
            .max(NOISE);
        let test = test.clone();
        match test.first_step_rtt {
            None if rest <= tolerated => {
                self.on_queue_ours(now, rtt, &test);
            }
            None => {
                let target = (SECOND_DRAIN * test.target).max(MIN_WINDOW);
                self.window = target;
                self.state = State::Drain(DrainTest {
                    target,
                    drained: None,
                    min_rtt: None,
                    first_step_rtt: Some(rtt),
                    ..test
                });
            }
            Some(first) if rtt + first / SHARED_FALL < first => {
                self.on_queue_shared(now, rtt, test);
            }
            Some(_) => {
                self.delay.set_min_rtt(now, rtt);
                self.on_queue_ours(now, rtt, &test);
            }
        }
    }

    /// Returns to cruise: the queue was ours, or there was none.
    fn on_queue_ours(&mut self, now: Instant, rtt: Duration, test: &DrainTest) {
        self.losses.discard_sent_before(now);
        self.claims_left = MAX_CLAIMS;
        if self.delay.min_rtt_age(now) > MIN_RTT_EXPIRY {
            self.delay.set_min_rtt(now, rtt);
        }
        let min_rtt = self.delay.min_rtt().unwrap_or(rtt).as_secs_f64();
        let bdp_by_rate = test.rate * min_rtt;
        let bdp_by_window = test.window * min_rtt / test.rtt.as_secs_f64().max(min_rtt);
        // The former window is too much for a link that has become slower.
        let bdp = match test.slower {
            true => bdp_by_rate,
            false => bdp_by_rate.max(bdp_by_window),
        };
        self.enter_cruise(now, bdp.min(test.window));
    }

    /// Enters competitive mode: another flow fills the queue.
    fn on_queue_shared(&mut self, now: Instant, rtt: Duration, test: DrainTest) {
        self.losses.discard_sent_before(now);
        self.max_competitive_queue = test.rtt.saturating_sub(self.delay.min_rtt().unwrap_or(rtt));
        let window = self.claimed_window(&test, rtt);
        let cubic = match test.cubic {
            Some(cubic) if window <= cubic.window() => cubic,
            _ => CubicModel::new(now, window),
        };
        self.window = cubic.window();
        self.state = State::Competitive(cubic);
        self.competitor_confirmed = true;
        self.delay.reset_standing();
    }
}
