//! Pure: whether a figure grew over the soak, or only moved.

use std::time::Duration;

use serde::Serialize;

use super::sample::Sample;

/// The first part of a run, in which caches fill and the topic reaches its retention: it is not judged.
const WARM_UP: f64 = 0.25;

/// A figure may be so much higher in the second half than in the first before that is growth.
const FACTOR: f64 = 1.25;

/// One figure over the soak. Nothing where the system does not tell it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Course {
    /// When it was first taken.
    pub(super) start: u64,
    /// The most in the first half of what is judged.
    pub(super) first_half: u64,
    /// The most in the second half.
    pub(super) second_half: u64,
    /// Whether it grew.
    pub(super) grew: bool,
}

/// All figures of a soak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Growth {
    pub(super) memory_bytes: Option<Course>,
    pub(super) handles: Option<Course>,
    pub(super) tasks: Option<Course>,
    pub(super) disk_bytes: Option<Course>,
}

impl Growth {
    /// What the samples come to. With fewer than four to judge, nothing is said to have grown.
    pub(super) fn of(samples: &[Sample]) -> Self {
        const MIB: u64 = 1 << 20;
        let course = |slack, figure: fn(&Sample) -> Option<u64>| {
            let taken = samples.iter().filter_map(|s| Some((s.at, figure(s)?)));
            Course::of(&taken.collect::<Vec<_>>(), slack)
        };
        Self {
            memory_bytes: course(16 * MIB, |s| s.memory_bytes),
            handles: course(8, |s| s.handles),
            tasks: course(8, |s| Some(s.tasks)),
            // What was trimmed is given back in steps of 64 MiB.
            disk_bytes: course(96 * MIB, |s| s.disk_bytes),
        }
    }

    pub(super) fn courses(&self) -> [(&'static str, Option<Course>); 4] {
        [
            ("memory", self.memory_bytes),
            ("handles", self.handles),
            ("tasks", self.tasks),
            ("disk", self.disk_bytes),
        ]
    }

    pub(super) fn any(&self) -> bool {
        self.courses()
            .iter()
            .any(|(_, course)| course.is_some_and(|course| course.grew))
    }
}

impl Course {
    #[allow(clippy::cast_precision_loss)]
    fn of(taken: &[(Duration, u64)], slack: u64) -> Option<Self> {
        let (&(_, start), &(end, _)) = (taken.first()?, taken.last()?);
        let from = end.mul_f64(WARM_UP);
        let middle = from + (end - from) / 2;
        let judged: Vec<_> = taken.iter().filter(|(at, _)| *at >= from).collect();
        let most = |second: bool| {
            let half = judged.iter().filter(|(at, _)| (*at >= middle) == second);
            half.map(|(_, figure)| *figure).max().unwrap_or_default()
        };
        let (first_half, second_half) = (most(false), most(true));
        let allowed = first_half as f64 * FACTOR + slack as f64;
        Some(Self {
            start,
            first_half,
            second_half,
            grew: judged.len() >= 4 && second_half as f64 > allowed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(figure: impl Fn(u64) -> u64) -> Course {
        let taken: Vec<_> = (0..100)
            .map(|second| (Duration::from_secs(second), figure(second)))
            .collect();
        Course::of(&taken, 10).unwrap()
    }

    #[test]
    fn what_rises_all_the_time_has_grown() {
        assert!(course(|second| 100 + second * 3).grew);
    }

    #[test]
    fn what_is_flat_or_a_saw_or_rises_only_at_first_has_not() {
        assert!(!course(|_| 100).grew);
        assert!(!course(|second| 100 + second % 20 * 10).grew);
        assert!(!course(|second| 100 + second.min(20) * 50).grew);
    }

    #[test]
    fn a_few_samples_are_no_growth() {
        let taken = [(Duration::ZERO, 1), (Duration::from_secs(1), 1000)];
        assert!(!Course::of(&taken, 0).unwrap().grew);
        assert_eq!(Course::of(&[], 0), None);
    }
}
