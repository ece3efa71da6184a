//! Exact time: alarms to the nanosecond, and the hook that moves tokio's clock from one to the next.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

use super::timeline::{AlarmId, Step, Timeline, step};
use tokio_util::task::TaskTracker;

use crate::time;

/// Where alarms are set. All clones are the same clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock(Arc<Mutex<Timeline<Waker>>>);

impl Clock {
    /// A new alarm, not yet set.
    pub(super) fn alarm(&self) -> Alarm {
        Alarm {
            id: self.timeline().alarm(),
            clock: self.clone(),
        }
    }

    /// Waits until exactly `deadline`; not at all where it has passed.
    pub(super) async fn sleep_until(&self, deadline: Instant) {
        let alarm = self.alarm();
        poll_fn(|cx| alarm.poll_at(deadline, cx)).await;
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline<Waker>> {
        self.0
            .lock()
            .expect("nothing panics while it holds the timeline")
    }
}

/// One alarm of the clock. It is forgotten when it is dropped.
#[derive(Debug)]
pub(super) struct Alarm {
    clock: Clock,
    id: AlarmId,
}

impl Alarm {
    /// Wakes `whom` at `at`, and at no other time it was set to before; at once where `at` has passed.
    pub(super) fn set(&self, at: Instant, whom: Waker) {
        if at <= time::now() {
            self.clear();
            whom.wake();
        } else {
            self.clock.timeline().set(self.id, at, whom);
        }
    }

    /// Wakes nobody.
    pub(super) fn clear(&self) {
        self.clock.timeline().clear(self.id);
    }

    /// Ready from `deadline` on; sets the alarm until then.
    pub(super) fn poll_at(&self, deadline: Instant, cx: &Context<'_>) -> Poll<()> {
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

/// Moves tokio's paused clock whenever no task can run. See [`super::timeline`] for how.
pub(super) struct Pace {
    clock: Clock,
    tasks: TaskTracker,
    /// The point from which tokio counts its grid.
    origin: Instant,
    /// Keeps tokio from advancing its clock beyond a point of the grid. It wakes nobody.
    stop: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}

impl Pace {
    /// To be made on the runtime that it is for, before its clock has moved.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            tasks: TaskTracker::new(),
            origin: time::now(),
            stop: Mutex::default(),
        }
    }

    /// To be called when every task waits, before the runtime's thread would park.
    pub(super) fn on_idle(&self) {
        let now = time::now();
        let next = self.clock.timeline().next();
        match step(self.origin, now, next) {
            Step::Ring(by) => {
                advance(by);
                self.ring(now + by);
                // A waker whose task has ended wakes nobody. A task that does nothing brings tokio back here,
                // where it would otherwise park and advance its clock.
                self.tasks.spawn(async {});
            }
            Step::ToGrid(by) => {
                advance(by);
                self.stop_at(Some(now + by));
            }
            Step::Tokio(stop) => self.stop_at(stop),
        }
    }

    /// Takes the hands off the clock. Until then the runtime that it moves cannot be freed.
    pub(super) fn release(&self) {
        self.stop_at(None);
    }

    fn ring(&self, now: Instant) {
        loop {
            // Not in the condition of a `while let`: it would hold the lock while waking.
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
        // Polled once, it stands in tokio's wheel.
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// Moves tokio's clock, which must be paused.
fn advance(by: Duration) {
    if !by.is_zero() {
        // The clock moves in the first poll; what follows would only yield.
        let _ = pin!(tokio::time::advance(by)).poll(&mut Context::from_waker(Waker::noop()));
    }
}
