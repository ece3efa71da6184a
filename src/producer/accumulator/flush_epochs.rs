//! How a flush knows that everything accepted before it has its outcome.
//!
//! Chunks are counted by the epoch in which they were begun, and a chunk takes messages of its epoch only. A flush begins
//! a new epoch and waits until no chunk of the earlier ones is open. What is accepted meanwhile belongs to the new epoch
//! and does not delay it. Two counters are enough: an epoch begins only when the one before the last is over.
//!
//! A message counts from the moment at which its call counts it, before it is in a queue. So a flush also waits for what a
//! stopped thread has in hand. A call that a flush overtakes before that moment came after the flush.

use std::{future::poll_fn, task::Poll};

use tokio::sync::Semaphore;

use crate::sync::{AtomicU64, AtomicWaker, Ordering};

/// The flush epochs of one producer.
#[derive(Debug)]
pub(crate) struct FlushEpochs {
    current: AtomicU64,
    /// The number of open chunks of even and of odd epochs. A message of an ordered queue counts as a chunk.
    open: [AtomicU64; 2],
    /// Wakes the flush that runs when one of the counts has become zero.
    changed: AtomicWaker,
    /// Lets one flush at a time run. Only other flushes wait for it.
    running: Semaphore,
}

const fn parity(epoch: u64) -> usize {
    (epoch & 1) as usize
}

impl FlushEpochs {
    pub(crate) fn new() -> Self {
        Self {
            current: AtomicU64::new(0),
            open: [AtomicU64::new(0), AtomicU64::new(0)],
            changed: AtomicWaker::new(),
            running: Semaphore::new(1),
        }
    }

    /// Returns the present epoch.
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::SeqCst)
    }

    /// Counts a new chunk, and returns its epoch.
    pub(crate) fn begin(&self) -> u64 {
        let epoch = self.current();
        self.open[parity(epoch)].fetch_add(1, Ordering::SeqCst);
        epoch
    }

    /// Counts chunks of an epoch that have their outcome.
    pub(crate) fn resolved(&self, epoch: u64, chunks: u64) {
        if self.open[parity(epoch)].fetch_sub(chunks, Ordering::SeqCst) == chunks {
            self.changed.wake();
        }
    }

    /// As [`resolved`](Self::resolved), for chunks of even and of odd epochs.
    pub(crate) fn resolved_each(&self, chunks: [u64; 2]) {
        for (epoch, chunks) in (0..).zip(chunks) {
            if chunks > 0 {
                self.resolved(epoch, chunks);
            }
        }
    }

    /// Waits until everything accepted before the call has its outcome.
    ///
    /// # Cancel safety
    /// Cancel safe. The next flush may have more to wait for after one that was dropped.
    pub(crate) async fn flush(&self) {
        let Ok(_running) = self.running.acquire().await else {
            return;
        };
        let epoch = self.current.load(Ordering::SeqCst);
        // A flush that was dropped may have left the epoch before open.
        self.over(epoch + 1).await;
        self.current.store(epoch + 1, Ordering::SeqCst);
        self.over(epoch).await;
    }

    /// Waits until no chunk of an epoch of this parity is open.
    async fn over(&self, epoch: u64) {
        poll_fn(|cx| {
            self.changed.register(cx.waker());
            match self.open[parity(epoch)].load(Ordering::SeqCst) {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
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
