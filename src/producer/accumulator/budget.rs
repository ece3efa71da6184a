//! The budget: how many messages and bytes a producer may hold, queued and unanswered alike.
//!
//! Exact and fair. Taking is one compare-and-swap on a word that holds both counts while nobody waits. Who
//! finds no room leaves the item itself in the waiting room, and whoever releases room admits from its front: so items
//! enter in the order of the calls, however late a waiting task is polled. The releaser passes admitted items on, one
//! releaser at a time, and until it has done so a call that comes later waits behind them.
//!
//! Who waits is let in when there is room for more than a few: to wake a task for each batch that is answered, and have it
//! wait again a moment later, would cost more than its message.
//!
//! Leaving is possible at any time: a place that is dropped takes its item along, or learns that it was admitted.

use std::{
    collections::VecDeque,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence};

/// What one item, or many, take of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) messages: u32,
    pub(crate) bytes: u64,
}

impl Cost {
    pub(crate) const fn one(bytes: u64) -> Self {
        Self { messages: 1, bytes }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// Messages in the upper 24 bits, bytes in the lower 40.
const BYTES: u32 = 40;
/// The most messages a budget can hold.
pub(crate) const MAX_MESSAGES: u32 = (1 << (64 - BYTES)) - 1;
/// The most bytes a budget can hold.
pub(crate) const MAX_BYTES: u64 = (1 << BYTES) - 1;

/// A release lets in who waits once this part of the limit is free, 4 MiB of 64: whoever enters then waits in the queue for
/// fifteen times as much to go out before.
const WAKE_BATCH_DIVISOR: u32 = 16;

/// Nobody enters any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

const fn pack(cost: Cost) -> u64 {
    ((cost.messages as u64) << BYTES) | cost.bytes
}

#[allow(clippy::cast_possible_truncation, reason = "24 bits fit in 32")]
const fn unpack(word: u64) -> Cost {
    Cost {
        messages: (word >> BYTES) as u32,
        bytes: word & MAX_BYTES,
    }
}

#[derive(Debug)]
pub(crate) struct Budget<T> {
    limit: Cost,
    /// As long as more is taken, a release lets nobody in: others will follow it.
    low: Cost,
    /// What is taken now.
    used: AtomicU64,
    /// How many wait or are being passed on, and [`CLOSED`], so that the fast path need not look into the room. Written
    /// under the lock.
    waiting: AtomicUsize,
    room: Mutex<WaitQueue<T>>,
}

#[derive(Debug)]
struct WaitQueue<T> {
    entries: VecDeque<Entry<T>>,
    next_waiter: u64,
    closed: bool,
    /// A releaser passes admitted items on. It looks again when it is done, so that others need not.
    passing: bool,
}

#[derive(Debug)]
struct Entry<T> {
    waiter: u64,
    cost: Cost,
    item: T,
    waker: Option<Waker>,
}

/// How a call to enter ended.
#[derive(Debug)]
pub(crate) enum Reservation<T> {
    /// There was room; here is the item to pass on.
    Admitted(T),
    /// It waits in the room under this ticket.
    Waiting(WaiterId),
    /// The budget is closed; here is the item to give back.
    Closed(T),
}

/// A place in the waiting room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterId(u64);

impl<T> Budget<T> {
    pub(crate) fn new(limit: Cost) -> Self {
        Self {
            limit,
            low: Cost {
                messages: limit.messages - limit.messages / WAKE_BATCH_DIVISOR,
                bytes: limit.bytes - limit.bytes / u64::from(WAKE_BATCH_DIVISOR),
            },
            used: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            room: Mutex::new(WaitQueue {
                entries: VecDeque::new(),
                next_waiter: 0,
                closed: false,
                passing: false,
            }),
        }
    }

    /// What is taken now.
    pub(crate) fn used(&self) -> Cost {
        unpack(self.used.load(Ordering::Relaxed))
    }

    /// How many wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) & !CLOSED
    }

    /// Nobody enters any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Take `cost` if there is room, nobody was there before, and the budget is not closed.
    pub(crate) fn try_take(&self, cost: Cost) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take(cost)
    }

    fn take(&self, cost: Cost) -> bool {
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |word| {
                let used = unpack(word);
                let fits = used.messages + cost.messages <= self.limit.messages
                    // A single item over the limit may pass while nothing else is there.
                    && (used.bytes + cost.bytes <= self.limit.bytes || used.messages == 0);
                fits.then(|| word + pack(cost))
            })
            .is_ok()
    }

    /// Take `cost` for `item`, or leaves the item in the waiting room.
    pub(crate) fn enter(&self, cost: Cost, item: T) -> Reservation<T> {
        if self.try_take(cost) {
            return Reservation::Admitted(item);
        }
        let mut room = self.lock();
        if room.closed {
            return Reservation::Closed(item);
        }
        // From here on a release looks into the room; one that came before has left its room for this look.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if room.entries.is_empty() && !room.passing && self.take(cost) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Reservation::Admitted(item);
        }
        let waiter = room.next_waiter;
        room.next_waiter += 1;
        room.entries.push_back(Entry {
            waiter,
            cost,
            item,
            waker: None,
        });
        Reservation::Waiting(WaiterId(waiter))
    }

    /// Gives `cost` back, and passes on the items that there is room for now, in their order.
    pub(crate) fn release(&self, cost: Cost, pass_on: impl FnMut(T)) {
        let left = unpack(self.used.fetch_sub(pack(cost), Ordering::SeqCst) - pack(cost));
        if left.messages > self.low.messages || left.bytes > self.low.bytes {
            return;
        }
        // Either this sees who waits, or who waits sees this: both have a fence between their write and their look.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.admit(pass_on);
        }
    }

    /// All who wait here wait there from now on, behind those who do already, with the tickets they have. Nobody may
    /// ask for a ticket of theirs meanwhile. [`Budget::admit`] lets in those that fit there.
    #[cfg(feature = "spool")]
    pub(crate) fn transfer_waiters(&self, to: &Self) {
        let (entries, next_waiter) = {
            let mut room = self.lock();
            let entries = std::mem::take(&mut room.entries);
            self.waiting.fetch_sub(entries.len(), Ordering::SeqCst);
            (entries, room.next_waiter)
        };
        let mut room = to.lock();
        room.next_waiter = room.next_waiter.max(next_waiter);
        to.waiting.fetch_add(entries.len(), Ordering::SeqCst);
        room.entries.extend(entries);
    }

    /// Passes on the items that there is room for now, in their order.
    pub(crate) fn admit(&self, mut pass_on: impl FnMut(T)) {
        loop {
            let mut admitted = Vec::new();
            {
                let mut room = self.lock();
                if room.passing {
                    return;
                }
                while let Some(entry) = room.entries.front() {
                    if room.closed || !self.take(entry.cost) {
                        break;
                    }
                    admitted.extend(room.entries.pop_front());
                }
                if admitted.is_empty() {
                    return;
                }
                room.passing = true;
            }
            let passed = admitted.len();
            let mut wakers = Vec::new();
            for entry in admitted {
                pass_on(entry.item);
                wakers.extend(entry.waker);
            }
            let mut room = self.lock();
            room.passing = false;
            self.waiting.fetch_sub(passed, Ordering::SeqCst);
            drop(room);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Ready with `Ok` once the item was admitted, with the item once the budget is closed.
    pub(crate) fn poll_admitted(
        &self,
        waiter: WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), T>> {
        let mut room = self.lock();
        let Some(place) = room.find(waiter) else {
            return Poll::Ready(Ok(()));
        };
        if room.closed {
            return match room.entries.remove(place) {
                Some(entry) => {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    Poll::Ready(Err(entry.item))
                }
                None => Poll::Ready(Ok(())),
            };
        }
        if let Some(entry) = room.entries.get_mut(place) {
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Leaves the room. The item comes back unless it was admitted before. Those behind may fit where this one
    /// did not: they are passed on.
    pub(crate) fn leave(&self, waiter: WaiterId, pass_on: impl FnMut(T)) -> Option<T> {
        let mut room = self.lock();
        let place = room.find(waiter)?;
        let entry = room.entries.remove(place)?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(room);
        if place == 0 {
            self.admit(pass_on);
        }
        Some(entry.item)
    }

    /// Lets nobody in any more and wakes all who wait: they get their items back.
    pub(crate) fn close(&self) {
        let mut room = self.lock();
        room.closed = true;
        self.waiting.fetch_or(CLOSED, Ordering::SeqCst);
        let wakers: Vec<_> = room
            .entries
            .iter_mut()
            .filter_map(|e| e.waker.take())
            .collect();
        drop(room);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue<T>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> WaitQueue<T> {
    /// Tickets are given in rising order and entries never change places.
    fn find(&self, waiter: WaiterId) -> Option<usize> {
        self.entries
            .binary_search_by_key(&waiter.0, |e| e.waiter)
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;
    use proptest::prelude::*;

    use super::*;

    fn budget(messages: u32, bytes: u64) -> Budget<u32> {
        Budget::new(Cost { messages, bytes })
    }

    fn waiting(entrance: Reservation<u32>) -> WaiterId {
        match entrance {
            Reservation::Waiting(waiter) => waiter,
            other => panic!("expected to wait: {other:?}"),
        }
    }

    #[test]
    fn a_small_item_does_not_overtake_a_large_one_that_waits() {
        let b = budget(10, 100);
        assert!(b.try_take(Cost::one(60)));
        let large = waiting(b.enter(Cost::one(80), 1));
        let small = waiting(b.enter(Cost::one(1), 2));
        assert!(!b.try_take(Cost::one(1)));
        let mut admitted = Vec::new();
        b.release(Cost::one(60), |item| admitted.push(item));
        assert_eq!(admitted, [1, 2]);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(b.poll_admitted(large, &mut cx), Poll::Ready(Ok(())));
        assert_eq!(b.poll_admitted(small, &mut cx), Poll::Ready(Ok(())));
        assert_eq!(b.used().bytes, 81);
    }

    #[test]
    fn who_waits_is_let_in_when_there_is_room_for_more_than_a_few() {
        let b = budget(MAX_MESSAGES, 16 * 10);
        for _ in 0..160 {
            assert!(b.try_take(Cost::one(1)));
        }
        for item in 0..20 {
            waiting(b.enter(Cost::one(1), item));
        }
        let mut admitted = Vec::new();
        for _ in 0..9 {
            b.release(Cost::one(1), |item| admitted.push(item));
        }
        assert_eq!(admitted, [0; 0]);
        b.release(Cost::one(1), |item| admitted.push(item));
        assert_eq!(admitted, (0..10).collect::<Vec<_>>());
        // The last release of all lets in whoever is left.
        for _ in 0..160 {
            b.release(Cost::one(1), |item| admitted.push(item));
        }
        assert_eq!((admitted.len(), b.waiting()), (20, 0));
    }

    #[test]
    fn who_leaves_the_front_lets_in_those_behind() {
        let b = budget(10, 100);
        assert!(b.try_take(Cost::one(60)));
        let large = waiting(b.enter(Cost::one(80), 1));
        waiting(b.enter(Cost::one(10), 2));
        let mut admitted = Vec::new();
        assert_eq!(b.leave(large, |item| admitted.push(item)), Some(1));
        assert_eq!(admitted, [2]);
        assert_eq!(
            b.used(),
            Cost {
                messages: 2,
                bytes: 70
            }
        );
    }

    #[test]
    fn a_closed_budget_gives_the_waiting_their_items_back() {
        let b = budget(1, 100);
        assert!(b.try_take(Cost::one(1)));
        let waiter = waiting(b.enter(Cost::one(1), 7));
        b.close();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(b.poll_admitted(waiter, &mut cx), Poll::Ready(Err(7)));
        assert_eq!(b.waiting(), 0);
        assert!(matches!(b.enter(Cost::one(1), 8), Reservation::Closed(8)));
    }

    #[test]
    fn nobody_enters_a_closed_budget_though_there_is_room() {
        let b = budget(2, 100);
        assert!(b.try_take(Cost::one(1)));
        b.close();
        assert!(b.is_closed());
        assert!(!b.try_take(Cost::one(1)));
        assert!(matches!(b.enter(Cost::one(1), 8), Reservation::Closed(8)));
        b.release(Cost::one(1), |_| ());
        assert_eq!((b.used(), b.waiting()), (Cost::default(), 0));
    }

    #[test]
    fn one_item_over_the_byte_limit_passes_alone() {
        let b = budget(10, 100);
        assert!(b.try_take(Cost::one(500)));
        assert!(!b.try_take(Cost::one(1)));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Enter(u64),
        Release(usize),
        Leave(usize),
    }

    proptest! {
        #[test]
        fn the_budget_is_exact_and_first_come_first_served(ops in prop::collection::vec(
            prop_oneof![
                (1u64..60).prop_map(Op::Enter),
                (0usize..8).prop_map(Op::Release),
                (0usize..8).prop_map(Op::Leave),
            ], 1..200)) {
            let b = budget(5, 100);
            let mut held: Vec<(u32, u64)> = Vec::new();
            let mut queue: VecDeque<(u32, u64, WaiterId)> = VecDeque::new();
            let mut costs = Vec::new();
            for op in ops {
                let mut admitted = Vec::new();
                match op {
                    Op::Enter(bytes) => {
                        let id = u32::try_from(costs.len()).unwrap();
                        costs.push(bytes);
                        match b.enter(Cost::one(bytes), id) {
                            Reservation::Admitted(id) => {
                                prop_assert!(queue.is_empty());
                                held.push((id, bytes));
                            }
                            Reservation::Waiting(t) => queue.push_back((id, bytes, t)),
                            Reservation::Closed(_) => unreachable!(),
                        }
                    }
                    Op::Release(i) if !held.is_empty() => {
                        let (_, bytes) = held.remove(i % held.len());
                        b.release(Cost::one(bytes), |item| admitted.push(item));
                    }
                    Op::Leave(i) if !queue.is_empty() => {
                        let (id, _, waiter) = queue.remove(i % queue.len()).unwrap();
                        prop_assert_eq!(b.leave(waiter, |item| admitted.push(item)), Some(id));
                    }
                    _ => {}
                }
                for id in admitted {
                    let (front, bytes, _) = queue.pop_front().unwrap();
                    prop_assert_eq!(front, id);
                    held.push((id, bytes));
                }
                let bytes: u64 = held.iter().map(|h| h.1).sum();
                prop_assert_eq!(b.used(), Cost { messages: u32::try_from(held.len()).unwrap(), bytes });
                prop_assert!(held.len() <= 5 && bytes <= 100);
                prop_assert_eq!(b.waiting(), queue.len());
                if let Some((_, bytes_front, _)) = queue.front() {
                    prop_assert!(
                        held.len() == 5 || bytes + bytes_front > 100 || bytes > b.low.bytes,
                        "the front could enter"
                    );
                }
            }
        }
    }
}
