//! The disk alone: what a log could do at best.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::load::{Times, times};

/// How many groups are written at least, and how many bytes.
const GROUPS: u64 = 32;
const BYTES: u64 = 64 << 20;

/// What the disk did.
#[derive(Debug)]
pub(super) struct Disk {
    /// Bytes written and synced.
    pub(super) bytes: u64,
    /// Bytes of each group.
    pub(super) group: u64,
    pub(super) took: Duration,
    /// Of a write and its fdatasync together.
    pub(super) groups: Times,
}

/// Appends some groups of bytes to a file in `folder`, each with its fdatasync. It blocks.
///
/// # Errors
/// Where that cannot be done.
pub(super) fn measure(folder: &Path, group: u64) -> anyhow::Result<Disk> {
    let path = folder.join("disk");
    let written = write(&path, group);
    let removed = std::fs::remove_file(&path);
    let disk = written.with_context(|| format!("cannot write {}", path.display()))?;
    removed.with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(disk)
}

fn write(path: &Path, group: u64) -> anyhow::Result<Disk> {
    let bytes = super::load::noise(usize::try_from(group)?);
    let mut file = File::create(path)?;
    let count = GROUPS.max(BYTES / group.max(1)).min(GROUPS * 16);
    let mut groups = times();
    let began = Instant::now();
    for _ in 0..count {
        let began = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        groups.saturating_record(super::load::nanos(began.elapsed()));
    }
    Ok(Disk {
        bytes: group * count,
        group,
        took: began.elapsed(),
        groups,
    })
}
