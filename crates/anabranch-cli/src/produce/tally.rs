//! What became of the messages: counted, and the first few failures told.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::progress;

/// Failures that are told one by one.
const TOLD: u64 = 5;

/// Where a message came from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) file: Arc<str>,
    pub(super) line: u64,
}

/// The counts of one run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Written by the reader.
    read: AtomicU64,
    read_bytes: AtomicU64,
    /// Written by the pump.
    delivered: AtomicU64,
    spooled: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    /// Messages that were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Their bytes, with their newlines.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Messages that are stored.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Messages that went to disk.
    pub(super) fn spooled(&self) -> u64 {
        self.spooled.load(Ordering::Relaxed)
    }

    /// Messages that were read and are not known to be stored, or on disk.
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

    /// A message failed, for the reason that `why` puts into words. The first few are told.
    pub(super) fn on_failed(&self, origin: &Origin, why: impl fmt::Display) {
        let before = self.failed.fetch_add(1, Ordering::Relaxed);
        if before < TOLD {
            let Origin { file, line } = origin;
            progress::say(format_args!("error: line {line} of {file}: {why}"));
        } else if before == TOLD {
            progress::say("error: further failures are only counted");
        }
    }
}
