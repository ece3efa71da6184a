//! Sans-I/O: whether messages wait at the broker.
//!
//! A broker that works through each stream one batch at a time accepts more than it works on. What a lane has written waits in
//! its stream behind what it wrote before. The queue is empty then, and every message late. Little's law tells how much waits
//! there: with a mean time to the answer of `T`, of which a round trip and the broker's own hold account for `T₀`, a share of
//! `1 − T₀/T` of all that is unanswered only waits.
//!
//! ```text
//! backlog = in flight · (1 − T₀/T)     if T − T₀ > max(T₀, 1 ms) on every lane for four rounds, and the network has room
//! ```
//!
//! The rest of the law counts this as a part of the queue, with full lanes, and deep enough: answers that take twice as long as
//! they should ask for twice the lanes, however few the messages. Where the network is full, answers are late because of it,
//! and nothing counts. A lost packet looks the same for one or two rounds, which is why four are required.

use std::time::{Duration, Instant};

use super::common::GRANULARITY;
use crate::scaler::load::Load;

/// Rounds for which answers must be late. A lost packet delays those behind it by one or two.
const ROUNDS: u32 = 4;

/// Watches whether answers come later than network and broker account for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BrokerBacklog {
    late_since: Option<Instant>,
    is_present: bool,
}

impl BrokerBacklog {
    /// Whether the last load had a backlog at the broker.
    pub(super) const fn is_present(&self) -> bool {
        self.is_present
    }

    /// Returns the same load, with the broker's backlog counted as queued.
    pub(super) fn on_load(&mut self, now: Instant, load: &Load, is_blocked: bool) -> Load {
        let mut seen = load.clone();
        let accounted = load
            .rtt
            .saturating_add(load.broker_hold.unwrap_or_default());
        let took = load.ack_mean.unwrap_or_default();
        let excess = took.saturating_sub(accounted);
        let some_prompt = load.lanes_busy < load.lanes;
        if is_blocked || some_prompt || load.is_quiet() || excess <= accounted.max(GRANULARITY) {
            *self = Self::default();
            return seen;
        }
        let since = *self.late_since.get_or_insert(now);
        if now.saturating_duration_since(since) < load.round().saturating_mul(ROUNDS) {
            return seen;
        }
        self.is_present = true;
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

/// Returns `all · part / whole`.
fn share(all: u64, part: Duration, whole: Duration) -> u64 {
    let share = u128::from(all) * part.as_micros() / whole.as_micros().max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::tests::origin;

    const MS: Duration = Duration::from_millis(1);

    /// A hundred messages of 1 kB unanswered on a link of 20 ms, each answered `took` after it was sent.
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
        let mut backlog = BrokerBacklog::default();
        let load = load(120 * MS);
        let start = origin();
        assert_eq!(backlog.on_load(start, &load, false).queued_messages, 0);
        let seen = backlog.on_load(start + 120 * MS, &load, false);
        assert_eq!((seen.queued_messages, seen.in_flight_messages), (75, 25));
        assert_eq!((seen.queued_bytes, seen.in_flight_bytes), (75_000, 25_000));
        assert_eq!(seen.oldest_wait, 90 * MS);
        assert!(backlog.is_present());
        backlog.on_load(start + 140 * MS, &self::load(60 * MS), false);
        assert!(!backlog.is_present());
    }

    #[test]
    fn a_shorter_while_a_full_window_a_prompt_lane_or_answers_in_time_are_no_backlog() {
        let start = origin();
        for (lanes_busy, is_blocked, took, after) in [
            (2, false, 120 * MS, 119 * MS),
            (1, false, 120 * MS, 500 * MS),
            (2, true, 120 * MS, 500 * MS),
            (2, false, 60 * MS, 500 * MS),
        ] {
            let mut backlog = BrokerBacklog::default();
            let mut load = load(took);
            load.lanes_busy = lanes_busy;
            backlog.on_load(start, &load, is_blocked);
            let seen = backlog.on_load(start + after, &load, is_blocked);
            assert_eq!(
                seen.queued_messages, 0,
                "{took:?} {lanes_busy} {is_blocked}"
            );
        }
    }
}
