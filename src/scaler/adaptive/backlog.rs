//! Sans-I/O: whether messages wait, and whether every lane is full.
//!
//! A backlog is more than a queue. It must be deep (a threshold of messages or a window of bytes for each lane), and it must
//! last: a queue that is gone within a round trip is gone before another lane is open. On a local network the bar is 5 ms,
//! because tasks of both ends are that late when processors are short.
//!
//! How many lanes a backlog asks for follows from Little's law, `L = λ·W`: the lanes there are hold what they may, and the
//! others must hold what is queued. (Little, *A proof for the queuing formula L = λW*, 1961.)

use super::{common::FULL, local_network::TASK_DELAY};
use crate::scaler::load::Load;

/// Whether a threshold of messages, or a window of bytes, is queued for each lane.
pub(super) fn is_deep(load: &Load, threshold: usize) -> bool {
    let lanes = load.total_lanes().max(1);
    let window = load.lane_window.saturating_mul(lanes as u64);
    load.queued_messages >= threshold || (load.queued_bytes >= window && load.queued_messages > 0)
}

/// Whether the queue needs longer than a round trip to empty, or 5 ms if that is more, or its head has waited for longer.
pub(super) fn is_lasting(load: &Load) -> bool {
    if load.queued_messages == 0 {
        return false;
    }
    let windows = load.lane_window.saturating_mul(load.lanes as u64) as f64;
    let rate = match load.ack_rate {
        Some(rate) if rate > 0.0 => rate,
        _ => windows / load.round().as_secs_f64(),
    };
    let bar = load.rtt.max(TASK_DELAY);
    load.oldest_wait > bar || load.queued_bytes as f64 > rate * bar.as_secs_f64()
}

/// Whether no lane could take another batch.
pub(super) fn are_lanes_full(load: &Load) -> bool {
    let windows = load.lane_window.saturating_mul(load.lanes as u64);
    load.lanes > 0
        && (load.lanes_busy >= load.lanes || load.in_flight_bytes as f64 >= windows as f64 * FULL)
}

/// Returns how many lanes would hold what is queued, at least one.
pub(super) fn lanes_for_queue(load: &Load) -> usize {
    let lanes = load.queued_bytes.div_ceil(load.lane_window.max(1)).max(1);
    usize::try_from(lanes).unwrap_or(usize::MAX)
}
