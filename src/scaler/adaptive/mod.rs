//! Sans-I/O: the default policy. Each file here answers one of its questions; this one asks them and decides.
//!
//! `common.rs` is below all others. The [scaler's page](super) has the law in half a page.

mod backlog;
mod broker_backlog;
mod common;
mod congestion;
mod delivery_rate;
mod demand;
mod local_network;
mod loss;
mod path;
mod slow_start;
#[cfg(test)]
mod tests;
mod trial;

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use self::{
    broker_backlog::BrokerBacklog,
    common::GRANULARITY,
    congestion::Congestion,
    demand::Demand,
    loss::LossTerm,
    path::PathLoad,
    trial::{TrialOutcome, Trials},
};
use super::{
    config::Config,
    decision::{Action, Decision, Reason, ScalePolicy},
    load::Load,
};
use crate::config::ConfigError;

/// Time to the next call while answers are due and nothing is queued. Losses must be counted, and a hundred calls a second cost
/// nothing.
const CALM_INTERVAL: Duration = Duration::from_millis(10);
/// Time after which a lane of the minimum that did not open is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// The most retirements in an idle timeout, so that a demand that falls slowly does not cause a stream of them.
const RETIREMENTS: u32 = 4;

/// The default policy: opens a lane when messages wait and a lane is missing, or when losses delay messages that were not lost;
/// retires lanes that were not needed for an idle timeout.
///
/// # Promises
///
/// Property tests hold these for any sequence of loads.
///
/// - There are never more lanes than `max_lanes`, and no fewer than `min_lanes` by its own decision.
/// - Lanes at most double in a round trip. Only the minimum is opened at once.
/// - After an opening, no lane is retired and another opened within one `idle_timeout`. So at most `max_lanes` are opened in any
///   `idle_timeout`, retreats included. Lanes of the minimum that failed are always replaced.
/// - No lane is retired as idle while messages press. Only a trial without gain, or a window that was full for an idle timeout,
///   retires lanes then.
/// - The same loads get the same decisions.
///
/// # Costs
///
/// - A doubling takes about three rounds: one to open, one until answers are of the new lanes, one to judge. Sixteen lanes take
///   twelve to sixteen rounds. Opening all at once would be sooner, and would open all for nothing where the broker is the limit.
/// - A store at its limit is tried with one lane more (three after a cold start, when there is no rate to compare with): six
///   times in the first five minutes, then every five minutes.
/// - Catching up with a backlog may take twice the lanes that keep up. They go after the idle timeout.
#[derive(Debug, Clone)]
pub struct Adaptive {
    config: Config,
    broker_backlog: BrokerBacklog,
    congestion: Congestion,
    demand: Demand,
    loss: LossTerm,
    path: PathLoad,
    trials: Trials,
    /// Lanes at the last call. Lanes that were added since are needed.
    last_lanes: usize,
    last_open: Option<Instant>,
    last_retire: Option<Instant>,
    /// Set by a retirement: an idle timeout after the opening before it.
    no_open_before: Option<Instant>,
}

/// A number of lanes that would help, before the limits are asked.
struct Proposal {
    lanes: usize,
    reason: Reason,
    /// How it is tried whether they help. `None` where that is known.
    trial: Option<TrialKind>,
}

/// How the steps of a trial follow each other.
#[derive(Clone, Copy, PartialEq)]
enum TrialKind {
    /// The next step waits for the outcome of the last.
    Stepwise,
    /// The steps follow a congestion window that doubles, and one outcome judges all.
    SlowStart,
}

impl Adaptive {
    /// Makes a policy with these options.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names every field of `config` that breaks its rule.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            broker_backlog: BrokerBacklog::default(),
            congestion: Congestion::default(),
            demand: Demand::new(&config),
            loss: LossTerm::new(config.idle_timeout),
            path: PathLoad::default(),
            trials: Trials::new(&config),
            config,
            last_lanes: 0,
            last_open: None,
            last_retire: None,
            no_open_before: None,
        })
    }

    /// Updates everything that is measured. Returns the outcome of the trial.
    fn measure(&mut self, now: Instant, load: &Load) -> TrialOutcome {
        let blocked = self.congestion.is_blocked(now, load);
        let waits_elsewhere =
            blocked && backlog::is_lasting(load) || local_network::is_processor_late(load);
        self.loss.on_load(now, load, waits_elsewhere);
        let outcome = self.trials.on_load(now, load);
        if let TrialOutcome::Enough { lane_rate } | TrialOutcome::Gain { lane_rate, .. } = outcome {
            self.demand.on_lane_rate(now, lane_rate);
        }
        let lanes = load.total_lanes();
        if lanes <= self.config.min_lanes {
            self.demand.forget_lane_rate();
        }
        self.demand.on_load(now, load, blocked);
        self.demand
            .require(now, path::lanes_used_by_path(load).min(lanes));
        let waits_for_lanes = self.is_deep(load) && !blocked;
        let pressed = load.lanes_opening > 0 || self.trials.is_running() || waits_for_lanes;
        let grown = lanes > std::mem::replace(&mut self.last_lanes, lanes);
        let required = if pressed || grown {
            lanes
        } else {
            self.lanes_against_loss(load).min(lanes)
        };
        self.demand.require(now, required);
        outcome
    }

    fn choose(&mut self, now: Instant, load: &Load, outcome: TrialOutcome) -> (Action, Reason) {
        let lanes = load.total_lanes();
        if lanes < self.config.min_lanes {
            let missing = self.config.min_lanes - lanes;
            return self.open(now, load, missing, Reason::Minimum);
        }
        if lanes > self.config.max_lanes {
            let spare = lanes - self.config.max_lanes;
            return (Action::retire(spare), Reason::MaxLanes);
        }
        if let Some(helpful) = lanes_that_helped(outcome, load) {
            let kept = helpful
                .max(self.config.min_lanes)
                .max(self.lanes_against_loss(load));
            return match lanes.saturating_sub(kept) {
                0 => (Action::Hold, self.no_gain(now, Reason::Ceiling)),
                spare => (Action::retire(spare), self.no_gain(now, Reason::NoGain)),
            };
        }
        match self.propose(now, load) {
            Ok(proposal) => self.limit(now, load, &proposal),
            Err(reason) => match self.unneeded(now, load) {
                0 => (Action::Hold, reason),
                spare if reason == Reason::CongestionLimited => (Action::retire(spare), reason),
                spare => (Action::retire(spare), Reason::Idle),
            },
        }
    }

    /// Returns the lanes that losses are worth. With nothing unanswered, a loss delays nothing.
    fn lanes_against_loss(&self, load: &Load) -> usize {
        let lanes = if load.is_quiet() {
            1
        } else {
            self.loss.lanes()
        };
        lanes.min(self.config.max_lanes)
    }

    /// Returns how many lanes would help, or the reason why no more would.
    fn propose(&self, now: Instant, load: &Load) -> Result<Proposal, Reason> {
        let lanes = load.total_lanes();
        let waits = backlog::is_lasting(load);
        let blocked = self.congestion.is_blocked(now, load);
        let against_loss = self.lanes_against_loss(load);
        // Messages that wait for QUIC do not wait for a lane that a loss delays.
        if against_loss > lanes && !(blocked && waits) {
            return Ok(Proposal {
                lanes: against_loss,
                reason: Reason::Loss,
                trial: None,
            });
        }
        if load.is_quiet() {
            return Err(Reason::Idle);
        }
        let broker_backlog = self.broker_backlog.is_present();
        if !(waits && (broker_backlog || self.is_deep(load))) {
            return match !blocked && self.path.is_growing(now, load) {
                true => Ok(Proposal {
                    lanes: lanes.saturating_add(1),
                    reason: Reason::Backlog,
                    trial: None,
                }),
                false => Err(Reason::BelowThreshold),
            };
        }
        if lanes >= local_network::max_lanes_for_rate(load) {
            return Err(Reason::LanesNotFull);
        }
        let more = backlog::lanes_for_queue(load);
        if self.congestion.is_window_full(now, load) || path::is_path_full(load) {
            let next = slow_start::lanes_of_next_window(load).min(lanes.saturating_add(more));
            if next > lanes {
                return Ok(Proposal {
                    lanes: next,
                    reason: Reason::Backlog,
                    trial: Some(TrialKind::SlowStart),
                });
            }
        }
        if blocked {
            return Err(Reason::CongestionLimited);
        }
        if !backlog::are_lanes_full(load) {
            return Err(Reason::LanesNotFull);
        }
        let more = if broker_backlog { lanes } else { more };
        Ok(Proposal {
            lanes: lanes
                .saturating_add(more)
                .min(congestion::lanes_that_fill_window(load)),
            reason: Reason::Backlog,
            trial: Some(TrialKind::Stepwise),
        })
    }

    /// Opens what was proposed, as far as the options, the peer, the last trial and the last opening permit.
    fn limit(&mut self, now: Instant, load: &Load, proposal: &Proposal) -> (Action, Reason) {
        let lanes = load.total_lanes();
        let mut most = self.config.max_lanes;
        if lanes >= most {
            return (Action::Hold, Reason::MaxLanes);
        }
        if proposal.trial == Some(TrialKind::Stepwise)
            && let Some(ceiling) = self.trials.ceiling(now)
        {
            most = most.min(ceiling.lanes);
            if lanes >= most {
                return (Action::Hold, self.no_gain(now, Reason::Ceiling));
            }
        }
        if load.peer_streams_left == 0 {
            return (Action::Hold, Reason::PeerLimit);
        }
        let waits = self.trials.is_running() && proposal.trial == Some(TrialKind::Stepwise);
        if load.lanes_opening > 0 || waits {
            return (Action::Hold, Reason::Cooldown);
        }
        let more = proposal.lanes.min(most).saturating_sub(lanes).min(lanes);
        let (action, reason) = self.open(now, load, more, proposal.reason);
        if let Action::Open(more) = action
            && proposal.trial.is_some()
        {
            self.trials.begin_or_widen(load, more.get());
        }
        (action, reason)
    }

    fn open(&self, now: Instant, load: &Load, more: usize, reason: Reason) -> (Action, Reason) {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if since(self.last_open).is_some_and(|age| age < load.rtt.max(GRANULARITY)) {
            return (Action::Hold, Reason::Cooldown);
        }
        if reason != Reason::Minimum && self.no_open_before.is_some_and(|until| now < until) {
            return (Action::Hold, Reason::Cooldown);
        }
        match more.min(load.peer_streams_left) {
            0 => (Action::Hold, Reason::PeerLimit),
            more => (Action::open(more), reason),
        }
    }

    /// Returns how many lanes were not needed at any moment of the last idle timeout.
    fn unneeded(&mut self, now: Instant, load: &Load) -> usize {
        let resting = self.last_retire.is_some_and(|at| {
            now.saturating_duration_since(at) < self.config.idle_timeout / RETIREMENTS
        });
        if resting || load.lanes_opening > 0 {
            return 0;
        }
        let kept = self.demand.peak(now).max(self.config.min_lanes);
        load.total_lanes().saturating_sub(kept)
    }

    /// Records when lanes are opened and retired.
    fn record(&mut self, now: Instant, action: Action) {
        match action {
            Action::Hold => {}
            Action::Open(_) => self.last_open = Some(now),
            Action::Retire(_) => {
                self.last_retire = Some(now);
                self.no_open_before = self.last_open.map(|at| at + self.config.idle_timeout);
            }
        }
    }

    /// Returns when the producer must call again if no message is enqueued.
    fn wake_after(&self, now: Instant, load: &Load, action: Action) -> Option<Duration> {
        if load.queued_messages > 0 {
            return Some((load.rtt / 2).max(GRANULARITY));
        }
        if !load.is_quiet()
            || load.lanes_opening > 0
            || self.trials.is_running()
            || action != Action::Hold
        {
            return Some(load.rtt.max(CALM_INTERVAL));
        }
        let lanes = load.total_lanes();
        match lanes.cmp(&self.config.min_lanes) {
            Ordering::Less => Some(load.rtt.max(RETRY)),
            Ordering::Equal => None,
            Ordering::Greater => {
                let rested = self
                    .last_retire
                    .map(|at| at + self.config.idle_timeout / RETIREMENTS);
                let due = self.demand.falls_below(lanes).max(rested);
                let wait = due.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                Some(wait.max(GRANULARITY))
            }
        }
    }

    fn is_deep(&self, load: &Load) -> bool {
        backlog::is_deep(load, self.backlog_threshold(load.total_lanes()))
    }

    fn no_gain(&self, now: Instant, otherwise: Reason) -> Reason {
        match self.trials.ceiling(now) {
            Some(ceiling) if ceiling.broker_slow => Reason::BrokerSlow,
            _ => otherwise,
        }
    }
}

impl ScalePolicy for Adaptive {
    fn decide(&mut self, now: Instant, load: &Load) -> Decision {
        self.congestion.on_load(now, load);
        self.path.on_load(now, load);
        let blocked = self.congestion.is_blocked(now, load);
        let load = &self.broker_backlog.on_load(now, load, blocked);
        let outcome = self.measure(now, load);
        let (action, reason) = self.choose(now, load, outcome);
        self.record(now, action);
        Decision {
            action,
            reason,
            wake_after: self.wake_after(now, load, action),
        }
    }

    fn backlog_threshold(&self, lanes: usize) -> usize {
        self.config.backlog_threshold.saturating_mul(lanes.max(1))
    }
}

/// Returns how many lanes a trial leaves, where these may be fewer than there are: those before it, and what the path uses. Of the
/// lanes of a slow start all helped together, and those that the path does not use were too many.
fn lanes_that_helped(outcome: TrialOutcome, load: &Load) -> Option<usize> {
    let used = path::lanes_used_by_path(load);
    match outcome {
        TrialOutcome::NoGain { lanes } => Some(lanes.max(used)),
        TrialOutcome::Gain { widened: true, .. } if used > 0 && used < load.lanes => Some(used),
        _ => None,
    }
}
