//! A policy that does what another one says and writes it down.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anabranch::scaler::{Action, Decision, Load, Reason, ScalePolicy};

/// The most entries that are kept: what comes later is not written down.
const MOST: usize = 20_000;

/// A decision that changed something, or whose reason differs from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided {
    /// When, since the load began; before it where it had not begun.
    pub at: Duration,
    /// What was to be done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The lanes at that moment, before it was done.
    pub lanes: usize,
    /// The messages that were queued.
    pub queued: usize,
}

/// What was written down, and when the load began.
#[derive(Debug)]
pub(super) struct Log {
    began: Instant,
    decided: Vec<Decided>,
}

/// All clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct Recorder(Arc<Mutex<Log>>);

impl Recorder {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Log {
            began: now,
            decided: Vec::new(),
        })))
    }

    /// The load begins now: what came before happened at zero.
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
        if (same && decision.action == Action::Hold) || log.decided.len() >= MOST {
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

/// The policy.
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
