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
#[path = "../../src/producer/accumulator/lane_waker.rs"]
mod lane_waker;
mod sync;

use std::{future::poll_fn, sync::Arc};

use budget::{Budget, Cost, Reservation};
use lane_waker::LaneWaker;
use loom::{
    future::block_on,
    model::Builder,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

fn check(name: &str, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.max_branches = 20_000;
    builder.check(model);
    println!("model {name} ... ok");
}

/// A lane as `LaneSource::wait` and `LaneSource::pull` have it: takes what there is, parks, looks once more, waits. Ends when
/// `total` have been taken by all lanes together.
fn lane(lane: usize, waker: &LaneWaker, work: &AtomicUsize, taken: &AtomicUsize, total: usize) {
    block_on(async {
        let mut searching = false;
        loop {
            let got = work.swap(0, Ordering::AcqRel);
            let all = taken.fetch_add(got, Ordering::AcqRel) + got;
            if std::mem::take(&mut searching) {
                waker.searched(|| work.load(Ordering::Relaxed) > 0);
            }
            if all == total {
                return;
            }
            waker.park(lane);
            // As in the queue: a look without a lock.
            if work.load(Ordering::Relaxed) == 0 {
                waker.wait(lane).await;
            }
            searching |= waker.unpark(lane);
        }
    });
}

fn push(waker: &LaneWaker, work: &AtomicUsize) {
    work.fetch_add(1, Ordering::Relaxed);
    waker.wake_one();
}

/// No push is slept over, whichever way it meets the lane that goes to sleep.
fn one_lane_and_two_pushers() {
    let waker = Arc::new(LaneWaker::new());
    let work = Arc::new(AtomicUsize::new(0));
    let taken = Arc::new(AtomicUsize::new(0));
    let pushers: Vec<_> = (0..2)
        .map(|_| {
            let (waker, work) = (Arc::clone(&waker), Arc::clone(&work));
            thread::spawn(move || push(&waker, &work))
        })
        .collect();
    lane(0, &waker, &work, &taken, 2);
    for pusher in pushers {
        pusher.join().unwrap();
    }
}

/// The message that a lane's own sub-queue gets wakes that lane.
fn a_lane_and_what_is_its_own() {
    let waker = Arc::new(LaneWaker::new());
    let own = Arc::new(AtomicUsize::new(0));
    let pusher = {
        let (waker, own) = (Arc::clone(&waker), Arc::clone(&own));
        thread::spawn(move || {
            own.fetch_add(1, Ordering::Relaxed);
            waker.wake_parked(5);
        })
    };
    block_on(async {
        while own.load(Ordering::Relaxed) == 0 {
            waker.park(5);
            if own.load(Ordering::Relaxed) == 0 {
                waker.wait(5).await;
            }
            if waker.unpark(5) {
                waker.searched(|| false);
            }
        }
    });
    pusher.join().unwrap();
}

/// So does one that comes to a lane which looks at nothing else, while other lanes are woken for what all share.
fn a_lane_that_waits_for_its_own_alone() {
    let waker = Arc::new(LaneWaker::new());
    let own = Arc::new(AtomicUsize::new(0));
    let pushers = [true, false].map(|is_own| {
        let (waker, own) = (Arc::clone(&waker), Arc::clone(&own));
        thread::spawn(move || {
            if is_own {
                own.fetch_add(1, Ordering::Relaxed);
                waker.wake_parked(5);
            } else {
                waker.wake_one();
            }
        })
    });
    block_on(async {
        while own.load(Ordering::Relaxed) == 0 {
            waker.park_for_own(5);
            if own.load(Ordering::Relaxed) == 0 {
                waker.wait(5).await;
            }
            waker.unpark_for_own(5);
        }
    });
    for pusher in pushers {
        pusher.join().unwrap();
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

/// Reserves room, waits for it if it must, and gives it back.
fn visit(budget: &Budget<u32>, item: u32) {
    let waiter = match budget.reserve(ONE, item) {
        Reservation::Granted(_) => None,
        Reservation::Waiting(waiter) => Some(waiter),
        Reservation::Closed(_) => unreachable!("nobody closes it"),
    };
    if let Some(waiter) = waiter {
        block_on(poll_fn(|cx| budget.poll_admitted(waiter, cx))).unwrap();
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
        Reservation::Waiting(waiter) => match budget.withdraw(waiter) {
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
    let order = Arc::new(loom::sync::Mutex::new(Vec::new()));
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
        if let Reservation::Granted(item) = budget.reserve(ONE, item) {
            order.lock().unwrap().push(item);
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
            let back = block_on(poll_fn(|cx| budget.poll_admitted(waiter, cx)));
            assert_eq!(back, Err(7));
        }
        Reservation::Closed(item) => assert_eq!(item, 7),
        Reservation::Granted(_) => panic!("there was no room"),
    }
    closer.join().unwrap();
    assert_eq!(budget.waiting(), 0);
}

fn main() {
    check("one lane and two pushers", one_lane_and_two_pushers);
    check("a lane and what is its own", a_lane_and_what_is_its_own);
    check(
        "a lane that waits for its own alone",
        a_lane_that_waits_for_its_own_alone,
    );
    check("a release and two who wait", a_release_and_two_who_wait);
    check("a release and one who leaves", a_release_and_one_who_leaves);
    check(
        "a release and two calls in their order",
        a_release_and_two_calls_in_their_order,
    );
    check("a close and one who waits", a_close_and_one_who_waits);
}
