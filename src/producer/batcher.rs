//! Pure: messages of one run become batches, one for each topic in the run.

use std::time::Instant;

use bytes::Bytes;

use super::{budget::Cost, keys::ShardId, queue::Queued, receipt::Slot};
use crate::{TopicName, wire::BatchBuilder};

/// A batch on its way, with all that its outcome will settle.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) topic: TopicName,
    pub(crate) batch: Bytes,
    /// One for each message, in the batch's order.
    pub(crate) slots: Vec<Slot>,
    /// Budget held until the outcome.
    pub(crate) cost: Cost,
    /// Messages taken from each ordered sub-queue.
    pub(crate) shards: Vec<(ShardId, usize)>,
    /// Messages of even and of odd eras.
    pub(crate) eras: [u64; 2],
    /// The earliest call among its messages: the delivery deadline counts from here.
    pub(crate) at: Instant,
    /// The lane that sends it.
    pub(crate) lane: usize,
    /// When it was first handed to a stream; empty while nothing of it can have left this process.
    pub(crate) written: Option<Instant>,
    /// How often it was handed to a stream.
    pub(crate) attempts: u32,
}

/// Gathers one run.
#[derive(Debug)]
pub(crate) struct Batcher {
    lane: usize,
    topic: TopicName,
    open: Vec<Open>,
    /// Builders without content, kept for their memory.
    spare: Vec<BatchBuilder>,
}

#[derive(Debug)]
struct Open {
    builder: BatchBuilder,
    request: Request,
}

/// Builders kept for the next run.
const SPARE: usize = 4;

impl Batcher {
    /// For messages without a topic of their own: `topic`.
    pub(crate) const fn new(lane: usize, topic: TopicName) -> Self {
        Self {
            lane,
            topic,
            open: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, message: Queued, shard: Option<ShardId>) {
        let place = self.place(message.topic.as_ref(), message.at);
        let Open { builder, request } = &mut self.open[place];
        builder.push(&message.record);
        request.slots.push(message.slot);
        request.cost.add(message.cost);
        request.eras[usize::from(message.era & 1 == 1)] += 1;
        request.at = request.at.min(message.at);
        if let Some(shard) = shard {
            match request.shards.iter_mut().find(|s| s.0 == shard) {
                Some(entry) => entry.1 += 1,
                None => request.shards.push((shard, 1)),
            }
        }
    }

    fn place(&mut self, topic: Option<&TopicName>, at: Instant) -> usize {
        let topic = topic.unwrap_or(&self.topic);
        if let Some(place) = self.open.iter().position(|o| o.request.topic == *topic) {
            return place;
        }
        self.open.push(Open {
            builder: self.spare.pop().unwrap_or_else(|| BatchBuilder::new(0)),
            request: Request {
                topic: topic.clone(),
                batch: Bytes::new(),
                slots: Vec::new(),
                cost: Cost::default(),
                shards: Vec::new(),
                eras: [0; 2],
                at,
                lane: self.lane,
                written: None,
                attempts: 0,
            },
        });
        self.open.len() - 1
    }

    /// Ends the run: its batches, in the order in which their topics first came.
    pub(crate) fn finish(&mut self) -> Vec<Request> {
        let mut sealed = Vec::with_capacity(self.open.len());
        for Open {
            mut builder,
            mut request,
        } in self.open.drain(..)
        {
            request.batch = builder.finish();
            sealed.push(request);
            if self.spare.len() < SPARE {
                self.spare.push(builder);
            }
        }
        sealed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        producer::receipt,
        wire::{Batch, Record},
    };

    fn message(topic: Option<&str>, payload: &'static str, era: u64) -> Queued {
        let (slot, _) = receipt::slot();
        Queued {
            record: Record {
                payload: payload.into(),
                ..Record::default()
            },
            topic: topic.map(|t| TopicName::new(t).unwrap()),
            slot,
            len: 8,
            cost: Cost::one(8),
            at: crate::time::now(),
            era,
        }
    }

    fn payloads(request: &Request) -> Vec<Bytes> {
        let batch = Batch::decode(request.batch.clone()).unwrap();
        batch.records().map(|r| r.payload).collect()
    }

    #[test]
    fn a_run_becomes_one_batch_a_topic_and_keeps_the_order_within_each() {
        let mut batcher = Batcher::new(2, TopicName::new("own").unwrap());
        for (topic, payload, era, shard) in [
            (None, "a", 0, None),
            (Some("other"), "b", 0, Some(7)),
            (None, "c", 1, Some(3)),
            (Some("own"), "d", 1, Some(3)),
        ] {
            batcher.push(message(topic, payload, era), shard);
        }
        let requests = batcher.finish();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].topic.as_str(), "own");
        assert_eq!(payloads(&requests[0]), ["a", "c", "d"]);
        assert_eq!(requests[0].shards, [(3, 2)]);
        assert_eq!(requests[0].eras, [1, 2]);
        assert_eq!(requests[0].slots.len(), 3);
        assert_eq!(
            requests[0].cost,
            Cost {
                messages: 3,
                bytes: 24
            }
        );
        assert_eq!(requests[1].topic.as_str(), "other");
        assert_eq!(payloads(&requests[1]), ["b"]);
        assert!(batcher.finish().is_empty());
    }
}
