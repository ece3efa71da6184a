//! Pure: which congestion controller a connection has, and the watch that is kept around it.

use std::{any::Any, fmt, sync::Arc, time::Instant};

use quinn::congestion::{
    BbrConfig, Controller, ControllerFactory, ControllerMetrics, CubicConfig, NewRenoConfig,
};
use quinn_proto::RttEstimator;

use super::path_stats::{Gauge, PathMonitor};
use quinn_thalweg::ThalwegConfig;

/// Which congestion controller decides how much may be in flight.
///
/// A connection has one, however many streams it has.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// What most of the Internet uses. It takes every loss for congestion: a path that loses one packet in a
    /// thousand by accident holds it to some tens of packets a round trip. The default.
    #[default]
    Cubic,
    /// The older standard, slower to use a large window.
    NewReno,
    /// quinn's BBR, which does not mind single losses. quinn calls it experimental, and it stalls at times.
    Bbr,
    /// Ours, for links that lose: up to a tenth of all packets does not slow it down, and it keeps queues short. See
    /// [`congestion`](crate::congestion).
    Thalweg,
    /// One of your own.
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

impl Congestion {
    /// What makes the controllers.
    #[must_use]
    pub fn factory(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::NewReno => Arc::new(NewRenoConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
            Self::Thalweg => Arc::new(ThalwegConfig::default()),
            Self::Custom(factory) => Arc::clone(factory),
        }
    }
}

/// Makes controllers of the chosen kind that publish what they see. One for each connection, as its sight is.
pub(super) struct WatchedFactory {
    chosen: Arc<dyn ControllerFactory + Send + Sync>,
    sight: Arc<PathMonitor>,
}

impl WatchedFactory {
    pub(super) fn new(chosen: &Congestion, sight: Arc<PathMonitor>) -> Self {
        Self {
            chosen: chosen.factory(),
            sight,
        }
    }
}

impl ControllerFactory for WatchedFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let chosen = Arc::clone(&self.chosen).build(now, current_mtu);
        let gauge = Gauge::open(&self.sight, chosen.window(), current_mtu.into());
        Box::new(Watched {
            chosen,
            sight: Arc::clone(&self.sight),
            gauge,
        })
    }
}

/// The chosen controller, which decides everything, and the books that are kept of what it is told.
pub(super) struct Watched {
    chosen: Box<dyn Controller>,
    sight: Arc<PathMonitor>,
    gauge: Gauge,
}

impl Controller for Watched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.chosen.on_sent(now, bytes, last_packet_number);
        self.gauge
            .on_sent(&self.sight, now, bytes, self.chosen.window());
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.gauge.on_ack(
            &self.sight,
            bytes,
            now.saturating_duration_since(sent),
            rtt.get(),
            rtt.min(),
        );
        self.chosen.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.chosen
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        self.gauge
            .on_end_acks(&self.sight, in_flight, app_limited, self.chosen.window());
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.chosen
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        self.gauge.on_congestion(
            &self.sight,
            lost_bytes,
            is_persistent_congestion,
            self.chosen.window(),
        );
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.chosen.on_mtu_update(new_mtu);
        self.gauge
            .on_mtu(&self.sight, new_mtu.into(), self.chosen.window());
    }

    fn window(&self) -> u64 {
        self.chosen.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.chosen.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            chosen: self.chosen.clone_box(),
            sight: Arc::clone(&self.sight),
            gauge: self.gauge.copy(),
        })
    }

    fn initial_window(&self) -> u64 {
        self.chosen.initial_window()
    }

    /// The chosen controller, for whom a caller looks who casts down.
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self.chosen.into_any()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use quinn::congestion::{Bbr, Cubic, NewReno};

    use super::*;

    fn watched(congestion: &Congestion) -> (Arc<PathMonitor>, Box<dyn Controller>) {
        let now = Instant::now();
        let sight = Arc::new(PathMonitor::new(now));
        let factory = Arc::new(WatchedFactory::new(congestion, Arc::clone(&sight)));
        let controller = factory.build(now, 1200);
        (sight, controller)
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
            let (sight, mut watched) = watched(&kind);
            for controller in [&mut alone, &mut watched] {
                controller.on_sent(now, 12_000, 9);
                controller.on_mtu_update(1400);
                controller.on_congestion_event(now, now, false, 1200);
            }
            assert_eq!(watched.window(), alone.window(), "{kind:?}");
            assert_eq!(watched.initial_window(), alone.initial_window());
            let view = sight.snapshot();
            assert_eq!(view.cwnd, alone.window(), "{kind:?}");
            assert_eq!((view.mtu, view.in_flight), (1400, 10_800));
        }
    }

    #[test]
    fn who_casts_a_watched_controller_down_finds_the_chosen_one() {
        let cubic = watched(&Congestion::Cubic).1.into_any();
        assert!(cubic.downcast::<Cubic>().is_ok());
        let reno = watched(&Congestion::NewReno).1.clone_box().into_any();
        assert!(reno.downcast::<NewReno>().is_ok());
        let bbr = watched(&Congestion::Bbr).1.into_any();
        assert!(bbr.downcast::<Bbr>().is_ok());
    }

    #[test]
    fn a_copy_has_the_original_s_window_and_leaves_its_sight_alone() {
        let (sight, mut controller) = watched(&Congestion::NewReno);
        let now = Instant::now();
        controller.on_sent(now, 12_000, 9);
        controller.on_congestion_event(now, now + std::time::Duration::from_secs(1), false, 1_200);
        let before = sight.snapshot();
        let copy = controller.clone_box();
        assert_eq!(copy.window(), controller.window());
        assert_eq!(sight.snapshot(), before);
        drop(copy);
        controller.on_sent(now, 100, 10);
        assert_eq!(sight.snapshot().in_flight, before.in_flight + 100);
    }
}
