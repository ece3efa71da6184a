//! Sans-I/O: the manifest, which lists the files that belong to the log.

use super::fields::{Fields, checked, len32, put};

const MAGIC: &[u8; 8] = b"ANABMAN2";

/// The files that belong to the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Manifest {
    /// Counts the manifests written.
    pub(crate) generation: u64,
    /// The identity of the log.
    pub(crate) log: u64,
    /// The first producer id of this log.
    pub(crate) first_producer: u64,
    /// The snapshots kept, oldest first.
    pub(crate) snapshots: Vec<SnapshotEntry>,
    /// The segments in the order of their numbers.
    pub(crate) segments: Vec<SegmentEntry>,
}

/// A snapshot in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotEntry {
    /// The first frame that is not part of it.
    pub(crate) start: u64,
    /// The length of the file.
    pub(crate) len: u64,
}

/// A segment in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u32,
    pub(crate) generation: u32,
    /// Whether it was compacted.
    pub(crate) compacted: bool,
    /// What a sealed segment holds; `None` for one that is not sealed.
    pub(crate) sealed: Option<Seal>,
    /// The length with which the file of a segment that is not sealed was made.
    pub(crate) len: u64,
}

/// The content of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seal {
    /// The number of its first frame.
    pub(crate) first: u64,
    /// The number after that of its last frame.
    pub(crate) next: u64,
    /// The link of its last frame.
    pub(crate) link: u64,
    /// The offset after its last frame.
    pub(crate) end: u64,
    /// The number of messages in it.
    pub(crate) messages: u64,
}

const SEALED: u32 = 1;
const COMPACTED: u32 = 2;

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
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

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(checked(bytes)?);
        if fields.bytes(8)? != MAGIC {
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
