//! What a log needs beside appends: the next segment, seals and indexes of full ones, snapshots, and the removal of what was
//! trimmed. A thread of the store does it, or the caller where there is none.
//!
//! Nothing in here writes more than 1 MiB between two syncs, and large files are shortened in steps before they are removed:
//! a burst of writes or discards delays the next sync of the log by milliseconds.
//!
//! # Space
//!
//! A sealed segment without batches is removed. One of which less than two thirds are still needed is compacted: its batches
//! are copied to a new file, which replaces it. Both only happen to segments that are older than the older of the two
//! snapshots kept, so that the log from there on can always be replayed. So the log uses at most 1.5 times what must be kept,
//! and beside that four segments (the one written to, the next one, the newest sealed one, and what waits for a snapshot),
//! the snapshots, and twice the size of a snapshot. A byte that is freed costs at most two bytes copied.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    super::catalog::{Catalog, Producer, TopicId},
    disk::{Disk, DiskFile, replace},
    files::{Name, read_block},
    format::{
        self, BatchRecord, Entry, FrameContext, IndexKey, Item, Manifest, Record, Run,
        SEGMENT_HEADER, SegmentEntry, SegmentHeader, SnapshotEntry, SnapshotKey,
    },
    index::SegmentState,
    shared::{Prepared, Rolled, Shared, make_segment, write_index},
    write_guard::Room,
};
use crate::{ProducerId, RequestId, Timestamp, time};

/// Bytes of a snapshot that are encoded at a time, while the state is locked.
const PIECE: usize = 256 << 10;

/// Bytes that are copied with one frame of a compacted segment.
const COPY: usize = 768 << 10;

/// Bytes by which a file is shortened at a time.
const STEP: u64 = 1 << 20;

/// The space of the `reserve` file, from which the manifest is written when the disk is full.
const RESERVE: u64 = 256 << 10;

/// The bytes of a batch record: a batch takes this in the log beside its content.
const BATCH_RECORD: u64 = 53;

/// What the maintenance of a store shares with its calls.
#[derive(Debug)]
pub(super) struct Work {
    state: Mutex<WorkState>,
    woken: Condvar,
    /// Generations of compacted segments and names of files that were tried.
    tries: AtomicU32,
}

#[derive(Debug, Default)]
struct WorkState {
    prepared: Option<Prepared>,
    has_reserve: bool,
    wanted: bool,
    stopped: bool,
    thread: Option<JoinHandle<()>>,
}

impl Work {
    pub(super) fn new(prepared: Option<Prepared>) -> Self {
        let state = WorkState {
            prepared,
            ..WorkState::default()
        };
        Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
            tries: AtomicU32::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, WorkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the maintenance run.
    pub(super) fn wake(&self) {
        self.state().wanted = true;
        self.woken.notify_one();
    }

    /// Takes back a segment that was not used.
    pub(super) fn give_back(&self, prepared: Prepared) {
        self.state().prepared = Some(prepared);
    }

    /// Lets go of the next segment.
    pub(super) fn clear(&self) {
        self.state().prepared = None;
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        let thread = {
            let mut state = self.state();
            state.stopped = true;
            state.thread.take()
        };
        self.woken.notify_one();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Waits until there is something to do. `false` at the end.
    fn wait(&self) -> bool {
        let mut state = self.state();
        while !state.wanted && !state.stopped {
            state = self
                .woken
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.wanted = false;
        !state.stopped
    }

    fn has_thread(&self) -> bool {
        self.state().thread.is_some()
    }
}

/// Starts the thread of a store.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let worker = Arc::clone(shared);
    let thread = thread::Builder::new().name("anabranch-log".to_owned());
    let thread = thread.spawn(move || {
        while worker.work.wait() {
            worker.maintain_and_log(false);
        }
    })?;
    shared.work.state().thread = Some(thread);
    shared.work.wake();
    Ok(())
}

impl Shared {
    fn maintain_and_log(&self, forced: bool) {
        if let Err(error) = self.maintain(forced) {
            tracing::warn!(%error, "the maintenance of the log failed");
        }
    }

    /// Runs the maintenance in the calling thread, if the store has no thread for it and it is wanted.
    pub(super) fn maintain_here(&self) {
        if !self.work.has_thread() && std::mem::take(&mut self.work.state().wanted) {
            self.maintain_and_log(false);
        }
    }

    /// Does what is due. If `forced`, gives back all space that can be given back.
    pub(super) fn maintain(&self, forced: bool) -> io::Result<()> {
        if matches!(self.state().health, super::shared::Health::Closed) {
            return Ok(());
        }
        let prepared = self.prepare();
        self.seal_rolled()?;
        if self.is_snapshot_due() {
            self.snapshot()?;
        }
        self.reclaim(forced)?;
        prepared
    }

    // ---- manifest

    fn write_manifest(&self, current: &mut Manifest, mut new: Manifest) -> io::Result<()> {
        new.generation = current.generation + 1;
        let bytes = new.encode();
        let mut written = replace(&*self.disk, "manifest", &bytes);
        if written.is_err() && std::mem::take(&mut self.work.state().has_reserve) {
            self.disk.remove("reserve")?;
            written = replace(&*self.disk, "manifest", &bytes);
        }
        written?;
        *current = new;
        Ok(())
    }

    // ---- the next segment

    /// Makes the next segment, if there is none.
    fn prepare(&self) -> io::Result<()> {
        let mut manifest = self.lock_manifest();
        if self.work.state().prepared.is_some() {
            return Ok(());
        }
        let before = manifest.segments.last().map_or(0, |entry| entry.number);
        let number = before + 1;
        let len = self.config.segment_bytes();
        let prepared = make_segment(&*self.disk, (self.log, number, before), len)?;
        let mut new = manifest.clone();
        new.segments.push(SegmentEntry {
            number,
            generation: 0,
            compacted: false,
            sealed: None,
            len,
        });
        self.write_manifest(&mut manifest, new)?;
        self.work.state().prepared = Some(prepared);
        if !self.work.state().has_reserve {
            let made = self
                .disk
                .create("reserve")
                .and_then(|file| file.allocate(RESERVE));
            self.work.state().has_reserve = made.is_ok();
        }
        Ok(())
    }

    /// Notes the length of a segment that was made longer, so that it is missed where a part of it is.
    pub(super) fn note_length(&self, number: u32, len: u64) -> io::Result<()> {
        let mut manifest = self.lock_manifest();
        let mut new = manifest.clone();
        if let Some(entry) = new.segments.iter_mut().find(|e| e.number == number) {
            entry.len = len;
        }
        self.write_manifest(&mut manifest, new)
    }

    /// Takes the next segment, making it if there is none.
    pub(super) fn take_prepared(&self) -> io::Result<Prepared> {
        loop {
            if let Some(prepared) = self.work.state().prepared.take() {
                return Ok(prepared);
            }
            self.prepare()?;
        }
    }

    // ---- seals

    /// Seals full segments: writes their indexes, notes their ends in the manifest, and gives back the space after them.
    pub(super) fn seal_rolled(&self) -> io::Result<()> {
        loop {
            let mut manifest = self.lock_manifest();
            let Some(rolled) = self.state().rolled.pop_front() else {
                return Ok(());
            };
            if let Err(error) = self.seal(&mut manifest, &rolled) {
                self.state().rolled.push_front(rolled);
                return Err(error);
            }
        }
    }

    fn seal(&self, manifest: &mut Manifest, rolled: &Rolled) -> io::Result<()> {
        let number = rolled.number;
        let file = self.disk.open(&format::segment_name(number, 0))?;
        if !self.syncs() {
            file.sync()?;
        }
        let key = IndexKey {
            log: self.log,
            number,
            generation: 0,
        };
        let directory = write_index(&*self.disk, key, rolled.entries.clone())?;
        let mut new = manifest.clone();
        if let Some(entry) = new.segments.iter_mut().find(|entry| entry.number == number) {
            entry.sealed = Some(rolled.seal);
        }
        self.write_manifest(manifest, new)?;
        let mut state = self.state();
        state
            .index
            .set_indexed(number, directory.rows_at, &directory.topics);
        drop(state);
        // The space is not needed to be safe, so a failure does not matter.
        if let Err(error) = self.shrink(&*file, rolled.seal.end) {
            tracing::debug!(%error, number, "the end of a segment was not given back");
        }
        Ok(())
    }

    fn shrink(&self, file: &dyn DiskFile, to: u64) -> io::Result<()> {
        let mut len = file.len()?;
        let pauses = self.work.has_thread();
        while len > to {
            len = len.saturating_sub(STEP).max(to);
            file.shrink(len)?;
            if pauses && len > to {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Removes a segment and its index, which are no part of the log any more.
    fn remove_files(&self, number: u32, generation: u32) -> io::Result<()> {
        let (segment, index) = (
            format::segment_name(number, generation),
            format::index_name(number, generation),
        );
        let file = self.disk.open(&segment)?;
        self.shrink(&*file, SEGMENT_HEADER as u64)?;
        drop(file);
        self.files.close(Name::Segment(number, generation));
        self.files.close(Name::Index(number, generation));
        self.disk.remove(&segment)?;
        self.disk.remove(&index)
    }

    // ---- snapshots

    fn is_snapshot_due(&self) -> bool {
        let last = self
            .lock_manifest()
            .snapshots
            .last()
            .map_or(0, |snapshot| snapshot.len);
        self.state().unsnapshotted >= self.config.segment_bytes().max(4 * last)
    }

    /// Writes a snapshot of the catalog. Appends go on meanwhile.
    pub(super) fn snapshot(&self) -> io::Result<()> {
        let mut manifest = self.lock_manifest();
        let (start, counted) = {
            let state = self.state();
            (state.next_frame, state.unsnapshotted)
        };
        if manifest
            .snapshots
            .last()
            .is_some_and(|last| last.start == start)
        {
            return Ok(());
        }
        let key = SnapshotKey {
            log: self.log,
            start,
        };
        let len = write_snapshot(&*self.disk, key, |cursor, items| {
            encode_some(&self.state().catalog, cursor, items)
        })?;
        let mut new = manifest.clone();
        new.snapshots.push(SnapshotEntry { start, len });
        let old = new.snapshots.len().saturating_sub(2);
        let old: Vec<_> = new.snapshots.drain(..old).collect();
        self.write_manifest(&mut manifest, new)?;
        {
            let mut state = self.state();
            state.unsnapshotted = state.unsnapshotted.saturating_sub(counted);
        }
        for snapshot in old {
            let name = format::snapshot_name(snapshot.start);
            let file = self.disk.open(&name)?;
            self.shrink(&*file, 0)?;
            self.disk.remove(&name)?;
        }
        Ok(())
    }

    // ---- space

    /// Removes and compacts segments.
    fn reclaim(&self, forced: bool) -> io::Result<()> {
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

    /// Writes the trims that are outstanding; a frame in any case if `always`, so that two snapshots differ.
    pub(super) fn write_pending(&self, always: bool) -> io::Result<()> {
        let mut guard = self.write_guard(time::now()).map_err(io::Error::other)?;
        if !always && !guard.writer.has_pending() {
            return Ok(());
        }
        let written = guard.commit(Room::Small, &[], &[], |_| {});
        written.map_err(|e| io::Error::other(e.why().to_owned()))
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
        super::disk::write_synced(&*file, &frame, at)?;
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
        base: crate::Offset(entry.base),
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

/// Writes a snapshot, of which `some` encodes some items from a cursor on and returns the next one. Returns its length.
pub(super) fn write_snapshot(
    disk: &dyn Disk,
    key: SnapshotKey,
    mut some: impl FnMut(Cursor, &mut Vec<u8>) -> Cursor,
) -> io::Result<u64> {
    let name = format::snapshot_name(key.start);
    let new = format!("{name}.new");
    let file = disk.create(&new)?;
    let mut at = 0;
    let mut write = |bytes: &[u8]| -> io::Result<()> {
        super::disk::write_synced(&*file, bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    };
    write(&key.encode())?;
    let (mut pieces, mut cursor) = (0, Cursor::Topics(None));
    while !matches!(cursor, Cursor::End) {
        let mut items = Vec::new();
        while items.len() < PIECE && !matches!(cursor, Cursor::End) {
            cursor = some(cursor, &mut items);
        }
        if !items.is_empty() {
            write(&key.encode_piece(pieces, &items))?;
            pieces += 1;
        }
    }
    write(&key.encode_piece(pieces, &[]))?;
    disk.rename(&new, &name)?;
    disk.sync_folder()?;
    Ok(at)
}

/// Encodes some items of the catalog from `cursor` on.
pub(super) fn encode_some(catalog: &Catalog, cursor: Cursor, out: &mut Vec<u8>) -> Cursor {
    match cursor {
        Cursor::Topics(after) => {
            let mut last = None;
            for (name, topic) in catalog.topics_after(after.as_ref()) {
                let item = Item::Topic {
                    id: topic.id,
                    first: topic.first,
                    next: topic.next,
                    retention: topic.retention,
                    name: name.clone(),
                };
                item.encode(out);
                last = Some(name.clone());
                if out.len() >= PIECE {
                    break;
                }
            }
            match last {
                Some(last) if out.len() >= PIECE => Cursor::Topics(Some(last)),
                _ => {
                    Item::NextProducer(catalog.producer_numbers().1).encode(out);
                    Item::NextTopic(catalog.next_topic()).encode(out);
                    Cursor::Producers(catalog.producer_ids())
                }
            }
        }
        Cursor::Producers(mut ids) => {
            while let Some(id) = ids.pop() {
                if let Some(producer) = catalog.producer(id) {
                    producer_item(id, producer).encode(out);
                }
                if out.len() >= PIECE {
                    return Cursor::Producers(ids);
                }
            }
            Cursor::Positions(None)
        }
        Cursor::Positions(after) => {
            let mut last = None;
            for ((topic, name), next) in catalog.positions_after(after) {
                let item = Item::Position {
                    topic: *topic,
                    name: name.clone(),
                    next: *next,
                };
                item.encode(out);
                last = Some((*topic, name.clone()));
                if out.len() >= PIECE {
                    break;
                }
            }
            match last {
                Some(last) if out.len() >= PIECE => Cursor::Positions(Some(last)),
                _ => Cursor::End,
            }
        }
        Cursor::End => Cursor::End,
    }
}

/// How far a snapshot has come.
#[derive(Debug)]
pub(super) enum Cursor {
    Topics(Option<crate::TopicName>),
    Producers(Vec<ProducerId>),
    Positions(Option<(TopicId, String)>),
    End,
}

fn producer_item(id: ProducerId, producer: &Producer) -> Item {
    let window = &producer.window;
    let entries = window.since(RequestId(0));
    Item::Producer {
        id,
        instance: producer.identity.instance,
        seen: producer.seen,
        low: window.low(),
        name: producer.identity.name.clone(),
        entries: entries
            .map(|(request, stored)| {
                let at = stored.appended;
                (request, at.base, at.time, stored.content)
            })
            .collect(),
    }
}
