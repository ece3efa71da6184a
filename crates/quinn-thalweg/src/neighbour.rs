//! Pure: how a CUBIC flow would grow and shrink ([RFC 9438]), for as long as one shares the queue.
//!
//! Who keeps the queue short beside one who fills it gets nothing. So beside such a flow, its own law is the fair one.
//! Slow start and the detection of losses are left out: whoever is here has a window, and is told what congestion is.
//!
//! [RFC 9438]: https://www.rfc-editor.org/rfc/rfc9438

use std::time::{Duration, Instant};

/// How steeply the window grows, in packets a second to the third (RFC 9438, 5).
const C: f64 = 0.4;
/// What is left of the window after a loss (RFC 9438, 4.6).
const BETA: f64 = 0.7;
/// Packets that Reno would gain in a round trip, to be as fast on average with this `BETA` (RFC 9438, 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The window of such a flow, in packets.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    window: f64,
    /// The window before the last reduction.
    most: f64,
    /// Where the curve began, and how many seconds from there it is back at `most`.
    epoch: Instant,
    k: f64,
    /// What Reno would have now.
    reno: f64,
    /// Losses of what was sent before this are answered.
    answered: Instant,
}

impl Neighbour {
    /// A flow whose window at `now` is this one, on the way back to what it had before a loss.
    pub(super) fn new(now: Instant, window: f64) -> Self {
        let most = window / BETA;
        Self {
            window,
            most,
            epoch: now,
            k: k(most, window),
            reno: window,
            answered: now,
        }
    }

    pub(super) fn window(&self) -> f64 {
        self.window
    }

    pub(super) fn on_ack(&mut self, now: Instant, packets: f64, rtt: Duration) {
        let time = (now.saturating_duration_since(self.epoch) + rtt).as_secs_f64();
        let target =
            (C * (time - self.k).powi(3) + self.most).clamp(self.window, 1.5 * self.window);
        self.reno += ALPHA * packets / self.window;
        self.window += (target - self.window) * packets / self.window;
        self.window = self.window.max(self.reno);
    }

    /// Congestion, seen at a packet that was sent at `sent`. Answered once a round trip.
    pub(super) fn on_congestion(&mut self, now: Instant, sent: Instant) {
        if sent <= self.answered {
            return;
        }
        // A flow that comes back with less than it had makes room for others (RFC 9438, 4.7).
        self.most = match self.window < self.most {
            true => self.window * (1.0 + BETA) / 2.0,
            false => self.window,
        };
        self.window = (self.window * BETA).max(2.0);
        self.reno = self.window;
        self.epoch = now;
        self.k = k(self.most, self.window);
        self.answered = now;
    }
}

/// How many seconds the curve takes from `window` to `most`.
fn k(most: f64, window: f64) -> f64 {
    ((most - window).max(0.0) / C).cbrt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    /// So many round trips without a loss.
    fn grow(neighbour: &mut Neighbour, now: &mut Instant, rounds: u32) {
        for _ in 0..rounds {
            *now += RTT;
            let window = neighbour.window();
            neighbour.on_ack(*now, window, RTT);
        }
    }

    #[test]
    fn the_window_is_back_after_the_time_that_the_rfc_says() {
        let mut now = Instant::now();
        let mut neighbour = Neighbour::new(now, 700.0);
        // K = cbrt((1000 - 700) / 0.4) = 9.1 s.
        grow(&mut neighbour, &mut now, 160);
        assert!(neighbour.window() < 1000.0, "{}", neighbour.window());
        grow(&mut neighbour, &mut now, 30);
        let window = neighbour.window();
        assert!((995.0..1010.0).contains(&window), "{window}");
    }

    #[test]
    fn a_round_trip_of_losses_is_one_loss() {
        let mut now = Instant::now();
        let mut neighbour = Neighbour::new(now, 1000.0);
        now += RTT;
        for _ in 0..10 {
            neighbour.on_congestion(now + RTT, now);
        }
        assert!((neighbour.window() - 700.0).abs() < 1e-6);
    }

    #[test]
    fn a_small_window_grows_no_slower_than_reno_s() {
        let mut now = Instant::now();
        let mut neighbour = Neighbour::new(now, 10.0);
        grow(&mut neighbour, &mut now, 10);
        assert!(neighbour.window() >= 15.0, "{}", neighbour.window());
    }

    #[test]
    fn however_much_is_lost_two_packets_stay() {
        let mut now = Instant::now();
        let mut neighbour = Neighbour::new(now, 10.0);
        for _ in 0..20 {
            now += RTT;
            neighbour.on_congestion(now, now);
        }
        assert!((neighbour.window() - 2.0).abs() < 1e-9);
    }
}
