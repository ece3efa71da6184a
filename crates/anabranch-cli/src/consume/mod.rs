//! `anabranch consume`: prints the messages of a topic.
//!
//! `start.rs` finds where to start; `format.rs` and `json.rs` print a message; `writer.rs` writes to standard output.

mod format;
mod json;
mod start;
mod writer;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anabranch::{
    Offset, TopicName,
    consumer::{Config, ConsumeError, Consumer, FailureCode, Received, Start},
};
use anyhow::bail;
use clap::builder::BoolishValueParser;

use self::{
    format::{Format, Printer},
    start::{From, Since},
    writer::Writer,
};
use crate::{
    args,
    connection::ConnectionArgs,
    progress,
    signals::{self, Stop},
};

/// Bytes after which the buffered messages are written.
const BLOCK: usize = 256 << 10;
/// Time limit for the broker to confirm acknowledgements at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for a write to standard output that is under way when the command is to stop.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Print the messages of a topic to standard output, one per line.
///
/// Ends at the topic's end as of the start, or with --follow at Ctrl-C, SIGTERM or SIGHUP. With --name, printed messages are
/// acknowledged, and the next consumer of that name starts after them. On a terminal, control characters in a message are
/// escaped; a pipe or a file gets the bytes as they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic to read.
    #[arg(long, value_name = "TOPIC")]
    topic: TopicName,

    /// Where to start: earliest, latest or an offset. A name with a stored position starts there instead.
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    from: From,

    /// Start with the first message that was stored at this time or later, by the broker's clock: a date and time such as
    /// 2026-01-31T09:00:00Z, or 15m for 15 minutes ago.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "last"])]
    since: Option<Since>,

    /// Start with the last N messages of the topic.
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "from",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    last: Option<u64>,

    /// Name under which the broker stores the position.
    #[arg(long, value_name = "NAME", value_parser = args::name)]
    name: Option<String>,

    /// Number of messages to print.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print only messages with this key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Wait for more messages at the end of the topic.
    #[arg(long, value_parser = BoolishValueParser::new())]
    follow: bool,

    /// End when no message has come for this time. With --count and fewer messages, the exit code is 1.
    #[arg(long, value_name = "TIME", value_parser = args::positive_duration)]
    timeout: Option<Duration>,

    /// Output format of a message: raw (the payload), json, or a text with verbs, such as '%o %k %v%n'.
    ///
    /// json is an object with offset, timestamp (when it was stored) and event_time (both in milliseconds since 1970), key,
    /// headers and payload. Bytes that are not UTF-8 are base64, under payload_base64, key_base64 or value_base64.
    ///
    /// Verbs: %t topic, %o offset, %k key, %K length of the key, %v payload, %V length of the payload, %h headers as
    /// NAME=VALUE with commas between them, %H number of headers, %T time of storing in milliseconds since 1970, %D the same
    /// as a date in UTC, %n newline, %% a percent sign. \n, \t, \r, \0, \\ and \xHH are bytes. Lengths are in bytes. Nothing
    /// is added: a line ends where the text says %n.
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    format: Format,

    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Args {
    fn config(&self) -> Config {
        let mut config = Config::default();
        config.connection = self.connection.config();
        config.topic = self.topic.to_string();
        config.name = self.name.clone();
        config.from = self.from.0;
        config
    }
}

/// Subscribes. Without the topic, waits for it with `--follow`.
async fn subscribe(args: &Args) -> Result<Consumer, ConsumeError> {
    let mut config = args.config();
    match subscribe_now(args, config.clone()).await {
        Err(ConsumeError::Refused(failure))
            if args.follow && failure.code == FailureCode::UnknownTopic =>
        {
            progress::say(format_args!(
                "topic {} does not exist yet: waiting for it",
                args.topic
            ));
            config.wait_for_topic = true;
            if args.since.is_some() || args.last.is_some() {
                config.from = Start::Earliest;
            }
            Consumer::builder().config(config).subscribe().await
        }
        other => other,
    }
}

async fn subscribe_now(args: &Args, mut config: Config) -> Result<Consumer, ConsumeError> {
    config.from = match (args.since, args.last) {
        (Some(since), _) => start::since(&config, since).await?,
        (None, Some(count)) => start::last(&config, count).await?,
        (None, None) => config.from,
    };
    Consumer::builder().config(config).subscribe().await
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = signals::watch(|| ())?;
    let consumer = tokio::select! {
        consumer = subscribe(&args) => consumer?,
        () = stop.cancelled() => return Ok(ExitCode::FAILURE),
    };
    let mut messages = Messages {
        consumer,
        printer: Printer {
            format: args.format,
            topic: args.topic,
            to_terminal: io::stdout().is_terminal(),
        },
        key: args.key.map(String::into_bytes),
        named: args.name.is_some(),
        timeout: args.timeout,
        writer: Writer::start()?,
        buffer: Vec::with_capacity(BLOCK),
        buffered: 0,
        last: None,
    };
    let copied = messages.copy(args.count, args.follow, &stop).await;
    // Messages received before an error are written too.
    let written = messages.flush(&stop).await;
    let closed = messages.consumer.close(CLOSE_TIMEOUT).await;
    let end = copied?;
    written?;
    closed?;
    Ok(match (end, args.count) {
        (End::TimedOut { printed }, Some(count)) => {
            progress::error(format_args!(
                "only {printed} of {count} messages came, and no more within the time limit"
            ));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    })
}

/// Why no more messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All that were asked for are printed, or the command is to stop.
    Done,
    /// None came within the time limit.
    TimedOut { printed: u64 },
}

/// Messages on the way to standard output.
struct Messages {
    consumer: Consumer,
    printer: Printer,
    /// The only key to print.
    key: Option<Vec<u8>>,
    named: bool,
    timeout: Option<Duration>,
    writer: Writer,
    /// Printed messages that are not written yet.
    buffer: Vec<u8>,
    /// Number of messages in `buffer`.
    buffered: u64,
    /// Offset of the last message that was received and is not written yet.
    last: Option<Offset>,
}

impl Messages {
    /// Copies `count` messages, or up to the end of the topic unless `follow`, or until `stop`.
    async fn copy(&mut self, count: Option<u64>, follow: bool, stop: &Stop) -> anyhow::Result<End> {
        let mut printed = 0;
        while count.is_none_or(|count| printed < count) && (follow || !self.consumer.is_caught_up())
        {
            let received = match self.consumer.try_recv()? {
                Some(received) => received,
                None => {
                    self.flush(stop).await?;
                    let timeout = self.timeout.unwrap_or(Duration::MAX);
                    tokio::select! {
                        received = self.consumer.recv() => received?,
                        () = stop.cancelled() => return Ok(End::Done),
                        () = tokio::time::sleep(timeout) => return Ok(End::TimedOut { printed }),
                    }
                }
            };
            printed += u64::from(self.put(&received)?);
            if self.buffer.len() >= BLOCK {
                self.flush(stop).await?;
                if stop.is_cancelled() {
                    return Ok(End::Done);
                }
            }
        }
        Ok(End::Done)
    }

    /// Prints a message to the buffer. Returns whether it has the key that was asked for.
    fn put(&mut self, received: &Received) -> anyhow::Result<bool> {
        let Received {
            offset, skipped, ..
        } = received;
        if *skipped > 0 {
            progress::warn(format_args!(
                "{skipped} messages before offset {offset} are missing: retention deleted them"
            ));
        }
        self.last = Some(*offset);
        if self.key.is_some() && self.key.as_deref() != received.record.key.as_deref() {
            return Ok(false);
        }
        self.printer.print(received, &mut self.buffer)?;
        self.buffered += 1;
        Ok(true)
    }

    /// Writes the buffered messages, and acknowledges everything that was received. After `stop`, a write that makes no
    /// progress is given up.
    async fn flush(&mut self, stop: &Stop) -> anyhow::Result<()> {
        let Some(last) = self.last.take() else {
            return Ok(());
        };
        let unwritten = std::mem::take(&mut self.buffered);
        if unwritten > 0 {
            let given_up = async {
                stop.cancelled().await;
                tokio::time::sleep(WRITE_TIMEOUT).await;
            };
            tokio::select! { biased;
                written = self.writer.write(&mut self.buffer) => written?,
                () = given_up => bail!(
                    "standard output takes nothing: the last {unwritten} messages that were read may not be written"
                ),
            }
        }
        if self.named {
            self.consumer.ack_nowait(last)?;
        }
        Ok(())
    }
}
