//! `anabranch consume`: messages in, lines out.

mod format;

use std::{process::ExitCode, str::FromStr, time::Duration};

use anabranch::{
    Offset, TopicName,
    consumer::{Config, Consumer, Received, Start},
};
use clap::{ValueEnum, builder::BoolishValueParser};
use tokio_util::sync::CancellationToken;

use crate::{connection::ConnectionArgs, output, produce, progress, signals};

/// So much is written at once.
const BLOCK: usize = 256 << 10;
/// How long the broker may take to confirm what was acknowledged.
const GOODBYE: Duration = Duration::from_secs(5);

/// Read a topic, one message a line, to standard output.
///
/// It ends where the topic ended when it began, or goes on with --follow until Ctrl-C. With --name, what was
/// written is acknowledged, and the next one of that name begins behind it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic to read.
    #[arg(long, env = "ANABRANCH_TOPIC", value_name = "TOPIC")]
    topic: TopicName,

    /// Where to begin: earliest, latest or an offset. A name that has a position begins there instead.
    #[arg(
        long,
        env = "ANABRANCH_FROM",
        value_name = "WHERE",
        default_value = "earliest"
    )]
    from: From,

    /// The name under which the broker keeps the position.
    #[arg(long, env = "ANABRANCH_NAME", value_name = "NAME", value_parser = produce::name)]
    name: Option<String>,

    /// End after so many messages.
    #[arg(long, env = "ANABRANCH_COUNT", value_name = "COUNT")]
    count: Option<u64>,

    /// Wait for more at the end of the topic.
    #[arg(long, env = "ANABRANCH_FOLLOW", value_parser = BoolishValueParser::new())]
    follow: bool,

    /// What a line holds.
    #[arg(long, env = "ANABRANCH_FORMAT", value_enum, default_value_t)]
    format: Format,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// The payload's bytes as they are.
    #[default]
    Raw,
    /// A JSON object: offset, timestamp (when it was stored) and event_time (both in milliseconds since 1970), key,
    /// headers, payload. What is not UTF-8 is base64 under payload_base64, key_base64 or value_base64 instead.
    Json,
}

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
    let subscribing = Consumer::builder().config(args.config()).subscribe();
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
    // What came before an error is written too.
    let written = lines.flush();
    let closed = lines.consumer.close(GOODBYE).await;
    copied.and(written)?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// Messages on their way to standard output.
struct Lines {
    consumer: Consumer,
    format: Format,
    named: bool,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    /// The last message in it.
    last: Option<Offset>,
}

impl Lines {
    /// Copies until the end that was asked for.
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
                "{skipped} messages before offset {offset} are gone: retention dropped them"
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

    /// Writes what is there, and acknowledges it. Standard output may block for as long as it likes: this is the main
    /// thread, and nothing else runs on it.
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
