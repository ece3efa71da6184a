//! Sans-I/O: how many lanes a long path fills by itself.
//!
//! Bytes that are in the network for nearly all the time until their answer are there because the path is long. More of them
//! need more windows, which needs no trial to prove. It shows before there is a backlog: once the path has filled nine tenths of
//! the windows for four rounds, one lane is opened ahead of a load that grows. Where a trial finds no gain, and where lanes are
//! retired, as many stay as the path fills, with a tenth of each to spare.
//!
//! Bytes in a queue on the way do not count: of the bytes in flight, only the share `least rtt / rtt` is on the path.

use std::time::{Duration, Instant};

use super::common::{FULL, GRANULARITY, whole};
use crate::scaler::load::Load;

/// Rounds for which the path must fill the lanes. A moment is no load that grows.
const ROUNDS: u32 = 4;

/// Remembers since when the path has filled the lanes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathLoad {
    full_since: Option<Instant>,
}

impl PathLoad {
    pub(super) fn on_load(&mut self, now: Instant, load: &Load) {
        self.full_since = match is_path_full(load) {
            true => self.full_since.or(Some(now)),
            false => None,
        };
    }

    /// Whether the path has filled the lanes for long enough to open another ahead of a backlog.
    pub(super) fn is_growing(&self, now: Instant, load: &Load) -> bool {
        let long = load.round().saturating_mul(ROUNDS);
        self.full_since
            .is_some_and(|since| now.saturating_duration_since(since) >= long)
    }
}

/// Returns how many lanes the path uses, with a tenth of each to spare.
pub(super) fn lanes_used_by_path(load: &Load) -> usize {
    whole((windows_on_path(load) / FULL).ceil())
}

/// Whether the path holds nearly all that the lanes may have unanswered, so that the lanes soon limit the rate.
pub(super) fn is_path_full(load: &Load) -> bool {
    load.lanes > 0 && lanes_used_by_path(load) > load.lanes
}

/// Whether unanswered bytes are mostly in the network: they are `held` elsewhere for a quarter of a round trip at most, which is
/// how much later answers come by themselves, and at least half of them are in flight now.
pub(super) fn is_in_network(load: &Load, held: Duration) -> bool {
    held <= (load.rtt / 4).max(GRANULARITY) && load.bytes_in_flight >= load.in_flight_bytes / 2
}

/// Returns how many lane windows the path alone holds, without the broker and without a queue on the way.
fn windows_on_path(load: &Load) -> f64 {
    let held = load
        .ack_mean
        .unwrap_or(Duration::MAX)
        .saturating_sub(load.rtt);
    if !is_in_network(load, held) {
        return 0.0;
    }
    let clear = load.min_rtt.as_secs_f64() / load.rtt.max(load.min_rtt).as_secs_f64().max(1e-6);
    load.in_flight_bytes as f64 * clear / load.lane_window.max(1) as f64
}
