//! `anabranch bench`: how fast messages are acknowledged, compared with raw QUIC and the disk.
//!
//! ```text
//! setup.rs            a broker on loopback, or one elsewhere, and the producers
//! load.rs             the sending tasks and their receipts          A ─┐
//! raw.rs              quinn alone, with the same options            B  ├─ A B D, A B D, ...: one run after the other
//! disk.rs             write and fdatasync alone                     D ─┘
//! process.rs          CPU time and memory of a process
//! counting_store.rs   how much the store writes at once
//! alloc.rs            an allocator that counts
//! report.rs           medians, ratios, spread
//! ```
//!
//! The speed of a machine varies over minutes. So each run measures its own baseline, the ratio is formed within the run,
//! and the report has the median over the runs.

mod alloc;
mod counting_store;
mod disk;
mod load;
pub(crate) mod process;
mod raw;
mod report;
mod setup;

use std::{path::Path, process::ExitCode, time::Duration};

use anabranch::{conn::DevCerts, producer::Strategy, units};
use clap::{ValueEnum, builder::BoolishValueParser};

use self::{
    load::Load,
    raw::Raw,
    report::{Report, Run, Setting},
    setup::Setup,
};
use crate::{
    args::Controller,
    connection::ConnectionArgs,
    harness,
    output::{self, Output},
    progress::{self, Live},
    stats::{as_f64, counted},
};

/// Default payload of a run, in bytes.
const RUN_BYTES: u64 = 256 << 20;
/// Smallest and largest default number of messages of a run.
const RUN_MESSAGES: (u64, u64) = (20_000, 2_000_000);
/// Default number of messages of a run in mode ping.
const PINGS: u64 = 20_000;

/// Measure throughput and latency: a warm-up, then several runs, with their median and spread.
///
/// Without --server, a broker is started in this process, on loopback. Every receipt is awaited. ack_ms is the time from the
/// call to the receipt, measured for at most one message in 16. client_cpu_us_per_message is the CPU time of this process,
/// including that of a broker in this process. broker_cpu_us_per_message is null, except with --server and --broker-pid. CPU
/// time has a resolution of 10 ms. allocations_per_message counts this process too, and is null if the program was built
/// without the feature count-allocations. With --store memory, the broker keeps the last 64 MiB. With --store log, it stores
/// in a temporary folder below TMPDIR, and bytes_written_per_byte is what this process has written to disk for a byte of payload.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Start a broker in this process even with --server. The default without --server.
    #[arg(long, value_parser = BoolishValueParser::new())]
    embedded: bool,

    /// Where the broker in this process stores messages.
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,

    /// Payload of a message, in bytes.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=8 << 20)
    )]
    size: u32,

    /// Number of messages of each run, over all producers and tasks [default: 256 MiB of payload, but 20 000 to 2 000 000;
    /// 20 000 in mode ping].
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000)
    )]
    messages: Option<u64>,

    /// Number of runs after the warm-up.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    runs: u32,

    /// Number of lanes in the modes async and ping: adaptive, a number from 1 to 64, or per-message.
    #[arg(long, value_name = "STRATEGY", default_value = "adaptive")]
    strategy: Strategy,

    /// How messages are sent.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,

    /// Congestion controller of the producers, the broker in this process, and the baseline.
    #[arg(long, value_enum, default_value_t)]
    congestion: Controller,

    /// Number of producers, each with its own connection.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    producers: u32,

    /// Number of tasks that send on each producer.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    tasks: u32,

    /// Number of threads that send on each producer, in place of tasks.
    #[arg(
        long,
        value_name = "COUNT",
        conflicts_with = "tasks",
        value_parser = clap::value_parser!(u32).range(1..=500)
    )]
    threads: Option<u32>,

    /// Limit of messages per second, over all tasks, to measure latency below the peak. Without it, there is no limit.
    #[arg(
        long,
        value_name = "PER_SECOND",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    rate: Option<u32>,

    /// Measure quinn alone after each run: the same bytes on one stream over loopback, with the same options and without
    /// messages; in mode ping, the same bytes to the server and back.
    #[arg(long, value_parser = BoolishValueParser::new())]
    baseline: bool,

    /// With --store log, the disk is measured after each run: writes of this size, each with fdatasync [default: the broker's
    /// average write].
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = units::parse_size
    )]
    disk_group: Option<u64>,

    /// Bytes that one lane may have unanswered [default: 256 KiB].
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = units::parse_size
    )]
    lane_window: Option<u64>,

    /// With --store log, the broker keeps this much of a topic, so that its log also gives space back during the runs. Without
    /// it, everything is kept.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = units::parse_size
    )]
    retain: Option<u64>,

    /// Number of topics that messages are spread over: the name of the topic, followed by a number.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    topics: u32,

    /// Topic to send to.
    #[arg(long, value_name = "TOPIC", default_value = "bench")]
    topic: String,

    /// Process of the broker on this machine, to measure its CPU time.
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,

    /// Output format of the report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: Option<ConnectionArgs>,
}

/// Where the broker in this process stores messages.
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
    /// One message, its receipt, then the next message.
    Ping,
}

impl Args {
    /// Returns the server to measure. `None` for a broker in this process.
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
            tasks: self.threads.unwrap_or(self.tasks),
            threads: self.threads.is_some(),
            rate: self.rate,
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let report = harness::with_temporary_folder("bench", async |folder, stop| {
        let bench = async {
            let setup = Setup::start(&args, folder).await?;
            let report = measure(&args, &setup, folder).await?;
            setup.stop().await?;
            anyhow::Ok(report)
        };
        harness::unless_stopped(&stop, bench).await
    })
    .await?;
    output::result(args.output, &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Performs the warm-up and all runs.
async fn measure(args: &Args, setup: &Setup, folder: &Path) -> anyhow::Result<Report> {
    let load = Load::new(args)?;
    let raw = match args.baseline {
        true => Some(Raw::start(&DevCerts::ensure(folder, &[])?, args.congestion.into()).await?),
        false => None,
    };
    let _live = Live::begin({
        let producer = setup.producers[0].clone();
        move || {
            let held = producer.stats();
            format!(
                "{:>7} queued, {:>7} unanswered, {}",
                held.queued_messages,
                held.in_flight_messages,
                counted(producer.lanes().open, "lane")
            )
        }
    });
    let mut runs = Vec::new();
    for number in 0..=args.runs {
        let run = measure_once(args, setup, &load, raw.as_ref(), folder).await?;
        // The first run is the warm-up.
        if number > 0 {
            progress::say(format_args!("run {number} of {}: {run}", args.runs));
            runs.push(run);
        }
    }
    let lanes = setup.producers.iter().map(|p| p.lanes().peak).max();
    Ok(Report::new(
        args.setting(),
        runs,
        lanes.unwrap_or_default(),
        process::peak_rss(),
    ))
}

/// Performs one run: messages, then quinn alone, then the disk alone.
async fn measure_once(
    args: &Args,
    setup: &Setup,
    load: &Load,
    raw: Option<&Raw>,
    folder: &Path,
) -> anyhow::Result<Run> {
    let broker = args.broker_pid.filter(|_| args.server().is_some());
    let cpu = || {
        (
            process::cpu(None),
            broker.and_then(|pid| process::cpu(Some(pid))),
        )
    };
    let allocations = alloc::count();
    let (before, written) = (cpu(), process::written());
    let sent = load.run(&setup.producers).await?;
    let (after, written_after) = (cpu(), process::written());
    let is_log = args.store == StoreKind::Log && args.server().is_none();
    let written = written_after.zip(written).filter(|_| is_log);
    let written = written.map(|(after, before)| after.saturating_sub(before));
    let allocated = alloc::count()
        .zip(allocations)
        .map(|(after, before)| as_f64(after.saturating_sub(before)) / as_f64(load.messages));
    let spent = |before: Option<Duration>, after: Option<Duration>| {
        Some(
            after?
                .saturating_sub(before?)
                .div_f64(as_f64(load.messages)),
        )
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
    if is_log {
        let average = setup.average_group();
        let group = args.disk_group.or(average).unwrap_or(4 << 20);
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
        written,
        disk,
    }))
}
