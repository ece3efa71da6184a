//! The sweep: moves what memory holds to staging, before everything that is accepted later.
//!
//! Lanes go on to take messages and to register them as requests, and write none for the first time. The requests are taken
//! from them until memory holds nothing but what was written before. That stays: only the broker knows whether it is stored,
//! and its lanes ask and write it again after the outage, before anything on disk is sent.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Spool;
use crate::producer::{accumulator::Accumulator, sender::Requests};

/// The task that moves what memory holds to staging.
pub(super) struct Sweep {
    pub(super) memory: Arc<Accumulator>,
    pub(super) spool: Arc<Spool>,
    pub(super) requests: Arc<Requests>,
}

impl Sweep {
    /// Runs until the producer ends.
    pub(super) async fn run(self, stopped: CancellationToken) {
        loop {
            tokio::select! { biased;
                () = stopped.cancelled() => return,
                () = self.spool.sweep_notify.notified() => {}
                () = self.requests.wait_registered() => {}
            }
            if self.spool.mode().is_sweeping() {
                self.step();
            }
        }
    }

    /// Moves what lanes have registered, and ends the sweep if nothing is left.
    fn step(&self) {
        let taken = self.requests.take_unwritten();
        let moved: usize = taken.iter().map(|request| request.messages).sum();
        self.spool.stage_batches(taken);
        // Counted first: what has its outcome in between makes the numbers differ, and wakes this task again.
        let left = self.memory.messages_in_memory();
        let staged = self.spool.staged_in_batches();
        // What is neither written nor staged is in a queue, or a lane is about to register it.
        let is_rest = |written| left == written + staged;
        let written = self.requests.only_written();
        tracing::debug!(moved, left, staged, ?written, "memory goes to the spool");
        if written.is_some_and(is_rest) {
            self.requests.end_sweep();
            self.spool.mode_mut().end_sweep();
            self.spool.replay_notify.notify_one();
        }
        self.spool.write_notify.notify_one();
    }
}
