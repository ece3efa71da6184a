//! Sans-I/O: a model of a CUBIC flow ([RFC 9438]), used while such a flow shares the queue.
//!
//! A flow that keeps the queue short gets almost nothing beside one that fills it, so there the other's own law is the
//! fair one. Slow start and loss detection are left out: the model begins with a window, and is told about congestion.
//!
//! [RFC 9438]: https://www.rfc-editor.org/rfc/rfc9438

use std::time::{Duration, Instant};

/// The steepness of the growth, in packets per second cubed (RFC 9438, section 5).
const C: f64 = 0.4;
/// The part of the window that is kept after a loss (RFC 9438, section 4.6).
const BETA: f64 = 0.7;
/// The growth of the Reno-friendly estimate, in packets a round trip (RFC 9438, section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The window of a CUBIC flow, in packets.
#[derive(Debug, Clone)]
pub(super) struct CubicModel {
    window: f64,
    /// The window before the last reduction (`W_max`).
    w_max: f64,
    epoch_start: Instant,
    /// The time in seconds from the start of the epoch until the window is `W_max` again (`K`).
    k: f64,
    /// The window that Reno would have (`W_est`).
    w_est: f64,
    /// Congestion of packets sent at or before this time has been responded to.
    recovery_start: Instant,
}

impl CubicModel {
    /// Returns a flow with this window at `now`, which was reduced by a loss at that time.
    pub(super) fn new(now: Instant, window: f64) -> Self {
        let w_max = window / BETA;
        Self {
            window,
            w_max,
            epoch_start: now,
            k: k(w_max, window),
            w_est: window,
            recovery_start: now,
        }
    }

    pub(super) fn window(&self) -> f64 {
        self.window
    }

    pub(super) fn on_ack(&mut self, now: Instant, packets: f64, rtt: Duration) {
        let time = (now.saturating_duration_since(self.epoch_start) + rtt).as_secs_f64();
        let target =
            (C * (time - self.k).powi(3) + self.w_max).clamp(self.window, 1.5 * self.window);
        self.w_est += ALPHA * packets / self.window;
        self.window += (target - self.window) * packets / self.window;
        self.window = self.window.max(self.w_est);
    }

    /// Reduces the window for congestion of a packet sent at `sent`, once a round trip.
    pub(super) fn on_congestion(&mut self, now: Instant, sent: Instant) {
        if sent <= self.recovery_start {
            return;
        }
        // Fast convergence: a flow whose window is falling makes room for others (RFC 9438, section 4.7).
        self.w_max = match self.window < self.w_max {
            true => self.window * (1.0 + BETA) / 2.0,
            false => self.window,
        };
        self.window = (self.window * BETA).max(2.0);
        self.w_est = self.window;
        self.epoch_start = now;
        self.k = k(self.w_max, self.window);
        self.recovery_start = now;
    }
}

/// Returns the time in seconds in which the curve grows from `window` to `w_max`.
fn k(w_max: f64, window: f64) -> f64 {
    ((w_max - window).max(0.0) / C).cbrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// Lets the window grow for some round trips without a loss.
    fn grow(cubic: &mut CubicModel, now: &mut Instant, rounds: u32) {
        for _ in 0..rounds {
            *now += RTT;
            let window = cubic.window();
            cubic.on_ack(*now, window, RTT);
        }
    }

    #[test]
    fn the_window_is_back_after_the_time_that_the_rfc_says() {
        let mut now = Instant::now();
        let mut cubic = CubicModel::new(now, 700.0);
        // K = cbrt((1000 - 700) / 0.4) = 9.1 s.
        grow(&mut cubic, &mut now, 160);
        assert!(cubic.window() < 1000.0, "{}", cubic.window());
        grow(&mut cubic, &mut now, 30);
        let window = cubic.window();
        assert!((995.0..1010.0).contains(&window), "{window}");
    }

    #[test]
    fn a_round_trip_of_losses_is_one_loss() {
        let mut now = Instant::now();
        let mut cubic = CubicModel::new(now, 1000.0);
        now += RTT;
        for _ in 0..10 {
            cubic.on_congestion(now + RTT, now);
        }
        assert!((cubic.window() - 700.0).abs() < 1e-6);
    }

    #[test]
    fn a_small_window_grows_no_slower_than_reno_s() {
        let mut now = Instant::now();
        let mut cubic = CubicModel::new(now, 10.0);
        grow(&mut cubic, &mut now, 10);
        assert!(cubic.window() >= 15.0, "{}", cubic.window());
    }

    #[test]
    fn however_much_is_lost_two_packets_stay() {
        let mut now = Instant::now();
        let mut cubic = CubicModel::new(now, 10.0);
        for _ in 0..20 {
            now += RTT;
            cubic.on_congestion(now, now);
        }
        assert!((cubic.window() - 2.0).abs() < 1e-9);
    }
}
