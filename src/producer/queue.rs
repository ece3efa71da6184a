//! The queue: every message of `send_async` goes through here on its way to a lane.
//!
//! Messages without a key go straight into one lock-free queue. A keyed message goes into its sub-queue, and the
//! sub-queue goes into that same lock-free queue when it has none of its messages under way
//! ([`super::keys`]). Lanes pull; nobody pushes into a lane.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crossbeam_queue::SegQueue;

use super::{
    budget::Cost,
    keys::{Keys, Owned, Pushed, ShardId},
    parking::Parking,
    receipt::Slot,
};
use crate::{TopicName, wire::Record};

/// A message that was accepted and waits for a lane.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) record: Record,
    /// Where it differs from the producer's own.
    pub(crate) topic: Option<TopicName>,
    pub(crate) slot: Slot,
    /// About its length in a batch.
    pub(crate) len: u64,
    /// What it holds of the budget until it has its outcome.
    pub(crate) cost: Cost,
    /// The call.
    pub(crate) at: Instant,
    /// Which flush waits for it.
    pub(crate) era: u64,
}

#[derive(Debug)]
enum Item {
    Message(Queued),
    Shard(ShardId),
}

/// What a dispatcher finds in the shared queue.
#[derive(Debug)]
pub(crate) enum Popped {
    Message(Queued),
    /// An ordered sub-queue, which the taker now owns.
    Shard(ShardId),
}

/// How much one pull may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) messages: usize,
}

#[derive(Debug)]
pub(crate) struct Queue {
    shared: SegQueue<Item>,
    pub(crate) keys: Keys<Queued>,
    pub(crate) parking: Parking,
    messages: AtomicUsize,
    bytes: AtomicU64,
    /// About when the oldest message came, in microseconds since `base`: that of the last one taken, or of the
    /// first one pushed into an empty queue.
    head: AtomicU64,
    base: Instant,
}

impl Queue {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            shared: SegQueue::new(),
            keys: Keys::new(),
            parking: Parking::new(),
            messages: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            head: AtomicU64::new(0),
            base: now,
        }
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// About how long they will be in batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long the oldest has waited, or a little longer.
    pub(crate) fn oldest_wait(&self, now: Instant) -> Duration {
        if self.len() == 0 {
            return Duration::ZERO;
        }
        let head = self.base + Duration::from_micros(self.head.load(Ordering::Relaxed));
        now.saturating_duration_since(head)
    }

    /// Appends a message, wakes a lane where one should look, and answers how many wait now.
    pub(crate) fn push(&self, message: Queued) -> usize {
        self.bytes.fetch_add(message.len, Ordering::Relaxed);
        let waiting = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        if waiting == 1 {
            self.mark(message.at);
        }
        match message.record.key.as_deref().map(Keys::<Queued>::shard) {
            None => {
                self.shared.push(Item::Message(message));
                self.parking.wake_one();
            }
            Some(shard) => match self.keys.push(shard, message) {
                Pushed::Schedule => {
                    self.shared.push(Item::Shard(shard));
                    self.parking.wake_one();
                }
                Pushed::Wake(lane) => self.parking.wake_parked(lane),
                Pushed::Queued => {}
            },
        }
        waiting
    }

    /// Takes messages for lane `lane`, those of its own sub-queues first, and hands each to `taker`. Answers how
    /// many bytes were taken.
    pub(crate) fn pull(
        &self,
        lane: usize,
        owned: &mut Owned,
        run: Run,
        mut taker: impl FnMut(Queued, Option<ShardId>),
    ) -> u64 {
        owned.settle(&self.keys);
        let mut bytes = 0;
        let mut messages = 0;
        let mut last = None;
        while messages < run.messages && bytes < run.bytes {
            let (message, shard) = if let Some((shard, message)) = owned.pop(&self.keys) {
                (message, Some(shard))
            } else {
                match self.shared.pop() {
                    Some(Item::Message(message)) => (message, None),
                    Some(Item::Shard(shard)) => {
                        owned.take(&self.keys, shard, lane);
                        continue;
                    }
                    None => break,
                }
            };
            messages += 1;
            bytes += message.len;
            last = Some(message.at);
            taker(message, shard);
        }
        self.taken(messages, bytes, last);
        bytes
    }

    fn taken(&self, messages: usize, bytes: u64, last: Option<Instant>) {
        if let Some(at) = last {
            self.messages.fetch_sub(messages, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.mark(at);
        }
    }

    /// Takes one item, for a dispatcher that has no lanes.
    pub(crate) fn pop(&self) -> Option<Popped> {
        Some(match self.shared.pop()? {
            Item::Message(message) => {
                self.taken(1, message.len, Some(message.at));
                Popped::Message(message)
            }
            Item::Shard(shard) => Popped::Shard(shard),
        })
    }

    /// Takes one message of an owned sub-queue.
    pub(crate) fn pop_owned(&self, owned: &mut Owned) -> Option<Queued> {
        let (_, message) = owned.pop(&self.keys)?;
        self.taken(1, message.len, Some(message.at));
        Some(message)
    }

    /// Whether anything waits that any lane may take.
    pub(crate) fn has_shared_work(&self) -> bool {
        !self.shared.is_empty()
    }

    /// Whether anything waits that a lane with these sub-queues may take.
    pub(crate) fn has_work(&self, owned: &Owned) -> bool {
        self.has_shared_work() || owned.has_work(&self.keys)
    }

    /// Removes everything. Only for a producer that has ended.
    pub(crate) fn drain(&self) -> Vec<Queued> {
        let mut all = Vec::new();
        while let Some(item) = self.shared.pop() {
            if let Item::Message(message) = item {
                all.push(message);
            }
        }
        all.extend(self.keys.drain());
        let bytes = all.iter().map(|m| m.len).sum();
        self.taken(all.len(), bytes, all.last().map(|m| m.at));
        all
    }

    fn mark(&self, at: Instant) {
        let since = at.saturating_duration_since(self.base).as_micros();
        self.head
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::producer::receipt;

    fn message(key: Option<&'static str>, payload: &'static str) -> Queued {
        let (slot, _) = receipt::slot();
        Queued {
            record: Record {
                key: key.map(Bytes::from),
                payload: payload.into(),
                ..Record::default()
            },
            topic: None,
            slot,
            len: 10,
            cost: Cost::one(10),
            at: crate::time::now(),
            era: 0,
        }
    }

    fn pull(queue: &Queue, lane: usize, owned: &mut Owned, messages: usize) -> Vec<String> {
        let mut got = Vec::new();
        queue.pull(
            lane,
            owned,
            Run {
                bytes: 1000,
                messages,
            },
            |m, _| got.push(String::from_utf8(m.record.payload.to_vec()).unwrap()),
        );
        got
    }

    #[test]
    fn a_keys_messages_follow_their_lane_while_others_take_the_rest() {
        let queue = Queue::new(crate::time::now());
        let (mut first, mut second) = (Owned::default(), Owned::default());
        queue.push(message(Some("k"), "k1"));
        assert_eq!(pull(&queue, 0, &mut first, 1), ["k1"]);
        queue.push(message(Some("k"), "k2"));
        queue.push(message(None, "a"));
        assert_eq!(pull(&queue, 1, &mut second, 9), ["a"]);
        assert_eq!(pull(&queue, 0, &mut first, 9), ["k2"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_pull_ends_at_its_bounds() {
        let queue = Queue::new(crate::time::now());
        for _ in 0..5 {
            queue.push(message(None, "x"));
        }
        let mut owned = Owned::default();
        assert_eq!(pull(&queue, 0, &mut owned, 2).len(), 2);
        let run = Run {
            bytes: 15,
            messages: 9,
        };
        assert_eq!(queue.pull(0, &mut owned, run, |_, _| {}), 20);
        assert_eq!((queue.len(), queue.bytes()), (1, 10));
    }
}
