//! FlushEpochs: how a flush knows that everything accepted before it has its outcome.
//!
//! Chunks are counted by the era in which they were begun, and a chunk takes messages of its era alone. A flush begins a new era
//! and waits until nothing of the earlier ones is open; what is accepted meanwhile belongs to the new era and does not hold it up.
//! Two counters are enough: an era begins only when the one before the last is over.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, Semaphore};

#[derive(Debug)]
pub(crate) struct FlushEpochs {
    current: AtomicU64,
    /// Open chunks of even and of odd eras.
    open: [AtomicU64; 2],
    changed: Notify,
    /// Flushes take turns.
    turn: Semaphore,
}

const fn parity(epoch: u64) -> usize {
    (epoch & 1) as usize
}

impl FlushEpochs {
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
        let epoch = self.current();
        self.open[parity(epoch)].fetch_add(1, Ordering::SeqCst);
        epoch
    }

    /// So many chunks of this era have their outcome.
    pub(crate) fn resolved(&self, epoch: u64, chunks: u64) {
        if self.open[parity(epoch)].fetch_sub(chunks, Ordering::SeqCst) == chunks {
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
        let epoch = self.current.load(Ordering::SeqCst);
        // A flush that was given up may have left the era before open.
        self.over(epoch + 1).await;
        self.current.store(epoch + 1, Ordering::SeqCst);
        self.over(epoch).await;
    }

    /// Waits until no chunk of eras of this parity is open.
    async fn over(&self, epoch: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.open[parity(epoch)].load(Ordering::SeqCst) == 0 {
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
        let epochs = FlushEpochs::new();
        let before = epochs.begin();
        let flush = epochs.flush();
        tokio::pin!(flush);
        assert!(poll!(&mut flush).is_pending());
        let after = epochs.begin();
        assert_ne!(before, after);
        epochs.resolved(before, 1);
        assert!(poll!(&mut flush).is_ready());
    }

    #[tokio::test]
    async fn a_flush_after_one_that_was_given_up_waits_for_both() {
        let epochs = FlushEpochs::new();
        let first = epochs.begin();
        {
            let given_up = epochs.flush();
            tokio::pin!(given_up);
            assert!(poll!(&mut given_up).is_pending());
        }
        let second = epochs.begin();
        let flush = epochs.flush();
        tokio::pin!(flush);
        assert!(poll!(&mut flush).is_pending());
        epochs.resolved(second, 1);
        assert!(poll!(&mut flush).is_pending());
        epochs.resolved(first, 1);
        assert!(poll!(&mut flush).is_ready());
    }
}
