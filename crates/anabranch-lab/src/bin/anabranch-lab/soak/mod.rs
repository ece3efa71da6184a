//! `anabranch-lab soak`: hours of load with bursts and reconnects, and whether anything grows or gets lost.
//!
//! ```text
//! load.rs ─▶ Producer ═ loopback ═▶ Broker, its log, retention ═▶ durable Consumer ─▶ reader.rs
//!    │             broker.rs restarts the broker again and again                          │
//!    └──────────────────────────────▶ ledger.rs ◀──────────────────────────────────────────┘
//! resources.rs: memory, handles, tasks, disk ─▶ growth.rs ─▶ summary.rs
//! ```
//!
//! Everything runs in this process, so that a leak anywhere shows in its figures.

mod broker;
mod growth;
mod ledger;
mod load;
mod reader;
mod resources;
mod summary;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anabranch::units;
use anabranch_cli::{
    args, harness,
    output::{self, Output},
    progress,
};
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use self::{
    broker::SoakBroker, growth::Growth, ledger::Ledger, load::Load, resources::Sample,
    summary::Summary,
};

/// Time limit for everything in flight at the end.
const END: Duration = Duration::from_secs(60);

/// Keep a broker, a producer and a consumer under load for hours, in real time, while the broker is restarted again and
/// again. Check that memory, file handles, tasks and disk do not grow, and that every message arrives exactly once.
///
/// Ctrl-C ends the load, waits for messages in flight and prints the summary. The exit code is 1 when something grew, or a
/// message was lost or duplicated.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Time to run.
    #[arg(
        long,
        env = "ANABRANCH_DURATION",
        value_name = "TIME",
        default_value = "1h",
        value_parser = args::positive_duration
    )]
    duration: Duration,

    /// Time between restarts of the broker, which alternate between a graceful shutdown and an abrupt end.
    #[arg(
        long,
        env = "ANABRANCH_RECONNECT_EVERY",
        value_name = "TIME",
        default_value = "1m",
        value_parser = args::positive_duration
    )]
    reconnect_every: Duration,

    /// Messages per second, averaged over bursts and pauses.
    #[arg(
        long,
        env = "ANABRANCH_RATE",
        value_name = "COUNT",
        default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    rate: u32,

    /// Size of each message.
    #[arg(
        long,
        env = "ANABRANCH_SIZE",
        value_name = "SIZE",
        default_value = "512",
        value_parser = units::parse_size
    )]
    size: u64,

    /// Size limit of the topic. The oldest messages beyond it are deleted.
    #[arg(
        long,
        env = "ANABRANCH_MAX_BYTES",
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = units::parse_size
    )]
    max_bytes: u64,

    /// Time between two samples of memory, handles, tasks and disk.
    #[arg(
        long,
        env = "ANABRANCH_SAMPLE_EVERY",
        value_name = "TIME",
        default_value = "5s",
        value_parser = args::positive_duration
    )]
    sample_every: Duration,

    /// Output format of the summary.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let soak = async |folder: &Path, stop| soak(&args, folder, stop).await;
    let summary = harness::with_temporary_folder("soak", soak).await?;
    output::result(args.output, &summary)?;
    Ok(match summary.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn soak(args: &Args, folder: &Path, stop: CancellationToken) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut broker = SoakBroker::start(folder, args.max_bytes).await?;
    let producer = broker.producer().await?;
    let reader = reader::Reader::start(broker.connection().clone(), Arc::clone(&ledger));
    let load = Load::start(
        producer.clone(),
        args.rate,
        usize::try_from(args.size).context("--size is too large")?,
        Arc::clone(&ledger),
    );

    let end = tokio::time::sleep(args.duration);
    tokio::pin!(end);
    let first = began.into();
    let mut sampling = tokio::time::interval_at(first, args.sample_every);
    let mut reconnecting =
        tokio::time::interval_at(first + args.reconnect_every, args.reconnect_every);
    let (mut samples, mut reconnects) = (Vec::new(), 0_u64);
    loop {
        tokio::select! { biased;
            () = stop.cancelled() => break,
            () = &mut end => break,
            _ = reconnecting.tick() => {
                reconnects += 1;
                broker.restart(reconnects.is_multiple_of(2)).await?;
                // The next consumer of the same name continues after the acknowledged messages.
                reader.replace_consumer();
            }
            _ = sampling.tick() => {
                let sample = Sample::take(began.elapsed(), folder);
                progress::say(format_args!("{sample}; {}", lock(&ledger)));
                samples.push(sample);
                // `Reader::end` returns its error.
                if reader.is_finished() {
                    break;
                }
            }
        }
    }
    let ran = began.elapsed();
    progress::say("no more load; waiting for messages in flight");
    load.end(END).await?;
    producer
        .close(END)
        .await
        .context("cannot close the producer")?;
    let stored = broker.stored().await?;
    reader.end(stored, END).await?;
    broker.stop().await?;
    let ledger = std::mem::take(&mut *lock(&ledger));
    Ok(Summary::new(
        ran,
        reconnects,
        ledger.close(stored),
        &Growth::of(&samples),
    ))
}

fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
