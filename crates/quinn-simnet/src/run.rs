//! Runs a simulation: a runtime of its own, whose clock advances only while every task waits.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    clock::{Clock, ClockDriver},
    network::Network,
    time,
};

/// The virtual time that [`run`] allows a scenario.
pub const LIMIT: Duration = Duration::from_hours(1);

/// Runs `scenario` over a simulated network, in virtual time, and returns its result.
///
/// All randomness of the network comes from `seed`. If the scenario panics, the seed is printed to the standard error,
/// so that the run can be repeated.
///
/// # Time
///
/// `run` starts a tokio runtime on the calling thread, with its clock paused. No time passes while a task can run. When
/// every task waits, the clock advances to whichever comes first:
///
/// - the next arrival of a packet, timer of [`Network::runtime`] or [`Network::sleep`], to the nanosecond;
/// - the next timer of tokio (`tokio::time::sleep`, `timeout`, `interval`). Tokio rounds these up to whole milliseconds,
///   counted from the start of the run.
///
/// All parts of a run read the same time. Other threads are not waited for: the clock advances while they work. While
/// packets are in flight this includes `spawn_blocking`, so a simulated program should do its work in tasks.
///
/// # Repeating a run
///
/// A run repeats exactly if the code under test is deterministic too:
///
/// - Seed quinn with `EndpointConfig::rng_seed`.
/// - Use certificates with Ed25519 keys: other signatures vary in length, and so do packets.
/// - Tokio uses a random order in `tokio::select!` without `biased`, and when it wakes several tasks that wait for one
///   `tokio::sync::watch`. In a build with `RUSTFLAGS="--cfg tokio_unstable"` it is seeded as well.
/// - Read [`elapsed`](crate::elapsed) instead of the wall clock.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let passed = quinn_simnet::run(7, async |net| {
///     net.sleep(Duration::from_micros(250)).await;
///     net.elapsed()
/// });
/// assert_eq!(passed, Duration::from_micros(250));
/// ```
///
/// # Panics
///
/// If the scenario panics; if it has not ended after [`LIMIT`] of virtual time, which is how a deadlock ends (at once,
/// because nothing else holds the clock); if the thread already runs a tokio runtime (call `run` on a `std::thread`
/// or with `spawn_blocking`); if the system cannot create another runtime.
pub fn run<T>(seed: u64, scenario: impl AsyncFnOnce(Network) -> T) -> T {
    run_within(LIMIT, seed, scenario)
}

/// Runs `scenario` like [`run`], with another limit of virtual time.
///
/// # Panics
///
/// As [`run`].
pub fn run_within<T>(limit: Duration, seed: u64, scenario: impl AsyncFnOnce(Network) -> T) -> T {
    let driver: Arc<OnceLock<ClockDriver>> = Arc::default();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder
        .enable_all()
        .start_paused(true)
        .on_thread_park({
            let driver = driver.clone();
            move || {
                if let Some(driver) = driver.get() {
                    driver.on_idle();
                }
            }
        })
        .build()
        .expect("the system can create another runtime");
    let on_exit = OnExit { seed, driver };
    let outcome = runtime.block_on(async {
        let clock = Clock::default();
        on_exit
            .driver
            .get_or_init(|| ClockDriver::new(clock.clone()));
        let _running = time::Running::begin();
        time::timeout(limit, scenario(Network::new(seed, clock))).await
    });
    outcome.unwrap_or_else(|_| panic!("the scenario is not over after {limit:?} of virtual time"))
}

/// Releases the clock at the end of a run, and prints the seed if the run has panicked.
struct OnExit {
    seed: u64,
    driver: Arc<OnceLock<ClockDriver>>,
}

impl Drop for OnExit {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get() {
            driver.release();
        }
        if std::thread::panicking() {
            eprintln!("the seed of this simulation: {}", self.seed);
        }
    }
}
