//! Sans-I/O: how many lanes a congestion window in slow start will need.
//!
//! A window in slow start is full at every moment, and yet no limit: it doubles each round trip until the lanes limit the rate.
//! A lane takes a round trip to open, so lanes are opened for the window of the next one, `⌈2 · in flight / window⌉`. Each step
//! does not wait for the verdict on the one before. One trial judges all of them, and leaves those that the path fills.
//!
//! This ends when the connection first meets congestion, or when round trips grow by an eighth, which means that a queue builds
//! on the way (HyStart++, RFC 9406).

use super::{common::GRANULARITY, path::is_in_network};
use crate::scaler::load::Load;

/// Returns how many lanes the window of the next round trip needs. Returns 0 outside slow start, where the broker holds the
/// bytes, and where a queue builds on the way.
pub(super) fn lanes_of_next_window(load: &Load) -> usize {
    let held = load.broker_hold.unwrap_or_default();
    if load.congestion_events > 0 || !is_in_network(load, held) || is_queue_building(load) {
        return 0;
    }
    let next = load.bytes_in_flight.saturating_mul(2);
    let lanes = next.div_ceil(load.lane_window.max(1));
    usize::try_from(lanes).unwrap_or(usize::MAX)
}

fn is_queue_building(load: &Load) -> bool {
    load.rtt > load.min_rtt + (load.min_rtt / 8).max(GRANULARITY)
}
