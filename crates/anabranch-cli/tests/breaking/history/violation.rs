//! Sans-I/O: a broken promise.

use std::fmt;

use super::{ConsumerNumber, MessageId, Outcome, ProducerNumber, ReaderName};

/// A broken promise, with the messages, producers or consumers it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A message was acknowledged, and is not in the topic.
    Lost { id: MessageId, offset: u64 },
    /// A message is in the topic twice.
    Duplicate { id: MessageId, offsets: [u64; 2] },
    /// A message was acknowledged at another offset than it has.
    Misplaced {
        id: MessageId,
        acknowledged: u64,
        stored: u64,
    },
    /// A message is in the topic, although its outcome was `NotStored`.
    Resurrected { id: MessageId, offset: u64 },
    /// A message is in the topic, and was never sent.
    Stranger { id: MessageId, offset: u64 },
    /// The topic has no such offset, but has later ones.
    Hole { offset: u64 },
    /// Two messages are stored in the opposite order of their calls.
    Disorder { first: MessageId, second: MessageId },
    /// A call has no outcome.
    NoOutcome { id: MessageId },
    /// A call has two outcomes.
    TwoOutcomes {
        id: MessageId,
        outcomes: [Outcome; 2],
    },
    /// A flush reported success too early.
    FlushedTooEarly { producer: ProducerNumber, open: u64 },
    /// A producer leaked room, or released it twice.
    Budget {
        producer: ProducerNumber,
        free: u64,
        of: u64,
    },
    /// A consumer missed an offset.
    Gap {
        consumer: ConsumerNumber,
        expected: u64,
        came: u64,
    },
    /// A consumer received an offset again.
    Repeated {
        consumer: ConsumerNumber,
        offset: u64,
    },
    /// A consumer received another message than the stored one.
    Altered {
        consumer: ConsumerNumber,
        offset: u64,
    },
    /// A consumer started before a position that was confirmed for its name.
    ForgotPosition {
        consumer: ConsumerNumber,
        confirmed: u64,
        began: u64,
    },
    /// A consumer started after everything that its name acknowledged.
    Skipped {
        consumer: ConsumerNumber,
        acknowledged: u64,
        began: u64,
    },
    /// No consumer of this name received the offset.
    Unread { name: ReaderName, offset: u64 },
}

impl Violation {
    /// Returns whether an acknowledged message is missing.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Misplaced { .. })
    }

    /// Returns whether a message is stored twice.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Duplicate { .. })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
