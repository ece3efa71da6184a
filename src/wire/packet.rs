//! Pure: the packets that the two ends exchange.
//!
//! Every packet is one frame on a bidirectional stream that the client opened. The first stream of a
//! connection is its session: [`Packet::Connect`] and its answer, then pings for as long as the connection
//! lives. Every other stream is a lane, a subscription or a question, as its first packet says.

use std::fmt;

use bytes::Bytes;

use crate::{Offset, ProducerId, RequestId, Timestamp, TopicName};

/// Everything that can stand in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet {
    /// Client, first on the session stream: who I am.
    Connect(Connect),
    /// Broker: the session stands.
    Connected(Connected),
    /// Client, session stream: are you there?
    Ping {
        /// Comes back in the pong.
        nonce: u64,
    },
    /// Broker: I am.
    Pong {
        /// From the ping.
        nonce: u64,
    },
    /// Broker, session stream: I am about to close; send nothing new, answers still come.
    GoAway,

    /// Client, any stream but the session's: does a task of yours serve this stream?
    Probe {
        /// Comes back in the answer.
        nonce: u64,
    },
    /// Broker: one does.
    Probed {
        /// From the probe.
        nonce: u64,
    },

    /// Client, on a lane: store this batch.
    Produce(Produce),
    /// Broker: it is stored, durably where the store is durable.
    Stored(Stored),
    /// Broker: it is not stored, and will not be.
    Refused(Refused),

    /// Client, first on a stream that thereby becomes a subscription.
    Subscribe(Subscribe),
    /// Broker: the subscription stands.
    Subscribed {
        /// The offset that the first delivery begins with or lies behind.
        next: Offset,
        /// The topic's end at this moment: the offset that the next message stored will get.
        end: Offset,
    },
    /// Client, on a subscription: so many more bytes of deliveries may be sent.
    Credit {
        /// Added to what is left of earlier credit.
        bytes: u64,
    },
    /// Broker, on a subscription: a batch as it was stored.
    Delivery(Delivery),
    /// Client, on a named subscription: everything before `next` is done with.
    Acknowledge {
        /// The first offset not yet done with.
        next: Offset,
    },
    /// Broker: the named position stands at `next`, durably where the store is durable.
    Acknowledged {
        /// From the acknowledgement.
        next: Offset,
    },

    /// Client, on a stream of its own, after a reconnect: which of my requests from this one on are stored?
    QueryStored {
        /// The first request that is asked about.
        from: RequestId,
    },
    /// Broker: these, in the order of their ids. Where there are [`Packet::MAX_STORED_LIST`], there may be more.
    StoredList(Vec<StoredEarlier>),

    /// Client, on a stream of its own: which topics are there?
    ListTopics {
        /// Only names behind this one; the answer has at most [`Packet::MAX_TOPICS`].
        after: Option<TopicName>,
    },
    /// Broker: these, by name.
    Topics(Vec<TopicInfo>),

    /// Broker: what was asked on this stream failed, and the stream ends.
    Failed(Failure),
}

impl Packet {
    /// The most topics that one [`Packet::Topics`] names.
    pub const MAX_TOPICS: usize = 1000;
    /// The most requests that one [`Packet::StoredList`] names.
    pub const MAX_STORED_LIST: usize = 2000;
}

/// What a client says of itself.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// Shown to the broker in place of, or beside, a client certificate. Empty: none. At most 65,535 bytes.
    /// It does not show in `Debug`.
    pub token: Bytes,
    /// Present where the client means to produce.
    pub producer: Option<ProducerIdentity>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("token", &format_args!("[{} bytes]", self.token.len()))
            .field("producer", &self.producer)
            .finish()
    }
}

/// Who a producer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The producer's name: 1 to 200 bytes of UTF-8. Of two live producers with one name, the later fences the earlier.
    pub name: String,
    /// A random number that tells a producer that reconnects from another one of the same name.
    pub instance: u64,
    /// The id that the broker gave this producer; none before its first connection. Ids grow, so this tells a
    /// producer that was overtaken from one that overtakes, whatever the broker remembers.
    pub id: Option<ProducerId>,
}

/// What the broker makes of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisteredProducer {
    /// Its id, to be shown in every later [`Connect`].
    pub id: ProducerId,
    /// It was here before, and what was stored of it is not known any more: a request that went out before may
    /// have been stored, and would be stored again.
    pub forgotten: bool,
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// What the broker makes of the producer, where the client named one.
    pub producer: Option<RegisteredProducer>,
    /// The longest frame the broker reads, in bytes.
    pub max_frame: u32,
    /// The most bytes of key, headers and payload of one message.
    pub max_message: u32,
    /// The most bytes the broker buffers of one stream before its reader must catch up.
    pub stream_window: u64,
}

/// A batch for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produce {
    /// The same when the batch is sent again.
    pub request: RequestId,
    /// The producer has the outcome of every request before this one: the broker may forget them.
    pub answered_below: RequestId,
    /// Where it goes.
    pub topic: TopicName,
    /// An encoded batch.
    pub batch: Bytes,
}

/// The broker's word that a batch is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Which request this answers.
    pub request: RequestId,
    /// The offset of the batch's first message; the others follow without a gap.
    pub base: Offset,
    /// When it was stored, by the broker's clock.
    pub time: Timestamp,
    /// How long the broker had it, from the last byte read to this answer, in microseconds.
    pub processing_us: u32,
}

/// Where a request stands that was stored before it was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredEarlier {
    /// Which request.
    pub request: RequestId,
    /// The offset of its first message; the others follow without a gap.
    pub base: Offset,
    /// When it was stored, by the broker's clock.
    pub time: Timestamp,
}

/// The broker's word that a batch is not stored, and will not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which request this answers.
    pub request: RequestId,
    /// Why.
    pub failure: Failure,
}

/// What a subscription wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The topic.
    pub topic: TopicName,
    /// The name under which the broker keeps this reader's position, 1 to 200 bytes of UTF-8. None: no position is kept.
    pub name: Option<String>,
    /// Where to begin; a named reader with a position begins there instead.
    pub from: Start,
    /// How many bytes of deliveries may be sent before more credit comes.
    pub credit: u64,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the oldest message that is kept.
    Earliest,
    /// With the first message stored from now on.
    #[default]
    Latest,
    /// With this offset, or the oldest kept message behind it.
    Offset(Offset),
    /// Where this process stopped reading before a reconnect: as `Offset`, but a named position does not override it.
    Resume(Offset),
}

/// A batch on its way to a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The offset of the batch's first message. It may lie before the offset asked for: readers skip.
    pub base: Offset,
    /// When the batch was stored, by the broker's clock.
    pub time: Timestamp,
    /// The batch as its producer encoded it.
    pub batch: Bytes,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: TopicName,
    /// The oldest offset kept.
    pub first: Offset,
    /// The offset the next message will get.
    pub next: Offset,
    /// The bytes of the batches kept.
    pub bytes: u64,
}

/// A refusal: a code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of refusal.
    pub code: FailureCode,
    /// One sentence, at most [`Failure::MAX_DETAIL`] bytes of UTF-8. A longer one is cut when it is encoded.
    pub detail: String,
}

impl Failure {
    /// The most bytes of a detail on the wire.
    pub const MAX_DETAIL: usize = 1000;
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why the broker refused. The numbers are part of the protocol, and a later broker may have more of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum FailureCode {
            $($(#[$doc])* $name,)*
            /// A code that this version does not know, from a later broker; brokers do not send it on their own
            /// account. The refusal itself stands: what was asked is not asked again, and whether a batch so
            /// refused is stored must count as not known.
            Unrecognised(u16),
        }

        impl FailureCode {
            /// Every code that this version knows.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name, as a label in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Unrecognised(_) => "Unrecognised",
                }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn to_u16(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unrecognised(code) => code,
                }
            }

            /// The code of a number; `None` where this version knows none.
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
    /// A later producer of the same name has taken over.
    Fenced = 3,
    /// The topic does not exist and may not be made.
    UnknownTopic = 4,
    /// The batch does not match its checksum or is not well formed.
    Corrupt = 5,
    /// A message, batch or name is over the broker's limit.
    TooLarge = 6,
    /// The store cannot take anything now: read-only or full.
    StoreRefuses = 7,
    /// The store failed; whether the batch is stored is not known.
    StoreFailed = 8,
    /// The request is older than what the producer said it has an outcome for, or too far ahead of it.
    OutOfWindow = 9,
    /// The packet makes no sense here.
    Protocol = 10,
    /// The broker is closing.
    Closing = 11,
    /// The offset lies beyond the topic's end.
    OffsetOutOfRange = 12,
    /// A limit of the broker is reached, such as that of topics or subscriptions.
    Limit = 13,
    /// A batch before this one on its stream was refused. This one was not looked at: it may be sent again on
    /// another stream.
    AfterRejected = 14,
}
