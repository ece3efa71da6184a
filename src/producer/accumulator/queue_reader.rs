//! Where messages leave the queue: a lane's end of it, and the end of a dispatcher that has no lanes.

use std::{mem, sync::Arc, time::Instant};

use super::{
    chunk::{Chunk, ChunkStart},
    key_shards::{OwnedShards, ShardId},
    queue::{Queue, Run, Taken},
    queued::Queued,
};

/// What a lane may take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    Nothing,
    /// Messages of the sub-queues that it owns, which no other lane may take.
    OwnShards,
    /// Anything.
    Any,
}

/// The end of the queue that one lane pulls from. It owns sub-queues, and is woken for new work.
#[derive(Debug)]
pub(crate) struct QueueReader {
    queue: Arc<Queue>,
    lane: usize,
    owned: OwnedShards,
    /// The lane has slept and may have been woken for new work. It has not looked for it yet.
    searching: bool,
    /// Bytes taken since the lane was last put first in line for new work.
    taken_in_turn: u64,
    /// After this many bytes the next lane is first in line.
    switch_bytes: u64,
}

impl QueueReader {
    /// Returns the end of `queue` for the lane with this index. It lets the next lane take new work after
    /// `switch_bytes`.
    pub(crate) fn new(queue: Arc<Queue>, lane: usize, switch_bytes: u64) -> Self {
        Self {
            queue,
            lane,
            owned: OwnedShards::default(),
            searching: false,
            taken_in_turn: 0,
            switch_bytes,
        }
    }

    /// Returns the index of its lane.
    pub(crate) const fn lane(&self) -> usize {
        self.lane
    }

    /// Hands messages to `taker` until the run is full or nothing is left that the lane may take. Returns the bytes taken.
    pub(crate) fn pull(
        &mut self,
        take: Take,
        run: Run,
        taker: impl FnMut(Taken, Option<ShardId>),
    ) -> u64 {
        if take == Take::Nothing {
            return 0;
        }
        let shared = take == Take::Any;
        let taken = self
            .queue
            .pull(self.lane, &mut self.owned, shared, run, taker);
        self.taken_in_turn += taken;
        // As near to a packet as whole messages come: one more like the last would be further off.
        if taken > 0 && self.taken_in_turn + taken / 2 >= self.switch_bytes {
            self.taken_in_turn = 0;
            self.queue.waker.pass_on(self.lane);
        }
        self.stop_searching();
        taken
    }

    /// Wakes another lane for what is left, if this one may have been woken for new work.
    pub(crate) fn stop_searching(&mut self) {
        if mem::take(&mut self.searching) && self.queue.has_shared_work() {
            self.queue.waker.wake_one();
        }
    }

    /// Returns about how many bytes wait for all lanes.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.queue.bytes()
    }

    /// Returns whether something waits that the lane may take.
    pub(crate) fn has_work(&self) -> bool {
        self.queue.has_shared_work() || self.has_own_work()
    }

    fn has_own_work(&self) -> bool {
        self.owned.has_work(&self.queue.keys)
    }

    /// Gives up the sub-queues of which nothing is queued or unanswered. Returns whether the lane owns none.
    pub(crate) fn release_idle_shards(&mut self) -> bool {
        let queue = &self.queue;
        self.owned
            .release_idle(&queue.keys, |wake| queue.wake(wake));
        self.owned.is_empty()
    }

    /// Waits until the lane is told to look again, or there are messages that it may take.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self, take: Take) {
        let waker = &self.queue.waker;
        match take {
            Take::Nothing => waker.told(self.lane).await,
            Take::OwnShards => waker.sleep_for_own(self.lane, || self.has_own_work()).await,
            Take::Any => {
                self.searching = true;
                waker.sleep(self.lane, || self.has_work()).await;
            }
        }
    }

    /// Waits until `is_full` holds: more messages have come.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn linger(&self, is_full: impl Fn() -> bool) {
        self.queue.waker.linger(self.lane, is_full).await;
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.stop_searching();
    }
}

/// What is next for a dispatcher that has no lanes.
#[derive(Debug)]
pub(crate) enum Item {
    Chunk(Chunk),
    /// A sub-queue, and its end.
    Shard(ShardReader),
}

/// The end of the queue for a dispatcher that takes one item at a time. It sleeps as lane 0.
#[derive(Debug)]
pub(crate) struct ItemReader {
    queue: Arc<Queue>,
}

impl ItemReader {
    const LANE: usize = 0;

    pub(crate) const fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Waits for the next item.
    pub(crate) async fn next(&self) -> Item {
        loop {
            if let Some(item) = self.pop() {
                return item;
            }
            let has_work = || self.queue.has_shared_work();
            self.queue.waker.sleep(Self::LANE, has_work).await;
        }
    }

    fn pop(&self) -> Option<Item> {
        let mut owned = OwnedShards::default();
        match owned.own_next(&self.queue.keys, Self::LANE) {
            Some(shard) => Some(Item::Shard(ShardReader {
                queue: Arc::clone(&self.queue),
                shard,
                owned,
            })),
            None => self.queue.pop_plain().map(Item::Chunk),
        }
    }
}

/// One sub-queue, owned by this reader.
#[derive(Debug)]
pub(crate) struct ShardReader {
    queue: Arc<Queue>,
    shard: ShardId,
    owned: OwnedShards,
}

impl ShardReader {
    /// Returns which sub-queue it is.
    pub(crate) const fn shard(&self) -> ShardId {
        self.shard
    }

    /// Takes the next message.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        self.queue.pop_looked_at(self.shard, &mut self.owned)
    }

    /// Returns when the next message was called, by a clock that is read after it was found.
    pub(crate) fn next_called(&mut self, clock: impl FnOnce() -> ChunkStart) -> Option<Instant> {
        self.queue
            .look_at(self.shard, &mut self.owned, |next| next.called(&clock()))
    }

    /// Gives the sub-queue up where nothing of it is queued or unanswered. Returns whether it did.
    pub(crate) fn release_if_idle(&mut self) -> bool {
        let queue = &self.queue;
        self.owned
            .release_idle(&queue.keys, |wake| queue.wake(wake));
        self.owned.is_empty()
    }
}
