//! Records the history of a run.

use std::sync::{Arc, Mutex};

use anabranch::{
    Message, Timestamp,
    producer::{Ack, Fate, SendError},
};

use crate::{
    history::{ConsumerNumber, Event, History, MessageId, Order, Outcome, ProducerNumber},
    tally::{Part, Tally},
};

/// Size of the smallest payload: the message's number with leading zeros.
pub const PAYLOAD: usize = 16;

/// A history and a tally under construction. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    history: History,
    tally: Tally,
    messages: u64,
    producers: u64,
    consumers: u64,
}

impl Log {
    pub fn push(&self, event: Event) {
        self.0.lock().unwrap().history.push(event);
    }

    pub fn count(&self, part: Part, kind: &'static str) {
        self.add(part, kind, 1);
    }

    pub fn add(&self, part: Part, kind: &'static str, count: u64) {
        self.0.lock().unwrap().tally.add(part, kind, count);
    }

    pub fn next_producer(&self) -> ProducerNumber {
        let mut written = self.0.lock().unwrap();
        written.producers += 1;
        ProducerNumber(written.producers)
    }

    pub fn next_consumer(&self) -> ConsumerNumber {
        let mut written = self.0.lock().unwrap();
        written.consumers += 1;
        ConsumerNumber(written.consumers)
    }

    /// Returns a new message of `len` bytes, with the key of `order`, and records its call.
    pub fn call(&self, producer: ProducerNumber, order: Order, len: usize) -> (MessageId, Message) {
        let id = {
            let mut written = self.0.lock().unwrap();
            written.messages += 1;
            MessageId(written.messages)
        };
        self.push(Event::Called {
            id,
            producer,
            order,
        });
        let mut payload = format!("{:0PAYLOAD$}", id.0).into_bytes();
        payload.resize(len.max(PAYLOAD), b'.');
        // The encoded length of wall clock time would differ from run to run.
        let message = Message::new(payload).with_timestamp(Timestamp(id.0));
        match order {
            Order::OfKey(key) => (id, message.with_key(key.to_string())),
            Order::None | Order::OfCalls => (id, message),
        }
    }

    pub fn ended(&self, id: MessageId, outcome: &Result<Ack, SendError>) {
        let (kind, outcome) = match outcome {
            Ok(ack) => ("stored", Outcome::Stored(ack.offset().unwrap().0)),
            Err(error) => (kind_of(error.fate()), of(error.fate())),
        };
        self.count(Part::Outcomes, kind);
        self.push(Event::Ended { id, outcome });
    }

    pub fn handed_back(&self, message: &Message, fate: Fate) {
        let id = id_of(message.payload());
        let outcome = of(fate);
        self.push(Event::HandedBack { id, outcome });
    }

    pub fn take(&self) -> (History, Tally) {
        let mut written = self.0.lock().unwrap();
        let Written { history, tally, .. } = std::mem::take(&mut *written);
        (history, tally)
    }
}

const fn kind_of(fate: Fate) -> &'static str {
    match fate {
        Fate::NotStored => "failed, not stored",
        Fate::Unknown => "failed, fate unknown",
        Fate::Spooled => "on disk",
    }
}

const fn of(fate: Fate) -> Outcome {
    match fate {
        Fate::NotStored => Outcome::NotStored,
        // There is no spool.
        Fate::Unknown | Fate::Spooled => Outcome::Unknown,
    }
}

/// Returns the number in a payload.
pub fn id_of(payload: &[u8]) -> MessageId {
    let digits = std::str::from_utf8(&payload[..PAYLOAD]).unwrap();
    MessageId(digits.parse().unwrap())
}
