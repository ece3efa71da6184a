//! Pure: a producer's options, their defaults and their rules.

use std::{fmt, num::NonZeroUsize, time::Duration};

use super::accumulator;
use crate::{
    config::{ConfigError, Problems},
    conn, pool,
    scaler::{self, Adaptive, Fixed, ScalePolicy},
};

/// What `send` and `send_async` do when the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Wait for room, first come first served, until `delivery_timeout`.
    #[default]
    Wait,
    /// Wait for room at most so long, then fail with [`SendErrorKind::Full`](super::SendErrorKind::Full).
    WaitFor(Duration),
    /// Fail at once with [`SendErrorKind::Full`](super::SendErrorKind::Full).
    Error,
}

/// How many streams carry the messages of `send_async`.
#[derive(Default)]
pub enum Strategy {
    /// One, and more when the backlog passes a threshold and another would help: [`scaler::Adaptive`] with the
    /// options of [`Config::scaler`].
    #[default]
    Adaptive,
    /// Always so many, at most [`scaler::MAX_LANES`].
    Fixed(NonZeroUsize),
    /// A stream for each message: the naive way, kept for comparison. At most so many are open at a time; the
    /// broker's own limit is respected too.
    PerMessage(NonZeroUsize),
    /// What this policy says.
    Custom(Box<dyn ScalePolicy>),
}

/// What a strategy comes to.
pub(super) enum Scaling {
    /// Lanes, as many as this says.
    Policy(Box<dyn ScalePolicy>),
    /// No lanes, and at most so many streams.
    PerMessage(usize),
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("Adaptive"),
            Self::Fixed(n) => f.debug_tuple("Fixed").field(n).finish(),
            Self::PerMessage(n) => f.debug_tuple("PerMessage").field(n).finish(),
            Self::Custom(policy) => f.debug_tuple("Custom").field(policy).finish(),
        }
    }
}

impl Strategy {
    /// Who scales the lanes, if there are any.
    pub(super) fn into_scaling(self, scaler: &scaler::Config) -> Result<Scaling, ConfigError> {
        Ok(match self {
            Self::Adaptive => Scaling::Policy(Box::new(Adaptive::new(scaler.clone())?)),
            Self::Fixed(n) => Scaling::Policy(Box::new(Fixed::new(n))),
            Self::PerMessage(streams) => Scaling::PerMessage(streams.get()),
            Self::Custom(policy) => Scaling::Policy(policy),
        })
    }
}

/// What becomes of two live producers with the same [name](Config::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NameConflict {
    /// The later one takes over, and the earlier is fenced: of a service that was started anew, the copy that was
    /// thought dead writes nothing more.
    #[default]
    Fence,
    /// They are two: each is known to the broker by the name and a random number of its own. The broker remembers
    /// each one for a while, so this is not for processes that start by the thousand.
    Distinct,
}

/// How a producer behaves.
///
/// All fields may be set directly; [`Builder`](super::Builder) has a setter for each of the common ones.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The producer's name, 1 to 200 bytes. Default: none, and then a random one.
    ///
    /// A producer that comes with the name of a live one takes over from it: the earlier is *fenced*, its connection is
    /// closed, and it ends with [`Disconnected`](super::SendErrorKind::Disconnected). It stays fenced, however often it
    /// tries. [`Config::name_conflict`] says otherwise.
    pub name: Option<String>,

    /// What becomes of two producers of one name. Default: the later takes over.
    pub name_conflict: NameConflict,

    /// Messages that may be held at once, queued and unanswered alike. Default 262 144, 1 to 16 777 215.
    pub buffer_messages: u32,

    /// Bytes that may be held at once: content, and 256 bytes a message for its places in queue and map. Default 64 MiB, at
    /// least 64 KiB, at most 1 TiB. A single message over it may pass while nothing else is held.
    pub buffer_bytes: u64,

    /// What happens to a call when the buffer is full. Default: it waits.
    pub when_full: WhenFull,

    /// The most bytes of key, headers and payload of one message. Default 8 MiB, at least 1. The broker's own limit
    /// holds too. A larger message is refused before anything is queued.
    pub max_message_bytes: usize,

    /// About how many bytes one batch may have. Default 64 KiB, 1 KiB to 4 MiB.
    ///
    /// Larger costs less for each message; smaller lets a lost packet stall fewer.
    pub batch_bytes: u64,

    /// How many messages one batch may have. Default 4096, 1 to 65 536.
    pub batch_messages: usize,

    /// How long a lane that was woken waits for more before it takes what is there. Default zero: under load, batches form
    /// by themselves while earlier ones are being written.
    pub linger: Duration,

    /// A lane that has taken so many bytes lets the next one take its turn. Default 1200, at least 1: a packet.
    ///
    /// Less lets one lost packet stall several lanes; more lets it stall more messages of one.
    pub lane_switch_bytes: u64,

    /// From the call to the outcome, whatever lies between. Default 120 s, 1 ms to a day.
    pub delivery_timeout: Duration,

    /// The options of the adaptive strategy, and the window of a lane under any strategy.
    pub scaler: scaler::Config,

    /// The stream pool. `max` is raised to what the strategy may use.
    pub pool: pool::Config,

    /// Where the broker is and how to reach it.
    pub connection: conn::Config,

    /// A log on disk for what memory has no room for while no server can be reached. Default: none. It takes a fourth of the
    /// buffer, at most 4 MiB, for what is on its way there.
    #[cfg(feature = "spool")]
    pub spool: Option<super::spool::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
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
    /// All that is wrong, at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        let mut rule = |holds: bool, field, value: &dyn fmt::Debug, rule: &str| {
            problems.expect(holds, field, value, rule);
        };
        let name_len = self.name.as_ref().map_or(1, String::len);
        let (most, sentence) = match self.name_conflict {
            NameConflict::Fence => (200, "must have 1 to 200 bytes"),
            NameConflict::Distinct => (
                183,
                "must have 1 to 183 bytes where name_conflict is Distinct",
            ),
        };
        rule((1..=most).contains(&name_len), "name", &self.name, sentence);
        rule(
            (1..=accumulator::MAX_MESSAGES).contains(&self.buffer_messages),
            "buffer_messages",
            &self.buffer_messages,
            "must be 1 to 16777215",
        );
        rule(
            (64 << 10..=accumulator::MAX_BYTES).contains(&self.buffer_bytes),
            "buffer_bytes",
            &self.buffer_bytes,
            "must be 64 KiB to 1 TiB",
        );
        rule(
            self.max_message_bytes >= 1,
            "max_message_bytes",
            &self.max_message_bytes,
            "must be at least 1",
        );
        rule(
            (1 << 10..=4 << 20).contains(&self.batch_bytes),
            "batch_bytes",
            &self.batch_bytes,
            "must be 1 KiB to 4 MiB",
        );
        rule(
            (1..=65_536).contains(&self.batch_messages),
            "batch_messages",
            &self.batch_messages,
            "must be 1 to 65536",
        );
        rule(
            self.lane_switch_bytes >= 1,
            "lane_switch_bytes",
            &self.lane_switch_bytes,
            "must be at least 1",
        );
        rule(
            self.linger < self.delivery_timeout,
            "linger",
            &self.linger,
            "must be less than delivery_timeout",
        );
        rule(
            (Duration::from_millis(1)..=Duration::from_secs(86_400))
                .contains(&self.delivery_timeout),
            "delivery_timeout",
            &self.delivery_timeout,
            "must be 1 ms to 1 day",
        );
        problems.part(self.scaler.check());
        problems.part(self.pool.check());
        problems.part(self.connection.check());
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            problems.part(spool.check());
            problems.expect(
                self.buffer_messages >= 2,
                "buffer_messages",
                &self.buffer_messages,
                "must be at least 2 with a spool",
            );
        }
        problems.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_real_ones_and_break_no_rule() {
        let config = Config::default();
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
}
