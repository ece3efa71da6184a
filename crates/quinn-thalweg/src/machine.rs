//! Pure: the controller as a machine: what it is told, and which state answers.
//!
//! ```text
//!            a queue, or the rate stops                 the queue is longer than ours can be, or long not measured
//!  StartUp ──────────────────────────────▶ Cruise ──────────────────────────────────────────▶ Braking
//!     ▲                                     ▲  │                                                │  │
//!     │ persistent congestion               │  └─ the queue fell without us ─▶ Beside ◀─ theirs ─┘  │
//!     └─ from anywhere                      │                                    └─ now and then ─▶│
//!                                           └──────────── ours, or a longer path ──────────────────┘
//! ```
//!
//! Windows are counted in packets of the path's size. A round is the time from sending a packet to its acknowledgement.

mod beside;
mod braking;
mod cruise;
mod overrun;

use std::time::{Duration, Instant};

use self::{braking::Braking, overrun::Ceiling};
use super::{
    delay::Delay,
    deliveries::{Deliveries, Sample},
    losses::{Losses, Verdict},
    neighbour::Neighbour,
};

/// The first window (RFC 9002, 7.2).
const INITIAL: f64 = 10.0;
/// The least window. Two would do by RFC 9002, but quinn acknowledges every second packet at once and single ones late.
const LEAST: f64 = 4.0;
/// When the least round trip was not seen for so long, and for so many round trips, it is measured anew: BBRv3's five
/// seconds, and on long paths no more than a twentieth of the time.
const STALE: (Duration, u32) = (Duration::from_secs(5), 20);
/// When it was not seen for so long, it is forgotten for what is measured then (BBR's ten seconds).
const OLD: Duration = Duration::from_secs(10);
/// What is left of the window after a congestion mark: less is given up than for a loss, because queues that mark are
/// short (RFC 8511).
const MARKED: f64 = 0.8;
/// By which part of itself a window grows in a round that follows on one with room; and two and three times that after
/// two and three such rounds, nearly as fast as start-up: a window that is almost right is not doubled.
const GAIN: f64 = 0.3;
/// How much faster than a window a round trip quinn's pacer is.
const PACED: f64 = 1.25;
/// How much of a window must be in flight for a round to say something about it.
const USED: f64 = 0.75;

#[derive(Debug, Clone)]
enum State {
    StartUp,
    Cruise,
    Braking(Braking),
    Beside(Neighbour),
}

/// The controller.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    mtu: f64,
    window: f64,
    state: State,
    deliveries: Deliveries,
    delay: Delay,
    losses: Losses,
    ceiling: Option<Ceiling>,
    /// The greatest window that lost no more than the path does, and blocks since that lost more.
    carried: f64,
    excesses: u32,
    /// When the present round began, and the most that was in flight in it.
    round: Instant,
    used: f64,
    /// The round trip as quinn's pacer knows it.
    smoothed: Duration,
    /// The latest rate delivered, in packets a second, and the greatest of this round and of the two before.
    rate: f64,
    rates: [f64; 3],
    /// The longest queue that stood in this round.
    queued: Duration,
    /// Rounds in which it was shorter than it is meant to be, all the time.
    room: u32,
    /// Rounds in which it was longer than it can be.
    long: u32,
    /// The greatest rate of start-up, and rounds since it grew.
    best: f64,
    plateau: u32,
    /// How often more may be claimed beside a neighbour than is there.
    claims: u32,
    /// Rounds until a queue that is too long may be tried again by draining.
    patience: u32,
    /// A drained pipe has shown that there is a neighbour.
    proven: bool,
    /// The longest queue beside a neighbour.
    longest: Duration,
    /// The standing round trip, what was in flight, and the least round trip at the end of the last two rounds.
    past: [Option<(Duration, f64, Duration)>; 2],
    /// Congestion that was seen at packets sent before this is answered.
    answered: Option<Instant>,
    refreshed: Instant,
}

impl Machine {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: f64::from(mtu),
            window: INITIAL,
            state: State::StartUp,
            deliveries: Deliveries::new(now),
            delay: Delay::default(),
            losses: Losses::new(),
            ceiling: None,
            carried: 0.0,
            excesses: 0,
            round: now,
            used: 0.0,
            smoothed: Duration::ZERO,
            rate: 0.0,
            rates: [0.0; 3],
            queued: Duration::ZERO,
            room: 0,
            long: 0,
            best: 0.0,
            plateau: 0,
            patience: 0,
            claims: beside::CLAIMS,
            proven: false,
            longest: Duration::ZERO,
            past: [None; 2],
            answered: None,
            refreshed: now,
        }
    }

    pub(super) fn window(&self) -> f64 {
        self.window * self.mtu * self.behind()
    }

    /// How far quinn's pacer is behind: it goes by the smoothed round trip, which is still that of the queue when the
    /// queue has just been drained. For as long as that lasts it must be shown a greater window for the same rate, and
    /// it is the rate that holds what is in flight.
    fn behind(&self) -> f64 {
        let standing = self.delay.standing().map(|(rtt, _)| rtt);
        let rtt = match &self.state {
            State::Braking(braking) if braking.drained.is_some() => self.delay.least(),
            State::Cruise if self.patience > 0 => standing.or(self.delay.least()),
            _ => None,
        };
        let behind = |rtt: Duration| self.smoothed.as_secs_f64() / (PACED * rtt.as_secs_f64());
        rtt.map_or(1.0, |rtt| behind(rtt).max(1.0))
    }

    pub(super) fn initial_window(&self) -> f64 {
        INITIAL * self.mtu
    }

    /// The rate at which such a window is sent, in bytes a second; `None` before a round trip is known.
    pub(super) fn rate(&self) -> Option<f64> {
        Some(self.window * self.mtu / self.delay.latest()?.as_secs_f64())
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        let bytes = self.window * self.mtu;
        self.mtu = f64::from(mtu);
        self.window = (bytes / self.mtu).max(LEAST);
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.deliveries.in_flight() == 0 {
            self.on_idle(now.saturating_duration_since(self.deliveries.delivered_at()));
        }
        let rtt = self.delay.latest().unwrap_or_default();
        self.deliveries.on_sent(now, bytes, rtt);
        self.used = self.used.max(self.packets(self.deliveries.in_flight()));
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        smoothed: Duration,
    ) {
        self.smoothed = smoothed;
        let packets = self.packets(bytes);
        let wanted = !app_limited && self.packets(self.deliveries.in_flight()) >= self.window / 2.0;
        self.deliveries.on_ack(sent, bytes);
        self.losses.on_ack(sent, packets);
        let rtt = self.delay.latest().unwrap_or_default();
        let gain = GAIN * f64::from(self.room.min(3));
        let grown = self.below_ceiling(self.window + gain * packets);
        match &mut self.state {
            State::StartUp if wanted => self.window += packets,
            State::Cruise if wanted && self.room > 0 => self.window = grown,
            State::Beside(neighbour) if wanted => {
                neighbour.on_ack(now, packets, rtt);
                self.window = neighbour.window();
            }
            _ => {}
        }
    }

    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        let Some(sample) = self.deliveries.on_end_acks(now, in_flight, app_limited) else {
            return;
        };
        if let Some(rate) = sample.rate {
            self.rate = rate / self.mtu;
            self.rates[0] = self.rates[0].max(self.rate);
        }
        let drained = match &self.state {
            State::Braking(braking) => braking.drained,
            _ => None,
        };
        self.delay.on_sample(now, &sample, self.window);
        let sent = now - sample.rtt;
        if let State::Braking(_) = self.state {
            self.on_braking(now, sent, &sample, drained);
        } else {
            self.on_queue(now);
        }
        if sent >= self.round {
            self.on_round(now, &sample, app_limited);
        }
    }

    /// Losses, the newest of which was sent at `sent`; nothing got through for a long time where it is `persistent`.
    pub(super) fn on_lost(&mut self, now: Instant, sent: Instant, bytes: u64, persistent: bool) {
        self.deliveries.on_lost(bytes);
        let packets = self.packets(bytes);
        self.losses.on_lost(sent, packets, self.window);
        if persistent {
            self.on_persistent(now);
            return;
        }
        if let State::Beside(neighbour) = &mut self.state {
            let queue = self.delay.queue().unwrap_or_default();
            // Where the queue is short, it was not the queue that dropped them.
            if queue >= self.longest / 2 || self.losses.is_overrun() {
                neighbour.on_congestion(now, sent);
                self.window = neighbour.window();
            }
        } else if self.losses.is_overrun() {
            // In start-up the rate must also have stopped to follow the window.
            match self.state {
                State::StartUp if self.rate < 1.5 * self.best => self.on_overrun(now),
                State::Cruise => self.on_overrun(now),
                _ => {}
            }
        }
    }

    /// A router has marked a packet, before it had to drop one.
    pub(super) fn on_mark(&mut self, now: Instant, sent: Instant) {
        if self.answered.is_some_and(|answered| sent <= answered) {
            return;
        }
        self.answered = Some(now);
        match &mut self.state {
            State::Beside(neighbour) => {
                neighbour.on_congestion(now, sent);
                self.window = neighbour.window();
            }
            State::Braking(braking) => braking.window *= MARKED,
            State::StartUp | State::Cruise => {
                self.limit(self.used.min(self.window) * MARKED);
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

    fn on_round(&mut self, now: Instant, sample: &Sample, app_limited: bool) {
        self.round = now;
        let in_flight = self.packets(self.deliveries.in_flight());
        let used = std::mem::replace(&mut self.used, in_flight);
        let greedy = !app_limited && used >= USED * self.window;
        let queued = std::mem::take(&mut self.queued);
        self.patience = self.patience.saturating_sub(1);
        let greatest = self.rates.into_iter().fold(0.0, f64::max);
        self.rates = [0.0, self.rates[0], self.rates[1]];
        let light = used < 0.9 * greatest * self.delay.least().unwrap_or_default().as_secs_f64()
            || matches!(&self.state, State::Braking(braking) if braking.drained.is_some_and(|d| d < now - sample.rtt));
        let start_up = matches!(self.state, State::StartUp);
        if let Some((verdict, share)) = self.losses.on_round(light, start_up) {
            let cruising = greedy && matches!(self.state, State::Cruise);
            if cruising && self.on_block(now, used, verdict) {
                return;
            }
            if verdict != Verdict::Ambient && !start_up {
                self.losses.on_refuted(share);
            }
        }
        if greedy && let Some(ceiling) = &mut self.ceiling {
            ceiling.rest = ceiling.rest.saturating_sub(1);
        }
        if greedy && matches!(self.state, State::Cruise) && self.has_neighbour_yielded(now) {
            return;
        }
        match &self.state {
            State::StartUp => self.on_start_up_round(now, sample, app_limited),
            State::Cruise if greedy => self.on_cruise_round(now, queued),
            State::Cruise => {
                self.room = 0;
                self.long = 0;
            }
            State::Beside(_) => self.on_beside_round(now),
            State::Braking(_) => {}
        }
    }

    /// Nothing was in flight for so long. The window that was right then may be too much for what the path is now.
    fn on_idle(&mut self, time: Duration) {
        let periods = time.as_secs_f64() / STALE.0.as_secs_f64();
        if periods >= 1.0 && self.window > INITIAL {
            self.window = (self.window * 0.5_f64.powf(periods.min(64.0))).max(INITIAL);
            if !matches!(self.state, State::StartUp) {
                self.state = State::Cruise;
            }
            self.delay.forget();
        }
    }

    fn on_persistent(&mut self, now: Instant) {
        self.window = LEAST;
        self.state = State::StartUp;
        self.delay.forget();
        self.losses = Losses::new();
        self.losses.forgive(now);
        self.ceiling = None;
        self.best = 0.0;
        self.plateau = 0;
        self.rate = 0.0;
        self.rates = [0.0; 3];
        self.room = 0;
        self.long = 0;
    }
}

#[cfg(test)]
mod tests;
