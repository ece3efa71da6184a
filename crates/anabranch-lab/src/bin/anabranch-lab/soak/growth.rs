//! Sans-I/O: whether a figure grew over the soak, or only fluctuated.

use std::time::Duration;

use serde::Serialize;

use super::resources::Sample;

/// Share of the run that is ignored, because caches fill and the topic reaches its retention.
const WARM_UP: f64 = 0.25;

/// Ratio of the second half to the first above which a figure has grown.
const GROWTH_FACTOR: f64 = 1.25;

/// One figure over the soak.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Trend {
    /// The first sample.
    pub(super) start: u64,
    /// Maximum in the first half, without the warm-up.
    pub(super) first_half: u64,
    /// Maximum in the second half.
    pub(super) second_half: u64,
    /// Whether the second half is higher than fluctuation explains.
    pub(super) grew: bool,
}

/// All figures of a soak. `None` for those that the system does not provide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Growth {
    pub(super) memory_bytes: Option<Trend>,
    pub(super) handles: Option<Trend>,
    pub(super) tasks: Option<Trend>,
    pub(super) disk_bytes: Option<Trend>,
}

impl Growth {
    /// Compares the samples of the two halves. With fewer than four samples after the warm-up, nothing has grown.
    pub(super) fn of(samples: &[Sample]) -> Self {
        const MIB: u64 = 1 << 20;
        let trend = |slack, figure: fn(&Sample) -> Option<u64>| {
            let taken = samples.iter().filter_map(|s| Some((s.at, figure(s)?)));
            Trend::of(&taken.collect::<Vec<_>>(), slack)
        };
        Self {
            memory_bytes: trend(16 * MIB, |s| s.memory_bytes),
            handles: trend(8, |s| s.handles),
            tasks: trend(8, |s| Some(s.tasks)),
            // The log frees trimmed space in steps of 64 MiB.
            disk_bytes: trend(96 * MIB, |s| s.disk_bytes),
        }
    }

    pub(super) fn trends(&self) -> [(&'static str, Option<Trend>); 4] {
        [
            ("memory", self.memory_bytes),
            ("handles", self.handles),
            ("tasks", self.tasks),
            ("disk", self.disk_bytes),
        ]
    }

    pub(super) fn any(&self) -> bool {
        self.trends()
            .iter()
            .any(|(_, trend)| trend.is_some_and(|trend| trend.grew))
    }
}

impl Trend {
    #[expect(clippy::cast_precision_loss, reason = "figures are below 2^53")]
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
        let allowed = first_half as f64 * GROWTH_FACTOR + slack as f64;
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

    fn trend(figure: impl Fn(u64) -> u64) -> Trend {
        let taken: Vec<_> = (0..100)
            .map(|second| (Duration::from_secs(second), figure(second)))
            .collect();
        Trend::of(&taken, 10).unwrap()
    }

    #[test]
    fn what_rises_all_the_time_has_grown() {
        assert!(trend(|second| 100 + second * 3).grew);
    }

    #[test]
    fn what_is_flat_or_a_saw_or_rises_only_at_first_has_not() {
        assert!(!trend(|_| 100).grew);
        assert!(!trend(|second| 100 + second % 20 * 10).grew);
        assert!(!trend(|second| 100 + second.min(20) * 50).grew);
    }

    #[test]
    fn a_few_samples_are_no_growth() {
        let taken = [(Duration::ZERO, 1), (Duration::from_secs(1), 1000)];
        assert!(!Trend::of(&taken, 0).unwrap().grew);
        assert_eq!(Trend::of(&[], 0), None);
    }
}
