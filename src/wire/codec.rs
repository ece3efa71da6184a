//! Pure: packets out of the bytes of a stream, and bytes out of packets.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, DecodeError, EncodeError, Packet, body, kind::Kind};
use crate::{Offset, RequestId, Timestamp, TopicName};

/// The bytes of the length that begins a frame.
const LENGTH: usize = 4;

/// The bytes of a delivery's frame before its batch: kind, base offset and time.
pub(super) const DELIVERY_OVERHEAD: usize = 1 + 8 + 8;

/// The most that is reserved ahead of what has arrived. A frame that states a greater length gets the rest as
/// its bytes come in.
const RESERVE_AHEAD: usize = 256 * 1024;

/// Frames on a stream: a length, a kind, a body.
///
/// ```text
/// u32 LE: length of what follows | u8: kind | body
/// ```
///
/// The decoder is total. Whatever the bytes, it gives a packet, asks for more, or fails; it gives the same
/// packets however the bytes are split; and it refuses a frame over its limit as soon as the length has arrived
/// (five bytes suffice), before it reserves anything. After an error a stream is of no further use.
///
/// The batch of a [`Packet::Produce`] or [`Packet::Delivery`] and the token of a [`Packet::Connect`] share the
/// read buffer's memory. Whoever keeps a few bytes of it for long should copy them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketCodec {
    max_frame: usize,
}

impl PacketCodec {
    /// Frames of at most `max_frame` bytes either way: kind and body, without the four bytes of the length.
    #[must_use]
    pub const fn new(max_frame: usize) -> Self {
        Self { max_frame }
    }

    /// The longest frame, in bytes.
    #[must_use]
    pub const fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// The length and kind at the front of `src`, checked against each other as far as they have arrived.
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

/// The bytes of a [`Packet::Produce`] before its batch. These bytes and then the batch are the packet: a lane
/// writes the two one after the other, and the batch is not copied.
///
/// The frame has [`produce_overhead`] bytes more than the batch; whether that is within the broker's longest
/// frame is for the caller to see to.
///
/// # Panics
/// Where the frame would have 4 GiB or more: no broker announces such a [`max_frame`](super::Connected::max_frame).
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

/// How many bytes of the frame of a [`Packet::Produce`] are not its batch: the batch may have
/// [`max_frame`](super::Connected::max_frame) less these.
#[must_use]
pub fn produce_overhead(topic: &TopicName) -> usize {
    1 + 8 + 8 + 1 + topic.as_str().len()
}

/// The bytes of a [`Packet::Delivery`] before its batch. These bytes and then the batch are the packet.
///
/// A delivery's frame is never longer than the [`Packet::Produce`] was in which the batch came.
///
/// # Panics
/// Where the frame would have 4 GiB or more, which a batch that came in a frame cannot bring about.
#[must_use]
pub fn delivery_head(base: Offset, time: Timestamp, batch_len: usize) -> Bytes {
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
