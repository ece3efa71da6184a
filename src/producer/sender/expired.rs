//! Pure: batches that have had their outcome, `Expired`, while the broker may still store them.
//!
//! An order outlives that outcome. What follows such a batch in its sub-queue, or on the lane of `send`, would be stored before
//! it if it took another stream and was read first. So the lane keeps the sub-queue and the stream until the broker has
//! answered, or the stream has ended: then whatever was read of it is with the broker's committer, and the rest never will be.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::RequestId;
use crate::producer::{accumulator::key_shards::ShardId, sender::in_flight::MAX_SPAN};

/// One such batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) lane: usize,
    /// Which of the lane's streams it was written on last.
    pub(crate) ride: u64,
    /// The sub-queues that wait for it, with the messages of each.
    pub(crate) shards: Vec<(ShardId, usize)>,
}

/// All of one producer, at most about [`MAX_SPAN`].
#[derive(Debug, Default)]
pub(crate) struct ExpiredInFlight {
    held: Mutex<BTreeMap<RequestId, Held>>,
    /// How many, to be seen without the lock under which it is written: nearly always none.
    len: AtomicUsize,
}

impl ExpiredInFlight {
    pub(crate) fn hold(&self, id: RequestId, batch: Held) {
        let mut held = self.lock();
        held.insert(id, batch);
        self.len.store(held.len(), Ordering::SeqCst);
    }

    /// Whether lanes may take more.
    pub(crate) fn has_room(&self) -> bool {
        self.len.load(Ordering::SeqCst) < MAX_SPAN
    }

    pub(crate) fn is_held(&self, id: RequestId) -> bool {
        !self.is_empty() && self.lock().contains_key(&id)
    }

    /// Whether the broker owes this lane an answer.
    pub(crate) fn is_owed(&self, lane: usize) -> bool {
        !self.is_empty() && self.lock().values().any(|held| held.lane == lane)
    }

    /// It has its answer, or its stream has ended.
    pub(crate) fn end(&self, id: RequestId) -> Option<Held> {
        if self.is_empty() {
            return None;
        }
        let mut held = self.lock();
        let ended = held.remove(&id);
        self.len.store(held.len(), Ordering::SeqCst);
        ended
    }

    /// All streams of this lane have ended but that of `ride`.
    pub(crate) fn expire_other_streams(&self, lane: usize, ride: u64) -> Vec<Held> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut held = self.lock();
        let gone = held.extract_if(.., |_, h| h.lane == lane && h.ride != ride);
        let ended = gone.map(|(_, held)| held).collect();
        self.len.store(held.len(), Ordering::SeqCst);
        ended
    }

    fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RequestId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn held(lane: usize, ride: u64) -> Held {
        Held {
            lane,
            ride,
            shards: Vec::new(),
        }
    }

    #[test]
    fn a_lane_is_owed_an_answer_until_it_comes_or_the_stream_has_ended() {
        let expired_in_flight = ExpiredInFlight::default();
        assert!(!expired_in_flight.is_owed(1) && expired_in_flight.has_room());
        for (id, batch) in [(7, held(1, 4)), (8, held(1, 5)), (9, held(2, 4))] {
            expired_in_flight.hold(RequestId(id), batch);
        }
        assert!(
            expired_in_flight.is_owed(1)
                && expired_in_flight.is_owed(2)
                && !expired_in_flight.is_owed(3)
        );
        assert!(expired_in_flight.is_held(RequestId(9)));
        assert_eq!(expired_in_flight.end(RequestId(9)), Some(held(2, 4)));
        assert_eq!(expired_in_flight.end(RequestId(9)), None);
        assert!(!expired_in_flight.is_owed(2));
        assert_eq!(expired_in_flight.expire_other_streams(1, 5), [held(1, 4)]);
        assert!(expired_in_flight.is_owed(1));
        assert_eq!(expired_in_flight.expire_other_streams(1, 6), [held(1, 5)]);
        assert!(expired_in_flight.is_empty());
    }
}
