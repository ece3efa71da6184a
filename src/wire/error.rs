//! Sans-I/O: errors of decoding and encoding.

use std::io;

use crate::TopicNameError;

/// Why bytes are not a packet or not a batch.
///
/// The rest of the stream cannot be read, because it is not certain where its next frame begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A length exceeds its limit. It is refused before anything of that length is read or reserved.
    #[error("{what}: {value} bytes or entries, the limit is {limit}")]
    TooLong {
        /// What has that length.
        what: &'static str,
        /// The length in the bytes.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// Something that must have at least one byte or entry has none.
    #[error("{what}: empty")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// No packet has this kind.
    #[error("no packet has the kind {kind:#04x}")]
    UnknownKind {
        /// The kind byte of the frame.
        kind: u8,
    },
    /// A field has a value that is not one of its allowed values.
    #[error("{what}: {value} has no meaning")]
    UnknownValue {
        /// The name of the field.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// A frame or batch ends before its last field.
    #[error("{what}: cut short")]
    Short {
        /// The field that has too few bytes.
        what: &'static str,
    },
    /// A frame or batch has bytes after its last field.
    #[error("{what}: {bytes} bytes too many")]
    Trailing {
        /// What has too many bytes.
        what: &'static str,
        /// How many bytes are left over.
        bytes: usize,
    },
    /// The stream ended within a frame.
    #[error("the stream ended inside a frame, {bytes} bytes into it")]
    Incomplete {
        /// How many bytes of the frame were received.
        bytes: usize,
    },
    /// A text is not UTF-8.
    #[error("{what}: not UTF-8")]
    NotUtf8 {
        /// The name of the field.
        what: &'static str,
    },
    /// A topic's name breaks the rules of topic names.
    #[error("not a topic name")]
    TopicName(#[from] TopicNameError),
    /// A varint is longer than necessary, or has more than 64 bits.
    #[error("{what}: not a varint")]
    Varint {
        /// The name of the field.
        what: &'static str,
    },
    /// A batch does not match its checksum.
    #[error("the batch states the checksum {stated:#010x}, its bytes have {found:#010x}")]
    Checksum {
        /// The checksum in the batch.
        stated: u32,
        /// The checksum of the bytes.
        found: u32,
    },
}

/// Why a packet cannot be encoded. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A field or the frame is longer than the protocol or [`PacketCodec::new`](super::PacketCodec::new) allows.
    #[error("{what}: {value} bytes or entries, the limit is {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The length.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// A text that must not be empty is empty.
    #[error("{what}: empty")]
    Empty {
        /// The name of the field.
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
