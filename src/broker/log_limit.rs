//! Sans-I/O: limits how many lines of the log strangers can cause.

use std::time::{Duration, Instant};

/// Lines in a second.
const LINES: u32 = 10;

/// Permits a bounded number of lines in a second, and counts those that were left out.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    second: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl LogLimit {
    /// Returns whether a line may be written: `Some` with the number of lines that were left out since the last one.
    pub(super) fn line(&mut self, now: Instant) -> Option<u64> {
        let second = *self.second.get_or_insert(now);
        if now.saturating_duration_since(second) >= Duration::from_secs(1) {
            (self.second, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

    use super::*;

    #[test]
    fn ten_lines_a_second_and_the_number_of_the_rest() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        let lines = (0..100).filter(|_| limit.line(start).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(limit.line(start + Duration::from_secs(1)), Some(90));
        assert_eq!(limit.line(start + Duration::from_secs(1)), Some(0));
    }
}
