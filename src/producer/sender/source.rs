//! Where a lane takes its messages from: the shared queue with its ordered sub-queues, or the road of `send`.

use std::sync::Arc;

use crate::producer::{
    accumulator::chunk::Chunk,
    accumulator::key_shards::{OwnedShards, ShardId},
    accumulator::lane_waker::MAX_LANES,
    accumulator::queue::Run,
    sender::batcher::Batcher,
    shared::Shared,
};

/// The place of the ordered lane among the gauges.
pub(crate) const ORDERED: usize = MAX_LANES;

/// What a lane may take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    Nothing,
    /// What its own sub-queues hold, which nobody else may take.
    OwnShards,
    Any,
}

#[derive(Debug)]
pub(crate) struct LaneSource {
    shared: Arc<Shared>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Shared {
        lane: usize,
        owned: OwnedShards,
        /// This lane was woken for new work and has not looked yet.
        searching: bool,
        /// Bytes taken since it passed the turn on.
        run: u64,
    },
    Ordered,
}

impl LaneSource {
    pub(crate) fn shared(shared: Arc<Shared>, lane: usize) -> Self {
        Self {
            shared,
            source: Source::Shared {
                lane,
                owned: OwnedShards::default(),
                searching: false,
                run: 0,
            },
        }
    }

    pub(crate) const fn ordered(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            source: Source::Ordered,
        }
    }

    /// The lane's place among the gauges.
    pub(crate) const fn index(&self) -> usize {
        match self.source {
            Source::Shared { lane, .. } => lane,
            Source::Ordered => ORDERED,
        }
    }

    /// Whether others do this lane's work where it ends: not the first lane's, and not that of `send`.
    pub(crate) const fn is_spare(&self) -> bool {
        matches!(self.source, Source::Shared { lane: 1.., .. })
    }

    /// Take a run of what it may. Chunks that are late are handed back instead of batched, and count as taken.
    pub(crate) fn pull(
        &mut self,
        takes: Take,
        run: Run,
        is_late: impl Fn(&Chunk) -> bool,
        batcher: &mut Batcher,
        late: &mut Vec<(Chunk, Option<ShardId>)>,
    ) -> u64 {
        let taker = |chunk: Chunk, shard| {
            if is_late(&chunk) {
                late.push((chunk, shard));
            } else {
                batcher.push(chunk, shard);
            }
        };
        if takes == Take::Nothing {
            return 0;
        }
        match &mut self.source {
            Source::Shared {
                lane,
                owned,
                searching,
                run: so_far,
            } => {
                let shared = takes == Take::Any;
                let taken = self.shared.queue.pull(*lane, owned, shared, run, taker);
                *so_far += taken;
                // As near to a packet as whole messages come: one more like the last would be further off.
                if taken > 0 && *so_far + taken / 2 >= self.shared.config.lane_switch_bytes {
                    *so_far = 0;
                    self.shared.queue.waker.pass_on(*lane);
                }
                if std::mem::take(searching) {
                    let queue = &self.shared.queue;
                    queue.waker.searched(|| queue.has_shared_work());
                }
                taken
            }
            Source::Ordered => {
                let mut taker = taker;
                self.shared.ordered.pull(run, |chunk| taker(chunk, None))
            }
        }
    }

    /// The lane takes nothing of what all share: whoever woke it for new work must wake another.
    pub(crate) fn pass(&mut self) {
        if let Source::Shared { searching, .. } = &mut self.source
            && std::mem::take(searching)
        {
            let queue = &self.shared.queue;
            queue.waker.searched(|| queue.has_shared_work());
        }
    }

    /// Whether something waits for this lane.
    pub(crate) fn has_work(&self) -> bool {
        match &self.source {
            Source::Shared { owned, .. } => self.shared.queue.has_work(owned),
            Source::Ordered => self.shared.ordered.len() > 0,
        }
    }

    /// Whether the lane owns no sub-queue.
    pub(crate) fn settle(&mut self) -> bool {
        match &mut self.source {
            Source::Shared { owned, .. } => {
                owned.settle(&self.shared.queue.keys);
                owned.is_empty()
            }
            Source::Ordered => true,
        }
    }

    /// Waits until somebody wakes this lane. New messages that it may take do too, and the wait ends at once where there
    /// are some.
    ///
    /// Cancel safe.
    pub(crate) async fn wait(&mut self, takes: Take) {
        match &mut self.source {
            Source::Ordered => self.shared.ordered.wait().await,
            Source::Shared {
                lane,
                owned,
                searching,
                ..
            } => {
                let waker = &self.shared.queue.waker;
                match takes {
                    Take::Nothing => return waker.wait(*lane).await,
                    Take::OwnShards => waker.park_for_own(*lane),
                    Take::Any => waker.park(*lane),
                }
                // Undone whichever way this ends: the wait may be dropped.
                let _unpark = scopeguard(|| match takes {
                    Take::Any => *searching |= waker.unpark(*lane),
                    _ => waker.unpark_for_own(*lane),
                });
                let has_work = match takes {
                    Take::Any => self.shared.queue.has_work(owned),
                    _ => self.shared.queue.has_own_work(owned),
                };
                if !has_work {
                    waker.wait(*lane).await;
                }
            }
        }
    }
}

impl Drop for LaneSource {
    fn drop(&mut self) {
        self.pass();
    }
}

/// Runs `end` when dropped.
fn scopeguard<F: FnMut()>(end: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(end)
}
