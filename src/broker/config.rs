//! Sans-I/O: the options of a broker, their defaults, and their rules.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::Tokens;
use crate::{
    config::{ConfigError, Problems, rules},
    conn::{Admission, StatelessResetKey, TransportConfig},
};

/// All options of a broker but TLS and the store.
///
/// With the feature `serde` it deserialises, all but `reset_key`. Every field may be left out; durations and sizes are text
/// with [units](crate::units), or plain numbers of bytes. `tokens` has the text of a [token file](Tokens):
///
/// ```
/// # #[cfg(feature = "serde")] {
/// # use anabranch::broker::Config;
/// let config: Config = serde_json::from_str(
///     r#"{
///         "listen": "0.0.0.0:4433",
///         "tokens": "8f2b1c64 produce:orders.*",
///         "limits": { "max_message": "1MiB" },
///         "retention": { "max_age": "7d", "max_bytes": "10GiB" },
///         "transport": { "idle_timeout": "1m" }
///     }"#,
/// )
/// .unwrap();
/// assert!(config.check().is_ok());
/// assert_eq!(config.transport.max_streams, Config::default().transport.max_streams);
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The UDP address to listen at. Default `127.0.0.1:4433`, which only this machine can reach. Port 0 lets the system
    /// choose.
    pub listen: SocketAddr,
    /// The options of QUIC: windows, streams of a connection, idle time. Default [`TransportConfig::server`]. The broker
    /// announces `stream_receive_window` to clients.
    pub transport: TransportConfig,
    /// The limits of connections and handshakes, and the time for a handshake.
    pub admission: Admission,
    /// The key of stateless resets. With the same key as before a restart, the broker tells its clients of the restart
    /// within a round trip. Default none: a new key at each start, so that clients notice by their ping timeout.
    pub reset_key: Option<StatelessResetKey>,
    /// The accepted tokens. None: no token is needed, and every client that TLS accepts may do everything. With tokens, a
    /// client without one needs a certificate that has a line of its own among them.
    pub tokens: Option<Tokens>,
    /// The limits of memory and numbers.
    pub limits: Limits,
    /// What is dropped, and when.
    pub retention: Retention,
    /// Whether a topic is created when a client first produces to it. Subscribing never creates one. Default true.
    pub auto_create: bool,
    /// The delay of each batch of a stream, before it goes to the store and the next batch of the stream is read. For
    /// experiments with a broker that is slow on each stream. Default none; at most a minute.
    pub stream_delay: Option<Duration>,
}

/// The port that a broker listens at by default.
pub const DEFAULT_PORT: u16 = 4433;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT),
            transport: TransportConfig::server(),
            admission: Admission::default(),
            reset_key: None,
            tokens: None,
            limits: Limits::default(),
            retention: Retention::default(),
            auto_create: true,
            stream_delay: None,
        }
    }
}

/// The limits of a broker, beyond those of QUIC ([`Config::transport`]) and of connections ([`Config::admission`]). Each
/// field bounds something that could grow otherwise.
///
/// Clients can make a broker hold at most this much memory: for each connection, QUIC's window, `connection_buffer`, and one
/// `max_frame` for each stream. Of that, at most `commit_queue_bytes` over all connections wait for the store. Each
/// subscription holds `read_chunk` or one batch, and QUIC's send window.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest frame that is read, in bytes: a batch and up to 218 bytes. Default 16 MiB; 64 KiB to 1 GiB, and at
    /// least 1 KiB more than `max_message`. The broker announces it, and producers keep their batches within it.
    pub max_frame: usize,
    /// The most bytes of key, headers and payload of one message. Default 8 MiB; at least 1. A batch with a larger
    /// message is refused.
    pub max_message: usize,
    /// The most messages in one batch. Default 65 536; at least 1. A batch with more is refused.
    pub max_batch_messages: u32,

    /// The most bytes of batches of one stream that are read and not yet answered. Default 16 MiB; at least `max_frame`.
    /// At the limit the stream is not read.
    pub stream_buffer: usize,
    /// The most bytes of batches of all streams of one connection that are read and not yet answered. Default 32 MiB; at
    /// least `stream_buffer`. At the limit its streams are not read.
    pub connection_buffer: usize,
    /// The most batches of one stream that are read and not yet answered. Default 1024; 1 to 1 048 576. At the limit the
    /// stream is not read.
    pub stream_batches: usize,

    /// The most bytes of batches that wait for the store, over all connections. Default 64 MiB; at least `max_frame`. At
    /// the limit streams are not read.
    pub commit_queue_bytes: usize,
    /// The most batches that wait for the store, over all connections. Default 8192; 1 to 1 048 576. At the limit streams
    /// are not read.
    pub commit_queue_batches: usize,
    /// The bytes at which a group for the store is complete. Default 4 MiB; at least 1. A larger group shares one flush of
    /// the disk among more batches, and delays the first of them.
    pub commit_group_bytes: usize,
    /// The batches at which a group for the store is complete. Default 1024; at least 1.
    pub commit_group_batches: usize,

    /// The most subscriptions at a time. Default 1024; at most 1 048 576. Further ones are refused.
    pub subscriptions: usize,
    /// The bytes that a subscription reads from the store at a time. Default 256 KiB; 1 KiB to 16 MiB. A small value keeps
    /// consumers of old messages from delaying writes to the store.
    pub read_chunk: usize,
    /// The most topics. Default 10 000; at least 1. Further ones are not created.
    pub topics: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 16 << 20,
            max_message: 8 << 20,
            max_batch_messages: 65_536,
            stream_buffer: 16 << 20,
            connection_buffer: 32 << 20,
            stream_batches: 1024,
            commit_queue_bytes: 64 << 20,
            commit_queue_batches: 8192,
            commit_group_bytes: 4 << 20,
            commit_group_batches: 1024,
            subscriptions: 1024,
            read_chunk: 256 << 10,
            topics: 10_000,
        }
    }
}

/// What is dropped, and when. The default keeps all messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// The age at which batches are dropped. Default none: age is no reason to drop.
    pub max_age: Option<Duration>,
    /// The size of a topic above which its oldest batches are dropped. Default none: size is no reason to drop.
    pub max_bytes: Option<u64>,
    /// Whether messages are kept that a named consumer has not acknowledged, whatever their age and size. Default true.
    /// Consumers that are away then miss nothing, but one that never returns can fill the disk.
    pub keep_unread: bool,
    /// How long a producer is remembered after its last message or connection. While it is remembered, what it sends
    /// again is not stored twice. Default 7 days; at least 1 min.
    pub producer_memory: Duration,
    /// How often topics are trimmed. Default 1 min; 10 ms to a day.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: None,
            max_bytes: None,
            keep_unread: true,
            producer_memory: Duration::from_secs(7 * DAY),
            every: Duration::from_secs(60),
        }
    }
}

const DAY: u64 = 24 * 60 * 60;
/// The most entries of a queue or semaphore whose size is an option.
const MAX_ENTRIES: usize = 1 << 20;

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ConfigError`] names every wrong field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.problems(&mut problems);
        problems.into_result()
    }

    pub(super) fn problems(&self, problems: &mut Problems) {
        self.transport.problems(problems);
        problems.expect(
            self.transport.max_streams >= 2,
            "transport.max_streams",
            &self.transport.max_streams,
            "must be at least 2: the session and one more",
        );
        self.admission.problems(problems);
        problems.nested("limits", |problems| self.limits.problems(problems));
        problems.nested("retention", |problems| self.retention.problems(problems));
        let minute = Duration::from_secs(60);
        rules!(problems, self;
            stream_delay where self.stream_delay.is_none_or(|delay| delay <= minute) => "must be at most a minute";
        );
    }
}

impl Limits {
    fn problems(&self, problems: &mut Problems) {
        let fits = self.max_message.saturating_add(1024) <= self.max_frame;
        let entries = 1..=MAX_ENTRIES;
        rules!(problems, self;
            max_frame in 64 << 10..=1 << 30 => "must be 64 KiB to 1 GiB";
            max_message where self.max_message >= 1 && fits =>
                "must be at least 1 and leave 1 KiB of limits.max_frame";
            max_batch_messages in 1.. => "must be at least 1";
            stream_buffer in self.max_frame.. => "must be at least limits.max_frame";
            connection_buffer in self.stream_buffer.. => "must be at least limits.stream_buffer";
            commit_queue_bytes in self.max_frame.. => "must be at least limits.max_frame";
            stream_batches where entries.contains(&self.stream_batches) => "must be 1 to 1048576";
            commit_queue_batches where entries.contains(&self.commit_queue_batches) => "must be 1 to 1048576";
            commit_group_bytes in 1.. => "must be at least 1";
            commit_group_batches in 1.. => "must be at least 1";
            subscriptions in ..=MAX_ENTRIES => "must be at most 1048576";
            read_chunk in 1 << 10..=16 << 20 => "must be 1 KiB to 16 MiB";
            topics in 1.. => "must be at least 1";
        );
    }
}

impl Retention {
    fn problems(&self, problems: &mut Problems) {
        rules!(problems, self;
            producer_memory in Duration::from_secs(60).. => "must be at least a minute";
            every in Duration::from_millis(10)..=Duration::from_secs(DAY) => "must be 10 ms to a day";
        );
    }
}

#[cfg(feature = "serde")]
crate::de::text_option!(Tokens, |text| text.parse::<Tokens>());
#[cfg(feature = "serde")]
crate::de::where_given!(Tokens = Tokens::new());
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::default();
    listen, transport, admission, tokens, limits, retention, auto_create, stream_delay;
    except reset_key
}
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Limits = Limits::default();
    max_frame, max_message, max_batch_messages, stream_buffer, connection_buffer, stream_batches, commit_queue_bytes,
    commit_queue_batches, commit_group_bytes, commit_group_batches, subscriptions, read_chunk, topics
}
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Retention = Retention::default();
    max_age, max_bytes, keep_unread, producer_memory, every
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_to_the_rules() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn every_wrong_field_is_named_at_once_with_its_value_and_its_rule() {
        let limits = Limits {
            max_message: 17 << 20,
            stream_batches: 0,
            topics: 0,
            ..Limits::default()
        };
        let retention = Retention {
            every: Duration::ZERO,
            ..Retention::default()
        };
        let config = Config {
            limits,
            retention,
            transport: TransportConfig::default(),
            stream_delay: Some(Duration::MAX),
            ..Config::default()
        };
        let error = config.check().unwrap_err();
        let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "transport.max_streams",
                "limits.max_message",
                "limits.stream_batches",
                "limits.topics",
                "retention.every",
                "stream_delay",
            ]
        );
        let text = error.to_string();
        assert!(
            text.contains("limits.topics = 0: must be at least 1"),
            "{text}"
        );
    }
}
