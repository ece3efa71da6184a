//! Sans-I/O: the rate of answers, measured from answer to answer.
//!
//! Answers come in clumps: a window that was sent at once is answered at once, and a store that commits in groups answers a
//! group. A rate between two calls of the policy counts one clump more or less, which over two rounds is an error of half.
//! Between two *answers* that error does not exist (the delivery rate of draft-cheng-iccrg-delivery-rate-estimation).

use std::time::{Duration, Instant};

use crate::scaler::load::Load;

/// The total of answered bytes at one answer.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: u64,
    at: Instant,
}

/// The answers between a first and a last mark.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DeliveryRate(Option<(Mark, Mark)>);

impl DeliveryRate {
    /// Extends the measurement to the latest answer. The first answer after `not_before` begins it.
    pub(super) fn on_load(&mut self, load: &Load, not_before: Instant) {
        let Some(at) = load.acked_at.filter(|&at| at >= not_before) else {
            return;
        };
        let mark = Mark {
            bytes: load.acked_bytes,
            at,
        };
        self.0 = Some((self.0.map_or(mark, |(first, _)| first), mark));
    }

    /// Returns the bytes per second, and the time over which they were measured. `None` before a second answer.
    pub(super) fn get(&self) -> Option<(f64, Duration)> {
        let (first, last) = self.0?;
        let time = last.at.saturating_duration_since(first.at);
        let bytes = last.bytes.saturating_sub(first.bytes);
        (!time.is_zero()).then(|| (bytes as f64 / time.as_secs_f64(), time))
    }

    /// Begins a new measurement at the latest answer.
    pub(super) fn restart(&mut self) {
        self.0 = self.0.map(|(_, last)| (last, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::tests::origin;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn clumps_of_answers_give_their_exact_rate_whatever_the_time_between_calls() {
        // 64 000 bytes every 20 ms are 3.2 MB a second, whatever the time between two calls.
        for gap in [3u32, 7, 11, 30, 41] {
            let mut rate = DeliveryRate::default();
            for call in (gap..300).step_by(usize::try_from(gap).unwrap()) {
                let clumps = call / 20;
                let load = Load {
                    acked_bytes: 64_000 * u64::from(clumps),
                    acked_at: (clumps > 0).then(|| origin() + MS * 20 * clumps),
                    ..Load::default()
                };
                rate.on_load(&load, origin());
                if let Some((bytes, _)) = rate.get() {
                    assert!((bytes - 3.2e6).abs() < 1.0, "{gap} ms: {bytes}");
                }
            }
            assert!(rate.get().is_some_and(|(_, time)| time >= 200 * MS));
        }
    }

    #[test]
    fn answers_from_before_the_measurement_do_not_count() {
        let mut rate = DeliveryRate::default();
        let mut load = Load {
            acked_bytes: 1_000_000,
            acked_at: Some(origin()),
            ..Load::default()
        };
        rate.on_load(&load, origin() + MS);
        for at in [10, 20] {
            load.acked_bytes += 1000;
            load.acked_at = Some(origin() + MS * at);
            rate.on_load(&load, origin() + MS);
        }
        assert_eq!(rate.get(), Some((100_000.0, 10 * MS)));
        rate.restart();
        assert_eq!(rate.get(), None);
    }
}
