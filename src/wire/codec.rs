//! Sans-I/O: decodes packets from the bytes of a stream, and encodes them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, DecodeError, EncodeError, Packet, body, kind::Kind};
use crate::{Offset, RequestId, Timestamp, TopicName};

/// The bytes of the length at the start of a frame.
const LENGTH: usize = 4;

/// The bytes of a delivery's frame before its batch: kind, base offset and time.
pub(super) const DELIVERY_OVERHEAD: usize = 1 + 8 + 8;

/// The most bytes that are reserved before they have arrived. For a longer frame, more is reserved as it arrives.
const RESERVE_AHEAD: usize = 256 * 1024;

/// Decodes and encodes frames: a length, a kind, a body.
///
/// ```text
/// u32 LE: length of what follows | u8: kind | body
/// ```
///
/// The decoder is total. For any bytes it returns a packet, asks for more, or fails. The result does not depend on how
/// the bytes are split. A frame over its limit is refused as soon as the length has arrived (five bytes suffice), before
/// anything is reserved. After an error the stream cannot be decoded further.
///
/// The batch of a `Packet::Produce` or `Packet::Delivery` and the token of a `Packet::Connect` share the memory of
/// the read buffer. Copy a few bytes that are kept for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketCodec {
    max_frame: usize,
}

impl PacketCodec {
    /// Creates a codec for frames of at most `max_frame` bytes: kind and body, without the four bytes of the length.
    #[must_use]
    pub const fn new(max_frame: usize) -> Self {
        Self { max_frame }
    }

    /// Returns the longest frame, in bytes.
    #[must_use]
    pub const fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Reads the length and the kind at the start of `src` as far as they have arrived, and checks them.
    fn head(&self, src: &[u8]) -> Result<Option<(usize, Option<Kind>)>, DecodeError> {
        let Some((&length, rest)) = src.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if len == 0 {
            return Err(DecodeError::Empty { what: "frame" });
        }
        within("frame", len, self.max_frame)?;
        let Some(&byte) = rest.first() else {
            return Ok(Some((len, None)));
        };
        let kind = Kind::from_u8(byte)?;
        if let Some(max_body) = kind.max_body() {
            within(kind.name(), len - 1, max_body)?;
        }
        Ok(Some((len, Some(kind))))
    }
}

const fn within(what: &'static str, value: usize, limit: usize) -> Result<(), DecodeError> {
    if value > limit {
        return Err(DecodeError::TooLong { what, value, limit });
    }
    Ok(())
}

impl Decoder for PacketCodec {
    type Item = Packet;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, CodecError> {
        let Some((len, kind)) = self.head(src)? else {
            return Ok(None);
        };
        let missing = len.saturating_sub(src.len() - LENGTH);
        match kind {
            Some(kind) if missing == 0 => {
                src.advance(LENGTH + 1);
                let body = src.split_to(len - 1).freeze();
                Ok(Some(body::take(kind, body)?))
            }
            _ => {
                src.reserve(missing.min(RESERVE_AHEAD));
                Ok(None)
            }
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Packet>, CodecError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(DecodeError::Incomplete { bytes: src.len() }.into()),
            packet => Ok(packet),
        }
    }
}

impl Encoder<&Packet> for PacketCodec {
    type Error = CodecError;

    fn encode(&mut self, packet: &Packet, dst: &mut BytesMut) -> Result<(), CodecError> {
        let start = dst.len();
        let written = self.put_frame(packet, dst);
        if written.is_err() {
            dst.truncate(start);
        }
        Ok(written?)
    }
}

impl Encoder<Packet> for PacketCodec {
    type Error = CodecError;

    fn encode(&mut self, packet: Packet, dst: &mut BytesMut) -> Result<(), CodecError> {
        self.encode(&packet, dst)
    }
}

impl PacketCodec {
    fn put_frame(&self, packet: &Packet, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let kind = Kind::of(packet);
        let batch = match packet {
            Packet::Produce(produce) => &produce.batch[..],
            Packet::Delivery(delivery) => &delivery.batch[..],
            _ => &[],
        };
        let too_long = |value| {
            let limit = self.max_frame;
            EncodeError::TooLong {
                what: kind.name(),
                value,
                limit,
            }
        };
        let start = dst.len();
        dst.put_u32_le(0);
        dst.put_u8(kind.to_u8());
        body::put(packet, dst)?;
        let len = (dst.len() - start - LENGTH).saturating_add(batch.len());
        if len > self.max_frame {
            return Err(too_long(len));
        }
        let length = u32::try_from(len).map_err(|_| too_long(len))?;
        dst[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
        dst.extend_from_slice(batch);
        Ok(())
    }
}

/// Returns the bytes of a `Packet::Produce` before its batch. These bytes and then the batch are the packet, so that the
/// batch is not copied.
///
/// The frame has `produce_overhead` bytes more than the batch. The caller checks it against the broker's longest frame.
///
/// # Panics
/// If the frame would have 4 GiB or more: no broker announces such a `max_frame`.
#[must_use]
pub fn produce_head(
    request: RequestId,
    answered_below: RequestId,
    topic: &TopicName,
    batch_len: usize,
) -> Bytes {
    let mut head = BytesMut::with_capacity(LENGTH + produce_overhead(topic));
    head.put_u32_le(length(produce_overhead(topic), batch_len));
    head.put_u8(Kind::Produce.to_u8());
    body::put_produce(&mut head, request, answered_below, topic);
    head.freeze()
}

/// Returns how many bytes of the frame of a [`Packet::Produce`] are not its batch. The batch may have at most
/// [`max_frame`](super::Connected::max_frame) less these.
#[must_use]
pub(crate) fn produce_overhead(topic: &TopicName) -> usize {
    1 + 8 + 8 + 1 + topic.as_str().len()
}

/// Returns the bytes of a [`Packet::Delivery`] before its batch. These bytes and then the batch are the packet.
///
/// The frame is never longer than that of the [`Packet::Produce`] with the same batch.
///
/// # Panics
/// If the frame would have 4 GiB or more, which a batch from a frame cannot cause.
#[must_use]
pub(crate) fn delivery_head(base: Offset, time: Timestamp, batch_len: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(LENGTH + DELIVERY_OVERHEAD);
    head.put_u32_le(length(DELIVERY_OVERHEAD, batch_len));
    head.put_u8(Kind::Delivery.to_u8());
    body::put_delivery(&mut head, base, time);
    head.freeze()
}

fn length(overhead: usize, batch_len: usize) -> u32 {
    u32::try_from(overhead.saturating_add(batch_len)).expect("a frame has less than 4 GiB")
}

#[cfg(test)]
mod tests;
