//! The options of a log store.

use std::time::Duration;

use super::super::Limits;

/// The options of a [`LogStore`](super::LogStore).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// When an append is made durable. Default: [`Fsync::Always`].
    pub fsync: Fsync,
    /// The size of a segment, in bytes. Default: 64 MiB; at least 64 KiB and at most 2 GiB. Space is taken and given back by
    /// segments: an empty log has two of them. A group of batches that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// The maximum number of segments that are open for reading. Default: 256.
    pub open_files: usize,
    /// The space that is left free on the disk, in bytes. Default: 256 MiB. With less, appends are refused with
    /// [`StoreError::Refuses`](super::super::StoreError::Refuses), while trims and positions are still written: a store that
    /// has filled its disk could not delete anything otherwise. Only checked on Unix.
    pub min_free_bytes: u64,
    /// The time after a failure of the disk during which writes are refused without being tried. Default: 5 s.
    pub retry_after: Duration,
    /// Bytes a second that the store reads in the background to verify what was stored long ago; `None`: it does not. Default:
    /// 16 MiB. One pass begins when the store opens, newest segments first, and another a week after the end of the last. What
    /// is damaged is told by [`Store::damage`](super::super::Store::damage), the metrics and the log.
    pub verify_rate: Option<u64>,
    /// The maximum numbers of topics, producers, positions and dedup entries.
    pub limits: Limits,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            fsync: Fsync::Always,
            segment_bytes: 64 << 20,
            open_files: 256,
            min_free_bytes: 256 << 20,
            retry_after: Duration::from_secs(5),
            verify_rate: Some(16 << 20),
            limits: Limits::default(),
        }
    }
}

impl LogConfig {
    /// Returns the size of a segment, within its bounds.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.clamp(64 << 10, 2 << 30)
    }
}

/// When an append is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fsync {
    /// Before the answer. What was answered survives a crash of the system and a power cut, at the price of one
    /// `fdatasync` for each group.
    #[default]
    Always,
    /// When the system decides. What was answered survives a crash of this process. A power cut loses what the system had
    /// not written, which can be half a minute's worth, and the log is cut there.
    Never,
}
