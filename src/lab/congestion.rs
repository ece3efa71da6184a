//! Pure: a congestion controller that follows the delivered rate and is deaf to losses.
//!
//! It exists to show what lanes are worth where the controller is not the limit: quinn's CUBIC takes every loss for
//! congestion, and its BBR is an experiment with stalls of its own. This one keeps `1.5 × rate × delay` in flight,
//! where `rate` is the greatest rate of delivery of the last ten rounds and `delay` the least round trip; until the
//! rate has stopped to grow it takes three times that. It has no manners toward other connections on the same
//! bottleneck, and is no controller for a real network.

use std::{
    any::Any,
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// Rounds whose rates are remembered.
const ROUNDS: usize = 10;
/// The window in bandwidth-delay products, once the rate is known.
const CRUISE: f64 = 1.5;
/// And before.
const START: f64 = 3.0;
/// Rounds without growth after which the rate is known.
const STEADY: u32 = 3;
/// Growth below this is none.
const GROWTH: f64 = 1.2;
/// The first window, and the least, in packets.
const PACKETS: u64 = 10;

/// Makes such controllers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DeafConfig;

impl ControllerFactory for DeafConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Deaf {
            mtu: current_mtu.into(),
            rates: VecDeque::new(),
            min_rtt: None,
            round: Round {
                since: now,
                bytes: 0,
            },
            best: 0.0,
            steady: 0,
        })
    }
}

#[derive(Debug, Clone)]
struct Deaf {
    mtu: u64,
    /// Bytes a second of the last rounds.
    rates: VecDeque<f64>,
    min_rtt: Option<Duration>,
    round: Round,
    /// The greatest rate of the start, and the rounds since it grew.
    best: f64,
    steady: u32,
}

#[derive(Debug, Clone)]
struct Round {
    since: Instant,
    bytes: u64,
}

impl Deaf {
    fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    fn on_round(&mut self, rate: f64, app_limited: bool) {
        // What the application did not bring says nothing about the path, unless it is more than was known.
        if !app_limited || rate > self.rate() {
            if self.rates.len() == ROUNDS {
                self.rates.pop_front();
            }
            self.rates.push_back(rate);
        }
        if rate > self.best * GROWTH {
            self.best = rate;
            self.steady = 0;
        } else if !app_limited {
            self.steady += 1;
        }
    }
}

impl Controller for Deaf {
    fn on_ack(&mut self, _: Instant, _: Instant, bytes: u64, _: bool, rtt: &RttEstimator) {
        self.min_rtt = Some(rtt.min());
        self.round.bytes += bytes;
    }

    fn on_end_acks(&mut self, now: Instant, _: u64, app_limited: bool, _: Option<u64>) {
        let Some(min_rtt) = self.min_rtt else {
            return;
        };
        let time = now.saturating_duration_since(self.round.since);
        // Shorter ones would take a clump of acknowledgements for a rate.
        if time >= min_rtt.max(Duration::from_millis(1)) {
            self.on_round(self.round.bytes as f64 / time.as_secs_f64(), app_limited);
            self.round = Round {
                since: now,
                bytes: 0,
            };
        }
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, persistent: bool, _: u64) {
        if persistent {
            self.rates.clear();
            self.best = 0.0;
            self.steady = 0;
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
    }

    fn window(&self) -> u64 {
        let gain = if self.steady < STEADY { START } else { CRUISE };
        let delay = self.min_rtt.unwrap_or_default().as_secs_f64();
        let window = self.rate() * delay * gain;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped, and NaN becomes 0"
        )]
        let window = window.clamp(0.0, 1e12) as u64;
        window.max(self.initial_window())
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        PACKETS * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
