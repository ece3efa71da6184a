//! Sans-I/O: how many lanes the present work needs, and the peak of that over the idle timeout.
//!
//! ```text
//! demand = max( ⌈(in flight + queued) / window⌉     Little's law, where windows are the limit
//!             , ⌈rate of answers / 0.95 c⌉          where streams are the limit: c is what one full lane brought
//!             , what path, losses, backlog and trial require )
//! peak of demand < n  ⇒  retire n − peak, newest first, at most four times in an idle timeout
//! ```
//!
//! Each of the first two lines alone would release lanes that are needed. Where the broker works through each stream one batch
//! at a time, five lanes that keep up have little in flight, and yet four would not keep up. What one lane brings was measured by
//! the trial that added lanes, when all of them were full.
//!
//! The *peak* decides, as in gax's `ChannelPoolSettings`, and no average of how busy lanes are: at the right number no lane is
//! busy, and a pool that shrinks for that reason grows again at once (tower#456). After a burst all lanes that are left over go
//! at once, an idle timeout after they were last needed.
//!
//! What one lane brings changes when a broker recovers, and lanes that keep up do not show it. So the measurement is valid for
//! four idle timeouts. Then it lets one lane go each idle timeout, as long as the windows of the others are nearly empty. If
//! that was wrong, a backlog opens the lane again, its trial measures again, and the new measurement is valid twice as long, up to
//! five minutes.

use std::time::{Duration, Instant};

use super::{
    common::{MAX_VALIDITY, whole},
    delivery_rate::DeliveryRate,
};
use crate::scaler::{config::Config, load::Load, meter::Peak};

/// How full lanes may be on average. The rest takes up the noise of arrivals.
const HEADROOM: f64 = 0.95;
/// Rounds over which the present rate is measured, so that clumps of answers even out.
const RATE_ROUNDS: u32 = 8;
/// Windows that are fuller than a quarter may be filling up. Then no lane is let go to test the measurement.
const FILLING_DIVISOR: u64 = 4;
/// Idle timeouts for which the first measurement of a lane is valid. A lane costs little, and a wrong guess costs a backlog.
const VALID_IDLE_TIMEOUTS: u32 = 4;

/// What one full lane brings, and until when that is valid.
#[derive(Debug, Clone, Copy)]
struct LaneRate {
    bytes_per_second: f64,
    valid_until: Instant,
}

/// The demand for lanes and its peak.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    peak: Peak,
    /// `None` before a trial has measured it.
    lane_rate: Option<LaneRate>,
    first_validity: Duration,
    validity: Duration,
    /// Since when there has been work without a pause.
    busy_since: Option<Instant>,
    measuring: DeliveryRate,
    /// The last measured bytes per second. `None` without work, and before the first measurement.
    rate: Option<f64>,
}

impl Demand {
    pub(super) fn new(config: &Config) -> Self {
        let validity = config
            .idle_timeout
            .saturating_mul(VALID_IDLE_TIMEOUTS)
            .min(MAX_VALIDITY);
        Self {
            peak: Peak::new(config.idle_timeout),
            lane_rate: None,
            first_validity: validity,
            validity,
            busy_since: None,
            measuring: DeliveryRate::default(),
            rate: None,
        }
    }

    /// Records what one full lane brings. Zero is ignored.
    pub(super) fn on_lane_rate(&mut self, now: Instant, bytes_per_second: f64) {
        if bytes_per_second <= 0.0 {
            return;
        }
        if self.lane_rate.is_some_and(|known| now >= known.valid_until) {
            self.validity = self.validity.saturating_mul(2).min(MAX_VALIDITY);
        }
        self.lane_rate = Some(LaneRate {
            bytes_per_second,
            valid_until: now + self.validity,
        });
    }

    /// Forgets what one lane brings, because the lanes are back at their minimum.
    pub(super) fn forget_lane_rate(&mut self) {
        self.lane_rate = None;
        self.validity = self.first_validity;
    }

    /// Requires `lanes` now, whatever was measured.
    pub(super) fn require(&mut self, now: Instant, lanes: usize) {
        self.peak.on_sample(now, lanes);
    }

    /// Measures the demand and adds it to the peak, at most the lanes there are. While QUIC is blocked the queue does not count,
    /// because it waits for QUIC and not for a lane.
    pub(super) fn on_load(&mut self, now: Instant, load: &Load, is_blocked: bool) {
        let lanes = load.total_lanes();
        self.measure_rate(now, load);
        let queued = if is_blocked { 0 } else { load.queued_bytes };
        let work = load.in_flight_bytes.saturating_add(queued);
        let used = work.div_ceil(load.lane_window.max(1));
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let carried = match (self.rate, self.lane_rate) {
            (Some(rate), Some(lane_rate)) => {
                let windows = load.lane_window.saturating_mul(lanes as u64);
                let filling = load.in_flight_bytes > windows / FILLING_DIVISOR;
                let tested = usize::from(now >= lane_rate.valid_until && !filling);
                let needed = whole((rate / (lane_rate.bytes_per_second * HEADROOM)).ceil());
                needed.min(lanes.saturating_sub(tested))
            }
            _ => 0,
        };
        self.peak.on_sample(now, used.max(carried).min(lanes));
    }

    /// Returns the highest demand of the last idle timeout.
    pub(super) fn peak(&mut self, now: Instant) -> usize {
        self.peak.get(now)
    }

    /// Returns when the peak will be below `lanes` if no more demand comes. `None` when it is already.
    pub(super) fn falls_below(&self, lanes: usize) -> Option<Instant> {
        self.peak.falls_below(lanes)
    }

    fn measure_rate(&mut self, now: Instant, load: &Load) {
        if load.is_quiet() {
            self.busy_since = None;
            self.measuring = DeliveryRate::default();
            self.rate = None;
            return;
        }
        let since = *self.busy_since.get_or_insert(now);
        self.measuring.on_load(load, since);
        let enough = load.round().saturating_mul(RATE_ROUNDS);
        if let Some((rate, _)) = self.measuring.get().filter(|&(_, time)| time >= enough) {
            self.measuring.restart();
            self.rate = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_possible_truncation,
        reason = "rates of the tests are far below 2^64"
    )]

    use super::*;
    use crate::scaler::tests::origin;

    const MS: Duration = Duration::from_millis(1);
    const WINDOW: u64 = 64_000;

    /// Shows a steady `rate` on eight lanes for `time`, and returns the peak of the demand at its end.
    fn show(demand: &mut Demand, from: Instant, time: Duration, rate: f64) -> usize {
        let mut load = Load {
            lanes: 8,
            lane_window: WINDOW,
            in_flight_bytes: WINDOW,
            rtt: 20 * MS,
            ..Load::default()
        };
        let mut now = from;
        while now < from + time {
            now += 5 * MS;
            let age = now - from;
            load.acked_bytes = (rate * age.as_secs_f64()) as u64;
            load.acked_at = Some(now);
            demand.on_load(now, &load, false);
        }
        demand.peak(now)
    }

    fn demand() -> Demand {
        Demand::new(&Config {
            idle_timeout: Duration::from_secs(1),
            ..Config::default()
        })
    }

    #[test]
    fn the_rate_over_what_one_lane_brings_keeps_lanes_whose_windows_are_empty() {
        let mut demand = demand();
        assert_eq!(
            show(&mut demand, origin(), 2000 * MS, 4.4e6),
            1,
            "no lane was measured yet"
        );
        let now = origin() + 2000 * MS;
        demand.on_lane_rate(now, 1e6);
        assert_eq!(show(&mut demand, now, 2000 * MS, 4.4e6), 5);
    }

    #[test]
    fn a_trial_without_answers_measures_nothing() {
        let mut demand = demand();
        demand.on_lane_rate(origin(), 0.0);
        assert_eq!(show(&mut demand, origin(), 2000 * MS, 4.4e6), 1);
    }

    #[test]
    fn a_lane_that_would_be_quite_full_is_one_too_few() {
        let mut demand = demand();
        demand.on_lane_rate(origin(), 1e6);
        assert_eq!(show(&mut demand, origin(), 2000 * MS, 4.9e6), 6);
    }

    #[test]
    fn a_measurement_is_tested_after_four_idle_timeouts_and_then_valid_twice_as_long() {
        let mut demand = demand();
        let mut now = origin();
        for valid in [4000, 4000, 8000, 16_000] {
            demand.on_lane_rate(now, 1e6);
            assert_eq!(show(&mut demand, now, (valid - 100) * MS, 7.5e6), 8);
            now += valid * MS;
            demand.clone().on_lane_rate(now - MS, 1e6);
            if now > origin() + 4000 * MS {
                now += 1100 * MS;
                assert_eq!(show(&mut demand, now - 1100 * MS, 1100 * MS, 7.5e6), 7);
            } else {
                // Measured again while still valid: the new one is valid for as long as the last.
                now -= MS;
            }
        }
        demand.forget_lane_rate();
        assert_eq!(show(&mut demand, now, 1100 * MS, 7.5e6), 1);
    }
}
