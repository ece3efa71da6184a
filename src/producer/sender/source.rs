//! Where a lane takes its messages from: the queue that all lanes share, or the queue of `send`.

use std::{sync::Arc, time::Instant};

use super::batcher::Batcher;
use crate::producer::accumulator::{
    ChunkStart, ORDERED, OrderedQueue, Queue, QueueReader, Run, ShardId, Take, Taken,
};

/// The source of one lane's messages.
#[derive(Debug)]
pub(crate) enum LaneSource {
    Shared(QueueReader),
    Ordered(Arc<OrderedQueue>),
}

impl LaneSource {
    /// Returns the source of the lane with this index. After `switch_bytes` the next lane is first in line for new work.
    pub(crate) fn shared(queue: Arc<Queue>, lane: usize, switch_bytes: u64) -> Self {
        Self::Shared(QueueReader::new(queue, lane, switch_bytes))
    }

    /// Returns the index of the lane.
    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::Shared(reader) => reader.lane(),
            Self::Ordered(_) => ORDERED,
        }
    }

    /// Returns whether other lanes do this lane's work when it ends. That is so for all but the first lane and the lane of
    /// `send`.
    pub(crate) const fn is_extra(&self) -> bool {
        self.index() != 0 && self.index() != ORDERED
    }

    /// Returns about how many bytes wait for this lane, and for others.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        match self {
            Self::Shared(reader) => reader.waiting_bytes(),
            Self::Ordered(queue) => queue.bytes(),
        }
    }

    /// Takes a run. What is late by `oldest`, the earliest call that is not, goes to `late` instead of the batcher, and
    /// counts as taken.
    pub(crate) fn pull(
        &mut self,
        take: Take,
        run: Run,
        clock: &ChunkStart,
        oldest: Option<Instant>,
        batcher: &mut Batcher,
        late: &mut Vec<(Taken, Option<ShardId>)>,
    ) -> u64 {
        let is_late = |called| oldest.is_some_and(|oldest| called <= oldest);
        let mut taker = |taken, shard| match taken {
            Taken::Chunk(chunk) if !is_late(chunk.called()) => batcher.push_chunk(chunk),
            Taken::Queued(queued) if !is_late(queued.called(clock)) => {
                batcher.push_message(queued, shard, clock);
            }
            late_one => late.push((late_one, shard)),
        };
        match self {
            Self::Shared(reader) => reader.pull(take, run, taker),
            Self::Ordered(_) if take == Take::Nothing => 0,
            Self::Ordered(queue) => queue.pull(run, |queued| taker(Taken::Queued(queued), None)),
        }
    }

    /// Wakes another lane for new work, if this one was woken for it and takes none.
    pub(crate) fn stop_searching(&mut self) {
        if let Self::Shared(reader) = self {
            reader.stop_searching();
        }
    }

    /// Returns whether something waits for this lane.
    pub(crate) fn has_work(&self) -> bool {
        match self {
            Self::Shared(reader) => reader.has_work(),
            Self::Ordered(queue) => !queue.is_empty(),
        }
    }

    /// Gives up idle sub-queues. Returns whether the lane owns none.
    pub(crate) fn release_idle_shards(&mut self) -> bool {
        match self {
            Self::Shared(reader) => reader.release_idle_shards(),
            Self::Ordered(_) => true,
        }
    }

    /// Waits until `is_full` holds because more messages have come; the lane of `send` does not look.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn linger(&self, is_full: impl Fn() -> bool) {
        match self {
            Self::Shared(reader) => reader.linger(is_full).await,
            Self::Ordered(_) => std::future::pending().await,
        }
    }

    /// Waits until the lane is woken. New messages that it may take wake it, and the wait ends at once where there are
    /// some.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn wait(&mut self, take: Take) {
        match self {
            Self::Shared(reader) => reader.wait(take).await,
            Self::Ordered(queue) => queue.wait(take).await,
        }
    }
}
