//! Messages on their way to the application.

use crate::{
    Offset, Timestamp,
    wire::{Record, Records},
};

/// A message, with its offset in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The offset of this message in the topic.
    pub offset: Offset,
    /// When the broker stored this message, by the broker's clock.
    pub time: Timestamp,
    /// How many messages right before this one were skipped, because retention dropped them before they were read.
    pub skipped: u64,
    /// What the producer sent.
    pub record: Record,
}

/// The records of one batch that the application has not taken.
#[derive(Debug)]
pub(super) struct ReceivedBatch {
    /// The offset of the next record.
    pub(super) next: Offset,
    /// When the broker stored the batch.
    pub(super) time: Timestamp,
    /// How many messages right before the next record were skipped.
    pub(super) skipped: u64,
    pub(super) records: Records,
    /// The checksum of the batch.
    pub(super) checksum: u32,
    /// The credit that the batch used, given back with its last record.
    pub(super) bytes: u64,
}

impl ReceivedBatch {
    /// Takes the next record.
    pub(super) fn pop(&mut self) -> Option<Received> {
        let record = self.records.next()?;
        let offset = self.next;
        self.next = offset.next();
        Some(Received {
            offset,
            time: self.time,
            skipped: std::mem::take(&mut self.skipped),
            record,
        })
    }
}
