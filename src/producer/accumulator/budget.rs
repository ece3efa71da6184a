//! The budget: how many messages and bytes a producer may hold, queued and unanswered together.
//!
//! It is exact and fair. While no call waits, a reservation is one compare-and-swap on a word that holds both counts.
//! A call that finds no room leaves its item in the line. A release admits items from the front of it, so items are
//! admitted in the order of the calls, however late a waiting task is polled. One thread at a time admits items and passes
//! them on; until it is done, later calls wait behind them.
//!
//! No thread waits for another one here. A call joins the line through a lock-free queue, learns of its admission from
//! its own entry, and leaves by taking its item back. The line itself has a lock, which is only ever tried: who finds it
//! held leaves a note, and the holder looks again. So a thread that is stopped while it admits others delays the calls
//! that wait for room, and neither lanes nor a call that need not wait.
//!
//! Waiters are admitted in groups, once 1/16 of the budget is free. Waking a task for each answered batch would cost
//! more CPU time than sending its message.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use crate::sync::{
    ArrayQueue, AtomicBool, AtomicU64, AtomicUsize, AtomicWaker, Mutex, MutexGuard, Ordering,
    SegQueue, TryLockError, fence,
};

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

/// Entries of the line whose items were taken back are removed once there are this many more than others.
const MAX_LEFT: usize = 32;

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
    /// How many items wait or are being passed on, and [`CLOSED`]. While it is not zero, no call passes by the line.
    waiting: AtomicUsize,
    /// Calls that have joined the line and are not in `line` yet, in their order.
    arrivals: SegQueue<Arc<Waiter<T>>>,
    /// The calls that wait, in their order. Its lock is only tried.
    line: Mutex<VecDeque<Arc<Waiter<T>>>>,
    /// A thread wants the line looked at. Set before a try of its lock, cleared by the thread that holds it.
    asked: AtomicBool,
}

/// A call that waits for room.
struct Waiter<T> {
    cost: Cost,
    /// The item; empty once it was admitted or taken back. Whoever takes it decides which.
    item: ArrayQueue<T>,
    waker: AtomicWaker,
}

impl<T> fmt::Debug for Waiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("cost", &self.cost)
            .field("waits", &!self.item.is_empty())
            .finish_non_exhaustive()
    }
}

/// The result of [`Budget::reserve`].
#[derive(Debug)]
pub(crate) enum Reservation<T> {
    /// There was room; here is the item to pass on.
    Granted(T),
    /// The item waits in this place. The caller calls [`Budget::admit`] if [`Budget::may_admit`].
    Waiting(WaiterId<T>),
    /// The budget is closed; here is the item to give back.
    Closed(T),
}

/// A place in the line.
#[derive(Debug)]
pub(crate) struct WaiterId<T>(Arc<Waiter<T>>);

impl<T> Clone for WaiterId<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

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
            arrivals: SegQueue::new(),
            line: Mutex::new(VecDeque::new()),
            asked: AtomicBool::new(false),
        }
    }

    /// Returns what is taken now.
    pub(crate) fn used(&self) -> Cost {
        unpack(self.used.load(Ordering::SeqCst))
    }

    /// Returns how many items wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst) & !CLOSED
    }

    /// Returns whether nothing is admitted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Takes `cost` if there is room, no item waits, and the budget is not closed.
    #[inline]
    pub(crate) fn try_take(&self, cost: Cost) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0 && self.take(cost)
    }

    #[inline]
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

    /// Takes `cost` for `item`, or leaves the item in the line.
    pub(crate) fn reserve(&self, cost: Cost, item: T) -> Reservation<T> {
        if self.try_take(cost) {
            return Reservation::Granted(item);
        }
        // From here on, later calls wait behind this one.
        let joined = self
            .waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |waiting| {
                (waiting & CLOSED == 0).then(|| waiting + 1)
            });
        let Ok(before) = joined else {
            return Reservation::Closed(item);
        };
        // A release after this line looks into the line; one before it has left its room for the take below.
        fence(Ordering::SeqCst);
        if before == 0 && self.take(cost) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Reservation::Granted(item);
        }
        let waiter = Arc::new(Waiter::new(cost, item));
        self.arrivals.push(Arc::clone(&waiter));
        Reservation::Waiting(WaiterId(waiter))
    }

    /// Gives `cost` back. Returns whether waiting items may fit now: then the caller calls [`Budget::admit`] until it
    /// returns `None`.
    #[must_use]
    pub(crate) fn release(&self, cost: Cost) -> bool {
        self.used.fetch_sub(pack(cost), Ordering::SeqCst);
        // Either this sees the waiter, or the waiter sees the room: both have a fence between their write and their
        // read.
        fence(Ordering::SeqCst);
        self.is_low() && self.waiting() > 0
    }

    fn is_low(&self) -> bool {
        let used = self.used();
        used.messages <= self.low.messages && used.bytes <= self.low.bytes
    }

    /// Returns whether an item that has just joined the line may be admitted: no release may come after it.
    pub(crate) fn may_admit(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_low() || self.waiting() == 1
    }

    /// Moves all who wait to the line of another budget. No call may join either meanwhile. Waits for a thread that admits
    /// items here.
    #[cfg(feature = "spool")]
    pub(crate) fn transfer_waiters(&self, to: &Self) {
        let mut line = match self.line.lock() {
            Ok(line) => line,
            Err(poisoned) => poisoned.into_inner(),
        };
        self.gather(&mut line);
        line.retain(|waiter| waiter.waits());
        self.waiting.fetch_sub(line.len(), Ordering::SeqCst);
        to.waiting.fetch_add(line.len(), Ordering::SeqCst);
        line.drain(..).for_each(|waiter| to.arrivals.push(waiter));
    }

    /// Takes the waiting items that there is room for now out of the line, in their order. The caller passes them on and
    /// asks again, until there are none. Returns `None` while another thread admits items: that one asks again.
    pub(crate) fn admit(&self) -> Option<Admitted<'_, T>> {
        loop {
            self.asked.swap(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let mut line = self.try_lock()?;
            // Swapped, not only stored: what came before a note that is taken away here is seen below.
            self.asked.swap(false, Ordering::SeqCst);
            self.gather(&mut line);
            if self.is_closed() {
                line.drain(..).for_each(|waiter| waiter.waker.wake());
            }
            let mut admitted = Admitted {
                budget: self,
                items: Vec::new(),
                count: 0,
                waiters: Vec::new(),
                line,
            };
            if admitted.fill() {
                return Some(admitted);
            }
            drop(admitted);
            fence(Ordering::SeqCst);
            if !self.asked.load(Ordering::SeqCst) {
                return None;
            }
        }
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, VecDeque<Arc<Waiter<T>>>>> {
        match self.line.try_lock() {
            Ok(line) => Some(line),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Moves those who have joined into the line, and removes those who have left, if they are many.
    fn gather(&self, line: &mut VecDeque<Arc<Waiter<T>>>) {
        line.extend(std::iter::from_fn(|| self.arrivals.pop()));
        if line.len() > 2 * self.waiting() + MAX_LEFT {
            line.retain(|waiter| waiter.waits());
        }
    }

    /// Ready with `Ok` once the item was admitted, with the item once the budget is closed.
    pub(crate) fn poll_admitted(
        &self,
        waiter: &WaiterId<T>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), T>> {
        waiter.0.waker.register(cx.waker());
        if self.is_closed() {
            return Poll::Ready(match self.take_back(&waiter.0) {
                Some(item) => Err(item),
                None => Ok(()),
            });
        }
        match waiter.0.waits() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    /// Takes a waiting item out of the line; `None` where it was admitted before. A smaller item behind it may fit now: the
    /// caller calls [`Budget::admit`].
    pub(crate) fn withdraw(&self, waiter: &WaiterId<T>) -> Option<T> {
        self.take_back(&waiter.0)
    }

    fn take_back(&self, waiter: &Waiter<T>) -> Option<T> {
        let item = waiter.item.pop()?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(item)
    }

    /// Admits nothing more, and wakes all waiters: they get their items back.
    pub(crate) fn close(&self) {
        self.waiting.fetch_or(CLOSED, Ordering::SeqCst);
        // A closed budget admits nothing: this wakes them.
        drop(self.admit());
    }
}

impl<T> Waiter<T> {
    fn new(cost: Cost, item: T) -> Self {
        let place = ArrayQueue::new(1);
        // It is empty, so this succeeds.
        let _ = place.push(item);
        Self {
            cost,
            item: place,
            waker: AtomicWaker::new(),
        }
    }

    /// Returns whether the item is neither admitted nor taken back.
    fn waits(&self) -> bool {
        !self.item.is_empty()
    }
}

/// Items that were just admitted. While it lives, no later item is; its drop wakes the callers that waited.
#[derive(Debug)]
pub(crate) struct Admitted<'a, T> {
    budget: &'a Budget<T>,
    items: Vec<T>,
    /// The number of items at first.
    count: usize,
    waiters: Vec<Arc<Waiter<T>>>,
    line: MutexGuard<'a, VecDeque<Arc<Waiter<T>>>>,
}

impl<T> Admitted<'_, T> {
    /// Takes the items, in their order.
    pub(crate) fn take(&mut self) -> Vec<T> {
        mem::take(&mut self.items)
    }

    /// Takes items that there is room for out of the line. Returns whether there are any.
    fn fill(&mut self) -> bool {
        while let Some(front) = self.line.front() {
            if front.waits() {
                if self.budget.is_closed() || !self.budget.take(front.cost) {
                    break;
                }
                match front.item.pop() {
                    Some(item) => self.items.push(item),
                    // It was taken back just now.
                    None => {
                        _ = self
                            .budget
                            .used
                            .fetch_sub(pack(front.cost), Ordering::SeqCst)
                    }
                }
            }
            self.waiters.extend(self.line.pop_front());
        }
        self.count = self.items.len();
        self.count > 0
    }
}

impl<T> Drop for Admitted<'_, T> {
    fn drop(&mut self) {
        self.budget.waiting.fetch_sub(self.count, Ordering::SeqCst);
        self.waiters.iter().for_each(|waiter| waiter.waker.wake());
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

    fn waiting(reservation: Reservation<u32>) -> WaiterId<u32> {
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
        let cx = Context::from_waker(&waker);
        assert_eq!(b.poll_admitted(&large, &cx), Poll::Ready(Ok(())));
        assert_eq!(b.poll_admitted(&small, &cx), Poll::Ready(Ok(())));
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
        assert_eq!(b.withdraw(&large), Some(1));
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
        let cx = Context::from_waker(&waker);
        assert_eq!(b.poll_admitted(&waiter, &cx), Poll::Ready(Err(7)));
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
    fn a_thread_that_admits_others_holds_up_neither_a_release_nor_who_joins_or_leaves() {
        let b = budget(2, 100);
        assert!(b.try_take(Cost::one(1)) && b.try_take(Cost::one(1)));
        waiting(b.reserve(Cost::one(1), 1));
        assert!(b.release(Cost::one(1)));
        let admitting = b.admit().unwrap();
        // Everything below happens while the line is held.
        assert!(b.release(Cost::one(1)));
        assert!(b.admit().is_none());
        let leaves = waiting(b.reserve(Cost::one(1), 2));
        assert_eq!(b.withdraw(&leaves), Some(2));
        waiting(b.reserve(Cost::one(1), 3));
        drop(admitting);
        assert_eq!(admit(&b), [3]);
    }

    #[test]
    fn places_that_were_left_do_not_pile_up() {
        let b = budget(1, 100);
        assert!(b.try_take(Cost::one(1)));
        waiting(b.reserve(Cost::one(1), 0));
        for item in 1..1000 {
            let waiter = waiting(b.reserve(Cost::one(1), item));
            b.withdraw(&waiter).unwrap();
            assert!(admit(&b).is_empty());
        }
        assert_eq!(b.waiting(), 1);
        assert!(b.line.try_lock().unwrap().len() < 100);
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
            let mut queue: VecDeque<(u32, u64, WaiterId<u32>)> = VecDeque::new();
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
                            Reservation::Waiting(t) => {
                                queue.push_back((id, bytes, t));
                                if b.may_admit() {
                                    admitted = admit(&b);
                                }
                            }
                            Reservation::Closed(_) => unreachable!(),
                        }
                    }
                    Op::Release(i) if !held.is_empty() => {
                        let (_, bytes) = held.remove(i % held.len());
                        admitted = release(&b, Cost::one(bytes));
                    }
                    Op::Leave(i) if !queue.is_empty() => {
                        let (id, _, waiter) = queue.remove(i % queue.len()).unwrap();
                        prop_assert_eq!(b.withdraw(&waiter), Some(id));
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
