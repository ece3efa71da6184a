//! `anabranch consume`: prints the messages of a topic as lines.

mod format;

use std::{process::ExitCode, str::FromStr, time::Duration};

use anabranch::{
    Offset, TopicName,
    consumer::{Config, ConsumeError, Consumer, FailureCode, Received, Start},
};
use clap::{ValueEnum, builder::BoolishValueParser};
use tokio_util::sync::CancellationToken;

use crate::{args, connection::ConnectionArgs, output, progress, signals};

/// Bytes after which the buffered lines are written.
const BLOCK: usize = 256 << 10;
/// Time limit for the broker to confirm acknowledgements at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Print the messages of a topic to standard output, one per line.
///
/// Ends at the topic's end as of the start, or with --follow at Ctrl-C. With --name, printed messages are acknowledged, and
/// the next consumer of that name starts after them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topic to read.
    #[arg(long, env = "ANABRANCH_TOPIC", value_name = "TOPIC")]
    topic: TopicName,

    /// Where to start: earliest, latest or an offset. A name with a stored position starts there instead.
    #[arg(
        long,
        env = "ANABRANCH_FROM",
        value_name = "WHERE",
        default_value = "earliest"
    )]
    from: From,

    /// Name under which the broker stores the position.
    #[arg(long, env = "ANABRANCH_NAME", value_name = "NAME", value_parser = args::name)]
    name: Option<String>,

    /// Number of messages to read.
    #[arg(long, env = "ANABRANCH_COUNT", value_name = "COUNT")]
    count: Option<u64>,

    /// Wait for more messages at the end of the topic.
    #[arg(long, env = "ANABRANCH_FOLLOW", value_parser = BoolishValueParser::new())]
    follow: bool,

    /// Output format of a message.
    #[arg(long, env = "ANABRANCH_FORMAT", value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The output format of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// The payload as it is.
    #[default]
    Raw,
    /// A JSON object with offset, timestamp (when it was stored) and event_time (both in milliseconds since 1970), key,
    /// headers and payload. Bytes that are not UTF-8 are base64, under payload_base64, key_base64 or value_base64.
    Json,
}

/// The value of `--from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct From(Start);

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "earliest" => Start::Earliest,
            "latest" => Start::Latest,
            offset => {
                let offset = offset.parse();
                Start::Offset(Offset(
                    offset.map_err(|_| "must be earliest, latest or an offset")?,
                ))
            }
        }))
    }
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

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = signals::watch(|| ())?;
    let subscribing = subscribe(args.config(), args.follow);
    let consumer = tokio::select! {
        consumer = subscribing => consumer?,
        () = stop.cancelled() => return Ok(ExitCode::FAILURE),
    };
    let mut lines = Lines {
        consumer,
        format: args.format,
        named: args.name.is_some(),
        buffer: Vec::with_capacity(BLOCK),
        last: None,
    };
    let count = args.count.unwrap_or(u64::MAX);
    let copied = lines.copy(count, args.follow, &stop).await;
    // Messages received before an error are written too.
    let written = lines.flush();
    let closed = lines.consumer.close(CLOSE_TIMEOUT).await;
    copied.and(written)?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// Subscribes. Without the topic, waits for it if `follow`.
async fn subscribe(mut config: Config, follow: bool) -> Result<Consumer, ConsumeError> {
    let topic = config.topic.clone();
    let first = Consumer::builder().config(config.clone()).subscribe().await;
    match first {
        Err(ConsumeError::Refused(failure))
            if follow && failure.code == FailureCode::UnknownTopic =>
        {
            progress::say(format_args!(
                "topic {topic} does not exist yet: waiting for it"
            ));
            config.wait_for_topic = true;
            Consumer::builder().config(config).subscribe().await
        }
        other => other,
    }
}

/// Messages on the way to standard output.
struct Lines {
    consumer: Consumer,
    format: Format,
    named: bool,
    /// Lines not written yet.
    buffer: Vec<u8>,
    /// Offset of the last message in `buffer`.
    last: Option<Offset>,
}

impl Lines {
    /// Copies `count` messages, or up to the end of the topic unless `follow`, or until `stop`.
    async fn copy(
        &mut self,
        count: u64,
        follow: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 && (follow || !self.consumer.is_caught_up()) {
            let received = match self.consumer.try_recv()? {
                Some(received) => received,
                None => {
                    self.flush()?;
                    tokio::select! {
                        received = self.consumer.recv() => received?,
                        () = stop.cancelled() => return Ok(()),
                    }
                }
            };
            self.put(&received)?;
            left -= 1;
            if self.buffer.len() >= BLOCK {
                self.flush()?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, received: &Received) -> anyhow::Result<()> {
        let Received {
            offset, skipped, ..
        } = received;
        if *skipped > 0 {
            progress::say(format_args!(
                "{skipped} messages before offset {offset} are missing: retention deleted them"
            ));
        }
        match self.format {
            Format::Raw => self.buffer.extend_from_slice(&received.record.payload),
            Format::Json => format::json(received, &mut self.buffer)?,
        }
        self.buffer.push(b'\n');
        self.last = Some(*offset);
        Ok(())
    }

    /// Writes and acknowledges the buffered lines. Standard output may block: nothing else runs on the main thread.
    fn flush(&mut self) -> anyhow::Result<()> {
        let Some(last) = self.last.take() else {
            return Ok(());
        };
        output::bytes(&self.buffer)?;
        self.buffer.clear();
        if self.named {
            self.consumer.ack_nowait(last)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_word_or_an_offset() {
        assert_eq!("earliest".parse(), Ok(From(Start::Earliest)));
        assert_eq!("latest".parse(), Ok(From(Start::Latest)));
        assert_eq!("7".parse(), Ok(From(Start::Offset(Offset(7)))));
        for wrong in ["", "-1", "first", "Earliest"] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }
}
