//! `anabranch bench`: how fast messages are acknowledged, beside what QUIC and the disk do at the same time.
//!
//! ```text
//! stage.rs     a broker on loopback, or one elsewhere, and the producers
//! load.rs      the sending tasks and their receipts          A ─┐
//! raw.rs       quinn alone, with the same settings           B  ├─ A B D, A B D, ...: one run after the other
//! disk.rs      write and fdatasync alone                     D ─┘
//! process.rs   CPU time and memory of a process
//! watched.rs   how much the store got at once
//! alloc.rs     an allocator that counts
//! report.rs    medians, ratios, spread
//! ```
//!
//! A machine has good and bad minutes. So each run measures its own baseline, the ratio is formed within the run, and
//! what is told is the median over the runs.

mod alloc;
mod disk;
mod load;
mod process;
mod raw;
mod report;
mod stage;
mod watched;

use std::{process::ExitCode, time::Duration};

use anabranch::conn::DevCerts;
use anyhow::{Context, bail};
use clap::{ValueEnum, builder::BoolishValueParser};

use self::{
    load::Load,
    raw::Raw,
    report::{Report, Run, Setting},
    stage::Stage,
};
use crate::{
    connection::{ConnectionArgs, Controller},
    output::{self, Output},
    produce::strategy::Streams,
    progress::{self, Live},
    signals, units,
};

/// Payload bytes of a run where no number of messages is given.
const RUN_BYTES: u64 = 256 << 20;
/// Messages of such a run at least and at most.
const RUN_MESSAGES: (u64, u64) = (20_000, 2_000_000);
/// The same for one message at a time.
const PINGS: u64 = 20_000;

/// Measure how fast messages are acknowledged: a warm-up, then several runs, their median and their spread.
///
/// Without --server, a broker is started in this process, on loopback. Every message gets its receipt, and every
/// receipt is awaited. ack_ms is the time from the call to the receipt, taken of one message in 16 at most.
/// client_cpu_us_per_message is the CPU time of this process: with a broker in it, that of both ends, and
/// broker_cpu_us_per_message is null; it is known with --server and --broker-pid. CPU time counts in steps of 10 ms.
/// allocations_per_message counts this process too; it is null where the program was built without the feature
/// count-allocations.
/// The broker in this process keeps the last 64 MiB where it keeps messages in memory, and everything on disk, in a
/// folder that is removed at the end, below TMPDIR.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure a broker in this process, even where a server is named. So it is where none is.
    #[arg(long, env = "ANABRANCH_EMBEDDED", value_parser = BoolishValueParser::new())]
    embedded: bool,

    /// Where the broker in this process keeps messages.
    #[arg(long, env = "ANABRANCH_STORE", value_enum, default_value_t)]
    store: StoreKind,

    /// The payload of a message, in bytes.
    #[arg(
        long,
        env = "ANABRANCH_SIZE",
        value_name = "BYTES",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=8 << 20)
    )]
    size: u32,

    /// Messages of each run, over all producers and tasks. By default, as many as make 256 MiB, 20 000 to 2 000 000;
    /// in mode ping 20 000.
    #[arg(
        long,
        env = "ANABRANCH_MESSAGES",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000)
    )]
    messages: Option<u64>,

    /// How many runs, the warm-up not counted.
    #[arg(
        long,
        env = "ANABRANCH_RUNS",
        value_name = "COUNT",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    runs: u32,

    /// How many streams carry messages in the modes async and ping: adaptive, a number from 1 to 64, or per-message.
    #[arg(
        long,
        env = "ANABRANCH_STRATEGY",
        value_name = "STRATEGY",
        default_value = "adaptive"
    )]
    strategy: Streams,

    /// How messages are sent.
    #[arg(long, env = "ANABRANCH_MODE", value_enum, default_value_t)]
    mode: Mode,

    /// The congestion controller of the producers, of the broker in this process, and of the baseline.
    #[arg(long, env = "ANABRANCH_CONGESTION", value_enum, default_value_t)]
    congestion: Controller,

    /// How many producers, each with a connection of its own.
    #[arg(
        long,
        env = "ANABRANCH_PRODUCERS",
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    producers: u32,

    /// How many tasks send on each producer.
    #[arg(
        long,
        env = "ANABRANCH_TASKS",
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    tasks: u32,

    /// Messages a second at most, over all tasks: for the latency below the peak. Without it, as fast as they are taken.
    #[arg(
        long,
        env = "ANABRANCH_RATE",
        value_name = "PER_SECOND",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    rate: Option<u32>,

    /// Measure quinn alone in turn with each run: the same bytes on one stream over loopback, with the same settings
    /// and no messages in them; in mode ping, the same bytes there and back.
    #[arg(long, env = "ANABRANCH_BASELINE", value_parser = BoolishValueParser::new())]
    baseline: bool,

    /// With --store log the disk is measured too, in turn with each run: so many bytes, then fdatasync. By default, as
    /// many as the broker wrote at once on average.
    #[arg(
        long,
        env = "ANABRANCH_DISK_GROUP",
        value_name = "SIZE",
        value_parser = units::size
    )]
    disk_group: Option<u64>,

    /// Spread the messages evenly over so many topics, in turn: the topic's name with a number behind it.
    #[arg(
        long,
        env = "ANABRANCH_TOPICS",
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    topics: u32,

    /// The topic to send to.
    #[arg(
        long,
        env = "ANABRANCH_TOPIC",
        value_name = "TOPIC",
        default_value = "bench"
    )]
    topic: String,

    /// The process of the broker, on this machine, whose CPU time is to be measured.
    #[arg(long, env = "ANABRANCH_BROKER_PID", value_name = "PID")]
    broker_pid: Option<u32>,

    /// How to tell the figures.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: Option<ConnectionArgs>,
}

/// Where the broker in this process keeps messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum StoreKind {
    /// In memory.
    #[default]
    Memory,
    /// On disk, with fdatasync before each answer.
    Log,
}

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Mode {
    /// send_async in a loop; another task awaits the receipts.
    #[default]
    Async,
    /// send in a loop, many calls at a time.
    Ordered,
    /// One message, its receipt, the next message.
    Ping,
}

impl Args {
    /// The server to measure, if it is not one in this process.
    fn server(&self) -> Option<&ConnectionArgs> {
        self.connection.as_ref().filter(|_| !self.embedded)
    }

    fn messages(&self) -> u64 {
        let usual = match self.mode {
            Mode::Ping => PINGS,
            _ => (RUN_BYTES / u64::from(self.size)).clamp(RUN_MESSAGES.0, RUN_MESSAGES.1),
        };
        self.messages.unwrap_or(usual)
    }

    fn setting(&self) -> Setting {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |value| value.get_name().to_owned())
        };
        Setting {
            size: self.size,
            messages: self.messages(),
            store: match self.server() {
                Some(_) => None,
                None => Some(name(self.store.to_possible_value())),
            },
            strategy: self.strategy.to_string(),
            mode: name(self.mode.to_possible_value()),
            congestion: name(self.congestion.to_possible_value()),
            producers: self.producers,
            topics: self.topics,
            tasks: self.tasks,
            rate: self.rate,
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("anabranch-bench-")
        .tempdir()
        .context("there is no temporary folder")?;
    let stop = signals::watch({
        let folder = folder.path().to_owned();
        move || {
            // Nobody else will.
            let _ = std::fs::remove_dir_all(folder);
        }
    })?;
    let measured = async {
        let stage = Stage::set(&args, folder.path()).await?;
        let report = measure(&args, &stage, folder.path()).await?;
        stage.strike().await?;
        anyhow::Ok(report)
    };
    let report = tokio::select! {
        measured = Box::pin(measured) => measured?,
        () = stop.cancelled() => bail!("stopped before the end"),
    };
    folder
        .close()
        .context("the temporary folder cannot be removed")?;
    match args.output {
        Output::Json => output::json(&report)?,
        Output::Text => output::line(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The warm-up and all runs.
async fn measure(args: &Args, stage: &Stage, folder: &std::path::Path) -> anyhow::Result<Report> {
    let load = Load::new(args)?;
    let raw = match args.baseline {
        true => Some(Raw::start(&DevCerts::ensure(folder, &[])?, args.congestion.into()).await?),
        false => None,
    };
    let _live = Live::begin({
        let producer = stage.producers[0].clone();
        move || {
            let held = producer.stats();
            format!(
                "{:>7} queued, {:>7} unanswered, {} lanes",
                held.queued_messages,
                held.in_flight_messages,
                producer.lanes().open
            )
        }
    });
    let mut runs = Vec::new();
    for number in 0..=args.runs {
        let run = one(args, stage, &load, raw.as_ref(), folder).await?;
        // The first one warms up.
        if number > 0 {
            progress::say(format_args!("run {number} of {}: {run}", args.runs));
            runs.push(run);
        }
    }
    let lanes = stage.producers.iter().map(|p| p.lanes().most).max();
    Ok(Report::new(
        args.setting(),
        runs,
        lanes.unwrap_or_default(),
        process::peak_rss(),
    ))
}

/// Messages, then quinn alone, then the disk alone.
async fn one(
    args: &Args,
    stage: &Stage,
    load: &Load,
    raw: Option<&Raw>,
    folder: &std::path::Path,
) -> anyhow::Result<Run> {
    let broker = args.broker_pid.filter(|_| args.server().is_some());
    let cpu = || {
        (
            process::cpu(None),
            broker.and_then(|pid| process::cpu(Some(pid))),
        )
    };
    let allocations = alloc::count();
    let before = cpu();
    let sent = load.run(&stage.producers).await?;
    let after = cpu();
    let allocated = alloc::count()
        .zip(allocations)
        .map(|(after, before)| count(after.saturating_sub(before)) / count(load.messages));
    let spent = |before: Option<Duration>, after: Option<Duration>| {
        Some(after?.saturating_sub(before?).div_f64(count(load.messages)))
    };
    let (mut bulk, mut ping_pong, mut disk) = (None, None, None);
    let mut bulk_cpu = None;
    if let Some(raw) = raw {
        match args.mode {
            Mode::Ping => ping_pong = Some(raw.ping_pong(args.size, load.messages).await?),
            _ => {
                let before = process::cpu(None);
                bulk = Some(raw.bulk(load.messages * u64::from(args.size)).await?);
                bulk_cpu = spent(before, process::cpu(None));
            }
        }
    }
    if args.store == StoreKind::Log && args.server().is_none() {
        let usual = stage.usual_group();
        let group = args.disk_group.or(usual).unwrap_or(4 << 20);
        let folder = folder.to_owned();
        disk = Some(tokio::task::spawn_blocking(move || disk::measure(&folder, group)).await??);
    }
    Ok(Run::new(report::Measured {
        messages: load.messages,
        size: args.size,
        sent,
        client_cpu: spent(before.0, after.0),
        broker_cpu: spent(before.1, after.1),
        bulk,
        bulk_cpu,
        ping_pong,
        allocations: allocated,
        disk,
    }))
}

/// A count to divide by.
#[allow(clippy::cast_precision_loss)]
fn count(count: u64) -> f64 {
    count as f64
}
