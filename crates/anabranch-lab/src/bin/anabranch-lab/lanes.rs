//! `anabranch-lab` without a subcommand: compares strategies on one scenario, or on those of a file.

use std::{
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use anabranch_cli::{
    output::{self, Output},
    progress,
};
use anabranch_lab::{Comparison, Scenario, compare_all};
use anyhow::Context;

use super::{controllers, json, regret_table, report, scenarios, table};

/// Returns a parser that checks the text of a scenario's field.
fn field(name: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync {
    move |text| match Scenario::default().set(name, text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.problem),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Round-trip time of the empty link [default: 50ms]
    #[arg(long, env = "ANABRANCH_RTT", value_name = "TIME", value_parser = field("rtt"))]
    rtt: Option<String>,
    /// Maximum extra delay of each packet [default: 0s]
    #[arg(long, env = "ANABRANCH_JITTER", value_name = "TIME", value_parser = field("jitter"))]
    jitter: Option<String>,
    /// Share of packets lost [default: 1%]
    #[arg(long, env = "ANABRANCH_LOSS", value_name = "SHARE", value_parser = field("loss"))]
    loss: Option<String>,
    /// Average number of packets lost in a row [default: 1]
    #[arg(long, env = "ANABRANCH_BURST", value_name = "PACKETS", value_parser = field("burst"))]
    burst: Option<String>,
    /// Rate of the link [default: 100mbit]
    #[arg(long, env = "ANABRANCH_RATE", value_name = "RATE", value_parser = field("rate"))]
    rate: Option<String>,
    /// Queue of the link, in bandwidth-delay products or bytes [default: 1bdp]
    #[arg(long, env = "ANABRANCH_QUEUE", value_name = "SIZE", value_parser = field("queue"))]
    queue: Option<String>,
    /// Offered payload, as a rate or a share of the link's rate [default: 50%]
    #[arg(long, env = "ANABRANCH_LOAD", value_name = "RATE", value_parser = field("load"))]
    load: Option<String>,
    /// Arrivals of messages: steady, poisson, burst:PERIOD/DUTY, ramp, or once:MESSAGES [default: steady]
    #[arg(long, env = "ANABRANCH_PATTERN", value_name = "PATTERN", value_parser = field("pattern"))]
    pattern: Option<String>,
    /// Maximum deviation of the gap between two messages [default: 0%]
    #[arg(long, env = "ANABRANCH_NOISE", value_name = "SHARE", value_parser = field("noise"))]
    noise: Option<String>,
    /// Payload of a message [default: 1KiB]
    #[arg(long, env = "ANABRANCH_SIZE", value_name = "SIZE", value_parser = field("size"))]
    size: Option<String>,
    /// Duration of the load [default: 20s]
    #[arg(long, env = "ANABRANCH_DURATION", value_name = "TIME", value_parser = field("duration"))]
    duration: Option<String>,
    /// Time at the start whose messages are not measured [default: 0s]
    #[arg(long, env = "ANABRANCH_WARM_UP", value_name = "TIME", value_parser = field("warm-up"))]
    warm_up: Option<String>,
    /// Time that the run continues after the last outcome [default: 0s]
    #[arg(long, env = "ANABRANCH_TAIL", value_name = "TIME", value_parser = field("tail"))]
    tail: Option<String>,
    /// Strategies to compare: adaptive, per-message, and numbers of lanes [default: adaptive,1,4,16,64,per-message]
    #[arg(
        long,
        env = "ANABRANCH_STRATEGIES",
        value_name = "LIST",
        value_parser = field("strategies")
    )]
    strategies: Option<String>,
    /// Congestion controller: cubic, newreno, bbr or thalweg [default: cubic]
    #[arg(
        long,
        env = "ANABRANCH_CONGESTION",
        value_name = "NAME",
        value_parser = field("congestion")
    )]
    congestion: Option<String>,
    /// Time the broker takes for each batch of a stream [default: 0s]
    #[arg(
        long,
        env = "ANABRANCH_BROKER_DELAY",
        value_name = "TIME",
        value_parser = field("broker-delay")
    )]
    broker_delay: Option<String>,
    /// Time the store takes for each group of batches [default: 0s]
    #[arg(
        long,
        env = "ANABRANCH_STORE_DELAY",
        value_name = "TIME",
        value_parser = field("store-delay")
    )]
    store_delay: Option<String>,
    /// Rate of the store [default: no limit]
    #[arg(
        long,
        env = "ANABRANCH_STORE_RATE",
        value_name = "RATE",
        value_parser = field("store-rate")
    )]
    store_rate: Option<String>,
    /// Number of streams the broker permits [default: the broker's]
    #[arg(
        long,
        env = "ANABRANCH_PEER_STREAMS",
        value_name = "STREAMS",
        value_parser = field("peer-streams")
    )]
    peer_streams: Option<String>,
    /// Receive window of the broker for each stream [default: the broker's]
    #[arg(
        long,
        env = "ANABRANCH_PEER_WINDOW",
        value_name = "SIZE",
        value_parser = field("peer-window")
    )]
    peer_window: Option<String>,
    /// Limit of unanswered bytes on a lane [default: 256KiB]
    #[arg(
        long,
        env = "ANABRANCH_LANE_WINDOW",
        value_name = "SIZE",
        value_parser = field("lane-window")
    )]
    lane_window: Option<String>,
    /// Limit of lanes of the adaptive strategy [default: 64]
    #[arg(long, env = "ANABRANCH_MAX_LANES", value_name = "LANES", value_parser = field("max-lanes"))]
    max_lanes: Option<String>,
    /// Time after which an idle lane closes [default: 10s]
    #[arg(
        long,
        env = "ANABRANCH_IDLE_TIMEOUT",
        value_name = "TIME",
        value_parser = field("idle-timeout")
    )]
    idle_timeout: Option<String>,
    /// Memory of the producer for messages [default: 64MiB]
    #[arg(long, env = "ANABRANCH_BUFFER", value_name = "SIZE", value_parser = field("buffer"))]
    buffer: Option<String>,
    /// Seed of all random numbers [default: 1]
    #[arg(long, env = "ANABRANCH_SEED", value_name = "NUMBER", value_parser = field("seed"))]
    seed: Option<String>,
    /// Number of runs, each with the next seed; each figure is their median [default: 1]
    #[arg(long, env = "ANABRANCH_RUNS", value_name = "NUMBER", value_parser = field("runs"))]
    runs: Option<String>,

    /// File of scenarios: tables `[[scenario]]` with the names of these flags as keys. Other flags override its values
    #[arg(long, env = "ANABRANCH_SCENARIOS", value_name = "FILE.toml")]
    scenarios: Option<PathBuf>,
    /// Compare congestion controllers instead, which takes some minutes. Only --seed has an effect
    #[arg(long, env = "ANABRANCH_CONTROLLERS", conflicts_with_all = ["scenarios", "report"])]
    controllers: bool,
    /// Write a page for a browser, with everything over time
    #[arg(long, env = "ANABRANCH_REPORT", value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Output format of the comparison
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

impl Args {
    /// Returns the scenario's flags that were given, by the names of the fields.
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

    /// Returns the scenarios to run.
    ///
    /// # Errors
    /// When the file cannot be read, or a scenario is not valid.
    pub(crate) fn scenarios(&self) -> anyhow::Result<Vec<Scenario>> {
        let mut scenarios = match &self.scenarios {
            Some(path) => scenarios::read(path)?,
            None => vec![Scenario::default()],
        };
        for scenario in &mut scenarios {
            for (name, value) in self.given() {
                scenario.set(name, value)?;
            }
            let checked = scenario.check();
            match scenario.name.as_str() {
                "" => checked?,
                name => checked.with_context(|| format!("scenario {name:?}"))?,
            }
        }
        Ok(scenarios)
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut scenarios = args.scenarios()?;
    if args.controllers {
        let seed = scenarios.first().map_or(1, |scenario| scenario.seed);
        return controllers::run(seed).await;
    }
    let alone = args.scenarios.is_none();
    let tour = alone && args.output == Output::Text && args.given().next().is_none();
    if tour {
        scenarios.push(another_controller(&scenarios[0])?);
    }
    // Each simulation needs a thread without a runtime.
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
        (Output::Text, many) => output::line(regret_table::table(many))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Printed below the tables of a run without flags.
const TOUR: &str = "\n\
    Both tables are of the same link and load. Above, CUBIC treats every lost packet as congestion and carries a fraction of\n\
    the load, with any number of lanes. Below, Thalweg reacts to the queue instead, and the number of lanes decides how many\n\
    messages wait for a packet of another message. To try your own link: anabranch lab --help";

/// Returns the scenario with a controller that does not treat every loss as congestion.
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
    let comparisons = compare_all(scenarios, threads, |index, outcome| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if progress::is_terminal() || runs > 12 {
            let scenario = &scenarios[index];
            let name = match scenario.name.as_str() {
                "" => "lab",
                name => name,
            };
            progress::say(format_args!("{done}/{runs} {name}: {}", outcome.name));
        }
    })?;
    Ok(comparisons)
}
