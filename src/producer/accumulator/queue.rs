//! The queue of `send_async`: every message passes through it on its way to a lane.
//!
//! Messages without a key go into one of a few queues of [chunks](super::chunk). Each sending thread uses its own, so
//! threads seldom meet at a lock, which is held while one message is encoded. A keyed message goes into its sub-queue
//! ([`super::key_shards`]); a sub-queue with none of its messages under way is handed to a lane through a lock-free
//! queue. Lanes pull; nothing is pushed into a lane.

use std::{
    cell::Cell,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_queue::SegQueue;

use super::{
    chunk::{Chunk, ChunkLimits, ChunkQueue, ChunkStart, Entry},
    key_shards::{Fifo as _, KeyShards, OwnedShards, Pushed, ShardId},
    lane_waker::{LaneWaker, MAX_LANES},
};
use crate::producer::receipt::Receipt;

/// The most stripes for messages without a key, a power of two. More threads than that share them.
const MAX_STRIPES: usize = 8;

/// What is next in the queue.
#[derive(Debug)]
pub(crate) enum QueueItem {
    Chunk(Chunk),
    /// An ordered sub-queue, which the taker owns from now on.
    Shard(ShardId),
}

/// How much one pull takes: it ends with the chunk that reaches one of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) messages: usize,
}

/// The messages of `send_async` that no lane has taken yet.
#[derive(Debug)]
pub(crate) struct Queue {
    stripes: Box<[Stripe]>,
    /// The stripe at which the next pull begins.
    next_stripe: AtomicUsize,
    /// Sub-queues that wait for a lane.
    scheduled: SegQueue<ShardId>,
    pub(super) keys: KeyShards<ChunkQueue>,
    /// What waits in sub-queues.
    keyed: Count,
    pub(super) waker: LaneWaker,
    base: Instant,
}

/// The chunks of some threads, on a cache line of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe {
    chunks: Mutex<ChunkQueue>,
    waiting: Count,
}

/// How much waits. That of a stripe is written under its lock, by plain stores; that of the sub-queues without one.
#[derive(Debug)]
struct Count {
    messages: AtomicUsize,
    bytes: AtomicU64,
    /// The time of the oldest call, in nanoseconds since `base`; for the sub-queues, about.
    head: AtomicU64,
}

impl Count {
    const fn new() -> Self {
        Self {
            messages: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            head: AtomicU64::new(u64::MAX),
        }
    }

    /// Sets the time of the oldest call.
    fn mark(&self, at: u64) {
        self.head.store(at, Ordering::Relaxed);
    }
}

impl Stripe {
    fn new() -> Self {
        Self {
            chunks: Mutex::default(),
            waiting: Count::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ChunkQueue> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.waiting.messages.load(Ordering::Relaxed)
    }
}

thread_local! {
    /// The number of this thread, which chooses its stripe.
    static STRIPE: Cell<Option<usize>> = const { Cell::new(None) };
}

fn stripe_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.get().unwrap_or_else(|| {
        let stripe = NEXT.fetch_add(1, Ordering::Relaxed);
        STRIPE.set(Some(stripe));
        stripe
    })
}

impl Queue {
    pub(crate) fn new(now: Instant) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self {
            stripes: (0..threads.next_power_of_two().min(MAX_STRIPES))
                .map(|_| Stripe::new())
                .collect(),
            next_stripe: AtomicUsize::new(0),
            scheduled: SegQueue::new(),
            keys: KeyShards::new(),
            keyed: Count::new(),
            waker: LaneWaker::new(),
            base: now,
        }
    }

    fn counts(&self) -> impl Iterator<Item = &Count> {
        let stripes = self.stripes.iter().map(|stripe| &stripe.waiting);
        stripes.chain([&self.keyed])
    }

    /// Returns the number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.counts()
            .map(|count| count.messages.load(Ordering::Relaxed))
            .sum()
    }

    /// Returns about how many bytes they will take in batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts()
            .map(|count| count.bytes.load(Ordering::Relaxed))
            .sum()
    }

    /// Returns how long the oldest message has waited, or a little more.
    pub(crate) fn oldest_wait(&self, now: Instant) -> Duration {
        let heads = self
            .counts()
            .filter(|count| count.messages.load(Ordering::Relaxed) > 0)
            .map(|count| count.head.load(Ordering::Relaxed));
        let head = heads.min().map(Duration::from_nanos);
        head.and_then(|head| self.base.checked_add(head))
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Appends a message, and wakes a lane where one should look.
    pub(crate) fn push(
        &self,
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        open: impl FnOnce() -> ChunkStart,
    ) -> Receipt {
        match entry
            .message
            .key()
            .map(|key| &**key)
            .map(KeyShards::<ChunkQueue>::shard)
        {
            None => self.push_plain(entry, limits, open),
            Some(shard) => self.push_keyed(shard, entry, limits, open),
        }
    }

    fn push_plain(
        &self,
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        open: impl FnOnce() -> ChunkStart,
    ) -> Receipt {
        let stripe = &self.stripes[stripe_of_thread() & (self.stripes.len() - 1)];
        if entry.len > limits.bytes {
            // It becomes a batch of its own. It is copied without the lock.
            let (chunk, receipt) = Chunk::open(entry, open(), entry.len);
            let mut chunks = stripe.lock();
            chunks.add(chunk);
            self.pushed(stripe, chunks, entry);
            return receipt;
        }
        let mut chunks = stripe.lock();
        let receipt = chunks.push(entry, limits, open);
        self.pushed(stripe, chunks, entry);
        receipt
    }

    fn pushed(&self, stripe: &Stripe, chunks: MutexGuard<'_, ChunkQueue>, entry: &Entry<'_>) {
        let was_empty = stripe.len() == 0;
        let Count {
            messages, bytes, ..
        } = &stripe.waiting;
        messages.store(stripe.len() + 1, Ordering::Relaxed);
        bytes.store(
            bytes.load(Ordering::Relaxed) + entry.len as u64,
            Ordering::Relaxed,
        );
        if was_empty {
            stripe.waiting.mark(entry.at);
        }
        drop(chunks);
        // The push into an empty stripe wakes a lane, and that lane wakes the next one if it leaves something.
        if was_empty {
            self.waker.wake_one();
        }
    }

    fn push_keyed(
        &self,
        shard: ShardId,
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        open: impl FnOnce() -> ChunkStart,
    ) -> Receipt {
        let bytes = entry.len as u64;
        self.keyed.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.keyed.messages.fetch_add(1, Ordering::Relaxed) == 0 {
            self.keyed.mark(entry.at);
        }
        let (pushed, receipt) = self.keys.push(shard, |line| line.push(entry, limits, open));
        match pushed {
            Pushed::Schedule => {
                self.scheduled.push(shard);
                self.waker.wake_one();
            }
            Pushed::Wake(lane) => self.waker.wake_parked(lane),
            Pushed::Queued => {}
        }
        receipt
    }

    /// Hands chunks to `taker` for a lane: those of its own sub-queues first, then, if `shared`, those that all lanes
    /// share. Returns the bytes taken.
    pub(super) fn pull(
        &self,
        lane: usize,
        owned: &mut OwnedShards,
        shared: bool,
        run: Run,
        mut taker: impl FnMut(Chunk, Option<ShardId>),
    ) -> u64 {
        owned.release_idle(&self.keys);
        let mut bytes = 0;
        let mut messages = 0;
        while messages < run.messages && bytes < run.bytes {
            let (chunk, shard) = if let Some((shard, chunk)) = self.pop_owned(owned) {
                (chunk, Some(shard))
            } else if !shared {
                break;
            } else if let Some(shard) = self.scheduled.pop() {
                owned.take(&self.keys, shard, lane);
                continue;
            } else if let Some(chunk) = self.pop_plain() {
                (chunk, None)
            } else {
                break;
            };
            messages += chunk.messages();
            bytes += chunk.len() as u64;
            taker(chunk, shard);
        }
        bytes
    }

    fn pop_plain(&self) -> Option<Chunk> {
        let stripes = self.stripes.len();
        let first = match stripes {
            1 => 0,
            _ => self.next_stripe.fetch_add(1, Ordering::Relaxed),
        };
        (first..first.wrapping_add(stripes))
            .map(|place| &self.stripes[place % stripes])
            .filter(|stripe| stripe.len() > 0)
            .find_map(|stripe| {
                let mut chunks = stripe.lock();
                let chunk = chunks.pop()?;
                let count = &stripe.waiting;
                let messages = stripe.len().saturating_sub(chunk.messages());
                count.messages.store(messages, Ordering::Relaxed);
                let bytes = count.bytes.load(Ordering::Relaxed);
                let bytes = bytes.saturating_sub(chunk.weight);
                count.bytes.store(bytes, Ordering::Relaxed);
                if let Some(next) = chunks.front() {
                    count.mark(next.at);
                }
                Some(chunk)
            })
    }

    /// Takes the next chunk of the owned sub-queues.
    pub(super) fn pop_owned(&self, owned: &mut OwnedShards) -> Option<(ShardId, Chunk)> {
        let (shard, chunk) = owned.pop(&self.keys)?;
        self.left_sub_queue(&chunk);
        Some((shard, chunk))
    }

    /// Takes the next item.
    pub(super) fn pop(&self) -> Option<QueueItem> {
        match self.scheduled.pop() {
            Some(shard) => Some(QueueItem::Shard(shard)),
            None => self.pop_plain().map(QueueItem::Chunk),
        }
    }

    /// Returns whether anything waits that any lane may take.
    pub(super) fn has_shared_work(&self) -> bool {
        !self.scheduled.is_empty() || self.stripes.iter().any(|stripe| stripe.len() > 0)
    }

    /// Counts messages of a sub-queue that were taken from it and have their outcome.
    pub(super) fn answered(&self, shard: ShardId, messages: usize) {
        self.keys.answered(shard, messages);
    }

    /// Wakes a lane, asleep or about to be.
    pub(crate) fn wake_lane(&self, lane: usize) {
        if lane < MAX_LANES {
            self.waker.wake(lane);
        }
    }

    /// Wakes every lane.
    pub(super) fn wake_all_lanes(&self) {
        (0..MAX_LANES).for_each(|lane| self.waker.wake(lane));
    }

    /// Removes everything. Only for a producer that has ended.
    pub(super) fn drain(&self) -> Vec<Chunk> {
        let mut all = Vec::new();
        while let Some(item) = self.pop() {
            if let QueueItem::Chunk(chunk) = item {
                all.push(chunk);
            }
        }
        for chunk in self.keys.drain() {
            self.left_sub_queue(&chunk);
            all.push(chunk);
        }
        all
    }

    fn left_sub_queue(&self, chunk: &Chunk) {
        let Count {
            messages, bytes, ..
        } = &self.keyed;
        messages.fetch_sub(chunk.messages(), Ordering::Relaxed);
        bytes.fetch_sub(chunk.weight, Ordering::Relaxed);
        self.keyed.mark(chunk.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Timestamp,
        producer::{Message, accumulator::budget::Cost},
        wire::Batch,
    };

    const WIDE: ChunkLimits = ChunkLimits {
        bytes: 1000,
        messages: 100,
        max_age_spread: 1_000_000_000,
        epoch: 0,
    };

    fn push(queue: &Queue, key: Option<&'static str>, payload: &'static str, limits: &ChunkLimits) {
        let now = crate::time::now();
        let plain = Message::new(payload);
        let message = match key {
            Some(key) => plain.with_key(key),
            None => plain,
        };
        let entry = Entry {
            message: &message,
            topic: None,
            len: message.encoded_len(),
            cost: Cost::one(10),
            at: 0,
            promise: None,
        };
        let start = ChunkStart {
            now,
            nanos: 0,
            wall: Timestamp(0),
            epoch: limits.epoch,
        };
        let _receipt = queue.push(&entry, limits, || start);
    }

    fn pull(queue: &Queue, lane: usize, owned: &mut OwnedShards, messages: usize) -> Vec<String> {
        let mut got = Vec::new();
        let run = Run {
            bytes: 1000,
            messages,
        };
        queue.pull(lane, owned, true, run, |mut chunk, _| {
            let batch = Batch::decode(chunk.records.finish()).unwrap();
            let texts = batch.records().map(|r| r.payload.to_vec());
            got.extend(texts.map(|text| String::from_utf8(text).unwrap()));
        });
        got
    }

    #[test]
    fn a_keys_messages_follow_their_lane_while_others_take_the_rest() {
        let queue = Queue::new(crate::time::now());
        let (mut first, mut second) = (OwnedShards::default(), OwnedShards::default());
        push(&queue, Some("k"), "k1", &WIDE);
        assert_eq!(pull(&queue, 0, &mut first, 1), ["k1"]);
        push(&queue, Some("k"), "k2", &WIDE);
        push(&queue, None, "a", &WIDE);
        push(&queue, None, "b", &WIDE);
        assert_eq!(pull(&queue, 1, &mut second, 9), ["a", "b"]);
        assert_eq!(pull(&queue, 0, &mut first, 9), ["k2"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_pull_ends_with_the_chunk_that_reaches_a_bound() {
        let queue = Queue::new(crate::time::now());
        let pairs = ChunkLimits {
            messages: 2,
            ..WIDE
        };
        for payload in ["a", "b", "c", "d", "e"] {
            push(&queue, None, payload, &pairs);
        }
        let mut owned = OwnedShards::default();
        assert_eq!(pull(&queue, 0, &mut owned, 1), ["a", "b"]);
        assert_eq!(queue.len(), 3);
        assert_eq!(pull(&queue, 0, &mut owned, 9), ["c", "d", "e"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
        assert_eq!(queue.oldest_wait(crate::time::now()), Duration::ZERO);
    }
}
