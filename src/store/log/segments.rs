//! The files of segments: made ahead, sealed with an index, and removed; and the manifest that lists them.

use std::{io, thread, time::Duration};

use super::{
    super::catalog::TopicId,
    active::{Prepared, Rolled},
    disk::{Disk, DiskFile, replace},
    files::Name,
    format::{self, Entry, IndexKey, Manifest, SEGMENT_HEADER, SegmentEntry, SegmentHeader},
    shared::Shared,
};

/// Bytes by which a file is shortened at a time.
const STEP: u64 = 1 << 20;

/// The space of the `reserve` file, from which the manifest is written when the disk is full.
const RESERVE: u64 = 256 << 10;

/// Creates an empty segment of `len` bytes, synced.
pub(super) fn make_segment(
    disk: &dyn Disk,
    (log, number, before): (u64, u32, u32),
    len: u64,
) -> io::Result<Prepared> {
    let salt = fastrand::u64(..);
    let header = SegmentHeader {
        log,
        number,
        generation: 0,
        before,
        salt,
    };
    let name = format::segment_name(number, 0);
    let new = format!("{name}.new");
    let file = disk.create(&new)?;
    file.allocate(len)?;
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    disk.rename(&new, &name)?;
    disk.sync_folder()?;
    Ok(Prepared {
        number,
        salt,
        len,
        file,
    })
}

/// Writes the index of a segment.
pub(super) fn write_index(
    disk: &dyn Disk,
    key: IndexKey,
    mut entries: Vec<(TopicId, Entry)>,
) -> io::Result<format::Directory> {
    entries.sort_unstable_by_key(|(topic, entry)| (*topic, entry.base));
    let (bytes, directory) = format::encode_index(key, &entries);
    replace(
        disk,
        &format::index_name(key.number, key.generation),
        &bytes,
    )?;
    Ok(directory)
}

impl Shared {
    /// Replaces the manifest.
    pub(super) fn write_manifest(
        &self,
        current: &mut Manifest,
        mut new: Manifest,
    ) -> io::Result<()> {
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
    pub(super) fn prepare(&self) -> io::Result<()> {
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

    /// Shortens a file in steps.
    pub(super) fn shrink(&self, file: &dyn DiskFile, to: u64) -> io::Result<()> {
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
    pub(super) fn remove_files(&self, number: u32, generation: u32) -> io::Result<()> {
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
}
