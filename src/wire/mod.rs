//! What goes over the wire: packets, batches, and the codec between them and bytes.
//!
//! Bytes in, packets out, no I/O.
//!
//! ```text
//! records ─ BatchBuilder ─▶ batch ─ produce_head ─▶ frame ═ stream ═▶ PacketCodec ─▶ Packet::Produce ─ Batch::check ─▶ store
//! records ◀─ Batch::decode ─ Packet::Delivery ◀─ PacketCodec ◀═ stream ═ frame ◀─ delivery_head ─ batch ◀──────────────┘
//! ```
//!
//! A batch is encoded once, by its producer, and carries a checksum from there to the reader. The broker stores
//! and delivers the bytes that came in.
//!
//! # Frames
//!
//! `u32: length of what follows | u8: kind | body`. Integers have a fixed width, lowest byte first.
//! `text8` is a `u8` length and then UTF-8, `text16` the same with a `u16`. `rest` is all that is left of the frame.
//!
//! Kinds below `0x80` come from the client, those above from the broker. A packet that answers another one has its
//! kind plus `0x80`.
//!
//! | kind | packet | body |
//! |---|---|---|
//! | `0x01` | [`Connect`](Packet::Connect) | `u16` length and token, `text8` producer (empty: none), and if there is one: `u64` instance, and `u8` 1 and `u64` producer id, or `u8` 0 before its first connection |
//! | `0x02` | [`Ping`](Packet::Ping) | `u64` nonce |
//! | `0x03` | [`Probe`](Packet::Probe) | `u64` nonce |
//! | `0x04` | [`Produce`](Packet::Produce) | `u64` request, `u64` answered below, `text8` topic, `rest` batch |
//! | `0x05` | [`Subscribe`](Packet::Subscribe) | `text8` topic, `text8` name (empty: none), start, `u64` credit |
//! | `0x06` | [`Credit`](Packet::Credit) | `u64` bytes |
//! | `0x07` | [`Acknowledge`](Packet::Acknowledge) | `u64` next |
//! | `0x08` | [`ListTopics`](Packet::ListTopics) | `text8` topic to begin behind (empty: none) |
//! | `0x0c` | [`QueryStored`](Packet::QueryStored) | `u64` request to begin with |
//! | `0x81` | [`Connected`](Packet::Connected) | `u8` 1 (2: what was stored of it is forgotten) and `u64` producer id, or `u8` 0; `u32` longest frame, `u32` largest message, `u64` stream window |
//! | `0x82` | [`Pong`](Packet::Pong) | `u64` nonce |
//! | `0x83` | [`Probed`](Packet::Probed) | `u64` nonce |
//! | `0x84` | [`Stored`](Packet::Stored) | `u64` request, `u64` base offset, `u64` time, `u32` microseconds held |
//! | `0x85` | [`Subscribed`](Packet::Subscribed) | `u64` next, `u64` end |
//! | `0x86` | [`Delivery`](Packet::Delivery) | `u64` base offset, `u64` time, `rest` batch |
//! | `0x87` | [`Acknowledged`](Packet::Acknowledged) | `u64` next |
//! | `0x88` | [`Topics`](Packet::Topics) | `u16` count, and for each: `text8` name, `u64` first, `u64` next, `u64` bytes |
//! | `0x89` | [`Refused`](Packet::Refused) | `u64` request, failure |
//! | `0x8a` | [`GoAway`](Packet::GoAway) | nothing |
//! | `0x8b` | [`Failed`](Packet::Failed) | failure |
//! | `0x8c` | [`StoredList`](Packet::StoredList) | `u16` count, and for each: `u64` request, `u64` base offset, `u64` time |
//!
//! Failure: `u16` code, `text16` detail. Start: `u8` 0 earliest, 1 latest, 2 and `u64` offset, 3 and `u64` offset to
//! resume at.
//!
//! Each packet has one encoding. A [`Delivery`] frame is never longer than the [`Produce`] frame that brought its
//! batch, so that one limit serves both ways.
//!
//! # Batches
//!
//! ```text
//! batch    u32: crc32 (IEEE) of everything behind it | u8: format = 1 | u8: flags = 0
//!          | u32: count, at least 1 | u64: base time, ms | records
//! record   varint: zigzag of time - base time | key | varint: number of headers | headers | payload
//! key      varint: 0 for none, else length + 1 | bytes
//! header   varint: length | name, UTF-8 | varint: length | value
//! payload  varint: length | bytes
//! ```
//!
//! Varints are LEB128 of 64 bits, never longer than they must be. The difference of times wraps around, so that any
//! two times have one. The checksum and the format's number stand in the same places in every format to come.
//!
//! # What may change without a new protocol version
//!
//! Failure codes may be added: an older client reads one that it does not know as
//! [`FailureCode::Unrecognised`], because a refusal that it could not read would cost it the connection, and the
//! request that was refused would come again on the next. Everything else is fixed. A body that is too long, a kind
//! or a value without meaning is an error, so that a damaged stream is not mistaken for a newer one.

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

pub use batch::{Batch, BatchSummary, Records};
pub use builder::{BatchBuilder, encoded_len};
pub use codec::{PacketCodec, delivery_head, produce_head, produce_overhead};
pub use error::{CodecError, DecodeError, EncodeError};
pub use max_frame::MaxFrame;
pub use packet::{
    Connect, Connected, Delivery, Failure, FailureCode, Packet, Produce, ProducerIdentity, Refused,
    RegisteredProducer, Start, Stored, StoredEarlier, Subscribe, TopicInfo,
};
pub use record::{Header, Record};
pub use stream::{PacketReader, PacketStream, PacketWriter, ReadError};
