//! Samples what this process holds: memory, file handles, tasks and disk.

use std::{fmt, fs, path::Path, time::Duration};

use indicatif::{HumanBytes, HumanDuration};

/// Size of a memory page, in bytes. On systems with larger pages, memory is underestimated by a constant factor, which does
/// not matter for growth.
const PAGE: u64 = 4096;

/// The figures of one moment. `None` for those that the system does not provide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Time since the start.
    pub(super) at: Duration,
    /// Resident memory.
    pub(super) memory_bytes: Option<u64>,
    /// Open files and sockets.
    pub(super) handles: Option<u64>,
    /// Live tasks of the runtime.
    pub(super) tasks: u64,
    /// Disk space of the folder.
    pub(super) disk_bytes: Option<u64>,
}

impl Sample {
    /// Takes a sample.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(super) fn take(at: Duration, folder: &Path) -> Self {
        let metrics = tokio::runtime::Handle::current().metrics();
        Self {
            at,
            memory_bytes: memory(),
            handles: fs::read_dir("/proc/self/fd").ok().map(count),
            tasks: metrics.num_alive_tasks().try_into().unwrap_or(u64::MAX),
            disk_bytes: disk(folder),
        }
    }
}

fn count(entries: fs::ReadDir) -> u64 {
    entries.count().try_into().unwrap_or(u64::MAX)
}

fn memory() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// Returns the disk space of all files below a folder. A file removed meanwhile does not count.
fn disk(folder: &Path) -> Option<u64> {
    let mut all = 0;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        all += match entry.metadata() {
            Ok(about) if about.is_dir() => disk(&entry.path()).unwrap_or(0),
            Ok(about) => allocated(&about),
            Err(_) => 0,
        };
    }
    Some(all)
}

/// Returns the disk space of a file, which is less than its length for a sparse file.
fn allocated(about: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(about) * 512;
    #[cfg(not(unix))]
    return about.len();
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", HumanDuration(self.at))?;
        if let Some(memory) = self.memory_bytes {
            write!(f, "{} of memory, ", HumanBytes(memory))?;
        }
        if let Some(handles) = self.handles {
            write!(f, "{handles} handles, ")?;
        }
        write!(f, "{} tasks", self.tasks)?;
        if let Some(disk) = self.disk_bytes {
            write!(f, ", {} on disk", HumanBytes(disk))?;
        }
        Ok(())
    }
}
