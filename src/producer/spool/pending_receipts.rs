//! Pure: the receipts of messages on disk that wait for the broker's answer, by the places of the messages.

use std::{collections::VecDeque, time::Instant};

#[derive(Debug)]
pub(super) struct PendingReceipts<S> {
    entries: VecDeque<Entry<S>>,
    /// How many wait.
    len: usize,
    limit: usize,
    closed: bool,
}

/// The receipts of one entry.
#[derive(Debug)]
struct Entry<S> {
    /// The place of its first message.
    first: u64,
    slots: Vec<Option<S>>,
    /// How many of `slots` are left.
    left: usize,
    epochs: [u64; 2],
    /// The earliest call among them.
    at: Instant,
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

    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The receipts of the messages from place `first` on. They come back where there is no room for them.
    pub(super) fn push(
        &mut self,
        first: u64,
        slots: Vec<S>,
        epochs: [u64; 2],
        at: Instant,
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
            left: slots.len(),
            slots: slots.into_iter().map(Some).collect(),
            epochs,
            at,
        });
        Ok(())
    }

    /// The receipt of the message at `place`, and with the last one of an entry, what a flush is to be told.
    pub(super) fn take(&mut self, place: u64) -> Option<(S, [u64; 2])> {
        let index = self.entries.partition_point(|e| e.first <= place);
        let index = index.checked_sub(1)?;
        let entry = self.entries.get_mut(index)?;
        let slot = usize::try_from(place - entry.first).ok()?;
        let slot = entry.slots.get_mut(slot)?.take()?;
        self.len -= 1;
        entry.left -= 1;
        let mut epochs = [0; 2];
        if entry.left == 0 {
            epochs = entry.epochs;
            // Entries end in nearly their order.
            self.entries.remove(index);
        }
        Some((slot, epochs))
    }

    /// The earliest call among the receipts of the oldest entry.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|e| e.at)
    }

    /// The receipts of the oldest entry.
    pub(super) fn pop(&mut self) -> Option<(Vec<S>, [u64; 2])> {
        let entry = self.entries.pop_front()?;
        self.len -= entry.left;
        Some((entry.slots.into_iter().flatten().collect(), entry.epochs))
    }

    /// Take no more.
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
        fn each_receipt_is_told_once_and_each_entry_ends_once(
            lens in prop::collection::vec(1u64..5, 1..20),
            asked in prop::collection::vec(0u64..60, 0..100),
            pops in 0usize..5,
        ) {
            let now = crate::time::now();
            let mut waiting = PendingReceipts::new(1000);
            let (mut next, mut epochs) = (0, 0);
            for len in lens {
                // A gap: not every message on disk has a receipt.
                next += 1;
                waiting.push(next, (next..next + len).collect(), [len, 0], now).unwrap();
                next += len;
                epochs += len;
            }
            let mut told = BTreeSet::new();
            let mut ended = 0;
            for place in asked {
                if let Some((slot, epochs)) = waiting.take(place) {
                    prop_assert_eq!(slot, place);
                    prop_assert!(told.insert(slot));
                    ended += epochs[0];
                }
            }
            for _ in 0..pops {
                if let Some((slots, epochs)) = waiting.pop() {
                    for slot in slots {
                        prop_assert!(told.insert(slot));
                    }
                    ended += epochs[0];
                }
            }
            for place in 0..next {
                if let Some((slot, epochs)) = waiting.take(place) {
                    prop_assert!(told.insert(slot));
                    ended += epochs[0];
                }
            }
            prop_assert_eq!((told.len() as u64, ended), (epochs, epochs));
            prop_assert_eq!(waiting.len, 0);
        }
    }

    #[test]
    fn beyond_the_limit_receipts_come_back() {
        let now = crate::time::now();
        let mut waiting = PendingReceipts::new(3);
        waiting.push(0, vec![1, 2], [2, 0], now).unwrap();
        assert_eq!(waiting.push(2, vec![3, 4], [2, 0], now), Err(vec![3, 4]));
        waiting.take(0).unwrap();
        waiting.push(4, vec![5, 6], [2, 0], now).unwrap();
    }
}
