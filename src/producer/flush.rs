//! Eras: how a flush knows that everything accepted before it has its outcome.
//!
//! Chunks are counted by the era in which they were begun, and a chunk takes messages of its era alone. A flush begins a new era
//! and waits until nothing of the earlier ones is open; what is accepted meanwhile belongs to the new era and does not hold it up.
//! Two counters are enough: an era begins only when the one before the last is over.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, Semaphore};

#[derive(Debug)]
pub(crate) struct Eras {
    current: AtomicU64,
    /// Open chunks of even and of odd eras.
    open: [AtomicU64; 2],
    changed: Notify,
    /// Flushes take turns.
    turn: Semaphore,
}

const fn parity(era: u64) -> usize {
    (era & 1) as usize
}

impl Eras {
    pub(crate) fn new() -> Self {
        Self {
            current: AtomicU64::new(0),
            open: [AtomicU64::new(0), AtomicU64::new(0)],
            changed: Notify::new(),
            turn: Semaphore::new(1),
        }
    }

    /// The era that is now.
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::SeqCst)
    }

    /// A chunk is begun: the era it belongs to.
    pub(crate) fn begin(&self) -> u64 {
        let era = self.current();
        self.open[parity(era)].fetch_add(1, Ordering::SeqCst);
        era
    }

    /// So many chunks of this era have their outcome.
    pub(crate) fn resolved(&self, era: u64, chunks: u64) {
        if self.open[parity(era)].fetch_sub(chunks, Ordering::SeqCst) == chunks {
            self.changed.notify_waiters();
        }
    }

    /// Waits until everything accepted before the call has its outcome.
    ///
    /// Cancel safe: a flush that is dropped leaves the next one more to wait for, nothing else.
    pub(crate) async fn flush(&self) {
        let Ok(_turn) = self.turn.acquire().await else {
            return;
        };
        let era = self.current.load(Ordering::SeqCst);
        // A flush that was given up may have left the era before open.
        self.over(era + 1).await;
        self.current.store(era + 1, Ordering::SeqCst);
        self.over(era).await;
    }

    /// Waits until no chunk of eras of this parity is open.
    async fn over(&self, era: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.open[parity(era)].load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_flush_waits_for_what_came_before_it_and_for_nothing_else() {
        let eras = Eras::new();
        let before = eras.begin();
        let flush = eras.flush();
        tokio::pin!(flush);
        assert!(poll!(&mut flush).is_pending());
        let after = eras.begin();
        assert_ne!(before, after);
        eras.resolved(before, 1);
        assert!(poll!(&mut flush).is_ready());
    }

    #[tokio::test]
    async fn a_flush_after_one_that_was_given_up_waits_for_both() {
        let eras = Eras::new();
        let first = eras.begin();
        {
            let given_up = eras.flush();
            tokio::pin!(given_up);
            assert!(poll!(&mut given_up).is_pending());
        }
        let second = eras.begin();
        let flush = eras.flush();
        tokio::pin!(flush);
        assert!(poll!(&mut flush).is_pending());
        eras.resolved(second, 1);
        assert!(poll!(&mut flush).is_pending());
        eras.resolved(first, 1);
        assert!(poll!(&mut flush).is_ready());
    }
}
