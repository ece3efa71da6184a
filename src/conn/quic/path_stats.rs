//! Pure: what a connection's congestion controller sees, published for others to read.
//!
//! `quinn::Connection::stats()` knows neither the bytes in flight nor whether the congestion window is what
//! holds the connection back, and both decide whether another stream can help. The congestion controller is told
//! everything, so a watch (`congestion::Watched`) stands around the chosen one and keeps these books.
//!
//! ```text
//! quinn ── on_sent, on_ack, on_end_acks, on_congestion_event ──▶ Watched ──▶ the chosen controller
//!                                                                  │
//!                                                                Gauge ──▶ PathMonitor ◀── snapshot() ── anybody
//! ```
//!
//! A gauge belongs to one controller, which is one network path; the [`PathMonitor`] belongs to the connection and
//! outlives path changes. Totals are added to the sight and never copied, so they count each byte once whatever
//! happens to the controllers.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Stands for "no time" in an atomic number of microseconds.
const NEVER: u64 = u64::MAX;

/// The published figures of one connection. Written by its congestion controller, read by anybody, at any time.
///
/// Each figure is exact; two figures of one snapshot may be one packet apart.
#[derive(Debug)]
pub struct PathMonitor {
    began: Instant,
    cwnd: AtomicU64,
    in_flight: AtomicU64,
    full_since: AtomicU64,
    app_limited: AtomicBool,
    mtu: AtomicU64,
    rtt: AtomicU64,
    min_rtt: AtomicU64,
    sent_bytes: AtomicU64,
    acked_bytes: AtomicU64,
    lost_bytes: AtomicU64,
    loss_events: AtomicU64,
    congestion_events: AtomicU64,
    persistent_congestion: AtomicU64,
    paths: AtomicU64,
}

/// What [`PathMonitor::snapshot`] returns: the network as the congestion controller knows it.
///
/// Sizes are bytes of UDP payload, with QUIC's own headers and without those of UDP and IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// The congestion window: how much may be in flight.
    pub cwnd: u64,
    /// What is sent and neither acknowledged nor given up. Exact whenever acknowledgements come in; between
    /// them, packets that carry nothing but acknowledgements are counted too.
    pub in_flight: u64,
    /// Since when the window has been full without a break; `None` while it is not. Full means nine tenths of it
    /// in flight, or so much that no further packet fits.
    pub full_since: Option<Instant>,
    /// At the last acknowledgement, the connection had nothing more to send that the window kept back.
    pub app_limited: bool,
    /// The largest packet that the path is known to carry.
    pub mtu: u64,
    /// The smoothed round trip; `None` before the first acknowledgement.
    pub rtt: Option<Duration>,
    /// The least round trip of this path; `None` before the first acknowledgement.
    pub min_rtt: Option<Duration>,
    /// Everything sent, ever, but for packets that only try out a larger size.
    pub sent_bytes: u64,
    /// Everything that the peer acknowledged, ever: what was delivered. Packets that ask for no acknowledgement
    /// are not in it.
    pub acked_bytes: u64,
    /// Everything given up as lost, ever.
    pub lost_bytes: u64,
    /// How often packets were given up as lost; several lost at once count once.
    pub loss_events: u64,
    /// How often the controller was told of congestion: [`PathStats::loss_events`], and marks by routers (ECN).
    pub congestion_events: u64,
    /// How many of those were persistent congestion: nothing got through for several round trips.
    pub persistent_congestion: u64,
    /// How many controllers the connection has had: one, and one more for each change of path.
    pub paths: u64,
}

impl PathStats {
    /// How long the window has been full without a break, at `now`; zero while it is not.
    #[must_use]
    pub fn full_for(&self, now: Instant) -> Duration {
        self.full_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl PathMonitor {
    /// A sight of a connection that begins at `now`. Everything is zero until there is a controller.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            cwnd: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            full_since: AtomicU64::new(NEVER),
            app_limited: AtomicBool::new(true),
            mtu: AtomicU64::new(0),
            rtt: AtomicU64::new(NEVER),
            min_rtt: AtomicU64::new(NEVER),
            sent_bytes: AtomicU64::new(0),
            acked_bytes: AtomicU64::new(0),
            lost_bytes: AtomicU64::new(0),
            loss_events: AtomicU64::new(0),
            congestion_events: AtomicU64::new(0),
            persistent_congestion: AtomicU64::new(0),
            paths: AtomicU64::new(0),
        }
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> PathStats {
        PathStats {
            cwnd: self.cwnd.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            full_since: duration(&self.full_since).map(|after| self.began + after),
            app_limited: self.app_limited.load(Relaxed),
            mtu: self.mtu.load(Relaxed),
            rtt: duration(&self.rtt),
            min_rtt: duration(&self.min_rtt),
            sent_bytes: self.sent_bytes.load(Relaxed),
            acked_bytes: self.acked_bytes.load(Relaxed),
            lost_bytes: self.lost_bytes.load(Relaxed),
            loss_events: self.loss_events.load(Relaxed),
            congestion_events: self.congestion_events.load(Relaxed),
            persistent_congestion: self.persistent_congestion.load(Relaxed),
            paths: self.paths.load(Relaxed),
        }
    }

    fn publish(&self, gauge: &Gauge) {
        self.cwnd.store(gauge.cwnd, Relaxed);
        self.mtu.store(gauge.mtu, Relaxed);
        self.in_flight.store(gauge.in_flight, Relaxed);
        self.full_since.store(
            gauge.full_since.map_or(NEVER, |since| {
                micros(since.saturating_duration_since(self.began))
            }),
            Relaxed,
        );
    }
}

/// The books of one controller, from which the sight is published.
///
/// A copy begins with nothing in flight and publishes nothing until its controller is told of something: quinn
/// copies a controller when a client's address changes, and for everybody who asks for `congestion_state()`, and
/// only the one that it goes on using is told of anything.
#[derive(Debug)]
pub(super) struct Gauge {
    cwnd: u64,
    mtu: u64,
    in_flight: u64,
    full_since: Option<Instant>,
    /// Acknowledgements of the batch that is coming in have been seen.
    in_batch: bool,
    /// The round trip is known from quinn's estimate, not from the first packet alone.
    sampled: bool,
}

impl Gauge {
    /// The books of a new controller, with what it starts from.
    pub(super) fn open(sight: &PathMonitor, cwnd: u64, mtu: u64) -> Self {
        let gauge = Self {
            cwnd,
            mtu,
            in_flight: 0,
            full_since: None,
            in_batch: false,
            sampled: false,
        };
        sight.paths.fetch_add(1, Relaxed);
        sight.publish(&gauge);
        gauge
    }

    /// The books of a copy of this controller. Says nothing to anybody.
    pub(super) fn copy(&self) -> Self {
        Self {
            in_flight: 0,
            full_since: None,
            in_batch: false,
            ..*self
        }
    }

    /// `bytes` were sent.
    pub(super) fn on_sent(&mut self, sight: &PathMonitor, now: Instant, bytes: u64, cwnd: u64) {
        self.cwnd = cwnd;
        self.in_flight = self.in_flight.saturating_add(bytes);
        if self.full_since.is_none() && self.is_full() {
            self.full_since = Some(now);
        }
        sight.sent_bytes.fetch_add(bytes, Relaxed);
        sight.publish(self);
    }

    /// A packet of `bytes` was acknowledged; others of the same batch may follow.
    ///
    /// `rtt` and `min_rtt` are quinn's estimates before this batch, `sample` is how long ago this packet was sent.
    pub(super) fn on_ack(
        &mut self,
        sight: &PathMonitor,
        bytes: u64,
        sample: Duration,
        rtt: Duration,
        min_rtt: Duration,
    ) {
        self.begin_batch();
        // quinn's estimator is updated after the batch, so with the first one it still holds its initial guess.
        let (rtt, min_rtt) = if self.sampled {
            (rtt, min_rtt)
        } else {
            (sample, sample)
        };
        sight.rtt.store(micros(rtt), Relaxed);
        sight.min_rtt.store(micros(min_rtt), Relaxed);
        sight.acked_bytes.fetch_add(bytes, Relaxed);
    }

    /// The batch is complete, and exactly `in_flight` is left.
    pub(super) fn on_end_acks(
        &mut self,
        sight: &PathMonitor,
        in_flight: u64,
        app_limited: bool,
        cwnd: u64,
    ) {
        self.begin_batch();
        self.in_batch = false;
        self.sampled = true;
        self.cwnd = cwnd;
        self.in_flight = in_flight;
        if app_limited {
            self.full_since = None;
        }
        sight.app_limited.store(app_limited, Relaxed);
        sight.publish(self);
    }

    /// `lost` bytes were given up; none where a router marked packets instead of dropping them.
    pub(super) fn on_congestion(
        &mut self,
        sight: &PathMonitor,
        lost: u64,
        persistent: bool,
        cwnd: u64,
    ) {
        self.cwnd = cwnd;
        self.in_flight = self.in_flight.saturating_sub(lost);
        sight.lost_bytes.fetch_add(lost, Relaxed);
        sight.loss_events.fetch_add(u64::from(lost > 0), Relaxed);
        sight.congestion_events.fetch_add(1, Relaxed);
        sight
            .persistent_congestion
            .fetch_add(u64::from(persistent), Relaxed);
        sight.publish(self);
    }

    /// The path carries packets of `mtu` bytes.
    pub(super) fn on_mtu(&mut self, sight: &PathMonitor, mtu: u64, cwnd: u64) {
        self.mtu = mtu;
        self.cwnd = cwnd;
        sight.publish(self);
    }

    /// Acknowledgements make room which is used a moment later, so the window is judged just before each batch
    /// of them, when it is at its fullest.
    fn begin_batch(&mut self) {
        if !self.in_batch {
            self.in_batch = true;
            if !self.is_full() {
                self.full_since = None;
            }
        }
    }

    /// quinn sends no packet that would not leave room in the window, so a small window is never nine tenths full.
    fn is_full(&self) -> bool {
        self.in_flight > 0
            && (self.in_flight.saturating_mul(10) >= self.cwnd.saturating_mul(9)
                || self.in_flight + self.mtu >= self.cwnd)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).map_or(NEVER - 1, |us| us.min(NEVER - 1))
}

fn duration(cell: &AtomicU64) -> Option<Duration> {
    match cell.load(Relaxed) {
        NEVER => None,
        us => Some(Duration::from_micros(us)),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MTU: u64 = 1200;

    struct Path {
        sight: PathMonitor,
        gauge: Gauge,
        now: Instant,
        cwnd: u64,
    }

    impl Path {
        fn new(cwnd: u64) -> Self {
            let now = Instant::now();
            let sight = PathMonitor::new(now);
            let gauge = Gauge::open(&sight, cwnd, MTU);
            Self {
                sight,
                gauge,
                now,
                cwnd,
            }
        }

        fn after(&mut self, ms: u32) -> &mut Self {
            self.now += MS * ms;
            self
        }

        fn send(&mut self, bytes: u64) -> &mut Self {
            self.gauge.on_sent(&self.sight, self.now, bytes, self.cwnd);
            self
        }

        /// A batch of acknowledgements for `bytes`.
        fn ack(&mut self, bytes: u64, app_limited: bool) -> &mut Self {
            let left = self.gauge.in_flight - bytes;
            self.gauge.on_ack(&self.sight, bytes, MS, MS, MS);
            self.gauge
                .on_end_acks(&self.sight, left, app_limited, self.cwnd);
            self
        }

        fn view(&self) -> PathStats {
            self.sight.snapshot()
        }
    }

    #[test]
    fn bytes_in_flight_are_what_was_sent_and_neither_acknowledged_nor_lost() {
        let mut path = Path::new(100_000);
        path.send(50_000).send(10_000);
        assert_eq!(path.view().in_flight, 60_000);
        path.ack(20_000, false);
        assert_eq!(path.view().in_flight, 40_000);
        path.gauge.on_congestion(&path.sight, 15_000, false, 70_000);
        let view = path.view();
        assert_eq!((view.in_flight, view.cwnd), (25_000, 70_000));
        assert_eq!(
            (view.sent_bytes, view.acked_bytes, view.lost_bytes),
            (60_000, 20_000, 15_000)
        );
    }

    #[test]
    fn a_window_that_is_refilled_after_every_ack_has_been_full_all_the_time() {
        let mut path = Path::new(12_000);
        path.send(10_800);
        let began = path.now;
        for _ in 0..50 {
            // Half the window at once: between the ack and the refill it is far from full.
            path.after(1).ack(6_000, false);
            path.after(1).send(6_000);
        }
        let view = path.view();
        assert_eq!(view.full_since, Some(began));
        assert_eq!(view.full_for(path.now), MS * 100);
    }

    #[test]
    fn a_window_that_the_application_does_not_fill_is_not_full() {
        let mut path = Path::new(12_000);
        for _ in 0..50 {
            path.send(3_000).after(5).ack(3_000, true);
            assert_eq!(path.view().full_since, None);
        }
    }

    #[test]
    fn the_end_of_a_burst_ends_the_full_window() {
        let mut path = Path::new(12_000);
        path.send(12_000).after(1).ack(2_400, false);
        assert!(path.view().full_since.is_some(), "more may be waiting");
        path.after(1).ack(2_400, false);
        assert_eq!(path.view().full_since, None, "nothing filled it again");

        path.send(12_000).after(1);
        assert!(path.view().full_since.is_some());
        path.ack(12_000, true);
        assert_eq!(
            path.view().full_since,
            None,
            "quinn had nothing more to send"
        );
    }

    #[test]
    fn an_idle_hour_does_not_count_as_a_full_window() {
        let mut path = Path::new(12_000);
        path.send(12_000).after(10).ack(12_000, true);
        path.after(3_600_000).send(12_000);
        assert_eq!(path.view().full_since, Some(path.now));
    }

    #[test]
    fn a_link_that_answers_nothing_stays_full() {
        let mut path = Path::new(12_000);
        path.send(11_000);
        let began = path.now;
        path.after(5_000);
        path.gauge.on_congestion(&path.sight, 0, true, 2_400);
        assert_eq!(path.view().full_since, Some(began));
    }

    #[test]
    fn a_window_of_two_packets_is_full_with_one_in_flight() {
        let mut path = Path::new(2 * MTU);
        path.send(MTU);
        assert!(path.view().full_since.is_some());
        // ... but not with nothing in flight.
        let mut path = Path::new(MTU);
        path.ack(0, false);
        assert_eq!(path.view().full_since, None);
    }

    #[test]
    fn the_first_round_trip_is_measured_and_not_guessed() {
        let path = Path::new(12_000);
        assert_eq!(path.view().rtt, None);
        let mut path = path;
        let guess = MS * 100;
        path.gauge.on_ack(&path.sight, 1, MS * 7, guess, guess);
        assert_eq!(path.view().rtt, Some(MS * 7));
        assert_eq!(path.view().min_rtt, Some(MS * 7));
        path.gauge.on_end_acks(&path.sight, 0, true, 12_000);
        path.gauge.on_ack(&path.sight, 1, MS * 9, MS * 8, MS * 6);
        assert_eq!(path.view().rtt, Some(MS * 8));
        assert_eq!(path.view().min_rtt, Some(MS * 6));
    }

    #[test]
    fn losses_marks_and_persistent_congestion_are_counted_apart() {
        let mut path = Path::new(12_000);
        path.send(12_000);
        path.gauge.on_congestion(&path.sight, 1_200, false, 8_400);
        path.gauge.on_congestion(&path.sight, 0, false, 5_880);
        path.gauge.on_congestion(&path.sight, 2_400, true, 2_400);
        let view = path.view();
        assert_eq!(view.congestion_events, 3);
        assert_eq!(view.loss_events, 2);
        assert_eq!(view.persistent_congestion, 1);
        assert_eq!(view.lost_bytes, 3_600);
    }

    #[test]
    fn a_copy_that_is_told_nothing_changes_nothing() {
        let mut path = Path::new(12_000);
        path.send(12_000);
        let before = path.view();
        let copy = path.gauge.copy();
        assert_eq!(path.view(), before);
        assert_eq!((copy.cwnd, copy.in_flight), (12_000, 0));
    }

    #[test]
    fn totals_add_up_over_a_copy_that_is_used_and_then_abandoned() {
        let mut path = Path::new(12_000);
        path.send(6_000).ack(6_000, true);
        // The peer moves to another port: quinn goes on with a copy ...
        let mut moved = path.gauge.copy();
        moved.on_sent(&path.sight, path.now, 2_000, 12_000);
        assert_eq!(path.view().in_flight, 2_000);
        // ... cannot validate the new address, and goes back to the first one.
        path.send(1_000);
        let view = path.view();
        assert_eq!(view.in_flight, 1_000, "of the path that is in use");
        assert_eq!((view.sent_bytes, view.acked_bytes), (9_000, 6_000));
        assert_eq!(view.paths, 1, "a copy is not another path");
    }

    #[test]
    fn a_new_controller_keeps_the_totals_and_starts_its_own_window() {
        let mut path = Path::new(50_000);
        path.send(50_000).ack(20_000, false);
        path.gauge = Gauge::open(&path.sight, 12_000, MTU);
        let view = path.view();
        assert_eq!(
            (view.cwnd, view.in_flight, view.full_since),
            (12_000, 0, None)
        );
        assert_eq!((view.sent_bytes, view.acked_bytes), (50_000, 20_000));
        assert_eq!(view.paths, 2);
    }
}
