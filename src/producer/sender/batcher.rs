//! Sans-I/O: the chunks and messages of one run become batches, and batches become requests.
//!
//! A chunk is a complete batch except for its checksum. Small chunks of one topic are joined; this copies their records,
//! once. A message that keeps its place among others is encoded here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    TopicName,
    producer::{
        Fate, Message,
        accumulator::{Chunk, ChunkStart, Cost, Queued, ShardId, base_time, messages_of},
        receipt::Promise,
    },
    wire::{Batch, BatchBuilder},
};

/// A batch on its way, and what its outcome completes and frees.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) topic: TopicName,
    pub(crate) batch: Bytes,
    /// The number of messages in the batch.
    pub(crate) messages: usize,
    /// What it was made of, in its order.
    pub(crate) parts: Vec<Part>,
    /// What it holds of the budget until the outcome.
    pub(crate) cost: Cost,
    /// The number of messages from each ordered sub-queue.
    pub(crate) shards: Vec<(ShardId, usize)>,
    /// The number of chunks and messages that count in even and in odd flush epochs.
    pub(crate) epochs: [u64; 2],
    /// The earliest call among its messages. The delivery deadline counts from it.
    pub(crate) at: Instant,
    /// The lane that sends it.
    pub(crate) lane: usize,
    /// When it was first handed to a stream; empty before that.
    pub(crate) written: Option<Instant>,
    /// The stream of its lane that it was handed to last.
    pub(crate) stream_epoch: u64,
    /// The number of times it was handed to a stream.
    pub(crate) attempts: u32,
}

/// Messages that share a promise, those of one chunk, or one message.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) promise: Arc<Promise>,
    pub(crate) messages: usize,
}

impl Request {
    /// Returns what is known of the messages while there is no answer.
    pub(crate) const fn fate(&self) -> Fate {
        match self.written {
            Some(_) => Fate::Unknown,
            None => Fate::NotStored,
        }
    }

    /// Decodes the messages, to hand them back.
    pub(crate) fn to_messages(&self) -> Vec<Message> {
        messages_of(self.batch.clone(), &self.topic)
    }

    fn add_chunk(&mut self, chunk: &Chunk) {
        let part = Part {
            promise: Arc::clone(&chunk.promise),
            messages: chunk.messages(),
        };
        self.add(part, chunk.cost, chunk.epochs(), chunk.called());
    }

    fn add(&mut self, part: Part, cost: Cost, epochs: [u64; 2], called: Instant) {
        self.messages += part.messages;
        self.parts.push(part);
        self.cost.add(cost);
        for (count, more) in self.epochs.iter_mut().zip(epochs) {
            *count += more;
        }
        self.at = self.at.min(called);
    }

    fn add_shard(&mut self, shard: ShardId) {
        // Messages of one sub-queue come one after the other.
        match self.shards.last_mut().filter(|last| last.0 == shard) {
            Some(last) => last.1 += 1,
            None => self.shards.push((shard, 1)),
        }
    }
}

/// What bounds a batch that is made of several chunks or messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
    /// How far apart the calls of messages may be that one deadline holds for.
    pub(crate) age_spread: Duration,
}

/// Gathers the chunks and messages of one run.
#[derive(Debug)]
pub(crate) struct Batcher {
    lane: usize,
    topic: TopicName,
    limits: BatchLimits,
    open: Vec<Open>,
    /// The length of the last batch that was begun with a message, as a guess for the next one.
    usual_len: usize,
}

#[derive(Debug)]
struct Open {
    records: BatchBuilder,
    request: Request,
    /// Whether it was begun with a message.
    encoded_here: bool,
}

impl Batcher {
    /// Creates a batcher for a lane. Messages without a topic of their own go to `topic`.
    pub(crate) const fn new(lane: usize, topic: TopicName, limits: BatchLimits) -> Self {
        Self {
            lane,
            topic,
            limits,
            open: Vec::new(),
            usual_len: 0,
        }
    }

    /// Adds a chunk.
    pub(crate) fn push_chunk(&mut self, chunk: Chunk) {
        let limits = self.limits;
        if let Some(open) = self.last_of(chunk.topic.as_ref())
            && open.records.base_time() == chunk.records.base_time()
            && open.records.len() + chunk.len() <= limits.bytes
            && open.request.messages + chunk.messages() <= limits.messages
        {
            open.records.append(&chunk.records);
            open.request.add_chunk(&chunk);
            return;
        }
        let mut request = self.request(chunk.topic.as_ref(), chunk.called());
        request.add_chunk(&chunk);
        self.open.push(Open {
            records: chunk.records,
            request,
            encoded_here: false,
        });
    }

    /// Encodes a message. `clock` was read after its call.
    pub(crate) fn push_message(
        &mut self,
        queued: Queued,
        shard: Option<ShardId>,
        clock: &ChunkStart,
    ) {
        let (len, called) = (queued.encoded_len(), queued.called(clock));
        let limits = self.limits;
        let has_room = |open: &Open| {
            let at = open.request.at;
            let apart = at.max(called).saturating_duration_since(at.min(called));
            open.records.len() + len <= limits.bytes
                && open.request.messages < limits.messages
                && apart <= limits.age_spread
        };
        if !self
            .last_of(queued.topic())
            .is_some_and(|open| has_room(open))
        {
            let usual = (self.usual_len + self.usual_len / 8).min(limits.bytes);
            let capacity = usual.max(Batch::HEADER_LEN + len);
            let base = base_time(queued.called_wall(clock));
            let open = Open {
                records: BatchBuilder::with_base_time(capacity, base),
                request: self.request(queued.topic(), called),
                encoded_here: true,
            };
            self.open.push(open);
        }
        let Some(open) = self.last_of(queued.topic()) else {
            return;
        };
        let (cost, epochs) = (queued.cost(), queued.epochs());
        let (message, promise) = queued.into_message(clock);
        message.encode(&mut open.records, || clock.wall);
        let part = Part {
            promise,
            messages: 1,
        };
        open.request.add(part, cost, epochs, called);
        if let Some(shard) = shard {
            open.request.add_shard(shard);
        }
    }

    /// Returns the last batch of a topic. Only the last may take more: otherwise messages of one key could change places.
    fn last_of(&mut self, topic: Option<&TopicName>) -> Option<&mut Open> {
        let topic = topic.unwrap_or(&self.topic);
        let last = self.open.iter_mut().rev();
        last.into_iter().find(|open| open.request.topic == *topic)
    }

    fn request(&self, topic: Option<&TopicName>, called: Instant) -> Request {
        Request {
            topic: topic.unwrap_or(&self.topic).clone(),
            batch: Bytes::new(),
            messages: 0,
            parts: Vec::with_capacity(1),
            cost: Cost::default(),
            shards: Vec::new(),
            epochs: [0; 2],
            at: called,
            lane: self.lane,
            written: None,
            stream_epoch: 0,
            attempts: 0,
        }
    }

    /// Ends the run, and returns its batches in the order in which they were begun.
    pub(crate) fn finish(&mut self) -> impl ExactSizeIterator<Item = Request> {
        let encoded = self.open.iter().rev().find(|open| open.encoded_here);
        if let Some(open) = encoded {
            self.usual_len = open.records.len();
        }
        self.open.drain(..).map(Open::finish)
    }
}

impl Open {
    fn finish(mut self) -> Request {
        self.request.batch = self.records.finish();
        self.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        producer::accumulator::{ChunkStart, Entry},
        wire::Batch,
    };

    fn chunk(topic: Option<&str>, payload: &'static str, wall: u64, epoch: u64) -> Chunk {
        let now = crate::time::now();
        let message = Message::new(payload);
        let topic = topic.map(|t| TopicName::new(t).unwrap());
        let entry = Entry {
            message: &message,
            topic: topic.as_ref(),
            len: 8,
            cost: Cost::one(8),
            at: 0,
            promise: None,
        };
        let start = ChunkStart {
            now,
            nanos: 0,
            wall: Timestamp(wall),
            epoch,
        };
        Chunk::open(&entry, start, 0).0
    }

    const LIMITS: BatchLimits = BatchLimits {
        bytes: 1000,
        messages: 100,
        age_spread: Duration::from_secs(1),
    };

    fn batcher(limits: BatchLimits) -> Batcher {
        Batcher::new(2, TopicName::new("own").unwrap(), limits)
    }

    /// A clock that was read a minute after the producer began.
    fn clock() -> ChunkStart {
        ChunkStart {
            now: crate::time::now(),
            nanos: 60_000_000_000,
            wall: Timestamp(1_060_000),
            epoch: 0,
        }
    }

    /// A message whose call was `millis` milliseconds after the producer began.
    fn message(topic: Option<&str>, payload: &'static str, millis: u64, epoch: u64) -> Queued {
        let message = Message::new(payload);
        let message = match topic {
            Some(topic) => message.with_topic(TopicName::new(topic).unwrap()),
            None => message,
        };
        Queued::new(
            message,
            Arc::new(Promise::of_one()),
            millis * 1_000_000,
            epoch,
        )
    }

    fn message_cost_of(payload: &'static str) -> Cost {
        message(None, payload, 0, 0).cost()
    }

    fn payloads(request: &Request) -> Vec<Bytes> {
        let batch = Batch::decode(request.batch.clone()).unwrap();
        batch.records().map(|r| r.payload).collect()
    }

    #[test]
    fn a_run_becomes_one_batch_a_topic_and_keeps_the_order_within_each() {
        let mut batcher = batcher(LIMITS);
        // Both clocks are read at about the same time.
        let now = 60_000;
        batcher.push_chunk(chunk(None, "a", 1_060_000, 0));
        batcher.push_chunk(chunk(Some("other"), "b", 1_060_000, 0));
        batcher.push_message(message(None, "c", now, 1), Some(3), &clock());
        batcher.push_message(message(Some("own"), "d", now, 1), Some(3), &clock());
        let requests: Vec<_> = batcher.finish().collect();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].topic.as_str(), "own");
        assert_eq!(payloads(&requests[0]), ["a", "c", "d"]);
        assert_eq!(requests[0].shards, [(3, 2)]);
        assert_eq!(requests[0].epochs, [1, 2]);
        assert_eq!((requests[0].messages, requests[0].parts.len()), (3, 3));
        let both = message_cost_of("c").bytes + message_cost_of("d").bytes;
        assert_eq!(
            requests[0].cost,
            Cost {
                messages: 3,
                bytes: 8 + both
            }
        );
        assert_eq!(requests[1].topic.as_str(), "other");
        assert_eq!(payloads(&requests[1]), ["b"]);
        assert_eq!(batcher.finish().len(), 0);
    }

    #[test]
    fn chunks_that_do_not_fit_together_keep_their_order_in_several_batches() {
        let mut batcher = batcher(LIMITS);
        let far = u64::try_from(Duration::from_secs(9).as_millis()).unwrap();
        for (payload, wall) in [("a", 0), ("b", far), ("c", 0), ("d", 0)] {
            batcher.push_chunk(chunk(None, payload, wall, 0));
        }
        let batches: Vec<_> = batcher.finish().map(|r| payloads(&r)).collect();
        assert_eq!(batches, [vec!["a"], vec!["b"], vec!["c", "d"]]);
    }

    #[test]
    fn a_joined_batch_stays_within_its_bounds() {
        let limits = BatchLimits {
            messages: 2,
            ..LIMITS
        };
        let mut batcher = batcher(limits);
        for payload in ["a", "b", "c"] {
            batcher.push_chunk(chunk(None, payload, 0, 0));
        }
        for (payload, millis) in [("d", 0), ("e", 1001), ("f", 1001), ("g", 1001)] {
            batcher.push_message(message(None, payload, millis, 0), None, &clock());
        }
        let batches: Vec<_> = batcher.finish().map(|r| payloads(&r)).collect();
        let expected = [
            vec!["a", "b"],
            vec!["c"],
            vec!["d"],
            vec!["e", "f"],
            vec!["g"],
        ];
        assert_eq!(batches, expected);
    }

    #[test]
    fn a_message_without_a_time_gets_that_of_its_call() {
        let mut batcher = batcher(LIMITS);
        for millis in [100, 107, 50] {
            batcher.push_message(message(None, "x", millis, 0), None, &clock());
        }
        let request = batcher.finish().next().unwrap();
        assert_eq!(request.at, clock().moment(50_000_000).min(request.at));
        let batch = Batch::decode(request.batch).unwrap();
        let times: Vec<_> = batch.records().map(|record| record.time.0).collect();
        assert_eq!(times, [1_000_100, 1_000_107, 1_000_050]);
    }
}
