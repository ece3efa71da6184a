//! The space of what was trimmed.
//!
//! A sealed segment without batches is removed. One of which less than two thirds are still needed is compacted: its batches
//! are copied to a new file, which replaces it. Both only happen to segments that are older than the older of the two
//! snapshots kept, so that the log from there on can always be replayed. So the log uses at most 1.5 times what must be kept,
//! and beside that four segments (the one written to, the next one, the newest sealed one, and what waits for a snapshot),
//! the snapshots, and twice the size of a snapshot. A byte that is freed costs at most two bytes copied.

use std::{io, sync::atomic::Ordering::Relaxed};

use super::{
    super::catalog::TopicId,
    disk::{Disk, DiskFile, write_synced},
    files::{Name, read_block},
    format::{
        self, BatchRecord, Entry, FrameContext, IndexKey, Record, Run, SEGMENT_HEADER,
        SegmentHeader,
    },
    index::SegmentState,
    segments::write_index,
    shared::Shared,
};
use crate::{Offset, ProducerId, RequestId, Timestamp};

/// Bytes that are copied with one frame of a compacted segment.
const COPY: usize = 768 << 10;

/// The bytes of a batch record: a batch takes this in the log beside its content.
const BATCH_RECORD: u64 = 53;

impl Shared {
    /// Removes and compacts segments.
    pub(super) fn reclaim(&self, forced: bool) -> io::Result<()> {
        if forced {
            let mut writer = self.lock_writer();
            if writer
                .active
                .as_ref()
                .is_some_and(|active| active.has_frames())
            {
                self.roll(&mut writer, 0)?;
            }
            drop(writer);
            self.seal_rolled()?;
        }
        let mut snapshots = 0;
        loop {
            let (garbage, snapshot_len, floor) = {
                let manifest = self.lock_manifest();
                let newest = manifest.segments.iter().rev().find(|e| e.sealed.is_some());
                let newest = newest.map_or(0, |entry| entry.number);
                let state = self.state();
                let sealed = state
                    .index
                    .segments()
                    .filter(|(n, s)| s.rows_at > 0 && *n != newest);
                let garbage = sealed.filter(|(_, s)| is_garbage(s));
                let garbage: Vec<_> = garbage.map(|(n, s)| (n, *s)).collect();
                let snapshots = &manifest.snapshots;
                let floor = match snapshots.as_slice() {
                    [older, _] => older.start,
                    _ => 0,
                };
                (garbage, snapshots.last().map_or(0, |s| s.len), floor)
            };
            let ready: Vec<_> = garbage
                .iter()
                .filter(|(_, s)| s.next <= floor)
                .copied()
                .collect();
            if !ready.is_empty() {
                // What is removed must not come back as a topic's oldest batches when the log is replayed.
                self.write_pending(false)?;
            }
            for (number, segment) in &ready {
                match segment.batches {
                    0 => self.remove_segment(*number)?,
                    _ => self.compact(*number)?,
                }
            }
            let waiting: u64 = garbage
                .iter()
                .map(|(_, s)| s.end.saturating_sub(s.live))
                .sum();
            let enough = forced || waiting >= self.config.segment_bytes().max(2 * snapshot_len);
            if garbage.len() > ready.len() && enough && snapshots < 2 {
                // Two of them, with a frame between, and the older one is after everything that is sealed.
                snapshots += 1;
                self.write_pending(true)?;
                self.snapshot()?;
            } else if ready.is_empty() {
                return Ok(());
            }
        }
    }

    fn remove_segment(&self, number: u32) -> io::Result<()> {
        let mut manifest = self.lock_manifest();
        let Some(segment) = self
            .state()
            .index
            .segment(number)
            .filter(|s| s.batches == 0)
        else {
            return Ok(());
        };
        let mut new = manifest.clone();
        new.segments.retain(|entry| entry.number != number);
        self.write_manifest(&mut manifest, new)?;
        self.state().index.remove_segment(number);
        self.remove_files(number, segment.generation)
    }

    /// Copies the batches of a segment that are still needed to a new file, which takes its place.
    fn compact(&self, number: u32) -> io::Result<()> {
        let mut manifest = self.lock_manifest();
        let (runs, segment) = {
            let state = self.state();
            (state.index.runs_of(number), state.index.segment(number))
        };
        let Some(segment) = segment else {
            return Ok(());
        };
        let entry = manifest
            .segments
            .iter()
            .find(|entry| entry.number == number);
        let Some(mut entry) = entry.copied() else {
            return Ok(());
        };
        let generation = segment.generation + 1 + self.work.tries.fetch_add(1, Relaxed);
        let mut entries = Vec::new();
        for (topic, run) in &runs {
            let rows = self.all_rows(run, segment)?;
            entries.extend(rows.into_iter().map(|row| (*topic, row)));
        }
        let copied = self.copy(number, (segment.generation, generation), &entries)?;
        let Copied { name, end, .. } = &copied;
        self.disk.rename(&format!("{name}.new"), name)?;
        let key = IndexKey {
            log: self.log,
            number,
            generation,
        };
        let end = *end;
        let directory = write_index(&*self.disk, key, copied.entries)?;

        entry.generation = generation;
        entry.compacted = true;
        if let Some(seal) = &mut entry.sealed {
            seal.end = end;
            seal.messages = entries.iter().map(|(_, row)| u64::from(row.count)).sum();
        }
        let mut new = manifest.clone();
        if let Some(old) = new.segments.iter_mut().find(|old| old.number == number) {
            *old = entry;
        }
        self.write_manifest(&mut manifest, new)?;
        let mut state = self.state();
        let place = (generation, directory.rows_at, end);
        state.index.set_compacted(number, place, &directory.topics);
        drop(state);
        self.remove_files(number, segment.generation)
    }

    fn all_rows(&self, run: &Run, segment: SegmentState) -> io::Result<Vec<Entry>> {
        let file = self
            .files
            .get(Name::Index(run.segment, segment.generation))?;
        let mut rows = Vec::new();
        let (mut at, end) = (run.first_row, run.first_row + run.rows);
        while at < end {
            let block = read_block(&*file, (run.segment, segment.rows_at), at)?;
            let bad = || io::Error::other("the index of a segment does not match its checksum");
            let (first, block) = block.ok_or_else(bad)?;
            let upto = (end - first).min(format::ROWS_A_BLOCK);
            let wanted = block
                .get((at - first) as usize..upto as usize)
                .ok_or_else(bad)?;
            rows.extend_from_slice(wanted);
            at = first + upto;
        }
        Ok(rows)
    }

    /// Writes the compacted version of a segment.
    fn copy(
        &self,
        number: u32,
        (old, generation): (u32, u32),
        entries: &[(TopicId, Entry)],
    ) -> io::Result<Copied> {
        let source = self.files.get(Name::Segment(number, old))?;
        copy_batches(
            &*self.disk,
            (self.log, number, generation),
            &*source,
            entries,
        )
    }
}

/// A compacted segment that was written and not renamed yet.
#[derive(Debug)]
pub(super) struct Copied {
    /// Its name; that of the file has `.new` after it.
    pub(super) name: String,
    /// Its length.
    pub(super) end: u64,
    /// Where its batches are.
    pub(super) entries: Vec<(TopicId, Entry)>,
}

/// Writes batches of `source` to a new file of segment `number`, synced.
pub(super) fn copy_batches(
    disk: &dyn Disk,
    (log, number, generation): (u64, u32, u32),
    source: &dyn DiskFile,
    entries: &[(TopicId, Entry)],
) -> io::Result<Copied> {
    let name = format::segment_name(number, generation);
    let file = disk.create(&format!("{name}.new"))?;
    let header = SegmentHeader {
        log,
        number,
        generation,
        before: number.saturating_sub(1),
        salt: fastrand::u64(..),
    };
    file.write_at(&header.encode(), 0)?;
    let mut at = SEGMENT_HEADER as u64;
    let (mut frame, mut copied) = (Vec::new(), Vec::with_capacity(entries.len()));
    let (mut written, mut link) = (0, 0);
    let mut rest = entries;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(_, entry): &&(TopicId, Entry)| {
            bytes += entry.len as usize;
            bytes <= COPY
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, after) = rest.split_at(count);
        rest = after;
        let (mut head, mut batches) = (Vec::new(), Vec::with_capacity(count));
        for (topic, entry) in group {
            batch_record(*topic, entry).encode(&mut head);
            let mut batch = vec![0; entry.len as usize];
            source.read_at(&mut batch, entry.at.into())?;
            batches.push(batch);
        }
        let batches: Vec<&[u8]> = batches.iter().map(Vec::as_slice).collect();
        let context = FrameContext {
            salt: header.salt,
            at,
            number: written,
            previous: link,
        };
        let records = u32::try_from(count).unwrap_or(u32::MAX);
        let encoded = format::encode_frame(&mut frame, context, (records, &head), &batches);
        let mut place = at + encoded.body as u64;
        for (topic, entry) in group {
            let at = u32::try_from(place).unwrap_or(u32::MAX);
            copied.push((*topic, Entry { at, ..*entry }));
            place += u64::from(entry.len);
        }
        write_synced(&*file, &frame, at)?;
        at += frame.len() as u64;
        (written, link) = (written + 1, encoded.link);
    }
    file.sync()?;
    Ok(Copied {
        name,
        end: at,
        entries: copied,
    })
}

fn batch_record(topic: TopicId, entry: &Entry) -> Record {
    Record::Batch(BatchRecord {
        topic,
        base: Offset(entry.base),
        time: Timestamp(entry.time),
        count: entry.count,
        len: entry.len,
        producer: ProducerId(0),
        request: RequestId(0),
        low: RequestId(0),
        checksum: 0,
    })
}

/// Whether less than two thirds of a segment are still needed.
fn is_garbage(segment: &SegmentState) -> bool {
    let needed = segment.live + segment.batches * BATCH_RECORD;
    // Headers take some, and a small segment is not worth the work.
    let used = segment.end.saturating_sub(4096);
    segment.batches == 0 || needed.saturating_mul(3) < used.saturating_mul(2)
}
