//! A task that sleeps until there is work, or until it is told to look again. Whoever wakes it takes no lock.
//!
//! Work is never carried by a wake-up: the task looks for it after it has left its waker, and whoever brings work looks for
//! a sleeping task after the work is in its place. So at least one of the two sees the other.
//!
//! A thread that wakes the task notes that only afterwards. If it is stopped before, others wake the task as well.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use crate::sync::{AtomicBool, AtomicU64, AtomicWaker, Ordering};

/// The value of [`Sleeper::asleep`] while there is no task to wake.
const AWAKE: u64 = 0;

/// Where one task sleeps.
#[derive(Debug)]
pub(crate) struct Sleeper {
    waker: AtomicWaker,
    /// The task is to look again, whether or not there is work. Set by [`Sleeper::tell`], cleared by the task.
    told: AtomicBool,
    /// The number of the present sleep; [`AWAKE`] if the task does not sleep or was woken already.
    asleep: AtomicU64,
    /// The number of sleeps so far. Written by the task.
    sleeps: AtomicU64,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Self {
            waker: AtomicWaker::new(),
            told: AtomicBool::new(false),
            asleep: AtomicU64::new(AWAKE),
            sleeps: AtomicU64::new(0),
        }
    }

    /// Wakes the task if it sleeps for want of work. Called after the work is where the task looks for it.
    #[inline]
    pub(crate) fn wake(&self) {
        let sleep = self.asleep.load(Ordering::SeqCst);
        if sleep != AWAKE {
            self.wake_from(sleep);
        }
    }

    #[cold]
    fn wake_from(&self, sleep: u64) {
        self.waker.wake();
        // If this comes late, it is about an earlier sleep and changes nothing.
        let _ = self
            .asleep
            .compare_exchange(sleep, AWAKE, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Tells the task to look again, whether it sleeps or not: then its next sleep ends at once.
    pub(crate) fn tell(&self) {
        self.told.swap(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Waits until the task is told to look again.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn told(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            self.is_told()
        })
        .await;
    }

    /// Waits until there is work or the task is told to look again.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn sleep(&self, has_work: impl Fn() -> bool) {
        let _awake = Awake(self);
        poll_fn(|cx| self.poll_sleep(cx, &has_work)).await;
    }

    fn poll_sleep(&self, cx: &Context<'_>, has_work: impl Fn() -> bool) -> Poll<()> {
        self.waker.register(cx.waker());
        // Each poll is a sleep of its own: who was woken and found nothing is woken again.
        let sleep = self.sleeps.fetch_add(1, Ordering::SeqCst) + 1;
        self.asleep.swap(sleep, Ordering::SeqCst);
        match self.is_told() {
            Poll::Pending if has_work() => Poll::Ready(()),
            told => told,
        }
    }

    fn is_told(&self) -> Poll<()> {
        match self.told.swap(false, Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// Ends a sleep when it is dropped.
struct Awake<'a>(&'a Sleeper);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.asleep.swap(AWAKE, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, poll};

    use super::*;

    #[tokio::test]
    async fn a_task_sleeps_until_there_is_work_or_it_is_told() {
        let sleeper = Sleeper::new();
        assert!(sleeper.sleep(|| true).now_or_never().is_some());
        let mut sleep = pin!(sleeper.sleep(|| false));
        assert!(poll!(&mut sleep).is_pending());
        sleeper.wake();
        assert!(poll!(&mut sleep).is_pending(), "there is no work");
        sleeper.tell();
        assert!(poll!(&mut sleep).is_ready());
        assert!(sleeper.told().now_or_never().is_none());
        sleeper.tell();
        assert!(sleeper.told().now_or_never().is_some());
    }
}
