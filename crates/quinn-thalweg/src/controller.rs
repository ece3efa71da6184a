//! Sans-I/O: the adapter between quinn's [`Controller`] interface, in bytes, and the state machine, in packets.

use std::{any::Any, sync::Arc, time::Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::state::StateMachine;

/// Builds a [`Thalweg`] for each path of a connection. There is nothing to configure.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ThalwegConfig {}

impl ControllerFactory for ThalwegConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Thalweg {
            machine: StateMachine::new(now, current_mtu),
        })
    }
}

/// The congestion controller of one network path; [the crate's page](crate) describes how it works.
///
/// quinn builds a new controller when a peer migrates to another IP address. It clones the present one when only the
/// port has changed; the clone keeps everything that was learned about the path.
#[derive(Debug, Clone)]
pub struct Thalweg {
    machine: StateMachine,
}

impl Controller for Thalweg {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        self.machine.on_sent(now, bytes);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.machine
            .on_ack(now, sent, bytes, app_limited, rtt.get());
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        self.machine.on_end_acks(now, in_flight, app_limited);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        // quinn reports an ECN mark as a congestion event that lost nothing.
        if lost_bytes == 0 {
            self.machine.on_ecn_mark(now, sent);
        } else {
            self.machine
                .on_lost(now, sent, lost_bytes, is_persistent_congestion);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.machine.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        whole(self.machine.window())
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = self.machine.rate().map(|rate| whole(rate * 8.0));
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        whole(self.machine.initial_window())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped first; NaN, which no window is, becomes 0"
)]
fn whole(bytes: f64) -> u64 {
    bytes.clamp(0.0, 1e15) as u64
}
