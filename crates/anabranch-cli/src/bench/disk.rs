//! Measures the disk alone: an upper limit for the log.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::load::{self, Times};

/// Smallest number of writes, and of bytes in total.
const GROUPS: u64 = 32;
const BYTES: u64 = 64 << 20;

/// The measurement.
#[derive(Debug)]
pub(super) struct Disk {
    /// Bytes written and synced.
    pub(super) bytes: u64,
    /// Size of each write, in bytes.
    pub(super) group: u64,
    pub(super) took: Duration,
    /// Times of a write with its fdatasync.
    pub(super) groups: Times,
}

/// Appends to a file in `folder`, with an fdatasync after each `group` bytes. Blocks the thread.
///
/// # Errors
/// When the file cannot be written or removed.
pub(super) fn measure(folder: &Path, group: u64) -> anyhow::Result<Disk> {
    let path = folder.join("disk");
    let written = write(&path, group);
    let removed = std::fs::remove_file(&path);
    let disk = written.with_context(|| format!("cannot write {}", path.display()))?;
    removed.with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(disk)
}

fn write(path: &Path, group: u64) -> anyhow::Result<Disk> {
    let bytes = load::noise(usize::try_from(group)?);
    let mut file = File::create(path)?;
    let count = GROUPS.max(BYTES / group.max(1)).min(GROUPS * 16);
    let mut groups = load::times();
    let began = Instant::now();
    for _ in 0..count {
        let began = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        groups.saturating_record(load::nanos(began.elapsed()));
    }
    Ok(Disk {
        bytes: group * count,
        group,
        took: began.elapsed(),
        groups,
    })
}
