//! How the scaler learns of a backlog without looking all the time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::sleeper::Sleeper;

/// Wakes the scaler when the backlog reaches a threshold, or when a message comes after a quiet time.
#[derive(Debug)]
pub(crate) struct BacklogAlarm {
    scaler: Sleeper,
    /// The number of queued messages that wakes the scaler; `usize::MAX` for none. Set by the scaler, cleared by the
    /// push that reaches it.
    threshold: AtomicUsize,
    /// The scaler had nothing to do and waits for the next message. Set by the scaler, cleared by that message.
    quiet: AtomicBool,
}

impl BacklogAlarm {
    pub(crate) fn new() -> Self {
        Self {
            scaler: Sleeper::new(),
            threshold: AtomicUsize::new(usize::MAX),
            quiet: AtomicBool::new(false),
        }
    }

    /// Sets when to wake the scaler next.
    pub(crate) fn set(&self, threshold: usize, quiet: bool) {
        self.threshold.store(threshold, Ordering::Relaxed);
        self.quiet.store(quiet, Ordering::SeqCst);
    }

    /// Looks whether the message that was just queued is to wake the scaler; `queued` counts what waits.
    pub(crate) fn on_push(&self, queued: impl FnOnce() -> usize) {
        let threshold = self.threshold.load(Ordering::Relaxed);
        let reached = threshold != usize::MAX
            && queued() >= threshold
            && self.threshold.swap(usize::MAX, Ordering::Relaxed) == threshold;
        let woken = self.quiet.load(Ordering::Relaxed) && self.quiet.swap(false, Ordering::SeqCst);
        if reached || woken {
            self.scaler.tell();
        }
    }

    /// Waits until the alarm goes off; returns at once where it did since the last call.
    pub(crate) async fn notified(&self) {
        self.scaler.told().await;
    }
}
