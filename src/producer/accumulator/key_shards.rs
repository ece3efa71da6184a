//! Order by key: all keys share some hundreds of ordered sub-queues.
//!
//! A key always maps to the same sub-queue. A sub-queue that has messages and no lane is *scheduled*: its number goes into
//! a queue that all lanes share. The lane that takes the number owns the sub-queue until everything taken from it is
//! answered, and takes what arrives meanwhile. So messages of one key are on one stream at a time, in their order,
//! whatever the number of lanes and whatever happens to them.
//!
//! ```text
//!            a message comes              a lane takes the number
//!   idle ─────────────────────▶ scheduled ───────────────────────▶ owned by a lane
//!     ▲                                                                  │
//!     └────────────── nothing is queued or unanswered ───────────────────┘
//! ```
//!
//! No thread waits for another one. Who pushes puts the message into the sub-queue, then looks at the state. Who gives a
//! sub-queue up changes the state, then looks for a message. So at least one of the two schedules it. Both may: a number
//! that is taken twice is owned once. The state says *scheduled* only after the number is there and a lane was woken for
//! it: if the thread is stopped before, others do the same. The state has a number that changes with each owner, so that a
//! thread which comes late changes nothing.

use std::hash::{DefaultHasher, Hasher};

use crate::sync::{AtomicU64, AtomicUsize, Ordering, SegQueue};

/// The number of sub-queues of a producer. More keys than this share an order.
pub(crate) const SHARDS: usize = 256;

/// The number of a sub-queue.
pub(crate) type ShardId = u16;

/// All sub-queues of one producer.
#[derive(Debug)]
pub(crate) struct KeyShards<T> {
    shards: Box<[Shard<T>]>,
    /// Sub-queues that wait for a lane. One may be here more than once.
    scheduled: SegQueue<ShardId>,
}

#[derive(Debug)]
struct Shard<T> {
    messages: SegQueue<T>,
    state: AtomicU64,
    /// Messages that were answered and that the owner has not heard of yet.
    answered: AtomicUsize,
}

/// The state of a sub-queue; in the word, the lower bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Scheduled,
    Owned(usize),
}

/// A state and the number of changes of the owner before it.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl Word {
    const STATE_BITS: u32 = 8;
    const FIRST_LANE: u64 = 2;

    fn state(self) -> State {
        match self.0 & ((1 << Self::STATE_BITS) - 1) {
            0 => State::Idle,
            1 => State::Scheduled,
            lane => State::Owned(usize::try_from(lane - Self::FIRST_LANE).unwrap_or(usize::MAX)),
        }
    }

    /// Returns the word of the same owner, or of none, in another state.
    const fn with(self, state: State) -> Self {
        let state = match state {
            State::Idle => 0,
            State::Scheduled => 1,
            State::Owned(lane) => lane as u64 + Self::FIRST_LANE,
        };
        Self(self.0 >> Self::STATE_BITS << Self::STATE_BITS | state)
    }

    /// Returns the word after a change of the owner.
    const fn next(self, state: State) -> Self {
        Self(self.0.wrapping_add(1 << Self::STATE_BITS)).with(state)
    }
}

/// The lane that is to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Any lane: a sub-queue waits for one.
    Any,
    /// The lane that owns the sub-queue.
    Owner(usize),
}

impl<T> Shard<T> {
    fn word(&self) -> Word {
        Word(self.state.load(Ordering::SeqCst))
    }

    fn change(&self, from: Word, to: Word) -> bool {
        self.state
            .compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

impl<T> KeyShards<T> {
    pub(crate) fn new() -> Self {
        Self::with(SHARDS)
    }

    pub(crate) fn with(shards: usize) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| Shard {
                    messages: SegQueue::new(),
                    state: AtomicU64::new(0),
                    answered: AtomicUsize::new(0),
                })
                .collect(),
            scheduled: SegQueue::new(),
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

    fn get(&self, id: ShardId) -> &Shard<T> {
        &self.shards[usize::from(id)]
    }

    /// Appends a message to a sub-queue.
    pub(crate) fn push(&self, id: ShardId, message: T) {
        self.get(id).messages.push(message);
    }

    /// Sees to it that a lane looks at a sub-queue to which a message was just appended. Calls `wake` with the
    /// lane that is to be woken.
    pub(crate) fn announce(&self, id: ShardId, wake: impl FnOnce(Wake)) {
        let word = self.get(id).word();
        match word.state() {
            State::Idle => self.schedule(id, word, wake),
            State::Scheduled => {}
            State::Owned(lane) => wake(Wake::Owner(lane)),
        }
    }

    fn schedule(&self, id: ShardId, idle: Word, wake: impl FnOnce(Wake)) {
        self.scheduled.push(id);
        wake(Wake::Any);
        self.get(id).change(idle, idle.with(State::Scheduled));
    }

    /// Returns whether a sub-queue waits for a lane.
    pub(crate) fn has_scheduled(&self) -> bool {
        !self.scheduled.is_empty()
    }

    /// Counts messages that its owner took from this sub-queue and that have their outcome now.
    pub(crate) fn answered(&self, id: ShardId, messages: usize) {
        self.get(id).answered.fetch_add(messages, Ordering::SeqCst);
    }

    /// Removes everything, owned or not. Only for a producer that has ended.
    pub(crate) fn drain(&self) -> impl Iterator<Item = T> {
        self.shards
            .iter()
            .flat_map(|shard| std::iter::from_fn(|| shard.messages.pop()))
    }

    /// Takes the number of a sub-queue that waits for a lane, and makes `lane` its owner.
    fn own_next(&self, lane: usize) -> Option<ShardId> {
        while let Some(id) = self.scheduled.pop() {
            let shard = self.get(id);
            loop {
                let word = shard.word();
                if matches!(word.state(), State::Owned(_)) {
                    // It was scheduled twice.
                    break;
                }
                if shard.change(word, word.next(State::Owned(lane))) {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Gives a sub-queue up, and schedules it where a message has come meanwhile.
    fn give_up(&self, id: ShardId, wake: impl FnOnce(Wake)) {
        let shard = self.get(id);
        // Only the owner changes the state of what is owned.
        let idle = shard.word().next(State::Idle);
        shard.state.swap(idle.0, Ordering::SeqCst);
        if !shard.messages.is_empty() {
            self.schedule(id, idle, wake);
        }
    }
}

/// The sub-queues that one lane owns.
#[derive(Debug, Default)]
pub(crate) struct OwnedShards {
    shards: Vec<Owned>,
    /// The sub-queue to look at first.
    first: usize,
}

#[derive(Debug)]
struct Owned {
    id: ShardId,
    /// Messages that were taken and are not answered, as far as the owner has heard.
    taken: usize,
}

impl OwnedShards {
    /// Makes the lane the owner of the next sub-queue that waits for one. Returns which, or `None` if none waits.
    pub(crate) fn own_next<T>(&mut self, keys: &KeyShards<T>, lane: usize) -> Option<ShardId> {
        let id = keys.own_next(lane)?;
        self.shards.push(Owned { id, taken: 0 });
        Some(id)
    }

    /// Gives up the sub-queues of which nothing is queued or unanswered. Calls `wake` for each that is scheduled again.
    pub(crate) fn release_idle<T>(&mut self, keys: &KeyShards<T>, wake: impl Fn(Wake)) {
        self.shards.retain_mut(|owned| {
            let shard = keys.get(owned.id);
            if owned.taken > 0 {
                owned.taken -= shard.answered.swap(0, Ordering::SeqCst);
            }
            let keeps = owned.taken > 0 || !shard.messages.is_empty();
            if !keeps {
                keys.give_up(owned.id, &wake);
            }
            keeps
        });
    }

    /// Takes the next message of any owned sub-queue. It stays with one sub-queue until that is empty, or until
    /// [`OwnedShards::pass_on`].
    pub(crate) fn pop<T>(&mut self, keys: &KeyShards<T>) -> Option<(ShardId, T)> {
        for step in 0..self.shards.len() {
            let place = (self.first + step) % self.shards.len();
            let owned = &mut self.shards[place];
            if let Some(message) = keys.get(owned.id).messages.pop() {
                owned.taken += 1;
                self.first = place;
                return Some((owned.id, message));
            }
        }
        None
    }

    /// Begins with the next sub-queue, so that none keeps the others waiting.
    pub(crate) fn pass_on(&mut self) {
        self.first = self.first.wrapping_add(1);
    }

    /// Returns whether any owned sub-queue has a message.
    pub(crate) fn has_work<T>(&self, keys: &KeyShards<T>) -> bool {
        let mut owned = self.shards.iter();
        owned.any(|owned| !keys.get(owned.id).messages.is_empty())
    }

    /// Returns whether the lane owns no sub-queue.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use proptest::prelude::*;

    use super::*;

    impl<T> KeyShards<T> {
        /// Appends a message, and returns the lane that is woken.
        fn put(&self, id: ShardId, message: T) -> Option<Wake> {
            let mut woken = None;
            self.push(id, message);
            self.announce(id, |wake| woken = Some(wake));
            woken
        }
    }

    fn release(owned: &mut OwnedShards, keys: &KeyShards<impl Sized>) -> Vec<Wake> {
        let woken = RefCell::new(Vec::new());
        owned.release_idle(keys, |wake| woken.borrow_mut().push(wake));
        woken.into_inner()
    }

    #[test]
    fn a_sub_queue_is_scheduled_once_and_its_owner_is_told_of_more() {
        let keys = KeyShards::new();
        assert_eq!(keys.put(3, 'a'), Some(Wake::Any));
        assert_eq!(keys.put(3, 'b'), None);
        let mut owned = OwnedShards::default();
        assert_eq!(owned.own_next(&keys, 7), Some(3));
        assert_eq!(owned.own_next(&keys, 7), None);
        assert_eq!(keys.put(3, 'c'), Some(Wake::Owner(7)));
        assert_eq!(owned.pop(&keys), Some((3, 'a')));
    }

    #[test]
    fn a_sub_queue_stays_with_its_lane_until_all_that_was_taken_is_answered() {
        let keys = KeyShards::new();
        let mut owned = OwnedShards::default();
        keys.put(1, 'a');
        keys.put(1, 'b');
        owned.own_next(&keys, 0);
        owned.pop(&keys);
        owned.pop(&keys);
        keys.answered(1, 1);
        release(&mut owned, &keys);
        assert!(!owned.is_empty());
        assert_eq!(keys.put(1, 'c'), Some(Wake::Owner(0)));
        keys.answered(1, 1);
        release(&mut owned, &keys);
        assert!(!owned.is_empty(), "c is queued");
        assert_eq!(owned.pop(&keys), Some((1, 'c')));
        keys.answered(1, 1);
        assert_eq!(release(&mut owned, &keys), []);
        assert!(owned.is_empty());
        assert_eq!(keys.put(1, 'd'), Some(Wake::Any));
    }

    #[test]
    fn a_thread_that_is_stopped_before_it_schedules_a_sub_queue_stops_nobody() {
        let keys = KeyShards::new();
        keys.push(5, 'a');
        // Stopped here. Another message of the sub-queue comes.
        assert_eq!(keys.put(5, 'b'), Some(Wake::Any));
        let mut owned = OwnedShards::default();
        owned.own_next(&keys, 0);
        let taken = std::iter::from_fn(|| owned.pop(&keys)).map(|taken| taken.1);
        assert_eq!(taken.collect::<Vec<_>>(), ['a', 'b']);
    }

    #[test]
    fn a_sub_queue_that_is_scheduled_twice_has_one_owner() {
        let keys = KeyShards::new();
        keys.push(5, 'a');
        let seen_idle = keys.get(5).word();
        keys.put(5, 'b');
        let (mut first, mut second) = (OwnedShards::default(), OwnedShards::default());
        assert_eq!(first.own_next(&keys, 0), Some(5));
        // The thread that has seen it idle goes on only now.
        keys.schedule(5, seen_idle, |_| ());
        assert_eq!(second.own_next(&keys, 1), None);
        first.pop(&keys);
        first.pop(&keys);
        keys.answered(5, 2);
        release(&mut first, &keys);
        assert!(first.is_empty());
        assert_eq!(keys.put(5, 'c'), Some(Wake::Any));
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
            let mut lanes: Vec<(OwnedShards, VecDeque<(u16, u32)>)> = (0..3).map(|_| Default::default()).collect();
            let mut pushed = [0u32; 4];
            let mut answered = [0u32; 4];
            for op in ops {
                match op {
                    Op::Push(id) => {
                        keys.put(id, pushed[usize::from(id)]);
                        pushed[usize::from(id)] += 1;
                    }
                    Op::Take(lane) => _ = lanes[lane].0.own_next(&keys, lane),
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
                        release(owned, &keys);
                    }
                }
            }
            // Nothing is forgotten: everything pushed can still be taken.
            loop {
                for (lane, (owned, unanswered)) in lanes.iter_mut().enumerate() {
                    while owned.own_next(&keys, lane).is_some() {}
                    while let Some(m) = owned.pop(&keys) {
                        unanswered.push_back(m);
                    }
                    while let Some((id, n)) = unanswered.pop_front() {
                        prop_assert_eq!(n, answered[usize::from(id)]);
                        answered[usize::from(id)] += 1;
                        keys.answered(id, 1);
                    }
                    release(owned, &keys);
                }
                if !keys.has_scheduled() && lanes.iter().all(|l| l.0.is_empty()) {
                    break;
                }
            }
            prop_assert_eq!(pushed, answered);
        }
    }
}
