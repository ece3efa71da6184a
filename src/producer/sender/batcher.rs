//! Sans-I/O: the chunks of one run become batches, and batches become requests.
//!
//! A chunk is a complete batch except for its checksum. Small chunks of one topic are joined; this copies their records,
//! once.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    TopicName,
    producer::{
        Fate, Message,
        accumulator::{Chunk, Cost, ShardId, messages_of},
        receipt::Promise,
    },
    wire::BatchBuilder,
};

/// A batch on its way, and what its outcome completes and frees.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) topic: TopicName,
    pub(crate) batch: Bytes,
    /// The number of messages in the batch.
    pub(crate) messages: usize,
    /// The chunks that it was made of, in its order.
    pub(crate) parts: Vec<Part>,
    /// What it holds of the budget until the outcome.
    pub(crate) cost: Cost,
    /// The number of messages from each ordered sub-queue.
    pub(crate) shards: Vec<(ShardId, usize)>,
    /// The number of chunks of even and of odd flush epochs.
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

/// The messages of one chunk.
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

    fn add(&mut self, chunk: &Chunk, shard: Option<ShardId>) {
        let messages = chunk.messages();
        self.messages += messages;
        self.parts.push(Part {
            promise: Arc::clone(&chunk.promise),
            messages,
        });
        self.cost.add(chunk.cost);
        for (count, chunks) in self.epochs.iter_mut().zip(chunk.epochs()) {
            *count += chunks;
        }
        self.at = self.at.min(chunk.called());
        if let Some(shard) = shard {
            match self.shards.iter_mut().find(|s| s.0 == shard) {
                Some(entry) => entry.1 += messages,
                None => self.shards.push((shard, messages)),
            }
        }
    }
}

/// Gathers the chunks of one run.
#[derive(Debug)]
pub(crate) struct Batcher {
    lane: usize,
    topic: TopicName,
    /// The most bytes of a batch that is joined of several chunks.
    bytes: usize,
    /// The most messages of such a batch.
    messages: usize,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    records: BatchBuilder,
    request: Request,
}

impl Open {
    fn new(chunk: Chunk, shard: Option<ShardId>, lane: usize, own: &TopicName) -> Self {
        let mut request = Request {
            topic: chunk.topic.clone().unwrap_or_else(|| own.clone()),
            batch: Bytes::new(),
            messages: 0,
            parts: Vec::with_capacity(1),
            cost: Cost::default(),
            shards: Vec::new(),
            epochs: [0; 2],
            at: chunk.called(),
            lane,
            written: None,
            stream_epoch: 0,
            attempts: 0,
        };
        request.add(&chunk, shard);
        Self {
            records: chunk.records,
            request,
        }
    }

    fn finish(mut self) -> Request {
        self.request.batch = self.records.finish();
        self.request
    }
}

impl Batcher {
    /// Creates a batcher for a lane. Messages without a topic of their own go to `topic`. A batch that is joined of several
    /// chunks has at most `bytes` and `messages`.
    pub(crate) const fn new(lane: usize, topic: TopicName, bytes: usize, messages: usize) -> Self {
        Self {
            lane,
            topic,
            bytes,
            messages,
            open: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, chunk: Chunk, shard: Option<ShardId>) {
        let topic = chunk.topic.as_ref().unwrap_or(&self.topic);
        // Only the last batch of this topic: otherwise chunks of one key could change places.
        let last = self.open.iter_mut().rev();
        let last = last.into_iter().find(|open| open.request.topic == *topic);
        if let Some(open) = last
            && open.records.base_time() == chunk.records.base_time()
            && open.records.len() + chunk.len() <= self.bytes
            && open.request.messages + chunk.messages() <= self.messages
        {
            open.records.append(&chunk.records);
            open.request.add(&chunk, shard);
            return;
        }
        let open = Open::new(chunk, shard, self.lane, &self.topic);
        self.open.push(open);
    }

    /// Ends the run, and returns its batches in the order in which they were begun.
    pub(crate) fn finish(&mut self) -> impl ExactSizeIterator<Item = Request> {
        self.open.drain(..).map(Open::finish)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    fn batcher() -> Batcher {
        Batcher::new(2, TopicName::new("own").unwrap(), 1000, 100)
    }

    fn payloads(request: &Request) -> Vec<Bytes> {
        let batch = Batch::decode(request.batch.clone()).unwrap();
        batch.records().map(|r| r.payload).collect()
    }

    #[test]
    fn a_run_becomes_one_batch_a_topic_and_keeps_the_order_within_each() {
        let mut batcher = batcher();
        for (topic, payload, epoch, shard) in [
            (None, "a", 0, None),
            (Some("other"), "b", 0, Some(7)),
            (None, "c", 1, Some(3)),
            (Some("own"), "d", 1, Some(3)),
        ] {
            batcher.push(chunk(topic, payload, 0, epoch), shard);
        }
        let requests: Vec<_> = batcher.finish().collect();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].topic.as_str(), "own");
        assert_eq!(payloads(&requests[0]), ["a", "c", "d"]);
        assert_eq!(requests[0].shards, [(3, 2)]);
        assert_eq!(requests[0].epochs, [1, 2]);
        assert_eq!((requests[0].messages, requests[0].parts.len()), (3, 3));
        assert_eq!(
            requests[0].cost,
            Cost {
                messages: 3,
                bytes: 24
            }
        );
        assert_eq!(requests[1].topic.as_str(), "other");
        assert_eq!(payloads(&requests[1]), ["b"]);
        assert_eq!(batcher.finish().len(), 0);
    }

    #[test]
    fn chunks_that_do_not_fit_together_keep_their_order_in_several_batches() {
        let mut batcher = batcher();
        let far = u64::try_from(Duration::from_secs(9).as_millis()).unwrap();
        for (payload, wall) in [("a", 0), ("b", far), ("c", 0), ("d", 0)] {
            batcher.push(chunk(None, payload, wall, 0), Some(1));
        }
        let batches: Vec<_> = batcher.finish().map(|r| payloads(&r)).collect();
        assert_eq!(batches, [vec!["a"], vec!["b"], vec!["c", "d"]]);
    }

    #[test]
    fn a_joined_batch_stays_within_its_bounds() {
        let mut batcher = Batcher::new(0, TopicName::new("own").unwrap(), 1000, 2);
        for payload in ["a", "b", "c"] {
            batcher.push(chunk(None, payload, 0, 0), None);
        }
        let batches: Vec<_> = batcher.finish().map(|r| payloads(&r)).collect();
        assert_eq!(batches, [vec!["a", "b"], vec!["c"]]);
    }
}
