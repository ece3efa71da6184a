//! `anabranch produce`: lines in, messages out.
//!
//! ```text
//! files, stdin ─ source.rs (a thread) ─▶ lines.rs ─▶ pump.rs ─▶ Producer
//!                                          tally.rs ◀─ window.rs ◀─ receipts
//! ```

mod lines;
mod pump;
mod source;
pub(crate) mod strategy;
mod summary;
mod tally;
mod window;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration, time::Instant};

use anabranch::{
    Producer, TopicName,
    conn::ConnectionState,
    producer::{self, spool},
};
use bytes::Bytes;
use clap::ValueEnum;
use indicatif::{HumanBytes, HumanCount};

use self::{
    pump::{Pump, Rules},
    source::Source,
    strategy::Streams,
    summary::Summary,
    tally::Tally,
    window::Window,
};
use crate::{
    connection::{ConnectionArgs, Controller},
    output::{self, Output},
    progress::{self, Live},
    signals, units,
};

/// What is held in memory beside a spool.
const SPOOL_BUFFER: u64 = 4 << 20;

/// How long the broker may take to hear that we leave.
const GOODBYE: Duration = Duration::from_secs(1);

/// Send lines of files or of standard input, each as one message.
///
/// The newline is not part of the message. Lines may hold any bytes. The first Ctrl-C stops the reading and sends what was
/// read; the second one leaves at once. The exit code is 1 when any message was not delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to send; - or none is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The topic to send to.
    #[arg(long, env = "ANABRANCH_TOPIC", value_name = "TOPIC")]
    topic: TopicName,

    /// Which promise of order is wanted.
    #[arg(long, env = "ANABRANCH_MODE", value_enum, default_value_t)]
    mode: Mode,

    /// Lines are KEY, this, PAYLOAD; a line without it has no key. Messages with the same key keep their order.
    /// \t is a tab.
    #[arg(
        long,
        env = "ANABRANCH_KEY_DELIMITER",
        value_name = "TEXT",
        value_parser = delimiter
    )]
    key_delimiter: Option<String>,

    /// The producer's name. A later producer of the same name takes over from an earlier one.
    #[arg(long, env = "ANABRANCH_NAME", value_name = "NAME", value_parser = name)]
    name: Option<String>,

    /// How many streams carry messages in mode async: adaptive (one, and more when another would help), a number
    /// from 1 to 64, or per-message (a stream for each, for comparison).
    #[arg(
        long,
        env = "ANABRANCH_STRATEGY",
        value_name = "STRATEGY",
        default_value = "adaptive"
    )]
    strategy: Streams,

    /// The congestion controller.
    #[arg(long, env = "ANABRANCH_CONGESTION", value_enum, default_value_t)]
    congestion: Controller,

    /// From the sending of a message to its outcome at most; then it counts as failed.
    #[arg(
        long,
        env = "ANABRANCH_DELIVERY_TIMEOUT",
        value_name = "TIME",
        default_value = "120s",
        value_parser = units::some_duration
    )]
    delivery_timeout: Duration,

    /// A folder for what memory (4 MiB) has no room for while no broker can be reached. What is in it goes out first, in
    /// this run or a later one.
    #[arg(long, env = "ANABRANCH_SPOOL", value_name = "DIR")]
    spool: Option<PathBuf>,

    /// How much the spool may hold.
    #[arg(
        long,
        env = "ANABRANCH_SPOOL_BYTES",
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = units::size,
        requires = "spool"
    )]
    spool_bytes: u64,

    /// How long what was read may take to be delivered after the first Ctrl-C.
    #[arg(
        long,
        env = "ANABRANCH_DRAIN_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = units::duration
    )]
    drain_timeout: Duration,

    /// How to say what became of the messages.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Which promise of order is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Mode {
    /// None between messages without a key: any lane takes the next one.
    #[default]
    Async,
    /// The order of the lines, on one stream.
    Ordered,
}

fn delimiter(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("must not be empty"),
        text => Ok(text.replace("\\t", "\t")),
    }
}

/// A producer's or a reader's name.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=200 => Ok(text.into()),
        _ => Err("must have 1 to 200 bytes"),
    }
}

impl Args {
    fn config(&self) -> producer::Config {
        let mut config = producer::Config::default();
        config.name = self.name.clone();
        config.delivery_timeout = self.delivery_timeout;
        if let Some(folder) = &self.spool {
            let mut spool = spool::Config::new(folder);
            spool.max_bytes = self.spool_bytes;
            spool.receipts = spool::Receipts::WhenSpooled;
            config.spool = Some(spool);
            config.buffer_bytes = SPOOL_BUFFER;
        }
        config.connection = self.connection.config();
        config.connection.transport.congestion = self.congestion.into();
        config
    }

    fn rules(&self) -> Rules {
        let delimiter = self.key_delimiter.clone();
        Rules {
            mode: self.mode,
            key_delimiter: delimiter.map(Bytes::from),
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
    let source = Source::open(&args.files)?;
    let config = args.config();
    let producer = Producer::builder()
        .config(config.clone())
        .strategy(args.strategy.strategy())
        .topic(args.topic.as_str())
        .build()?;
    tokio::select! {
        // With a spool, no broker is needed to begin.
        connected = producer.wait_connected(), if args.spool.is_none() => connected?,
        () = std::future::ready(()), if args.spool.is_some() => {}
        () = stop.cancelled() => {
            progress::say("stopped before there was a connection; nothing was read");
            return Ok(ExitCode::FAILURE);
        }
    }

    let began = Instant::now();
    let live = live(&producer, &tally, began);
    let reading = source.read(config.max_message_bytes, Arc::clone(&tally))?;
    let window = Window::new(&config, Arc::clone(&tally));
    let mut pump = Pump::new(&producer, args.rules(), reading, Arc::clone(&tally), window);
    let too_late = async {
        stop.cancelled().await;
        let left = tally.undelivered();
        progress::say(format_args!(
            "stopping: {left} messages are to be delivered; a second signal leaves at once"
        ));
        tokio::time::sleep(args.drain_timeout).await;
    };
    let goodbye = tokio::select! { biased;
        () = async {
            pump.run(&stop).await;
            empty_spool(&producer).await;
        } => GOODBYE,
        () = too_late => Duration::ZERO,
    };
    let took = began.elapsed();
    let (held, lanes) = (producer.stats(), producer.lanes());
    // What it hands back, the receipts tell too.
    let closed = producer.clone().close(goodbye).await;
    let in_spool = closed.map_or_else(|error| error.spooled, |()| 0);
    pump.give_up();
    drop(live);

    let summary = Summary::new(&tally, held.retried, in_spool, took, lanes.most);
    output::summary(args.output, &summary)?;
    Ok(match summary.is_success() && !pump.is_unread() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Waits until the spool is empty, or it shows that no broker can be reached.
async fn empty_spool(producer: &Producer) {
    let Some(mut spool) = producer.watch_spool_state() else {
        return;
    };
    let mut link = producer.watch_connection_state();
    loop {
        let is_empty = spool.borrow_and_update().phase == spool::Phase::Memory;
        let is_hopeless = match &*link.borrow_and_update() {
            ConnectionState::Connected(_) => false,
            ConnectionState::Connecting { last_error, .. } => last_error.is_some(),
            ConnectionState::Reconnecting { attempt, .. } => *attempt > 1,
            ConnectionState::Closed(_) => true,
        };
        if is_empty || is_hopeless {
            return;
        }
        tokio::select! {
            changed = spool.changed() => if changed.is_err() { return },
            changed = link.changed() => if changed.is_err() { return },
        }
    }
}

/// The line that shows how it goes.
fn live(producer: &Producer, tally: &Arc<Tally>, began: Instant) -> Live {
    let (producer, tally) = (producer.clone(), Arc::clone(tally));
    let link = producer.watch_connection_state();
    Live::begin(move || {
        let (held, lanes) = (producer.stats(), producer.lanes().open);
        let connected = match &*link.borrow() {
            ConnectionState::Connected(_) => "",
            _ => "  no connection, trying again",
        };
        let delivered = tally.delivered();
        format!(
            "{} delivered  {} read  {}/s  backlog {}  lanes {lanes}{connected}",
            HumanCount(delivered),
            HumanBytes(tally.read_bytes()),
            HumanCount(units::whole(units::per_second(delivered, began.elapsed()))),
            HumanCount((held.queued_messages + held.in_flight_messages) as u64),
        )
    })
}
