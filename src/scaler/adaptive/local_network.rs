//! Sans-I/O: whether processors are slower than the network.
//!
//! With a least round trip below 5 ms, time is spent in the tasks of both ends and not in the network. Tasks are milliseconds
//! late when processors are short, every lane is full now and then, and more lanes make smaller batches of the same messages. So
//! by Little's law there are never more lanes than the present rate fills within 5 ms. A store that syncs makes more of larger
//! groups, so with a broker's hold of less than 5 ms the lanes may fill four times that hold, if that is longer.
//!
//! While round trips take 5 ms longer than the network, losses do not count: a socket buffer overflows because its process is
//! late, and messages wait for that process and not for a lane.

use std::time::Duration;

use super::common::whole;
use crate::scaler::load::Load;

/// How late the tasks of both ends may be when processors are short.
pub(super) const TASK_DELAY: Duration = Duration::from_millis(5);
/// How many times its hold may be unanswered at a broker that syncs: the group being stored, and those that gather meanwhile.
const GATHERED_HOLDS: u32 = 4;

/// Returns how many lanes are useful at the present rate. No limit applies outside a local network, or where the broker holds
/// batches for 5 ms or more.
pub(super) fn max_lanes_for_rate(load: &Load) -> usize {
    let held = load.broker_hold.unwrap_or_default();
    match load.ack_rate {
        Some(rate) if is_local(load) && held < TASK_DELAY => {
            let time = TASK_DELAY
                .max(held.saturating_mul(GATHERED_HOLDS))
                .as_secs_f64();
            whole((rate * time / load.lane_window.max(1) as f64).ceil()).max(1)
        }
        _ => usize::MAX,
    }
}

/// Whether round trips take longer than the network by more than the delay of tasks, because a processor is late.
pub(super) fn is_processor_late(load: &Load) -> bool {
    is_local(load) && load.rtt > load.min_rtt + TASK_DELAY
}

fn is_local(load: &Load) -> bool {
    load.min_rtt < TASK_DELAY
}
