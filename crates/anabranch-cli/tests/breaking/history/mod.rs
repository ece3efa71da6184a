//! Pure: what happened in a run, as everybody saw it: callers, readers, and the topic in the end.
//!
//! A history is written down while a run goes on, in virtual time or by real processes, and judged when it is
//! over: [`History::violations`].

mod check;
mod violation;

pub use violation::Violation;

/// A message: the number that stands in its payload. Each call has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A producer from its beginning to its end. One that comes back under the same name is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerNumber(pub u64);

/// A named position: who reads under it may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderName(pub u64);

/// A consumer from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerNumber(pub u64);

/// Which order a call was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    None,
    /// That of `send`, among the calls of its producer.
    OfCalls,
    /// That of its key, among the calls of its producer.
    OfKey(u64),
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At this offset.
    Stored(u64),
    NotStored,
    Unknown,
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Called {
        id: MessageId,
        producer: ProducerNumber,
        order: Order,
    },
    /// The caller was told how it ended.
    Ended { id: MessageId, outcome: Outcome },
    /// A close handed the message back, with what it knew of it.
    HandedBack { id: MessageId, outcome: Outcome },
    /// A flush said that everything accepted before it had its outcome, when so many receipts had none.
    Flushed { producer: ProducerNumber, open: u64 },
    /// The producer's process was killed: its calls need no outcome.
    Killed { producer: ProducerNumber },
    /// With nothing to do, a producer had room for so many messages of those it may hold.
    Room {
        producer: ProducerNumber,
        free: u64,
        of: u64,
    },
    /// A consumer begins at `next`.
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
    /// A consumer asked for its name's position to be `next`.
    Acknowledged { consumer: ConsumerNumber, next: u64 },
    /// It was told that the position stands.
    Confirmed { consumer: ConsumerNumber, next: u64 },
}

/// Everything that happened, in its order, and what the topic holds in the end, in the order of its offsets.
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
