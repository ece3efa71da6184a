//! All of a segment, past what is damaged in it: for checking, for repairs, and for verifying while the store runs.

use std::{io, sync::Arc};

use super::{
    super::catalog::TopicId,
    disk::DiskFile,
    format::{BatchRecord, Entry, Frame, is_intact},
    frames::{Damaged, Found, Frames},
};

/// A part of a segment.
#[derive(Debug)]
pub(super) enum Part {
    /// A frame that matches its checksums.
    Whole(Box<Frame>),
    /// A frame of which the records match and the batches do not.
    Content {
        frame: Box<Frame>,
        /// The batches that do not match their own checksums.
        damaged: Vec<BatchRecord>,
    },
    /// Frames that cannot be read.
    Unreadable(Unreadable),
    /// The frame that was being written when the power was cut.
    Torn,
}

/// A gap between what can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unreadable {
    pub(super) at: u64,
    /// Its length. A message takes at least a byte, so it holds at most that many.
    pub(super) bytes: u64,
    /// The number of the first frame that is missing.
    pub(super) first: u64,
    /// The number after that of the last one, if a frame behind it tells.
    pub(super) next: Option<u64>,
}

/// Walks through a segment.
#[derive(Debug)]
pub(super) struct Walk {
    file: Arc<dyn DiskFile>,
    frames: Frames,
    /// The number of the next frame.
    pub(super) number: u64,
    /// The link of the frame before, if that could be read.
    pub(super) link: Option<u64>,
    /// A torn frame may be at the end: nothing says how far the segment goes.
    may_be_torn: bool,
    /// Batches of whole frames that were stored with a checksum they do not match.
    pub(super) stored_bad: Vec<BatchRecord>,
    checks_batches: bool,
}

impl Walk {
    /// Walks up to `limit`. A segment whose end is not known may end in a torn frame.
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        salt: u64,
        (limit, is_known): (u64, bool),
        number: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            frames: Frames::new(Arc::clone(&file), salt, limit)?,
            file,
            number,
            link: None,
            may_be_torn: !is_known,
            stored_bad: Vec::new(),
            checks_batches: false,
        })
    }

    /// Also checks the batches of whole frames against the checksums that they begin with.
    pub(super) fn check_batches(&mut self) {
        self.checks_batches = true;
    }

    /// Returns the offset after the last part.
    pub(super) const fn at(&self) -> u64 {
        self.frames.at()
    }

    /// Returns the next part; `None` at the end.
    pub(super) fn part(&mut self) -> io::Result<Option<Part>> {
        let at = self.frames.at();
        if at >= self.frames.limit() {
            return Ok(None);
        }
        match self.frames.look()? {
            Found::Nothing if self.may_be_torn => Ok(None),
            Found::Nothing => {
                let end = self.frames.limit();
                self.gap(at, end, None)
            }
            Found::Frame(frame) if frame.header.number == self.number => {
                self.number += 1;
                self.link = Some(frame.header.link());
                if self.checks_batches {
                    let bad = self.bad_batches(&frame)?;
                    self.stored_bad.extend(bad);
                }
                Ok(Some(Part::Whole(frame)))
            }
            // The next look finds it again, as the one that is expected.
            Found::Frame(frame) if frame.header.number > self.number => {
                let number = frame.header.number;
                self.gap(at, at, Some(number))
            }
            // A frame that was there before is no part of the log a second time.
            Found::Frame(frame) => {
                let end = frame.end() as u64;
                self.gap(at, end, Some(self.number))
            }
            Found::Torn(known) => {
                let behind = self.behind(at)?;
                if behind.is_none() && self.may_be_torn {
                    self.frames.go_to(self.frames.limit());
                    return Ok(Some(Part::Torn));
                }
                self.damaged(at, known, behind)
            }
            Found::Damaged(known) => {
                let behind = self.behind(at)?;
                self.damaged(at, known, behind)
            }
        }
    }

    /// Returns place and number of the first frame behind `at` that can be the next one or a later one.
    fn behind(&mut self, at: u64) -> io::Result<Option<(u64, u64)>> {
        let mut from = at;
        loop {
            match self.frames.next_header(from)? {
                Some((place, header)) if header.number >= self.number => {
                    return Ok(Some((place, header.number)));
                }
                Some((place, _)) => from = place,
                None => return Ok(None),
            }
        }
    }

    fn damaged(
        &mut self,
        at: u64,
        known: Damaged,
        behind: Option<(u64, u64)>,
    ) -> io::Result<Option<Part>> {
        let limit = self.frames.limit();
        match known {
            Damaged {
                header: Some(header),
                frame,
            } if header.number == self.number && at + header.len as u64 <= limit => {
                let end = at + header.len as u64;
                let Some(frame) = frame else {
                    return self.gap(at, end, Some(self.number + 1));
                };
                self.number += 1;
                self.link = Some(header.link());
                self.frames.go_to(end);
                let damaged = self.bad_batches(&frame)?;
                Ok(Some(Part::Content { frame, damaged }))
            }
            _ => match behind {
                Some((place, number)) => self.gap(at, place, Some(number)),
                None => self.gap(at, limit, None),
            },
        }
    }

    fn gap(&mut self, at: u64, end: u64, next: Option<u64>) -> io::Result<Option<Part>> {
        let first = self.number;
        self.frames.go_to(end);
        self.number = next.unwrap_or(first).max(first);
        self.link = None;
        Ok(Some(Part::Unreadable(Unreadable {
            at,
            bytes: end - at,
            first,
            next,
        })))
    }

    fn bad_batches(&self, frame: &Frame) -> io::Result<Vec<BatchRecord>> {
        let mut bad = Vec::new();
        let mut content = Vec::new();
        for (batch, at) in frame.batches() {
            content.resize(batch.len as usize, 0);
            self.file.read_at(&mut content, at as u64)?;
            if !is_intact(&content) {
                bad.push(*batch);
            }
        }
        Ok(bad)
    }
}

/// Returns the batches of a frame of segment `number`, but for those that are damaged.
pub(super) fn intact_entries(
    frame: &Frame,
    number: u32,
    damaged: &[BatchRecord],
) -> Vec<(TopicId, Entry)> {
    let batches = frame.batches();
    let intact = batches.filter(|(batch, _)| !damaged.contains(batch));
    let entry = |(batch, at): (&BatchRecord, usize)| {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        (batch.topic, Entry::of(batch, number, at))
    };
    intact.map(entry).collect()
}

/// Counts the messages of batches.
pub(super) fn count<'a>(batches: impl IntoIterator<Item = &'a BatchRecord>) -> u64 {
    let counts = batches.into_iter().map(|batch| u64::from(batch.count));
    counts.sum()
}
