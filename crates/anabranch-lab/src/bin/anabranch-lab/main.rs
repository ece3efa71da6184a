//! The laboratory's program: what lanes are worth on a given link, in virtual time. `anabranch lab` runs it too.
#![allow(
    clippy::disallowed_methods,
    reason = "a program may read the clock and start tasks"
)]

mod controllers;
mod file;
mod json;
mod regret;
mod report;
mod table;

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use anabranch_lab::{Comparison, Scenario, compare_all};
use anyhow::Context;
use clap::Parser;

use anabranch_cli::{
    output::{self, Output},
    progress,
};

/// Try a link before you deploy on it: producer and broker as they are, over a simulated network, in virtual time.
///
/// Each strategy sends the same load over the same link. Times are from the moment a message is due to the moment the
/// broker has it. The floor is what no protocol can beat there.
#[derive(Debug, Parser)]
#[command(name = "anabranch-lab", version, max_term_width = 100)]
struct Args {
    /// The round trip of the empty link [50ms]
    #[arg(long, env = "ANABRANCH_RTT", value_name = "TIME")]
    rtt: Option<String>,
    /// Up to so much more delay for each packet [0ms]
    #[arg(long, env = "ANABRANCH_JITTER", value_name = "TIME")]
    jitter: Option<String>,
    /// The share of packets that is lost [1%]
    #[arg(long, env = "ANABRANCH_LOSS", value_name = "SHARE")]
    loss: Option<String>,
    /// How many packets in a row a loss takes on average [1]
    #[arg(long, env = "ANABRANCH_BURST", value_name = "PACKETS")]
    burst: Option<String>,
    /// The rate of the link [100mbit]
    #[arg(long, env = "ANABRANCH_RATE", value_name = "RATE")]
    rate: Option<String>,
    /// The queue before the link, in round trips of its rate or in bytes [1bdp]
    #[arg(long, env = "ANABRANCH_QUEUE", value_name = "SIZE")]
    queue: Option<String>,
    /// The offered payload, or its share of the link's rate [50%]
    #[arg(long, env = "ANABRANCH_LOAD", value_name = "RATE")]
    load: Option<String>,
    /// steady, poisson, burst:PERIOD/DUTY, ramp, or once:MESSAGES [steady]
    #[arg(long, env = "ANABRANCH_PATTERN", value_name = "PATTERN")]
    pattern: Option<String>,
    /// How far the gap between two messages may be from even [0%]
    #[arg(long, env = "ANABRANCH_NOISE", value_name = "SHARE")]
    noise: Option<String>,
    /// The payload of a message [1KiB]
    #[arg(long, env = "ANABRANCH_SIZE", value_name = "SIZE")]
    size: Option<String>,
    /// How long the load lasts [20s]
    #[arg(long, env = "ANABRANCH_DURATION", value_name = "TIME")]
    duration: Option<String>,
    /// Messages that come before this are not measured [0s]
    #[arg(long, env = "ANABRANCH_WARM_UP", value_name = "TIME")]
    warm_up: Option<String>,
    /// How long to look on behind the last message [0s]
    #[arg(long, env = "ANABRANCH_TAIL", value_name = "TIME")]
    tail: Option<String>,
    /// Who competes: adaptive, per-message, and numbers of streams [adaptive,1,4,16,64,per-message]
    #[arg(long, env = "ANABRANCH_STRATEGIES", value_name = "LIST")]
    strategies: Option<String>,
    /// cubic, newreno, bbr or thalweg [cubic]
    #[arg(long, env = "ANABRANCH_CONGESTION", value_name = "NAME")]
    congestion: Option<String>,
    /// How long the broker takes over each batch of a stream [0ms]
    #[arg(long, env = "ANABRANCH_BROKER_DELAY", value_name = "TIME")]
    broker_delay: Option<String>,
    /// How long its store takes over each group of batches [0ms]
    #[arg(long, env = "ANABRANCH_STORE_DELAY", value_name = "TIME")]
    store_delay: Option<String>,
    /// How much its store takes in [no limit]
    #[arg(long, env = "ANABRANCH_STORE_RATE", value_name = "RATE")]
    store_rate: Option<String>,
    /// How many streams the broker permits [its default]
    #[arg(long, env = "ANABRANCH_PEER_STREAMS", value_name = "STREAMS")]
    peer_streams: Option<String>,
    /// How many bytes of a stream the broker permits unread [its default]
    #[arg(long, env = "ANABRANCH_PEER_WINDOW", value_name = "SIZE")]
    peer_window: Option<String>,
    /// How many bytes a lane may have unanswered [256KiB]
    #[arg(long, env = "ANABRANCH_LANE_WINDOW", value_name = "SIZE")]
    lane_window: Option<String>,
    /// The most lanes of the adaptive strategy [64]
    #[arg(long, env = "ANABRANCH_MAX_STREAMS", value_name = "STREAMS")]
    max_lanes: Option<String>,
    /// After how long an unwanted lane is retired [10s]
    #[arg(long, env = "ANABRANCH_IDLE_TIMEOUT", value_name = "TIME")]
    idle_timeout: Option<String>,
    /// How many bytes the producer may hold [64MiB]
    #[arg(long, env = "ANABRANCH_BUFFER", value_name = "SIZE")]
    buffer: Option<String>,
    /// Where all chance begins [1]
    #[arg(long, env = "ANABRANCH_SEED", value_name = "NUMBER")]
    seed: Option<String>,
    /// How many times each is run, with one seed after another: each figure is the median of theirs [1]
    #[arg(long, env = "ANABRANCH_RUNS", value_name = "NUMBER")]
    runs: Option<String>,

    /// Many scenarios, from a file: its tables `[[scenario]]` have the names of these flags as keys. Flags that are
    /// given beside it change every one of them
    #[arg(long, env = "ANABRANCH_SCENARIOS", value_name = "FILE.toml")]
    scenarios: Option<PathBuf>,
    /// Compare the congestion controllers instead: one row a promise, from one seed. Takes some minutes
    #[arg(long, env = "ANABRANCH_CONTROLLERS", conflicts_with_all = ["scenarios", "report"])]
    controllers: bool,
    /// Write a page with everything over time, to be looked at in a browser
    #[arg(long, env = "ANABRANCH_REPORT", value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// How to say it
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

impl Args {
    /// What was given, by the names that scenarios know.
    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("rtt", &self.rtt),
            ("jitter", &self.jitter),
            ("loss", &self.loss),
            ("burst", &self.burst),
            ("rate", &self.rate),
            ("queue", &self.queue),
            ("load", &self.load),
            ("pattern", &self.pattern),
            ("noise", &self.noise),
            ("size", &self.size),
            ("duration", &self.duration),
            ("warm-up", &self.warm_up),
            ("tail", &self.tail),
            ("strategies", &self.strategies),
            ("congestion", &self.congestion),
            ("broker-delay", &self.broker_delay),
            ("store-delay", &self.store_delay),
            ("store-rate", &self.store_rate),
            ("peer-streams", &self.peer_streams),
            ("peer-window", &self.peer_window),
            ("lane-window", &self.lane_window),
            ("max-lanes", &self.max_lanes),
            ("idle-timeout", &self.idle_timeout),
            ("buffer", &self.buffer),
            ("seed", &self.seed),
            ("runs", &self.runs),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        let mut scenarios = match &self.scenarios {
            Some(path) => file::read(path)?,
            None => vec![Scenario::default()],
        };
        for scenario in &mut scenarios {
            for (name, value) in self.given() {
                scenario
                    .set(name, value)
                    .map_err(|error| anyhow::anyhow!("--{error}"))?;
            }
            let named = || format!("scenario {:?}", scenario.name);
            scenario.check().with_context(named)?;
        }
        Ok(scenarios)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    anabranch_cli::log();
    anabranch_cli::run(run(args))
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.controllers {
        let seed = args
            .scenarios()?
            .first()
            .map_or(1, |scenario| scenario.seed);
        return controllers::run(seed).await;
    }
    let mut scenarios = args.scenarios()?;
    let alone = args.scenarios.is_none();
    let tour = alone && args.output == Output::Text && args.given().next().is_none();
    if tour {
        scenarios.push(another_controller(&scenarios[0])?);
    }
    // Simulations have runtimes and clocks of their own, on threads of their own.
    let comparisons = tokio::task::spawn_blocking(move || compare(&scenarios)).await??;
    if let Some(path) = &args.report {
        report::write(path, &comparisons)?;
    }
    match (args.output, &comparisons[..]) {
        (Output::Json, [one]) if alone => output::json(&json::Comparison::of(one))?,
        (Output::Json, many) => {
            let all: Vec<_> = many.iter().map(json::Comparison::of).collect();
            output::json(&all)?;
        }
        (Output::Text, many) if alone => {
            let tables: Vec<_> = many.iter().map(table::of_one).collect();
            output::line(tables.join("\n\n\n"))?;
            if tour {
                output::line(TOUR)?;
            }
        }
        (Output::Text, many) => output::line(regret::table(many))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said below a run without options.
const TOUR: &str = "\n\
    The same link and the same load, twice. Above, CUBIC takes every lost packet for congestion and carries a fraction of\n\
    the load: no number of streams helps. Below, Thalweg takes the queue for it, and then streams are what decides how\n\
    many messages wait for a packet that was not theirs. Try your own link: anabranch lab --help";

/// The same with a controller that does not take each loss for congestion.
fn another_controller(scenario: &Scenario) -> anyhow::Result<Scenario> {
    let mut other = scenario.clone();
    for (field, value) in [("congestion", "thalweg"), ("warm-up", "2s")] {
        other.set(field, value)?;
    }
    Ok(other)
}

fn compare(scenarios: &[Scenario]) -> anyhow::Result<Vec<Comparison>> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let runs: usize = scenarios
        .iter()
        .map(|scenario| scenario.strategies.len())
        .sum();
    let done = AtomicUsize::new(0);
    let comparisons = compare_all(scenarios, threads, |place, outcome| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if progress::is_terminal() || runs > 12 {
            let scenario = &scenarios[place];
            let name = match scenario.name.as_str() {
                "" => "lab",
                name => name,
            };
            progress::say(format_args!("{done}/{runs} {name}: {}", outcome.name));
        }
    })?;
    Ok(comparisons)
}
