//! Reading batches, and checking them.

use std::io;

use bytes::Bytes;

use super::{
    super::{StoreError, StoredBatch},
    disk::DiskFile,
    files::{Name, read_block},
    format::{Entry, Run, is_intact},
    index::{Place, SegmentState},
    shared::Shared,
};
use crate::{Offset, Timestamp, TopicName};

/// Entries that are looked up at a time.
const ENTRIES: usize = 1024;

/// Batches with fewer bytes than this between them are read with one call.
const GAP: u32 = 4096;

/// The most bytes read with one call.
const CALL: u32 = 1 << 20;

/// Attempts to find a batch whose segment is being compacted or removed meanwhile.
const ATTEMPTS: usize = 16;

impl Shared {
    /// Reads batches of a topic from the one that contains `from` on, until `max_bytes` are reached. A damaged batch ends what
    /// is read, or is the error if it is the first.
    pub(super) fn read(
        &self,
        name: &TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        let mut read: Vec<StoredBatch> = Vec::new();
        let (mut next, mut left) = (from, max_bytes);
        loop {
            match self.read_some(name, next, (left, read.is_empty())) {
                Ok(some) => {
                    let Some(last) = some.batches.last() else {
                        break;
                    };
                    next = last.end();
                    let bytes: usize = some.batches.iter().map(|batch| batch.batch.len()).sum();
                    left = left.saturating_sub(bytes);
                    read.extend(some.batches);
                    if some.is_last || left == 0 {
                        break;
                    }
                }
                Err(error) if read.is_empty() => return Err(error),
                // The next read begins with it and reports it.
                Err(_) => break,
            }
        }
        Ok(read)
    }

    fn read_some(
        &self,
        name: &TopicName,
        from: Offset,
        (max_bytes, is_first): (usize, bool),
    ) -> Result<Part, StoreError> {
        let mut attempts = 0;
        loop {
            let entries = match self.entries(name, from, max_bytes) {
                Err(Missing::Moved(_)) if attempts < ATTEMPTS => {
                    attempts += 1;
                    continue;
                }
                other => other.map_err(|e| e.into_error(name, from))?,
            };
            let mut bytes = 0usize;
            let fits = |(n, (entry, _)): &(usize, (Entry, u32))| {
                bytes = bytes.saturating_add(entry.len as usize);
                bytes <= max_bytes || (is_first && *n == 0)
            };
            let found = entries.len();
            let entries = entries.into_iter().enumerate().take_while(fits);
            let entries: Vec<_> = entries.map(|(_, entry)| entry).collect();
            let is_last = entries.len() < found;
            match self.batches(name, &entries) {
                Err(Missing::Moved(_)) if attempts < ATTEMPTS => attempts += 1,
                batches => {
                    let batches = batches.map_err(|e| e.into_error(name, from))?;
                    return Ok(Part { batches, is_last });
                }
            }
        }
    }

    /// Returns where the batches from `from` on are, at least one if there is one, with the generations of their segments.
    fn entries(
        &self,
        name: &TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<(Entry, u32)>, Missing> {
        let place = {
            let state = self.open_state().map_err(Missing::Error)?;
            let topic = state.catalog.topic(name);
            let topic = topic.ok_or(Missing::Error(StoreError::UnknownTopic))?;
            let from = from.max(topic.first);
            state.index.find(topic.id, from.0, ENTRIES, max_bytes)
        };
        Ok(match place {
            Place::None => Vec::new(),
            Place::Entries(entries) => entries,
            Place::Rows(run, segment) => {
                let rows = self.rows_from(&run, segment, from.0, max_bytes)?;
                rows.into_iter()
                    .map(|entry| (entry, segment.generation))
                    .collect()
            }
        })
    }

    /// Returns the rows of a run from the one that contains `from` on: one block of them, or more until they have `max_bytes`.
    fn rows_from(
        &self,
        run: &Run,
        segment: SegmentState,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, Missing> {
        let file = self
            .files
            .get(Name::Index(run.segment, segment.generation))?;
        let block = |row| match read_block(&*file, (run.segment, segment.rows_at), row)? {
            Some(block) => Ok(block),
            None => Err(Missing::Damaged(format!(
                "the index of segment {} does not match its checksum",
                run.segment
            ))),
        };
        // The first row whose end is after `from`, by bisection.
        let (mut low, mut high) = (run.first_row, run.first_row + run.rows);
        let mut held: Option<(u32, Vec<Entry>)> = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let (first, rows) = block(middle)?;
            let Some(entry) = rows.get((middle - first) as usize) else {
                return Err(Missing::Damaged("an index is too short".to_owned()));
            };
            if entry.end() > from {
                high = middle;
            } else {
                low = middle + 1;
            }
            held = Some((first, rows));
        }
        let end = run.first_row + run.rows;
        let (mut found, mut bytes) = (Vec::new(), 0usize);
        while low < end && (found.is_empty() || (bytes <= max_bytes && found.len() < ENTRIES)) {
            let (first, rows) = match held.take() {
                Some((first, rows)) if first <= low && ((low - first) as usize) < rows.len() => {
                    (first, rows)
                }
                _ => block(low)?,
            };
            let upto = (end - first).min(u32::try_from(rows.len()).unwrap_or(0));
            let Some(wanted) = rows.get((low - first) as usize..upto as usize) else {
                return Err(Missing::Damaged("an index is too short".to_owned()));
            };
            found.extend_from_slice(wanted);
            bytes += wanted.iter().map(|entry| entry.len as usize).sum::<usize>();
            low = first + upto;
        }
        Ok(found)
    }

    /// Returns the first rows of a run, at most `most`, for a trim. Also used while the log is opened.
    pub(super) fn first_rows(
        &self,
        run: &Run,
        segment: SegmentState,
    ) -> Result<Vec<Entry>, Missing> {
        self.rows_from(run, segment, run.base, 0)
    }

    fn batches(
        &self,
        name: &TopicName,
        entries: &[(Entry, u32)],
    ) -> Result<Vec<StoredBatch>, Missing> {
        let joins = |a: &(Entry, u32), b: &(Entry, u32)| {
            let end = a.0.at.saturating_add(a.0.len);
            let same = a.0.segment == b.0.segment && a.1 == b.1;
            same && (end..=end.saturating_add(GAP)).contains(&b.0.at)
        };
        let mut calls: Vec<&[(Entry, u32)]> = Vec::new();
        for mut group in entries.chunk_by(joins) {
            while !group.is_empty() {
                let start = group[0].0.at;
                let in_call = |(e, _): &(Entry, u32)| e.at.saturating_add(e.len) - start <= CALL;
                let count = group
                    .iter()
                    .take_while(|entry| in_call(entry))
                    .count()
                    .max(1);
                let (call, rest) = group.split_at(count);
                calls.push(call);
                group = rest;
            }
        }
        if calls.len() > 1 {
            for call in &calls {
                let (first, last) = (&call[0], &call[call.len() - 1]);
                let file = self.files.get(Name::Segment(first.0.segment, first.1))?;
                let end = last.0.at.saturating_add(last.0.len);
                file.will_need(first.0.at.into(), (end - first.0.at).into());
            }
        }
        let mut batches = Vec::with_capacity(entries.len());
        for call in calls {
            match self.call(name, call, &mut batches) {
                Ok(()) => {}
                // What is before the damage is read; the next read begins with it.
                Err(_) if !batches.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batches)
    }

    fn call(
        &self,
        name: &TopicName,
        call: &[(Entry, u32)],
        batches: &mut Vec<StoredBatch>,
    ) -> Result<(), Missing> {
        let (first, generation) = call[0];
        let last = call[call.len() - 1].0;
        let file = self.files.get(Name::Segment(first.segment, generation))?;
        let len = last.at.saturating_add(last.len) - first.at;
        match read_range(&*file, first.at, len) {
            Ok(bytes) => {
                for (entry, _) in call {
                    let at = (entry.at - first.at) as usize;
                    let batch = bytes.slice(at..at + entry.len as usize);
                    batches.push(self.checked(name, entry, batch)?);
                }
            }
            Err(_) if call.len() > 1 => {
                for (entry, _) in call {
                    let bytes = read_range(&*file, entry.at, entry.len)?;
                    batches.push(self.checked(name, entry, bytes)?);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn checked(
        &self,
        name: &TopicName,
        entry: &Entry,
        batch: Bytes,
    ) -> Result<StoredBatch, Missing> {
        let base = Offset(entry.base);
        if !is_intact(&batch) {
            self.found_damaged(name, base, entry.count);
            return Err(Missing::Error(StoreError::Corrupt(format!(
                "topic {name}, offset {base}: the batch does not match its checksum"
            ))));
        }
        Ok(StoredBatch {
            base,
            count: entry.count,
            time: Timestamp(entry.time),
            batch,
        })
    }

    /// Returns the offset after the batch that contains `offset`, or the end of the topic if there is none.
    #[cfg(feature = "spool")]
    pub(super) fn end_behind(
        &self,
        name: &TopicName,
        offset: Offset,
    ) -> Result<Offset, StoreError> {
        let topic = self.open_state()?.catalog.topic(name);
        let topic = topic.ok_or(StoreError::UnknownTopic)?;
        let entries = self
            .entries(name, offset, 0)
            .map_err(|e| e.into_error(name, offset))?;
        Ok(entries
            .first()
            .map_or(topic.next, |(entry, _)| Offset(entry.end())))
    }
}

/// A part of what is read.
struct Part {
    batches: Vec<StoredBatch>,
    /// More would not fit.
    is_last: bool,
}

fn read_range(file: &dyn DiskFile, at: u32, len: u32) -> io::Result<Bytes> {
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, at.into())?;
    Ok(bytes.into())
}

/// Why a batch could not be read.
#[derive(Debug)]
pub(super) enum Missing {
    /// Its file does not exist any more: the segment has been compacted or removed.
    Moved(io::Error),
    Io(io::Error),
    Damaged(String),
    Error(StoreError),
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A segment that is being removed is shortened first.
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Self::Moved(error),
            _ => Self::Io(error),
        }
    }
}

impl Missing {
    pub(super) fn into_error(self, topic: &TopicName, at: Offset) -> StoreError {
        let said = |why: &dyn std::fmt::Display| format!("topic {topic}, offset {at}: {why}");
        match self {
            Self::Error(error) => error,
            Self::Damaged(why) => StoreError::Corrupt(said(&why)),
            Self::Moved(e) => {
                StoreError::Corrupt(said(&format!("its segment is missing or too short: {e}")))
            }
            Self::Io(e) => StoreError::Failed(said(&e)),
        }
    }
}
