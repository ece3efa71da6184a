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
        if load.queued_messages == 0 || load.lanes != self.lanes {
            *self = Self {
                lanes: load.lanes,
                since: (load.queued_messages > 0).then_some(now),
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

    /// `more` lanes are being opened for a backlog: their trial begins.
    pub(super) fn begin(&mut self, load: &Load, more: usize) {
        self.running = Some(Trial {
            from: load.lanes,
            to: load.lanes + more,
            rate: load.ack_rate.unwrap_or_default(),
            hold: load.broker_hold.unwrap_or_default(),
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
        if load.opening > 0 {
            self.before.on_answers(load);
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
                if now < ready_at + load.rtt {
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
