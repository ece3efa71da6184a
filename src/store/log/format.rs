//! Sans-I/O: encoding and decoding the bytes of the log. What they are is said in
//! [`log_format`](super::super::log_format).

use super::super::{RequestContent, catalog::TopicId};
use crate::{Offset, ProducerId, RequestId, Timestamp, TopicName, wire::TopicRetention};

pub(super) const SECTOR: usize = 512;
pub(super) const SEGMENT_HEADER: usize = 64;
pub(super) const FRAME_HEADER: usize = 48;
pub(super) const TRAILER: usize = 8;
pub(super) const INDEX_BLOCK: usize = 4096;
pub(super) const INDEX_ROW: usize = 32;
pub(super) const ROWS_A_BLOCK: u32 = 127;
const SEGMENT_MAGIC: &[u8; 8] = b"ANABSEG2";
const MANIFEST_MAGIC: &[u8; 8] = b"ANABMAN2";
const INDEX_MAGIC: &[u8; 8] = b"ANABIDX2";
const SNAPSHOT_MAGIC: &[u8; 8] = b"ANABSNP2";
const FRAME_MAGIC: &[u8; 4] = b"ANBF";
const TRAILER_MAGIC: &[u8; 4] = b"FNBA";
pub(super) const SNAPSHOT_HEADER: usize = 32;
pub(super) const PIECE_HEADER: usize = 8;

/// Reads fields from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    fn topic_name(&mut self) -> Option<TopicName> {
        let len = self.u8()?.into();
        TopicName::new(std::str::from_utf8(self.bytes(len)?).ok()?).ok()
    }

    fn name(&mut self) -> Option<String> {
        let len = self.u16()?.into();
        Some(std::str::from_utf8(self.bytes(len)?).ok()?.to_owned())
    }

    fn retention(&mut self) -> Option<TopicRetention> {
        Some(TopicRetention::from_numbers((self.u64()?, self.u64()?)))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

fn put_topic_name(out: &mut Vec<u8>, name: &TopicName) {
    let name = name.as_str().as_bytes();
    // The name of a topic has at most 200 bytes.
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    // Names of consumers and producers have at most 200 bytes on the wire. A longer one, from code, is cut.
    let mut len = name.len().min(usize::from(u16::MAX));
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&name.as_bytes()[..len]);
}

macro_rules! put {
    ($out:expr, $($value:expr),* $(,)?) => {
        $($out.extend_from_slice(&$value.to_le_bytes());)*
    };
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Whether `sealed`, which ends with a checksum, matches it; the bytes before the checksum if so.
fn checked(sealed: &[u8]) -> Option<&[u8]> {
    let (content, sum) = sealed.split_last_chunk()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*sum)).then_some(content)
}

// ---- manifest

/// The files that belong to the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Manifest {
    /// Counts the manifests written.
    pub(super) generation: u64,
    /// The identity of the log.
    pub(super) log: u64,
    /// The first producer id of this log.
    pub(super) first_producer: u64,
    /// The snapshots kept, oldest first.
    pub(super) snapshots: Vec<SnapshotEntry>,
    /// The segments in the order of their numbers.
    pub(super) segments: Vec<SegmentEntry>,
}

/// A snapshot in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotEntry {
    /// The first frame that is not part of it.
    pub(super) start: u64,
    /// The length of the file.
    pub(super) len: u64,
}

/// A segment in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentEntry {
    pub(super) number: u32,
    pub(super) generation: u32,
    /// Whether it was compacted.
    pub(super) compacted: bool,
    /// What a sealed segment holds; `None` for one that is not sealed.
    pub(super) sealed: Option<Seal>,
    /// The length with which the file of a segment that is not sealed was made.
    pub(super) len: u64,
}

/// The content of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seal {
    /// The number of its first frame.
    pub(super) first: u64,
    /// The number after that of its last frame.
    pub(super) next: u64,
    /// The link of its last frame.
    pub(super) link: u64,
    /// The offset after its last frame.
    pub(super) end: u64,
    /// The number of messages in it.
    pub(super) messages: u64,
}

const SEALED: u32 = 1;
const COMPACTED: u32 = 2;

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MANIFEST_MAGIC.to_vec();
        put!(out, self.generation, self.log, self.first_producer);
        put!(out, len32(&self.snapshots), len32(&self.segments));
        for snapshot in &self.snapshots {
            put!(out, snapshot.start, snapshot.len);
        }
        for segment in &self.segments {
            let sealed = if segment.sealed.is_some() { SEALED } else { 0 };
            let compacted = if segment.compacted { COMPACTED } else { 0 };
            put!(
                out,
                segment.number,
                segment.generation,
                sealed | compacted,
                0u32
            );
            let seal = segment.sealed.unwrap_or(Seal {
                end: segment.len,
                ..Seal::default()
            });
            put!(
                out,
                seal.first,
                seal.next,
                seal.link,
                seal.end,
                seal.messages
            );
        }
        let sum = crc32fast::hash(&out);
        put!(out, sum);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(checked(bytes)?);
        if fields.bytes(8)? != MANIFEST_MAGIC {
            return None;
        }
        let mut manifest = Self {
            generation: fields.u64()?,
            log: fields.u64()?,
            first_producer: fields.u64()?,
            ..Self::default()
        };
        let (snapshots, segments) = (fields.u32()?, fields.u32()?);
        for _ in 0..snapshots {
            let (start, len) = (fields.u64()?, fields.u64()?);
            manifest.snapshots.push(SnapshotEntry { start, len });
        }
        for _ in 0..segments {
            let (number, generation, flags) = (fields.u32()?, fields.u32()?, fields.u32()?);
            fields.u32()?;
            let seal = Seal {
                first: fields.u64()?,
                next: fields.u64()?,
                link: fields.u64()?,
                end: fields.u64()?,
                messages: fields.u64()?,
            };
            manifest.segments.push(SegmentEntry {
                number,
                generation,
                compacted: flags & COMPACTED != 0,
                sealed: (flags & SEALED != 0).then_some(seal),
                len: if flags & SEALED == 0 { seal.end } else { 0 },
            });
        }
        fields.is_empty().then_some(manifest)
    }
}

fn len32<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

// ---- segment

/// The first 64 bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log: u64,
    pub(super) number: u32,
    pub(super) generation: u32,
    /// The number of the segment before it.
    pub(super) before: u32,
    /// A random number in the checksums of its frames, so that bytes of a message are never taken for a frame.
    pub(super) salt: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = SEGMENT_MAGIC.to_vec();
        put!(
            out,
            self.log,
            self.number,
            self.generation,
            self.before,
            0u32,
            self.salt
        );
        out.resize(SEGMENT_HEADER - 4, 0);
        let sum = crc32fast::hash(&out);
        put!(out, sum);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(checked(bytes.get(..SEGMENT_HEADER)?)?);
        if fields.bytes(8)? != SEGMENT_MAGIC {
            return None;
        }
        let (log, number, generation, before) =
            (fields.u64()?, fields.u32()?, fields.u32()?, fields.u32()?);
        fields.u32()?;
        Some(Self {
            log,
            number,
            generation,
            before,
            salt: fields.u64()?,
        })
    }
}

impl SegmentHeader {
    /// Decodes a header of which one byte may have changed, for a repair.
    pub(super) fn decode_changed(bytes: &[u8]) -> Option<Self> {
        if let Some(header) = Self::decode(bytes) {
            return Some(header);
        }
        let mut bytes: [u8; SEGMENT_HEADER] = *bytes.first_chunk()?;
        for at in 0..SEGMENT_HEADER {
            let before = bytes[at];
            for value in 0..=u8::MAX {
                bytes[at] = value;
                if let Some(header) = Self::decode(&bytes) {
                    return Some(header);
                }
            }
            bytes[at] = before;
        }
        None
    }
}

pub(super) fn segment_name(number: u32, generation: u32) -> String {
    format!("{number:010}.{generation:04}.seg")
}

pub(super) fn index_name(number: u32, generation: u32) -> String {
    format!("{number:010}.{generation:04}.idx")
}

pub(super) fn snapshot_name(start: u64) -> String {
    format!("{start:020}.snap")
}

/// Returns number and generation of a segment or an index, by the name of its file.
pub(super) fn parse_name(name: &str, extension: &str) -> Option<(u32, u32)> {
    let (number, generation) = name
        .strip_suffix(extension)?
        .strip_suffix('.')?
        .split_once('.')?;
    let found = (number.parse().ok()?, generation.parse().ok()?);
    let canonical = match extension {
        "seg" => segment_name(found.0, found.1),
        _ => index_name(found.0, found.1),
    };
    (canonical == name).then_some(found)
}

/// Returns the start of a snapshot, by the name of its file.
pub(super) fn parse_snapshot_name(name: &str) -> Option<u64> {
    let start = name.strip_suffix(".snap")?.parse().ok()?;
    (snapshot_name(start) == name).then_some(start)
}

// ---- records

/// One change of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Batch(BatchRecord),
    Topic {
        id: TopicId,
        name: TopicName,
    },
    Trim {
        topic: TopicId,
        first: Offset,
    },
    Position {
        topic: TopicId,
        name: String,
        next: Offset,
    },
    Producer {
        id: ProducerId,
        instance: u64,
        seen: Timestamp,
        next_producer: u64,
        name: String,
    },
    Forget {
        id: ProducerId,
    },
    Retention {
        topic: TopicId,
        retention: TopicRetention,
    },
    Delete {
        topic: TopicId,
    },
}

/// A batch that is part of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchRecord {
    pub(super) topic: TopicId,
    pub(super) base: Offset,
    pub(super) time: Timestamp,
    pub(super) count: u32,
    pub(super) len: u32,
    pub(super) producer: ProducerId,
    pub(super) request: RequestId,
    /// The low-water mark of the producer's window after this frame.
    pub(super) low: RequestId,
    /// The first bytes of the batch, read from there and not part of the record.
    pub(super) checksum: u32,
}

impl Record {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Batch(batch) => {
                out.push(1);
                put!(
                    out,
                    batch.topic.0,
                    batch.base.0,
                    batch.time.0,
                    batch.count,
                    batch.len
                );
                put!(out, batch.producer.0, batch.request.0, batch.low.0);
            }
            Self::Topic { id, name } => {
                out.push(2);
                put!(out, id.0);
                put_topic_name(out, name);
            }
            Self::Trim { topic, first } => {
                out.push(3);
                put!(out, topic.0, first.0);
            }
            Self::Position { topic, name, next } => {
                out.push(4);
                put!(out, topic.0, next.0);
                put_name(out, name);
            }
            Self::Producer {
                id,
                instance,
                seen,
                next_producer,
                name,
            } => {
                out.push(5);
                put!(out, id.0, instance, seen.0, next_producer);
                put_name(out, name);
            }
            Self::Forget { id } => {
                out.push(6);
                put!(out, id.0);
            }
            Self::Retention { topic, retention } => {
                let (max_age, max_bytes) = retention.to_numbers();
                out.push(7);
                put!(out, topic.0, max_age, max_bytes);
            }
            Self::Delete { topic } => {
                out.push(8);
                put!(out, topic.0);
            }
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.u8()? {
            1 => Self::Batch(BatchRecord {
                topic: TopicId(fields.u32()?),
                base: Offset(fields.u64()?),
                time: Timestamp(fields.u64()?),
                count: fields.u32()?,
                len: fields.u32()?,
                producer: ProducerId(fields.u64()?),
                request: RequestId(fields.u64()?),
                low: RequestId(fields.u64()?),
                checksum: 0,
            }),
            2 => Self::Topic {
                id: TopicId(fields.u32()?),
                name: fields.topic_name()?,
            },
            3 => Self::Trim {
                topic: TopicId(fields.u32()?),
                first: Offset(fields.u64()?),
            },
            4 => {
                let (topic, next) = (TopicId(fields.u32()?), Offset(fields.u64()?));
                let name = fields.name()?;
                Self::Position { topic, name, next }
            }
            5 => Self::Producer {
                id: ProducerId(fields.u64()?),
                instance: fields.u64()?,
                seen: Timestamp(fields.u64()?),
                next_producer: fields.u64()?,
                name: fields.name()?,
            },
            6 => Self::Forget {
                id: ProducerId(fields.u64()?),
            },
            7 => Self::Retention {
                topic: TopicId(fields.u32()?),
                retention: fields.retention()?,
            },
            8 => Self::Delete {
                topic: TopicId(fields.u32()?),
            },
            _ => return None,
        })
    }
}

// ---- frames

/// What a frame is part of.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameContext {
    pub(super) salt: u64,
    /// The offset in the segment at which it is written.
    pub(super) at: u64,
    pub(super) number: u64,
    /// The link of the frame before.
    pub(super) previous: u64,
}

/// A frame that was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EncodedFrame {
    pub(super) link: u64,
    /// Where its batches begin in it.
    pub(super) body: usize,
}

/// Returns the length of a frame with a head and batches of these lengths.
pub(super) fn frame_len(head: usize, body: usize) -> usize {
    (FRAME_HEADER + head + body + TRAILER).next_multiple_of(8)
}

/// Encodes a frame into `out`, replacing what was there.
pub(super) fn encode_frame(
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
fn zero_parts(bytes: &[u8], at: u64) -> u32 {
    let first = SECTOR - usize::try_from(at % SECTOR as u64).unwrap_or(0);
    let (head, rest) = bytes.split_at(first.min(bytes.len()));
    let parts = std::iter::once(head).chain(rest.chunks(SECTOR));
    let zero = parts
        .filter(|part| !part.is_empty() && is_zero(part))
        .count();
    u32::try_from(zero).unwrap_or(u32::MAX)
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    // Compared by blocks: most of a segment that is not full is zero.
    bytes
        .chunks(BLOCK)
        .all(|block| *block == ZEROS[..block.len()])
}

const BLOCK: usize = 4096;

/// The header of a frame whose checksum matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) len: usize,
    pub(super) number: u64,
    pub(super) previous: u64,
    records: u32,
    head: usize,
    zeros: u32,
    body_crc: u32,
    head_crc: u32,
    header_crc: u32,
}

impl FrameHeader {
    /// Decodes the header at the front of `bytes`; `None` unless it matches its checksum and makes sense.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
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

    pub(super) fn link(&self) -> u64 {
        link(self.header_crc, self.head_crc)
    }
}

/// A frame that matches all its checksums.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    /// The offset in the segment at which it begins.
    pub(super) at: usize,
    pub(super) records: Vec<Record>,
}

impl Frame {
    /// Returns the offset that follows it.
    pub(super) fn end(&self) -> usize {
        self.at + self.header.len
    }

    /// Returns its batches, each with its offset in the segment.
    pub(super) fn batches(&self) -> impl Iterator<Item = (&BatchRecord, usize)> {
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

    pub(super) fn messages(&self) -> u64 {
        self.batches()
            .map(|(batch, _)| u64::from(batch.count))
            .sum()
    }
}

/// Decodes the records of a frame, if its head matches its checksum.
pub(super) fn decode_head(bytes: &[u8], header: &FrameHeader, salt: u64) -> Option<Vec<Record>> {
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

/// What is at one place of a segment.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// A frame that matches its checksums.
    Frame(Box<Frame>),
    /// Zeros up to the end.
    Nothing,
    /// A frame of which a sector is missing. It was never synced, so nothing of it was answered.
    Torn,
    /// A frame that was written whole and has changed since, or bytes that are no frame.
    Damaged {
        /// The number of messages in it, if its head can be read.
        messages: Option<u64>,
    },
}

/// Looks at what is at offset `at` of a segment; `bytes` are all of it.
pub(super) fn look(bytes: &[u8], at: usize, salt: u64) -> Found {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(header) = FrameHeader::decode(rest, salt) else {
        if is_zero(rest) {
            return Found::Nothing;
        }
        // The header is in one sector or two. One that is missing as a whole was not written.
        let header = &rest[..rest.len().min(FRAME_HEADER)];
        return match zero_parts(header, at as u64) {
            0 => Found::Damaged { messages: None },
            _ => Found::Torn,
        };
    };
    let records = decode_head(rest, &header, salt);
    let messages = records.as_ref().map(|records| {
        let counts = records.iter().map(|record| match record {
            Record::Batch(batch) => u64::from(batch.count),
            _ => 0,
        });
        counts.sum()
    });
    let Some(frame) = rest.get(..header.len) else {
        return Found::Damaged { messages };
    };
    let body = &frame[FRAME_HEADER + header.head..header.len - TRAILER];
    let trailer = &frame[header.len - TRAILER..];
    let ends = trailer[..4] == (!header.header_crc).to_le_bytes() && trailer[4..] == *TRAILER_MAGIC;
    match records {
        Some(mut records) if ends && crc32fast::hash(body) == header.body_crc => {
            read_checksums(&mut records, body);
            Found::Frame(Box::new(Frame {
                header,
                at,
                records,
            }))
        }
        _ if zero_parts(frame, at as u64) > header.zeros => Found::Torn,
        _ => Found::Damaged { messages },
    }
}

/// Sets the checksum of each batch to its first bytes.
fn read_checksums(records: &mut [Record], mut body: &[u8]) {
    for record in records {
        if let Record::Batch(batch) = record {
            let (bytes, rest) = body.split_at((batch.len as usize).min(body.len()));
            batch.checksum = RequestContent::of(batch.topic.0, bytes).checksum;
            body = rest;
        }
    }
}

/// Returns the offset and header of the first frame after `at`, by its header alone.
pub(super) fn next_header(bytes: &[u8], at: usize, salt: u64) -> Option<(usize, FrameHeader)> {
    let from = (at + 8).next_multiple_of(8);
    if from >= bytes.len() {
        return None;
    }
    let blocks = (from / BLOCK * BLOCK..bytes.len()).step_by(BLOCK);
    let blocks = blocks.map(|block| block.max(from)..(block + BLOCK).min(bytes.len()));
    blocks
        .filter(|block| !is_zero(&bytes[block.clone()]))
        .flat_map(|block| block.step_by(8))
        .filter(|place| bytes[*place..].starts_with(FRAME_MAGIC))
        .find_map(|place| Some((place, FrameHeader::decode(&bytes[place..], salt)?)))
}

// ---- index

/// A batch in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) base: u64,
    pub(super) time: u64,
    pub(super) count: u32,
    pub(super) len: u32,
    /// The offset in the segment.
    pub(super) at: u32,
    /// The number of the segment.
    pub(super) segment: u32,
}

impl Entry {
    pub(super) fn end(&self) -> u64 {
        self.base.saturating_add(self.count.into())
    }

    pub(super) fn of(batch: &BatchRecord, segment: u32, at: u32) -> Self {
        Self {
            base: batch.base.0,
            time: batch.time.0,
            count: batch.count,
            len: batch.len,
            at,
            segment,
        }
    }
}

/// The batches of one topic in a segment: consecutive rows of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) segment: u32,
    pub(super) first_row: u32,
    pub(super) rows: u32,
    /// The first offset.
    pub(super) base: u64,
    /// The offset after the last one.
    pub(super) end: u64,
    /// The size of its batches.
    pub(super) bytes: u64,
    /// The greatest time of a batch.
    pub(super) newest: u64,
}

impl Run {
    pub(super) fn of(segment: u32, first_row: u32, entries: &[Entry]) -> Self {
        Self {
            segment,
            first_row,
            rows: len32(entries),
            base: entries.first().map_or(0, |entry| entry.base),
            end: entries.last().map_or(0, Entry::end),
            bytes: entries.iter().map(|entry| u64::from(entry.len)).sum(),
            newest: entries.iter().map(|entry| entry.time).max().unwrap_or(0),
        }
    }
}

/// Which segment an index belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexKey {
    pub(super) log: u64,
    pub(super) number: u32,
    pub(super) generation: u32,
}

/// The part of an index before its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) topics: Vec<(TopicId, Run)>,
    /// The offset in the file at which the rows begin.
    pub(super) rows_at: u64,
}

const INDEX_HEADER: usize = 64;
const INDEX_TOPIC: usize = 48;

fn directory_len(topics: usize) -> usize {
    (INDEX_HEADER + topics * INDEX_TOPIC + 4).next_multiple_of(INDEX_BLOCK)
}

/// Encodes an index. `entries` are sorted by topic and offset.
pub(super) fn encode_index(key: IndexKey, entries: &[(TopicId, Entry)]) -> (Vec<u8>, Directory) {
    let mut topics = Vec::new();
    let mut first_row = 0;
    for of_topic in entries.chunk_by(|a, b| a.0 == b.0) {
        let list: Vec<Entry> = of_topic.iter().map(|(_, entry)| *entry).collect();
        topics.push((of_topic[0].0, Run::of(key.number, first_row, &list)));
        first_row += len32(of_topic);
    }
    let mut out = INDEX_MAGIC.to_vec();
    put!(
        out,
        key.log,
        key.number,
        key.generation,
        len32(entries),
        len32(&topics)
    );
    let sum = crc32fast::hash(&out);
    put!(out, sum);
    out.resize(INDEX_HEADER, 0);
    let mut list = Vec::with_capacity(topics.len() * INDEX_TOPIC);
    for (topic, run) in &topics {
        put!(
            list,
            topic.0,
            run.first_row,
            run.rows,
            0u32,
            run.base,
            run.end,
            run.bytes,
            run.newest
        );
    }
    out.extend_from_slice(&list);
    put!(out, crc32fast::hash(&list));
    let rows_at = directory_len(topics.len());
    out.resize(rows_at, 0);
    for block in entries.chunks(ROWS_A_BLOCK as usize) {
        let mut rows = Vec::with_capacity(INDEX_BLOCK);
        for (_, entry) in block {
            put!(
                rows,
                entry.base,
                entry.time,
                entry.count,
                entry.len,
                entry.at,
                0u32
            );
        }
        rows.resize(ROWS_A_BLOCK as usize * INDEX_ROW, 0);
        let sum = crc32fast::hash(&rows);
        put!(rows, sum);
        rows.resize(INDEX_BLOCK, 0);
        out.extend_from_slice(&rows);
    }
    let rows_at = rows_at as u64;
    (out, Directory { topics, rows_at })
}

/// Decodes the header of an index: the number of bytes that [`decode_directory`] needs.
pub(super) fn decode_index_header(bytes: &[u8], key: IndexKey) -> Option<usize> {
    let mut fields = Fields(checked(bytes.get(..36)?)?);
    let is_index = fields.bytes(8)? == INDEX_MAGIC;
    let found = IndexKey {
        log: fields.u64()?,
        number: fields.u32()?,
        generation: fields.u32()?,
    };
    fields.u32()?;
    let topics = usize::try_from(fields.u32()?).ok()?;
    (is_index && found == key).then(|| INDEX_HEADER + topics * INDEX_TOPIC + 4)
}

pub(super) fn decode_directory(bytes: &[u8], number: u32) -> Option<Directory> {
    let mut fields = Fields(checked(bytes.get(INDEX_HEADER..)?)?);
    let mut topics = Vec::new();
    while !fields.is_empty() {
        let topic = TopicId(fields.u32()?);
        let (first_row, rows) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        let run = Run {
            segment: number,
            first_row,
            rows,
            base: fields.u64()?,
            end: fields.u64()?,
            bytes: fields.u64()?,
            newest: fields.u64()?,
        };
        topics.push((topic, run));
    }
    let rows_at = directory_len(topics.len()) as u64;
    Some(Directory { topics, rows_at })
}

/// Decodes a block of rows; `None` if it does not match its checksum.
pub(super) fn decode_rows(block: &[u8], segment: u32) -> Option<Vec<Entry>> {
    let end = ROWS_A_BLOCK as usize * INDEX_ROW;
    let mut fields = Fields(checked(block.get(..end + 4)?)?);
    let mut rows = Vec::with_capacity(ROWS_A_BLOCK as usize);
    while !fields.is_empty() {
        let (base, time, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let (len, at) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        rows.push(Entry {
            base,
            time,
            count,
            len,
            at,
            segment,
        });
    }
    Some(rows)
}

// ---- snapshot

/// An item of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    NextProducer(u64),
    NextTopic(u32),
    Topic {
        id: TopicId,
        first: Offset,
        next: Offset,
        retention: TopicRetention,
        name: TopicName,
    },
    Producer {
        id: ProducerId,
        instance: u64,
        seen: Timestamp,
        low: RequestId,
        name: String,
        entries: Vec<(RequestId, Offset, Timestamp, RequestContent)>,
    },
    Position {
        topic: TopicId,
        name: String,
        next: Offset,
    },
}

impl Item {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::NextProducer(next) => {
                out.push(1);
                put!(out, next);
            }
            Self::NextTopic(next) => {
                out.push(5);
                put!(out, next);
            }
            Self::Topic {
                id,
                first,
                next,
                retention,
                name,
            } => {
                let (max_age, max_bytes) = retention.to_numbers();
                out.push(2);
                put!(out, id.0, first.0, next.0, max_age, max_bytes);
                put_topic_name(out, name);
            }
            Self::Producer {
                id,
                instance,
                seen,
                low,
                name,
                entries,
            } => {
                out.push(3);
                put!(out, id.0, instance, seen.0, low.0);
                put_name(out, name);
                put!(out, len32(entries));
                for (request, base, time, content) in entries {
                    put!(out, request.0, base.0, time.0);
                    put!(out, content.topic, content.checksum);
                }
            }
            Self::Position { topic, name, next } => {
                out.push(4);
                put!(out, topic.0, next.0);
                put_name(out, name);
            }
        }
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.u8()? {
            1 => Self::NextProducer(fields.u64()?),
            2 => Self::Topic {
                id: TopicId(fields.u32()?),
                first: Offset(fields.u64()?),
                next: Offset(fields.u64()?),
                retention: fields.retention()?,
                name: fields.topic_name()?,
            },
            3 => {
                let (id, instance) = (ProducerId(fields.u64()?), fields.u64()?);
                let (seen, low) = (Timestamp(fields.u64()?), RequestId(fields.u64()?));
                let name = fields.name()?;
                let mut entries = Vec::new();
                for _ in 0..fields.u32()? {
                    let request = RequestId(fields.u64()?);
                    let (base, time) = (Offset(fields.u64()?), Timestamp(fields.u64()?));
                    let content = RequestContent {
                        topic: fields.u32()?,
                        checksum: fields.u32()?,
                    };
                    entries.push((request, base, time, content));
                }
                Self::Producer {
                    id,
                    instance,
                    seen,
                    low,
                    name,
                    entries,
                }
            }
            4 => {
                let (topic, next) = (TopicId(fields.u32()?), Offset(fields.u64()?));
                let name = fields.name()?;
                Self::Position { topic, name, next }
            }
            5 => Self::NextTopic(fields.u32()?),
            _ => return None,
        })
    }
}

/// Which snapshot a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotKey {
    pub(super) log: u64,
    pub(super) start: u64,
}

impl SnapshotKey {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = SNAPSHOT_MAGIC.to_vec();
        put!(out, self.log, self.start);
        let sum = crc32fast::hash(&out);
        put!(out, sum, 0u32);
        out
    }

    pub(super) fn is_header(self, bytes: &[u8]) -> bool {
        bytes == self.encode()
    }

    fn piece_crc(self, index: u64, items: &[u8]) -> u32 {
        let key = [
            self.log.to_le_bytes(),
            self.start.to_le_bytes(),
            index.to_le_bytes(),
        ];
        crc(&[&key[0], &key[1], &key[2], items])
    }

    /// Encodes a piece. One without items ends the snapshot.
    pub(super) fn encode_piece(self, index: u64, items: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(PIECE_HEADER + items.len());
        put!(out, len32(items), self.piece_crc(index, items));
        out.extend_from_slice(items);
        out
    }

    /// Returns the length of a piece and its checksum, from its header.
    pub(super) fn piece_header(header: [u8; PIECE_HEADER]) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = header;
        (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        )
    }

    /// Decodes the items of a piece; `None` if they do not match the checksum.
    pub(super) fn decode_piece(self, index: u64, sum: u32, items: &[u8]) -> Option<Vec<Item>> {
        if self.piece_crc(index, items) != sum {
            return None;
        }
        let mut fields = Fields(items);
        let mut decoded = Vec::new();
        while !fields.is_empty() {
            decoded.push(Item::decode(&mut fields)?);
        }
        Some(decoded)
    }
}
