//! Sans-I/O: whether the lanes that were opened for a backlog raised the rate of answers.
//!
//! ```text
//!   opened          ready            ready + 1 round                          + 3 rounds
//!     |---------------|-------------------|--------------------------------------|
//!       answers are of the old lanes         answers are of all lanes
//!                  `before`                               `after`
//! ```
//!
//! An answer tells what the lanes did one round ago, a round being the round trip and the broker's hold. So each trial measures
//! its own baseline, under the load that it judges, while the new lanes open. A gain of half of the ideal or more is clear after
//! one round; a doubtful one is measured for three. Twice the lanes must bring `min_gain`, a smaller step its share. One trial
//! runs at a time, and nothing else is opened meanwhile (except in `slow_start.rs`).
//!
//! A trial without gain is followed by a retreat to the lanes before it, and by a ceiling at that number: for one idle timeout,
//! then two, four, up to five minutes. If the broker held each batch longer with more lanes, its store is the limit.
//!
//! The measure is the rate alone. The 99th percentile of the answers says nothing here: with all lanes full, messages wait in
//! the queue and not on a lane, so that percentile stays the same while lanes help.

use std::time::{Duration, Instant};

use super::{common::MAX_VALIDITY, delivery_rate::DeliveryRate};
use crate::scaler::{config::Config, load::Load};

/// Rounds after which a doubtful gain is judged: two or three clumps of answers at each end.
const ROUNDS: u32 = 3;
/// The part of the ideal gain (twice the lanes, twice the rate) that is clear after one round. The error of one clump in two is
/// less.
const CLEAR: f64 = 0.5;
/// Rounds of baseline that prove a doubtful gain. Over a shorter one it may be taken back by the next step.
const SHORT_BASELINE: u32 = 2;
/// Rounds after which a baseline begins again, because rates change.
const LONG_BASELINE: u32 = 8;

/// The state of a trial after a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TrialOutcome {
    /// No trial runs, or it is not over.
    Pending,
    /// The lanes did not open, or changed for another reason.
    Void,
    /// The queue is empty, so the lanes are enough.
    Enough {
        /// Bytes per second of one full lane, as far as was seen.
        lane_rate: f64,
    },
    /// The lanes helped, and stay.
    Gain {
        /// Bytes per second of one full lane.
        lane_rate: f64,
        /// Whether the gain stays when the next step brings none.
        proven: bool,
        /// Whether more lanes followed before the first were judged. All together helped, and the last may not have.
        widened: bool,
    },
    /// The lanes did not help.
    NoGain {
        /// The lanes before the trial, or before gains that were not proven.
        lanes: usize,
    },
}

/// The most lanes after a trial without gain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    pub(super) lanes: usize,
    pub(super) until: Instant,
    /// Whether the broker held each batch longer with more lanes, so that its store is the limit.
    pub(super) broker_slow: bool,
}

/// The rate of a number of lanes while messages wait.
#[derive(Debug, Clone, Copy, Default)]
struct Baseline {
    lanes: usize,
    /// Since when messages have waited for the same lanes. Answers count from one round later.
    since: Option<Instant>,
    rate: DeliveryRate,
}

impl Baseline {
    /// Continues while messages wait for the same lanes, and begins again otherwise.
    fn on_load(&mut self, now: Instant, load: &Load) {
        let waiting = load.queued_messages > 0;
        if !waiting || load.lanes != self.lanes || self.since.is_none() {
            *self = Self {
                lanes: load.lanes,
                since: waiting.then_some(now),
                rate: DeliveryRate::default(),
            };
        }
        self.on_answers(load);
        let long = load.round().saturating_mul(LONG_BASELINE);
        if self.rate.get().is_some_and(|(_, time)| time >= long) {
            self.rate.restart();
        }
    }

    fn on_answers(&mut self, load: &Load) {
        if let Some(since) = self.since {
            self.rate.on_load(load, since + load.round());
        }
    }
}

/// One trial: the lanes before and after an opening, and the rates of both.
#[derive(Debug, Clone)]
struct Trial {
    from: usize,
    to: usize,
    /// Bytes per second at the opening.
    rate: f64,
    /// How long the broker held a batch at the opening.
    hold: Duration,
    /// Whether more lanes followed before the first were judged, so that answers are no longer of the lanes before.
    widened: bool,
    ready_at: Option<Instant>,
    /// From when on answers are of all lanes.
    settled_at: Option<Instant>,
    before: Baseline,
    after: DeliveryRate,
}

/// The running trial, and what earlier ones left.
#[derive(Debug, Clone)]
pub(super) struct Trials {
    min_gain: f64,
    first_back_off: Duration,
    back_off: Duration,
    baseline: Baseline,
    running: Option<Trial>,
    /// The lanes before gains that are not proven. A next step without gain goes back to these.
    before_unproven: Option<usize>,
    ceiling: Option<Ceiling>,
}

impl Trials {
    pub(super) fn new(config: &Config) -> Self {
        let back_off = config.idle_timeout.min(MAX_VALIDITY);
        Self {
            min_gain: config.min_gain,
            first_back_off: back_off,
            back_off,
            baseline: Baseline::default(),
            running: None,
            before_unproven: None,
            ceiling: None,
        }
    }

    /// Whether a trial runs, so that no other may begin.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns the ceiling that applies now.
    pub(super) fn ceiling(&self, now: Instant) -> Option<Ceiling> {
        self.ceiling.filter(|ceiling| now < ceiling.until)
    }

    /// Begins a trial of `more` lanes that are being opened for a backlog, or adds them to the trial that runs.
    pub(super) fn begin_or_widen(&mut self, load: &Load, more: usize) {
        if let Some(trial) = &mut self.running {
            trial.to = load.lanes + more;
            trial.widened = true;
            trial.ready_at = None;
            trial.settled_at = None;
            trial.after = DeliveryRate::default();
            return;
        }
        self.running = Some(Trial {
            from: load.lanes,
            to: load.lanes + more,
            rate: load.ack_rate.unwrap_or_default(),
            hold: load.broker_hold.unwrap_or_default(),
            widened: false,
            ready_at: None,
            settled_at: None,
            before: self.baseline,
            after: DeliveryRate::default(),
        });
    }

    /// Measures the running trial, or else the baseline of the next.
    pub(super) fn on_load(&mut self, now: Instant, load: &Load) -> TrialOutcome {
        if load.queued_messages == 0 {
            self.before_unproven = None;
        }
        let Some(trial) = &mut self.running else {
            self.baseline.on_load(now, load);
            return TrialOutcome::Pending;
        };
        let outcome = match trial.on_load(now, load, self.min_gain) {
            TrialOutcome::Pending => return TrialOutcome::Pending,
            TrialOutcome::NoGain { lanes } => TrialOutcome::NoGain {
                lanes: self.before_unproven.take().unwrap_or(lanes),
            },
            outcome => outcome,
        };
        // The answers of all lanes are the next trial's baseline.
        self.baseline = Baseline {
            lanes: load.lanes,
            since: trial.ready_at,
            rate: trial.after,
        };
        match outcome {
            TrialOutcome::Gain { proven: true, .. } => {
                self.before_unproven = None;
                self.back_off = self.first_back_off;
            }
            TrialOutcome::Gain { proven: false, .. } => {
                self.before_unproven.get_or_insert(trial.from);
            }
            TrialOutcome::NoGain { lanes } => {
                self.ceiling = Some(Ceiling {
                    lanes,
                    until: now + self.back_off,
                    broker_slow: trial.holds_longer(load, self.min_gain),
                });
                self.back_off = self.back_off.saturating_mul(2).min(MAX_VALIDITY);
            }
            TrialOutcome::Pending | TrialOutcome::Void | TrialOutcome::Enough { .. } => {}
        }
        self.running = None;
        outcome
    }
}

impl Trial {
    fn on_load(&mut self, now: Instant, load: &Load, min_gain: f64) -> TrialOutcome {
        if load.lanes_opening > 0 {
            if !self.widened {
                self.before.on_answers(load);
            }
            return TrialOutcome::Pending;
        }
        if load.lanes <= self.from || load.lanes > self.to {
            return TrialOutcome::Void;
        }
        self.to = load.lanes;
        if load.queued_messages == 0 {
            return TrialOutcome::Enough {
                lane_rate: self.lane_rate(load),
            };
        }
        let ready_at = *self.ready_at.get_or_insert(now);
        let settled_at = match self.settled_at {
            Some(at) => at,
            None if now >= ready_at + load.round() => *self.settled_at.insert(now),
            None => {
                let recent = now.saturating_duration_since(ready_at) < load.rtt;
                if recent && !self.widened {
                    self.before.on_answers(load);
                }
                return TrialOutcome::Pending;
            }
        };
        self.after.on_load(load, settled_at);
        self.judge(now, load, settled_at, min_gain)
    }

    /// Judges the trial once there are answers to judge by.
    fn judge(&self, now: Instant, load: &Load, settled_at: Instant, min_gain: f64) -> TrialOutcome {
        let round = load.round();
        let Some((after, time)) = self.after.get().filter(|&(_, time)| time >= round / 2) else {
            return TrialOutcome::Pending;
        };
        let is_over = now.saturating_duration_since(settled_at) >= round.saturating_mul(ROUNDS);
        let gain = |proven| TrialOutcome::Gain {
            lane_rate: self.lane_rate(load),
            proven,
            widened: self.widened,
        };
        let Some((before, time_before)) = self.rate_before(load) else {
            return if is_over {
                gain(false)
            } else {
                TrialOutcome::Pending
            };
        };
        let more = (self.to - self.from) as f64 / self.from.max(1) as f64;
        if time >= round && after >= before * (1.0 + CLEAR * more) {
            return gain(true);
        }
        if !is_over {
            return TrialOutcome::Pending;
        }
        if after >= before * (1.0 + min_gain * more) {
            return gain(time_before >= round.saturating_mul(SHORT_BASELINE));
        }
        TrialOutcome::NoGain { lanes: self.from }
    }

    /// Returns the bytes per second of the lanes before, and the time over which they were measured. `None` if that was too short
    /// for a baseline.
    fn rate_before(&self, load: &Load) -> Option<(f64, Duration)> {
        self.before
            .rate
            .get()
            .filter(|&(_, time)| time >= load.round() / 2)
    }

    /// Returns the most that one lane has brought: before, when all were full, or since, when few may have been.
    fn lane_rate(&self, load: &Load) -> f64 {
        let before = self.rate_before(load).map_or(self.rate, |(rate, _)| rate);
        let since = load.ack_rate.unwrap_or_default();
        (before / self.from.max(1) as f64).max(since / self.to as f64)
    }

    /// Whether the broker holds a batch longer than at the opening.
    fn holds_longer(&self, load: &Load, min_gain: f64) -> bool {
        let hold = load.broker_hold.unwrap_or_default();
        hold.as_secs_f64() > self.hold.as_secs_f64() * (1.0 + min_gain)
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

    /// Trials, and a producer with a backlog and scripted answers.
    struct Bench {
        trials: Trials,
        now: Instant,
        load: Load,
    }

    impl Bench {
        fn new() -> Self {
            let config = Config {
                idle_timeout: Duration::from_secs(1),
                ..Config::default()
            };
            Self {
                trials: Trials::new(&config),
                now: origin(),
                load: Load {
                    lanes: 1,
                    queued_messages: 1000,
                    rtt: 20 * MS,
                    ..Load::default()
                },
            }
        }

        /// Lets answers come at `rate`, until an outcome.
        fn run(&mut self, millis: u32, rate: f64) -> TrialOutcome {
            for _ in 0..millis / 5 {
                self.now += 5 * MS;
                if rate > 0.0 {
                    self.load.acked_bytes += (rate * 0.005) as u64;
                    self.load.acked_at = Some(self.now);
                }
                let outcome = self.trials.on_load(self.now, &self.load);
                if outcome != TrialOutcome::Pending {
                    return outcome;
                }
            }
            TrialOutcome::Pending
        }

        /// Opens `more` lanes, which are ready a round trip later. Answers still come at `rate`.
        fn open(&mut self, more: usize, rate: f64) {
            self.trials.begin_or_widen(&self.load, more);
            self.load.lanes_opening = more;
            assert_eq!(self.run(20, rate), TrialOutcome::Pending);
            self.load.lanes_opening = 0;
            self.load.lanes += more;
        }
    }

    fn proven(outcome: TrialOutcome) -> Option<bool> {
        match outcome {
            TrialOutcome::Gain { proven, .. } => Some(proven),
            _ => None,
        }
    }

    #[test]
    fn twice_the_rate_is_seen_soon_after_the_lanes_are_ready() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.open(1, 1e6);
        bench.run(20, 1e6);
        let settled = bench.now;
        assert_eq!(proven(bench.run(200, 2e6)), Some(true));
        assert!(
            bench.now - settled <= 30 * MS,
            "a clear gain needs one round: {:?}",
            bench.now - settled
        );
    }

    #[test]
    fn a_tenth_more_for_twice_the_lanes_is_a_gain_and_a_twentieth_is_none() {
        for (rate, gain) in [(1.12e6, true), (1.05e6, false), (0.9e6, false)] {
            let mut bench = Bench::new();
            bench.run(200, 1e6);
            bench.open(1, 1e6);
            bench.run(20, 1e6);
            let outcome = bench.run(200, rate);
            assert_eq!(proven(outcome).is_some(), gain, "{rate}: {outcome:?}");
            assert_eq!(outcome == TrialOutcome::NoGain { lanes: 1 }, !gain);
        }
    }

    #[test]
    fn a_smaller_step_must_bring_its_share() {
        for (rate, gain) in [(8.3e6, true), (8.05e6, false)] {
            let mut bench = Bench::new();
            bench.load.lanes = 8;
            bench.run(200, 8e6);
            bench.open(2, 8e6);
            bench.run(20, 8e6);
            assert_eq!(proven(bench.run(200, rate)).is_some(), gain, "{rate}");
        }
    }

    #[test]
    fn a_doubtful_gain_over_a_short_baseline_is_taken_back_when_the_next_step_brings_nothing() {
        let mut bench = Bench::new();
        bench.run(10, 1e6);
        bench.open(1, 1e6);
        bench.run(20, 1e6);
        assert_eq!(proven(bench.run(200, 1.2e6)), Some(false));
        bench.open(2, 1.2e6);
        assert_eq!(bench.run(300, 1.2e6), TrialOutcome::NoGain { lanes: 1 });
    }

    #[test]
    fn a_doubtful_gain_over_a_long_baseline_stays() {
        let mut bench = Bench::new();
        bench.run(100, 1e6);
        bench.open(1, 1e6);
        bench.run(20, 1e6);
        assert_eq!(proven(bench.run(200, 1.2e6)), Some(true));
        bench.open(2, 1.2e6);
        assert_eq!(bench.run(300, 1.2e6), TrialOutcome::NoGain { lanes: 2 });
    }

    #[test]
    fn without_a_baseline_lanes_are_kept_until_the_next_step() {
        let mut bench = Bench::new();
        bench.open(1, 0.0);
        assert_eq!(proven(bench.run(300, 1e6)), Some(false));
        bench.open(2, 1e6);
        assert_eq!(bench.run(300, 1e6), TrialOutcome::NoGain { lanes: 1 });
    }

    #[test]
    fn without_answers_a_trial_does_not_end() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.open(1, 1e6);
        assert_eq!(bench.run(10_000, 0.0), TrialOutcome::Pending);
        assert!(bench.trials.is_running());
    }

    #[test]
    fn answers_to_what_was_sent_before_the_backlog_are_no_baseline() {
        // Half the load for long. Then the backlog begins, and the full rate is seen a round later.
        let mut bench = Bench::new();
        bench.load.queued_messages = 0;
        bench.run(500, 0.5e6);
        bench.load.queued_messages = 1000;
        bench.run(20, 0.5e6);
        bench.run(40, 1e6);
        bench.open(1, 1e6);
        assert_eq!(bench.run(300, 1e6), TrialOutcome::NoGain { lanes: 1 });
    }

    #[test]
    fn the_baseline_follows_a_rate_that_changes() {
        let mut bench = Bench::new();
        bench.run(60_000, 1e6);
        bench.run(400, 2e6);
        bench.open(1, 2e6);
        assert_eq!(bench.run(300, 2e6), TrialOutcome::NoGain { lanes: 1 });
    }

    #[test]
    fn an_empty_queue_ends_a_trial_and_tells_what_a_lane_brings() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.open(1, 1e6);
        bench.load.queued_messages = 0;
        let TrialOutcome::Enough { lane_rate } = bench.run(50, 1e6) else {
            panic!("an empty queue");
        };
        assert!((lane_rate / 1e6 - 1.0).abs() < 0.01, "{lane_rate}");
    }

    #[test]
    fn lanes_that_did_not_open_are_no_trial() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.trials.begin_or_widen(&bench.load, 1);
        assert_eq!(bench.run(50, 1e6), TrialOutcome::Void);
        assert_eq!(bench.trials.ceiling(bench.now).map(|c| c.lanes), None);
    }

    #[test]
    fn each_trial_without_gain_doubles_the_pause_and_a_gain_ends_that() {
        let mut bench = Bench::new();
        let try_for = |bench: &mut Bench, rate: f64| {
            bench.load.lanes = 1;
            bench.run(200, 1e6);
            bench.open(1, 1e6);
            bench.run(20, 1e6);
            bench.run(300, rate)
        };
        let pause = |bench: &Bench| bench.trials.ceiling(bench.now).map(|c| c.until - bench.now);
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(try_for(&mut bench, 1e6), TrialOutcome::NoGain { lanes: 1 });
            assert_eq!(pause(&bench), Some(Duration::from_secs(seconds)));
        }
        bench.now += Duration::from_secs(300);
        assert_eq!(pause(&bench), None);
        assert_eq!(proven(try_for(&mut bench, 2e6)), Some(true));
        try_for(&mut bench, 1e6);
        assert_eq!(pause(&bench), Some(Duration::from_secs(1)));
    }
}
