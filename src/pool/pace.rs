//! Pure: when the pool may try to open again after an open failed.
//!
//! Failures pause what the pool does of its own accord, each in a row twice as long as the one before. A refusal
//! at the peer's limit also holds back opens on behalf of waiters, for whom a stream may come back instead.

use std::time::{Duration, Instant};

/// Doublings of the pause, so that the longest is 64 times the first.
const MOST_DOUBLINGS: u32 = 6;
/// The longest pause, whatever was configured: an `Instant` can still express its end.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Pace {
    first_pause: Duration,
    /// Pauses in a row. A burst of failures makes one.
    pauses: u32,
    paused_until: Option<Instant>,
    limit: Option<usize>,
}

impl Pace {
    pub(super) const fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            pauses: 0,
            paused_until: None,
            limit: None,
        }
    }

    pub(super) const fn on_opened(&mut self) {
        self.pauses = 0;
        self.paused_until = None;
        self.limit = None;
    }

    pub(super) fn on_failed(&mut self, now: Instant) {
        if self.is_paused(now) {
            return;
        }
        let doublings = self.pauses.min(MOST_DOUBLINGS);
        self.pauses = self.pauses.saturating_add(1);
        let pause = self.first_pause.saturating_mul(1 << doublings);
        self.paused_until = now.checked_add(pause.min(LONGEST_PAUSE));
    }

    /// The peer permits no more than `streams` at present.
    pub(super) fn on_refused(&mut self, streams: usize, now: Instant) {
        self.on_failed(now);
        self.limit = Some(streams);
    }

    /// The number of streams at which the peer refused another, unless one was opened since.
    pub(super) const fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Whether an open of the pool's own accord may start. At the peer's limit, one at a time.
    pub(super) fn may_open(&self, opening: usize, now: Instant) -> bool {
        self.has_turn(opening) && !self.is_paused(now)
    }

    /// When [`Pace::may_open`] turns true by time alone.
    pub(super) fn opens_at(&self, opening: usize) -> Option<Instant> {
        self.paused_until.filter(|_| self.has_turn(opening))
    }

    const fn has_turn(&self, opening: usize) -> bool {
        self.limit.is_none() || opening == 0
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_64_times_the_first_and_start_over_after_a_success() {
        let mut now = crate::time::now();
        let mut pace = Pace::new(10 * MS);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pace.on_failed(now);
            pace.on_failed(now); // one of the same burst
            let end = pace.opens_at(3).unwrap();
            pauses.push((end - now).as_millis());
            assert!(!pace.may_open(0, end - MS));
            assert!(pace.may_open(3, end));
            now = end;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 640, 640]);
        pace.on_opened();
        assert!(pace.may_open(0, now));
        pace.on_failed(now);
        assert_eq!(pace.opens_at(0), Some(now + 10 * MS));
    }

    #[test]
    fn at_the_peers_limit_one_open_is_tried_at_a_time() {
        let now = crate::time::now();
        let mut pace = Pace::new(10 * MS);
        pace.on_refused(4, now);
        assert_eq!(pace.limit(), Some(4));
        assert!(pace.may_open(0, now + 10 * MS));
        assert!(!pace.may_open(1, now + 10 * MS));
        assert_eq!(pace.opens_at(1), None);
        pace.on_opened();
        assert_eq!(pace.limit(), None);
    }

    #[test]
    fn a_pause_beyond_all_clocks_still_ends() {
        let now = crate::time::now();
        let mut pace = Pace::new(Duration::MAX);
        pace.on_failed(now);
        assert_eq!(pace.opens_at(0), Some(now + LONGEST_PAUSE));
    }
}
