//! Sans-I/O: frames, each of which is a group commit.

use super::{
    fields::{Fields, crc, put},
    record::{BatchRecord, Record},
};

pub(crate) const SECTOR: usize = 512;
pub(crate) const FRAME_HEADER: usize = 48;
pub(crate) const TRAILER: usize = 8;
pub(crate) const FRAME_MAGIC: &[u8; 4] = b"ANBF";
const TRAILER_MAGIC: &[u8; 4] = b"FNBA";

/// What a frame is part of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameContext {
    pub(crate) salt: u64,
    /// The offset in the segment at which it is written.
    pub(crate) at: u64,
    pub(crate) number: u64,
    /// The link of the frame before.
    pub(crate) previous: u64,
}

/// A frame that was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncodedFrame {
    pub(crate) link: u64,
    /// Where its batches begin in it.
    pub(crate) body: usize,
}

/// Returns the length of a frame with a head and batches of these lengths.
pub(crate) fn frame_len(head: usize, body: usize) -> usize {
    (FRAME_HEADER + head + body + TRAILER).next_multiple_of(8)
}

/// Encodes a frame into `out`, replacing what was there.
pub(crate) fn encode_frame(
    out: &mut Vec<u8>,
    context: FrameContext,
    (records, head): (u32, &[u8]),
    batches: &[&[u8]],
) -> EncodedFrame {
    let body = FRAME_HEADER + head.len();
    let len = frame_len(head.len(), batches.iter().map(|batch| batch.len()).sum());
    out.clear();
    out.reserve(len);
    out.resize(FRAME_HEADER, 0);
    out.extend_from_slice(head);
    batches
        .iter()
        .for_each(|batch| out.extend_from_slice(batch));
    out.resize(len - TRAILER, 0);
    let body_crc = crc32fast::hash(&out[body..]);
    let salt = context.salt.to_le_bytes();
    let head_crc = crc(&[&salt, head]);

    let mut header = FRAME_MAGIC.to_vec();
    put!(
        header,
        u32::try_from(len).unwrap_or(u32::MAX),
        context.number,
        context.previous
    );
    put!(
        header,
        records,
        u32::try_from(head.len()).unwrap_or(u32::MAX)
    );
    // Neither a part that holds bytes of the header nor one that holds the trailer can be zero.
    out[..FRAME_HEADER].fill(1);
    out.extend_from_slice(&[1; TRAILER]);
    let zeros = zero_parts(out, context.at);
    put!(header, zeros, body_crc, head_crc);
    let header_crc = crc(&[&salt, &header]);
    put!(header, header_crc);
    out[..FRAME_HEADER].copy_from_slice(&header);
    out.truncate(len - TRAILER);
    put!(out, !header_crc);
    out.extend_from_slice(TRAILER_MAGIC);
    EncodedFrame {
        link: link(header_crc, head_crc),
        body,
    }
}

fn link(header_crc: u32, head_crc: u32) -> u64 {
    u64::from(header_crc) << 32 | u64::from(head_crc)
}

/// Counts the zero parts of `bytes`, which begin at offset `at` of a file.
pub(crate) fn zero_parts(bytes: &[u8], at: u64) -> u32 {
    let first = SECTOR - usize::try_from(at % SECTOR as u64).unwrap_or(0);
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    let parts = std::iter::once(head).chain(rest.chunks(SECTOR));
    let zero = parts
        .filter(|part| !part.is_empty() && is_zero(part))
        .count();
    u32::try_from(zero).unwrap_or(u32::MAX)
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    // Compared by blocks: most of a segment that is not full is zero.
    bytes
        .chunks(BLOCK)
        .all(|block| *block == ZEROS[..block.len()])
}

/// Bytes that are compared with zeros at a time.
pub(crate) const BLOCK: usize = 4096;

/// The header of a frame whose checksum matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) len: usize,
    pub(crate) number: u64,
    pub(crate) previous: u64,
    records: u32,
    /// The length of its records.
    pub(crate) head: usize,
    /// The number of zero parts with which it was written.
    pub(crate) zeros: u32,
    pub(crate) body_crc: u32,
    head_crc: u32,
    header_crc: u32,
}

impl FrameHeader {
    /// Decodes the header at the front of `bytes`; `None` unless it matches its checksum and makes sense.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes: &[u8; FRAME_HEADER] = bytes.first_chunk()?;
        let mut fields = Fields(bytes);
        if fields.bytes(4)? != FRAME_MAGIC {
            return None;
        }
        let header = Self {
            len: usize::try_from(fields.u32()?).ok()?,
            number: fields.u64()?,
            previous: fields.u64()?,
            records: fields.u32()?,
            head: usize::try_from(fields.u32()?).ok()?,
            zeros: fields.u32()?,
            body_crc: fields.u32()?,
            head_crc: fields.u32()?,
            header_crc: fields.u32()?,
        };
        let matches = crc(&[&salt.to_le_bytes(), &bytes[..FRAME_HEADER - 4]]) == header.header_crc;
        let body = FRAME_HEADER.checked_add(header.head)?;
        let makes_sense = header.len.is_multiple_of(8) && body.checked_add(TRAILER)? <= header.len;
        (matches && makes_sense).then_some(header)
    }

    pub(crate) fn link(&self) -> u64 {
        link(self.header_crc, self.head_crc)
    }
}

/// A frame that matches all its checksums.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// The offset in the segment at which it begins.
    pub(crate) at: usize,
    pub(crate) records: Vec<Record>,
}

impl Frame {
    /// Returns the offset that follows it.
    pub(crate) fn end(&self) -> usize {
        self.at + self.header.len
    }

    /// Returns its batches, each with its offset in the segment.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (&BatchRecord, usize)> {
        let mut at = self.at + FRAME_HEADER + self.header.head;
        self.records.iter().filter_map(move |record| match record {
            Record::Batch(batch) => {
                let place = at;
                at += batch.len as usize;
                Some((batch, place))
            }
            _ => None,
        })
    }

    pub(crate) fn messages(&self) -> u64 {
        self.batches()
            .map(|(batch, _)| u64::from(batch.count))
            .sum()
    }
}

/// Decodes the records of a frame, if its head matches its checksum.
pub(crate) fn decode_head(bytes: &[u8], header: &FrameHeader, salt: u64) -> Option<Vec<Record>> {
    let head = bytes.get(FRAME_HEADER..FRAME_HEADER + header.head)?;
    if crc(&[&salt.to_le_bytes(), head]) != header.head_crc {
        return None;
    }
    let mut fields = Fields(head);
    let mut records = Vec::new();
    let mut body = 0usize;
    for _ in 0..header.records {
        let record = Record::decode(&mut fields)?;
        if let Record::Batch(batch) = &record {
            body = body.checked_add(usize::try_from(batch.len).ok()?)?;
        }
        records.push(record);
    }
    let fits = FRAME_HEADER + header.head + body + TRAILER <= header.len;
    (fields.is_empty() && fits).then_some(records)
}

/// Whether the last bytes of a frame are the trailer that belongs to its header.
pub(crate) fn is_trailer(trailer: &[u8], header: &FrameHeader) -> bool {
    let (sum, magic) = trailer.split_at(trailer.len().min(4));
    sum == (!header.header_crc).to_le_bytes() && magic == TRAILER_MAGIC
}
