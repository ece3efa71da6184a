//! Sans-I/O: the header of a segment, and the names of files.

use super::fields::{Fields, checked, put};

pub(crate) const SEGMENT_HEADER: usize = 64;

const MAGIC: &[u8; 8] = b"ANABSEG2";

/// The first 64 bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log: u64,
    pub(crate) number: u32,
    pub(crate) generation: u32,
    /// The number of the segment before it.
    pub(crate) before: u32,
    /// A random number in the checksums of its frames, so that bytes of a message are never taken for a frame.
    pub(crate) salt: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
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

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(checked(bytes.get(..SEGMENT_HEADER)?)?);
        if fields.bytes(8)? != MAGIC {
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
    pub(crate) fn decode_changed(bytes: &[u8]) -> Option<Self> {
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

pub(crate) fn segment_name(number: u32, generation: u32) -> String {
    format!("{number:010}.{generation:04}.seg")
}

pub(crate) fn index_name(number: u32, generation: u32) -> String {
    format!("{number:010}.{generation:04}.idx")
}

pub(crate) fn snapshot_name(start: u64) -> String {
    format!("{start:020}.snap")
}

/// Returns number and generation of a segment or an index, by the name of its file.
pub(crate) fn parse_name(name: &str, extension: &str) -> Option<(u32, u32)> {
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
pub(crate) fn parse_snapshot_name(name: &str) -> Option<u64> {
    let start = name.strip_suffix(".snap")?.parse().ok()?;
    (snapshot_name(start) == name).then_some(start)
}
