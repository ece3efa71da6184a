//! Order by key: all keys share some hundreds of ordered sub-queues.
//!
//! A key always maps to the same sub-queue. What travels through the shared queue is the sub-queue, not the message. The
//! lane that takes it owns it until everything taken from it is answered, and takes what arrives meanwhile. So messages of
//! one key are on one stream at a time, in their order, whatever the number of lanes and whatever happens to them.
//!
//! `pending` counts the messages of a sub-queue that are queued or unanswered. The push that raises it from zero hands the
//! sub-queue over; the owner that lowers it to zero gives it up. Only the owner lowers it: answers are left in `answered`
//! for it.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
};

/// The number of sub-queues of a producer. More keys than this share an order.
pub(crate) const SHARDS: usize = 512;

const NO_OWNER: usize = usize::MAX;

/// The number of a sub-queue.
pub(crate) type ShardId = u16;

/// Messages in their order, one by one or in chunks.
pub(crate) trait Fifo: Default {
    type Item;

    /// Takes the first item.
    fn pop(&mut self) -> Option<Self::Item>;

    /// Returns the first item without taking it.
    fn front(&self) -> Option<&Self::Item>;

    fn is_empty(&self) -> bool;
}

/// All sub-queues of one producer, each with its messages in an `L`.
#[derive(Debug)]
pub(crate) struct KeyShards<L> {
    shards: Box<[Shard<L>]>,
}

#[derive(Debug)]
struct Shard<L> {
    messages: Mutex<L>,
    /// Whether it is empty. Written under the lock, read without it.
    empty: AtomicBool,
    pending: AtomicUsize,
    answered: AtomicUsize,
    owner: AtomicUsize,
}

/// What the caller of a push has to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Put the sub-queue into the shared queue.
    Schedule,
    /// Wake this lane, which owns the sub-queue.
    Wake(usize),
    /// Nothing: the sub-queue is in the shared queue.
    Queued,
}

impl<L: Fifo> Shard<L> {
    fn lock(&self) -> MutexGuard<'_, L> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.empty.load(Ordering::SeqCst)
    }

    fn pop(&self) -> Option<L::Item> {
        if self.is_empty() {
            return None;
        }
        let mut messages = self.lock();
        let popped = messages.pop();
        self.empty.store(messages.is_empty(), Ordering::SeqCst);
        popped
    }
}

impl<L: Fifo> KeyShards<L> {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS)
                .map(|_| Shard {
                    messages: Mutex::default(),
                    empty: AtomicBool::new(true),
                    pending: AtomicUsize::new(0),
                    answered: AtomicUsize::new(0),
                    owner: AtomicUsize::new(NO_OWNER),
                })
                .collect(),
        }
    }

    /// Returns the sub-queue of a key.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the remainder is below SHARDS"
    )]
    pub(crate) fn shard(key: &[u8]) -> ShardId {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        (hasher.finish() % SHARDS as u64) as ShardId
    }

    /// Appends a message to a sub-queue.
    pub(crate) fn push<R>(&self, id: ShardId, push: impl FnOnce(&mut L) -> R) -> (Pushed, R) {
        let shard = &self.shards[usize::from(id)];
        // Counted first: the owner must never answer what is not counted.
        let before = shard.pending.fetch_add(1, Ordering::SeqCst);
        let pushed = {
            let mut messages = shard.lock();
            let pushed = push(&mut messages);
            shard.empty.store(false, Ordering::SeqCst);
            pushed
        };
        if before == 0 {
            return (Pushed::Schedule, pushed);
        }
        fence(Ordering::SeqCst);
        match shard.owner.load(Ordering::SeqCst) {
            NO_OWNER => (Pushed::Queued, pushed),
            lane => (Pushed::Wake(lane), pushed),
        }
    }

    /// Counts messages that its owner took from this sub-queue and that have their outcome now.
    pub(crate) fn answered(&self, id: ShardId, messages: usize) {
        self.shards[usize::from(id)]
            .answered
            .fetch_add(messages, Ordering::SeqCst);
    }

    /// Removes everything, owned or not. Only for a producer that has ended.
    pub(crate) fn drain(&self) -> impl Iterator<Item = L::Item> {
        self.shards
            .iter()
            .flat_map(|shard| std::iter::from_fn(|| shard.pop()))
    }
}

/// The sub-queues that one lane owns.
#[derive(Debug, Default)]
pub(crate) struct OwnedShards {
    shards: Vec<ShardId>,
    /// The sub-queue to look at first, so that none starves the others.
    first: usize,
}

impl OwnedShards {
    /// Takes ownership of a sub-queue from the shared queue, for a lane.
    pub(crate) fn take<L: Fifo>(&mut self, keys: &KeyShards<L>, id: ShardId, lane: usize) {
        keys.shards[usize::from(id)]
            .owner
            .store(lane, Ordering::SeqCst);
        self.shards.push(id);
    }

    /// Gives up the sub-queues of which nothing is queued or unanswered.
    pub(crate) fn release_idle<L: Fifo>(&mut self, keys: &KeyShards<L>) {
        self.shards.retain(|&id| {
            let shard = &keys.shards[usize::from(id)];
            let answered = shard.answered.swap(0, Ordering::SeqCst);
            if answered == 0 {
                return true;
            }
            // Before the count is lowered: the push that raises it from zero may get a new owner at once.
            let owner = shard.owner.swap(NO_OWNER, Ordering::SeqCst);
            let left = shard.pending.fetch_sub(answered, Ordering::SeqCst) - answered;
            if left > 0 {
                shard.owner.store(owner, Ordering::SeqCst);
            }
            left > 0
        });
    }

    /// Takes the next item of any owned sub-queue.
    pub(crate) fn pop<L: Fifo>(&mut self, keys: &KeyShards<L>) -> Option<(ShardId, L::Item)> {
        for step in 0..self.shards.len() {
            let place = (self.first + step) % self.shards.len();
            let id = self.shards[place];
            if let Some(popped) = keys.shards[usize::from(id)].pop() {
                self.first = place;
                return Some((id, popped));
            }
        }
        self.first = self.first.wrapping_add(1);
        None
    }

    /// Calls `look` with the first item of the first owned sub-queue that has one.
    pub(crate) fn front<L: Fifo, R>(
        &self,
        keys: &KeyShards<L>,
        look: impl FnOnce(&L::Item) -> R,
    ) -> Option<R> {
        let shards = self.shards.iter().map(|&id| &keys.shards[usize::from(id)]);
        let shard = shards.into_iter().find(|shard| !shard.is_empty())?;
        shard.lock().front().map(look)
    }

    /// Returns whether any owned sub-queue has a message.
    pub(crate) fn has_work<L: Fifo>(&self, keys: &KeyShards<L>) -> bool {
        self.shards
            .iter()
            .any(|&id| !keys.shards[usize::from(id)].is_empty())
    }

    /// Returns whether the lane owns no sub-queue.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    impl<T> Fifo for VecDeque<T> {
        type Item = T;

        fn pop(&mut self) -> Option<T> {
            self.pop_front()
        }

        fn front(&self) -> Option<&T> {
            Self::front(self)
        }

        fn is_empty(&self) -> bool {
            self.is_empty()
        }
    }

    impl<T> KeyShards<VecDeque<T>> {
        fn put(&self, id: ShardId, message: T) -> Pushed {
            self.push(id, |messages| messages.push_back(message)).0
        }
    }

    #[test]
    fn a_sub_queue_is_scheduled_once_and_its_owner_is_told_of_more() {
        let keys = KeyShards::new();
        assert_eq!(keys.put(3, 'a'), Pushed::Schedule);
        assert_eq!(keys.put(3, 'b'), Pushed::Queued);
        let mut owned = OwnedShards::default();
        owned.take(&keys, 3, 7);
        assert_eq!(keys.put(3, 'c'), Pushed::Wake(7));
        assert_eq!(owned.pop(&keys), Some((3, 'a')));
    }

    #[test]
    fn a_sub_queue_stays_with_its_lane_until_all_that_was_taken_is_answered() {
        let keys = KeyShards::new();
        let mut owned = OwnedShards::default();
        keys.put(1, 'a');
        keys.put(1, 'b');
        owned.take(&keys, 1, 0);
        owned.pop(&keys);
        owned.pop(&keys);
        keys.answered(1, 1);
        owned.release_idle(&keys);
        assert!(!owned.is_empty());
        assert_eq!(keys.put(1, 'c'), Pushed::Wake(0));
        keys.answered(1, 1);
        owned.release_idle(&keys);
        assert!(!owned.is_empty(), "c is queued");
        assert_eq!(owned.pop(&keys), Some((1, 'c')));
        keys.answered(1, 1);
        owned.release_idle(&keys);
        assert!(owned.is_empty());
        assert_eq!(keys.put(1, 'd'), Pushed::Schedule);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(u16),
        Take(usize),
        Pop(usize),
        Answer(usize),
    }

    proptest! {
        #[test]
        fn one_lane_at_a_time_has_a_key_and_it_takes_in_order(ops in prop::collection::vec(
            prop_oneof![
                3 => (0u16..4).prop_map(Op::Push),
                2 => (0usize..3).prop_map(Op::Take),
                4 => (0usize..3).prop_map(Op::Pop),
                3 => (0usize..3).prop_map(Op::Answer),
            ], 1..300)) {
            let keys = KeyShards::new();
            let mut shared = VecDeque::new();
            let mut lanes: Vec<(OwnedShards, VecDeque<(u16, u32)>)> = (0..3).map(|_| Default::default()).collect();
            let mut pushed = [0u32; 4];
            let mut answered = [0u32; 4];
            for op in ops {
                match op {
                    Op::Push(id) => {
                        if keys.put(id, pushed[usize::from(id)]) == Pushed::Schedule {
                            shared.push_back(id);
                        }
                        pushed[usize::from(id)] += 1;
                    }
                    Op::Take(lane) => if let Some(id) = shared.pop_front() {
                        lanes[lane].0.take(&keys, id, lane);
                    },
                    Op::Pop(lane) => {
                        let (owned, unanswered) = &mut lanes[lane];
                        if let Some((id, n)) = owned.pop(&keys) {
                            unanswered.push_back((id, n));
                            for (other, (_, theirs)) in lanes.iter().enumerate() {
                                prop_assert!(other == lane || theirs.iter().all(|t| t.0 != id));
                            }
                        }
                    }
                    Op::Answer(lane) => {
                        let (owned, unanswered) = &mut lanes[lane];
                        if let Some((id, n)) = unanswered.pop_front() {
                            prop_assert_eq!(n, answered[usize::from(id)]);
                            answered[usize::from(id)] += 1;
                            keys.answered(id, 1);
                        }
                        owned.release_idle(&keys);
                    }
                }
            }
            // Nothing is forgotten: everything pushed can still be taken.
            loop {
                for (lane, (owned, unanswered)) in lanes.iter_mut().enumerate() {
                    while let Some(id) = shared.pop_front() {
                        owned.take(&keys, id, lane);
                    }
                    while let Some(m) = owned.pop(&keys) {
                        unanswered.push_back(m);
                    }
                    while let Some((id, n)) = unanswered.pop_front() {
                        prop_assert_eq!(n, answered[usize::from(id)]);
                        answered[usize::from(id)] += 1;
                        keys.answered(id, 1);
                    }
                    owned.release_idle(&keys);
                }
                if shared.is_empty() && lanes.iter().all(|l| l.0.is_empty()) {
                    break;
                }
            }
            prop_assert_eq!(pushed, answered);
        }
    }
}
