//! The budget: how many messages and bytes a producer may hold, queued and unanswered together.
//!
//! It is exact and fair. While no call waits, a reservation is one compare-and-swap on a word that holds both counts.
//! A call that finds no room leaves its item in the wait queue. A release admits items from the front of that queue,
//! so items are admitted in the order of the calls, however late a waiting task is polled. One releaser at a time
//! passes admitted items on; until it is done, later calls wait behind them.
//!
//! Waiters are admitted in groups, once 1/16 of the budget is free. Waking a task for each answered batch would cost
//! more CPU time than sending its message.
//!
//! A call can give up at any time: it takes its item back, or learns that the item was admitted.

use std::{
    collections::VecDeque,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence};

/// What one message, or several together, take of the budget.
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

/// A release admits waiters once this part of the limit is free: 4 MiB of 64 MiB.
const WAKE_BATCH_DIVISOR: u32 = 16;

/// Set in the count of waiters once the budget is closed.
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
    /// While more than this is taken, a release admits no waiters.
    low: Cost,
    /// What is taken now, packed by [`pack`].
    used: AtomicU64,
    /// How many items wait or are being passed on, and [`CLOSED`]. The fast path reads it instead of taking the lock.
    /// Written under the lock.
    waiting: AtomicUsize,
    wait_queue: Mutex<WaitQueue<T>>,
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

/// The result of [`Budget::reserve`].
#[derive(Debug)]
pub(crate) enum Reservation<T> {
    /// There was room; here is the item to pass on.
    Granted(T),
    /// The item waits under this id.
    Waiting(WaiterId),
    /// The budget is closed; here is the item to give back.
    Closed(T),
}

/// A place in the wait queue.
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
            wait_queue: Mutex::new(WaitQueue {
                entries: VecDeque::new(),
                next_waiter: 0,
                closed: false,
                passing: false,
            }),
        }
    }

    /// Returns what is taken now.
    pub(crate) fn used(&self) -> Cost {
        unpack(self.used.load(Ordering::Relaxed))
    }

    /// Returns how many items wait for queue.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) & !CLOSED
    }

    /// Returns whether nothing is admitted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Takes `cost` if there is room, no item waits, and the budget is not closed.
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

    /// Takes `cost` for `item`, or leaves the item in the wait queue.
    pub(crate) fn reserve(&self, cost: Cost, item: T) -> Reservation<T> {
        if self.try_take(cost) {
            return Reservation::Granted(item);
        }
        let mut queue = self.lock();
        if queue.closed {
            return Reservation::Closed(item);
        }
        // A release after this line looks into the queue; one before it has left its room for the take below.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if queue.entries.is_empty() && !queue.passing && self.take(cost) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Reservation::Granted(item);
        }
        let waiter = queue.next_waiter;
        queue.next_waiter += 1;
        queue.entries.push_back(Entry {
            waiter,
            cost,
            item,
            waker: None,
        });
        Reservation::Waiting(WaiterId(waiter))
    }

    /// Gives `cost` back. Returns whether waiting items may fit now: then the caller calls [`Budget::admit`] until it
    /// returns `None`.
    #[must_use]
    pub(crate) fn release(&self, cost: Cost) -> bool {
        let left = unpack(self.used.fetch_sub(pack(cost), Ordering::SeqCst) - pack(cost));
        if left.messages > self.low.messages || left.bytes > self.low.bytes {
            return false;
        }
        // Either this sees the waiter, or the waiter sees the room: both have a fence between their write and their
        // read.
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::SeqCst) > 0
    }

    #[cfg(feature = "spool")]
    pub(crate) fn transfer_waiters(&self, to: &Self) {
        let (entries, next_waiter) = {
            let mut queue = self.lock();
            let entries = std::mem::take(&mut queue.entries);
            self.waiting.fetch_sub(entries.len(), Ordering::SeqCst);
            (entries, queue.next_waiter)
        };
        let mut queue = to.lock();
        queue.next_waiter = queue.next_waiter.max(next_waiter);
        to.waiting.fetch_add(entries.len(), Ordering::SeqCst);
        queue.entries.extend(entries);
    }

    /// Takes the waiting items that there is room for now out of the queue, in their order. The caller passes them on
    /// and asks again, until there are none. Returns `None` while another caller passes items on: that one asks again.
    pub(crate) fn admit(&self) -> Option<Admitted<'_, T>> {
        let mut queue = self.lock();
        if queue.passing {
            return None;
        }
        let mut entries = Vec::new();
        while let Some(entry) = queue.entries.front() {
            if queue.closed || !self.take(entry.cost) {
                break;
            }
            entries.extend(queue.entries.pop_front());
        }
        if entries.is_empty() {
            return None;
        }
        queue.passing = true;
        let count = entries.len();
        let (items, wakers) = entries
            .into_iter()
            .map(|entry| (entry.item, entry.waker))
            .unzip();
        Some(Admitted {
            budget: self,
            items,
            wakers,
            count,
        })
    }

    /// Ready with `Ok` once the item was admitted, with the item once the budget is closed.
    pub(crate) fn poll_admitted(
        &self,
        waiter: WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), T>> {
        let mut queue = self.lock();
        let Some(place) = queue.find(waiter) else {
            return Poll::Ready(Ok(()));
        };
        if queue.closed {
            return match queue.entries.remove(place) {
                Some(entry) => {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    Poll::Ready(Err(entry.item))
                }
                None => Poll::Ready(Ok(())),
            };
        }
        if let Some(entry) = queue.entries.get_mut(place) {
            match &mut entry.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Takes a waiting item out of the queue; `None` where it was admitted before. A smaller item behind it may fit
    /// now: the caller calls [`Budget::admit`].
    pub(crate) fn withdraw(&self, waiter: WaiterId) -> Option<T> {
        let mut queue = self.lock();
        let place = queue.find(waiter)?;
        let entry = queue.entries.remove(place)?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(entry.item)
    }

    /// Admits nothing more, and wakes all waiters: they get their items back.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.waiting.fetch_or(CLOSED, Ordering::SeqCst);
        let wakers: Vec<_> = queue
            .entries
            .iter_mut()
            .filter_map(|e| e.waker.take())
            .collect();
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, WaitQueue<T>> {
        self.wait_queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Items that were just admitted. While it lives, no later item is; its drop wakes the callers that waited.
#[derive(Debug)]
pub(crate) struct Admitted<'a, T> {
    budget: &'a Budget<T>,
    items: Vec<T>,
    wakers: Vec<Option<Waker>>,
    count: usize,
}

impl<T> Admitted<'_, T> {
    /// Takes the items, in their order.
    pub(crate) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.items)
    }
}

impl<T> Drop for Admitted<'_, T> {
    fn drop(&mut self) {
        let mut queue = self.budget.lock();
        queue.passing = false;
        self.budget.waiting.fetch_sub(self.count, Ordering::SeqCst);
        drop(queue);
        self.wakers.drain(..).flatten().for_each(Waker::wake);
    }
}

impl<T> WaitQueue<T> {
    /// Finds an entry. Ids are given in rising order, and entries never change places.
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

    /// Gives `cost` back, and returns what that admitted.
    fn release(budget: &Budget<u32>, cost: Cost) -> Vec<u32> {
        match budget.release(cost) {
            true => admit(budget),
            false => Vec::new(),
        }
    }

    fn admit(budget: &Budget<u32>) -> Vec<u32> {
        let mut admitted = Vec::new();
        while let Some(mut items) = budget.admit() {
            admitted.extend(items.take());
        }
        admitted
    }

    fn waiting(reservation: Reservation<u32>) -> WaiterId {
        match reservation {
            Reservation::Waiting(waiter) => waiter,
            other => panic!("expected to wait: {other:?}"),
        }
    }

    #[test]
    fn a_small_item_does_not_overtake_a_large_one_that_waits() {
        let b = budget(10, 100);
        assert!(b.try_take(Cost::one(60)));
        let large = waiting(b.reserve(Cost::one(80), 1));
        let small = waiting(b.reserve(Cost::one(1), 2));
        assert!(!b.try_take(Cost::one(1)));
        assert_eq!(release(&b, Cost::one(60)), [1, 2]);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(b.poll_admitted(large, &mut cx), Poll::Ready(Ok(())));
        assert_eq!(b.poll_admitted(small, &mut cx), Poll::Ready(Ok(())));
        assert_eq!(b.used().bytes, 81);
    }

    #[test]
    fn waiters_are_admitted_when_there_is_room_for_more_than_a_few() {
        let b = budget(MAX_MESSAGES, 16 * 10);
        for _ in 0..160 {
            assert!(b.try_take(Cost::one(1)));
        }
        for item in 0..20 {
            waiting(b.reserve(Cost::one(1), item));
        }
        for _ in 0..9 {
            assert_eq!(release(&b, Cost::one(1)), [0; 0]);
        }
        let mut admitted = release(&b, Cost::one(1));
        assert_eq!(admitted, (0..10).collect::<Vec<_>>());
        // The last release of all admits the rest.
        for _ in 0..160 {
            admitted.extend(release(&b, Cost::one(1)));
        }
        assert_eq!((admitted.len(), b.waiting()), (20, 0));
    }

    #[test]
    fn a_withdrawal_at_the_front_admits_those_after_it() {
        let b = budget(10, 100);
        assert!(b.try_take(Cost::one(60)));
        let large = waiting(b.reserve(Cost::one(80), 1));
        waiting(b.reserve(Cost::one(10), 2));
        assert_eq!(b.withdraw(large), Some(1));
        assert_eq!(admit(&b), [2]);
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
        let waiter = waiting(b.reserve(Cost::one(1), 7));
        b.close();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        assert_eq!(b.poll_admitted(waiter, &mut cx), Poll::Ready(Err(7)));
        assert_eq!(b.waiting(), 0);
        assert!(matches!(b.reserve(Cost::one(1), 8), Reservation::Closed(8)));
    }

    #[test]
    fn a_closed_budget_admits_nothing_though_there_is_room() {
        let b = budget(2, 100);
        assert!(b.try_take(Cost::one(1)));
        b.close();
        assert!(b.is_closed());
        assert!(!b.try_take(Cost::one(1)));
        assert!(matches!(b.reserve(Cost::one(1), 8), Reservation::Closed(8)));
        release(&b, Cost::one(1));
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
                        match b.reserve(Cost::one(bytes), id) {
                            Reservation::Granted(id) => {
                                prop_assert!(queue.is_empty());
                                held.push((id, bytes));
                            }
                            Reservation::Waiting(t) => queue.push_back((id, bytes, t)),
                            Reservation::Closed(_) => unreachable!(),
                        }
                    }
                    Op::Release(i) if !held.is_empty() => {
                        let (_, bytes) = held.remove(i % held.len());
                        admitted = release(&b, Cost::one(bytes));
                    }
                    Op::Leave(i) if !queue.is_empty() => {
                        let (id, _, waiter) = queue.remove(i % queue.len()).unwrap();
                        prop_assert_eq!(b.withdraw(waiter), Some(id));
                        admitted = admit(&b);
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
