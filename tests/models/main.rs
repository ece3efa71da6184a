//! Every way in which a few threads can meet in the files that park and wake, by [loom](https://docs.rs/loom): a wake-up
//! that is lost in any of them is a deadlock there, and ends this with the way to it.
//!
//! The files are the library's own, compiled here once more with loom's atomics, locks and fences in `sync`. That is why
//! this has no test harness: with one, their own tests would come along.
//!
//! `LOOM_MAX_PREEMPTIONS=4 cargo test --all-features --test models` looks deeper; `LOOM_LOG=1` tells what happens.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "a test may panic and start threads, and does not use all there is"
)]

#[path = "../../src/producer/accumulator/budget.rs"]
mod budget;
#[path = "../../src/producer/accumulator/flush_epochs.rs"]
mod flush_epochs;
#[path = "../../src/producer/accumulator/hand_over.rs"]
mod hand_over;
#[path = "../../src/producer/accumulator/key_shards.rs"]
mod key_shards;
#[path = "../../src/producer/accumulator/lane_waker.rs"]
mod lane_waker;
#[path = "../../src/producer/accumulator/sleeper.rs"]
mod sleeper;
mod sync;
#[path = "../../src/producer/waiters.rs"]
mod waiters;

use std::{future::poll_fn, sync::Arc, task::Poll};

use budget::{Budget, Cost, Reservation};
use flush_epochs::FlushEpochs;
use hand_over::HandOver;
use key_shards::{KeyShards, OwnedShards, Wake};
use lane_waker::LaneWaker;
use loom::{
    future::block_on,
    model::Builder,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use waiters::Waiters;

fn check(name: &str, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = 20_000;
    builder.check(model);
    println!("model {name} ... ok");
}

/// The queue of messages without a key, with places for one thread.
struct Plain {
    queue: HandOver<Vec<u32>, Vec<u32>>,
    waker: LaneWaker,
    taken: Mutex<Vec<u32>>,
}

impl Plain {
    fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: HandOver::new(1),
            waker: LaneWaker::with(lanes),
            taken: Mutex::new(Vec::new()),
        })
    }

    /// As `Queue::push_plain`, where a chunk holds one message.
    fn push(&self, message: u32) {
        let mut begun = self.queue.take_out(0).unwrap_or_default();
        if !begun.is_empty() {
            self.queue.push_full(begun);
            self.waker.wake_one();
            begun = Vec::new();
        }
        begun.push(message);
        if let Err(begun) = self.queue.put_back(0, begun) {
            self.queue.push_full(begun);
        }
        self.waker.wake_one();
    }

    /// As `Queue::pop_plain` and `QueueReader`: takes what there is and sleeps, until all lanes together have `total`.
    fn lane(&self, lane: usize, total: usize) {
        block_on(async {
            loop {
                let begun = || self.queue.pop_begun().map(|(_, begun)| begun);
                let got = self.queue.pop_full().or_else(begun);
                let all = {
                    let mut taken = self.taken.lock().unwrap();
                    taken.extend(got.iter().flatten());
                    taken.len()
                };
                if all == total {
                    // The others are to end too.
                    return self.waker.tell_all();
                }
                if got.is_none() {
                    self.waker.sleep(lane, || self.queue.has_any()).await;
                } else if self.queue.has_any() {
                    self.waker.wake_one();
                }
            }
        });
    }
}

/// Nothing is lost and no push is slept over, whichever way it meets the lane and another push to its place.
fn one_lane_and_two_senders_at_one_place() {
    let plain = Plain::new(1);
    let senders: Vec<_> = [1, 2]
        .map(|message| {
            let plain = Arc::clone(&plain);
            thread::spawn(move || plain.push(message))
        })
        .into_iter()
        .collect();
    plain.lane(0, 2);
    for sender in senders {
        sender.join().unwrap();
    }
    let mut taken = plain.taken.lock().unwrap().clone();
    taken.sort_unstable();
    assert_eq!(taken, [1, 2]);
}

/// A lane that takes a part wakes another one for the rest. The sender is the first lane afterwards.
fn two_lanes_and_a_sender() {
    let plain = Plain::new(2);
    let lane = {
        let plain = Arc::clone(&plain);
        thread::spawn(move || plain.lane(1, 2))
    };
    [1, 2].into_iter().for_each(|message| plain.push(message));
    plain.lane(0, 2);
    lane.join().unwrap();
}

/// A sub-queue, and what was taken from it.
struct Keyed {
    keys: KeyShards<u32>,
    waker: LaneWaker,
    taken: Mutex<Vec<u32>>,
    /// Whether a lane is between taking a message and its answer.
    busy: AtomicBool,
}

impl Keyed {
    fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self {
            keys: KeyShards::with(1),
            waker: LaneWaker::with(lanes),
            taken: Mutex::new(Vec::new()),
            busy: AtomicBool::new(false),
        })
    }

    fn wake(&self, wake: Wake) {
        match wake {
            Wake::Any => self.waker.wake_one(),
            Wake::Owner(lane) => self.waker.wake_owner(lane),
        }
    }

    fn push(&self, message: u32) {
        self.keys.push(0, message);
        self.keys.announce(0, |wake| self.wake(wake));
    }

    /// Takes what there is, answers it and sleeps, until all lanes together have `total`.
    fn lane(&self, lane: usize, total: usize) {
        let mut owned = OwnedShards::default();
        block_on(async {
            loop {
                owned.release_idle(&self.keys, |wake| self.wake(wake));
                owned.own_next(&self.keys, lane);
                if let Some((_, message)) = owned.pop(&self.keys) {
                    assert!(!self.busy.swap(true, Ordering::AcqRel), "two owners");
                    self.taken.lock().unwrap().push(message);
                    self.busy.store(false, Ordering::Release);
                    self.keys.answered(0, 1);
                }
                if self.taken.lock().unwrap().len() == total {
                    return self.waker.tell_all();
                }
                let has_work = || self.keys.has_scheduled() || owned.has_work(&self.keys);
                if !has_work() {
                    self.waker.sleep(lane, has_work).await;
                }
            }
        });
    }
}

/// Two messages of one key from two threads reach the lane, whoever schedules the sub-queue.
fn one_lane_and_two_senders_of_one_key() {
    let keyed = Keyed::new(1);
    let senders = [1, 2].map(|message| {
        let keyed = Arc::clone(&keyed);
        thread::spawn(move || keyed.push(message))
    });
    keyed.lane(0, 2);
    for sender in senders {
        sender.join().unwrap();
    }
}

/// The messages of a key stay in their order while the sub-queue goes from one lane to another.
fn two_lanes_and_a_sender_of_one_key() {
    let keyed = Keyed::new(2);
    let lane = {
        let keyed = Arc::clone(&keyed);
        thread::spawn(move || keyed.lane(1, 2))
    };
    [1, 2].into_iter().for_each(|message| keyed.push(message));
    keyed.lane(0, 2);
    lane.join().unwrap();
    assert_eq!(*keyed.taken.lock().unwrap(), [1, 2]);
}

/// A flush waits for a message whose call returned before it began, and ends.
fn a_flush_and_a_call() {
    let epochs = Arc::new(FlushEpochs::new());
    let (accepted, resolved) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let caller = {
        let (epochs, accepted) = (Arc::clone(&epochs), Arc::clone(&accepted));
        let resolved = Arc::clone(&resolved);
        thread::spawn(move || {
            let epoch = epochs.begin();
            accepted.store(true, Ordering::Release);
            resolved.store(true, Ordering::Release);
            epochs.resolved(epoch, 1);
        })
    };
    let before = accepted.load(Ordering::Acquire);
    block_on(epochs.flush());
    if before {
        assert!(resolved.load(Ordering::Acquire));
    }
    block_on(epochs.flush());
    caller.join().unwrap();
}

/// An outcome and receipts that begin to wait for it.
fn an_outcome_and_who_waits(make: impl Fn() -> Waiters, receipts: usize) {
    let waiters = Arc::new(make());
    let outcome = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..receipts)
        .map(|_| {
            let (waiters, outcome) = (Arc::clone(&waiters), Arc::clone(&outcome));
            thread::spawn(move || {
                let mut place = None;
                block_on(poll_fn(|cx| {
                    waiters.register(&mut place, cx.waker());
                    match outcome.load(Ordering::Relaxed) {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                }));
            })
        })
        .collect();
    outcome.store(true, Ordering::Relaxed);
    waiters.wake_all();
    for thread in threads {
        thread.join().unwrap();
    }
}

const ONE: Cost = Cost::one(1);

fn room_for_one() -> Arc<Budget<u32>> {
    let budget = Arc::new(Budget::new(Cost {
        messages: 1,
        bytes: 10,
    }));
    assert!(budget.try_take(ONE));
    budget
}

/// Gives `cost` back, and passes on what that admits, as the accumulator does.
fn release(budget: &Budget<u32>, cost: Cost, pass_on: impl FnMut(u32)) {
    if budget.release(cost) {
        admit(budget, pass_on);
    }
}

fn admit(budget: &Budget<u32>, mut pass_on: impl FnMut(u32)) {
    while let Some(mut admitted) = budget.admit() {
        admitted.take().into_iter().for_each(&mut pass_on);
    }
}

/// What a call does that has just joined the line.
fn joined(budget: &Budget<u32>) {
    if budget.may_admit() {
        admit(budget, |_| ());
    }
}

/// Reserves room, waits for it if it must, and gives it back.
fn visit(budget: &Budget<u32>, item: u32) {
    let waiter = match budget.reserve(ONE, item) {
        Reservation::Granted(_) => None,
        Reservation::Waiting(waiter) => Some(waiter),
        Reservation::Closed(_) => unreachable!("nobody closes it"),
    };
    if let Some(waiter) = waiter {
        joined(budget);
        block_on(poll_fn(|cx| budget.poll_admitted(&waiter, cx))).unwrap();
    }
    release(budget, ONE, |_| ());
}

/// Every waiter gets its room, however the release and the wait meet.
fn a_release_and_two_who_wait() {
    let budget = room_for_one();
    let waiter = {
        let budget = Arc::clone(&budget);
        thread::spawn(move || visit(&budget, 1))
    };
    let releaser = {
        let budget = Arc::clone(&budget);
        thread::spawn(move || release(&budget, ONE, |_| ()))
    };
    visit(&budget, 2);
    waiter.join().unwrap();
    releaser.join().unwrap();
    assert_eq!(budget.used(), Cost::default());
    assert_eq!(budget.waiting(), 0);
}

/// One who gives up while room is made leaves the budget whole, whether it was let in or not.
fn a_release_and_one_who_leaves() {
    let budget = room_for_one();
    let releaser = {
        let budget = Arc::clone(&budget);
        thread::spawn(move || release(&budget, ONE, |_| ()))
    };
    match budget.reserve(ONE, 7) {
        Reservation::Granted(_) => release(&budget, ONE, |_| ()),
        Reservation::Waiting(waiter) => match budget.withdraw(&waiter) {
            Some(item) => {
                assert_eq!(item, 7);
                admit(&budget, |_| ());
            }
            None => release(&budget, ONE, |_| ()),
        },
        Reservation::Closed(_) => unreachable!("nobody closes it"),
    }
    releaser.join().unwrap();
    assert_eq!(budget.used(), Cost::default());
    assert_eq!(budget.waiting(), 0);
}

/// A call that waits is passed on before a later call of the same task gets in, however the release meets the two.
fn a_release_and_two_calls_in_their_order() {
    let budget = Arc::new(Budget::new(Cost {
        messages: 2,
        bytes: 10,
    }));
    assert!(budget.try_take(ONE) && budget.try_take(ONE));
    let order = Arc::new(Mutex::new(Vec::new()));
    let releaser = {
        let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
        thread::spawn(move || {
            let both = Cost {
                messages: 2,
                bytes: 2,
            };
            release(&budget, both, |item| order.lock().unwrap().push(item));
        })
    };
    for item in [1, 2] {
        match budget.reserve(ONE, item) {
            Reservation::Granted(item) => order.lock().unwrap().push(item),
            _ if budget.may_admit() => admit(&budget, |item| order.lock().unwrap().push(item)),
            _ => {}
        }
    }
    releaser.join().unwrap();
    let order = order.lock().unwrap();
    assert!(order.is_sorted(), "{order:?}");
}

/// Every waiter learns of the end.
fn a_close_and_one_who_waits() {
    let budget = room_for_one();
    let closer = {
        let budget = Arc::clone(&budget);
        thread::spawn(move || budget.close())
    };
    match budget.reserve(ONE, 7) {
        Reservation::Waiting(waiter) => {
            joined(&budget);
            let back = block_on(poll_fn(|cx| budget.poll_admitted(&waiter, cx)));
            assert_eq!(back, Err(7));
        }
        Reservation::Closed(item) => assert_eq!(item, 7),
        Reservation::Granted(_) => panic!("there was no room"),
    }
    closer.join().unwrap();
    assert_eq!(budget.waiting(), 0);
}

fn main() {
    check(
        "one lane and two senders at one place",
        one_lane_and_two_senders_at_one_place,
    );
    check("two lanes and a sender", two_lanes_and_a_sender);
    check(
        "one lane and two senders of one key",
        one_lane_and_two_senders_of_one_key,
    );
    check(
        "two lanes and a sender of one key",
        two_lanes_and_a_sender_of_one_key,
    );
    check("a flush and a call", a_flush_and_a_call);
    check("an outcome and its one receipt", || {
        an_outcome_and_who_waits(Waiters::one, 1);
    });
    check("an outcome and two receipts", || {
        an_outcome_and_who_waits(Waiters::many, 2);
    });
    check("a release and two who wait", a_release_and_two_who_wait);
    check("a release and one who leaves", a_release_and_one_who_leaves);
    check(
        "a release and two calls in their order",
        a_release_and_two_calls_in_their_order,
    );
    check("a close and one who waits", a_close_and_one_who_waits);
}
