//! The right to write, writing a frame, and what happens when the disk does not take it.

use std::{io, sync::MutexGuard, time::Instant};

use super::{
    super::StoreError,
    active::{Active, Writer},
    disk::write_synced,
    format::{self, Entry, FrameContext, Record, SEGMENT_HEADER},
    frames::Frames,
    recover,
    shared::{Health, Shared, State},
};
use crate::time;

/// What a disk must take before it is trusted again, in bytes.
const PROBE: usize = 4 << 20;

/// The most batches of a segment, so that its index fits into memory while it is written.
const MOST_ENTRIES: usize = 131_072;

/// The most bytes of a frame.
const MOST_FRAME: usize = 1 << 30;

/// Why a frame was not written.
#[derive(Debug, Clone)]
pub(super) enum WriteError {
    /// Nothing of it was written.
    NotWritten(String),
    /// It may have been written, or a part of it.
    Unknown(String),
}

impl WriteError {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::NotWritten(why) | Self::Unknown(why) => why,
        }
    }
}

impl From<&WriteError> for StoreError {
    fn from(error: &WriteError) -> Self {
        match error {
            WriteError::NotWritten(why) => Self::Refuses(why.clone()),
            WriteError::Unknown(why) => Self::Failed(why.clone()),
        }
    }
}

/// How much of a segment a frame may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// All but its end.
    Data,
    /// All of it: a full store can still write positions and trims.
    Small,
}

/// The right to write. If it is dropped by a panic, the store no longer trusts what it knows.
pub(super) struct WriteGuard<'a> {
    shared: &'a Shared,
    now: Instant,
    pub(super) writer: MutexGuard<'a, Writer>,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared
                .broke("the work on it died".to_owned(), self.now);
        }
    }
}

impl WriteGuard<'_> {
    /// Writes a frame and, once it is written, has `apply` change the state.
    pub(super) fn commit(
        &mut self,
        room: Room,
        records: &[Record],
        batches: &[&[u8]],
        apply: impl FnOnce(&mut State),
    ) -> Result<(), WriteError> {
        let written = self
            .shared
            .write_frame(&mut self.writer, room, records, batches, apply);
        if let Err(WriteError::Unknown(why)) = &written {
            self.shared.broke(why.clone(), self.now);
        }
        written
    }

    /// Takes writes again after a failure, if it is time and the disk takes them.
    fn revive(&mut self) -> Result<(), String> {
        let health = self.shared.state().health.clone();
        match health {
            Health::Ready => return Ok(()),
            Health::Closed => return Err("it is closed".to_owned()),
            Health::Refusing { why, retry_at } => {
                if retry_at.is_none_or(|at| self.now < at) {
                    return Err(why);
                }
            }
        }
        let (shared, now) = (self.shared, self.now);
        let revived = shared.revive(&mut self.writer);
        revived.inspect_err(|why| shared.broke(why.clone(), now))
    }
}

impl Shared {
    /// Waits for the right to write. Fails if the store takes no writes.
    pub(super) fn write_guard(&self, now: Instant) -> Result<WriteGuard<'_>, String> {
        let mut guard = WriteGuard {
            shared: self,
            now,
            writer: self.lock_writer(),
        };
        guard.revive()?;
        Ok(guard)
    }

    pub(super) fn guard_or_refuse(&self, now: Instant) -> Result<WriteGuard<'_>, StoreError> {
        self.write_guard(now).map_err(StoreError::Refuses)
    }

    fn broke(&self, why: String, now: Instant) {
        let retry_at = now.checked_add(self.config.retry_after);
        let mut state = self.state();
        match &state.health {
            Health::Closed => return,
            Health::Refusing { why: before, .. } if *before == why => {}
            _ => tracing::error!(%why, "the store takes no writes"),
        }
        state.health = Health::Refusing { why, retry_at };
    }

    /// Writes trims that are outstanding.
    pub(super) fn flush_pending(&self, writer: &mut Writer) -> Result<(), WriteError> {
        match writer.has_pending() && writer.active.is_some() {
            true => self.write_frame(writer, Room::Small, &[], &[], |_| {}),
            false => Ok(()),
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

    fn write_frame(
        &self,
        writer: &mut Writer,
        room: Room,
        records: &[Record],
        batches: &[&[u8]],
        apply: impl FnOnce(&mut State),
    ) -> Result<(), WriteError> {
        let forgotten = writer.forgotten.iter().map(|id| Record::Forget { id: *id });
        let trims = writer.trims.iter().map(|(topic, first)| Record::Trim {
            topic: *topic,
            first: *first,
        });
        let pending: Vec<Record> = forgotten.chain(trims).collect();
        let mut head = std::mem::take(&mut writer.head);
        head.clear();
        pending
            .iter()
            .chain(records)
            .for_each(|record| record.encode(&mut head));
        let body = batches.iter().map(|batch| batch.len()).sum();
        let len = format::frame_len(head.len(), body);
        if len > MOST_FRAME {
            return Err(WriteError::NotWritten("the group is too large".to_owned()));
        }
        self.fit(writer, room, (len, batches.len()))?;
        let Some(active) = &mut writer.active else {
            return Err(WriteError::NotWritten("it is closed".to_owned()));
        };
        let context = FrameContext {
            salt: active.salt,
            at: active.at,
            number: writer.next,
            previous: writer.link,
        };
        let count = u32::try_from(pending.len() + records.len()).unwrap_or(u32::MAX);
        let encoded = format::encode_frame(&mut writer.frame, context, (count, &head), batches);
        writer.head = head;

        let written = active.file.write_at(&writer.frame, active.at);
        let synced = written.and_then(|()| match self.syncs() {
            true => active.file.sync(),
            false => Ok(()),
        });
        synced.map_err(|e| WriteError::Unknown(e.to_string()))?;

        let mut place = active.at + encoded.body as u64;
        let first_entry = active.entries.len();
        for record in records {
            if let Record::Batch(batch) = record {
                let at = u32::try_from(place).unwrap_or(u32::MAX);
                active
                    .entries
                    .push((batch.topic, Entry::of(batch, active.number, at)));
                active.messages += u64::from(batch.count);
                place += u64::from(batch.len);
            }
        }
        active.at += len as u64;
        writer.next += 1;
        writer.link = encoded.link;
        writer.trims.clear();
        writer.forgotten.clear();
        // A large group is rare: its memory is given back.
        if writer.frame.capacity() > 8 << 20 {
            writer.frame = Vec::new();
        }
        let mut state = self.state();
        apply(&mut state);
        for (topic, entry) in &active.entries[first_entry..] {
            state.index.push(*topic, *entry);
        }
        state.end = active.end(self.log, writer.next, writer.link);
        state.unsnapshotted += len as u64;
        drop(state);
        self.work.frame_written();
        Ok(())
    }

    /// Sees to it that a frame fits into the active segment.
    fn fit(
        &self,
        writer: &mut Writer,
        room: Room,
        (len, batches): (usize, usize),
    ) -> Result<(), WriteError> {
        let Some(active) = &writer.active else {
            return Err(WriteError::NotWritten("it is closed".to_owned()));
        };
        let reserve = (self.config.segment_bytes() / 64).min(1 << 20);
        let left = active.len.saturating_sub(active.at);
        let fits = |reserve| len as u64 + reserve <= left;
        let entries = active.entries.len() + batches <= MOST_ENTRIES || active.entries.is_empty();
        if fits(reserve) && entries {
            return Ok(());
        }
        let need = SEGMENT_HEADER as u64 + len as u64 + reserve;
        match self.roll(writer, need) {
            Ok(()) => Ok(()),
            Err(_) if room == Room::Small && fits(0) => Ok(()),
            Err(why) => {
                let why = format!("there is no room for another segment: {why}");
                self.state().no_room = Some(why.clone());
                Err(WriteError::NotWritten(why))
            }
        }
    }

    /// Ends the active segment and begins the next one, with room for `need` bytes.
    pub(super) fn roll(&self, writer: &mut Writer, need: u64) -> io::Result<()> {
        // Segments that wait to be sealed hold memory. A writer that is ahead of them helps.
        if self.state().rolled.len() >= 2 {
            self.seal_rolled()?;
        }
        let mut prepared = self.take_prepared()?;
        if prepared.len < need {
            let grown = prepared
                .file
                .allocate(need)
                .and_then(|()| prepared.file.sync())
                .and_then(|()| self.note_length(prepared.number, need));
            if let Err(error) = grown {
                self.work.give_back(prepared);
                return Err(error);
            }
            prepared.len = need;
        }
        let (next, link) = (writer.next, writer.link);
        let number = prepared.number;
        let before = writer.active.replace(Active::new(prepared, next, link));
        let mut state = self.state();
        state.index.add_segment(number, 0);
        if let Some(before) = before {
            let rolled = before.roll(next, link);
            state
                .index
                .seal(rolled.number, rolled.seal.end, rolled.seal.next);
            state.rolled.push_back(rolled);
        }
        drop(state);
        self.work.wake();
        Ok(())
    }

    /// After a write that failed: goes on in another segment, once the disk takes writes and everything that was answered
    /// has been read back from it. The frame that failed is then known not to be part of the log.
    fn revive(&self, writer: &mut Writer) -> Result<(), String> {
        self.probe()
            .map_err(|e| format!("the disk takes no writes: {e}"))?;
        let Some(active) = &writer.active else {
            return Err("it is closed".to_owned());
        };
        self.read_back(active, (writer.next, writer.link))?;
        self.roll(writer, 0)
            .map_err(|e| format!("the disk takes no writes: {e}"))?;
        // Only with this the frame that failed is cut off for good.
        self.seal_rolled()
            .map_err(|e| format!("the disk takes no writes: {e}"))?;
        let mut state = self.state();
        state.health = Health::Ready;
        state.in_doubt.clear();
        tracing::info!("the store takes writes again");
        Ok(())
    }

    /// Finds out whether the disk takes writes.
    fn probe(&self) -> io::Result<()> {
        let written = self
            .disk
            .create("probe.new")
            .and_then(|file| write_synced(&*file, &vec![0x5a; PROBE], 0));
        match self.disk.remove("probe.new") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        written
    }

    /// Reads the active segment from the disk and compares it with what was answered.
    fn read_back(&self, active: &Active, end: (u64, u64)) -> Result<(), String> {
        let number = active.number;
        let failed = |e: io::Error| format!("segment {number} cannot be read back: {e}");
        let name = format::segment_name(number, 0);
        let file = self.disk.open(&name).map_err(failed)?;
        file.drop_cache();
        let mut frames = Frames::new(file, active.salt, active.at).map_err(failed)?;
        let scan = recover::scan(&mut frames, active.first, |_| Ok(())).map_err(failed)?;
        match (scan.seal.next, scan.seal.link) == end && scan.seal.end == active.at {
            true => Ok(()),
            false => Err(format!(
                "what was written to segment {number} cannot be read back from byte {} on",
                scan.seal.end
            )),
        }
    }
}
