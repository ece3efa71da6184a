//! Where chunks leave the queue: a lane's end of it, and the end of a dispatcher that has no lanes.

use std::{mem, sync::Arc, time::Instant};

use super::{
    chunk::Chunk,
    key_shards::{OwnedShards, ShardId},
    queue::{Queue, QueueItem, Run},
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
    /// The lane was woken for new work and has not looked for it yet.
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

    /// Hands chunks to `taker` until the run is full or nothing is left that the lane may take. Returns the bytes taken.
    pub(crate) fn pull(
        &mut self,
        take: Take,
        run: Run,
        taker: impl FnMut(Chunk, Option<ShardId>),
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

    /// Wakes another lane for what is left, if this one was woken for new work.
    pub(crate) fn stop_searching(&mut self) {
        if mem::take(&mut self.searching) {
            self.queue.waker.searched(|| self.queue.has_shared_work());
        }
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
        self.owned.release_idle(&self.queue.keys);
        self.owned.is_empty()
    }

    /// Waits until the lane is woken. New messages that it may take wake it, and the wait ends at once where there are
    /// some.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self, take: Take) {
        let waker = &self.queue.waker;
        match take {
            Take::Nothing => return waker.wait(self.lane).await,
            Take::OwnShards => waker.park_for_own(self.lane),
            Take::Any => waker.park(self.lane),
        }
        let has_work = match take {
            Take::Any => self.has_work(),
            _ => self.has_own_work(),
        };
        // Its drop ends the sleep, whichever way this future ends.
        let _parked = Parked {
            queue: &self.queue,
            lane: self.lane,
            searching: (take == Take::Any).then_some(&mut self.searching),
        };
        if !has_work {
            waker.wait(self.lane).await;
        }
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.stop_searching();
    }
}

/// A lane that sleeps, or is about to.
struct Parked<'a> {
    queue: &'a Queue,
    lane: usize,
    /// Set when the lane was woken for new work. `None` for a lane that waits for its own sub-queues alone.
    searching: Option<&'a mut bool>,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        let waker = &self.queue.waker;
        match &mut self.searching {
            Some(searching) => **searching |= waker.unpark(self.lane),
            None => waker.unpark_for_own(self.lane),
        }
    }
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
    pub(crate) async fn next(&self) -> QueueItem {
        let waker = &self.queue.waker;
        loop {
            if let Some(item) = self.queue.pop() {
                return item;
            }
            waker.park(Self::LANE);
            if !self.queue.has_shared_work() {
                waker.wait(Self::LANE).await;
            }
            if waker.unpark(Self::LANE) {
                waker.searched(|| false);
            }
        }
    }

    /// Takes ownership of a sub-queue that was the next item.
    pub(crate) fn open_shard(&self, shard: ShardId) -> ShardReader {
        let mut owned = OwnedShards::default();
        owned.take(&self.queue.keys, shard, Self::LANE);
        ShardReader {
            queue: Arc::clone(&self.queue),
            owned,
        }
    }
}

/// One sub-queue, owned by this reader.
#[derive(Debug)]
pub(crate) struct ShardReader {
    queue: Arc<Queue>,
    owned: OwnedShards,
}

impl ShardReader {
    /// Takes the next chunk.
    pub(crate) fn pop(&mut self) -> Option<Chunk> {
        self.queue
            .pop_owned(&mut self.owned)
            .map(|(_, chunk)| chunk)
    }

    /// Returns when the next message was called.
    pub(crate) fn next_called(&self) -> Option<Instant> {
        self.owned.front(&self.queue.keys, Chunk::called)
    }

    /// Gives the sub-queue up where nothing of it is queued or unanswered. Returns whether it did.
    pub(crate) fn release_if_idle(&mut self) -> bool {
        self.owned.release_idle(&self.queue.keys);
        self.owned.is_empty()
    }
}
