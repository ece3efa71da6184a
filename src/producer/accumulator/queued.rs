//! Sans-I/O: a message that keeps its place among others: one with a key, or one of `send`.
//!
//! It is small, because it is moved into a queue and out of it. The lane that takes it encodes it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{budget::Cost, chunk::ChunkStart};
use crate::{
    Timestamp, TopicName,
    producer::{Message, message::Rest, receipt::Promise},
    wire::encoded_len,
};

/// What a message costs of the budget beside its content: the memory of its place in a queue and of its receipt.
const MESSAGE_OVERHEAD: u64 = 256;

/// A message in an ordered queue.
#[derive(Debug)]
pub(crate) struct Queued {
    payload: Bytes,
    /// What else the message has; `None` for nothing.
    rest: Option<Box<Rest>>,
    /// The promise of its one receipt.
    pub(crate) promise: Arc<Promise>,
    /// The time of the call, in nanoseconds since the producer began.
    at: u64,
    /// The flush epoch that it is counted in.
    epoch: u64,
}

impl Queued {
    pub(crate) fn new(message: Message, promise: Arc<Promise>, at: u64, epoch: u64) -> Self {
        let (payload, rest) = message.into_parts();
        Self {
            payload,
            rest,
            promise,
            at,
            epoch,
        }
    }

    /// Returns its topic; `None` for the producer's own.
    pub(crate) fn topic(&self) -> Option<&TopicName> {
        self.rest.as_ref()?.topic.as_ref()
    }

    /// Returns the time of the call, by a clock that was read after it.
    pub(crate) fn called(&self, clock: &ChunkStart) -> Instant {
        clock.moment(self.at)
    }

    /// Returns the time of the call, in nanoseconds since the producer began.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// Returns the wall clock at the call, by a clock that was read after it.
    pub(crate) fn called_wall(&self, clock: &ChunkStart) -> Timestamp {
        clock.wall_at(self.at)
    }

    /// Returns the most bytes that it takes in a batch.
    pub(crate) fn encoded_len(&self) -> usize {
        let (key, headers) = self.rest.as_ref().map_or((None, &[][..]), |rest| {
            (rest.key.as_deref(), &rest.headers[..])
        });
        encoded_len(key, headers, &self.payload)
    }

    /// Returns what it holds of the budget.
    pub(crate) fn cost(&self) -> Cost {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.content_len());
        message_cost(self.payload.len() + rest)
    }

    /// Counts itself for its flush epoch: once in an even or in an odd one.
    pub(crate) const fn epochs(&self) -> [u64; 2] {
        match self.epoch & 1 {
            0 => [1, 0],
            _ => [0, 1],
        }
    }

    /// Returns the message, its promise, and the time of its call by a clock that was read after it.
    pub(crate) fn into_message(self, clock: &ChunkStart) -> (Message, Arc<Promise>) {
        let mut message = Message::from_parts(self.payload, self.rest);
        if message.timestamp().is_none() {
            message = message.with_timestamp(clock.wall_at(self.at));
        }
        (message, self.promise)
    }
}

/// Returns what a message with this many bytes of content holds of the budget.
pub(crate) const fn message_cost(content: usize) -> Cost {
    Cost::one(content as u64 + MESSAGE_OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_measures_are_those_of_its_message() {
        for message in [
            Message::new("payload"),
            Message::new("").with_key("k").with_header("name", "value"),
        ] {
            let queued = Queued::new(message.clone(), Arc::default(), 0, 0);
            assert_eq!(queued.encoded_len(), message.encoded_len());
            assert_eq!(queued.cost(), message_cost(message.content_len()));
        }
    }

    #[test]
    fn it_is_no_larger_than_a_cache_line() {
        assert!(size_of::<Queued>() <= 64);
    }
}
