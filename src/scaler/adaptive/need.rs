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
//!
//! What a lane can do changes when a broker recovers from a bad moment, and lanes that keep up do not show
//! it. So the measure is believed for four idle timeouts; then it lets one lane go each idle timeout, as long
//! as the windows of the others are nearly empty. If that was wrong, a backlog opens it again, the trial
//! measures anew, and the new measure is believed twice as long, up to five minutes.

use std::time::{Duration, Instant};

use super::{LONGEST_BELIEF, span::Span, whole};
use crate::scaler::{Config, Load, meter::Peak};

/// How full lanes may be on average: the rest takes up the noise of arrivals.
const HEADROOM: f64 = 0.95;
/// Rounds over which the present rate is taken: long enough for clumps of answers to even out.
const PACE_ROUNDS: u32 = 8;
/// Windows that are fuller than this part of them may be filling up, and are not in doubt.
const FILLING: u64 = 4;
/// Idle timeouts for which the first measure of a lane is believed.
const BELIEF: u32 = 4;

/// What one full lane brings, and until when that is believed.
#[derive(Debug, Clone, Copy)]
struct LaneRate {
    bytes_per_second: f64,
    until: Instant,
}

/// The need for lanes and its peak.
#[derive(Debug, Clone)]
pub(super) struct Need {
    peak: Peak,
    /// `None` while no trial has shown it.
    lane_rate: Option<LaneRate>,
    first_belief: Duration,
    belief: Duration,
    /// Since when there has been work without a pause.
    busy_since: Option<Instant>,
    pace: Span,
    /// Bytes per second of late; `None` while there is no work, or too little to tell.
    rate: Option<f64>,
}

impl Need {
    pub(super) fn new(config: &Config) -> Self {
        let belief = config
            .idle_timeout
            .saturating_mul(BELIEF)
            .min(LONGEST_BELIEF);
        Self {
            peak: Peak::new(config.idle_timeout),
            lane_rate: None,
            first_belief: belief,
            belief,
            busy_since: None,
            pace: Span::default(),
            rate: None,
        }
    }

    /// One full lane brings so many bytes per second; nothing is learned from none.
    pub(super) fn on_lane_rate(&mut self, now: Instant, bytes_per_second: f64) {
        if bytes_per_second <= 0.0 {
            return;
        }
        if self.lane_rate.is_some_and(|known| now >= known.until) {
            self.belief = self.belief.saturating_mul(2).min(LONGEST_BELIEF);
        }
        self.lane_rate = Some(LaneRate {
            bytes_per_second,
            until: now + self.belief,
        });
    }

    /// The lanes are back at their minimum: what one of them can do no longer matters.
    pub(super) fn forget_lane_rate(&mut self) {
        self.lane_rate = None;
        self.belief = self.first_belief;
    }

    /// `lanes` are wanted now, whatever the measures say.
    pub(super) fn hold(&mut self, now: Instant, lanes: usize) {
        self.peak.on_sample(now, lanes);
    }

    /// Measures the need and adds it to the peak; never more than the lanes there are.
    /// Where the pipe is full, what is queued waits for it and not for a lane.
    pub(super) fn on_look(&mut self, now: Instant, load: &Load, congestion_limited: bool) {
        let lanes = load.total_lanes();
        self.measure_pace(now, load);
        let queued = if congestion_limited {
            0
        } else {
            load.queued_bytes
        };
        let work = load.in_flight_bytes.saturating_add(queued);
        let used = work.div_ceil(load.lane_window.max(1));
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let carried = match (self.rate, self.lane_rate) {
            (Some(rate), Some(lane_rate)) => {
                let windows = load.lane_window.saturating_mul(lanes as u64);
                let filling = load.in_flight_bytes > windows / FILLING;
                let doubt = usize::from(now >= lane_rate.until && !filling);
                let needed = whole((rate / (lane_rate.bytes_per_second * HEADROOM)).ceil());
                needed.min(lanes.saturating_sub(doubt))
            }
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
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)]

    use super::*;
    use crate::scaler::model::origin;

    const MS: Duration = Duration::from_millis(1);
    const WINDOW: u64 = 64_000;

    /// Shows a steady `rate` on eight lanes for `time` and returns the peak of the need at its end.
    fn show(need: &mut Need, from: Instant, time: Duration, rate: f64) -> usize {
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
            need.on_look(now, &load, false);
        }
        need.peak(now)
    }

    fn need() -> Need {
        Need::new(&Config {
            idle_timeout: Duration::from_secs(1),
            ..Config::default()
        })
    }

    #[test]
    fn the_rate_over_what_a_lane_can_do_holds_lanes_whose_windows_are_empty() {
        let mut need = need();
        assert_eq!(
            show(&mut need, origin(), 2000 * MS, 4.4e6),
            1,
            "nothing is known of a lane"
        );
        let now = origin() + 2000 * MS;
        need.on_lane_rate(now, 1e6);
        assert_eq!(show(&mut need, now, 2000 * MS, 4.4e6), 5);
    }

    #[test]
    fn a_trial_in_which_nobody_answered_teaches_nothing() {
        let mut need = need();
        need.on_lane_rate(origin(), 0.0);
        assert_eq!(show(&mut need, origin(), 2000 * MS, 4.4e6), 1);
    }

    #[test]
    fn a_lane_that_would_be_full_to_the_brim_is_one_too_few() {
        let mut need = need();
        need.on_lane_rate(origin(), 1e6);
        assert_eq!(show(&mut need, origin(), 2000 * MS, 4.9e6), 6);
    }

    #[test]
    fn a_measure_is_doubted_after_four_idle_timeouts_and_then_believed_twice_as_long() {
        let mut need = need();
        let mut now = origin();
        for believed in [4000, 4000, 8000, 16_000] {
            need.on_lane_rate(now, 1e6);
            assert_eq!(show(&mut need, now, (believed - 100) * MS, 7.5e6), 8);
            now += believed * MS;
            need.clone().on_lane_rate(now - MS, 1e6);
            if now > origin() + 4000 * MS {
                now += 1100 * MS;
                assert_eq!(show(&mut need, now - 1100 * MS, 1100 * MS, 7.5e6), 7);
            } else {
                // Measured anew before there was a doubt: believed as long as before.
                now -= MS;
            }
        }
        need.forget_lane_rate();
        assert_eq!(show(&mut need, now, 1100 * MS, 7.5e6), 1);
    }
}
