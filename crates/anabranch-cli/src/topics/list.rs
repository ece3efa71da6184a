//! Topics and their positions, as a table or as JSON.

use std::time::Duration;

use anabranch::admin::{PositionInfo, RetentionLimit, TopicInfo};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::output::{self, Output};

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
    /// Age in seconds at which messages are dropped: a number, "none" or "broker".
    max_age: String,
    /// Size in bytes above which messages are dropped: a number, "none" or "broker".
    max_bytes: String,
}

/// The position of a named consumer.
#[derive(Debug, Serialize)]
struct Position {
    name: String,
    /// First offset that is not acknowledged.
    next: u64,
    /// Number of stored messages from there on.
    behind: u64,
}

fn limit<T>(limit: RetentionLimit<T>, text: impl Fn(T) -> String) -> String {
    match limit {
        RetentionLimit::Broker => "broker".into(),
        RetentionLimit::Unlimited => "none".into(),
        RetentionLimit::At(value) => text(value),
    }
}

impl From<&TopicInfo> for Topic {
    fn from(topic: &TopicInfo) -> Self {
        let messages = topic.next.0.saturating_sub(topic.first.0);
        Self {
            name: topic.name.to_string(),
            messages,
            bytes: topic.bytes,
            first: (messages > 0).then_some(topic.first.0),
            last: (messages > 0).then(|| topic.next.0 - 1),
            max_age: limit(topic.retention.max_age, |age: Duration| {
                age.as_secs_f64().to_string()
            }),
            max_bytes: limit(topic.retention.max_bytes, |bytes| bytes.to_string()),
        }
    }
}

/// Prints topics.
pub(super) fn list(topics: &[TopicInfo], output: Output) -> anyhow::Result<()> {
    let topics: Vec<Topic> = topics.iter().map(Topic::from).collect();
    match output {
        Output::Json => output::json(&topics),
        Output::Text => output::bytes(table(&topics).as_bytes()),
    }
}

/// Prints one topic with its positions.
pub(super) fn describe(
    topic: TopicInfo,
    positions: &[PositionInfo],
    output: Output,
) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Described {
        #[serde(flatten)]
        topic: Topic,
        positions: Vec<Position>,
    }
    let behind = |next: u64| topic.next.0.saturating_sub(next.max(topic.first.0));
    let positions = positions.iter().map(|position| Position {
        name: position.name.clone(),
        next: position.next.0,
        behind: behind(position.next.0),
    });
    let positions = positions.collect();
    let topic = Topic::from(&topic);
    let described = Described { topic, positions };
    if output == Output::Json {
        return output::json(&described);
    }
    let Described { topic, positions } = described;
    let offset = |offset: Option<u64>| offset.map_or("-".into(), |offset| offset.to_string());
    output::line(format_args!(
        "topic      {}\nmessages   {}, offsets {} to {}\nbytes      {}\nmax age    {}\nmax bytes  {}",
        topic.name,
        HumanCount(topic.messages),
        offset(topic.first),
        offset(topic.last),
        HumanBytes(topic.bytes),
        with_unit(&topic.max_age, " s"),
        with_unit(&topic.max_bytes, " B"),
    ))?;
    for Position { name, next, behind } in positions {
        // A name is any text: escaped, it cannot control a terminal.
        output::line(format_args!(
            "position   {name:?}: next offset {next}, {behind} messages behind"
        ))?;
    }
    Ok(())
}

fn with_unit(limit: &str, unit: &str) -> String {
    match limit {
        "broker" => "that of the broker".into(),
        "none" => "none".into(),
        number => format!("{number}{unit}"),
    }
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
    use anabranch::{Offset, TopicIdentity, TopicName, admin::TopicRetention};

    use super::*;

    #[test]
    fn an_empty_topic_has_no_first_and_no_last_offset() {
        let topic = |first, next| {
            Topic::from(&TopicInfo {
                name: TopicName::new("events").unwrap(),
                first: Offset(first),
                next: Offset(next),
                bytes: 0,
                identity: TopicIdentity::default(),
                retention: TopicRetention::default(),
            })
        };
        let (empty, two) = (topic(7, 7), topic(7, 9));
        assert_eq!((empty.messages, empty.first, empty.last), (0, None, None));
        assert_eq!((two.messages, two.first, two.last), (2, Some(7), Some(8)));
        let table = table(&[two]);
        assert_eq!(table.lines().count(), 2, "{table}");
    }
}
