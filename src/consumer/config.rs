//! Sans-I/O: a consumer's options, and their rules.

#[cfg(feature = "serde")]
use std::str::FromStr;

use crate::{
    TopicName,
    config::{ConfigError, Problems, rules},
    conn,
    wire::Start,
};

/// All options of a consumer.
///
/// ```
/// use anabranch::consumer::{Config, Start};
///
/// let mut config = Config::default();
/// config.connection.servers.push("broker.example:4433".into());
/// config.topic = "orders".into();
/// config.from = Start::Earliest;
/// config.check()?;
/// # Ok::<_, anabranch::ConfigError>(())
/// ```
///
/// With the feature `serde` it deserialises. Every field may be left out; durations and sizes are text with
/// [units](crate::units), or plain numbers of bytes:
///
/// ```
/// # #[cfg(feature = "serde")] {
/// # use anabranch::consumer::Config;
/// let config: Config = serde_json::from_str(
///     r#"{
///         "topic": "orders",
///         "name": "billing",
///         "from": "earliest",
///         "credit_bytes": "1MiB",
///         "connection": { "servers": ["broker.example:4433"], "tls": { "ca_file": "ca.pem" } }
///     }"#,
/// )
/// .unwrap();
/// assert_eq!(config.credit_bytes, 1 << 20);
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How the broker is reached: servers, TLS, token, pings, reconnecting.
    pub connection: conn::Config,
    /// The name of the topic to read. Required.
    pub topic: String,
    /// The name under which the broker stores the acknowledged position: 1 to 200 bytes. Default: none, and no position
    /// is stored. A name has one consumer at a time in a topic: a later one shuts out the earlier, which ends with
    /// [`FailureCode::Fenced`](super::FailureCode::Fenced).
    pub name: Option<String>,
    /// Whether to wait for a topic that does not exist, and then begin with its first message. Default false: subscribing
    /// ends with [`FailureCode::UnknownTopic`](super::FailureCode::UnknownTopic). Consumers never create a topic.
    pub wait_for_topic: bool,
    /// Where to begin. A name that has a stored position continues there instead. Default: [`Start::Latest`].
    pub from: Start,
    /// The most bytes of batches that may wait for the application, in addition to one batch. Default 4 MiB; 1 B to
    /// 4 GiB. On a link with a long round trip this is also the most that can be in flight, so less holds up the broker.
    pub credit_bytes: u64,
    /// The longest batch that is accepted, in bytes. Default 64 MiB; 64 KiB to 1 GiB, and at least what the broker
    /// allows its producers.
    pub max_batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connection: conn::Config::default(),
            topic: String::new(),
            name: None,
            wait_for_topic: false,
            from: Start::default(),
            credit_bytes: 4 << 20,
            max_batch: 64 << 20,
        }
    }
}

impl Config {
    /// Checks every field. Returns the topic.
    ///
    /// # Errors
    /// [`ConfigError`] names every wrong field.
    pub fn check(&self) -> Result<TopicName, ConfigError> {
        let mut problems = Problems::default();
        problems.nested("connection", |problems| self.connection.problems(problems));
        let topic = TopicName::new(&self.topic);
        let rule =
            "must be 1 to 200 letters, digits, '.', '_' or '-', not beginning with '.' or '-'";
        problems.expect(topic.is_ok(), "topic", &self.topic, rule);
        let name_len = self.name.as_ref().map_or(1, String::len);
        rules!(problems, self;
            name where (1..=200).contains(&name_len) => "must have 1 to 200 bytes";
            credit_bytes in 1..=1 << 32 => "must be 1 to 4294967296";
            max_batch in 64 << 10..=1 << 30 => "must be 64 KiB to 1 GiB";
        );
        problems.into_result()?;
        Ok(topic.expect("a wrong topic is a problem"))
    }
}

#[cfg(feature = "serde")]
crate::de::text_option!(Start, Start::from_str);
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::default();
    connection, topic, name, wait_for_topic, from, credit_bytes, max_batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let config = Config {
            topic: "a b".into(),
            name: Some(String::new()),
            credit_bytes: 0,
            max_batch: 0,
            ..Config::default()
        };
        let error = config.check().unwrap_err();
        let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "connection.servers",
                "topic",
                "name",
                "credit_bytes",
                "max_batch"
            ]
        );
    }

    #[test]
    fn the_defaults_need_nothing_but_a_server_and_a_topic() {
        let config = Config {
            connection: conn::Config::to("localhost:4433"),
            topic: "orders".into(),
            ..Config::default()
        };
        assert_eq!(config.check().unwrap().as_str(), "orders");
    }
}
