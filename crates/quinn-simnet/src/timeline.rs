//! Pure: everything that waits for a moment, in the order of the moments, and how to get to the next one.
//!
//! Tokio's paused clock advances by itself once no task can run, but its timers live on a grid of whole
//! milliseconds, counted from the start of the runtime, and it rounds up to that grid. So the simulation keeps
//! the exact moments here and moves the clock itself, up to the next point of the grid; there tokio has its turn:
//!
//! ```text
//! tokio's grid     |                 |                 |                 |
//! exact moments    |   *   *         |                 |        *        |
//! the clock        |──▶|──▶|────────▶|────────────────▶|───────▶|
//!                    ours   to the     tokio's own       ours
//!                           next point
//! ```
//!
//! The clock never leaves a point of the grid before tokio's timers there have fired, and never jumps over an
//! exact moment.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// The grid of tokio's timers.
const GRID: Duration = Duration::from_millis(1);

/// Names one alarm, for as long as its owner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AlarmId(u64);

/// At most one moment for each alarm, and whom to wake (`W`) then.
#[derive(Debug)]
pub(super) struct Timeline<W> {
    next_id: u64,
    set: HashMap<AlarmId, Instant>,
    /// Alarms of the same moment ring in the order in which their owners came.
    due: BTreeMap<(Instant, AlarmId), W>,
}

impl<W> Default for Timeline<W> {
    fn default() -> Self {
        Self {
            next_id: 0,
            set: HashMap::new(),
            due: BTreeMap::new(),
        }
    }
}

impl<W> Timeline<W> {
    /// A name for a new alarm, not yet set.
    pub(super) fn alarm(&mut self) -> AlarmId {
        self.next_id += 1;
        AlarmId(self.next_id)
    }

    /// Sets the alarm, wherever it stood before.
    pub(super) fn set(&mut self, id: AlarmId, at: Instant, whom: W) {
        match self.set.insert(id, at) {
            Some(before) if before != at => {
                self.due.remove(&(before, id));
            }
            _ => {}
        }
        self.due.insert((at, id), whom);
    }

    /// Forgets the alarm's moment, if it has one.
    pub(super) fn clear(&mut self, id: AlarmId) {
        if let Some(at) = self.set.remove(&id) {
            self.due.remove(&(at, id));
        }
    }

    /// The next moment for which an alarm is set.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whom to wake next of those whose moment has come.
    pub(super) fn poll_due(&mut self, now: Instant) -> Option<W> {
        if self.next()? > now {
            return None;
        }
        let ((_, id), whom) = self.due.pop_first()?;
        self.set.remove(&id);
        Some(whom)
    }
}

/// What to do when no task can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Move the clock on by so much (perhaps by nothing), then wake those whose moment it is.
    Ring(Duration),
    /// Move the clock on by so much, to a point of the grid, and let tokio fire its timers there.
    ToGrid(Duration),
    /// Let tokio move the clock on, from timer to timer, but not beyond this point of the grid.
    Tokio(Option<Instant>),
}

/// The step at `now`, with the grid counted from `origin` and the next alarm at `next`.
pub(super) fn step(origin: Instant, now: Instant, next: Option<Instant>) -> Step {
    let off_grid = off_grid(now.saturating_duration_since(origin));
    let to_grid = GRID.saturating_sub(off_grid);
    match next {
        Some(at) if at < now + to_grid => Step::Ring(at.saturating_duration_since(now)),
        _ if !off_grid.is_zero() => Step::ToGrid(to_grid),
        next => Step::Tokio(next.map(|at| {
            let time = at.saturating_duration_since(origin);
            at.checked_sub(self::off_grid(time)).unwrap_or(at)
        })),
    }
}

/// How far behind the last point of the grid this is.
fn off_grid(time: Duration) -> Duration {
    Duration::from_nanos(u64::from(time.subsec_nanos()) % 1_000_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

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
        assert_eq!(step_at(2_000, Some(2_100)), Step::Ring(MICRO * 100));
        assert_eq!(step_at(2_100, Some(2_999)), Step::Ring(MICRO * 899));
        assert_eq!(step_at(2_100, Some(2_100)), Step::Ring(Duration::ZERO));
        assert_eq!(step_at(2_100, Some(1_000)), Step::Ring(Duration::ZERO));
        assert_eq!(step_at(2_000, Some(2_000)), Step::Ring(Duration::ZERO));
    }

    #[test]
    fn tokio_has_its_turn_at_each_point_of_the_grid() {
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
        fn alarms_ring_once_in_order_at_the_last_moment_they_were_set_to(
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
            prop_assert!(timeline.next().is_none() && timeline.set.is_empty());
        }
    }
}
