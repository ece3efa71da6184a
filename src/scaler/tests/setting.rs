//! The settings of a simulation: a link, a broker, a producer's limits, and a random seed.

use std::time::{Duration, Instant};

/// Returns an instant to count from, always the same. No test depends on its value.
#[allow(
    clippy::disallowed_methods,
    reason = "std has no other way to make an Instant"
)]
pub(in crate::scaler) fn origin() -> Instant {
    use std::sync::OnceLock;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// A seeded xorshift generator.
#[derive(Debug, Clone)]
pub(in crate::scaler) struct Rng(u64);

impl Rng {
    pub(in crate::scaler) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number from 0 to below 1.
    pub(in crate::scaler) fn next_f64(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What the broker does with a batch.
#[derive(Debug, Clone, Copy)]
pub(in crate::scaler) enum Broker {
    /// Holds each for this time, all concurrently.
    Parallel(Duration),
    /// Works through each stream at this many bytes a second, one batch after the other.
    Serial(f64),
    /// Writes the bytes of all streams to one store, and answers at the next commit.
    Store {
        bytes_per_second: f64,
        commit: Duration,
    },
}

/// How the congestion window behaves.
#[derive(Debug, Clone, Copy)]
pub(in crate::scaler) enum Window {
    Fixed(u64),
    /// Starts at this size, and doubles each round trip in which it was full and something waited for it.
    SlowStart(u64),
}

/// What differs between simulations.
#[derive(Debug, Clone)]
pub(in crate::scaler) struct Setting {
    pub(in crate::scaler) rtt: Duration,
    pub(in crate::scaler) window: Window,
    pub(in crate::scaler) loss: f64,
    pub(in crate::scaler) broker: Broker,
    pub(in crate::scaler) lane_window: u64,
    pub(in crate::scaler) batch: u64,
    /// Bytes a second that the producer's processor can give to lanes.
    pub(in crate::scaler) cpu: f64,
    pub(in crate::scaler) peer_streams: usize,
    pub(in crate::scaler) seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            rtt: Duration::from_millis(20),
            window: Window::Fixed(1 << 30),
            loss: 0.0,
            broker: Broker::Parallel(Duration::from_millis(2)),
            lane_window: 64 * 1024,
            batch: 16 * 1024,
            cpu: f64::MAX,
            peer_streams: 100,
            seed: 7,
        }
    }
}
