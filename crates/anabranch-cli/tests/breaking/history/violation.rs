//! Pure: a promise that was not kept.

use std::fmt;

use super::{ConsumerNumber, MessageId, Outcome, ProducerNumber, ReaderName};

/// One promise that was not kept, with whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged, and not in the topic.
    Lost {
        id: MessageId,
        offset: u64,
    },
    /// In the topic twice.
    Duplicate {
        id: MessageId,
        offsets: [u64; 2],
    },
    /// Acknowledged at another offset than the one it has.
    Misplaced {
        id: MessageId,
        acknowledged: u64,
        stored: u64,
    },
    /// Said to be not stored, and in the topic.
    Resurrected {
        id: MessageId,
        offset: u64,
    },
    /// In the topic, and nobody sent it.
    Stranger {
        id: MessageId,
        offset: u64,
    },
    /// The topic has no such offset, though later ones.
    Hole {
        offset: u64,
    },
    /// Stored the other way round than they were called.
    Disorder {
        first: MessageId,
        second: MessageId,
    },
    NoOutcome {
        id: MessageId,
    },
    TwoOutcomes {
        id: MessageId,
        outcomes: [Outcome; 2],
    },
    /// A flush was over before what it waits for.
    FlushedTooEarly {
        producer: ProducerNumber,
        open: u64,
    },
    /// Something that ended did not give its room back, or gave it back twice.
    Budget {
        producer: ProducerNumber,
        free: u64,
        of: u64,
    },
    /// A consumer was not given the offset behind the last one.
    Gap {
        consumer: ConsumerNumber,
        expected: u64,
        came: u64,
    },
    /// A consumer was given an offset again.
    Repeated {
        consumer: ConsumerNumber,
        offset: u64,
    },
    /// A consumer was given something else than what is stored there.
    Altered {
        consumer: ConsumerNumber,
        offset: u64,
    },
    /// A consumer began before a position that had been confirmed to its name.
    ForgotPosition {
        consumer: ConsumerNumber,
        confirmed: u64,
        began: u64,
    },
    /// A consumer began behind what its name ever acknowledged.
    Skipped {
        consumer: ConsumerNumber,
        acknowledged: u64,
        began: u64,
    },
    /// No consumer of this name was ever given the offset.
    Unread {
        name: ReaderName,
        offset: u64,
    },
}

impl Violation {
    /// Whether this is an acknowledged message that is gone.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Misplaced { .. })
    }

    /// Whether this is a message that is stored twice.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate { .. })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
