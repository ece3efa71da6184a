//! Sans-I/O: which of the oldest batches of a topic are deleted.

use crate::{Offset, Timestamp};

/// Limits of what a topic keeps. Whole batches are deleted, oldest first. Offsets are never used again, not even those of
/// a topic that was trimmed empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trim {
    /// Batches stored before this time are deleted.
    pub older_than: Option<Timestamp>,
    /// The present time. A batch with a later time was stored while the clock was ahead. It counts as old as the next batch
    /// without such a time, so that it does not hold up those after it. `None`: every time is believed.
    pub now: Option<Timestamp>,
    /// The oldest batches are deleted until the topic has at most this number of bytes.
    pub max_bytes: Option<u64>,
    /// A batch is kept if it has a message at or after this offset.
    pub keep_from: Option<Offset>,
    /// A batch is kept if it has a message at or after the least committed position of the topic. The positions are looked
    /// up in the same step, so that a position committed meanwhile is not overlooked.
    pub keep_unread: bool,
}

impl Trim {
    /// Returns the trim with `keep_unread` resolved: `least` is the least committed position of the topic.
    #[must_use]
    pub fn with_least_position(mut self, least: Option<Offset>) -> Self {
        if self.keep_unread {
            self.keep_from = match (self.keep_from, least) {
                (Some(from), Some(least)) => Some(from.min(least)),
                (from, least) => from.or(least),
            };
        }
        self
    }

    /// Returns whether the oldest batch of a topic is to be deleted. `left` is the size of all batches of the topic, this one
    /// included; `time` is when the batch was stored and `end` the offset that follows it.
    #[must_use]
    pub fn takes(&self, left: u64, time: Timestamp, end: Offset) -> bool {
        let needed = self.keep_from.is_some_and(|keep| end > keep);
        let old = self.older_than.is_some_and(|before| time < before);
        let over = self.max_bytes.is_some_and(|most| left > most);
        !needed && (old || over)
    }

    /// Returns whether `time` is later than the present.
    pub(super) fn is_ahead(&self, time: Timestamp) -> bool {
        self.now.is_some_and(|now| time > now)
    }
}

/// The times of the oldest batches of a topic, with those replaced that were stored while the clock was ahead.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// The time that counts for batches that end before this offset.
    known: Option<(Offset, Timestamp)>,
}

impl Ages {
    /// Returns the time that counts for a batch, given its own time and end. `rest` gives those of it and of all batches after
    /// it, in order; it is asked once for all batches of one time ahead.
    pub(super) fn time_of<I: Iterator<Item = (Timestamp, Offset)>>(
        &mut self,
        trim: &Trim,
        (time, end): (Timestamp, Offset),
        rest: impl FnOnce() -> I,
    ) -> Timestamp {
        if !trim.is_ahead(time) {
            return time;
        }
        if let Some((until, time)) = self.known
            && end < until
        {
            return time;
        }
        // Without a time to go by, the batch is kept.
        let nothing = (Offset(u64::MAX), Timestamp(u64::MAX));
        let next = rest().find(|(time, _)| !trim.is_ahead(*time));
        let (until, time) = next.map_or(nothing, |(time, until)| (until, time));
        self.known = Some((until, time));
        time
    }
}
