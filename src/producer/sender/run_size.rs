//! How much a lane takes from the queue at once.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::producer::{Config, accumulator::FRAMING};

/// The largest run before the broker has told its longest frame.
const MAX_RUN_UNCONNECTED: u64 = 1 << 20;
/// A lane's window holds at least this many chunks of full size.
const CHUNKS_PER_WINDOW: u64 = 4;

/// The sizes of a lane's next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// The bytes to take.
    pub(crate) run: u64,
    /// The size at which chunks are closed from now on.
    pub(crate) chunk: usize,
}

/// What bounds the runs of one producer.
#[derive(Debug)]
pub(crate) struct RunSize {
    batch_bytes: u64,
    lane_switch_bytes: u64,
    lane_window: u64,
    /// What fits into the broker's longest frame. Written when a connection is established.
    max_run: AtomicU64,
}

impl RunSize {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            batch_bytes: config.batch_bytes,
            lane_switch_bytes: config.lane_switch_bytes,
            lane_window: config.scaler.lane_window,
            max_run: AtomicU64::new(MAX_RUN_UNCONNECTED),
        }
    }

    /// Applies the broker's longest frame, where a message has at most `max_message` bytes.
    pub(crate) fn limit_frame(&self, max_frame: u64, max_message: u64) {
        // A run may exceed its size by its last message.
        let run = max_frame.saturating_sub(max_message + 2 * FRAMING);
        self.max_run.store(run.max(1), Ordering::Relaxed);
    }

    /// Returns the sizes before a lane has taken anything.
    pub(crate) fn first(&self) -> Sizes {
        self.next(u64::MAX, 1)
    }

    /// Returns the sizes of the next run: an equal share of what waits for each of the open lanes, at least a packet and at
    /// most a batch.
    pub(crate) fn next(&self, waiting: u64, open_lanes: usize) -> Sizes {
        let share = waiting / open_lanes.max(1) as u64;
        let most = self.batch_bytes.min(self.max_run.load(Ordering::Relaxed));
        let run = share.max(self.lane_switch_bytes).min(most);
        // A single lane takes everything in any case.
        let chunk = if open_lanes > 1 { run } else { most };
        let most = (self.lane_window / CHUNKS_PER_WINDOW).max(self.lane_switch_bytes);
        Sizes {
            run,
            chunk: usize::try_from(chunk.min(most)).unwrap_or(usize::MAX),
        }
    }

    /// Returns the least room in its window with which a lane takes a run. A lane takes whole chunks, and fills its window
    /// only as far as these allow.
    pub(crate) fn least_room(&self, chunk_bytes: usize) -> u64 {
        (chunk_bytes as u64 / 2).clamp(1, self.lane_window.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> RunSize {
        let mut config = Config {
            batch_bytes: 100_000,
            lane_switch_bytes: 1_200,
            ..Config::default()
        };
        config.scaler.lane_window = 256_000;
        RunSize::new(&config)
    }

    #[test]
    fn a_run_is_a_share_of_what_waits_from_a_packet_to_a_batch() {
        let sizes = sizes();
        assert_eq!(sizes.next(40_000, 4).run, 10_000);
        assert_eq!(sizes.next(100, 4).run, 1_200);
        assert_eq!(sizes.next(10_000_000, 4).run, 100_000);
    }

    #[test]
    fn chunks_are_as_large_as_a_run_and_at_least_four_fit_into_a_window() {
        let sizes = sizes();
        assert_eq!(sizes.next(40_000, 4).chunk, 10_000);
        assert_eq!(sizes.next(40_000, 1).chunk, 64_000);
        assert_eq!(sizes.first().chunk, 64_000);
    }

    #[test]
    fn a_run_and_one_message_more_fit_into_the_broker_s_longest_frame() {
        let sizes = sizes();
        sizes.limit_frame(50_000 + 2 * FRAMING, 10_000);
        assert_eq!(sizes.next(10_000_000, 1).run, 40_000);
        sizes.limit_frame(0, 10_000);
        assert_eq!(sizes.next(10_000_000, 1).run, 1);
    }
}
