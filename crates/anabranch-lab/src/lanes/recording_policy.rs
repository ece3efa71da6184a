//! A policy that follows another one, and records its decisions.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anabranch::scaler::{Action, Decision, Load, Reason, ScalePolicy};

/// Limit of recorded decisions. Later ones are not recorded.
const MAX_DECISIONS: usize = 20_000;

/// A decision that changed something, or whose reason differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided {
    /// Time since the load began. Zero for decisions before it.
    pub at: Duration,
    /// The action.
    pub action: Action,
    /// The reason.
    pub reason: Reason,
    /// Number of lanes before the action.
    pub lanes: usize,
    /// Number of queued messages.
    pub queued: usize,
}

/// The recorded decisions.
#[derive(Debug)]
pub(super) struct Log {
    began: Instant,
    decided: Vec<Decided>,
}

/// Records decisions. Clones share one log.
#[derive(Debug, Clone)]
pub(super) struct Recorder(Arc<Mutex<Log>>);

impl Recorder {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Log {
            began: now,
            decided: Vec::new(),
        })))
    }

    /// Starts the time of the log at `now`. Earlier decisions get time zero.
    pub(super) fn begin(&self, now: Instant) {
        let mut log = self.log();
        log.began = now;
        for decided in &mut log.decided {
            decided.at = Duration::ZERO;
        }
    }

    pub(super) fn decided(&self) -> Vec<Decided> {
        self.log().decided.clone()
    }

    pub(super) fn around(&self, policy: impl ScalePolicy + 'static) -> Recorded {
        Recorded {
            policy: Box::new(policy),
            recorder: self.clone(),
        }
    }

    fn note(&self, now: Instant, load: &Load, decision: &Decision) {
        let mut log = self.log();
        let same = log.decided.last().map(|last| last.reason) == Some(decision.reason);
        if (same && decision.action == Action::Hold) || log.decided.len() >= MAX_DECISIONS {
            return;
        }
        let at = now.saturating_duration_since(log.began);
        log.decided.push(Decided {
            at,
            action: decision.action,
            reason: decision.reason,
            lanes: load.total_lanes(),
            queued: load.queued_messages,
        });
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A policy whose decisions are recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    policy: Box<dyn ScalePolicy>,
    recorder: Recorder,
}

impl ScalePolicy for Recorded {
    fn decide(&mut self, now: Instant, load: &Load) -> Decision {
        let decision = self.policy.decide(now, load);
        self.recorder.note(now, load, &decision);
        decision
    }

    fn backlog_threshold(&self, lanes: usize) -> usize {
        self.policy.backlog_threshold(lanes)
    }
}
