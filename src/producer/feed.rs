//! Where a lane takes its messages from: the shared queue with its ordered sub-queues, or the road of `send`.

use std::sync::Arc;

use super::{
    batcher::Batcher,
    chunk::Chunk,
    core::Core,
    keys::{Owned, ShardId},
    parking::MAX_LANES,
    queue::Run,
};

/// The place of the ordered lane among the gauges.
pub(crate) const ORDERED: usize = MAX_LANES;

/// What a lane may take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// What its own sub-queues hold, which nobody else may take.
    Own,
    Any,
}

#[derive(Debug)]
pub(crate) struct Feed {
    core: Arc<Core>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Shared {
        lane: usize,
        owned: Owned,
        /// This lane was woken for new work and has not looked yet.
        searching: bool,
        /// Bytes taken since it passed the turn on.
        run: u64,
    },
    Ordered,
}

impl Feed {
    pub(crate) fn shared(core: Arc<Core>, lane: usize) -> Self {
        Self {
            core,
            source: Source::Shared {
                lane,
                owned: Owned::default(),
                searching: false,
                run: 0,
            },
        }
    }

    pub(crate) const fn ordered(core: Arc<Core>) -> Self {
        Self {
            core,
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

    /// Takes a run of what it may. Chunks that are late are handed back instead of batched, and count as taken.
    pub(crate) fn pull(
        &mut self,
        takes: Takes,
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
        if takes == Takes::Nothing {
            return 0;
        }
        match &mut self.source {
            Source::Shared {
                lane,
                owned,
                searching,
                run: so_far,
            } => {
                let shared = takes == Takes::Any;
                let taken = self.core.queue.pull(*lane, owned, shared, run, taker);
                *so_far += taken;
                // As near to a packet as whole messages come: one more like the last would be further off.
                if taken > 0 && *so_far + taken / 2 >= self.core.config.run_bytes {
                    *so_far = 0;
                    self.core.queue.parking.pass_on(*lane);
                }
                if std::mem::take(searching) {
                    let queue = &self.core.queue;
                    queue.parking.searched(|| queue.has_shared_work());
                }
                taken
            }
            Source::Ordered => {
                let mut taker = taker;
                self.core.ordered.pull(run, |chunk| taker(chunk, None))
            }
        }
    }

    /// The lane takes nothing of what all share: whoever woke it for new work must wake another.
    pub(crate) fn pass(&mut self) {
        if let Source::Shared { searching, .. } = &mut self.source
            && std::mem::take(searching)
        {
            let queue = &self.core.queue;
            queue.parking.searched(|| queue.has_shared_work());
        }
    }

    /// Whether something waits for this lane.
    pub(crate) fn has_work(&self) -> bool {
        match &self.source {
            Source::Shared { owned, .. } => self.core.queue.has_work(owned),
            Source::Ordered => self.core.ordered.len() > 0,
        }
    }

    /// Whether the lane owns no sub-queue.
    pub(crate) fn settle(&mut self) -> bool {
        match &mut self.source {
            Source::Shared { owned, .. } => {
                owned.settle(&self.core.queue.keys);
                owned.is_empty()
            }
            Source::Ordered => true,
        }
    }

    /// Waits until somebody wakes this lane. New messages that it may take do too, and the wait ends at once where there
    /// are some.
    ///
    /// Cancel safe.
    pub(crate) async fn wait(&mut self, takes: Takes) {
        match &mut self.source {
            Source::Ordered => self.core.ordered.wait().await,
            Source::Shared {
                lane,
                owned,
                searching,
                ..
            } => {
                let parking = &self.core.queue.parking;
                match takes {
                    Takes::Nothing => return parking.wait(*lane).await,
                    Takes::Own => parking.park_for_own(*lane),
                    Takes::Any => parking.park(*lane),
                }
                // Undone whichever way this ends: the wait may be dropped.
                let _unpark = scopeguard(|| match takes {
                    Takes::Any => *searching |= parking.unpark(*lane),
                    _ => parking.unpark_for_own(*lane),
                });
                let has_work = match takes {
                    Takes::Any => self.core.queue.has_work(owned),
                    _ => self.core.queue.has_own_work(owned),
                };
                if !has_work {
                    parking.wait(*lane).await;
                }
            }
        }
    }
}

impl Drop for Feed {
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
