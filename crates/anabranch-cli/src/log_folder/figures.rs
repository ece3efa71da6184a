//! `anabranch log bench`: what a log costs at its start, in memory and in space, and how fast old messages are read.
//!
//! The log is filled by a process of its own that ends without closing it, as a kill would, and is opened by others: so each
//! figure is that of a fresh process.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anabranch::{
    Offset, ProducerId, RequestId, Timestamp, TopicName,
    store::{Append, LogConfig, LogStore, ProducerIdentity, Store, Trim},
    units,
};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Subcommand, ValueEnum};

use crate::{bench::process, harness, stats::as_f64};

/// Requests that a producer has unanswered, at most, in its dedup window.
const WINDOW: u64 = 65_536;
/// Bytes of a group commit, about.
const GROUP: usize = 1 << 20;
/// Batches of a group commit, at most.
const GROUP_BATCHES: usize = 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    fill: Fill,
    /// What to measure.
    #[arg(value_enum, default_value_t)]
    what: What,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum What {
    /// Time and memory of opening the log after a kill, and after a clean close.
    #[default]
    Start,
    /// Space on disk for a byte that must be kept, after every other topic was trimmed empty.
    Space,
    /// Rate of reading one of the topics, of which nothing is cached.
    Cold,
}

/// The content of the log.
#[derive(Debug, Clone, clap::Args)]
struct Fill {
    /// Number of messages.
    #[arg(long, default_value_t = 10_000_000)]
    messages: u64,
    /// Payload of a message, in bytes.
    #[arg(long, default_value_t = 20)]
    size: usize,
    /// Number of messages in a batch.
    #[arg(long, default_value_t = 1000)]
    batch: u32,
    /// Number of topics, written in turn.
    #[arg(long, default_value_t = 10_000)]
    topics: u32,
    /// Number of entries in dedup windows at the end: batches of one message, whose answers no producer has confirmed.
    #[arg(long, default_value_t = 0)]
    entries: u64,
}

impl Fill {
    fn args(&self) -> [String; 10] {
        let of = |name: &str, value: &dyn ToString| [format!("--{name}"), value.to_string()];
        let pairs = [
            of("messages", &self.messages),
            of("size", &self.size),
            of("batch", &self.batch),
            of("topics", &self.topics),
            of("entries", &self.entries),
        ];
        let mut args = pairs.into_iter().flatten();
        std::array::from_fn(|_| args.next().unwrap_or_default())
    }
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Fill a log and end without closing it.
    #[command(hide = true)]
    Fill { folder: PathBuf },
    /// Open a log, and close it.
    #[command(hide = true)]
    Open { folder: PathBuf },
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.part {
        Some(Part::Fill { folder }) => {
            fill(&folder, &args.fill).await?;
            // Without running destructors, which would wait for the maintenance.
            std::process::exit(0);
        }
        Some(Part::Open { folder }) => open(&folder).await?,
        None => {
            harness::with_temporary_folder("log", async |folder, stop| {
                harness::unless_stopped(&stop, measure(args.what, &args.fill, &folder.join("log")))
                    .await
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(what: What, content: &Fill, log: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    child(content, "fill", log)?;
    let bytes = size(log)?;
    println!(
        "filled: {} messages of {} bytes in {} topics, {} entries, {}, in {:.1} s",
        content.messages,
        content.size,
        content.topics,
        content.entries,
        units::format_size(bytes),
        began.elapsed().as_secs_f64()
    );
    match what {
        What::Start => {
            print!("after a kill:          {}", child(content, "open", log)?);
            print!("after a clean close:   {}", child(content, "open", log)?);
        }
        What::Space => space(content, log).await?,
        What::Cold => cold(content, log).await?,
    }
    Ok(())
}

/// Runs a part in a process of its own, and returns what it prints.
fn child(content: &Fill, part: &str, log: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["log", "bench"])
        .args(content.args())
        .arg(part)
        .arg(log);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start a process")?;
    if !output.status.success() {
        bail!("the part {part} failed: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn open(folder: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut config = LogConfig::default();
    config.verify_rate = None;
    let store = LogStore::open(folder, config).await?;
    let opened = began.elapsed();
    let memory = process::peak_rss().map_or_else(|| "?".to_owned(), units::format_size);
    let began = Instant::now();
    store.close().await?;
    println!(
        "open in {:.3} s, most memory {memory}, closed in {:.3} s",
        opened.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Returns what a store takes for a batch: a checksum, and bytes that match it.
fn encoded(content: &Fill, messages: u32) -> Bytes {
    let payload = vec![7; content.size * messages as usize];
    let sum = crc32fast::hash(&payload).to_le_bytes();
    [&sum[..], &payload].concat().into()
}

fn topic(number: u64) -> anyhow::Result<TopicName> {
    Ok(TopicName::new(&format!("topic-{number}"))?)
}

async fn fill(folder: &Path, content: &Fill) -> anyhow::Result<()> {
    let mut config = LogConfig::default();
    config.limits.topics = config.limits.topics.max(content.topics as usize);
    let store = LogStore::open(folder, config).await?;
    let batch = encoded(content, content.batch);
    let writer = producer(&store, 0).await?;
    let topics: Vec<_> = (0..content.topics.max(1).into())
        .map(topic)
        .collect::<Result<_, _>>()?;
    let batches = content.messages / u64::from(content.batch.max(1));
    let confirmed = |n: u64| n.saturating_sub(64);
    let mut group = Vec::new();
    for n in 0..batches {
        let topic = &topics[usize::try_from(n)? % topics.len()];
        group.push(Append {
            count: content.batch,
            ..append(topic, (writer, n, confirmed(n)), &batch)
        });
        let full = group.len() >= GROUP_BATCHES || group.len() * batch.len() >= GROUP;
        if full || n + 1 == batches {
            stored(&store, std::mem::take(&mut group)).await?;
        }
    }
    let one = encoded(content, 1);
    for number in 0..content.entries.div_ceil(WINDOW) {
        let own = producer(&store, number + 1).await?;
        let left = WINDOW.min(content.entries - number * WINDOW);
        for from in (0..left).step_by(GROUP_BATCHES) {
            let to = left.min(from + GROUP_BATCHES as u64);
            let group = (from..to).map(|n| {
                let topic = &topics[usize::try_from(n).unwrap_or(0) % topics.len()];
                append(topic, (own, n, 0), &one)
            });
            stored(&store, group.collect()).await?;
        }
    }
    Ok(())
}

fn append(
    topic: &TopicName,
    (producer, request, answered): (ProducerId, u64, u64),
    batch: &Bytes,
) -> Append {
    Append {
        producer,
        request: RequestId(request),
        answered_below: RequestId(answered),
        topic: topic.clone(),
        count: 1,
        batch: batch.clone(),
        time: Timestamp(1),
    }
}

async fn producer(store: &LogStore, number: u64) -> anyhow::Result<ProducerId> {
    let identity = ProducerIdentity {
        name: format!("producer-{number}"),
        instance: 1,
        id: None,
    };
    Ok(store.register_producer(&identity).await?.id)
}

async fn stored(store: &LogStore, group: Vec<Append>) -> anyhow::Result<()> {
    for answer in store.append(group).await {
        answer?;
    }
    Ok(())
}

/// Returns the space that the files of a log take on disk.
fn size(log: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(log)? {
        let about = entry?.metadata()?;
        #[cfg(unix)]
        let taken = std::os::unix::fs::MetadataExt::blocks(&about) * 512;
        #[cfg(not(unix))]
        let taken = about.len();
        bytes += taken;
    }
    Ok(bytes)
}

async fn space(content: &Fill, log: &Path) -> anyhow::Result<()> {
    let store = LogStore::open(log, LogConfig::default()).await?;
    let began = Instant::now();
    let all = Trim {
        max_bytes: Some(0),
        ..Trim::default()
    };
    let mut kept = 0;
    for number in 0..content.topics.into() {
        let name = topic(number)?;
        match number % 2 {
            0 => drop(store.trim(&name, all).await?),
            _ => kept += store.topic(&name).await?.map_or(0, |topic| topic.bytes),
        }
    }
    store.reclaim().await?;
    let took = began.elapsed();
    let used = size(log)?;
    let segments = 4 * LogConfig::default().segment_bytes;
    println!(
        "kept {}, on disk {}: {:.3} of it, and {:.3} without the four segments that are left alone; {:.1} s",
        units::format_size(kept),
        units::format_size(used),
        ratio(used, kept),
        ratio(used.saturating_sub(segments), kept),
        took.as_secs_f64()
    );
    Ok(store.close().await?)
}

async fn cold(content: &Fill, log: &Path) -> anyhow::Result<()> {
    let store = LogStore::open(log, LogConfig::default()).await?;
    let name = topic(0)?;
    for what in ["cold", "cached"] {
        if what == "cold" {
            forget(log)?;
        }
        let (mut next, mut bytes) = (Offset(0), 0);
        let began = Instant::now();
        loop {
            let read = store.read(&name, next, 1 << 20).await?;
            let Some(last) = read.last() else { break };
            next = last.end();
            bytes += read
                .iter()
                .map(|batch| batch.batch.len() as u64)
                .sum::<u64>();
        }
        println!(
            "{what} read of one topic of {}: {} at {:.0} MB/s",
            content.topics,
            units::format_size(bytes),
            ratio(bytes, 1) / 1e6 / began.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
        );
    }
    Ok(store.close().await?)
}

/// Has the system forget what it has cached of a folder.
fn forget(log: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(log)? {
        let path = entry?.path();
        // The others are being written.
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let mut file = std::ffi::OsString::from("if=");
        file.push(path);
        let mut dd = Command::new("dd");
        dd.arg(file)
            .args(["iflag=nocache", "count=0", "status=none"]);
        if !dd.status().context("cannot run dd")?.success() {
            bail!("dd cannot drop what is cached");
        }
    }
    Ok(())
}

fn ratio(a: u64, b: u64) -> f64 {
    as_f64(a) / as_f64(b.max(1))
}
