//! Sans-I/O: messages without a key are encoded when they are accepted, into a chunk of the thread that sends.
//!
//! A chunk holds encoded records of one topic, and what their outcome will free. It is open while it waits: it takes
//! messages until a lane takes it, until it is as large as a lane's run, or until its oldest message is too old for one
//! deadline to hold for all of them. A thread has one open chunk a topic, and all of them travel together.
//!
//! The times in a chunk are relative to a multiple of [`BASE_TIME_STEP`], so that chunks made at about the same time can
//! be joined to one batch without decoding their records.

use std::{
    collections::HashMap,
    iter, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::budget::Cost;
use crate::{
    Timestamp, TopicName,
    producer::{
        Message,
        receipt::{Promise, Receipt},
    },
    wire::{Batch, BatchBuilder},
};

/// Base times of chunks are multiples of this many milliseconds. A time less than this after its base takes one byte.
const BASE_TIME_STEP: u64 = 64;

/// A message without a key on its way into a chunk; its room in the budget is reserved.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// The message. One without a timestamp gets that of the call.
    pub(crate) message: &'a Message,
    /// The topic, where it is not the producer's own.
    pub(crate) topic: Option<&'a TopicName>,
    /// The most bytes that it takes in a batch.
    pub(crate) len: usize,
    pub(crate) cost: Cost,
    /// The time of the call, in nanoseconds since the producer began.
    pub(crate) at: u64,
    /// The promise of its receipt, where it has one already. Such a message is a chunk of its own.
    pub(crate) promise: Option<Arc<Promise>>,
}

/// The moment at which a chunk is begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkStart {
    pub(crate) now: Instant,
    /// `now` in nanoseconds since the producer began.
    pub(crate) nanos: u64,
    /// `now` by the wall clock.
    pub(crate) wall: Timestamp,
    /// The flush epoch that the chunk belongs to, and is counted in.
    pub(crate) epoch: u64,
}

/// When a chunk is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimits {
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
    /// How far apart the calls may be, in nanoseconds.
    pub(crate) max_age_spread: u64,
    /// The present flush epoch: a chunk holds messages of one epoch.
    pub(crate) epoch: u64,
}

/// Messages of one topic, encoded, in the order in which they were accepted.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The topic, where it is not the producer's own.
    pub(crate) topic: Option<TopicName>,
    pub(crate) records: BatchBuilder,
    pub(crate) promise: Arc<Promise>,
    /// What the messages hold of the budget until they have their outcome.
    pub(crate) cost: Cost,
    /// How many bytes the queue counts for its messages: the most that they could take.
    pub(crate) weight: u64,
    /// The earliest call, in nanoseconds since the producer began.
    pub(crate) at: u64,
    /// The flush epoch that the chunk belongs to.
    pub(crate) epoch: u64,
    start: ChunkStart,
}

impl Chunk {
    /// Begins a chunk with one message, and reserves memory for `capacity` bytes.
    pub(crate) fn open(entry: &Entry<'_>, start: ChunkStart, capacity: usize) -> (Self, Receipt) {
        let mut chunk = Self {
            topic: entry.topic.cloned(),
            records: BatchBuilder::with_base_time(capacity, base_time(start.wall)),
            promise: entry.promise.clone().unwrap_or_default(),
            cost: Cost::default(),
            weight: 0,
            at: entry.at,
            epoch: start.epoch,
            start,
        };
        let receipt = chunk.push(entry);
        (chunk, receipt)
    }

    /// As [`open`](Self::open), with memory for a chunk of about `usual` bytes.
    pub(crate) fn usual(
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        start: ChunkStart,
        usual: usize,
    ) -> (Self, Receipt) {
        // Where the last message of a chunk passes its bound, it does so by a message.
        let usual = (usual + usual / 8).min(limits.bytes.saturating_add(entry.len));
        Self::open(entry, start, usual.max(Batch::HEADER_LEN + entry.len))
    }

    /// Returns the time of the earliest call.
    pub(crate) fn called(&self) -> Instant {
        self.start.moment(self.at)
    }

    /// Counts itself for its flush epoch: one chunk of an even or of an odd one.
    pub(crate) fn epochs(&self) -> [u64; 2] {
        match self.epoch & 1 {
            0 => [1, 0],
            _ => [0, 1],
        }
    }

    /// Decodes its messages, to hand them back.
    pub(crate) fn into_messages(mut self, own: &TopicName) -> Vec<Message> {
        let topic = self.topic.take().unwrap_or_else(|| own.clone());
        messages_of(self.records.finish(), &topic)
    }

    /// Returns the number of messages.
    pub(crate) fn messages(&self) -> usize {
        usize::try_from(self.records.count()).unwrap_or(usize::MAX)
    }

    /// Returns its length as a batch of its own, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    #[inline]
    fn takes(&self, entry: &Entry<'_>, limits: &ChunkLimits) -> bool {
        self.len() < limits.bytes
            && self.messages() < limits.messages
            && self.epoch == limits.epoch
            && entry.at.abs_diff(self.at) <= limits.max_age_spread
            && entry.promise.is_none()
    }

    #[inline]
    fn push(&mut self, entry: &Entry<'_>) -> Receipt {
        let index = self.records.count();
        let (start, at) = (self.start, entry.at);
        entry
            .message
            .encode(&mut self.records, || start.wall_at(at));
        self.cost.add(entry.cost);
        self.weight += entry.len as u64;
        self.at = self.at.min(entry.at);
        Receipt::new(Arc::clone(&self.promise), index)
    }
}

/// Returns the base time of a batch that begins at `wall`.
pub(crate) const fn base_time(wall: Timestamp) -> Timestamp {
    Timestamp(wall.0 / BASE_TIME_STEP * BASE_TIME_STEP)
}

impl ChunkStart {
    /// Returns the moment `at`; this moment for a later one.
    pub(crate) fn moment(&self, at: u64) -> Instant {
        let before = Duration::from_nanos(self.nanos.saturating_sub(at));
        self.now.checked_sub(before).unwrap_or(self.now)
    }

    /// Returns the wall clock at `at`, by how far that is from this moment.
    #[inline]
    pub(crate) fn wall_at(&self, at: u64) -> Timestamp {
        const NANOS: u64 = 1_000_000;
        let Self { nanos, wall, .. } = *self;
        Timestamp(match at.checked_sub(nanos) {
            Some(after) => wall.0.saturating_add(after / NANOS),
            None => wall.0.saturating_sub((nanos - at) / NANOS),
        })
    }
}

/// Decodes the messages of a batch that this process has made.
pub(crate) fn messages_of(batch: Bytes, topic: &TopicName) -> Vec<Message> {
    let Ok(batch) = Batch::decode(batch) else {
        return Vec::new();
    };
    let records = batch.records();
    records
        .map(|record| Message::from_record(record, topic.clone()))
        .collect()
}

/// The open chunks of a thread: one a topic.
#[derive(Debug)]
pub(crate) struct OpenChunks {
    /// Nearly always there is one topic, and looking it up would cost more than encoding the message.
    first: Chunk,
    others: HashMap<Option<TopicName>, Chunk>,
}

impl OpenChunks {
    pub(crate) fn new(first: Chunk) -> Self {
        Self {
            first,
            others: HashMap::new(),
        }
    }

    /// Encodes a message into the chunk of its topic, or into a new one that begins at `open()` and has room for as many
    /// bytes as the one before it has. Returns that one, if it takes no more.
    #[inline]
    pub(crate) fn push(
        &mut self,
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        open: impl FnOnce() -> ChunkStart,
    ) -> (Receipt, Option<Chunk>) {
        let chunk = match self.first.topic.as_ref() == entry.topic {
            true => Some(&mut self.first),
            false => self.others.get_mut(&entry.topic.cloned()),
        };
        match chunk {
            Some(chunk) if chunk.takes(entry, limits) => (chunk.push(entry), None),
            chunk => {
                let usual = chunk.as_ref().map_or(0, |chunk| chunk.len());
                let (new, receipt) = Chunk::usual(entry, limits, open(), usual);
                let full = match chunk {
                    Some(chunk) => Some(mem::replace(chunk, new)),
                    None => self.others.insert(new.topic.clone(), new),
                };
                (receipt, full)
            }
        }
    }

    /// Returns all chunks. Each has one message at least.
    pub(crate) fn into_chunks(self) -> impl Iterator<Item = Chunk> {
        iter::once(self.first).chain(self.others.into_values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChunkLimits = ChunkLimits {
        bytes: 200,
        messages: 100,
        max_age_spread: 1_000_000_000,
        epoch: 0,
    };

    /// The open chunks of a thread, begun at 1000 ms by the wall clock, and the full ones.
    struct Rig {
        open: Option<OpenChunks>,
        full: Vec<Chunk>,
        began: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                open: None,
                full: Vec::new(),
                began: crate::time::now(),
            }
        }

        fn push(&mut self, topic: Option<&str>, text: &str, millis: u64, limits: &ChunkLimits) {
            let message = Message::new(text.to_owned());
            let topic = topic.map(|topic| TopicName::new(topic).unwrap());
            let entry = Entry {
                message: &message,
                topic: topic.as_ref(),
                len: message.encoded_len(),
                cost: Cost::one(1),
                at: millis * 1_000_000,
                promise: None,
            };
            let start = ChunkStart {
                now: self.began + Duration::from_millis(millis),
                nanos: entry.at,
                wall: Timestamp(1000 + millis),
                epoch: limits.epoch,
            };
            match &mut self.open {
                Some(open) => self.full.extend(open.push(&entry, limits, || start).1),
                None => self.open = Some(OpenChunks::new(Chunk::open(&entry, start, 0).0)),
            }
        }

        /// Returns all chunks, the full ones first.
        fn chunks(self) -> Vec<Chunk> {
            let open = self.open.into_iter().flat_map(OpenChunks::into_chunks);
            self.full.into_iter().chain(open).collect()
        }

        /// Returns what is in each chunk.
        fn texts(self) -> Vec<String> {
            self.chunks()
                .into_iter()
                .map(|mut chunk| {
                    let batch = Batch::decode(chunk.records.finish()).unwrap();
                    let texts = batch
                        .records()
                        .map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
                    texts.collect::<Vec<_>>().join(" ")
                })
                .collect()
        }
    }

    #[test]
    fn a_chunk_takes_messages_until_it_is_full_or_old_or_another_flush_waits_for_it() {
        let mut rig = Rig::new();
        rig.push(None, "a", 0, &LIMITS);
        rig.push(None, "b", 900, &LIMITS);
        rig.push(None, "late", 1001, &LIMITS);
        let few = ChunkLimits {
            messages: 2,
            ..LIMITS
        };
        rig.push(None, "second", 1001, &few);
        rig.push(None, "third", 1001, &few);
        let epoch = ChunkLimits { epoch: 1, ..LIMITS };
        rig.push(None, "epoch", 1001, &epoch);
        rig.push(None, &"x".repeat(300), 1001, &epoch);
        rig.push(None, "y", 1001, &epoch);
        let long = format!("epoch {}", "x".repeat(300));
        assert_eq!(rig.texts(), ["a b", "late second", "third", &long, "y"]);
    }

    #[test]
    fn each_topic_has_an_open_chunk() {
        let mut rig = Rig::new();
        let few = ChunkLimits {
            messages: 2,
            ..LIMITS
        };
        for (topic, text) in [
            (None, "1"),
            (Some("t"), "t1"),
            (None, "2"),
            (None, "3"),
            (Some("t"), "t2"),
            (Some("t"), "t3"),
            (None, "4"),
        ] {
            rig.push(topic, text, 0, &few);
        }
        assert_eq!(rig.texts(), ["1 2", "t1 t2", "3 4", "t3"]);
    }

    #[test]
    fn a_record_without_a_time_gets_that_of_its_call() {
        let mut rig = Rig::new();
        for millis in [0, 1, 70, 999] {
            rig.push(None, "a", millis, &LIMITS);
        }
        let batch = rig.chunks().remove(0).records.finish();
        let times: Vec<_> = Batch::decode(batch)
            .unwrap()
            .records()
            .map(|r| r.time.0)
            .collect();
        assert_eq!(times, [1000, 1001, 1070, 1999]);
    }

    #[test]
    fn a_chunk_was_called_when_its_first_message_was() {
        let mut rig = Rig::new();
        rig.push(None, "a", 5, &LIMITS);
        rig.push(None, "b", 3, &LIMITS);
        let began = rig.began;
        let called = rig.chunks().remove(0).called();
        assert_eq!(called, began + Duration::from_millis(3));
    }
}
