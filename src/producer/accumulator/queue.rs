//! The queue of `send_async`: every message passes through it on its way to a lane.
//!
//! A message without a key is encoded into an open [chunk](super::chunk) of the thread that sends it, which the thread takes
//! out of its [place](super::hand_over) for that time. A keyed message goes into its sub-queue
//! ([`super::key_shards`]). Lanes pull; nothing is pushed into a lane.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

#[cfg(test)]
use super::pause::{self, Point};
use super::{
    chunk::{Chunk, ChunkLimits, ChunkStart, Entry, OpenChunks},
    count::Count,
    hand_over::HandOver,
    key_shards::{KeyShards, OwnedShards, ShardId, Wake},
    lane_waker::{LaneWaker, MAX_LANES},
    queued::Queued,
    thread_number::{self, PLACES},
};
use crate::producer::receipt::Receipt;

/// What a lane takes.
#[derive(Debug)]
pub(crate) enum Taken {
    Chunk(Chunk),
    /// A message that keeps its place among others.
    Queued(Queued),
}

/// How much one pull takes: it ends with the chunk or message that reaches one of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) messages: usize,
}

/// The messages of `send_async` that no lane has taken yet.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Messages without a key.
    plain: HandOver<Box<OpenChunks>, Chunk>,
    /// What waits in the open chunks of each place.
    open: Box<[Open]>,
    /// What waits in full chunks.
    full: Count,
    pub(super) keys: KeyShards<Queued>,
    /// What waits in sub-queues.
    keyed: Count,
    pub(super) waker: LaneWaker,
    /// Messages that were taken from the sub-queues to be looked at. Used by the dispatcher that has no lanes alone.
    looked_at: Mutex<BTreeMap<ShardId, Queued>>,
    base: Instant,
}

/// The open chunks of a place, also while a thread has them out. On a cache line of its own, as its thread writes it with
/// each message.
#[derive(Debug)]
#[repr(align(64))]
struct Open {
    waiting: Count,
    /// The length of the last chunk that a lane took, as a guess for the next one.
    usual_len: AtomicUsize,
}

impl Open {
    const fn new() -> Self {
        Self {
            waiting: Count::new(),
            usual_len: AtomicUsize::new(0),
        }
    }
}

impl Queue {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            plain: HandOver::new(PLACES),
            open: (0..PLACES).map(|_| Open::new()).collect(),
            full: Count::new(),
            keys: KeyShards::new(),
            keyed: Count::new(),
            waker: LaneWaker::new(),
            looked_at: Mutex::default(),
            base: now,
        }
    }

    fn counts(&self) -> impl Iterator<Item = &Count> {
        let open = self.open[..self.plain.used()]
            .iter()
            .map(|open| &open.waiting);
        open.chain([&self.full, &self.keyed])
    }

    /// Returns the number of messages that wait, about.
    pub(crate) fn len(&self) -> usize {
        self.counts().map(|count| count.get().0).sum()
    }

    /// Returns about how many bytes they will take in batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts().map(|count| count.get().1).sum()
    }

    /// Returns how long the oldest message has waited, or a little more.
    pub(crate) fn oldest_wait(&self, now: Instant) -> Duration {
        let oldest = self.counts().filter_map(Count::oldest).min();
        let oldest = oldest.map(Duration::from_nanos);
        oldest
            .and_then(|oldest| self.base.checked_add(oldest))
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    // ---- on the way in ----

    /// Encodes a message without a key into an open chunk, and wakes a lane if one sleeps.
    pub(crate) fn push_plain(
        &self,
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        open: impl FnOnce() -> ChunkStart,
    ) -> Receipt {
        if entry.len > limits.bytes || entry.promise.is_some() {
            // A chunk of its own.
            let (chunk, receipt) = Chunk::open(entry, open(), entry.len);
            self.push_full(chunk);
            return receipt;
        }
        let place = thread_number::get();
        let Open { waiting, usual_len } = &self.open[place];
        let (begun, receipt) = match self.plain.take_out(place) {
            Some(mut begun) => {
                let (receipt, full) = begun.push(entry, limits, open);
                if let Some(full) = full {
                    waiting.sub(full.messages(), full.weight);
                    waiting.mark(entry.at);
                    self.push_full(full);
                }
                (begun, receipt)
            }
            None => {
                let usual = usual_len.load(Ordering::Relaxed);
                let (chunk, receipt) = Chunk::usual(entry, limits, open(), usual);
                waiting.mark(entry.at);
                (Box::new(OpenChunks::new(chunk)), receipt)
            }
        };
        #[cfg(test)]
        pause::at(Point::ChunkOut);
        waiting.add(1, entry.len as u64);
        if let Err(begun) = self.plain.put_back(place, begun) {
            self.close(place, *begun);
        }
        #[cfg(test)]
        pause::at(Point::NobodyWoken);
        self.waker.wake_one();
        receipt
    }

    /// Adds a chunk that takes no more messages.
    fn push_full(&self, chunk: Chunk) {
        if self.full.add(chunk.messages(), chunk.weight) {
            self.full.mark(chunk.at);
        }
        self.plain.push_full(chunk);
        self.waker.wake_one();
    }

    /// Moves open chunks that were counted at `place` to the full ones.
    fn close(&self, place: usize, begun: OpenChunks) {
        for chunk in begun.into_chunks() {
            self.open[place].waiting.sub(chunk.messages(), chunk.weight);
            self.push_full(chunk);
        }
    }

    /// Appends a message with a key to its sub-queue, and wakes the lane that is to take it if it sleeps.
    pub(crate) fn push_keyed(&self, shard: ShardId, message: Queued) {
        if self.keyed.add(1, message.encoded_len() as u64) {
            self.keyed.mark(message.at());
        }
        #[cfg(test)]
        pause::at(Point::NotQueued);
        self.keys.push(shard, message);
        #[cfg(test)]
        pause::at(Point::NobodyWoken);
        self.keys.announce(shard, |wake| self.wake(wake));
    }

    pub(super) fn wake(&self, wake: Wake) {
        match wake {
            Wake::Any => self.waker.wake_one(),
            Wake::Owner(lane) => self.waker.wake_owner(lane),
        }
    }

    // ---- on the way out ----

    /// Hands messages to `taker` for a lane: those of its own sub-queues first, then, if `shared`, those that all lanes
    /// share. Returns the bytes taken.
    pub(super) fn pull(
        &self,
        lane: usize,
        owned: &mut OwnedShards,
        shared: bool,
        run: Run,
        mut taker: impl FnMut(Taken, Option<ShardId>),
    ) -> u64 {
        owned.release_idle(&self.keys, |wake| self.wake(wake));
        owned.pass_on();
        let mut bytes = 0;
        let mut messages = 0;
        while messages < run.messages && bytes < run.bytes {
            if let Some((shard, message)) = self.pop_owned(owned) {
                messages += 1;
                bytes += message.encoded_len() as u64;
                taker(Taken::Queued(message), Some(shard));
            } else if !shared {
                break;
            } else if owned.own_next(&self.keys, lane).is_some() {
                // The next round takes from it.
            } else if let Some(chunk) = self.pop_plain() {
                messages += chunk.messages();
                bytes += chunk.len() as u64;
                taker(Taken::Chunk(chunk), None);
            } else {
                break;
            }
        }
        bytes
    }

    /// Takes a full chunk, or the open ones of a place; what is left of these is full from now on.
    pub(super) fn pop_plain(&self) -> Option<Chunk> {
        if let Some(chunk) = self.plain.pop_full() {
            self.full.sub(chunk.messages(), chunk.weight);
            self.full.mark(chunk.at);
            return Some(chunk);
        }
        let (place, begun) = self.plain.pop_begun()?;
        let mut chunks = begun.into_chunks();
        let first = chunks.next()?;
        self.open[place]
            .usual_len
            .store(first.len(), Ordering::Relaxed);
        self.open[place].waiting.sub(first.messages(), first.weight);
        for chunk in chunks {
            self.open[place].waiting.sub(chunk.messages(), chunk.weight);
            self.push_full(chunk);
        }
        Some(first)
    }

    /// Takes the next message of the owned sub-queues.
    fn pop_owned(&self, owned: &mut OwnedShards) -> Option<(ShardId, Queued)> {
        let (shard, message) = owned.pop(&self.keys)?;
        self.left_sub_queue(&message);
        Some((shard, message))
    }

    fn left_sub_queue(&self, message: &Queued) {
        self.keyed.sub(1, message.encoded_len() as u64);
        self.keyed.mark(message.at());
    }

    /// Returns whether anything waits that any lane may take.
    pub(super) fn has_shared_work(&self) -> bool {
        self.keys.has_scheduled() || self.plain.has_any()
    }

    /// Counts messages of a sub-queue that were taken from it and have their outcome.
    pub(super) fn answered(&self, shard: ShardId, messages: usize) {
        self.keys.answered(shard, messages);
    }

    /// Tells a lane to look again, asleep or about to be.
    pub(crate) fn tell_lane(&self, lane: usize) {
        if lane < MAX_LANES {
            self.waker.tell(lane);
        }
    }

    /// Tells every lane to look again.
    pub(super) fn tell_all_lanes(&self) {
        self.waker.tell_all();
    }

    /// Tells the lanes that wait for a full batch that there is one.
    pub(super) fn filled(&self) {
        self.waker.filled();
    }

    // ---- without lanes ----

    /// Calls `look` with the next message of the owned sub-queue, and leaves it where [`Queue::drain`] finds it.
    pub(super) fn look_at<R>(
        &self,
        shard: ShardId,
        owned: &mut OwnedShards,
        look: impl FnOnce(&Queued) -> R,
    ) -> Option<R> {
        let mut looked_at = self.looked_at();
        if !looked_at.contains_key(&shard) {
            let (shard, message) = owned.pop(&self.keys)?;
            looked_at.insert(shard, message);
        }
        looked_at.get(&shard).map(look)
    }

    /// Takes the next message of the owned sub-queue, looked at before or not.
    pub(super) fn pop_looked_at(&self, shard: ShardId, owned: &mut OwnedShards) -> Option<Queued> {
        let looked_at = self.looked_at().remove(&shard);
        let message = looked_at.or_else(|| owned.pop(&self.keys).map(|(_, message)| message))?;
        self.left_sub_queue(&message);
        Some(message)
    }

    fn looked_at(&self) -> MutexGuard<'_, BTreeMap<ShardId, Queued>> {
        self.looked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the end ----

    /// Removes everything. Only for a producer that has ended.
    pub(super) fn drain(&self) -> Vec<Taken> {
        let mut looked_at = self.looked_at();
        let keyed: Vec<_> = std::mem::take(&mut *looked_at)
            .into_values()
            .chain(self.keys.drain())
            .collect();
        drop(looked_at);
        keyed
            .iter()
            .for_each(|message| self.left_sub_queue(message));
        let plain = std::iter::from_fn(|| self.pop_plain()).map(Taken::Chunk);
        keyed.into_iter().map(Taken::Queued).chain(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Timestamp,
        producer::{
            Message,
            accumulator::{
                budget::Cost,
                queue_reader::{QueueReader, Take},
            },
        },
        wire::Batch,
    };

    const WIDE: ChunkLimits = ChunkLimits {
        bytes: 1000,
        messages: 100,
        max_age_spread: 1_000_000_000,
        epoch: 0,
    };

    fn push(queue: &Queue, key: Option<&'static str>, payload: &'static str, limits: &ChunkLimits) {
        let message = Message::new(payload);
        if let Some(key) = key {
            let shard = KeyShards::<Queued>::shard(key.as_bytes());
            let message = Queued::new(message.with_key(key), Arc::default(), 0, 0);
            return queue.push_keyed(shard, message);
        }
        let entry = Entry {
            message: &message,
            topic: None,
            len: message.encoded_len(),
            cost: Cost::one(10),
            at: 0,
            promise: None,
        };
        let start = ChunkStart {
            now: crate::time::now(),
            nanos: 0,
            wall: Timestamp(0),
            epoch: limits.epoch,
        };
        let _receipt = queue.push_plain(&entry, limits, || start);
    }

    fn reader(queue: &Arc<Queue>, lane: usize) -> QueueReader {
        QueueReader::new(Arc::clone(queue), lane, 1)
    }

    fn pull(reader: &mut QueueReader, messages: usize) -> Vec<String> {
        let mut got = Vec::new();
        let run = Run {
            bytes: 1000,
            messages,
        };
        let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
        let clock = ChunkStart {
            now: crate::time::now(),
            nanos: 0,
            wall: Timestamp(0),
            epoch: 0,
        };
        reader.pull(Take::Any, run, |taken, _| match taken {
            Taken::Chunk(mut chunk) => {
                let batch = Batch::decode(chunk.records.finish()).unwrap();
                got.extend(batch.records().map(|record| text(&record.payload)));
            }
            Taken::Queued(queued) => got.push(text(queued.into_message(&clock).0.payload())),
        });
        got
    }

    #[test]
    fn a_keys_messages_follow_their_lane_while_others_take_the_rest() {
        let queue = Arc::new(Queue::new(crate::time::now()));
        let (mut first, mut second) = (reader(&queue, 0), reader(&queue, 1));
        push(&queue, Some("k"), "k1", &WIDE);
        assert_eq!(pull(&mut first, 1), ["k1"]);
        push(&queue, Some("k"), "k2", &WIDE);
        push(&queue, None, "a", &WIDE);
        push(&queue, None, "b", &WIDE);
        assert_eq!(pull(&mut second, 9), ["a", "b"]);
        assert_eq!(pull(&mut first, 9), ["k2"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_pull_ends_with_the_chunk_that_reaches_a_bound() {
        let queue = Arc::new(Queue::new(crate::time::now()));
        let pairs = ChunkLimits {
            messages: 2,
            ..WIDE
        };
        for payload in ["a", "b", "c", "d", "e"] {
            push(&queue, None, payload, &pairs);
        }
        let mut reader = reader(&queue, 0);
        assert_eq!(pull(&mut reader, 1), ["a", "b"]);
        assert_eq!(queue.len(), 3);
        assert_eq!(pull(&mut reader, 9), ["c", "d", "e"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
        assert_eq!(queue.oldest_wait(crate::time::now()), Duration::ZERO);
    }

    #[test]
    fn what_a_run_leaves_of_the_open_chunks_of_many_topics_is_there_for_the_next() {
        let queue = Arc::new(Queue::new(crate::time::now()));
        for topic in ["t", "u", "v"] {
            let topic = crate::TopicName::new(topic).unwrap();
            let message = Message::new("x").with_topic(topic.clone());
            let entry = Entry {
                message: &message,
                topic: Some(&topic),
                len: message.encoded_len(),
                cost: Cost::one(10),
                at: 0,
                promise: None,
            };
            let start = ChunkStart {
                now: crate::time::now(),
                nanos: 0,
                wall: Timestamp(0),
                epoch: 0,
            };
            let _receipt = queue.push_plain(&entry, &WIDE, || start);
        }
        let (mut first, mut second) = (reader(&queue, 0), reader(&queue, 1));
        assert_eq!(pull(&mut first, 1), ["x"]);
        assert_eq!(queue.len(), 2);
        assert_eq!(pull(&mut second, 9), ["x", "x"]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }
}
