//! A policy that follows another one, and prints every change of the number of lanes.

use std::time::Instant;

use anabranch::scaler::{Action, Decision, Load, ScalePolicy};

use crate::progress;

/// Prints a line for each change of the number of lanes.
#[derive(Debug)]
pub(super) struct LoggingPolicy<P>(pub(super) P);

impl<P: ScalePolicy> ScalePolicy for LoggingPolicy<P> {
    fn decide(&mut self, now: Instant, load: &Load) -> Decision {
        let decision = self.0.decide(now, load);
        let lanes = load.total_lanes();
        let after = match decision.action {
            Action::Hold => return decision,
            Action::Open(more) => lanes + more.get(),
            Action::Retire(fewer) => lanes.saturating_sub(fewer.get()),
        };
        progress::say(format_args!(
            "lanes {lanes} -> {after} ({}), {} messages queued",
            decision.reason, load.queued_messages
        ));
        tracing::debug!(?load, "load of the decision");
        decision
    }

    fn backlog_threshold(&self, lanes: usize) -> usize {
        self.0.backlog_threshold(lanes)
    }
}
