//! Sans-I/O: the end mark, which says how far the log went at some moment.
//!
//! Zeros at the end of a log look like a frame that was never written. A mark that was synced elsewhere tells the difference.

use super::{
    fields::{Fields, checked, put},
    frame::SECTOR,
};

const MAGIC: &[u8; 8] = b"ANABEND2";
const MARK: usize = 52;

/// Where the log ended when the mark was written. Everything before it was on disk then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndMark {
    pub(crate) log: u64,
    /// The number of the next frame.
    pub(crate) next: u64,
    /// The link of the last one.
    pub(crate) link: u64,
    /// The segment that was written to.
    pub(crate) segment: u32,
    /// The offset after its last frame.
    pub(crate) end: u64,
    /// The messages in it.
    pub(crate) messages: u64,
}

impl EndMark {
    /// The length of the file: two slots, so that a mark that is torn leaves the one before it.
    pub(crate) const FILE: usize = 2 * SECTOR;

    /// Encodes a slot.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put!(
            out,
            self.log,
            self.next,
            self.link,
            self.segment,
            self.end,
            self.messages
        );
        let sum = crc32fast::hash(&out);
        put!(out, sum);
        out.resize(SECTOR, 0);
        out
    }

    fn decode_slot(slot: &[u8]) -> Option<Self> {
        let mut fields = Fields(checked(slot.get(..MARK + 4)?)?);
        if fields.bytes(8)? != MAGIC {
            return None;
        }
        Some(Self {
            log: fields.u64()?,
            next: fields.u64()?,
            link: fields.u64()?,
            segment: fields.u32()?,
            end: fields.u64()?,
            messages: fields.u64()?,
        })
    }

    /// Decodes the newest mark of a file.
    pub(crate) fn decode(file: &[u8]) -> Option<Self> {
        let slots = file.chunks(SECTOR).filter_map(Self::decode_slot);
        slots.max_by_key(|mark| mark.next)
    }
}
