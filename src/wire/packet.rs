//! Sans-I/O: the packets of the protocol. The [module page](super) says what each one is for.

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;

use crate::{Offset, ProducerId, RequestId, Timestamp, TopicIdentity, TopicName};

/// A packet: the content of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet {
    /// Client, first on the session stream: opens the session.
    Connect(Connect),
    /// Broker: the session is open.
    Connected(Connected),
    /// Client, session stream: asks whether the broker is alive.
    Ping {
        /// A number that the pong repeats.
        nonce: u64,
    },
    /// Broker: answers a ping.
    Pong {
        /// The nonce of the ping.
        nonce: u64,
    },
    /// Broker, session stream: it is about to close. The client sends nothing new; answers still come.
    GoAway,

    /// Client, any stream but the session: asks whether the broker serves this stream.
    Probe {
        /// A number that the answer repeats.
        nonce: u64,
    },
    /// Broker: answers a probe.
    Probed {
        /// The nonce of the probe.
        nonce: u64,
    },

    /// Client, on a produce stream: asks to store a batch.
    Produce(Produce),
    /// Broker: the batch is stored. With a durable store, it is durable.
    Stored(Stored),
    /// Broker: the batch is not stored and will not be.
    Refused(Refused),

    /// Client: makes the stream a subscription.
    Subscribe(Subscribe),
    /// Broker: the subscription begins.
    Subscribed(Subscribed),
    /// Client, on a subscription: the broker may send more bytes of deliveries.
    Credit {
        /// The number of bytes, added to what is left of earlier credit.
        bytes: u64,
    },
    /// Broker, on a subscription: a stored batch.
    Delivery(Delivery),
    /// Client, on a named subscription: everything before `next` is processed.
    Acknowledge {
        /// The first offset that is not processed.
        next: Offset,
    },
    /// Broker: the position is stored. With a durable store, it is durable.
    Acknowledged {
        /// The offset of the acknowledgement.
        next: Offset,
    },

    /// Client, after a reconnect: asks which of its own requests are stored.
    QueryStored {
        /// The first request that the client asks about.
        from: RequestId,
    },
    /// Broker: the stored requests, in the order of their ids. If there are [`Packet::MAX_STORED_LIST`], there may be more.
    StoredList(Vec<StoredEarlier>),

    /// Client: asks for the list of topics.
    ListTopics {
        /// The name that all names of the answer come after; `None` for the first page.
        after: Option<TopicName>,
    },
    /// Broker: a page of topics, sorted by name, at most [`Packet::MAX_TOPICS`].
    Topics(Vec<TopicInfo>),
    /// Client: creates, changes, empties or deletes a topic, or drops a position in it.
    ChangeTopic {
        /// The topic.
        topic: TopicName,
        /// What is done with it.
        change: TopicChange,
    },
    /// Broker: the change is done. With a durable store, it is durable.
    TopicChanged {
        /// The number of messages that were dropped with it.
        dropped: u64,
    },
    /// Client: asks for the positions that are stored in a topic.
    ListPositions {
        /// The topic.
        topic: TopicName,
        /// The name that all names of the answer come after; `None` for the first page.
        after: Option<String>,
    },
    /// Broker: a page of positions, sorted by name, at most [`Packet::MAX_POSITIONS`].
    Positions(Vec<PositionInfo>),

    /// Broker: the stream failed and ends.
    Failed(Failure),
}

impl Packet {
    /// The most topics in one [`Packet::Topics`].
    pub const MAX_TOPICS: usize = 1000;
    /// The most positions in one [`Packet::Positions`].
    pub const MAX_POSITIONS: usize = 1000;
    /// The most requests in one [`Packet::StoredList`].
    pub const MAX_STORED_LIST: usize = 2000;
}

/// The credentials and the identity of a client.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// The token, at most [`Connect::MAX_TOKEN`] bytes. Empty: none. `Debug` does not show it.
    pub token: Bytes,
    /// The producer's identity, if the client produces.
    pub producer: Option<ProducerIdentity>,
}

impl Connect {
    /// The longest token, in bytes. The client is not authenticated when it sends one.
    pub const MAX_TOKEN: usize = 1024;
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("token", &format_args!("[{} bytes]", self.token.len()))
            .field("producer", &self.producer)
            .finish()
    }
}

/// The identity of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer's name: 1 to 200 bytes of UTF-8. Of two live producers with one name, the later fences the earlier.
    pub name: String,
    /// A random number that distinguishes a reconnecting producer from another one of the same name.
    pub instance: u64,
    /// The id that the broker gave this producer, or none before its first connection. Ids grow, so the id shows which of
    /// two producers is the later one, even if the broker has forgotten both.
    pub id: Option<ProducerId>,
}

/// The broker's registration of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredProducer {
    /// The producer's id, to be sent in every later `Connect`.
    pub id: ProducerId,
    /// Whether the broker has forgotten what it stored of this producer. A request that was sent before may have been
    /// stored, and would be stored again.
    pub forgotten: bool,
}

/// The broker's answer to [`Connect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The registration of the producer, if the client named one.
    pub producer: Option<RegisteredProducer>,
    /// The longest frame that the broker reads, in bytes.
    pub max_frame: u32,
    /// The most bytes of key, headers and payload of one message.
    pub max_message: u32,
    /// The most bytes of one stream that the broker buffers before it reads them.
    pub stream_window: u64,
}

/// A batch to be stored in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produce {
    /// The id of this batch, the same each time it is sent.
    pub request: RequestId,
    /// The producer knows the outcome of all requests before this one, so the broker may forget them.
    pub answered_below: RequestId,
    /// The topic.
    pub topic: TopicName,
    /// The encoded batch.
    pub batch: Bytes,
}

/// The broker's answer that a batch is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The request that this answers.
    pub request: RequestId,
    /// The offset of the first message of the batch. The others follow without a gap.
    pub base: Offset,
    /// When the batch was stored, by the broker's clock.
    pub time: Timestamp,
    /// The time from the last byte of the batch read to this answer, in microseconds.
    pub processing_us: u32,
}

/// A stored request, in the answer to a question about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEarlier {
    /// The id of the request.
    pub request: RequestId,
    /// The offset of the first message of its batch. The others follow without a gap.
    pub base: Offset,
    /// When the batch was stored, by the broker's clock.
    pub time: Timestamp,
}

/// The broker's answer that a batch is not stored and will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The request that this answers.
    pub request: RequestId,
    /// The reason.
    pub failure: Failure,
}

/// The options of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The topic to read.
    pub topic: TopicName,
    /// The name under which the broker stores the position, 1 to 200 bytes of UTF-8. None: no position is stored.
    pub name: Option<String>,
    /// Where to begin. A name that has a stored position begins there instead.
    pub from: Start,
    /// The number of bytes of deliveries that the broker may send before it gets more credit.
    pub credit: u64,
    /// The number that the broker gave this reader with an earlier subscription, or 0. Of two readers of one name, the one
    /// with the greater number is the later, and shuts out the other.
    pub reader: u64,
}

/// The broker's answer to a [`Subscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// The offset that the subscription begins with. The first delivery may begin before it.
    pub next: Offset,
    /// The topic's end: the offset that its next message will get.
    pub end: Offset,
    /// Which topic it is.
    pub topic: TopicIdentity,
    /// The number of this reader, for its next [`Subscribe`]. 0 without a name.
    pub reader: u64,
}

/// Where a reader goes on: an offset, and what shows that it is still an offset of the same messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumePoint {
    /// The offset of the next message to read.
    pub offset: Offset,
    /// The topic that was read.
    pub topic: TopicIdentity,
    /// The checksum of the batch that holds the message before `offset`, if it was read. In a log that was restored from a
    /// copy, another batch may be there.
    pub checksum: Option<u32>,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest message that is stored.
    Earliest,
    /// At the first message that is stored from now on.
    #[default]
    Latest,
    /// At this offset, or at the oldest stored message after it.
    Offset(Offset),
    /// Where an earlier reader stopped, even if the name has another stored position. If the topic has been deleted and made
    /// again, or the log has begun anew, the reader is refused. Used after a reconnect, and by applications that store where
    /// they are themselves.
    Resume(ResumePoint),
}

/// A text that is not a [`Start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be earliest, latest or an offset")]
pub struct ParseStartError(());

/// Reads `earliest`, `latest`, or an offset such as `1000`.
impl FromStr for Start {
    type Err = ParseStartError;

    fn from_str(text: &str) -> Result<Self, ParseStartError> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            offset => match offset.parse() {
                Ok(offset) => Ok(Self::Offset(Offset(offset))),
                Err(_) => Err(ParseStartError(())),
            },
        }
    }
}

/// A stored batch, sent to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The offset of the first message of the batch. It may be before the offset asked for: the consumer skips records.
    pub base: Offset,
    /// When the batch was stored, by the broker's clock.
    pub time: Timestamp,
    /// The batch, as its producer encoded it.
    pub batch: Bytes,
}

/// A topic of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The name of the topic.
    pub name: TopicName,
    /// The oldest offset that is stored.
    pub first: Offset,
    /// The offset that the next message will get.
    pub next: Offset,
    /// The bytes of all stored batches.
    pub bytes: u64,
    /// Which topic it is: another one of the same name has another.
    pub identity: TopicIdentity,
    /// What is kept of it.
    pub retention: TopicRetention,
}

/// A change of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicChange {
    /// Creates it. It must not exist.
    Create(TopicRetention),
    /// Changes what is kept of it.
    Retain(TopicRetention),
    /// Drops all its messages. Its offsets go on.
    Purge,
    /// Deletes it, with the positions in it.
    Delete,
}

/// The stored position of a named consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionInfo {
    /// The name.
    pub name: String,
    /// The first offset that is not acknowledged.
    pub next: Offset,
}

/// What is kept of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicRetention {
    /// The age at which messages are dropped, in whole milliseconds.
    pub max_age: RetentionLimit<Duration>,
    /// The size in bytes above which the oldest messages are dropped.
    pub max_bytes: RetentionLimit<u64>,
}

/// One limit of a [`TopicRetention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetentionLimit<T> {
    /// That of the broker, as it is at the time.
    #[default]
    Broker,
    /// None, whatever the broker's is.
    Unlimited,
    /// This one, whatever the broker's is. Zero counts as the least that can be: a millisecond, or a byte.
    At(T),
}

impl<T> RetentionLimit<T> {
    /// Returns the limit that holds, where `broker` is that of the broker.
    pub fn or(self, broker: Option<T>) -> Option<T> {
        match self {
            Self::Broker => broker,
            Self::Unlimited => None,
            Self::At(limit) => Some(limit),
        }
    }
}

impl TopicRetention {
    /// Returns both limits as numbers: 0 for that of the broker, the greatest number for none.
    pub(crate) fn to_numbers(self) -> (u64, u64) {
        fn number<T>(limit: RetentionLimit<T>, value: impl Fn(T) -> u64) -> u64 {
            match limit {
                RetentionLimit::Broker => 0,
                RetentionLimit::Unlimited => u64::MAX,
                RetentionLimit::At(limit) => value(limit).clamp(1, u64::MAX - 1),
            }
        }
        let millis = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        (
            number(self.max_age, millis),
            number(self.max_bytes, |bytes| bytes),
        )
    }

    /// Returns the retention that these numbers stand for.
    pub(crate) fn from_numbers((max_age, max_bytes): (u64, u64)) -> Self {
        fn limit<T>(number: u64, value: impl Fn(u64) -> T) -> RetentionLimit<T> {
            match number {
                0 => RetentionLimit::Broker,
                u64::MAX => RetentionLimit::Unlimited,
                number => RetentionLimit::At(value(number)),
            }
        }
        Self {
            max_age: limit(max_age, Duration::from_millis),
            max_bytes: limit(max_bytes, |bytes| bytes),
        }
    }
}

/// Why the broker refused: a code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub code: FailureCode,
    /// One sentence of at most [`Failure::MAX_DETAIL`] bytes of UTF-8. A longer one is cut when it is encoded.
    pub detail: String,
}

impl Failure {
    /// The most bytes of a detail.
    pub const MAX_DETAIL: usize = 1000;
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The kind of a failure. The numbers are part of the protocol, and a later broker may use more of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FailureCode {
            $($(#[$doc])* $name,)*
            /// A code of a later broker that this version does not know. The client does not send the request again.
            /// Whether a batch refused with it is stored is not known.
            Unrecognised(u16),
        }

        impl FailureCode {
            /// All codes that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the name, which is also the label in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Unrecognised(_) => "Unrecognised",
                }
            }

            /// Returns the number on the wire.
            #[must_use]
            pub const fn to_u16(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unrecognised(code) => code,
                }
            }

            /// Returns the code of a number, or `None` if this version does not know it.
            #[must_use]
            pub const fn from_u16(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The token or certificate is not accepted.
    Unauthorised = 1,
    /// The client may not do this with this topic.
    Forbidden = 2,
    /// A later producer or reader of the same name has taken over.
    Fenced = 3,
    /// The topic does not exist. Only producing to a topic creates it, where the broker's options allow that.
    UnknownTopic = 4,
    /// The batch does not match its checksum or is malformed.
    Corrupt = 5,
    /// A message, batch or frame exceeds the broker's limit.
    TooLarge = 6,
    /// The store takes no writes now: it is read-only or full.
    StoreRefuses = 7,
    /// The store failed. Whether the batch is stored is not known.
    StoreFailed = 8,
    /// The request is older than those that the producer said were answered, or too far ahead of them.
    OutOfWindow = 9,
    /// The packet is malformed or not allowed there.
    Protocol = 10,
    /// The broker is shutting down.
    Closing = 11,
    /// The offset is beyond the topic's end.
    OffsetOutOfRange = 12,
    /// A limit of the broker is reached, such as that of topics or subscriptions.
    Limit = 13,
    /// An earlier batch of the same stream was refused. This one was not looked at, and may be sent again on another
    /// stream.
    AfterRejected = 14,
    /// A request of this id was stored before, with another batch or in another topic. This one is not stored.
    RequestReused = 15,
    /// The topic was deleted, or the log has begun anew: what is at the offsets that were read is something else now.
    TopicReplaced = 16,
    /// The topic exists already.
    TopicExists = 17,
}
