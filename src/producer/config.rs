//! Sans-I/O: a producer's options, their defaults and their rules.

use std::{str::FromStr, time::Duration};

use super::{
    Strategy,
    limits::{MAX_BUFFER_BYTES, MAX_BUFFER_MESSAGES},
};
use crate::{
    TopicName,
    config::{ConfigError, Problems, rules},
    conn, pool,
    scaler::{self, MAX_LANES},
    units,
};

/// What `send` and `send_async` do when the buffer is full.
///
/// Can be read from text: `wait`, a duration such as `250ms`, or `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// They wait for room, first come first served, until `delivery_timeout`.
    #[default]
    Wait,
    /// They wait for room at most this long, then fail with [`SendErrorKind::Full`](super::SendErrorKind::Full).
    WaitFor(Duration),
    /// They fail at once with [`SendErrorKind::Full`](super::SendErrorKind::Full).
    Error,
}

impl FromStr for WhenFull {
    type Err = units::ParseError;

    fn from_str(text: &str) -> Result<Self, units::ParseError> {
        match text {
            "wait" => Ok(Self::Wait),
            "error" => Ok(Self::Error),
            text => units::parse_duration(text).map(Self::WaitFor),
        }
    }
}

/// What becomes of two live producers with the same [name](Config::name).
///
/// Can be read from text: `fence` or `distinct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NameConflict {
    /// The later one fences the earlier one, which writes nothing more. So after a restart of a service, an old process that
    /// is still alive cannot write in its name.
    #[default]
    Fence,
    /// They are two producers: the broker knows each by the name and a random number. The broker remembers each one for a
    /// while, so this is not for processes that start by the thousand.
    Distinct,
}

impl FromStr for NameConflict {
    type Err = NameConflictError;

    fn from_str(text: &str) -> Result<Self, NameConflictError> {
        match text {
            "fence" => Ok(Self::Fence),
            "distinct" => Ok(Self::Distinct),
            _ => Err(NameConflictError(())),
        }
    }
}

/// A text that is not a [`NameConflict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be fence or distinct")]
pub struct NameConflictError(());

/// The options of a producer.
///
/// All fields may be set directly; [`Builder`](super::Builder) has a setter for each of the common ones. Sizes in bytes are
/// `u64`, counts are `usize`.
///
/// ```
/// use std::time::Duration;
/// use anabranch::producer::Config;
///
/// let mut config = Config::default();
/// config.topic = "events".into();
/// config.connection.servers.push("broker.example:4433".into());
/// config.linger = Duration::from_millis(5);
/// config.check()?;
/// # Ok::<_, anabranch::ConfigError>(())
/// ```
///
/// With the feature `serde` it deserialises. Every field may be left out; durations and sizes are text with
/// [units](crate::units), or plain numbers of bytes:
///
/// ```
/// # #[cfg(feature = "serde")] {
/// # use anabranch::producer::Config;
/// let config: Config = serde_json::from_str(
///     r#"{
///         "topic": "events",
///         "strategy": "4",
///         "linger": "5ms",
///         "buffer_bytes": "32MiB",
///         "connection": { "servers": ["broker.example:4433"], "tls": { "ca_file": "ca.pem" } }
///     }"#,
/// )
/// .unwrap();
/// assert_eq!(config.buffer_bytes, 32 << 20);
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The topic of messages that name none. Required.
    pub topic: String,

    /// How many streams carry the messages of `send_async`. Default: [`Strategy::Adaptive`].
    pub strategy: Strategy,

    /// The producer's name, 1 to 200 bytes. Default: none, and then a random one.
    ///
    /// A producer that connects with the name of a live one *fences* it: the broker closes the earlier one's connection, and
    /// that producer ends with [`Disconnected`](super::SendErrorKind::Disconnected). [`Config::name_conflict`] changes this.
    pub name: Option<String>,

    /// What becomes of two producers of one name. Default: [`NameConflict::Fence`]. With [`NameConflict::Distinct`] the name
    /// has at most 183 bytes.
    pub name_conflict: NameConflict,

    /// Messages that may be held at once, queued and unanswered together. Default 262 144, 1 to 16 777 215.
    pub buffer_messages: usize,

    /// Bytes that may be held at once, queued and unanswered together: the content of the messages, and 256 bytes for each
    /// message. Default 64 MiB, 64 KiB to 512 GiB. A single message above it may pass while nothing else is held.
    pub buffer_bytes: u64,

    /// What a call does when the buffer is full. Default: it waits.
    pub when_full: WhenFull,

    /// The most bytes of key, headers and payload of one message. Default 8 MiB, at least 1. The broker's own limit
    /// applies too. A larger message is refused before anything is queued.
    pub max_message_bytes: u64,

    /// The bytes that one batch may have, about. Default 64 KiB, 1 KiB to 4 MiB.
    ///
    /// Larger batches cost less for each message; smaller ones let a lost packet stall fewer messages.
    pub batch_bytes: u64,

    /// The messages that one batch may have. Default 4096, 1 to 65 536.
    pub batch_messages: usize,

    /// How long a lane that was woken waits for more messages before it takes those that are queued. Default zero, less than
    /// `delivery_timeout`. Under load, batches form by themselves while earlier ones are being written.
    pub linger: Duration,

    /// The bytes after which a lane leaves the queue to the next lane. Default 1200, at least 1: a packet.
    ///
    /// With less, one lost packet stalls several lanes; with more, it stalls more messages of one lane.
    pub lane_switch_bytes: u64,

    /// The time from the call to the outcome, including all retries. Default 120 s, 1 ms to a day.
    pub delivery_timeout: Duration,

    /// The options of the adaptive strategy, and the window of a lane under any strategy.
    pub scaler: scaler::Config,

    /// The stream pool. `max` is raised to what the strategy may use.
    pub pool: pool::Config,

    /// The address of the broker, and how to reach it.
    pub connection: conn::Config,

    /// A log on disk for the messages that the buffer has no room for while no server can be reached. Default: none. It takes
    /// a fourth of the buffer, at most 4 MiB, for messages that are being written to disk.
    #[cfg(feature = "spool")]
    pub spool: Option<super::spool_config::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topic: String::new(),
            strategy: Strategy::Adaptive,
            name: None,
            name_conflict: NameConflict::Fence,
            buffer_messages: 262_144,
            buffer_bytes: 64 << 20,
            when_full: WhenFull::Wait,
            max_message_bytes: 8 << 20,
            batch_bytes: 64 << 10,
            batch_messages: 4096,
            linger: Duration::ZERO,
            lane_switch_bytes: 1200,
            delivery_timeout: Duration::from_secs(120),
            scaler: scaler::Config::default(),
            pool: pool::Config::default(),
            connection: conn::Config::default(),
            #[cfg(feature = "spool")]
            spool: None,
        }
    }
}

impl Config {
    /// Checks every field, those of the parts too.
    ///
    /// # Errors
    /// [`ConfigError`] names every wrong field.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.checked().map(drop)
    }

    /// Checks every field, and returns the topic.
    pub(super) fn checked(&self) -> Result<TopicName, ConfigError> {
        const MAX_MESSAGES: usize = MAX_BUFFER_MESSAGES as usize;
        let day = Duration::from_secs(86_400);
        let mut problems = Problems::default();
        let topic = TopicName::new(&self.topic);
        if let Err(error) = &topic {
            problems.expect(false, "topic", &self.topic, error.to_string());
        }
        let max_lanes = self.strategy.max_lanes(&self.scaler);
        let name_len = self.name.as_ref().map_or(1, String::len);
        let (max_name, name) = match self.name_conflict {
            NameConflict::Fence => (200, "must have 1 to 200 bytes"),
            NameConflict::Distinct => (
                183,
                "must have 1 to 183 bytes with name_conflict = Distinct",
            ),
        };
        rules!(problems, self;
            strategy where max_lanes <= MAX_LANES => format!("must have at most {MAX_LANES} lanes");
            name where (1..=max_name).contains(&name_len) => name;
            buffer_messages in 1..=MAX_MESSAGES => "must be 1 to 16777215";
            buffer_bytes in 64 << 10..=MAX_BUFFER_BYTES => "must be 64 KiB to 512 GiB";
            max_message_bytes in 1.. => "must be at least 1";
            batch_bytes in 1 << 10..=4 << 20 => "must be 1 KiB to 4 MiB";
            batch_messages in 1..=65_536 => "must be 1 to 65536";
            linger in ..self.delivery_timeout => "must be less than delivery_timeout";
            lane_switch_bytes in 1.. => "must be at least 1";
            delivery_timeout in Duration::from_millis(1)..=day => "must be 1 ms to 1 day";
        );
        problems.extend(self.scaler.check());
        problems.extend(self.pool.check());
        problems.nested("connection", |problems| self.connection.problems(problems));
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            problems.extend(spool.check());
            rules!(problems, self;
                buffer_messages in 2.. => "must be at least 2 with a spool";
            );
        }
        problems.into_result()?;
        // No topic is no problem only where there is one.
        topic.map_err(|_| ConfigError::default())
    }
}

#[cfg(feature = "serde")]
crate::de::text_option!(WhenFull, WhenFull::from_str);
#[cfg(feature = "serde")]
crate::de::text_option!(NameConflict, NameConflict::from_str);
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::default();
    topic, strategy, name, name_conflict, buffer_messages, buffer_bytes, when_full, max_message_bytes, batch_bytes,
    batch_messages, linger, lane_switch_bytes, delivery_timeout, scaler, pool, connection, #[cfg(feature = "spool")] spool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_real_ones_and_break_no_rule() {
        let config = Config::default();
        assert!(matches!(config.strategy, Strategy::Adaptive));
        assert_eq!(config.name_conflict, NameConflict::Fence);
        assert_eq!(config.buffer_messages, 262_144);
        assert_eq!(config.buffer_bytes, 64 * 1024 * 1024);
        assert_eq!(config.when_full, WhenFull::Wait);
        assert_eq!(config.max_message_bytes, 8 * 1024 * 1024);
        assert_eq!(config.batch_bytes, 64 * 1024);
        assert_eq!(config.batch_messages, 4096);
        assert_eq!(config.linger, Duration::ZERO);
        assert_eq!(config.lane_switch_bytes, 1200);
        assert_eq!(config.delivery_timeout, Duration::from_secs(120));
    }

    #[test]
    fn every_wrong_field_is_named_with_its_value_and_rule() {
        let config = Config {
            name: Some(String::new()),
            buffer_messages: 0,
            batch_bytes: 3,
            linger: Duration::from_secs(500),
            ..Config::default()
        };
        let error = config.check().unwrap_err();
        let lines: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
        assert!(lines.contains(&"buffer_messages = 0: must be 1 to 16777215".to_owned()));
        for field in ["name", "batch_bytes", "linger"] {
            assert!(
                lines.iter().any(|l| l.starts_with(field)),
                "{field}: {lines:?}"
            );
        }
    }

    #[test]
    fn the_path_of_a_wrong_field_is_the_one_by_which_it_is_set() {
        let mut config = Config {
            topic: "a b".to_owned(),
            ..Config::default()
        };
        config.pool.max = 0;
        config.pool.min = 0;
        config.scaler.backlog_threshold = 0;
        config.connection.connect_timeout = Duration::ZERO;
        config.connection.transport.send_window = 0;
        config.connection.reconnect_backoff.min = Duration::ZERO;
        let error = config.check().unwrap_err();
        let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "topic",
                "scaler.backlog_threshold",
                "pool.max",
                "connection.servers",
                "connection.connect_timeout",
                "connection.reconnect_backoff.min",
                "connection.transport.send_window",
            ]
        );
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn options_are_read_from_text() {
        let patience = Duration::from_millis(250);
        assert_eq!("wait".parse(), Ok(WhenFull::Wait));
        assert_eq!("250ms".parse(), Ok(WhenFull::WaitFor(patience)));
        assert_eq!("error".parse(), Ok(WhenFull::Error));
        assert!("maybe".parse::<WhenFull>().is_err());
        assert_eq!("fence".parse(), Ok(NameConflict::Fence));
        assert_eq!("distinct".parse(), Ok(NameConflict::Distinct));
        assert!("both".parse::<NameConflict>().is_err());
    }
}
