//! Pure: what can be wrong with bytes, and with packets that are to become bytes.

use std::io;

use crate::TopicNameError;

/// Why bytes are not a packet or not a batch.
///
/// The stream that such bytes came from is of no further use: where the next frame begins is not known for sure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A length is over its limit. It is refused before anything of that length is read or reserved.
    #[error("{what}: {value} bytes or entries, the limit is {limit}")]
    TooLong {
        /// What has that length.
        what: &'static str,
        /// The length that is stated.
        value: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Something that must hold at least one byte or entry holds none.
    #[error("{what}: empty")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// No packet has this kind.
    #[error("no packet has the kind {kind:#04x}")]
    UnknownKind {
        /// The kind that the frame states.
        kind: u8,
    },
    /// A field with few allowed values has another one.
    #[error("{what}: {value} has no meaning")]
    UnknownValue {
        /// The field.
        what: &'static str,
        /// What it holds.
        value: u64,
    },
    /// A frame or a batch is whole, but ends before its last field does.
    #[error("{what}: cut short")]
    Short {
        /// The field that has too few bytes.
        what: &'static str,
    },
    /// A frame or a batch goes on behind its last field.
    #[error("{what}: {bytes} bytes too many")]
    Trailing {
        /// What goes on.
        what: &'static str,
        /// How many bytes are left over.
        bytes: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, {bytes} bytes into it")]
    Incomplete {
        /// How many bytes of the frame are there.
        bytes: usize,
    },
    /// A text is not UTF-8.
    #[error("{what}: not UTF-8")]
    NotUtf8 {
        /// The text.
        what: &'static str,
    },
    /// A topic's name breaks the rules of topic names.
    #[error("not a topic name")]
    TopicName(#[from] TopicNameError),
    /// A varint is longer than it must be, or over 64 bits.
    #[error("{what}: not a varint")]
    Varint {
        /// The field.
        what: &'static str,
    },
    /// A batch is not what its producer encoded.
    #[error("the batch states the checksum {stated:#010x}, its bytes have {found:#010x}")]
    Checksum {
        /// The checksum in the batch.
        stated: u32,
        /// The checksum of its bytes.
        found: u32,
    },
}

/// Why a packet cannot become bytes. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A field, or the frame, is longer than the protocol or [`PacketCodec::new`](super::PacketCodec::new) allows.
    #[error("{what}: {value} bytes or entries, the limit is {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        value: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A text that must not be empty is.
    #[error("{what}: empty")]
    Empty {
        /// The text.
        what: &'static str,
    },
}

/// What can happen to a stream of packets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Reading or writing failed.
    #[error("the stream failed")]
    Io(#[from] io::Error),
    /// What was read is not a packet.
    #[error("what was read is not a packet")]
    Decode(#[from] DecodeError),
    /// What was to be written cannot be.
    #[error("a packet cannot be written")]
    Encode(#[from] EncodeError),
}
