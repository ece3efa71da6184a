//! Pure: did the lanes that were opened for a backlog raise the rate of answers?
//!
//! ```text
//!   opened          ready            ready + 1 round                          + 3 rounds
//!     |---------------|-------------------|--------------------------------------|
//!       answers speak for the old lanes          answers speak for all lanes
//!                  `before`                               `after`
//! ```
//!
//! An answer speaks for what the lanes did one round ago, so every trial measures its own baseline, under the
//! load it judges, while the new lanes are being opened. A clear gain ends it after one round; a doubtful one
//! gets three. One trial runs at a time, and nothing else is opened meanwhile.
//!
//! A trial without gain is followed by a retreat to the lanes before it, and by a ceiling at that number for
//! one idle timeout, doubled each time up to five minutes. What no veto foresees costs this much and no more.
//!
//! The measure is the rate alone. The 99th percentile of the answers says nothing here: with all lanes full,
//! messages wait in the queue and not on a lane, so that percentile stays the same while lanes help.

use std::time::{Duration, Instant};

use super::{LONGEST_BELIEF, span::Span};
use crate::scaler::{Config, Load};

/// Rounds after which a doubtful gain is judged: two or three clumps of answers.
const ROUNDS: u32 = 3;
/// A gain of this part of the ideal (twice the lanes, twice the rate) is beyond doubt after one round.
const CLEAR: f64 = 0.5;
/// A doubtful gain over a shorter baseline than so many rounds is believed only until the next step.
const SHORT_BASELINE: u32 = 2;
/// A baseline older than so many rounds begins anew: rates change.
const LONG_BASELINE: u32 = 8;

/// What a look at a trial brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// No trial, or no verdict yet.
    Open,
    /// The lanes did not open, or were changed for another cause: nothing was tried.
    Void,
    /// The queue is empty: so many lanes are enough. Whether fewer were, the idle timeout will tell.
    Enough {
        /// Bytes per second of one full lane, as far as it was seen.
        lane_rate: f64,
    },
    /// The lanes helped, and stay.
    Gain {
        /// Bytes per second of one full lane.
        lane_rate: f64,
        /// Beyond doubt: not to be taken back when the next step brings nothing.
        proven: bool,
        /// More lanes followed before the first were judged: together they helped, and the last may not have.
        widened: bool,
    },
    /// They did not: back to so many.
    NoGain {
        /// The lanes before the trial, or before gains that were not proven.
        lanes: usize,
    },
}

/// Bounds the lanes after a trial without gain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    pub(super) lanes: usize,
    pub(super) until: Instant,
    /// The broker held each batch longer with more lanes: its store is the limit.
    pub(super) broker_slow: bool,
}

/// The answers of so many lanes while messages wait.
#[derive(Debug, Clone, Copy, Default)]
struct Baseline {
    lanes: usize,
    /// Since when messages have waited for the same lanes; answers count from one round later.
    since: Option<Instant>,
    span: Span,
}

impl Baseline {
    /// Goes on while messages wait for the same lanes, and begins anew otherwise.
    fn on_look(&mut self, now: Instant, load: &Load) {
        let waiting = load.queued_messages > 0;
        if !waiting || load.lanes != self.lanes || self.since.is_none() {
            *self = Self {
                lanes: load.lanes,
                since: waiting.then_some(now),
                span: Span::default(),
            };
        }
        self.on_answers(load);
        let long = load.round().saturating_mul(LONG_BASELINE);
        if self.span.rate().is_some_and(|(_, time)| time >= long) {
            self.span.restart();
        }
    }

    fn on_answers(&mut self, load: &Load) {
        if let Some(since) = self.since {
            self.span.on_look(load, since + load.round());
        }
    }
}

/// One trial: the lanes before and after an opening, and the rates of both.
#[derive(Debug, Clone)]
struct Trial {
    from: usize,
    to: usize,
    /// At the opening: bytes per second, and how long the broker held a batch.
    rate: f64,
    hold: Duration,
    /// More lanes followed before the first were judged: answers no longer speak for the lanes before.
    widened: bool,
    ready_at: Option<Instant>,
    /// From when on answers speak for all lanes.
    settled_at: Option<Instant>,
    before: Baseline,
    after: Span,
}

/// The trial that runs, if any, and what earlier ones left behind.
#[derive(Debug, Clone)]
pub(super) struct Trials {
    min_gain: f64,
    first_back_off: Duration,
    back_off: Duration,
    baseline: Baseline,
    running: Option<Trial>,
    /// The lanes before gains that are not proven. If the next step brings nothing, these did not either.
    on_credit: Option<usize>,
    ceiling: Option<Ceiling>,
}

impl Trials {
    pub(super) fn new(config: &Config) -> Self {
        let back_off = config.idle_timeout.min(LONGEST_BELIEF);
        Self {
            min_gain: config.min_gain,
            first_back_off: back_off,
            back_off,
            baseline: Baseline::default(),
            running: None,
            on_credit: None,
            ceiling: None,
        }
    }

    /// A trial runs, and nothing else may be opened.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The ceiling that is in force now.
    pub(super) fn ceiling(&self, now: Instant) -> Option<Ceiling> {
        self.ceiling.filter(|ceiling| now < ceiling.until)
    }

    /// `more` lanes are being opened for a backlog: their trial begins, or the one that runs is about them too.
    pub(super) fn begin_or_widen(&mut self, load: &Load, more: usize) {
        if let Some(trial) = &mut self.running {
            trial.to = load.lanes + more;
            trial.widened = true;
            trial.ready_at = None;
            trial.settled_at = None;
            trial.after = Span::default();
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
            after: Span::default(),
        });
    }

    /// Watches the queue and the trial that runs.
    pub(super) fn on_look(&mut self, now: Instant, load: &Load) -> Verdict {
        if load.queued_messages == 0 {
            self.on_credit = None;
        }
        let Some(trial) = &mut self.running else {
            self.baseline.on_look(now, load);
            return Verdict::Open;
        };
        let verdict = match trial.on_look(now, load, self.min_gain) {
            Verdict::Open => return Verdict::Open,
            Verdict::NoGain { lanes } => Verdict::NoGain {
                lanes: self.on_credit.take().unwrap_or(lanes),
            },
            verdict => verdict,
        };
        // The answers of all lanes are the next trial's baseline.
        self.baseline = Baseline {
            lanes: load.lanes,
            since: trial.ready_at,
            span: trial.after,
        };
        match verdict {
            Verdict::Gain { proven: true, .. } => {
                self.on_credit = None;
                self.back_off = self.first_back_off;
            }
            Verdict::Gain { proven: false, .. } => {
                self.on_credit.get_or_insert(trial.from);
            }
            Verdict::NoGain { lanes } => {
                self.ceiling = Some(Ceiling {
                    lanes,
                    until: now + self.back_off,
                    broker_slow: trial.holds_longer(load, self.min_gain),
                });
                self.back_off = self.back_off.saturating_mul(2).min(LONGEST_BELIEF);
            }
            Verdict::Open | Verdict::Void | Verdict::Enough { .. } => {}
        }
        self.running = None;
        verdict
    }
}

impl Trial {
    fn on_look(&mut self, now: Instant, load: &Load, min_gain: f64) -> Verdict {
        if load.lanes_opening > 0 {
            if !self.widened {
                self.before.on_answers(load);
            }
            return Verdict::Open;
        }
        if load.lanes <= self.from || load.lanes > self.to {
            return Verdict::Void;
        }
        self.to = load.lanes;
        if load.queued_messages == 0 {
            return Verdict::Enough {
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
                return Verdict::Open;
            }
        };
        self.after.on_look(load, settled_at);
        self.judge(now, load, settled_at, min_gain)
    }

    /// Judges when there is something to judge by: while nobody answers, it waits.
    fn judge(&self, now: Instant, load: &Load, settled_at: Instant, min_gain: f64) -> Verdict {
        let round = load.round();
        let Some((after, time)) = self.after.rate().filter(|&(_, time)| time >= round / 2) else {
            return Verdict::Open;
        };
        let is_over = now.saturating_duration_since(settled_at) >= round.saturating_mul(ROUNDS);
        let gain = |proven| Verdict::Gain {
            lane_rate: self.lane_rate(load),
            proven,
            widened: self.widened,
        };
        let Some((before, time_before)) = self.rate_before(load) else {
            return if is_over { gain(false) } else { Verdict::Open };
        };
        let more = (self.to - self.from) as f64 / self.from.max(1) as f64;
        if time >= round && after >= before * (1.0 + CLEAR * more) {
            return gain(true);
        }
        if !is_over {
            return Verdict::Open;
        }
        if after >= before * (1.0 + min_gain * more) {
            return gain(time_before >= round.saturating_mul(SHORT_BASELINE));
        }
        Verdict::NoGain { lanes: self.from }
    }

    /// Bytes per second of the lanes before, and over how long that was measured; `None` where that was too
    /// short to be a baseline.
    fn rate_before(&self, load: &Load) -> Option<(f64, Duration)> {
        self.before
            .span
            .rate()
            .filter(|&(_, time)| time >= load.round() / 2)
    }

    /// The most that one lane has brought: before, when all were full, or since, when few may have been.
    fn lane_rate(&self, load: &Load) -> f64 {
        let before = self.rate_before(load).map_or(self.rate, |(rate, _)| rate);
        let since = load.ack_rate.unwrap_or_default();
        (before / self.from.max(1) as f64).max(since / self.to as f64)
    }

    fn holds_longer(&self, load: &Load, min_gain: f64) -> bool {
        let hold = load.broker_hold.unwrap_or_default();
        hold.as_secs_f64() > self.hold.as_secs_f64() * (1.0 + min_gain)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)]

    use super::*;
    use crate::scaler::model::origin;

    const MS: Duration = Duration::from_millis(1);

    /// Trials, and a producer with a backlog whose answers come as they are told to.
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

        /// Answers come at `rate`; stops at a verdict.
        fn run(&mut self, millis: u32, rate: f64) -> Verdict {
            for _ in 0..millis / 5 {
                self.now += 5 * MS;
                if rate > 0.0 {
                    self.load.acked_bytes += (rate * 0.005) as u64;
                    self.load.acked_at = Some(self.now);
                }
                let verdict = self.trials.on_look(self.now, &self.load);
                if verdict != Verdict::Open {
                    return verdict;
                }
            }
            Verdict::Open
        }

        /// Opens `more`, ready a round trip later; answers still come at `rate`.
        fn open(&mut self, more: usize, rate: f64) {
            self.trials.begin_or_widen(&self.load, more);
            self.load.lanes_opening = more;
            assert_eq!(self.run(20, rate), Verdict::Open);
            self.load.lanes_opening = 0;
            self.load.lanes += more;
        }
    }

    fn proven(verdict: Verdict) -> Option<bool> {
        match verdict {
            Verdict::Gain { proven, .. } => Some(proven),
            _ => None,
        }
    }

    #[test]
    fn twice_the_rate_is_seen_three_rounds_after_the_lanes_are_ready() {
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
            let verdict = bench.run(200, rate);
            assert_eq!(proven(verdict).is_some(), gain, "{rate}: {verdict:?}");
            assert_eq!(verdict == Verdict::NoGain { lanes: 1 }, !gain);
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
        assert_eq!(bench.run(300, 1.2e6), Verdict::NoGain { lanes: 1 });
    }

    #[test]
    fn a_doubtful_gain_over_a_long_baseline_stays() {
        let mut bench = Bench::new();
        bench.run(100, 1e6);
        bench.open(1, 1e6);
        bench.run(20, 1e6);
        assert_eq!(proven(bench.run(200, 1.2e6)), Some(true));
        bench.open(2, 1.2e6);
        assert_eq!(bench.run(300, 1.2e6), Verdict::NoGain { lanes: 2 });
    }

    #[test]
    fn without_a_baseline_lanes_are_kept_until_the_next_step() {
        let mut bench = Bench::new();
        bench.open(1, 0.0);
        assert_eq!(proven(bench.run(300, 1e6)), Some(false));
        bench.open(2, 1e6);
        assert_eq!(bench.run(300, 1e6), Verdict::NoGain { lanes: 1 });
    }

    #[test]
    fn while_nobody_answers_there_is_no_verdict() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.open(1, 1e6);
        assert_eq!(bench.run(10_000, 0.0), Verdict::Open);
        assert!(bench.trials.is_running());
    }

    #[test]
    fn answers_to_what_was_sent_before_the_backlog_are_no_baseline() {
        // At half the load for long; the backlog begins, and the full rate is seen a round later.
        let mut bench = Bench::new();
        bench.load.queued_messages = 0;
        bench.run(500, 0.5e6);
        bench.load.queued_messages = 1000;
        bench.run(20, 0.5e6);
        bench.run(40, 1e6);
        bench.open(1, 1e6);
        assert_eq!(bench.run(300, 1e6), Verdict::NoGain { lanes: 1 });
    }

    #[test]
    fn the_baseline_follows_a_rate_that_changes() {
        let mut bench = Bench::new();
        bench.run(60_000, 1e6);
        bench.run(400, 2e6);
        bench.open(1, 2e6);
        assert_eq!(bench.run(300, 2e6), Verdict::NoGain { lanes: 1 });
    }

    #[test]
    fn an_empty_queue_ends_a_trial_and_tells_what_a_lane_can_do() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.open(1, 1e6);
        bench.load.queued_messages = 0;
        let Verdict::Enough { lane_rate } = bench.run(50, 1e6) else {
            panic!("an empty queue");
        };
        assert!((lane_rate / 1e6 - 1.0).abs() < 0.01, "{lane_rate}");
    }

    #[test]
    fn lanes_that_did_not_open_are_no_trial() {
        let mut bench = Bench::new();
        bench.run(200, 1e6);
        bench.trials.begin_or_widen(&bench.load, 1);
        assert_eq!(bench.run(50, 1e6), Verdict::Void);
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
            assert_eq!(try_for(&mut bench, 1e6), Verdict::NoGain { lanes: 1 });
            assert_eq!(pause(&bench), Some(Duration::from_secs(seconds)));
        }
        bench.now += Duration::from_secs(300);
        assert_eq!(pause(&bench), None);
        assert_eq!(proven(try_for(&mut bench, 2e6)), Some(true));
        try_for(&mut bench, 1e6);
        assert_eq!(pause(&bench), Some(Duration::from_secs(1)));
    }
}
