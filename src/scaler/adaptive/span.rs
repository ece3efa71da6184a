//! Pure: the rate of answers, measured from answer to answer.
//!
//! Answers come in clumps: a window that was sent at once is answered at once, and a store that commits in
//! groups answers a group. A rate taken between two looks counts one clump more or less by chance, which
//! over two rounds is an error of half. Between two *answers* it is not: so many bytes later, so much time
//! later (the delivery rate of draft-cheng-iccrg-delivery-rate-estimation).

use std::time::{Duration, Instant};

use crate::scaler::Load;

/// The total of answered bytes, and the answer that completed it.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: u64,
    at: Instant,
}

/// A stretch of answers, from its first mark to its latest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span(Option<(Mark, Mark)>);

impl Span {
    /// Takes the latest answer into the stretch. The first one after `not_before` begins it.
    pub(super) fn on_look(&mut self, load: &Load, not_before: Instant) {
        let Some(at) = load.acked_at.filter(|&at| at >= not_before) else {
            return;
        };
        let mark = Mark {
            bytes: load.acked_bytes,
            at,
        };
        self.0 = Some((self.0.map_or(mark, |(first, _)| first), mark));
    }

    /// Bytes per second, and over how long; `None` before a second answer.
    pub(super) fn rate(&self) -> Option<(f64, Duration)> {
        let (first, last) = self.0?;
        let time = last.at.saturating_duration_since(first.at);
        let bytes = last.bytes.saturating_sub(first.bytes);
        (!time.is_zero()).then(|| (bytes as f64 / time.as_secs_f64(), time))
    }

    /// Begins anew at the latest answer.
    pub(super) fn restart(&mut self) {
        self.0 = self.0.map(|(_, last)| (last, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::model::origin;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn clumps_of_answers_give_their_exact_rate_wherever_one_looks() {
        // 64 000 bytes every 20 ms are 3.2 MB a second, whatever the distance of the looks.
        for gap in [3u32, 7, 11, 30, 41] {
            let mut span = Span::default();
            for look in (gap..300).step_by(usize::try_from(gap).unwrap()) {
                let clumps = look / 20;
                let load = Load {
                    acked_bytes: 64_000 * u64::from(clumps),
                    acked_at: (clumps > 0).then(|| origin() + MS * 20 * clumps),
                    ..Load::default()
                };
                span.on_look(&load, origin());
                if let Some((rate, _)) = span.rate() {
                    assert!((rate - 3.2e6).abs() < 1.0, "{gap} ms: {rate}");
                }
            }
            assert!(span.rate().is_some_and(|(_, time)| time >= 200 * MS));
        }
    }

    #[test]
    fn answers_from_before_the_stretch_do_not_count() {
        let mut span = Span::default();
        let mut load = Load {
            acked_bytes: 1_000_000,
            acked_at: Some(origin()),
            ..Load::default()
        };
        span.on_look(&load, origin() + MS);
        for at in [10, 20] {
            load.acked_bytes += 1000;
            load.acked_at = Some(origin() + MS * at);
            span.on_look(&load, origin() + MS);
        }
        assert_eq!(span.rate(), Some((100_000.0, 10 * MS)));
        span.restart();
        assert_eq!(span.rate(), None);
    }
}
