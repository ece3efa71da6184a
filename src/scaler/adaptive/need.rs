//! Pure: how many lanes the present work needs, and the peak of it that holds lanes open.
//!
//! Little's law, `L = λ·W`, asked in two ways, because either alone lets go of lanes that are needed:
//!
//! - *Work in use*: unanswered and queued bytes over a lane's window. Right where windows are the limit.
//! - *Rate over what one lane can do*: where the broker works through each stream one batch at a time, five
//!   lanes that keep up have little in flight, yet four would not keep up. What a lane can do was measured
//!   when all of them were full, by the trial that added some.
//!
//! Lanes are retired on the *peak* of the need over the idle timeout (as in gax's channel pool), never on an
//! average of how busy they are: at the right size nobody is busy, and a pool that shrinks for that reason
//! grows again at once (tower#456).

use std::time::Instant;

use super::{span::Span, whole};
use crate::scaler::{Config, Load, meter::Peak};

/// How full lanes may be on average: the rest takes up the noise of arrivals.
const HEADROOM: f64 = 0.95;
/// Rounds over which the present rate is taken: long enough for clumps of answers to even out.
const PACE_ROUNDS: u32 = 8;

/// The need for lanes and its peak.
#[derive(Debug, Clone)]
pub(super) struct Need {
    peak: Peak,
    /// Bytes per second of one full lane; `None` while no trial has shown it.
    lane_rate: Option<f64>,
    /// Since when there has been work without a pause.
    busy_since: Option<Instant>,
    pace: Span,
    /// Bytes per second of late; `None` while there is no work, or too little to tell.
    rate: Option<f64>,
}

impl Need {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            peak: Peak::new(config.idle_timeout),
            lane_rate: None,
            busy_since: None,
            pace: Span::default(),
            rate: None,
        }
    }

    /// One full lane brings so many bytes per second; `None`: forget what it was.
    pub(super) fn on_lane_rate(&mut self, rate: Option<f64>) {
        self.lane_rate = rate;
    }

    /// `lanes` are wanted now, whatever the measures say.
    pub(super) fn hold(&mut self, now: Instant, lanes: usize) {
        self.peak.on_sample(now, lanes);
    }

    /// Measures the need and adds it to the peak; never more than the lanes there are.
    pub(super) fn on_look(&mut self, now: Instant, load: &Load) {
        let lanes = load.streams();
        self.measure_pace(now, load);
        let used = load
            .in_flight_bytes
            .saturating_add(load.queued_bytes)
            .div_ceil(load.lane_window.max(1));
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let carried = match (self.rate, self.lane_rate) {
            (Some(rate), Some(lane_rate)) => whole((rate / (lane_rate * HEADROOM)).ceil()),
            _ => 0,
        };
        self.peak.on_sample(now, used.max(carried).min(lanes));
    }

    /// The most lanes that were wanted at any moment of the last idle timeout.
    pub(super) fn peak(&mut self, now: Instant) -> usize {
        self.peak.get(now)
    }

    /// When the peak will be below `lanes`.
    pub(super) fn falls_below(&self, lanes: usize) -> Option<Instant> {
        self.peak.falls_below(lanes)
    }

    fn measure_pace(&mut self, now: Instant, load: &Load) {
        if load.is_quiet() {
            self.busy_since = None;
            self.pace = Span::default();
            self.rate = None;
            return;
        }
        let since = *self.busy_since.get_or_insert(now);
        self.pace.on_look(load, since);
        let enough = load.round().saturating_mul(PACE_ROUNDS);
        if let Some((rate, _)) = self.pace.rate().filter(|&(_, time)| time >= enough) {
            self.pace.restart();
            self.rate = Some(rate);
            // Lanes that are not full show the least that one can do.
            let shown = rate / load.lanes.max(1) as f64;
            self.lane_rate = self.lane_rate.map(|known| known.max(shown));
            eprintln!(
                "DBG pace {rate} lanes {} lane_rate {:?}",
                load.lanes, self.lane_rate
            );
        }
    }
}
