//! `anabranch produce`: sends each line, or other part, of its input as a message.
//!
//! ```text
//! files, stdin ─ reader.rs (a thread) ─▶ lines.rs ─▶ sender.rs ─▶ Producer
//!                                          tally.rs ◀─ window.rs ◀─ receipts
//! ```

mod limit;
mod lines;
mod reader;
mod sender;
mod summary;
mod tally;
mod window;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anabranch::{
    Producer, TopicName,
    conn::ConnectionState,
    producer::{self, Strategy, spool},
    units,
};
use anyhow::bail;
use bytes::Bytes;
use clap::{ValueEnum, builder::BoolishValueParser};
use indicatif::{HumanBytes, HumanCount, HumanDuration};

use self::{
    lines::Framing,
    reader::Input,
    sender::{Conversion, Key, Sender},
    summary::{SpoolCounts, Summary},
    tally::Tally,
    window::Window,
};
use crate::{
    args::{self, Controller},
    connection::ConnectionArgs,
    metrics_server,
    output::{self, Output},
    progress::{self, Live},
    signals,
    stats::{as_f64, per_second, whole},
    waiting::Reporter,
};

/// Memory of the producer with a spool, in bytes.
const SPOOL_BUFFER: u64 = 4 << 20;

/// How long the close may take to reach the broker.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Send each line of files or of standard input as one message, in their order.
///
/// The newline is not part of the message. A line may hold any bytes. Ctrl-C, SIGTERM or SIGHUP stops reading and delivers
/// what was read; a second Ctrl-C ends the command at once. The exit code is 1 when a message was not delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to send. Without files, or for -, standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Topic to send to.
    #[arg(long, value_name = "TOPIC")]
    topic: TopicName,

    /// Order of the messages. With --mode async and no key, a lost packet delays fewer of them.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,

    /// Each message ends at a byte of 0 instead of a newline.
    #[arg(long, short = '0', conflicts_with_all = ["crlf", "whole"], value_parser = BoolishValueParser::new())]
    null: bool,

    /// A carriage return before the newline is no part of the message either.
    #[arg(long, conflicts_with = "whole", value_parser = BoolishValueParser::new())]
    crlf: bool,

    /// Send each file, or all of standard input, as one message.
    #[arg(long, value_parser = BoolishValueParser::new())]
    whole: bool,

    /// Key of every message.
    #[arg(long, value_name = "KEY", conflicts_with = "key_delimiter")]
    key: Option<String>,

    /// Header of every message. May be given again.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Text between the key and the payload of a line; a line without it has no key. Messages with the same key stay in
    /// order. \t is a tab.
    #[arg(
        long,
        value_name = "TEXT",
        value_parser = delimiter
    )]
    key_delimiter: Option<String>,

    /// Name of the producer. A later producer with the same name fences off an earlier one.
    #[arg(long, value_name = "NAME", value_parser = args::name)]
    name: Option<String>,

    /// Number of lanes (QUIC streams that carry messages) in mode async: adaptive (one, and more while they help), a number
    /// from 1 to 64, or per-message (one stream per message, for comparison) [default: adaptive].
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<Strategy>,

    /// Size limit of a message, with its key and headers. The broker has a limit of its own.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = units::parse_size)]
    max_message_bytes: u64,

    /// Memory for messages that are read and not delivered yet [default: 64MiB, with --spool 4MiB].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    buffer: Option<u64>,

    /// Time to wait for more messages before a batch is sent.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::parse_duration)]
    linger: Duration,

    /// Serve metrics for Prometheus at http://ADDR/metrics.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Congestion controller.
    #[arg(long, value_enum, default_value_t)]
    congestion: Controller,

    /// Time limit from the sending of a message to its outcome. After it, the message has failed.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "120s",
        value_parser = args::positive_duration
    )]
    delivery_timeout: Duration,

    /// Folder of a spool, which stores messages while no broker is reachable. Spooled messages are sent first, in this run or
    /// a later one.
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// What goes to the spool, and when.
    #[arg(long, value_enum, default_value_t, requires = "spool")]
    spool_policy: SpoolPolicy,

    /// Size limit of the spool.
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = units::parse_size,
        requires = "spool"
    )]
    spool_bytes: u64,

    /// Time limit for delivery after the first Ctrl-C, SIGTERM or SIGHUP.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = units::parse_duration
    )]
    drain_timeout: Duration,

    /// Output format of the summary.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What goes to the spool, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum SpoolPolicy {
    /// What memory (4 MiB) has no room for while there is no connection.
    Overflow,
    /// Everything that was not sent, once there was no connection for a second.
    #[default]
    Outage,
    /// Everything, before it is sent.
    Always,
}

impl From<SpoolPolicy> for spool::Policy {
    fn from(policy: SpoolPolicy) -> Self {
        match policy {
            SpoolPolicy::Overflow => Self::Overflow,
            SpoolPolicy::Outage => Self::Outage,
            SpoolPolicy::Always => Self::Always,
        }
    }
}

/// The ordering guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Mode {
    /// All messages stay in order, on one stream.
    #[default]
    Ordered,
    /// Messages with the same key stay in order. Any lane sends a message without a key.
    Async,
}

fn delimiter(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("must not be empty"),
        text => Ok(text.replace("\\t", "\t")),
    }
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("must be NAME=VALUE"),
    }
}

impl Args {
    fn config(&self) -> producer::Config {
        let mut config = producer::Config::default();
        config.name = self.name.clone();
        config.delivery_timeout = self.delivery_timeout;
        config.max_message_bytes = self.max_message_bytes;
        config.linger = self.linger;
        if let Some(folder) = &self.spool {
            let mut spool = spool::Config::new(folder);
            spool.policy = self.spool_policy.into();
            spool.max_bytes = self.spool_bytes;
            spool.receipts = spool::Receipts::WhenSpooled;
            config.spool = Some(spool);
            config.buffer_bytes = SPOOL_BUFFER;
        }
        config.buffer_bytes = self.buffer.unwrap_or(config.buffer_bytes);
        config.connection = self.connection.config();
        config.connection.transport.congestion = self.congestion.into();
        config
    }

    const fn framing(&self) -> Framing {
        match (self.null, self.crlf, self.whole) {
            (true, ..) => Framing::Null,
            (_, true, _) => Framing::CrLf,
            (.., true) => Framing::Whole,
            _ => Framing::Line,
        }
    }

    fn conversion(&self) -> Conversion {
        let key = match (&self.key, &self.key_delimiter) {
            (Some(key), _) => Key::Of(Bytes::from(key.clone())),
            (None, Some(delimiter)) => Key::Before(Bytes::from(delimiter.clone())),
            (None, None) => Key::None,
        };
        let headers = self.headers.iter().cloned();
        Conversion {
            mode: self.mode,
            framing: self.framing(),
            key,
            headers: headers
                .map(|(name, value)| (name, Bytes::from(value)))
                .collect(),
            spool: self.spool.is_some(),
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let tally = Arc::new(Tally::default());
    let stop = signals::watch({
        let tally = Arc::clone(&tally);
        move || {
            let left = tally.undelivered();
            progress::say(format_args!(
                "ended at once: {left} messages were read and not delivered"
            ));
        }
    })?;
    if args.mode == Mode::Ordered && args.strategy.is_some() {
        bail!("--strategy needs --mode async: in order, one stream carries all messages");
    }
    let input = Input::open(&args.files)?;
    if let Some(address) = args.metrics {
        metrics_server::start(address)?;
    }
    let config = args.config();
    let producer = Producer::builder()
        .config(config.clone())
        .strategy(args.strategy.clone().unwrap_or_default())
        .topic(args.topic.as_str())
        .build()?;
    let _reporter = Reporter::begin(producer.watch_connection_state(), args.spool.is_some());
    tokio::select! {
        // With a spool, reading starts without a connection.
        connected = producer.wait_connected_within(config.connection.connect_timeout),
            if args.spool.is_none() => connected?,
        () = std::future::ready(()), if args.spool.is_some() => {}
        () = stop.cancelled() => {
            progress::say("stopped before the connection was established; nothing was read");
            return Ok(ExitCode::FAILURE);
        }
    }

    let began = Instant::now();
    let live = live(&producer, &tally, began, input.size());
    let max_message = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    let lines = input.read(args.framing(), max_message, Arc::clone(&tally))?;
    let window = Window::new(&config, Arc::clone(&tally));
    let conversion = args.conversion();
    let mut sender = Sender::new(&producer, conversion, lines, Arc::clone(&tally), window);
    let too_late = async {
        stop.cancelled().await;
        let left = tally.undelivered();
        progress::say(format_args!(
            "stopping: {left} messages are still to be delivered; a second Ctrl-C ends at once"
        ));
        tokio::time::sleep(args.drain_timeout).await;
    };
    let close_timeout = tokio::select! { biased;
        () = async {
            sender.run(&stop).await;
            wait_for_replay(&producer).await;
        } => CLOSE_TIMEOUT,
        () = too_late => Duration::ZERO,
    };
    let took = began.elapsed();
    let (held, lanes) = (producer.stats(), producer.lanes());
    let path = match producer.connection_state() {
        ConnectionState::Connected(session) => Some(session.path_stats()),
        _ => None,
    };
    let spool = producer.watch_spool_state();
    // The receipts report the undelivered messages too.
    let closed = producer.clone().close(close_timeout).await;
    let in_spool = closed.map_or_else(|error| error.spooled, |()| 0);
    sender.fail_unsent();
    drop(live);

    let spool = spool.map(|state| state.borrow().clone());
    let spool = spool.map_or_else(SpoolCounts::default, |state| SpoolCounts {
        left: in_spool,
        delivered: state.delivered,
        lost: state.lost,
    });
    let summary = Summary::new(&tally, held.retried, spool, took, lanes.peak);
    output::summary(args.output, &summary)?;
    if let Some(advice) = path.and_then(|path| {
        limit::advice(
            args.congestion,
            path.min_rtt,
            path.lost_bytes,
            path.acked_bytes,
        )
    }) {
        progress::say(advice);
    }
    Ok(match summary.is_success() && !sender.has_read_error() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Waits until the spool is empty or no broker is reachable.
async fn wait_for_replay(producer: &Producer) {
    let Some(mut spool) = producer.watch_spool_state() else {
        return;
    };
    let mut link = producer.watch_connection_state();
    loop {
        let is_empty = spool.borrow_and_update().messages == 0;
        let is_unreachable = match &*link.borrow_and_update() {
            ConnectionState::Connected(_) => false,
            ConnectionState::Connecting { last_error, .. } => last_error.is_some(),
            ConnectionState::Reconnecting { attempt, .. } => *attempt > 1,
            ConnectionState::Closed(_) => true,
        };
        if is_empty || is_unreachable {
            return;
        }
        tokio::select! {
            changed = spool.changed() => if changed.is_err() { return },
            changed = link.changed() => if changed.is_err() { return },
        }
    }
}

/// Shows the progress in a live line.
fn live(producer: &Producer, tally: &Arc<Tally>, began: Instant, size: Option<u64>) -> Live {
    let (producer, tally) = (producer.clone(), Arc::clone(tally));
    let link = producer.watch_connection_state();
    Live::begin(move || {
        let (held, lanes) = (producer.stats(), producer.lanes().open);
        let connected = match &*link.borrow() {
            ConnectionState::Connected(_) => "",
            _ => "  not connected, retrying",
        };
        let delivered = tally.delivered();
        let done = size.map_or_else(String::new, |size| {
            progress_of(tally.delivered_bytes(), size, began.elapsed())
        });
        format!(
            "{done}{} delivered  {} read  {}/s  backlog {}  lanes {lanes}{connected}",
            HumanCount(delivered),
            HumanBytes(tally.read_bytes()),
            HumanCount(whole(per_second(delivered, began.elapsed()))),
            HumanCount((held.queued_messages + held.in_flight_messages) as u64),
        )
    })
}

/// Returns the part of the input that is delivered, and the time that the rest takes at the same rate.
fn progress_of(delivered: u64, size: u64, elapsed: Duration) -> String {
    let part = if size == 0 {
        1.0
    } else {
        (as_f64(delivered) / as_f64(size)).min(1.0)
    };
    let left = if part > 0.0 {
        let left = elapsed.mul_f64((1.0 - part) / part.max(1e-6));
        format!(", {:#} left", HumanDuration(left))
    } else {
        String::new()
    };
    format!("{:.0} %{left}  ", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_part_that_is_delivered() {
        let after = Duration::from_secs(10);
        assert_eq!(progress_of(25, 100, after), "25 %, 30s left  ");
        assert_eq!(progress_of(0, 100, after), "0 %  ");
        assert_eq!(progress_of(200, 100, after), "100 %, 0s left  ");
        assert_eq!(progress_of(0, 0, after), "100 %, 0s left  ");
    }
}
