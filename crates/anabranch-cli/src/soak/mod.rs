//! `anabranch soak`: hours of load with bursts and reconnects, and whether anything grows or gets lost.
//!
//! ```text
//! load.rs ─▶ Producer ═ loopback ═▶ Broker, its log, retention ═▶ Consumer of a name ─▶ reader.rs
//!    │             stage.rs ends the broker and starts it again, time after time          │
//!    └──────────────────────────────▶ ledger.rs ◀──────────────────────────────────────────┘
//! sample.rs: memory, handles, tasks, disk ─▶ growth.rs ─▶ summary.rs
//! ```
//!
//! Everything is in this one process, so that what leaks anywhere shows in its figures.

mod growth;
mod ledger;
mod load;
mod reader;
mod sample;
mod stage;
mod summary;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use self::{
    growth::Growth, ledger::Ledger, load::Load, sample::Sample, stage::Stage, summary::Summary,
};
use crate::{
    output::{self, Output},
    progress, signals, units,
};

/// How long everything that is under way may take to come to an end.
const END: Duration = Duration::from_secs(60);

/// Run a broker, a producer and a consumer for long, with bursts, and end the broker time after time: see whether memory,
/// file handles, tasks or disk grow, and whether every message came once.
///
/// Ctrl-C ends the load, waits for what is under way and tells how it went. The exit code is 1 when something grew, was
/// lost or came twice.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to go on.
    #[arg(
        long,
        env = "ANABRANCH_DURATION",
        value_name = "TIME",
        default_value = "1h",
        value_parser = units::some_duration
    )]
    duration: Duration,

    /// How often the broker is ended and started again: in good order and by force, in turn.
    #[arg(
        long,
        env = "ANABRANCH_RECONNECT_EVERY",
        value_name = "TIME",
        default_value = "1m",
        value_parser = units::some_duration
    )]
    reconnect_every: Duration,

    /// Messages a second, over bursts and pauses.
    #[arg(
        long,
        env = "ANABRANCH_RATE",
        value_name = "COUNT",
        default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    rate: u32,

    /// Bytes of each message.
    #[arg(
        long,
        env = "ANABRANCH_SIZE",
        value_name = "SIZE",
        default_value = "512",
        value_parser = units::size
    )]
    size: u64,

    /// The topic loses its oldest messages beyond so many bytes.
    #[arg(
        long,
        env = "ANABRANCH_MAX_BYTES",
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = units::size
    )]
    max_bytes: u64,

    /// How often the figures are taken.
    #[arg(
        long,
        env = "ANABRANCH_SAMPLE_EVERY",
        value_name = "TIME",
        default_value = "5s",
        value_parser = units::some_duration
    )]
    sample_every: Duration,

    /// How to say how it went.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("anabranch-soak-")
        .tempdir()
        .context("there is no temporary folder")?;
    let stop = signals::watch({
        let folder = folder.path().to_owned();
        move || {
            // Nobody else will.
            let _ = std::fs::remove_dir_all(folder);
        }
    })?;
    let summary = Box::pin(soak(&args, folder.path(), stop)).await?;
    folder
        .close()
        .context("the temporary folder cannot be removed")?;
    match args.output {
        Output::Json => output::json(&summary)?,
        Output::Text => output::line(&summary)?,
    }
    Ok(match summary.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn soak(
    args: &Args,
    folder: &std::path::Path,
    stop: CancellationToken,
) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut stage = Stage::set(folder, args.max_bytes).await?;
    let producer = stage.producer().await?;
    let reader = reader::Reader::start(stage.connection().clone(), Arc::clone(&ledger));
    let load = Load::start(
        producer.clone(),
        args.rate,
        usize::try_from(args.size).context("no message is so large")?,
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
                stage.start_again(reconnects.is_multiple_of(2)).await?;
                // Another consumer of the same name goes on behind what the last one acknowledged.
                reader.change();
            }
            _ = sampling.tick() => {
                let sample = Sample::take(began.elapsed(), folder);
                progress::say(format_args!("{sample}; {}", lock(&ledger)));
                samples.push(sample);
                // The end says why.
                if reader.is_over() {
                    break;
                }
            }
        }
    }
    let ran = began.elapsed();
    progress::say("no more load; waiting for what is under way");
    load.end(END).await?;
    producer.close(END).await.context("the producer's end")?;
    let stored = stage.stored().await?;
    reader.end(stored, END).await?;
    stage.strike().await?;
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
