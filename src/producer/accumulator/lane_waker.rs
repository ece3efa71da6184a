//! Which lanes sleep, and which one is woken for new work.
//!
//! A lane with nothing to do sets its bit, looks at the queue once more, and [sleeps](super::sleeper). Whoever brings a
//! message puts it into the queue and then looks for a bit.
//!
//! The lane at the cursor is woken first, and while it is on its way, no other one is. It takes what is there as one run,
//! and then wakes the next lane if something is left. So there is one wake-up a run, not one a message, and a burst wakes
//! lanes one after the other. When its run has filled a packet, the cursor moves on. So a lost packet stalls the messages
//! of one lane, not some messages of each.

use super::sleeper::Sleeper;
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// The most lanes of one producer: one bit each.
pub(crate) const MAX_LANES: usize = 64;
/// The index of the lane of `send`, which is never scaled.
pub(crate) const ORDERED: usize = MAX_LANES;

/// The sleeping lanes of one producer.
#[derive(Debug)]
pub(crate) struct LaneWaker {
    /// Bit `i` is set while lane `i` sleeps and would take anything. Written by the lane.
    parked: AtomicU64,
    /// Bit `i` is set while lane `i` waits for a full batch. Written by the lane.
    lingering: AtomicU64,
    /// The lane to wake first.
    cursor: AtomicUsize,
    lanes: Box<[Sleeper]>,
}

impl LaneWaker {
    pub(crate) fn new() -> Self {
        Self::with(MAX_LANES)
    }

    pub(crate) fn with(lanes: usize) -> Self {
        Self {
            parked: AtomicU64::new(0),
            lingering: AtomicU64::new(0),
            cursor: AtomicUsize::new(0),
            lanes: (0..lanes).map(|_| Sleeper::new()).collect(),
        }
    }

    /// Wakes one lane for new work, unless one is on its way already or none sleeps. Called after the work is in the queue.
    #[inline]
    pub(crate) fn wake_one(&self) {
        let parked = self.parked.load(Ordering::SeqCst);
        if parked != 0 {
            self.wake_first(parked);
        }
    }

    fn wake_first(&self, parked: u64) {
        let from = self.cursor.load(Ordering::Relaxed) % MAX_LANES;
        let turned = (0..MAX_LANES).map(|step| (from + step) % MAX_LANES);
        let first = turned.into_iter().find(|&lane| parked & bit(lane) != 0);
        if let Some(lane) = first {
            self.lanes[lane].wake();
        }
    }

    /// Wakes this lane if it sleeps for want of work: there is some in a sub-queue of its own.
    pub(crate) fn wake_owner(&self, lane: usize) {
        self.lanes[lane].wake();
    }

    /// Tells this lane to look again, asleep or about to be.
    pub(crate) fn tell(&self, lane: usize) {
        self.lanes[lane].tell();
    }

    /// Tells every lane to look again.
    pub(crate) fn tell_all(&self) {
        self.lanes.iter().for_each(Sleeper::tell);
    }

    /// Waits until this lane is told to look again; returns at once where it was since the last call.
    pub(crate) async fn told(&self, lane: usize) {
        self.lanes[lane].told().await;
    }

    /// Waits until this lane has work that no other lane may take, or is told to look again.
    pub(crate) async fn sleep_for_own(&self, lane: usize, has_work: impl Fn() -> bool) {
        self.lanes[lane].sleep(has_work).await;
    }

    /// Waits until there is any work that this lane may take, or it is told to look again. The lane looks at the queue
    /// after it, and wakes another one if something is left.
    pub(crate) async fn sleep(&self, lane: usize, has_work: impl Fn() -> bool) {
        let _parked = Bit::set(&self.parked, lane);
        self.lanes[lane].sleep(has_work).await;
    }

    /// Waits until `is_full` holds; [`LaneWaker::filled`] makes the lane look.
    pub(crate) async fn linger(&self, lane: usize, is_full: impl Fn() -> bool) {
        let _lingers = Bit::set(&self.lingering, lane);
        while !is_full() {
            self.told(lane).await;
        }
    }

    /// Tells the lanes that wait for a full batch that there is one.
    pub(crate) fn filled(&self) {
        let lingering = self.lingering.load(Ordering::SeqCst);
        (0..MAX_LANES)
            .filter(|&lane| lingering & bit(lane) != 0)
            .for_each(|lane| self.tell(lane));
    }

    /// Makes the lane after this one the first to be woken.
    pub(crate) fn pass_on(&self, lane: usize) {
        self.cursor.store((lane + 1) % MAX_LANES, Ordering::Relaxed);
    }
}

const fn bit(lane: usize) -> u64 {
    1 << lane
}

/// A lane's bit, which is set while this lives.
struct Bit<'a> {
    word: &'a AtomicU64,
    bit: u64,
}

impl<'a> Bit<'a> {
    fn set(word: &'a AtomicU64, lane: usize) -> Self {
        let bit = bit(lane);
        word.fetch_or(bit, Ordering::SeqCst);
        Self { word, bit }
    }
}

impl Drop for Bit<'_> {
    fn drop(&mut self) {
        self.word.fetch_and(!self.bit, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Wake, Waker},
    };

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A lane that sleeps, and how often it was woken.
    struct Asleep<'a> {
        sleep: Pin<Box<dyn Future<Output = ()> + 'a>>,
        woken: Arc<Counter>,
    }

    impl<'a> Asleep<'a> {
        fn new(lanes: &'a LaneWaker, lane: usize) -> Self {
            let mut asleep = Self {
                sleep: Box::pin(lanes.sleep(lane, || false)),
                woken: Arc::default(),
            };
            assert!(asleep.poll().is_pending());
            asleep
        }

        fn poll(&mut self) -> std::task::Poll<()> {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.sleep.as_mut().poll(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn many_pushes_wake_one_lane_until_it_has_looked() {
        let lanes = LaneWaker::new();
        let (first, second) = (Asleep::new(&lanes, 0), Asleep::new(&lanes, 1));
        lanes.wake_one();
        lanes.wake_one();
        assert_eq!((first.woken(), second.woken()), (1, 0));
        drop(first);
        lanes.wake_one();
        assert_eq!(second.woken(), 1, "the first one does not sleep any more");
    }

    #[test]
    fn a_lane_that_found_nothing_is_woken_again() {
        let lanes = LaneWaker::new();
        let mut lane = Asleep::new(&lanes, 3);
        for woken in 1..4 {
            lanes.wake_one();
            assert_eq!(lane.woken(), woken);
            assert!(lane.poll().is_pending());
        }
    }

    #[test]
    fn the_turn_passes_round_all_lanes_that_fill_a_packet() {
        let lanes = LaneWaker::new();
        let mut order = Vec::new();
        for _ in 0..6 {
            let asleep = [0, 1, 5].map(|lane| (lane, Asleep::new(&lanes, lane)));
            lanes.wake_one();
            let woken = asleep.iter().find(|(_, asleep)| asleep.woken() > 0);
            let lane = woken.unwrap().0;
            lanes.pass_on(lane);
            order.push(lane);
        }
        assert_eq!(order, [0, 1, 5, 0, 1, 5]);
    }

    #[test]
    fn a_lane_that_has_not_filled_a_packet_keeps_the_turn() {
        let lanes = LaneWaker::new();
        for _ in 0..3 {
            let asleep = [0, 1].map(|lane| Asleep::new(&lanes, lane));
            lanes.wake_one();
            assert_eq!(asleep.map(|asleep| asleep.woken()), [1, 0]);
        }
    }

    #[test]
    fn who_lingers_is_told_of_a_full_batch() {
        let lanes = LaneWaker::new();
        let full = std::cell::Cell::new(false);
        let mut linger = Box::pin(lanes.linger(2, || full.get()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(linger.as_mut().poll(&mut cx).is_pending());
        full.set(true);
        lanes.filled();
        assert!(linger.as_mut().poll(&mut cx).is_ready());
    }
}
