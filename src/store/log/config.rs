//! How a log store writes and what it may use.

use std::time::Duration;

use super::super::Limits;

/// How a [`LogStore`](super::LogStore) writes and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// When what was appended is made durable. Default: [`Fsync::Always`].
    pub fsync: Fsync,
    /// Memory for what is read from disk, in bytes. Default: 32 MiB. Readers near a topic's end read what is
    /// still in memory and do not need it.
    pub cache_bytes: u64,
    /// Memory in which batches are gathered before they move from the journal to their place, in bytes. Default: 32 MiB.
    /// Three times this is used at most. A log of less than 64 GiB makes do with less, 8 MiB at least where this is more: what
    /// moves at a time is what a write waits for that comes meanwhile. Larger ones gained nothing measurable.
    pub memtable_bytes: u64,
    /// So many bytes of the disk are left free. Default: 256 MiB. With less, appends are refused with
    /// [`StoreError::Refuses`](super::super::StoreError::Refuses), while trims and positions are still written: without this a store that has
    /// filled its disk could not even delete. It should not be less than the store needs to move what is in
    /// memory to its place, which is about the default. Not looked at where the system is no Unix.
    pub min_free_bytes: u64,
    /// How long after a failure of the disk writes are refused before one is tried again. Default: 5 s.
    pub retry_after: Duration,
    /// The most topics, producers, positions and dedupe entries.
    pub limits: Limits,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            fsync: Fsync::Always,
            cache_bytes: 32 << 20,
            memtable_bytes: 32 << 20,
            min_free_bytes: 256 << 20,
            retry_after: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

/// When what was appended is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fsync {
    /// Before the answer: what was answered survives a crash of the system and a cut of the power. The price
    /// is one `fdatasync` a group.
    #[default]
    Always,
    /// Whenever the system sees fit: what was answered survives a crash of this process, but a power cut
    /// loses what the system had not written yet, which can be half a minute's worth.
    Never,
}
