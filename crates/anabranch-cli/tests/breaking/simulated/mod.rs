//! Runs in virtual time: several producers and consumers, random calls, random faults, and a check of the history.
//!
//! ```text
//! producing ─┐                 ┌─ relay ─┐
//! reading  ──┼─ link (faults) ─┤         ├─ broker ─ disk (faults)
//!            │                 └─────────┘
//!            └─▶ log ─▶ history ─▶ violations
//! ```

mod disk;
mod faults;
mod host;
mod log;
mod producing;
mod reading;
mod relay;
mod world;

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anabranch::sim::{self, LinkConfig, Loss, Network, Rate};
use fastrand::Rng;
use futures_util::future::join_all;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use self::{log::Log, world::World};
use crate::{
    history::{History, ReaderName},
    tally::{Part, Tally},
};

/// Number of seeds without `ANABRANCH_SEEDS`: about 20 s on one processor, without optimisation.
const FEW: u64 = 300;

/// Time limit of a run in virtual time.
const LIMIT: Duration = Duration::from_hours(3);

/// Time limit of a run in real time.
const PATIENCE: Duration = Duration::from_secs(30);

fn link(rng: &mut Rng) -> LinkConfig {
    let share = f64::from(rng.u8(0..4)) / 100.0;
    LinkConfig::default()
        .delay(Duration::from_millis(rng.u64(1..40)))
        .jitter(Duration::from_millis(rng.u64(0..5)))
        .rate(Rate::mbit(rng.u64(5..50)))
        .loss(match rng.bool() {
            true => Loss::Random(share),
            false => Loss::Bursty {
                share,
                mean_burst: 4.0,
            },
        })
        .duplicate(0.01)
        .reorder(0.01, Duration::from_millis(3))
}

async fn live(network: Network, seed: u64) -> (History, Tally) {
    let mut rng = Rng::with_seed(seed);
    let (producers, readers) = (rng.u8(1..4), rng.u8(0..3));
    let link = link(&mut rng);
    let world = World::new(network, producers + readers, link, &mut rng).await;
    let (produced_by, read_by) = world.clients.split_at(usize::from(producers));
    let log = Log::default();

    let (end, ends) = watch::channel(None);
    let names = (0..).map(|n: u64| format!("producer-{n}"));
    let names: Vec<_> = names.take(produced_by.len()).collect();
    let producing = join_all(
        produced_by
            .iter()
            .zip(&names)
            .map(|(client, name)| producing::produce(&world, client, name, &log, rng.fork())),
    );
    let reading = join_all((0..).zip(read_by).map(|(n, client)| {
        let rng = rng.fork();
        reading::read(&world, client, ReaderName(n), ends.clone(), &log, rng)
    }));
    let network_faults = faults::network_faults(&world, &log, rng.fork());
    let broker_faults = faults::broker_faults(&world, &log, rng.fork());
    let work = async {
        tokio::join!(producing, network_faults, broker_faults);
        // A batch that was stored although its write failed becomes visible with the next one.
        producing::send_last(&produced_by[0], &log).await;
        let stored = world.topic().await.len() as u64;
        end.send_replace(Some(stored));
    };
    tokio::join!(work, reading);

    let (mut history, mut tally) = log.take();
    history.topic = world.topic().await;
    for client in &world.clients {
        for way in [&client.there, &client.back] {
            let counted = way.counters();
            tally.add(Part::Packets, "sent", counted.sent.packets);
            tally.add(Part::Packets, "lost", counted.dropped.total());
            tally.add(Part::Packets, "duplicated", counted.duplicated);
            tally.add(Part::Packets, "reordered", counted.reordered);
        }
    }
    tally.runs = 1;
    (history, tally)
}

/// Runs a seed. The same seed gives the same history, up to tokio's own random numbers.
fn history(seed: u64) -> (History, Tally) {
    fastrand::seed(seed);
    sim::run_within(LIMIT, seed, async |network| live(network, seed).await)
}

/// Returns the command that repeats a seed.
fn again(seed: u64) -> String {
    let flags = match cfg!(tokio_unstable) {
        true => r#"RUSTFLAGS="--cfg tokio_unstable" "#,
        false => "",
    };
    format!(
        "{flags}ANABRANCH_SEED={seed} cargo test -p anabranch-cli --test breaking -- --nocapture histories"
    )
}

/// Number of repetitions of a single seed. Without `tokio_unstable`, tokio's random numbers differ each time.
const REPETITIONS: u64 = if cfg!(tokio_unstable) { 1 } else { 100 };

/// Runs and checks a seed. Prints how to repeat a seed that fails.
fn checked(seed: u64) -> Tally {
    let Ok((history, mut tally)) = catch_unwind(AssertUnwindSafe(|| history(seed))) else {
        println!("seed {seed} panicked; to repeat it: {}", again(seed));
        return Tally::broken();
    };
    let violations = history.violations();
    tally.add_violations(&violations);
    for violation in &violations {
        println!("seed {seed}: {violation}");
    }
    if !violations.is_empty() {
        println!("to repeat seed {seed}: {}", again(seed));
    }
    tally
}

/// Runs a single seed until it fails, at most [`REPETITIONS`] times.
fn repeat(seed: u64) -> Tally {
    let mut all = Tally::default();
    for _ in 0..REPETITIONS {
        all.merge(&checked(seed));
        if all.violations > 0 {
            break;
        }
    }
    all
}

/// Returns the seeds to run: `ANABRANCH_SEED=7` is a single one, `ANABRANCH_SEEDS=5000` the first 5000, and
/// `ANABRANCH_SEEDS=5000..6000` a range.
fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse().expect("a seed is a number");
    if let Ok(seed) = std::env::var("ANABRANCH_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("ANABRANCH_SEEDS") {
        Ok(seeds) => match seeds.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(&seeds),
        },
        Err(_) => 0..FEW,
    }
}

/// Runs the seeds on all processors. A run that does not end is printed, and ends the process.
fn run(seeds: Range<u64>) -> Tally {
    let next = Arc::new(AtomicU64::new(seeds.start));
    let (done, finished) = mpsc::sync_channel(64);
    let (begun, begins) = mpsc::sync_channel(64);
    for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let (next, done, begun) = (Arc::clone(&next), done.clone(), begun.clone());
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, SeqCst);
                if seed >= seeds.end || begun.send((seed, Instant::now())).is_err() {
                    return;
                }
                let _ = done.send((seed, checked(seed)));
            }
        });
    }
    drop((done, begun));
    let (mut all, mut running) = (Tally::default(), BTreeMap::new());
    loop {
        running.extend(begins.try_iter());
        match finished.recv_timeout(Duration::from_secs(1)) {
            Ok((seed, tally)) => {
                running.extend(begins.try_iter());
                running.remove(&seed);
                all.merge(&tally);
            }
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let hangs = |(_, began): &(&u64, &Instant)| began.elapsed() > PATIENCE;
        if let Some((&seed, _)) = running.iter().find(hangs) {
            println!("seed {seed} does not end; to repeat it: {}", again(seed));
            std::process::exit(101);
        }
    }
}

#[test]
fn histories_under_faults_keep_every_promise() {
    // With a single seed, `RUST_LOG=anabranch=debug` shows the log of both ends.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let began = Instant::now();
    let seeds = seeds();
    let all = match seeds.end - seeds.start {
        1 => repeat(seeds.start),
        _ => run(seeds),
    };
    println!(
        "\n{} histories in virtual time, in {:.1} s:\n{all}",
        all.runs,
        began.elapsed().as_secs_f64()
    );
    assert_eq!(all.violations, 0, "the seeds are printed above");
}

/// Needs `RUSTFLAGS="--cfg tokio_unstable"`: see [`sim::run`].
#[test]
#[cfg(tokio_unstable)]
fn a_history_is_the_same_every_time() {
    for seed in 0..20 {
        let ((first, _), (second, _)) = (history(seed), history(seed));
        let both = first.events.iter().zip(&second.events).enumerate();
        for (place, (one, other)) in both {
            assert_eq!(one, other, "seed {seed}, event {place}");
        }
        assert!(first == second, "seed {seed}");
    }
}
