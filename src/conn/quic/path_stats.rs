//! Statistics of a connection's network path, as its congestion controller sees it.
//!
//! `quinn::Connection::stats()` reports neither the bytes in flight nor whether the congestion window limits the connection.
//! Both are needed to decide whether another stream can help. quinn tells the congestion controller everything, so a wrapper
//! around the chosen one (`congestion::Monitored`) records it.
//!
//! ```text
//! quinn ── on_sent, on_ack, on_end_acks, on_congestion_event ──▶ Monitored ──▶ the chosen controller
//!                                                                    │
//!                                                              PathRecorder ──▶ PathMonitor ──▶ snapshot(): PathStats
//! ```
//!
//! A [`PathRecorder`] belongs to one controller, and so to one network path. The [`PathMonitor`] belongs to the connection
//! and outlives changes of the path. Totals are added to the monitor and never copied, so each byte is counted once even if
//! quinn copies or replaces its controllers.
//!
//! The monitor is written by the task that drives the connection and read by others. Its fields are independent figures, so
//! relaxed atomics are enough.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Represents `None` in an atomic number of microseconds.
const NEVER: u64 = u64::MAX;

/// The published statistics of one connection. Its congestion controller writes them; anything may read them at any time.
///
/// Each figure is exact. Two figures of one snapshot may differ by the events of one packet.
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

/// Statistics of a connection's network path, as its congestion controller sees it.
///
/// Sizes are bytes of UDP payload: they include QUIC's headers and exclude those of UDP and IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// Congestion window: the bytes that may be in flight.
    pub cwnd: u64,
    /// Bytes that were sent and are neither acknowledged nor declared lost. Exact at each acknowledgement; until the next one,
    /// packets that carry only acknowledgements are counted too.
    pub in_flight: u64,
    /// Time since which the congestion window has been full without interruption; `None` while it is not full. Full means that
    /// nine tenths of it are in flight, or that no further packet fits.
    pub full_since: Option<Instant>,
    /// Whether, at the last acknowledgement, the connection had no data to send that the window held back.
    pub app_limited: bool,
    /// Largest packet that the path is known to carry.
    pub mtu: u64,
    /// Smoothed round-trip time; `None` before the first acknowledgement.
    pub rtt: Option<Duration>,
    /// Smallest round-trip time of this path; `None` before the first acknowledgement.
    pub min_rtt: Option<Duration>,
    /// Bytes sent over the life of the connection, without probes of path MTU discovery.
    pub sent_bytes: u64,
    /// Bytes acknowledged over the life of the connection. Packets that elicit no acknowledgement are not counted.
    pub acked_bytes: u64,
    /// Bytes declared lost over the life of the connection.
    pub lost_bytes: u64,
    /// Number of times that packets were declared lost. Several packets declared lost at once count once.
    pub loss_events: u64,
    /// Number of congestion events: those of [`PathStats::loss_events`], and marks by routers (ECN).
    pub congestion_events: u64,
    /// Number of congestion events that were persistent congestion: no packet was acknowledged for several round trips.
    pub persistent_congestion: u64,
    /// Number of network paths that the connection has used: one, and one more for each change of path.
    pub paths: u64,
}

impl PathStats {
    /// Returns how long the congestion window has been full without interruption at `now`; zero while it is not full.
    #[must_use]
    pub fn full_for(&self, now: Instant) -> Duration {
        self.full_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl PathMonitor {
    /// Creates the monitor of a connection that starts at `now`. Its figures are zero until there is a controller.
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

    /// Returns the current figures.
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

    fn publish(&self, recorder: &PathRecorder) {
        self.cwnd.store(recorder.cwnd, Relaxed);
        self.mtu.store(recorder.mtu, Relaxed);
        self.in_flight.store(recorder.in_flight, Relaxed);
        self.full_since.store(
            recorder.full_since.map_or(NEVER, |since| {
                micros(since.saturating_duration_since(self.began))
            }),
            Relaxed,
        );
    }
}

/// Records what one controller is told, and publishes it to the monitor.
///
/// A copy starts with nothing in flight and publishes nothing until its controller is told of an event. quinn copies a
/// controller when a client's address changes and for each call of `congestion_state()`, and only the one that it keeps using
/// is told of events.
#[derive(Debug)]
pub(super) struct PathRecorder {
    cwnd: u64,
    mtu: u64,
    in_flight: u64,
    full_since: Option<Instant>,
    /// An acknowledgement of the current batch was seen.
    in_batch: bool,
    /// quinn's estimate of the round-trip time is based on a measurement.
    sampled: bool,
}

impl PathRecorder {
    /// Creates the recorder of a new controller, with its initial window and packet size.
    pub(super) fn open(monitor: &PathMonitor, cwnd: u64, mtu: u64) -> Self {
        let recorder = Self {
            cwnd,
            mtu,
            in_flight: 0,
            full_since: None,
            in_batch: false,
            sampled: false,
        };
        monitor.paths.fetch_add(1, Relaxed);
        monitor.publish(&recorder);
        recorder
    }

    /// Creates the recorder of a copy of this controller, without publishing anything.
    pub(super) fn copy(&self) -> Self {
        Self {
            in_flight: 0,
            full_since: None,
            in_batch: false,
            ..*self
        }
    }

    /// Records that `bytes` were sent.
    pub(super) fn on_sent(&mut self, monitor: &PathMonitor, now: Instant, bytes: u64, cwnd: u64) {
        self.cwnd = cwnd;
        self.in_flight = self.in_flight.saturating_add(bytes);
        if self.full_since.is_none() && self.is_full() {
            self.full_since = Some(now);
        }
        monitor.sent_bytes.fetch_add(bytes, Relaxed);
        monitor.publish(self);
    }

    /// Records that a packet of `bytes` was acknowledged. Others of the same batch may follow.
    ///
    /// `rtt` and `min_rtt` are quinn's estimates before this batch. `sample` is the time since this packet was sent.
    pub(super) fn on_ack(
        &mut self,
        monitor: &PathMonitor,
        bytes: u64,
        sample: Duration,
        rtt: Duration,
        min_rtt: Duration,
    ) {
        self.begin_batch();
        // quinn updates its estimator after the batch, so at the first batch it still holds its initial guess.
        let (rtt, min_rtt) = if self.sampled {
            (rtt, min_rtt)
        } else {
            (sample, sample)
        };
        monitor.rtt.store(micros(rtt), Relaxed);
        monitor.min_rtt.store(micros(min_rtt), Relaxed);
        monitor.acked_bytes.fetch_add(bytes, Relaxed);
    }

    /// Records that the batch is complete and exactly `in_flight` bytes are left.
    pub(super) fn on_end_acks(
        &mut self,
        monitor: &PathMonitor,
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
        monitor.app_limited.store(app_limited, Relaxed);
        monitor.publish(self);
    }

    /// Records a congestion event with `lost` bytes declared lost; 0 if a router marked packets instead of dropping them.
    pub(super) fn on_congestion(
        &mut self,
        monitor: &PathMonitor,
        lost: u64,
        persistent: bool,
        cwnd: u64,
    ) {
        self.cwnd = cwnd;
        self.in_flight = self.in_flight.saturating_sub(lost);
        monitor.lost_bytes.fetch_add(lost, Relaxed);
        monitor.loss_events.fetch_add(u64::from(lost > 0), Relaxed);
        monitor.congestion_events.fetch_add(1, Relaxed);
        monitor
            .persistent_congestion
            .fetch_add(u64::from(persistent), Relaxed);
        monitor.publish(self);
    }

    /// Records that the path carries packets of `mtu` bytes.
    pub(super) fn on_mtu(&mut self, monitor: &PathMonitor, mtu: u64, cwnd: u64) {
        self.mtu = mtu;
        self.cwnd = cwnd;
        monitor.publish(self);
    }

    /// Checks whether the window is full just before each batch of acknowledgements, when it is at its fullest: the space that
    /// they free is used a moment later.
    fn begin_batch(&mut self) {
        if !self.in_batch {
            self.in_batch = true;
            if !self.is_full() {
                self.full_since = None;
            }
        }
    }

    /// Returns whether the window is full. quinn sends no packet that does not fit completely, so a small window is never nine
    /// tenths full.
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
#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MTU: u64 = 1200;

    struct Path {
        monitor: PathMonitor,
        recorder: PathRecorder,
        now: Instant,
        cwnd: u64,
    }

    impl Path {
        fn new(cwnd: u64) -> Self {
            let now = Instant::now();
            let monitor = PathMonitor::new(now);
            let recorder = PathRecorder::open(&monitor, cwnd, MTU);
            Self {
                monitor,
                recorder,
                now,
                cwnd,
            }
        }

        fn after(&mut self, ms: u32) -> &mut Self {
            self.now += MS * ms;
            self
        }

        fn send(&mut self, bytes: u64) -> &mut Self {
            self.recorder
                .on_sent(&self.monitor, self.now, bytes, self.cwnd);
            self
        }

        /// Acknowledges `bytes` in one batch.
        fn ack(&mut self, bytes: u64, app_limited: bool) -> &mut Self {
            let left = self.recorder.in_flight - bytes;
            self.recorder.on_ack(&self.monitor, bytes, MS, MS, MS);
            self.recorder
                .on_end_acks(&self.monitor, left, app_limited, self.cwnd);
            self
        }

        fn stats(&self) -> PathStats {
            self.monitor.snapshot()
        }
    }

    #[test]
    fn bytes_in_flight_are_what_was_sent_and_neither_acknowledged_nor_lost() {
        let mut path = Path::new(100_000);
        path.send(50_000).send(10_000);
        assert_eq!(path.stats().in_flight, 60_000);
        path.ack(20_000, false);
        assert_eq!(path.stats().in_flight, 40_000);
        path.recorder
            .on_congestion(&path.monitor, 15_000, false, 70_000);
        let stats = path.stats();
        assert_eq!((stats.in_flight, stats.cwnd), (25_000, 70_000));
        assert_eq!(
            (stats.sent_bytes, stats.acked_bytes, stats.lost_bytes),
            (60_000, 20_000, 15_000)
        );
    }

    #[test]
    fn a_window_that_is_refilled_after_every_ack_has_been_full_all_the_time() {
        let mut path = Path::new(12_000);
        path.send(10_800);
        let began = path.now;
        for _ in 0..50 {
            // Half of the window at once: between the acknowledgement and the refill it is far from full.
            path.after(1).ack(6_000, false);
            path.after(1).send(6_000);
        }
        let stats = path.stats();
        assert_eq!(stats.full_since, Some(began));
        assert_eq!(stats.full_for(path.now), MS * 100);
    }

    #[test]
    fn a_window_that_the_application_does_not_fill_is_not_full() {
        let mut path = Path::new(12_000);
        for _ in 0..50 {
            path.send(3_000).after(5).ack(3_000, true);
            assert_eq!(path.stats().full_since, None);
        }
    }

    #[test]
    fn the_end_of_a_burst_ends_the_full_window() {
        let mut path = Path::new(12_000);
        path.send(12_000).after(1).ack(2_400, false);
        assert!(
            path.stats().full_since.is_some(),
            "more data may be waiting"
        );
        path.after(1).ack(2_400, false);
        assert_eq!(path.stats().full_since, None, "nothing filled it again");

        path.send(12_000).after(1);
        assert!(path.stats().full_since.is_some());
        path.ack(12_000, true);
        assert_eq!(
            path.stats().full_since,
            None,
            "quinn had nothing more to send"
        );
    }

    #[test]
    fn an_idle_hour_does_not_count_as_a_full_window() {
        let mut path = Path::new(12_000);
        path.send(12_000).after(10).ack(12_000, true);
        path.after(3_600_000).send(12_000);
        assert_eq!(path.stats().full_since, Some(path.now));
    }

    #[test]
    fn a_link_that_answers_nothing_stays_full() {
        let mut path = Path::new(12_000);
        path.send(11_000);
        let began = path.now;
        path.after(5_000);
        path.recorder.on_congestion(&path.monitor, 0, true, 2_400);
        assert_eq!(path.stats().full_since, Some(began));
    }

    #[test]
    fn a_window_of_two_packets_is_full_with_one_in_flight() {
        let mut path = Path::new(2 * MTU);
        path.send(MTU);
        assert!(path.stats().full_since.is_some());
        // With nothing in flight, it is not full.
        let mut path = Path::new(MTU);
        path.ack(0, false);
        assert_eq!(path.stats().full_since, None);
    }

    #[test]
    fn the_first_round_trip_is_measured_and_not_guessed() {
        let path = Path::new(12_000);
        assert_eq!(path.stats().rtt, None);
        let mut path = path;
        let guess = MS * 100;
        path.recorder.on_ack(&path.monitor, 1, MS * 7, guess, guess);
        assert_eq!(path.stats().rtt, Some(MS * 7));
        assert_eq!(path.stats().min_rtt, Some(MS * 7));
        path.recorder.on_end_acks(&path.monitor, 0, true, 12_000);
        path.recorder
            .on_ack(&path.monitor, 1, MS * 9, MS * 8, MS * 6);
        assert_eq!(path.stats().rtt, Some(MS * 8));
        assert_eq!(path.stats().min_rtt, Some(MS * 6));
    }

    #[test]
    fn losses_marks_and_persistent_congestion_are_counted_apart() {
        let mut path = Path::new(12_000);
        path.send(12_000);
        path.recorder
            .on_congestion(&path.monitor, 1_200, false, 8_400);
        path.recorder.on_congestion(&path.monitor, 0, false, 5_880);
        path.recorder
            .on_congestion(&path.monitor, 2_400, true, 2_400);
        let stats = path.stats();
        assert_eq!(stats.congestion_events, 3);
        assert_eq!(stats.loss_events, 2);
        assert_eq!(stats.persistent_congestion, 1);
        assert_eq!(stats.lost_bytes, 3_600);
    }

    #[test]
    fn a_copy_that_is_told_nothing_changes_nothing() {
        let mut path = Path::new(12_000);
        path.send(12_000);
        let before = path.stats();
        let copy = path.recorder.copy();
        assert_eq!(path.stats(), before);
        assert_eq!((copy.cwnd, copy.in_flight), (12_000, 0));
    }

    #[test]
    fn totals_add_up_over_a_copy_that_is_used_and_then_abandoned() {
        let mut path = Path::new(12_000);
        path.send(6_000).ack(6_000, true);
        // The peer moves to another port, and quinn continues with a copy.
        let mut moved = path.recorder.copy();
        moved.on_sent(&path.monitor, path.now, 2_000, 12_000);
        assert_eq!(path.stats().in_flight, 2_000);
        // quinn cannot validate the new address and returns to the first one.
        path.send(1_000);
        let stats = path.stats();
        assert_eq!(stats.in_flight, 1_000, "those of the path in use");
        assert_eq!((stats.sent_bytes, stats.acked_bytes), (9_000, 6_000));
        assert_eq!(stats.paths, 1, "a copy is not another path");
    }

    #[test]
    fn a_new_controller_keeps_the_totals_and_starts_its_own_window() {
        let mut path = Path::new(50_000);
        path.send(50_000).ack(20_000, false);
        path.recorder = PathRecorder::open(&path.monitor, 12_000, MTU);
        let stats = path.stats();
        assert_eq!(
            (stats.cwnd, stats.in_flight, stats.full_since),
            (12_000, 0, None)
        );
        assert_eq!((stats.sent_bytes, stats.acked_bytes), (50_000, 20_000));
        assert_eq!(stats.paths, 2);
    }
}
