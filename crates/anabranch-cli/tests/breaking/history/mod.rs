//! Sans-I/O: the events of a run, as callers and readers observed them, and the topic at the end.
//!
//! A history is recorded during a run, in virtual time or by real processes, and checked afterwards by
//! [`History::violations`].

mod check;
mod violation;

pub use violation::Violation;

/// The number in a message's payload. Each call has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A producer from start to end. A later producer of the same name has another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerNumber(pub u64);

/// The name of a stored position. Consumers of the same name read one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderName(pub u64);

/// A consumer from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerNumber(pub u64);

/// The ordering guarantee of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    None,
    /// In order with other calls of `send` on its producer.
    OfCalls,
    /// In order with other calls with this key on its producer.
    OfKey(u64),
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored at this offset.
    Stored(u64),
    NotStored,
    Unknown,
}

/// An event of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Called {
        id: MessageId,
        producer: ProducerNumber,
        order: Order,
    },
    /// The caller received the outcome.
    Ended { id: MessageId, outcome: Outcome },
    /// A close handed the message back with this outcome.
    HandedBack { id: MessageId, outcome: Outcome },
    /// A flush reported success, while `open` earlier receipts had no outcome.
    Flushed { producer: ProducerNumber, open: u64 },
    /// The process of the producer was killed. Its calls need no outcome.
    Killed { producer: ProducerNumber },
    /// An idle producer accepted `free` messages, and its limit is `of`.
    Room {
        producer: ProducerNumber,
        free: u64,
        of: u64,
    },
    /// A consumer started at offset `next`.
    Began {
        consumer: ConsumerNumber,
        name: ReaderName,
        next: u64,
    },
    Delivered {
        consumer: ConsumerNumber,
        offset: u64,
        id: MessageId,
    },
    /// A consumer acknowledged everything before `next`.
    Acknowledged { consumer: ConsumerNumber, next: u64 },
    /// The broker confirmed an acknowledgement.
    Confirmed { consumer: ConsumerNumber, next: u64 },
}

/// All events in order, and the messages of the topic at the end, in the order of their offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    pub events: Vec<Event>,
    pub topic: Vec<(u64, MessageId)>,
}

impl History {
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}
