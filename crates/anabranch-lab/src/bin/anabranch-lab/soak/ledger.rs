//! Sans-I/O: matches what was sent with its outcome and with what was read.
//!
//! The ledger has an entry for each message until it was both acknowledged and read. Its size is that of the messages in
//! flight, however long the soak runs.

use std::{collections::HashMap, fmt};

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Stored at this offset.
    Stored(u64),
    NotStored,
    Unknown,
}

/// A message whose outcome or offset is not known yet.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    outcome: Option<Outcome>,
    read_at: Option<u64>,
}

/// The messages in flight, and the counts so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<u64, Open>,
    /// Largest number read of each ordered sequence.
    newest: HashMap<u64, u64>,
    /// One more than the largest offset read.
    read_to: u64,
    counts: Counts,
}

/// Counts of messages, and of violations.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    /// Calls.
    pub(super) sent: u64,
    /// Calls that were acknowledged.
    pub(super) acknowledged: u64,
    /// Calls that failed with the fate 'not stored'.
    pub(super) not_stored: u64,
    /// Calls that failed with an unknown fate.
    pub(super) unknown: u64,
    /// Offsets read, each counted once.
    pub(super) read: u64,
    /// Offsets read again by a later consumer, because they had not been acknowledged.
    pub(super) redelivered: u64,
    /// Messages acknowledged and never read, or read at another offset.
    pub(super) lost: u64,
    /// Messages read at two offsets, or read although their fate was 'not stored'.
    pub(super) duplicated: u64,
    /// Messages read after a later one of the same ordered sequence.
    pub(super) out_of_order: u64,
    /// Calls without an outcome.
    pub(super) without_outcome: u64,
    /// Offsets missing in what was read.
    pub(super) skipped: u64,
}

impl Ledger {
    pub(super) fn on_sent(&mut self, number: u64) {
        self.counts.sent += 1;
        self.open.insert(number, Open::default());
    }

    pub(super) fn on_outcome(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Stored(_) => self.counts.acknowledged += 1,
            Outcome::NotStored => self.counts.not_stored += 1,
            Outcome::Unknown => self.counts.unknown += 1,
        }
        if let Some(open) = self.open.get_mut(&number) {
            open.outcome = Some(outcome);
        }
        self.remove_if_complete(number);
    }

    /// Records that a consumer read `number` at `offset`. `order` is the ordered sequence of the message, if any.
    pub(super) fn on_read(&mut self, offset: u64, number: u64, order: Option<u64>) {
        if offset < self.read_to {
            self.counts.redelivered += 1;
            return;
        }
        self.counts.skipped += offset - self.read_to;
        self.read_to = offset + 1;
        self.counts.read += 1;
        match self.open.get_mut(&number) {
            Some(open) if open.read_at.is_none() => open.read_at = Some(offset),
            // Read at another offset before. Its entry may be gone.
            _ => self.counts.duplicated += 1,
        }
        if let Some(order) = order {
            let newest = self.newest.entry(order).or_insert(number);
            if number < *newest {
                self.counts.out_of_order += 1;
            }
            *newest = number.max(*newest);
        }
        self.remove_if_complete(number);
    }

    /// Returns one more than the largest offset read.
    pub(super) const fn read_to(&self) -> u64 {
        self.read_to
    }

    /// Removes the entry of a message when its outcome and its offset are known.
    fn remove_if_complete(&mut self, number: u64) {
        let Some(Open {
            outcome: Some(outcome),
            read_at,
        }) = self.open.get(&number).copied()
        else {
            return;
        };
        match (outcome, read_at) {
            (Outcome::Stored(at), Some(read)) if at == read => {}
            (Outcome::Stored(_), Some(_)) => self.counts.lost += 1,
            (Outcome::NotStored, Some(_)) => self.counts.duplicated += 1,
            (Outcome::Unknown, Some(_)) | (Outcome::NotStored, None) => {}
            (Outcome::Stored(_) | Outcome::Unknown, None) => return,
        }
        self.open.remove(&number);
    }

    /// Ends the soak, after a topic of `stored` messages was read to its end, and returns the counts.
    pub(super) fn close(mut self, stored: u64) -> Counts {
        self.counts.skipped += stored.saturating_sub(self.read_to);
        for open in self.open.values() {
            match open.outcome {
                None => self.counts.without_outcome += 1,
                Some(Outcome::Stored(_)) => self.counts.lost += 1,
                Some(Outcome::NotStored | Outcome::Unknown) => {}
            }
        }
        self.counts
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} acknowledged, {} read, {} in flight",
            self.counts.sent,
            self.counts.acknowledged,
            self.counts.read,
            self.open.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the ledger of three messages that were sent, stored and read.
    fn sound() -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..3 {
            ledger.on_sent(number);
            ledger.on_outcome(number, Outcome::Stored(number));
            ledger.on_read(number, number, Some(7));
        }
        ledger
    }

    fn wrong(counts: &Counts) -> [u64; 5] {
        let Counts {
            lost,
            duplicated,
            out_of_order,
            without_outcome,
            skipped,
            ..
        } = *counts;
        [lost, duplicated, out_of_order, without_outcome, skipped]
    }

    #[test]
    fn what_was_stored_and_read_leaves_nothing_behind() {
        let mut ledger = sound();
        assert!(ledger.open.is_empty());
        ledger.on_read(1, 1, Some(7));
        let counts = ledger.close(3);
        assert_eq!(wrong(&counts), [0; 5]);
        assert_eq!((counts.read, counts.redelivered), (3, 1));
    }

    #[test]
    fn a_loss_is_found_wherever_it_is() {
        let mut ledger = sound();
        ledger.on_sent(3);
        ledger.on_outcome(3, Outcome::Stored(3));
        assert_eq!(wrong(&ledger.close(3)), [1, 0, 0, 0, 0]);
        let mut ledger = sound();
        ledger.on_sent(3);
        ledger.on_outcome(3, Outcome::Stored(9));
        ledger.on_read(3, 3, Some(7));
        assert_eq!(wrong(&ledger.close(4)), [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_duplicate_is_found_even_when_all_was_known_of_the_first() {
        let mut ledger = sound();
        ledger.on_read(3, 2, Some(7));
        assert_eq!(wrong(&ledger.close(4)), [0, 1, 0, 0, 0]);
        let mut ledger = sound();
        ledger.on_sent(3);
        ledger.on_read(3, 3, Some(7));
        ledger.on_outcome(3, Outcome::NotStored);
        assert_eq!(wrong(&ledger.close(4)), [0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_swap_within_an_order_is_found_and_none_across_orders() {
        for (order, found) in [(7, 1), (8, 0)] {
            let mut ledger = sound();
            (3..5).for_each(|number| ledger.on_sent(number));
            ledger.on_outcome(3, Outcome::Stored(4));
            ledger.on_outcome(4, Outcome::Stored(3));
            ledger.on_read(3, 4, Some(7));
            ledger.on_read(4, 3, Some(order));
            assert_eq!(wrong(&ledger.close(5)), [0, 0, found, 0, 0]);
        }
    }

    #[test]
    fn a_missing_outcome_and_a_gap_are_found() {
        let mut ledger = sound();
        ledger.on_sent(3);
        assert_eq!(wrong(&ledger.close(3)), [0, 0, 0, 1, 0]);
        let mut ledger = sound();
        ledger.on_sent(3);
        ledger.on_outcome(3, Outcome::Stored(4));
        ledger.on_read(4, 3, Some(7));
        assert_eq!(wrong(&ledger.close(6)), [0, 0, 0, 0, 2]);
    }
}
