//! Sans-I/O: the state machine of the controller: which events it receives, and which state handles them.
//!
//! ```text
//!            a queue forms, or the rate          the queue is longer than ours should be,
//!            stops following the window          or the minimum RTT is out of date
//!  Startup ─────────────────────────▶ Cruise ─────────────────────────────────────▶ Drain
//!     ▲                                ▲  │                                          │  ▲ │
//!     │ persistent congestion          │  └─ the queue fell, not by ─▶ Competitive ◀─┼──┼─┘ the queue is shared
//!     └─ from every state              │     our doing                      └────────┼──┘    every few seconds
//!                                      └─────────── the queue was ours ──────────────┘
//! ```
//!
//! Windows are counted in packets of the path's MTU. A round lasts from sending a packet to its acknowledgement.

mod competitive;
mod cruise;
mod drain;
mod loss_ceiling;

use std::time::{Duration, Instant};

use self::{drain::DrainTest, loss_ceiling::LossCeiling};
use super::{
    cubic_model::CubicModel,
    delay::DelayEstimator,
    loss_rate::{LossEstimator, LossLevel},
    rate_sample::{RateSample, RateSampler},
};

/// The initial window (RFC 9002, section 7.2).
const INITIAL_WINDOW: f64 = 10.0;
/// The minimum window. RFC 9002 allows two packets, but quinn acknowledges every second packet at once and a single one
/// only after the acknowledgement delay.
const MIN_WINDOW: f64 = 4.0;
/// The age at which the minimum RTT is measured again: five seconds, as in BBRv3.
const MIN_RTT_REFRESH: Duration = Duration::from_secs(5);
/// The same age in round trips. On long paths it is the greater of the two, so that measuring takes no more than a
/// twentieth of the time.
const MIN_RTT_REFRESH_ROUNDS: u32 = 20;
/// How often a share of the link may be claimed from competing flows until the queue is ours again.
const MAX_CLAIMS: u32 = 3;
/// The age at which the minimum RTT is discarded, and the next measurement replaces it (ten seconds, as in BBR).
const MIN_RTT_EXPIRY: Duration = Duration::from_secs(10);
/// The part of the window that is kept after an ECN mark: more than after a loss, because queues that mark are short
/// (RFC 8511).
const ECN_BETA: f64 = 0.8;
/// The growth of the window in a round that follows one round below the target queue. It doubles and triples after two
/// and three such rounds, which is nearly as fast as slow start; a window that is almost right is not doubled.
const GROWTH_PER_ROUND: f64 = 0.3;
/// quinn's pacing rate, in windows a round trip.
const PACING_GAIN: f64 = 1.25;
/// The part of the window that must be in flight for a round to say something about that window.
const MIN_USED: f64 = 0.75;

#[derive(Debug, Clone)]
enum State {
    Startup,
    Cruise,
    Drain(DrainTest),
    Competitive(CubicModel),
}

/// The measurements at the end of one round in [`State::Cruise`].
#[derive(Debug, Clone, Copy)]
struct RoundSummary {
    standing_rtt: Duration,
    /// Packets in flight at that round trip.
    in_flight: f64,
    min_rtt: Duration,
}

/// The controller, in packets.
#[derive(Debug, Clone)]
pub(super) struct StateMachine {
    mtu: f64,
    window: f64,
    state: State,
    sampler: RateSampler,
    delay: DelayEstimator,
    losses: LossEstimator,
    ceiling: Option<LossCeiling>,
    /// The greatest window that lost no more than the ambient rate.
    max_clean_window: f64,
    /// Blocks of rounds in a row that lost more than the ambient rate.
    excess_blocks: u32,
    round_start: Instant,
    /// The maximum number of packets in flight in this round.
    max_in_flight: f64,
    /// The smoothed RTT, by which quinn's pacer computes its rate.
    smoothed_rtt: Duration,
    /// The latest delivery rate, in packets a second.
    rate: f64,
    /// The maximum delivery rates of this round and of the two rounds before.
    max_rates: [f64; 3],
    /// The maximum standing queue of this round.
    max_queue_delay: Duration,
    /// Rounds in a row in which the queue was always shorter than its target.
    rounds_below_target: u32,
    /// Rounds in a row in which the queue was longer than this flow makes it.
    rounds_above_target: u32,
    /// The maximum delivery rate seen in start-up.
    max_startup_rate: f64,
    /// Rounds of start-up since that rate last grew.
    plateau_rounds: u32,
    /// How often a share of the link may still be claimed at once against a competitor.
    claims_left: u32,
    /// The maximum window since the last drain test or ceiling.
    max_cruise_window: f64,
    /// Rounds until a queue that is too long may be tested by draining it.
    rounds_until_drain: u32,
    /// Whether a drain test has confirmed that another flow fills the queue.
    competitor_confirmed: bool,
    /// The maximum queue seen in [`State::Competitive`].
    max_competitive_queue: Duration,
    /// The last two rounds, the newest first.
    past_rounds: [Option<RoundSummary>; 2],
    /// Congestion of packets sent at or before this time has been responded to (RFC 9002, section 7.3.2).
    recovery_start: Option<Instant>,
    last_drain: Instant,
}

impl StateMachine {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: f64::from(mtu),
            window: INITIAL_WINDOW,
            state: State::Startup,
            sampler: RateSampler::new(now),
            delay: DelayEstimator::default(),
            losses: LossEstimator::new(),
            ceiling: None,
            max_clean_window: 0.0,
            excess_blocks: 0,
            round_start: now,
            max_in_flight: 0.0,
            smoothed_rtt: Duration::ZERO,
            rate: 0.0,
            max_rates: [0.0; 3],
            max_queue_delay: Duration::ZERO,
            rounds_below_target: 0,
            rounds_above_target: 0,
            max_startup_rate: 0.0,
            plateau_rounds: 0,
            claims_left: MAX_CLAIMS,
            max_cruise_window: 0.0,
            rounds_until_drain: 0,
            competitor_confirmed: false,
            max_competitive_queue: Duration::ZERO,
            past_rounds: [None; 2],
            recovery_start: None,
            last_drain: now,
        }
    }

    /// Returns the window for quinn, in bytes.
    pub(super) fn window(&self) -> f64 {
        self.window * self.mtu * self.pacer_lag()
    }

    /// Returns the factor by which quinn's pacer is too slow, at least 1.
    ///
    /// The pacer divides the window by the smoothed RTT. Just after a queue has drained, the smoothed RTT still contains
    /// that queue. Until it has caught up, quinn is given a window that is greater by this factor, so that the rate is
    /// right; the rate then limits what is in flight.
    fn pacer_lag(&self) -> f64 {
        let standing = self.delay.standing().map(|(rtt, _)| rtt);
        let rtt = match &self.state {
            State::Drain(test) if test.drained.is_some() => self.delay.min_rtt(),
            State::Cruise if self.rounds_until_drain > 0 => standing.or(self.delay.min_rtt()),
            _ => None,
        };
        let lag =
            |rtt: Duration| self.smoothed_rtt.as_secs_f64() / (PACING_GAIN * rtt.as_secs_f64());
        rtt.map_or(1.0, |rtt| lag(rtt).max(1.0))
    }

    /// Returns the initial window, in bytes.
    pub(super) fn initial_window(&self) -> f64 {
        INITIAL_WINDOW * self.mtu
    }

    /// Returns the rate that the window amounts to, in bytes a second; `None` before the first RTT sample.
    pub(super) fn rate(&self) -> Option<f64> {
        Some(self.window * self.mtu / self.delay.latest_rtt()?.as_secs_f64())
    }

    pub(super) fn on_mtu_update(&mut self, mtu: u16) {
        let bytes = self.window * self.mtu;
        self.mtu = f64::from(mtu);
        self.window = (bytes / self.mtu).max(MIN_WINDOW);
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.sampler.in_flight() == 0 {
            self.on_idle(now.saturating_duration_since(self.sampler.delivered_at()));
        }
        let rtt = self.delay.latest_rtt().unwrap_or_default();
        self.sampler.on_sent(now, bytes, rtt);
        self.max_in_flight = self
            .max_in_flight
            .max(self.packets(self.sampler.in_flight()));
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        smoothed_rtt: Duration,
    ) {
        self.smoothed_rtt = smoothed_rtt;
        let packets = self.packets(bytes);
        let window_used =
            !app_limited && self.packets(self.sampler.in_flight()) >= self.window / 2.0;
        self.sampler.on_ack(sent, bytes);
        self.losses.on_ack(sent, packets);
        let rtt = self.delay.latest_rtt().unwrap_or_default();
        let gain = GROWTH_PER_ROUND * f64::from(self.rounds_below_target.min(3));
        let grown = self.clamp_to_ceiling(self.window + gain * packets);
        match &mut self.state {
            State::Startup if window_used => self.window += packets,
            State::Cruise if window_used && self.rounds_below_target > 0 => self.window = grown,
            State::Competitive(cubic) if window_used => {
                cubic.on_ack(now, packets, rtt);
                self.window = cubic.window();
            }
            _ => {}
        }
    }

    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        let Some(sample) = self.sampler.on_end_acks(now, in_flight, app_limited) else {
            return;
        };
        if let Some(rate) = sample.rate {
            self.rate = rate / self.mtu;
            self.max_rates[0] = self.max_rates[0].max(self.rate);
        }
        let drained = match &self.state {
            State::Drain(test) => test.drained,
            _ => None,
        };
        self.delay.on_sample(now, &sample, self.window);
        let sent = now - sample.rtt;
        if let State::Drain(_) = self.state {
            self.on_drain_sample(now, sent, &sample, drained);
        } else {
            self.on_queue_sample(now);
        }
        if sent >= self.round_start {
            self.on_round(now, &sample, app_limited);
        }
    }

    /// Handles losses, of which the newest packet was sent at `sent`. `persistent` is persistent congestion
    /// (RFC 9002, section 7.6).
    pub(super) fn on_lost(&mut self, now: Instant, sent: Instant, bytes: u64, persistent: bool) {
        self.sampler.on_lost(bytes);
        let packets = self.packets(bytes);
        self.losses.on_lost(sent, packets, self.window);
        if persistent {
            self.on_persistent_congestion(now);
            return;
        }
        if let State::Competitive(cubic) = &mut self.state {
            let queue = self.delay.queue_delay().unwrap_or_default();
            // With a short queue, the loss was no overflow of the queue.
            if queue >= self.max_competitive_queue / 2 || self.losses.is_heavy() {
                cubic.on_congestion(now, sent);
                self.window = cubic.window();
                self.test_after_loss(now);
            }
        } else if self.losses.is_heavy() {
            match self.state {
                // In start-up, the rate must also have stopped following the window.
                State::Startup if self.rate < 1.5 * self.max_startup_rate => {
                    self.on_excess_loss(now);
                }
                State::Cruise => self.on_excess_loss(now),
                _ => {}
            }
        }
    }

    /// Handles an ECN mark on a packet sent at `sent`. Responds once a round trip.
    pub(super) fn on_ecn_mark(&mut self, now: Instant, sent: Instant) {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return;
        }
        self.recovery_start = Some(now);
        match &mut self.state {
            State::Competitive(cubic) => {
                cubic.on_congestion(now, sent);
                self.window = cubic.window();
            }
            State::Drain(test) => test.window *= ECN_BETA,
            State::Startup | State::Cruise => {
                self.set_ceiling(self.max_in_flight.min(self.window) * ECN_BETA);
                self.state = State::Cruise;
            }
        }
    }

    fn packets(&self, bytes: u64) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "windows need no more than 52 bits"
        )]
        let bytes = bytes as f64;
        bytes / self.mtu
    }

    fn on_round(&mut self, now: Instant, sample: &RateSample, app_limited: bool) {
        self.round_start = now;
        let in_flight = self.packets(self.sampler.in_flight());
        let max_in_flight = std::mem::replace(&mut self.max_in_flight, in_flight);
        let cwnd_limited = !app_limited && max_in_flight >= MIN_USED * self.window;
        let max_queue_delay = std::mem::take(&mut self.max_queue_delay);
        self.rounds_until_drain = self.rounds_until_drain.saturating_sub(1);
        let max_rate = self.max_rates.into_iter().fold(0.0, f64::max);
        self.max_rates = [0.0, self.max_rates[0], self.max_rates[1]];
        let min_rtt = self.delay.min_rtt().unwrap_or_default().as_secs_f64();
        let pipe_not_full = max_in_flight < 0.9 * max_rate * min_rtt
            || matches!(&self.state, State::Drain(test)
                if test.drained.is_some_and(|drained| drained < now - sample.rtt));
        let startup = matches!(self.state, State::Startup);
        if let Some((level, loss_rate)) = self.losses.on_round(pipe_not_full, startup) {
            let cruising = cwnd_limited && matches!(self.state, State::Cruise);
            if cruising && self.on_loss_block(now, max_in_flight, level) {
                return;
            }
            // An excess that was not taken for congestion is the path's own.
            if level != LossLevel::Ambient && !startup {
                self.losses.accept_as_ambient(loss_rate);
            }
        }
        if cwnd_limited && let Some(ceiling) = &mut self.ceiling {
            ceiling.rounds_left = ceiling.rounds_left.saturating_sub(1);
        }
        if cwnd_limited
            && matches!(self.state, State::Cruise)
            && self.enter_competitive_if_queue_fell(now)
        {
            return;
        }
        match &self.state {
            State::Startup => self.on_startup_round(now, sample, app_limited),
            State::Cruise if cwnd_limited => self.on_cruise_round(now, max_queue_delay),
            State::Cruise => {
                self.rounds_below_target = 0;
                self.rounds_above_target = 0;
            }
            State::Competitive(_) => self.on_competitive_round(now),
            State::Drain(_) => {}
        }
    }

    /// Handles a time in which nothing was in flight. The window is halved for each [`MIN_RTT_REFRESH`] of it, because
    /// the path may have changed since.
    fn on_idle(&mut self, time: Duration) {
        let periods = time.as_secs_f64() / MIN_RTT_REFRESH.as_secs_f64();
        if periods >= 1.0 && self.window > INITIAL_WINDOW {
            self.window = (self.window * 0.5_f64.powf(periods.min(64.0))).max(INITIAL_WINDOW);
            if !matches!(self.state, State::Startup) {
                self.state = State::Cruise;
            }
            self.delay.reset();
        }
    }

    fn on_persistent_congestion(&mut self, now: Instant) {
        self.window = MIN_WINDOW;
        self.state = State::Startup;
        self.delay.reset();
        self.losses = LossEstimator::new();
        self.losses.discard_sent_before(now);
        self.ceiling = None;
        self.max_startup_rate = 0.0;
        self.plateau_rounds = 0;
        self.rate = 0.0;
        self.max_rates = [0.0; 3];
        self.rounds_below_target = 0;
        self.rounds_above_target = 0;
    }
}

#[cfg(test)]
mod tests;
