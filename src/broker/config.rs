//! Pure: everything a broker can be told, with its defaults, and the rules between them.

use std::{fmt, time::Duration};

use super::Tokens;

/// What a broker keeps to. Every field bounds something that could otherwise grow; each is in bytes, a count or
/// a [`Duration`].
///
/// The most memory that clients can make a broker hold is about
/// `connections x (connection_window + streams x max_frame)` while frames come in, `commit_queue_bytes` while
/// they wait for the store, and `subscriptions x (read_chunk + one batch)` on the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest frame that is read: a batch and some forty bytes. Default 4 MiB; 64 KiB to 1 GiB, and at least
    /// `max_message` and 1 KiB. Clients are told it and cut their batches to it.
    pub max_frame: usize,
    /// The most bytes of key, headers and payload of one message. Default 1 MiB; at least 1. Over it, the batch is
    /// refused as too large.
    pub max_message: usize,
    /// The most messages in one batch. Default 65 536; at least 1. Over it, the batch is refused as too large.
    pub max_batch_messages: u32,

    /// The most connections at a time. Default 1024; at least 1. Over it, a new connection is refused at once.
    pub connections: usize,
    /// Handshakes under way before a new client must first prove its address (a QUIC Retry, one round trip). Default
    /// 64. At four times this many, new ones are refused.
    pub pending_handshakes: usize,
    /// How long a client may take from its first packet until its session stands. Default 10 s; at least 100 ms.
    /// Streams it opens before that wait so long.
    pub handshake_time: Duration,
    /// How long a connection may be silent before it is given up. Default 30 s; at least 1 s. Clients that are
    /// alive send keep-alives.
    pub idle_timeout: Duration,

    /// The most streams of one connection, its session included. Default 130; 2 to 10 000. QUIC makes the client
    /// wait at this number. Each one allowed costs the broker some memory from the start.
    pub streams: u32,
    /// Bytes of one stream that may be under way or unread: QUIC's window for the stream. Default 4 MiB; at least
    /// 16 KiB. Clients are told it: more than this a round trip cannot be sent on one stream.
    pub stream_window: u32,
    /// The same for all streams of a connection together. Default 32 MiB; at least `stream_window`.
    pub connection_window: u32,
    /// Bytes of batches of one stream that have been read and not yet answered. Default 8 MiB; at least `max_frame`.
    /// At the limit the stream is not read on.
    pub stream_buffer: usize,
    /// The same for all streams of a connection together. Default 32 MiB; at least `stream_buffer`.
    pub connection_buffer: usize,
    /// Batches of one stream that have been read and whose answer is not yet sent. Default 1024; at least 1.
    pub stream_batches: usize,

    /// Bytes of batches that wait for the store, over all connections. Default 64 MiB; at least `max_frame`. At the
    /// limit streams are not read on.
    pub commit_queue_bytes: usize,
    /// The same in batches. Default 8192; at least 1.
    pub commit_queue_batches: usize,
    /// A group for the store is closed when it has so many bytes. Default 4 MiB; at least 1. Larger groups spread
    /// one flush of the disk over more batches and delay the first of them.
    pub commit_group_bytes: usize,
    /// The same in batches. Default 1024; at least 1.
    pub commit_group_batches: usize,

    /// The most subscriptions at a time. Default 1024. Over it, a new one is refused.
    pub subscriptions: usize,
    /// Bytes a subscription reads from the store at a time. Default 256 KiB; 1 KiB to 16 MiB. Small, so that a
    /// reader of old messages does not hold up the store for writers.
    pub read_chunk: usize,
    /// The most topics. Default 10 000; at least 1. Over it, no new one is made.
    pub topics: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 4 << 20,
            max_message: 1 << 20,
            max_batch_messages: 65_536,
            connections: 1024,
            pending_handshakes: 64,
            handshake_time: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            streams: 130,
            stream_window: 4 << 20,
            connection_window: 32 << 20,
            stream_buffer: 8 << 20,
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

/// Everything a broker can be told but its socket and its store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The tokens that are accepted. None: no token is asked for, and whoever TLS lets in may do everything. With
    /// tokens, a client that shows none needs a certificate that TLS has checked, and may then do everything.
    pub tokens: Option<Tokens>,
    /// What the broker keeps to.
    pub limits: Limits,
    /// How long messages are kept.
    pub retention: Retention,
    /// Topics that do not exist are made when somebody produces to them or subscribes to them. Default true.
    pub auto_create: bool,
    /// Each batch of a stream waits so long before it goes to the store and the next one of that stream is looked
    /// at. For experiments with a far end that is slow stream by stream. Default none.
    pub stream_delay: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tokens: None,
            limits: Limits::default(),
            retention: Retention::default(),
            auto_create: true,
            stream_delay: None,
        }
    }
}

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ConfigError`] names all that do not keep to their rules.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut check = Check::default();
        self.limits.check(&mut check);
        self.retention.check(&mut check);
        let delay = self.stream_delay.unwrap_or_default();
        let most = Duration::from_secs(60);
        check.within("stream_delay", delay, (Duration::ZERO, most));
        check.finish()
    }
}

/// How long messages are kept. The default keeps everything.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Batches older than this may go. None: age is no reason.
    pub max_age: Option<Duration>,
    /// A topic with more bytes than this loses its oldest batches. None: size is no reason.
    pub max_bytes: Option<u64>,
    /// Keep what a named reader has not acknowledged, whatever its age and however much it is. Default true. It
    /// makes sure of readers that are away, and lets one that never comes back fill the disk.
    pub keep_unread: bool,
    /// How long a producer that was not heard of is remembered: within it, what it sends again is not stored twice.
    /// Default 7 days; at least 1 min.
    pub producer_memory: Duration,
    /// How often topics are looked through. Default 1 min; at least 10 ms.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: None,
            max_bytes: None,
            keep_unread: true,
            producer_memory: Duration::from_secs(7 * 24 * 3600),
            every: Duration::from_secs(60),
        }
    }
}

/// A field that does not keep to its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Its name, such as `limits.max_frame`.
    pub field: &'static str,
    /// What it is.
    pub value: String,
    /// What it must be.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// Every field that does not keep to its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems.
#[derive(Debug, Default)]
struct Check(Vec<Problem>);

impl Check {
    fn rule(
        &mut self,
        holds: bool,
        field: &'static str,
        value: impl fmt::Debug,
        rule: impl Into<String>,
    ) {
        if !holds {
            self.0.push(Problem {
                field,
                value: format!("{value:?}"),
                rule: rule.into(),
            });
        }
    }

    fn at_least<T: PartialOrd + fmt::Debug>(&mut self, field: &'static str, value: T, least: T) {
        let rule = format!("must be at least {least:?}");
        self.rule(value >= least, field, value, rule);
    }

    fn within<T: PartialOrd + fmt::Debug>(
        &mut self,
        field: &'static str,
        value: T,
        (least, most): (T, T),
    ) {
        let rule = format!("must be {least:?} to {most:?}");
        self.rule(value >= least && value <= most, field, value, rule);
    }

    fn finish(self) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(self.0))
        }
    }
}

impl Limits {
    fn check(&self, check: &mut Check) {
        check.within("limits.max_frame", self.max_frame, (64 << 10, 1 << 30));
        check.at_least("limits.max_message", self.max_message, 1);
        check.rule(
            self.max_message.saturating_add(1024) <= self.max_frame,
            "limits.max_message",
            self.max_message,
            format!("must leave 1024 bytes of limits.max_frame ({})", self.max_frame),
        );
        check.at_least("limits.max_batch_messages", self.max_batch_messages, 1);
        check.at_least("limits.connections", self.connections, 1);
        check.at_least("limits.pending_handshakes", self.pending_handshakes, 1);
        let most = Duration::from_secs(3600);
        let handshake = (Duration::from_millis(100), most);
        check.within("limits.handshake_time", self.handshake_time, handshake);
        let idle = (Duration::from_secs(1), most);
        check.within("limits.idle_timeout", self.idle_timeout, idle);
        check.within("limits.streams", self.streams, (2, 10_000));
        check.within("limits.stream_window", self.stream_window, (16 << 10, 1 << 30));
        let window = (self.stream_window, 1 << 30);
        check.within("limits.connection_window", self.connection_window, window);
        check.at_least("limits.stream_buffer", self.stream_buffer, self.max_frame);
        check.at_least("limits.connection_buffer", self.connection_buffer, self.stream_buffer);
        check.within("limits.stream_batches", self.stream_batches, (1, 1 << 20));
        check.at_least("limits.commit_queue_bytes", self.commit_queue_bytes, self.max_frame);
        check.within("limits.commit_queue_batches", self.commit_queue_batches, (1, 1 << 20));
        check.at_least("limits.commit_group_bytes", self.commit_group_bytes, 1);
        check.at_least("limits.commit_group_batches", self.commit_group_batches, 1);
        check.within("limits.read_chunk", self.read_chunk, (1 << 10, 16 << 20));
        check.at_least("limits.topics", self.topics, 1);
    }
}

impl Retention {
    fn check(&self, check: &mut Check) {
        let least = Duration::from_secs(60);
        check.at_least("retention.producer_memory", self.producer_memory, least);
        check.at_least("retention.every", self.every, Duration::from_millis(10));
    }
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
            max_message: 5 << 20,
            streams: 1,
            connection_window: 1,
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
            stream_delay: Some(Duration::MAX),
            ..Config::default()
        };
        let error = config.check().unwrap_err();
        let fields: Vec<_> = error.0.iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "limits.max_message",
                "limits.streams",
                "limits.connection_window",
                "limits.topics",
                "retention.every",
                "stream_delay",
            ]
        );
        assert!(error.to_string().contains("limits.streams = 1: must be 2 to 10000"));
    }
}
