//! What this process holds at a moment.

use std::{fmt, fs, path::Path, time::Duration};

use indicatif::{HumanBytes, HumanDuration};

/// The size of a page of memory. Every system that has `/proc/self/statm` and runs this has it, or larger pages, and then
/// memory is told too small by a constant factor.
const PAGE: u64 = 4096;

/// The figures of one moment. Nothing where the system does not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    /// Resident memory.
    pub(super) memory_bytes: Option<u64>,
    /// Open files and sockets.
    pub(super) handles: Option<u64>,
    /// Tasks of the runtime that are alive.
    pub(super) tasks: u64,
    /// What the folder takes.
    pub(super) disk_bytes: Option<u64>,
}

impl Sample {
    /// Must be called in the runtime.
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

/// The sizes of all files in a folder. One that goes while this looks counts for nothing.
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

/// What a file takes: one that was made large before it was written takes less than its length.
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
