//! The choice of a congestion controller, and the wrapper that publishes what it sees.

use std::{any::Any, fmt, str::FromStr, sync::Arc, time::Instant};

use quinn::congestion::{
    BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig, NewRenoConfig,
};
use quinn_proto::RttEstimator;

use super::path_stats::{PathMonitor, PathRecorder};
use quinn_thalweg::ThalwegConfig;

/// The congestion controller of a connection, which decides how much may be in flight.
///
/// A connection has one controller for all of its streams.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC (RFC 9438), the most common one on the Internet, and the default. It takes every loss for congestion: on a path
    /// that randomly loses one packet in a thousand, it sends only some tens of packets per round trip.
    #[default]
    Cubic,
    /// NewReno (RFC 9002), which is slower than CUBIC to grow a large window.
    NewReno,
    /// quinn's BBR, which tolerates random losses. quinn calls it experimental, and it stalls at times.
    Bbr,
    /// Thalweg, for lossy links: random losses of up to a tenth of all packets do not slow it down, and it keeps queues short.
    /// See [`quinn_thalweg`].
    Thalweg,
    /// A custom controller.
    Custom(Arc<dyn ControllerFactory + Send + Sync>),
}

impl fmt::Debug for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cubic => "Cubic",
            Self::NewReno => "NewReno",
            Self::Bbr => "Bbr",
            Self::Thalweg => "Thalweg",
            Self::Custom(_) => "Custom",
        })
    }
}

/// Error of a text that names no congestion controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be cubic, new-reno, bbr or thalweg")]
pub struct CongestionError(());

impl FromStr for Congestion {
    type Err = CongestionError;

    fn from_str(text: &str) -> Result<Self, CongestionError> {
        Ok(match text {
            "cubic" => Self::Cubic,
            "new-reno" => Self::NewReno,
            "bbr" => Self::Bbr,
            "thalweg" => Self::Thalweg,
            _ => return Err(CongestionError(())),
        })
    }
}

#[cfg(feature = "serde")]
crate::de::text_option!(Congestion, Congestion::from_str);

impl Congestion {
    /// Returns quinn's factory of the controller.
    pub(crate) fn factory(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::NewReno => Arc::new(NewRenoConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
            Self::Thalweg => Arc::new(ThalwegConfig::default()),
            Self::Custom(factory) => Arc::clone(factory),
        }
    }
}

/// Creates controllers that publish what they see to the monitor of one connection.
pub(super) struct MonitoredFactory {
    inner: Arc<dyn ControllerFactory + Send + Sync>,
    monitor: Arc<PathMonitor>,
}

impl MonitoredFactory {
    pub(super) fn new(inner: &Congestion, monitor: Arc<PathMonitor>) -> Self {
        Self {
            inner: inner.factory(),
            monitor,
        }
    }
}

impl ControllerFactory for MonitoredFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.inner).build(now, current_mtu);
        let recorder = PathRecorder::open(&self.monitor, inner.window(), current_mtu.into());
        Box::new(Monitored {
            inner,
            monitor: Arc::clone(&self.monitor),
            recorder,
        })
    }
}

/// Wraps the chosen controller, which makes all decisions, and records what it is told.
struct Monitored {
    inner: Box<dyn Controller>,
    monitor: Arc<PathMonitor>,
    recorder: PathRecorder,
}

impl Controller for Monitored {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
        self.recorder
            .on_sent(&self.monitor, now, bytes, self.inner.window());
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.recorder.on_ack(
            &self.monitor,
            bytes,
            now.saturating_duration_since(sent),
            rtt.get(),
            rtt.min(),
        );
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        self.recorder
            .on_end_acks(&self.monitor, in_flight, app_limited, self.inner.window());
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.recorder.on_congestion(
            &self.monitor,
            lost_bytes,
            is_persistent_congestion,
            self.inner.window(),
        );
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
        self.recorder
            .on_mtu(&self.monitor, new_mtu.into(), self.inner.window());
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            monitor: Arc::clone(&self.monitor),
            recorder: self.recorder.copy(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    /// Returns the chosen controller, which is what a caller expects that downcasts.
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.inner.into_any()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
mod tests {
    use quinn::congestion::{Bbr, Cubic, NewReno};

    use super::*;

    fn monitored(congestion: &Congestion) -> (Arc<PathMonitor>, Box<dyn Controller>) {
        let now = Instant::now();
        let monitor = Arc::new(PathMonitor::new(now));
        let factory = Arc::new(MonitoredFactory::new(congestion, Arc::clone(&monitor)));
        let controller = factory.build(now, 1200);
        (monitor, controller)
    }

    #[test]
    fn the_chosen_controller_is_the_one_that_decides() {
        let kinds = [
            Congestion::Cubic,
            Congestion::NewReno,
            Congestion::Bbr,
            Congestion::Thalweg,
            Congestion::Custom(Arc::new(NewRenoConfig::default())),
        ];
        for kind in kinds {
            let now = Instant::now();
            let mut alone = kind.factory().build(now, 1200);
            let (monitor, mut monitored) = monitored(&kind);
            for controller in [&mut alone, &mut monitored] {
                controller.on_sent(now, 12_000, 9);
                controller.on_mtu_update(1400);
                controller.on_congestion_event(now, now, false, 1200);
            }
            assert_eq!(monitored.window(), alone.window(), "{kind:?}");
            assert_eq!(monitored.initial_window(), alone.initial_window());
            let stats = monitor.snapshot();
            assert_eq!(stats.cwnd, alone.window(), "{kind:?}");
            assert_eq!((stats.mtu, stats.in_flight), (1400, 10_800));
        }
    }

    #[test]
    fn who_casts_a_watched_controller_down_finds_the_chosen_one() {
        let cubic = monitored(&Congestion::Cubic).1.into_any();
        assert!(cubic.downcast::<Cubic>().is_ok());
        let reno = monitored(&Congestion::NewReno).1.clone_box().into_any();
        assert!(reno.downcast::<NewReno>().is_ok());
        let bbr = monitored(&Congestion::Bbr).1.into_any();
        assert!(bbr.downcast::<Bbr>().is_ok());
    }

    #[test]
    fn a_copy_has_the_original_s_window_and_leaves_its_monitor_alone() {
        let (monitor, mut controller) = monitored(&Congestion::NewReno);
        let now = Instant::now();
        controller.on_sent(now, 12_000, 9);
        controller.on_congestion_event(now, now + std::time::Duration::from_secs(1), false, 1_200);
        let before = monitor.snapshot();
        let copy = controller.clone_box();
        assert_eq!(copy.window(), controller.window());
        assert_eq!(monitor.snapshot(), before);
        drop(copy);
        controller.on_sent(now, 100, 10);
        assert_eq!(monitor.snapshot().in_flight, before.in_flight + 100);
    }
}
