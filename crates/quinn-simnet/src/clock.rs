//! Exact time: alarms to the nanosecond, and the driver that advances tokio's clock from one to the next.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

use crate::{
    tasks, time,
    timeline::{AlarmId, Step, Timeline, step},
};

/// The alarms of a run. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<Timeline<Waker>>>);

impl Clock {
    /// Returns a new alarm, not yet set.
    pub(crate) fn alarm(&self) -> Alarm {
        Alarm {
            id: self.timeline().alarm(),
            clock: self.clone(),
        }
    }

    /// Waits until exactly `deadline`; returns at once where it has passed.
    pub(crate) async fn sleep_until(&self, deadline: Instant) {
        let alarm = self.alarm();
        poll_fn(|cx| alarm.poll_at(deadline, cx)).await;
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline<Waker>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the timeline")
    }
}

/// One alarm of the clock. Dropping it clears it.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    id: AlarmId,
}

impl Alarm {
    /// Sets the alarm to wake `waker` at `at`, in place of its former time; wakes it at once where `at` has passed.
    pub(crate) fn set(&self, at: Instant, waker: Waker) {
        if at <= time::now() {
            self.clear();
            waker.wake();
        } else {
            self.clock.timeline().set(self.id, at, waker);
        }
    }

    /// Unsets the alarm.
    pub(crate) fn clear(&self) {
        self.clock.timeline().clear(self.id);
    }

    /// Returns `Ready` from `deadline` on; sets the alarm before that.
    pub(crate) fn poll_at(&self, deadline: Instant, cx: &Context<'_>) -> Poll<()> {
        if time::now() >= deadline {
            self.clear();
            Poll::Ready(())
        } else {
            self.clock
                .timeline()
                .set(self.id, deadline, cx.waker().clone());
            Poll::Pending
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Advances tokio's paused clock when no task can run; [`crate::timeline`] decides how far.
pub(crate) struct ClockDriver {
    clock: Clock,
    /// The time from which tokio counts the milliseconds of its timers.
    origin: Instant,
    /// A timer that keeps tokio from advancing its clock past its deadline. It wakes no task.
    stop: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for ClockDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockDriver").finish_non_exhaustive()
    }
}

impl ClockDriver {
    /// Must be called on the runtime that it drives, before that runtime's clock has advanced.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            origin: time::now(),
            stop: Mutex::default(),
        }
    }

    /// Must be called when every task waits, before the runtime parks its thread.
    pub(crate) fn on_idle(&self) {
        let now = time::now();
        let next = self.clock.timeline().next();
        match step(self.origin, now, next) {
            Step::Fire(by) => {
                advance(by);
                self.fire(now + by);
                // A waker whose task has ended wakes nothing; tokio would then park, and advance its clock. An empty
                // task makes it call this function again.
                tasks::spawn(async {});
            }
            Step::ToGrid(by) => {
                advance(by);
                self.stop_at(Some(now + by));
            }
            Step::Tokio(stop) => self.stop_at(stop),
        }
    }

    /// Drops the driver's timer. The runtime cannot be freed before that.
    pub(crate) fn release(&self) {
        self.stop_at(None);
    }

    fn fire(&self, now: Instant) {
        loop {
            // A `while let` would hold the lock while it wakes.
            let due = self.clock.timeline().poll_due(now);
            match due {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    fn stop_at(&self, at: Option<Instant>) {
        let mut stop = self
            .stop
            .lock()
            .expect("nothing panics while it holds the stop");
        let Some(at) = at else {
            *stop = None;
            return;
        };
        let sleep = stop.get_or_insert_with(|| Box::pin(time::until(at)));
        sleep.as_mut().reset(at.into());
        // The first poll registers it with tokio.
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// Advances tokio's clock, which must be paused.
fn advance(by: Duration) {
    if !by.is_zero() {
        // The first poll advances the clock; the rest of the future would only yield.
        let _ = pin!(tokio::time::advance(by)).poll(&mut Context::from_waker(Waker::noop()));
    }
}
