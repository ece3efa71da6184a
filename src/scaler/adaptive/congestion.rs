//! Sans-I/O: whether QUIC takes no more.
//!
//! All lanes share the congestion window, so another lane is of no use while that is full. It counts as full from nine tenths
//! on, or from less than a packet below, if QUIC has more to send. A window that only just covers what is in flight is not
//! full while QUIC has nothing more to send: quinn lets it grow only while something waits for it, so it stops just above what
//! the lanes can fill. Taking that for a full window would keep the lanes few and the window small for ever.
//!
//! Acknowledgements make room for a moment, so a full window is remembered for a round trip.
//!
//! A window that stays full also releases lanes: what waits for it presses for no lane, and lanes that it does not fill for an
//! idle timeout are retired (`CongestionLimited`), however long the queue.

use std::time::Instant;

use super::common::{FULL, GRANULARITY, whole};
use crate::scaler::{config::MAX_LANES, load::Load};

/// Remembers for a round trip that QUIC took no more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Congestion {
    /// When the congestion window was last full.
    window_full_at: Option<Instant>,
    /// When QUIC last took no more, for that or another reason.
    blocked_at: Option<Instant>,
}

impl Congestion {
    pub(super) fn on_load(&mut self, now: Instant, load: &Load) {
        if is_window_full(load) {
            self.window_full_at = Some(now);
        }
        if is_window_full(load) || load.send_blocked {
            self.blocked_at = Some(now);
        }
    }

    /// Whether QUIC took no more at some moment of the last round trip, so that another lane would have waited too.
    pub(super) fn is_blocked(&self, now: Instant, load: &Load) -> bool {
        is_within_a_round_trip(self.blocked_at, now, load)
    }

    /// Whether the congestion window was full at some moment of the last round trip.
    pub(super) fn is_window_full(&self, now: Instant, load: &Load) -> bool {
        is_within_a_round_trip(self.window_full_at, now, load)
    }
}

/// Returns how many lanes would fill the congestion window, if each new lane puts as much into the network as the present ones
/// do. Where windows are the limit that is `cwnd / window`. Where a broker holds the bytes, few are in the network, and there
/// is room for many lanes.
pub(super) fn lanes_that_fill_window(load: &Load) -> usize {
    if load.bytes_in_flight == 0 || is_near_window(load) {
        return MAX_LANES;
    }
    let lanes = load.lanes as f64 * load.cwnd as f64 / load.bytes_in_flight as f64;
    whole(lanes.ceil()).max(load.lanes + 1)
}

fn is_within_a_round_trip(at: Option<Instant>, now: Instant, load: &Load) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < load.rtt.max(GRANULARITY))
}

/// Whether QUIC has sent all that the congestion window permits, and has more to send.
fn is_window_full(load: &Load) -> bool {
    let next = load.bytes_in_flight.saturating_add(load.mtu);
    !load.app_limited && load.cwnd > 0 && (is_near_window(load) || next >= load.cwnd)
}

fn is_near_window(load: &Load) -> bool {
    load.bytes_in_flight as f64 >= load.cwnd as f64 * FULL
}
