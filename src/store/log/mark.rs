//! Writing the end mark: once a second while frames are written, beside the writer.

use std::{io, sync::Arc, time::Duration};

use super::{
    disk::{Disk, DiskFile, replace},
    format::EndMark,
};

/// How long a frame is on disk, at most, before a mark tells of it.
pub(super) const MARK_AFTER: Duration = Duration::from_secs(1);

/// The name of the file.
const NAME: &str = "end";

/// The file of the mark.
#[derive(Debug, Default)]
pub(super) struct Marker {
    file: Option<Arc<dyn DiskFile>>,
    /// The slot that is written next: the older one.
    slot: u64,
    /// The number that was marked last.
    next: u64,
}

impl Marker {
    /// Begins after a log was opened, in which `found` is what its mark says. The file is made when it is first needed.
    pub(super) fn begin(disk: &dyn Disk, found: Option<EndMark>) -> io::Result<Self> {
        let Some(found) = found else {
            return Ok(Self::default());
        };
        let file = disk.open(NAME)?;
        let half = (EndMark::FILE / 2) as u64;
        let mut first = vec![0; usize::try_from(file.len()?.min(half)).unwrap_or(0)];
        file.read_at(&mut first, 0)?;
        let newest_is_first = EndMark::decode(&first) == Some(found);
        Ok(Self {
            file: Some(file),
            slot: newest_is_first.into(),
            next: found.next,
        })
    }

    /// Writes a mark that says more than the last one.
    pub(super) fn write(&mut self, disk: &dyn Disk, mark: &EndMark) -> io::Result<()> {
        if self.next >= mark.next {
            return Ok(());
        }
        let slot = mark.encode();
        match &self.file {
            Some(file) => {
                file.write_at(&slot, self.slot * slot.len() as u64)?;
                file.sync()?;
            }
            None => {
                let mut both = slot;
                both.resize(EndMark::FILE, 0);
                replace(disk, NAME, &both)?;
                self.file = Some(disk.open(NAME)?);
                self.slot = 0;
            }
        }
        self.slot = 1 - self.slot;
        self.next = mark.next;
        Ok(())
    }
}

/// Removes a mark that says nothing of what is written from now on.
pub(super) fn remove(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(NAME) {
        Ok(()) => disk.sync_folder(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
