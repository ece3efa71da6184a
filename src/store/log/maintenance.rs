//! What a log needs beside appends: the next segment, seals and indexes of full ones, snapshots, the removal of what was
//! trimmed, the end mark, and verification. A thread of the store does it, or the caller where there is none.
//!
//! Nothing in here writes more than 1 MiB between two syncs, and large files are shortened in steps before they are removed:
//! a burst of writes or discards delays the next sync of the log by milliseconds.

use std::{
    io,
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    mark::MARK_AFTER,
    shared::{Health, Shared},
    verify::Verifier,
    work::Woken,
};
use crate::time;

/// Starts the thread of a store.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let worker = Arc::clone(shared);
    let thread = thread::Builder::new().name("anabranch-log".to_owned());
    let thread = thread.spawn(move || worker.run_maintenance())?;
    shared.work.state().thread = Some(thread);
    shared.work.wake();
    Ok(())
}

impl Shared {
    fn run_maintenance(&self) {
        let mut verifier = self
            .config
            .verify_rate
            .map(|rate| Verifier::new(self, rate, time::now()));
        let mut marked = time::now();
        loop {
            let now = time::now();
            match self.work.wait(self.next_due(&verifier, marked, now)) {
                Woken::Stopped => return,
                Woken::Wanted => self.maintain_and_log(false),
                Woken::Due => {}
            }
            let now = time::now();
            if self.work.is_unmarked() && now >= marked + MARK_AFTER {
                self.write_mark();
                marked = now;
            }
            if let Some(verifier) = &mut verifier {
                verifier.run(self, now);
            }
        }
    }

    /// Returns how long there is nothing to do, unless something is wanted.
    fn next_due(
        &self,
        verifier: &Option<Verifier>,
        marked: Instant,
        now: Instant,
    ) -> Option<Duration> {
        let mark = self
            .work
            .is_unmarked()
            .then(|| (marked + MARK_AFTER).saturating_duration_since(now));
        let verify = verifier.as_ref().map(|verifier| verifier.wait(now));
        mark.into_iter().chain(verify).min()
    }

    fn maintain_and_log(&self, forced: bool) {
        if let Err(error) = self.maintain(forced) {
            tracing::warn!(%error, "the maintenance of the log failed");
        }
    }

    /// Runs the maintenance in the calling thread, if the store has no thread for it and it is wanted.
    pub(super) fn maintain_here(&self) {
        if !self.work.has_thread() && std::mem::take(&mut self.work.state().wanted) {
            self.maintain_and_log(false);
            self.write_mark();
        }
    }

    /// Does what is due. If `forced`, gives back all space that can be given back.
    pub(super) fn maintain(&self, forced: bool) -> io::Result<()> {
        if matches!(self.state().health, Health::Closed) {
            return Ok(());
        }
        let prepared = self.prepare();
        self.seal_rolled()?;
        if self.is_snapshot_due() {
            self.snapshot()?;
        }
        self.reclaim(forced)?;
        prepared
    }

    /// Writes the mark, if frames were written since the last one. A failure is no harm: the next one says more.
    pub(super) fn write_mark(&self) {
        if !self.syncs() || !self.work.take_unmarked() {
            return;
        }
        let end = self.state().end;
        let mut marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = marker.write(&*self.disk, &end) {
            tracing::debug!(%error, "the end mark was not written");
        }
    }
}
