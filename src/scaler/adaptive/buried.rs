//! Pure: what waits at the far end is queued too.
//!
//! A far end that works through each stream one batch at a time takes in more than it works on: what a lane has
//! written lies in its stream, behind what it wrote before. The queue is empty then, and every message late. Little's
//! law tells how much lies there: with a mean time to the answer of `T`, where a round trip and the broker's own hold
//! account for `T₀`, a share of `1 − T₀/T` of all that is unanswered only waits.
//!
//! ```text
//! buried = in flight · (1 − T₀/T)      where T − T₀ > max(T₀, 1 ms), on every lane, for a while,
//!                                      and the network has room
//! ```
//!
//! The rest of the law sees it as a part of the queue, in front of lanes that are full, and deep enough: that answers take
//! twice as long as they should asks for twice the lanes, however few the messages. Where the network is full, answers
//! are late because of it, and nothing is buried. A stall by a lost packet looks the same for about one round, so a while
//! is longer than that.

use std::time::{Duration, Instant};

use super::LEAST;
use crate::scaler::Load;

/// Rounds for which answers must be late: a lost packet delays those behind it by one or two.
const ROUNDS: u32 = 4;

/// Watches whether answers come later than network and broker account for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Buried {
    late_since: Option<Instant>,
    is_late: bool,
}

impl Buried {
    /// At the last look, something was buried.
    pub(super) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// The same load, with what is buried counted as queued.
    pub(super) fn uncover(&mut self, now: Instant, load: &Load, congestion_limited: bool) -> Load {
        let mut seen = load.clone();
        let accounted = load
            .rtt
            .saturating_add(load.broker_hold.unwrap_or_default());
        let took = load.ack_mean.unwrap_or_default();
        let excess = took.saturating_sub(accounted);
        let spare = load.lanes_busy < load.lanes;
        if congestion_limited || spare || load.is_quiet() || excess <= accounted.max(LEAST) {
            *self = Self::default();
            return seen;
        }
        let since = *self.late_since.get_or_insert(now);
        if now.saturating_duration_since(since) < load.round().saturating_mul(ROUNDS) {
            return seen;
        }
        self.is_late = true;
        let messages = share(load.in_flight_messages as u64, excess, took);
        let messages = usize::try_from(messages).unwrap_or(usize::MAX);
        let bytes = share(load.in_flight_bytes, excess, took);
        seen.in_flight_messages -= messages.min(load.in_flight_messages);
        seen.in_flight_bytes -= bytes.min(load.in_flight_bytes);
        seen.queued_messages = load.queued_messages.saturating_add(messages);
        seen.queued_bytes = load.queued_bytes.saturating_add(bytes);
        seen.oldest_wait = load.oldest_wait.max(excess);
        seen
    }
}

/// `all · part / whole`.
fn share(all: u64, part: Duration, whole: Duration) -> u64 {
    let share = u128::from(all) * part.as_micros() / whole.as_micros().max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::model::origin;

    const MS: Duration = Duration::from_millis(1);

    /// A hundred messages of 1 kB unanswered on a link of 20 ms, each answered after `took`.
    fn load(took: Duration) -> Load {
        Load {
            lanes: 2,
            lanes_busy: 2,
            in_flight_messages: 100,
            in_flight_bytes: 100_000,
            rtt: 20 * MS,
            broker_hold: Some(10 * MS),
            ack_mean: Some(took),
            ..Load::default()
        }
    }

    #[test]
    fn what_is_answered_late_for_four_rounds_counts_as_queued() {
        let mut buried = Buried::default();
        let load = load(120 * MS);
        let start = origin();
        assert_eq!(buried.uncover(start, &load, false).queued_messages, 0);
        let seen = buried.uncover(start + 120 * MS, &load, false);
        assert_eq!((seen.queued_messages, seen.in_flight_messages), (75, 25));
        assert_eq!((seen.queued_bytes, seen.in_flight_bytes), (75_000, 25_000));
        assert_eq!(seen.oldest_wait, 90 * MS);
        assert!(buried.is_late());
        buried.uncover(start + 140 * MS, &self::load(60 * MS), false);
        assert!(!buried.is_late());
    }

    #[test]
    fn a_shorter_while_a_full_pipe_a_prompt_lane_or_answers_in_time_bury_nothing() {
        let start = origin();
        for (lanes_busy, congestion_limited, took, after) in [
            (2, false, 120 * MS, 119 * MS),
            (1, false, 120 * MS, 500 * MS),
            (2, true, 120 * MS, 500 * MS),
            (2, false, 60 * MS, 500 * MS),
        ] {
            let mut buried = Buried::default();
            let mut load = load(took);
            load.lanes_busy = lanes_busy;
            buried.uncover(start, &load, congestion_limited);
            let seen = buried.uncover(start + after, &load, congestion_limited);
            assert_eq!(
                seen.queued_messages, 0,
                "{took:?} {lanes_busy} {congestion_limited}"
            );
        }
    }
}
