//! The end of the log: the segment that is written to, the one after it, and those that wait to be sealed.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::catalog::TopicId,
    disk::DiskFile,
    format::{EndMark, Entry, SEGMENT_HEADER, Seal},
};
use crate::{Offset, ProducerId};

/// An empty segment that can be written to.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) len: u64,
    pub(super) file: Arc<dyn DiskFile>,
}

/// A segment that is written no further and not sealed yet.
#[derive(Debug)]
pub(super) struct Rolled {
    pub(super) number: u32,
    pub(super) seal: Seal,
    /// Its batches, in order.
    pub(super) entries: Vec<(TopicId, Entry)>,
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    /// The segment that is written to; `None` once closed.
    pub(super) active: Option<Active>,
    /// The number of the next frame.
    pub(super) next: u64,
    /// The link of the last frame.
    pub(super) link: u64,
    /// Trims that are applied and not written: the next frame brings them.
    pub(super) trims: BTreeMap<TopicId, Offset>,
    /// Producers that are forgotten, likewise.
    pub(super) forgotten: Vec<ProducerId>,
    /// Memory for the records of a frame, used again.
    pub(super) head: Vec<u8>,
    /// Memory for a frame, likewise.
    pub(super) frame: Vec<u8>,
}

impl Writer {
    pub(super) fn new(next: u64, link: u64) -> Self {
        Self {
            active: None,
            next,
            link,
            trims: BTreeMap::new(),
            forgotten: Vec::new(),
            head: Vec::new(),
            frame: Vec::new(),
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.trims.is_empty() || !self.forgotten.is_empty()
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    /// The offset after the last frame.
    pub(super) at: u64,
    /// The number of its first frame, and the link before it.
    pub(super) first: (u64, u64),
    pub(super) messages: u64,
    pub(super) entries: Vec<(TopicId, Entry)>,
}

impl Active {
    pub(super) fn new(segment: Prepared, next: u64, link: u64) -> Self {
        Self {
            number: segment.number,
            salt: segment.salt,
            file: segment.file,
            len: segment.len,
            at: SEGMENT_HEADER as u64,
            first: (next, link),
            messages: 0,
            entries: Vec::new(),
        }
    }

    /// Returns where the log ends.
    pub(super) fn end(&self, log: u64, next: u64, link: u64) -> EndMark {
        EndMark {
            log,
            next,
            link,
            segment: self.number,
            end: self.at,
            messages: self.messages,
        }
    }

    pub(super) fn has_frames(&self) -> bool {
        self.at > SEGMENT_HEADER as u64
    }

    /// Ends the segment where its last frame ends.
    pub(super) fn roll(self, next: u64, link: u64) -> Rolled {
        let seal = Seal {
            first: self.first.0,
            next,
            link,
            end: self.at,
            messages: self.messages,
        };
        Rolled {
            number: self.number,
            seal,
            entries: self.entries,
        }
    }
}
