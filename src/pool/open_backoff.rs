//! Sans-I/O: when the pool may open another stream after an open failed.
//!
//! Each failure in a row pauses the pool's own opens for twice as long as the one before. A refusal at the peer's limit also
//! pauses the opens for waiters, because a stream in use may come back to them instead.

use std::time::{Duration, Instant};

/// The longest pause is 2^6 = 64 times the first.
const MAX_DOUBLINGS: u32 = 6;
/// The longest pause, whatever was configured. An `Instant` can express its end.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct OpenBackoff {
    first_pause: Duration,
    /// Pauses since the last success. Failures during a pause do not add to them.
    pauses: u32,
    paused_until: Option<Instant>,
    limit: Option<usize>,
}

impl OpenBackoff {
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
        let doublings = self.pauses.min(MAX_DOUBLINGS);
        self.pauses = self.pauses.saturating_add(1);
        let pause = self.first_pause.saturating_mul(1 << doublings);
        self.paused_until = now.checked_add(pause.min(LONGEST_PAUSE));
    }

    /// Records that the peer refused another stream while there were `streams`.
    pub(super) fn on_refused(&mut self, streams: usize, now: Instant) {
        self.on_failed(now);
        self.limit = Some(streams);
    }

    /// The number of streams at which the peer refused another. `None` once an open has succeeded after that.
    pub(super) const fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Whether an open may start that no waiter asked for. At the peer's limit only one is under way at a time.
    pub(super) fn may_open(&self, opening: usize, now: Instant) -> bool {
        self.allows_another(opening) && !self.is_paused(now)
    }

    /// When [`may_open`](Self::may_open) becomes true by time alone.
    pub(super) fn opens_at(&self, opening: usize) -> Option<Instant> {
        self.paused_until.filter(|_| self.allows_another(opening))
    }

    const fn allows_another(&self, opening: usize) -> bool {
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
        let mut backoff = OpenBackoff::new(10 * MS);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            backoff.on_failed(now);
            backoff.on_failed(now); // of the same burst
            let end = backoff.opens_at(3).unwrap();
            pauses.push((end - now).as_millis());
            assert!(!backoff.may_open(0, end - MS));
            assert!(backoff.may_open(3, end));
            now = end;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 640, 640]);
        backoff.on_opened();
        assert!(backoff.may_open(0, now));
        backoff.on_failed(now);
        assert_eq!(backoff.opens_at(0), Some(now + 10 * MS));
    }

    #[test]
    fn at_the_peers_limit_one_open_is_tried_at_a_time() {
        let now = crate::time::now();
        let mut backoff = OpenBackoff::new(10 * MS);
        backoff.on_refused(4, now);
        assert_eq!(backoff.limit(), Some(4));
        assert!(backoff.may_open(0, now + 10 * MS));
        assert!(!backoff.may_open(1, now + 10 * MS));
        assert_eq!(backoff.opens_at(1), None);
        backoff.on_opened();
        assert_eq!(backoff.limit(), None);
    }

    #[test]
    fn a_pause_beyond_all_clocks_still_ends() {
        let now = crate::time::now();
        let mut backoff = OpenBackoff::new(Duration::MAX);
        backoff.on_failed(now);
        assert_eq!(backoff.opens_at(0), Some(now + LONGEST_PAUSE));
    }
}
