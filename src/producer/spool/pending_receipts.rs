//! Sans-I/O: the receipts of messages on disk that have no outcome yet, by the positions of the messages in the log.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::producer::receipt::Promise;

/// The receipt of one message: the promise that it shares with others, and its place among them.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) promise: Arc<Promise>,
    pub(super) index: u32,
}

/// Receipts of messages on disk, bounded. `S` is what completes one.
#[derive(Debug)]
pub(super) struct PendingReceipts<S> {
    /// In the order of the log.
    entries: VecDeque<Entry<S>>,
    /// The number of receipts in all entries.
    len: usize,
    limit: usize,
    /// Whether no more are taken.
    closed: bool,
}

/// The receipts of one entry.
#[derive(Debug)]
struct Entry<S> {
    /// The position of its first message.
    first: u64,
    /// One for each message; `None` when it was taken.
    slots: Vec<Option<S>>,
    /// The number of `slots` that were not taken.
    remaining: usize,
    /// The number of its messages in even and in odd flush epochs.
    epochs: [u64; 2],
    /// The time of the earliest call among them.
    called: Instant,
}

impl<S> PendingReceipts<S> {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            len: 0,
            limit,
            closed: false,
        }
    }

    /// Returns the number of receipts.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds the receipts of the messages from position `first` on.
    ///
    /// # Errors
    /// Returns the receipts if there is no room for them.
    pub(super) fn push(
        &mut self,
        first: u64,
        slots: Vec<S>,
        epochs: [u64; 2],
        called: Instant,
    ) -> Result<(), Vec<S>> {
        if slots.is_empty() {
            return Ok(());
        }
        if self.closed || self.len + slots.len() > self.limit {
            return Err(slots);
        }
        self.len += slots.len();
        self.entries.push_back(Entry {
            first,
            remaining: slots.len(),
            slots: slots.into_iter().map(Some).collect(),
            epochs,
            called,
        });
        Ok(())
    }

    /// Takes the receipt of the message at `position`. With the last receipt of an entry it also returns the number of
    /// the entry's messages in even and in odd flush epochs, otherwise zeros.
    pub(super) fn take(&mut self, position: u64) -> Option<(S, [u64; 2])> {
        let index = self.entries.partition_point(|e| e.first <= position);
        let index = index.checked_sub(1)?;
        let entry = self.entries.get_mut(index)?;
        let slot = usize::try_from(position - entry.first).ok()?;
        let slot = entry.slots.get_mut(slot)?.take()?;
        self.len -= 1;
        entry.remaining -= 1;
        let mut epochs = [0; 2];
        if entry.remaining == 0 {
            epochs = entry.epochs;
            // Entries are completed nearly in order, so few are moved.
            self.entries.remove(index);
        }
        Some((slot, epochs))
    }

    /// Returns the time of the earliest call in the oldest entry.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|e| e.called)
    }

    /// Takes the receipts of the oldest entry.
    pub(super) fn pop(&mut self) -> Option<(Vec<S>, [u64; 2])> {
        let entry = self.entries.pop_front()?;
        self.len -= entry.remaining;
        Some((entry.slots.into_iter().flatten().collect(), entry.epochs))
    }

    /// Takes no more receipts from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_receipt_is_reported_once_and_each_entry_ends_once(
            lens in prop::collection::vec(1u64..5, 1..20),
            asked in prop::collection::vec(0u64..60, 0..100),
            pops in 0usize..5,
        ) {
            let now = crate::time::now();
            let mut pending = PendingReceipts::new(1000);
            let (mut next, mut epochs) = (0, 0);
            for len in lens {
                // A gap: not every message on disk has a receipt.
                next += 1;
                pending.push(next, (next..next + len).collect(), [len, 0], now).unwrap();
                next += len;
                epochs += len;
            }
            let mut reported = BTreeSet::new();
            let mut ended = 0;
            for position in asked {
                if let Some((slot, epochs)) = pending.take(position) {
                    prop_assert_eq!(slot, position);
                    prop_assert!(reported.insert(slot));
                    ended += epochs[0];
                }
            }
            for _ in 0..pops {
                if let Some((slots, epochs)) = pending.pop() {
                    for slot in slots {
                        prop_assert!(reported.insert(slot));
                    }
                    ended += epochs[0];
                }
            }
            for position in 0..next {
                if let Some((slot, epochs)) = pending.take(position) {
                    prop_assert!(reported.insert(slot));
                    ended += epochs[0];
                }
            }
            prop_assert_eq!((reported.len() as u64, ended), (epochs, epochs));
            prop_assert_eq!(pending.len, 0);
        }
    }

    #[test]
    fn beyond_the_limit_receipts_come_back() {
        let now = crate::time::now();
        let mut pending = PendingReceipts::new(3);
        pending.push(0, vec![1, 2], [2, 0], now).unwrap();
        assert_eq!(pending.push(2, vec![3, 4], [2, 0], now), Err(vec![3, 4]));
        pending.take(0).unwrap();
        pending.push(4, vec![5, 6], [2, 0], now).unwrap();
    }
}
