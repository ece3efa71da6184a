//! Where a lane takes its messages from: the queue that all lanes share, or the queue of `send`.

use std::sync::Arc;

use super::batcher::Batcher;
use crate::producer::accumulator::{
    Chunk, ORDERED, OrderedQueue, Queue, QueueReader, Run, ShardId, Take,
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

    /// Takes a run. Chunks that are late go to `late` instead of the batcher, and count as taken.
    pub(crate) fn pull(
        &mut self,
        take: Take,
        run: Run,
        is_late: impl Fn(&Chunk) -> bool,
        batcher: &mut Batcher,
        late: &mut Vec<(Chunk, Option<ShardId>)>,
    ) -> u64 {
        let mut taker = |chunk: Chunk, shard| {
            if is_late(&chunk) {
                late.push((chunk, shard));
            } else {
                batcher.push(chunk, shard);
            }
        };
        match self {
            Self::Shared(reader) => reader.pull(take, run, taker),
            Self::Ordered(_) if take == Take::Nothing => 0,
            Self::Ordered(queue) => queue.pull(run, |chunk| taker(chunk, None)),
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
            Self::Ordered(queue) => queue.len() > 0,
        }
    }

    /// Gives up idle sub-queues. Returns whether the lane owns none.
    pub(crate) fn release_idle_shards(&mut self) -> bool {
        match self {
            Self::Shared(reader) => reader.release_idle_shards(),
            Self::Ordered(_) => true,
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
            Self::Ordered(queue) => queue.wait().await,
        }
    }
}
