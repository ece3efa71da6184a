//! Sans-I/O: the alarms of a run, and how the clock gets to the next one.
//!
//! Tokio's paused clock advances by itself when no task can run. But tokio rounds its timers up to a grid of whole
//! milliseconds, counted from the start of the runtime. So the simulation keeps its exact alarms here, and advances the
//! clock itself up to the next point of the grid, where tokio takes over:
//!
//! ```text
//! tokio's grid     |                 |                 |                 |
//! exact alarms     |   *   *         |                 |        *        |
//! the clock        |──▶|──▶|────────▶|────────────────▶|───────▶|
//!                    Fire   ToGrid     Tokio             Fire
//! ```
//!
//! The clock does not leave a point of the grid before tokio's timers there have fired, and does not skip an alarm.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// The grid of tokio's timers.
const GRID: Duration = Duration::from_millis(1);

/// The identity of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AlarmId(u64);

/// The alarms that are set: at most one time for each, and the waker `W` to be woken then.
#[derive(Debug)]
pub(crate) struct Timeline<W> {
    next_id: u64,
    times: HashMap<AlarmId, Instant>,
    /// Alarms of the same time fire in the order of their creation.
    queue: BTreeMap<(Instant, AlarmId), W>,
}

impl<W> Default for Timeline<W> {
    fn default() -> Self {
        Self {
            next_id: 0,
            times: HashMap::new(),
            queue: BTreeMap::new(),
        }
    }
}

impl<W> Timeline<W> {
    /// Returns the identity of a new alarm, not yet set.
    pub(crate) fn alarm(&mut self) -> AlarmId {
        self.next_id += 1;
        AlarmId(self.next_id)
    }

    /// Sets the alarm, in place of its former time.
    pub(crate) fn set(&mut self, id: AlarmId, at: Instant, waker: W) {
        match self.times.insert(id, at) {
            Some(before) if before != at => {
                self.queue.remove(&(before, id));
            }
            _ => {}
        }
        self.queue.insert((at, id), waker);
    }

    /// Unsets the alarm.
    pub(crate) fn clear(&mut self, id: AlarmId) {
        if let Some(at) = self.times.remove(&id) {
            self.queue.remove(&(at, id));
        }
    }

    /// Returns the time of the next alarm.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes the next alarm that is due at `now`, and returns its waker.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Option<W> {
        if self.next()? > now {
            return None;
        }
        let ((_, id), waker) = self.queue.pop_first()?;
        self.times.remove(&id);
        Some(waker)
    }
}

/// The next step of the clock when no task can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Advance the clock by this time, which may be zero, then fire the alarms that are due.
    Fire(Duration),
    /// Advance the clock by this time to a point of the grid, and let tokio fire its timers there.
    ToGrid(Duration),
    /// Let tokio advance the clock, but not past this point of the grid.
    Tokio(Option<Instant>),
}

/// Returns the step at `now`, with the grid counted from `origin` and the next alarm at `next`.
pub(crate) fn step(origin: Instant, now: Instant, next: Option<Instant>) -> Step {
    let off_grid = off_grid(now.saturating_duration_since(origin));
    let to_grid = GRID.saturating_sub(off_grid);
    match next {
        Some(at) if at < now + to_grid => Step::Fire(at.saturating_duration_since(now)),
        _ if !off_grid.is_zero() => Step::ToGrid(to_grid),
        next => Step::Tokio(next.map(|at| {
            let time = at.saturating_duration_since(origin);
            at.checked_sub(self::off_grid(time)).unwrap_or(at)
        })),
    }
}

/// Returns the time since the last point of the grid.
fn off_grid(time: Duration) -> Duration {
    Duration::from_nanos(u64::from(time.subsec_nanos()) % 1_000_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

    use proptest::prelude::*;

    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    fn step_at(now: u32, next: Option<u32>) -> Step {
        let origin = Instant::now();
        step(
            origin,
            origin + MICRO * now,
            next.map(|at| origin + MICRO * at),
        )
    }

    #[test]
    fn an_alarm_before_the_next_point_of_the_grid_is_met_exactly() {
        assert_eq!(step_at(2_000, Some(2_100)), Step::Fire(MICRO * 100));
        assert_eq!(step_at(2_100, Some(2_999)), Step::Fire(MICRO * 899));
        assert_eq!(step_at(2_100, Some(2_100)), Step::Fire(Duration::ZERO));
        assert_eq!(step_at(2_100, Some(1_000)), Step::Fire(Duration::ZERO));
        assert_eq!(step_at(2_000, Some(2_000)), Step::Fire(Duration::ZERO));
    }

    #[test]
    fn tokio_takes_over_at_each_point_of_the_grid() {
        assert_eq!(step_at(2_100, Some(3_000)), Step::ToGrid(MICRO * 900));
        assert_eq!(step_at(2_100, Some(9_500)), Step::ToGrid(MICRO * 900));
        assert_eq!(step_at(2_100, None), Step::ToGrid(MICRO * 900));
        assert_eq!(step_at(2_000, None), Step::Tokio(None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn tokio_stops_at_the_last_point_before_the_alarm(now in 0_u32..50, at in 0_u32..90_000) {
            let origin = Instant::now();
            let (now, at) = (origin + GRID * now, origin + MICRO * at);
            if let Step::Tokio(stop) = step(origin, now, Some(at)) {
                let stop = stop.unwrap();
                prop_assert!(stop > now && stop <= at && at - stop < GRID);
                prop_assert_eq!(off_grid(stop - origin), Duration::ZERO);
            } else {
                prop_assert!(at < now + GRID);
            }
        }

        #[test]
        fn alarms_fire_once_in_order_at_the_last_time_they_were_set_to(
            sets in prop::collection::vec((0_usize..5, prop::option::of(0_u32..100)), 0..60),
        ) {
            let origin = Instant::now();
            let mut timeline = Timeline::default();
            let ids: Vec<_> = (0..5).map(|_| timeline.alarm()).collect();
            let mut expected = BTreeMap::new();
            for (which, at) in sets {
                if let Some(at) = at {
                    timeline.set(ids[which], origin + MICRO * at, which);
                    expected.insert(which, at);
                } else {
                    timeline.clear(ids[which]);
                    expected.remove(&which);
                }
            }
            let mut expected: Vec<_> = expected.into_iter().map(|(which, at)| (at, which)).collect();
            expected.sort_unstable();
            for (at, which) in expected {
                prop_assert_eq!(timeline.next(), Some(origin + MICRO * at));
                prop_assert_eq!(timeline.poll_due(origin + MICRO * at), Some(which));
            }
            prop_assert!(timeline.next().is_none() && timeline.times.is_empty());
        }
    }
}
