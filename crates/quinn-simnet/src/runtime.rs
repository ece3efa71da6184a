//! A run of the simulation: a runtime of its own, whose clock moves only when everything waits.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use quinn::{AsyncTimer, AsyncUdpSocket};

use super::{
    clock::{Alarm, Clock, Pace},
    network::Network,
};
use tokio_util::task::TaskTracker;

use crate::time;

/// The longest that [`run`] lets a scenario take.
pub const LIMIT: Duration = Duration::from_hours(1);

/// Runs `scenario` over a simulated network, in virtual time, and returns what it returns.
///
/// The network and everything in it draws from `seed`, and from nothing else. If the scenario panics, the seed
/// goes to the standard error, so that the run can be repeated.
///
/// This starts a tokio runtime on the calling thread, with its clock paused. Tasks run as they do anywhere, but
/// no time passes while one of them can run. When all of them wait, the clock moves on: exactly to the next
/// arrival of a packet, the next timer of [`Network::runtime`] or the next [`Network::sleep`], to the nanosecond;
/// for timers of tokio (`tokio::time::sleep`, `timeout`, `interval`), which live on a grid of whole milliseconds
/// counted from the start, to the next point of that grid. No clock ever jumps over one of the former to get to
/// one of the latter, and every part of the run reads the same time.
///
/// What goes on outside of the runtime is not waited for: the clock moves on while another thread works. With
/// packets on their way that is true of `spawn_blocking` too. So a simulated program does its work in tasks.
///
/// Where code under test draws dice of its own, the run repeats only as far as they do: seed quinn's with
/// `EndpointConfig::rng_seed`, and give it certificates with Ed25519 keys (the signatures of others vary in length). Tokio
/// draws dice for `tokio::select!` without `biased`, and for the order in which it wakes several who wait for the same
/// `tokio::sync::watch`: built with `RUSTFLAGS="--cfg tokio_unstable"`, these are seeded too. Code that writes the
/// wall clock into messages can take [`elapsed`](crate::elapsed) instead.
///
/// ```
/// use std::time::Duration;
/// use quinn_simnet as sim;
///
/// let passed = sim::run(7, async |net| {
///     net.sleep(Duration::from_micros(250)).await;
///     net.elapsed()
/// });
/// assert_eq!(passed, Duration::from_micros(250));
/// ```
///
/// # Panics
///
/// If the scenario panics; if it is not over after [`LIMIT`] of virtual time, which is how a scenario that hangs
/// ends (at once, since nothing else keeps the clock from running); if the thread already runs a tokio runtime
/// (go through a `std::thread` or `spawn_blocking`); if the system has no resources for another runtime.
pub fn run<T>(seed: u64, scenario: impl AsyncFnOnce(Network) -> T) -> T {
    run_within(LIMIT, seed, scenario)
}

/// As [`run`], with a limit of its own.
///
/// # Panics
///
/// As [`run`].
pub fn run_within<T>(limit: Duration, seed: u64, scenario: impl AsyncFnOnce(Network) -> T) -> T {
    let pace: Arc<OnceLock<Pace>> = Arc::default();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder
        .enable_all()
        .start_paused(true)
        .on_thread_park({
            let pace = pace.clone();
            move || {
                if let Some(pace) = pace.get() {
                    pace.on_idle();
                }
            }
        })
        .build()
        .expect("the system can carry another runtime");
    let on_exit = OnExit { seed, pace };
    let outcome = runtime.block_on(async {
        let clock = Clock::default();
        on_exit.pace.get_or_init(|| Pace::new(clock.clone()));
        let _running = time::Running::begin();
        time::timeout(limit, scenario(Network::new(seed, clock))).await
    });
    outcome.unwrap_or_else(|_| panic!("the scenario is not over after {limit:?} of virtual time"))
}

struct OnExit {
    seed: u64,
    pace: Arc<OnceLock<Pace>>,
}

impl Drop for OnExit {
    fn drop(&mut self) {
        if let Some(pace) = self.pace.get() {
            pace.release();
        }
        if std::thread::panicking() {
            eprintln!("the seed of this simulation: {}", self.seed);
        }
    }
}

/// The runtime that quinn's endpoints in the simulation run on: their timers are exact to the nanosecond.
///
/// From [`Network::runtime`]. Quinn's own `TokioRuntime` works too; its timers are late by up to a millisecond.
#[derive(Debug)]
pub struct SimRuntime {
    clock: Clock,
    tasks: TaskTracker,
}

impl SimRuntime {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            tasks: TaskTracker::new(),
        }
    }

    /// Starts a task that lives at most as long as the run.
    pub(super) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

impl quinn::Runtime for SimRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer {
            alarm: self.clock.alarm(),
            at,
        })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.start(future);
    }

    /// Always an error: a real socket has no place in virtual time. See [`Network::socket`].
    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a real socket has no place in a simulated network",
        ))
    }

    fn now(&self) -> Instant {
        time::now()
    }
}

#[derive(Debug)]
struct Timer {
    alarm: Alarm,
    at: Instant,
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        // The old moment is forgotten in the next poll, without which nobody would be woken anyway. One that
        // comes before that poll wakes its task once too often.
        self.at = at;
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll_at(self.at, cx)
    }
}
