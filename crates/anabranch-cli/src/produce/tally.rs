//! Counts the outcomes of messages, and prints the first few failures.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::progress;

/// Number of failures printed one by one.
const PRINTED: u64 = 5;

/// File and number of a message.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) file: Arc<str>,
    /// What the number counts: lines or messages.
    pub(super) unit: &'static str,
    pub(super) number: u64,
}

/// The counts of a run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    // Written by the reader thread.
    read: AtomicU64,
    read_bytes: AtomicU64,
    // Written by the sender.
    delivered: AtomicU64,
    spooled: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    /// Returns the number of messages read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes read, including newlines and other ends.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of messages stored by the broker.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Returns about how many bytes of the input are stored by the broker or in the spool: the messages are taken to be of
    /// one size.
    pub(super) fn delivered_bytes(&self) -> u64 {
        let (read, done) = (self.read().max(1), self.delivered() + self.spooled());
        let bytes = u128::from(self.read_bytes()) * u128::from(done) / u128::from(read);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Returns the number of messages written to the spool.
    pub(super) fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    /// Returns the number of messages that were read, and are neither known to be stored nor in the spool.
    pub(super) fn undelivered(&self) -> u64 {
        self.read()
            .saturating_sub(self.delivered() + self.spooled())
    }

    pub(super) fn on_spooled(&self) {
        self.spooled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_read(&self, messages: u64, bytes: u64) {
        self.read.fetch_add(messages, Ordering::Relaxed);
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn on_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed message, and prints the first few with their reason.
    pub(super) fn on_failed(&self, origin: &Origin, why: impl fmt::Display) {
        let before = self.failed.fetch_add(1, Ordering::Relaxed);
        if before < PRINTED {
            let Origin { file, unit, number } = origin;
            progress::error(format_args!("{unit} {number} of {file}: {why}"));
        } else if before == PRINTED {
            progress::error("more messages failed; they are only counted");
        }
    }
}
