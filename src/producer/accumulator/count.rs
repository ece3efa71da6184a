//! How much waits in one place: messages, bytes, and since when.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages in the upper bits, bytes in the lower 40, as in the [budget](super::budget), whose limits bound both.
const BYTES: u32 = 40;
/// How much waits. It is counted before it can be taken, so the counts are never below zero. Both are one word, so that
/// counting is one atomic addition.
#[derive(Debug)]
pub(super) struct Count {
    /// The counts, packed by [`pack`].
    word: AtomicU64,
    /// The time of the oldest call, in nanoseconds since the producer began; about.
    head: AtomicU64,
}

const fn pack(messages: usize, bytes: u64) -> u64 {
    ((messages as u64) << BYTES) + bytes
}

impl Count {
    pub(super) const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            head: AtomicU64::new(u64::MAX),
        }
    }

    /// Counts what has come. Returns whether nothing waited before.
    #[inline]
    pub(super) fn add(&self, messages: usize, bytes: u64) -> bool {
        let before = self
            .word
            .fetch_add(pack(messages, bytes), Ordering::Relaxed);
        before == 0
    }

    /// Counts what has gone.
    #[inline]
    pub(super) fn sub(&self, messages: usize, bytes: u64) {
        self.word
            .fetch_sub(pack(messages, bytes), Ordering::Relaxed);
    }

    /// Notes the time of the oldest call.
    #[inline]
    pub(super) fn mark(&self, at: u64) {
        self.head.store(at, Ordering::Relaxed);
    }

    /// Returns the messages and the bytes that wait.
    pub(super) fn get(&self) -> (usize, u64) {
        let word = self.word.load(Ordering::Relaxed);
        let messages = usize::try_from(word >> BYTES).unwrap_or(usize::MAX);
        (messages, word & ((1 << BYTES) - 1))
    }

    /// Returns the time of the oldest call; `None` if nothing waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        (self.get().0 > 0).then(|| self.head.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_and_not_gone_waits() {
        let count = Count::new();
        assert_eq!(count.oldest(), None);
        assert!(count.add(1, 100));
        count.mark(7);
        assert!(!count.add(2, 250));
        count.sub(1, 100);
        assert_eq!((count.get(), count.oldest()), ((2, 250), Some(7)));
        count.sub(2, 250);
        assert!(count.add(1, 0), "it was empty");
    }

    #[test]
    fn the_largest_budget_can_be_counted() {
        let count = Count::new();
        let most = ((1 << 24) - 1, (1 << 40) - 1);
        count.add(most.0, most.1);
        assert_eq!(count.get(), most);
    }
}
