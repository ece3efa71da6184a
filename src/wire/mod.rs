//! The wire format, version 2: what goes over a connection between client and broker.
//!
//! This page is complete: a client can be written from it. The module has no other public items: applications meet
//! the few types of the protocol that concern them in `admin`, `consumer`, `producer` and `store`.
//!
//! # Connections and streams
//!
//! A connection is QUIC with TLS 1.3 and the ALPN name `anabranch/2`. Only the client opens streams, and only bidirectional
//! ones. Each half of a stream is a sequence of frames, each of which holds one packet. A half that ends within a frame
//! is an error.
//!
//! - The first stream of a connection is its **session**. The client sends `Connect`, the broker answers with `Connected` or
//!   closes the connection. Then the client sends `Ping` from time to time, and the broker answers each with a `Pong`. The
//!   broker sends `GoAway` at most once, before it closes: the client sends nothing new, and answers still come.
//! - Every **other stream** is decided by its first packets. `Probe`, `ListTopics`, `ListPositions`, `ChangeTopic` and
//!   `QueryStored` are questions: each is answered, in order, and the stream stays undecided. `Produce` makes it a produce stream, on which only `Produce` and
//!   `Probe` follow. `Subscribe` makes it a subscription, on which only `Credit`, `Acknowledge` and `Probe` follow. Streams
//!   that are opened before `Connected` wait until it is sent.
//! - When the client finishes its half, the broker answers what it has read and finishes its own. A request that the broker
//!   cannot serve is answered by `Failed`, and the stream ends. A stream that either end drops in the middle is reset.
//! - Until `Connected`, the broker accepts 8 streams and 256 KiB on a connection.
//!
//! **Produce streams.** The broker answers each `Produce` with `Stored`, once the batch is durable, or with `Refused`. The
//! answers come in the order of the batches, except that a refusal may come before the answers to earlier batches. The
//! batches of a stream are stored in their order. After the first refusal the broker stores nothing more of the stream: it
//! refuses each later batch with `AfterRejected`, and the client sends those again on another stream. A request id means
//! the same batch of one producer for ever: a stored batch that is sent again, on any connection, gets the answer of the
//! first time and is not stored twice. Another batch under the id of a stored one is refused with `RequestReused`. Ids grow from batch to batch. `answered below` says that the client knows the outcome
//! of all smaller ids, which the broker may then forget. An id below the largest `answered below` of the producer, or 65,536
//! or more above it, is refused with `OutOfWindow`.
//!
//! **Reconnecting.** A producer shows its name, a random instance number and, once it has one, its producer id. Producer
//! ids grow. Of two live producers of one name, the one with the larger id fences the other. After a reconnect the client
//! can ask with `QueryStored` which of its requests are stored, page by page: a page with 2000 entries may not be the last.
//!
//! **Subscriptions.** The broker answers `Subscribe` with `Subscribed`, and then sends a `Delivery` for each batch, as its
//! producer encoded it. A delivery may begin before the offset asked for; the client skips those records. Each delivery
//! costs the bytes of its batch in credit. The broker sends while any credit is left, so it may overdraw by the rest of one
//! batch. A named subscription stores its position: `Acknowledge` says that everything before an offset is done with, and
//! the broker answers with `Acknowledged` when that is durable. If several acknowledgements are waiting, only the newest is
//! stored and answered. A position never goes back.
//!
//! A name has one reader in a topic. `Subscribed` gives a named reader its number, which it shows when it subscribes again.
//! Numbers grow: of two readers, the one with the larger number shuts out the other, which is refused with `Fenced`. To go on
//! after a reconnect, a reader says where it stopped, and in which topic: its number, the random number of the log, and the
//! checksum of the batch before that place. Where these no longer match, it is refused with `TopicReplaced`, and so is a
//! subscription whose topic is deleted. Subscribing never creates a topic.
//!
//! **Topics.** `ListTopics` is answered with up to 1000 topics by name. The client asks again with the last name, until an
//! answer is empty. `ListPositions` does the same with the positions in a topic. `ChangeTopic` is answered when the change is
//! durable.
//!
//! # Frames
//!
//! ```text
//! u32: length of what follows | u8: kind | body
//! ```
//!
//! Integers have a fixed width, lowest byte first. `text8` is a `u8` length and then UTF-8, `text16` is a `u16` length and
//! then UTF-8. `rest` is everything up to the end of the frame. Times are milliseconds since 1970 in UTC.
//!
//! Packets of the client have kinds below `0x80`, packets of the broker others. An answer has the kind of its question plus
//! `0x80`.
//!
//! | kind | packet | body |
//! |---|---|---|
//! | `0x01` | `Connect` | `u16` length and token of at most 1024 bytes; `text8` producer name (empty: none), and with a name: `u64` instance, then `u8` 1 and `u64` producer id, or `u8` 0 before the first connection |
//! | `0x02` | `Ping` | `u64` nonce |
//! | `0x03` | `Probe` | `u64` nonce |
//! | `0x04` | `Produce` | `u64` request, `u64` answered below, `text8` topic, `rest` batch |
//! | `0x05` | `Subscribe` | `text8` topic, `text8` name (empty: none), start, `u64` credit in bytes, `u64` number of this reader (0: none yet) |
//! | `0x06` | `Credit` | `u64` bytes, added to the credit that is left |
//! | `0x07` | `Acknowledge` | `u64` next: the first offset that is not done with |
//! | `0x08` | `ListTopics` | `text8` name: topics after it (empty: from the first) |
//! | `0x0c` | `QueryStored` | `u64` request: this one and later ones |
//! | `0x0d` | `ChangeTopic` | `text8` topic, change |
//! | `0x0e` | `ListPositions` | `text8` topic, `text8` name: positions after it (empty: from the first) |
//! | `0x81` | `Connected` | `u8` 1 (2: what was stored of the producer is forgotten) and `u64` producer id, or `u8` 0 without a producer; `u32` longest frame, `u32` largest message, `u64` stream window, all in bytes |
//! | `0x82` | `Pong` | `u64` nonce of the ping |
//! | `0x83` | `Probed` | `u64` nonce of the probe |
//! | `0x84` | `Stored` | `u64` request, `u64` base offset, `u64` time, `u32` microseconds from the last byte read to this answer |
//! | `0x85` | `Subscribed` | `u64` next: the offset it begins with, `u64` end: the offset of the topic's next message, topic identity, `u64` number of this reader (0 without a name) |
//! | `0x86` | `Delivery` | `u64` base offset, `u64` time, `rest` batch |
//! | `0x87` | `Acknowledged` | `u64` next |
//! | `0x88` | `Topics` | `u16` count, and for each: `text8` name, `u64` first offset, `u64` next offset, `u64` bytes, topic identity, retention |
//! | `0x89` | `Refused` | `u64` request, failure |
//! | `0x8a` | `GoAway` | nothing |
//! | `0x8b` | `Failed` | failure |
//! | `0x8c` | `StoredList` | `u16` count, and for each, by request: `u64` request, `u64` base offset, `u64` time |
//! | `0x8d` | `TopicChanged` | `u64` messages dropped |
//! | `0x8e` | `Positions` | `u16` count, and for each, by name: `text8` name, `u64` next |
//!
//! - **failure**: `u16` code, `text16` detail for people, of at most 1000 bytes.
//! - **start**: `u8` 0 for the earliest offset, 1 for the latest, 2 and `u64` offset, 3 to resume: `u64` offset, topic
//!   identity, and `u8` 1 and `u32` checksum of the batch that holds the message before the offset, or `u8` 0. With 0, 1 and 2
//!   a stored position of the name counts instead; with 3 it does not.
//! - **topic identity**: `u64` random number of the log, `u32` number of the topic in it.
//! - **change**: `u8` 0 to create it and retention, 1 to change its retention and retention, 2 to drop all messages, 3 to
//!   delete it.
//! - **retention**: `u64` milliseconds, `u64` bytes. 0 is the limit of the broker, the largest number is no limit.
//! - A **topic name** has 1 to 200 ASCII letters, digits, `.`, `_` or `-`, and does not begin with `.` or `-`. The name of a
//!   producer or a reader has 1 to 200 bytes of UTF-8.
//!
//! Each packet has one encoding. The broker announces its longest frame (kind and body) in `Connected`; a longer one fails
//! its stream. A `Delivery` is never longer than the `Produce` that brought its batch. All other kinds have a longest body
//! that follows from the table.
//!
//! # Failure codes
//!
//! | code | name | meaning |
//! |---|---|---|
//! | 1 | `Unauthorised` | the token or certificate is not accepted |
//! | 2 | `Forbidden` | the client may not do this with this topic |
//! | 3 | `Fenced` | a later producer or reader of the same name has taken over |
//! | 4 | `UnknownTopic` | the topic does not exist |
//! | 5 | `Corrupt` | the batch does not match its checksum or is malformed |
//! | 6 | `TooLarge` | a message, batch or frame exceeds the broker's limit |
//! | 7 | `StoreRefuses` | the store takes no writes now: it is read-only or full |
//! | 8 | `StoreFailed` | the store failed; whether the batch is stored is not known |
//! | 9 | `OutOfWindow` | the request is older than what was answered, or too far ahead of it |
//! | 10 | `Protocol` | the packet is malformed or not allowed there |
//! | 11 | `Closing` | the broker is shutting down |
//! | 12 | `OffsetOutOfRange` | the offset is beyond the topic's end |
//! | 13 | `Limit` | a limit of the broker is reached, such as that of topics or subscriptions |
//! | 14 | `AfterRejected` | an earlier batch of this stream was refused; this one was not looked at |
//! | 15 | `RequestReused` | a request of this id was stored with another batch or in another topic; this one is not stored |
//! | 16 | `TopicReplaced` | the topic was deleted, or the log has begun anew |
//! | 17 | `TopicExists` | the topic exists already |
//!
//! Either end closes a connection with a code of [`CloseCode`](../conn/enum.CloseCode.html), and resets a stream that it
//! gives up with code 0.
//!
//! # Batches
//!
//! A producer encodes a batch once. The broker stores and delivers these bytes, with the producer's checksum.
//!
//! ```text
//! batch    u32: crc32 (IEEE) of all bytes after it | u8: format = 1 | u8: flags = 0
//!          | u32: count, at least 1 | u64: base time | records
//! record   varint: zigzag of time - base time | key | varint: number of headers | headers | payload
//! key      varint: 0 for none, else length + 1 | bytes
//! header   varint: length | name, UTF-8 | varint: length | value
//! payload  varint: length | bytes
//! ```
//!
//! A record has at most 1000 headers. Varints are LEB128 of 64 bits, and never longer than necessary. The difference of times wraps around, so that it exists
//! for any two times. Later formats keep the checksum and the format number where they are. The first record has the base
//! offset of the answer or delivery, and the others follow without a gap.
//!
//! # What may change without a new version
//!
//! Failure codes may be added. A client that does not know a code treats the refusal as final, and does not know whether
//! the batch is stored. Everything else is fixed: a body that is too long, an unknown kind or a value without meaning is an
//! error, so that a damaged stream is not mistaken for a newer version.

#![cfg_attr(
    not(all(feature = "producer", feature = "broker", feature = "spool")),
    allow(
        dead_code,
        unused_imports,
        reason = "each end uses its part of the protocol"
    )
)]

mod batch;
mod body;
mod builder;
mod codec;
mod error;
mod fields;
mod kind;
mod max_frame;
mod packet;
mod record;
mod stream;
#[cfg(test)]
mod tests;
mod varint;

pub(crate) use batch::{Batch, Records};
pub(crate) use builder::{BatchBuilder, encoded_len};
pub(crate) use codec::{PacketCodec, delivery_head, produce_head, produce_overhead};
pub(crate) use error::{CodecError, EncodeError};
pub(crate) use max_frame::MaxFrame;
pub(crate) use packet::{
    Connect, Connected, Delivery, Packet, Produce, Refused, Stored, StoredEarlier, Subscribe,
    Subscribed,
};
pub(crate) use stream::{PacketReader, PacketStream, PacketWriter, ReadError};

// Public where applications meet them: in `admin`, `consumer`, `producer` and `store`.
#[doc(hidden)]
pub use error::DecodeError;
#[doc(hidden)]
pub use packet::{
    Failure, FailureCode, ParseStartError, PositionInfo, ProducerIdentity, RegisteredProducer,
    ResumePoint, RetentionLimit, Start, TopicChange, TopicInfo, TopicRetention,
};
#[doc(hidden)]
pub use record::{Header, Record};

/// What the program, the laboratory, the tests and the benches of this workspace use. No part of the public interface: it
/// may change with any version.
#[doc(hidden)]
pub mod internals {
    pub use super::{
        batch::{Batch, BatchSummary, Records},
        builder::BatchBuilder,
        codec::{PacketCodec, produce_head},
    };
}
