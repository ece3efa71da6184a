//! `anabranch topics`: lists the topics of a broker.

use std::process::ExitCode;

use anabranch::consumer::{TopicInfo, list_topics};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::{
    connection::ConnectionArgs,
    output::{self, Output},
};

/// List the topics that these credentials may read or write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Output format.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// One topic.
#[derive(Debug, Serialize)]
struct Topic {
    name: String,
    /// Number of stored messages.
    messages: u64,
    /// Size of the topic in the store, in bytes.
    bytes: u64,
    /// Offset of the oldest message. `None` for an empty topic.
    first: Option<u64>,
    /// Offset of the newest message. `None` for an empty topic.
    last: Option<u64>,
}

impl From<TopicInfo> for Topic {
    fn from(topic: TopicInfo) -> Self {
        let messages = topic.next.0.saturating_sub(topic.first.0);
        Self {
            name: topic.name.to_string(),
            messages,
            bytes: topic.bytes,
            first: (messages > 0).then_some(topic.first.0),
            last: (messages > 0).then(|| topic.next.0 - 1),
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let listed = list_topics(args.connection.config()).await?;
    let topics: Vec<Topic> = listed.into_iter().map(Topic::from).collect();
    match args.output {
        Output::Json => output::json(&topics)?,
        Output::Text => output::bytes(table(&topics).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a heading and one line per topic.
fn table(topics: &[Topic]) -> String {
    let widest = topics.iter().map(|topic| topic.name.len()).max();
    let width = widest.unwrap_or(0).max("TOPIC".len());
    let mut table = String::new();
    let mut row = |name: &str, rest: [&str; 4]| {
        let [messages, bytes, first, last] = rest;
        table.push_str(&format!(
            "{name:width$}  {messages:>14}  {bytes:>12}  {first:>14}  {last:>14}\n"
        ));
    };
    row("TOPIC", ["MESSAGES", "BYTES", "FIRST", "LAST"]);
    for topic in topics {
        let offset = |offset: Option<u64>| offset.map_or("-".into(), |offset| offset.to_string());
        let (messages, bytes) = (HumanCount(topic.messages), HumanBytes(topic.bytes));
        row(
            &topic.name,
            [
                &messages.to_string(),
                &bytes.to_string(),
                &offset(topic.first),
                &offset(topic.last),
            ],
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use anabranch::{Offset, TopicName};

    use super::*;

    #[test]
    fn an_empty_topic_has_no_first_and_no_last_offset() {
        let topic = |first, next| {
            Topic::from(TopicInfo {
                name: TopicName::new("events").unwrap(),
                first: Offset(first),
                next: Offset(next),
                bytes: 0,
            })
        };
        let (empty, two) = (topic(7, 7), topic(7, 9));
        assert_eq!((empty.messages, empty.first, empty.last), (0, None, None));
        assert_eq!((two.messages, two.first, two.last), (2, Some(7), Some(8)));
        let table = table(&[two]);
        assert_eq!(table.lines().count(), 2, "{table}");
    }
}
