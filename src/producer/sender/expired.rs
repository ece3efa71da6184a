//! Batches that were reported as expired while the broker may still store them.
//!
//! Order must hold even after such a batch had its outcome. What follows it in its sub-queue, or on the lane of `send`,
//! would be stored before it if it took another stream and was read first. So the lane keeps the sub-queue and the
//! stream until the broker has answered or the stream has ended. Then whatever was read of the stream is with the
//! broker's committer, and the rest never will be.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::in_flight::MAX_SPAN;
use crate::RequestId;
use crate::producer::accumulator::ShardId;

/// An expired batch that the broker may still store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExpiredBatch {
    pub(crate) lane: usize,
    /// The stream of the lane that it was written on last.
    pub(crate) stream_epoch: u64,
    /// The sub-queues that wait for it, with the number of its messages from each.
    pub(crate) shards: Vec<(ShardId, usize)>,
}

/// The expired batches of one producer, at most about [`MAX_SPAN`].
#[derive(Debug, Default)]
pub(crate) struct ExpiredInFlight {
    batches: Mutex<BTreeMap<RequestId, ExpiredBatch>>,
    /// The number of batches: nearly always zero. Written under the lock, read without it.
    len: AtomicUsize,
}

impl ExpiredInFlight {
    pub(crate) fn insert(&self, id: RequestId, batch: ExpiredBatch) {
        let mut batches = self.lock();
        batches.insert(id, batch);
        self.len.store(batches.len(), Ordering::Release);
    }

    /// Returns whether lanes may take more.
    pub(crate) fn has_room(&self) -> bool {
        self.len.load(Ordering::Acquire) < MAX_SPAN
    }

    pub(crate) fn contains(&self, id: RequestId) -> bool {
        !self.is_empty() && self.lock().contains_key(&id)
    }

    /// Returns whether the broker may still answer a batch of this lane.
    pub(crate) fn awaits_response(&self, lane: usize) -> bool {
        !self.is_empty() && self.lock().values().any(|batch| batch.lane == lane)
    }

    /// Removes a batch that was answered, or whose stream has ended.
    pub(crate) fn remove(&self, id: RequestId) -> Option<ExpiredBatch> {
        if self.is_empty() {
            return None;
        }
        let mut batches = self.lock();
        let removed = batches.remove(&id);
        self.len.store(batches.len(), Ordering::Release);
        removed
    }

    /// Removes the batches of a lane that were written on any stream but this one.
    pub(crate) fn remove_other_streams(&self, lane: usize, stream_epoch: u64) -> Vec<ExpiredBatch> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut batches = self.lock();
        let gone = batches.extract_if(.., |_, b| b.lane == lane && b.stream_epoch != stream_epoch);
        let removed = gone.map(|(_, batch)| batch).collect();
        self.len.store(batches.len(), Ordering::Release);
        removed
    }

    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestId, ExpiredBatch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn batch(lane: usize, stream_epoch: u64) -> ExpiredBatch {
        ExpiredBatch {
            lane,
            stream_epoch,
            shards: Vec::new(),
        }
    }

    #[test]
    fn a_lane_awaits_a_response_until_it_comes_or_the_stream_has_ended() {
        let expired = ExpiredInFlight::default();
        assert!(!expired.awaits_response(1) && expired.has_room());
        for (id, batch) in [(7, batch(1, 4)), (8, batch(1, 5)), (9, batch(2, 4))] {
            expired.insert(RequestId(id), batch);
        }
        assert!(
            expired.awaits_response(1) && expired.awaits_response(2) && !expired.awaits_response(3)
        );
        assert!(expired.contains(RequestId(9)));
        assert_eq!(expired.remove(RequestId(9)), Some(batch(2, 4)));
        assert_eq!(expired.remove(RequestId(9)), None);
        assert!(!expired.awaits_response(2));
        assert_eq!(expired.remove_other_streams(1, 5), [batch(1, 4)]);
        assert!(expired.awaits_response(1));
        assert_eq!(expired.remove_other_streams(1, 6), [batch(1, 5)]);
        assert!(expired.is_empty());
    }
}
