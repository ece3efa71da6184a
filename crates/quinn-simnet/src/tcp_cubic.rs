//! Sans-I/O: CUBIC as Linux runs it for TCP, for the flows that others are compared beside.
//!
//! quinn's own CUBIC leaves slow start at the first loss only. Linux's leaves it when round trips grow ([HyStart]), so it
//! enters a deep queue with fewer losses and a larger window, and takes more of the link from a flow beside it. The model
//! follows `net/ipv4/tcp_cubic.c`:
//!
//! - **HyStart** ends slow start when the round trips of a round are longer than the minimum by an eighth (at least 4 ms,
//!   at most 16 ms), or when the acknowledgements of a round arrive for half of the minimum round trip without a pause.
//! - **Growth** is that of [RFC 9438], at most half of the window a round trip, and at least a twentieth before the first
//!   loss.
//! - **A loss** leaves 717/1024 of the window, once a round trip, with fast convergence.
//!
//! As quinn's controller it keeps quinn's pacer, which a controller cannot turn off. Its bursts are shorter than TCP's.
//!
//! [HyStart]: https://www.rfc-editor.org/rfc/rfc9406
//! [RFC 9438]: https://www.rfc-editor.org/rfc/rfc9438

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// The initial window, in packets (RFC 6928).
const INITIAL_WINDOW: f64 = 10.0;
/// The minimum window, in packets.
const MIN_WINDOW: f64 = 2.0;
/// The part of the window that is kept after a loss.
const BETA: f64 = 717.0 / 1024.0;
/// The steepness of the growth, in packets per second cubed (RFC 9438, section 5).
const C: f64 = 0.4;
/// The growth of the Reno-friendly estimate, in packets a round trip (RFC 9438, section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// The growth a round trip before the first loss.
const FIRST_GROWTH: f64 = 0.05;
/// The window from which on HyStart looks for the end of slow start, in packets.
const HYSTART_MIN_WINDOW: f64 = 16.0;
/// The number of round trips in a round that HyStart compares.
const HYSTART_SAMPLES: u32 = 8;
/// The maximum time between two acknowledgements of one train.
const HYSTART_TRAIN_GAP: Duration = Duration::from_millis(2);
/// The minimum growth of the round trip that ends slow start.
const HYSTART_MIN_DELAY: Duration = Duration::from_millis(4);
/// The maximum growth of the round trip that ends slow start.
const HYSTART_MAX_DELAY: Duration = Duration::from_millis(16);

/// Builds a [`TcpCubic`] for each path of a connection.
///
/// ```
/// let mut transport = quinn::TransportConfig::default();
/// let cubic = quinn_simnet::TcpCubicConfig::default();
/// transport.congestion_controller_factory(std::sync::Arc::new(cubic));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TcpCubicConfig {}

impl ControllerFactory for TcpCubicConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(PacketCounter {
            mtu: f64::from(current_mtu),
            cubic: TcpCubic::new(now),
        })
    }
}

/// The growth since the last loss.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    start: Instant,
    /// The time from the start to the middle of the curve, in seconds.
    k: f64,
    /// The window in the middle of the curve.
    origin: f64,
    /// The window that Reno would have.
    reno: f64,
}

/// What HyStart has seen in one round of slow start.
#[derive(Debug, Clone, Copy)]
struct Round {
    start: Instant,
    /// The last acknowledgement of the train.
    last_ack: Instant,
    min_rtt: Duration,
    samples: u32,
}

impl Round {
    fn new(now: Instant) -> Self {
        Self {
            start: now,
            last_ack: now,
            min_rtt: Duration::MAX,
            samples: 0,
        }
    }
}

/// The window of a TCP flow, in packets.
#[derive(Debug, Clone)]
pub struct TcpCubic {
    window: f64,
    slow_start_threshold: f64,
    epoch: Option<Epoch>,
    /// The window before the last loss (`W_max`), 0 before the first one.
    last_max: f64,
    /// Losses of packets sent at or before this time have been responded to.
    recovery_start: Option<Instant>,
    min_rtt: Duration,
    round: Round,
}

impl TcpCubic {
    /// Returns a flow in slow start.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            window: INITIAL_WINDOW,
            slow_start_threshold: f64::INFINITY,
            epoch: None,
            last_max: 0.0,
            recovery_start: None,
            min_rtt: Duration::MAX,
            round: Round::new(now),
        }
    }

    /// Returns the window, in packets.
    #[must_use]
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Handles the acknowledgement of `packets` packets sent at `sent`, of which the window was full.
    pub fn on_ack(&mut self, now: Instant, sent: Instant, packets: f64) {
        let rtt = now.saturating_duration_since(sent);
        self.min_rtt = self.min_rtt.min(rtt);
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return;
        }
        if self.window < self.slow_start_threshold {
            self.look_for_the_end_of_slow_start(now, sent, rtt);
        }
        if self.window < self.slow_start_threshold {
            self.window += packets;
        } else {
            self.grow(now, packets);
        }
    }

    /// Handles the loss of a packet sent at `sent`. Responds once a round trip.
    pub fn on_loss(&mut self, now: Instant, sent: Instant) {
        if self.recovery_start.is_some_and(|start| sent <= start) {
            return;
        }
        self.recovery_start = Some(now);
        self.epoch = None;
        self.last_max = match self.window < self.last_max {
            true => self.window * (1.0 + BETA) / 2.0,
            false => self.window,
        };
        self.window = (self.window * BETA).max(MIN_WINDOW);
        self.slow_start_threshold = self.window;
    }

    fn look_for_the_end_of_slow_start(&mut self, now: Instant, sent: Instant, rtt: Duration) {
        if sent >= self.round.start {
            self.round = Round::new(now);
        }
        let round = &mut self.round;
        round.min_rtt = round.min_rtt.min(rtt);
        round.samples += 1;
        if self.window < HYSTART_MIN_WINDOW {
            return;
        }
        let in_train = now.saturating_duration_since(round.last_ack) <= HYSTART_TRAIN_GAP;
        if in_train {
            round.last_ack = now;
        }
        let train = now.saturating_duration_since(round.start);
        let growth = (self.min_rtt / 8).clamp(HYSTART_MIN_DELAY, HYSTART_MAX_DELAY);
        let late = round.samples >= HYSTART_SAMPLES && round.min_rtt > self.min_rtt + growth;
        if late || (in_train && train > self.min_rtt / 2) {
            self.slow_start_threshold = self.window;
        }
    }

    fn grow(&mut self, now: Instant, packets: f64) {
        let (window, last_max) = (self.window, self.last_max);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            start: now,
            k: ((last_max - window).max(0.0) / C).cbrt(),
            origin: last_max.max(window),
            reno: window,
        });
        let time = now.saturating_duration_since(epoch.start) + self.min_rtt;
        let curve = epoch.origin + C * (time.as_secs_f64() - epoch.k).powi(3);
        epoch.reno += ALPHA * packets / window;
        let mut target = curve.max(epoch.reno);
        if last_max == 0.0 {
            target = target.max((1.0 + FIRST_GROWTH) * window);
        }
        let growth = (target - window).clamp(0.01, window / 2.0);
        self.window += growth * packets / window;
    }
}

/// The flow as quinn's controller, which counts bytes.
#[derive(Debug, Clone)]
struct PacketCounter {
    mtu: f64,
    cubic: TcpCubic,
}

impl Controller for PacketCounter {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        if !app_limited {
            self.cubic.on_ack(now, sent, count(bytes) / self.mtu);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        _lost_bytes: u64,
    ) {
        self.cubic.on_loss(now, sent);
        if is_persistent_congestion {
            self.cubic.window = MIN_WINDOW;
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        let bytes = self.cubic.window * self.mtu;
        self.mtu = f64::from(new_mtu);
        self.cubic.window = (bytes / self.mtu).max(MIN_WINDOW);
    }

    fn window(&self) -> u64 {
        whole(self.cubic.window * self.mtu)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        whole(INITIAL_WINDOW * self.mtu)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "one acknowledgement is far below 2^52 bytes"
)]
fn count(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a window is positive, and far below 2^63 bytes"
)]
fn whole(bytes: f64) -> u64 {
    bytes as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test needs some instant")]

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// Acknowledges whole windows, each a round trip after it was sent.
    fn rounds(cubic: &mut TcpCubic, now: &mut Instant, rtt: Duration, rounds: u32) {
        for _ in 0..rounds {
            let sent = *now;
            *now += rtt;
            // One acknowledgement a round keeps the trains of HyStart apart.
            let window = cubic.window();
            cubic.on_ack(*now, sent, window);
        }
    }

    #[test]
    fn slow_start_doubles_and_ends_when_round_trips_grow() {
        let mut now = Instant::now();
        let mut cubic = TcpCubic::new(now);
        rounds(&mut cubic, &mut now, RTT, 4);
        assert!((cubic.window() - 160.0).abs() < 1e-6, "{}", cubic.window());
        let sent = now;
        now += RTT + Duration::from_millis(7);
        for _ in 0..20 {
            cubic.on_ack(now, sent, 8.0);
        }
        assert!(cubic.window() < 250.0, "{}", cubic.window());
    }

    #[test]
    fn a_loss_leaves_seven_tenths_and_the_window_is_back_after_k() {
        let mut now = Instant::now();
        let mut cubic = TcpCubic::new(now);
        rounds(&mut cubic, &mut now, RTT, 6);
        let before = cubic.window();
        cubic.on_loss(now, now);
        cubic.on_loss(now, now);
        assert!((cubic.window() / before - BETA).abs() < 1e-6);
        // K = cbrt(640 × 0.3 / 0.4) = 7.8 s.
        rounds(&mut cubic, &mut now, RTT, 156);
        assert!(
            (0.97..1.05).contains(&(cubic.window() / before)),
            "{}",
            cubic.window()
        );
    }
}
