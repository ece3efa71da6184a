//! Which lanes sleep, and which one is woken for new work.
//!
//! A lane with nothing to do sets its bit, looks at the queue once more, and waits. A push clears the bit of one lane and
//! wakes it. Both sides have a fence between their write and their read, so at least one of them sees the other.
//!
//! At most one woken lane is on its way at a time (the *searcher*, as in tokio's scheduler). While it is, further pushes
//! wake no lane. It takes what is there as one run, and then wakes the next lane if something is left. So there is one
//! wake-up a run, not one a message, and a burst wakes lanes one after the other.
//!
//! The lane at the cursor is woken first. When its run has filled a packet, the cursor moves on. So a lost packet stalls
//! the messages of one lane, not some messages of each.

use std::array;

use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Notify, Ordering, fence};

/// The most lanes of one producer: one bit each.
pub(crate) const MAX_LANES: usize = 64;
/// The index of the lane of `send`, which is never scaled.
pub(crate) const ORDERED: usize = MAX_LANES;

/// The sleeping lanes of one producer.
#[derive(Debug)]
pub(crate) struct LaneWaker {
    /// Bit `i` is set by lane `i` before it waits, and cleared by a waker or by the lane.
    parked: AtomicU64,
    /// Bit `i` is set by lane `i` before it waits for messages of its own sub-queues alone.
    parked_for_own: AtomicU64,
    /// A woken lane has not yet looked at the queue.
    searching: AtomicBool,
    /// The lane to wake first.
    cursor: AtomicUsize,
    notifies: [Notify; MAX_LANES],
}

impl LaneWaker {
    pub(crate) fn new() -> Self {
        Self {
            parked: AtomicU64::new(0),
            parked_for_own: AtomicU64::new(0),
            searching: AtomicBool::new(false),
            cursor: AtomicUsize::new(0),
            notifies: array::from_fn(|_| Notify::new()),
        }
    }

    /// Wakes one lane for new work, unless one is on its way already or none sleeps.
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        loop {
            if self.parked.load(Ordering::Relaxed) == 0
                || self.searching.load(Ordering::Relaxed)
                || self.searching.swap(true, Ordering::SeqCst)
            {
                return;
            }
            if let Some(lane) = self.take_parked() {
                self.notifies[lane].notify_one();
                return;
            }
            // No lane was left to wake. A push that saw the mark above has woken none either, so look again.
            self.searching.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        }
    }

    fn take_parked(&self) -> Option<usize> {
        loop {
            let mask = self.parked.load(Ordering::SeqCst);
            let from = self.cursor.load(Ordering::Relaxed) % MAX_LANES;
            let turned = mask.rotate_right(u32::try_from(from).ok()?);
            if turned == 0 {
                return None;
            }
            let lane = (from + usize::try_from(turned.trailing_zeros()).ok()?) % MAX_LANES;
            if self.clear(lane) {
                return Some(lane);
            }
        }
    }

    fn clear(&self, lane: usize) -> bool {
        let bit = 1 << lane;
        self.parked.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// Wakes this lane, asleep or about to be.
    pub(crate) fn wake(&self, lane: usize) {
        self.clear(lane);
        self.notifies[lane].notify_one();
    }

    /// Wakes this lane if it sleeps. A lane that does not will look by itself.
    pub(crate) fn wake_parked(&self, lane: usize) {
        fence(Ordering::SeqCst);
        let bit = 1 << lane;
        if self.parked.load(Ordering::Relaxed) & bit != 0 && self.clear(lane)
            || self.parked_for_own.load(Ordering::Relaxed) & bit != 0
                && self.parked_for_own.fetch_and(!bit, Ordering::SeqCst) & bit != 0
        {
            self.notifies[lane].notify_one();
        }
    }

    /// Marks a lane that is about to wait. It must look for work once more after this call.
    pub(crate) fn park(&self, lane: usize) {
        self.parked.fetch_or(1 << lane, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Marks a lane that is about to wait for messages of its own sub-queues alone.
    pub(crate) fn park_for_own(&self, lane: usize) {
        self.parked_for_own.fetch_or(1 << lane, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Clears the mark of [`park_for_own`](Self::park_for_own).
    pub(crate) fn unpark_for_own(&self, lane: usize) {
        self.parked_for_own
            .fetch_and(!(1 << lane), Ordering::SeqCst);
    }

    /// Waits until this lane is woken; returns at once where it was since the last call.
    pub(crate) async fn wait(&self, lane: usize) {
        self.notifies[lane].notified().await;
    }

    /// Clears the mark of [`park`](Self::park). Returns whether the lane was chosen as the searcher, or may have
    /// been: then it must call [`LaneWaker::searched`] after it looked at the queue.
    pub(crate) fn unpark(&self, lane: usize) -> bool {
        !self.clear(lane)
    }

    /// Ends the search of a lane that has looked at the queue. `more` returns whether something is left in it.
    pub(crate) fn searched(&self, more: impl Fn() -> bool) {
        self.searching.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if more() {
            self.wake_one();
        }
    }

    /// Makes the lane after this one the first to be woken.
    pub(crate) fn pass_on(&self, lane: usize) {
        self.cursor.store((lane + 1) % MAX_LANES, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn woken(waker: &LaneWaker) -> Vec<usize> {
        (0..MAX_LANES)
            .filter(|&l| waker.wait(l).now_or_never().is_some())
            .collect()
    }

    #[test]
    fn many_pushes_wake_one_lane_until_it_has_looked() {
        let p = LaneWaker::new();
        p.park(0);
        p.park(1);
        p.wake_one();
        p.wake_one();
        assert_eq!(woken(&p), [0]);
        assert!(p.unpark(0));
        p.searched(|| true);
        assert_eq!(woken(&p), [1]);
    }

    #[test]
    fn the_turn_passes_round_all_lanes() {
        let p = LaneWaker::new();
        let mut order = Vec::new();
        for _ in 0..6 {
            for lane in [0, 1, 5] {
                p.park(lane);
            }
            p.wake_one();
            let lane = woken(&p)[0];
            p.pass_on(lane);
            p.searched(|| false);
            order.push(lane);
        }
        assert_eq!(order, [0, 1, 5, 0, 1, 5]);
    }

    #[test]
    fn a_lane_that_has_not_filled_a_packet_keeps_the_turn() {
        let p = LaneWaker::new();
        for _ in 0..3 {
            p.park(0);
            p.park(1);
            p.wake_one();
            assert_eq!(woken(&p), [0]);
            p.searched(|| false);
        }
    }

    #[test]
    fn a_lane_that_wakes_by_itself_is_not_woken_by_a_push() {
        let p = LaneWaker::new();
        p.park(3);
        assert!(!p.unpark(3));
        p.wake_one();
        assert!(woken(&p).is_empty());
        p.park(3);
        p.wake_one();
        assert_eq!(
            woken(&p),
            [3],
            "the mark of a search that found nobody is gone"
        );
    }
}
