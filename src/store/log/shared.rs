//! What the calls on a log store share: its files and its state.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    super::{StoreError, catalog::Catalog},
    Fsync, LogConfig,
    active::{Rolled, Writer},
    damage::Damage,
    data_dir::DataDir,
    disk::Disk,
    files::OpenFiles,
    format::{EndMark, Manifest},
    index::Index,
    mark::Marker,
    position_queue::Waiting,
    work::Work,
};
use crate::{Offset, ProducerId, RequestId, TopicName, metrics};

/// Everything that a log store is.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: LogConfig,
    pub(super) disk: Arc<dyn Disk>,
    /// The identity of the log.
    pub(super) log: u64,
    /// Whoever holds it writes to the log.
    pub(super) writer: Mutex<Writer>,
    /// The manifest as it is on disk. Whoever holds it changes the files that belong to the log.
    pub(super) manifest: Mutex<Manifest>,
    pub(super) state: Mutex<State>,
    pub(super) files: OpenFiles,
    pub(super) positions: Mutex<Waiting>,
    pub(super) work: Work,
    pub(super) marker: Mutex<Marker>,
    /// The lock on the folder; `None` once closed, and for a simulated disk.
    pub(super) dir: Mutex<Option<DataDir>>,
}

/// What is known without looking at the disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) catalog: Catalog,
    pub(super) index: Index,
    pub(super) health: Health,
    /// Why there was no room for the last append; `None` if there was.
    pub(super) no_room: Option<String>,
    /// The requests of a group whose write failed and which may be stored: at most one group.
    pub(super) in_doubt: Vec<(ProducerId, RequestId)>,
    /// Segments that are full and not sealed yet, oldest first.
    pub(super) rolled: VecDeque<Rolled>,
    /// Where the log ends: all frames before it are on disk and applied.
    pub(super) end: EndMark,
    /// Batches that were found not to match their checksums.
    pub(super) damage: Damage,
    /// The bytes of frames written since the last snapshot was begun.
    pub(super) unsnapshotted: u64,
}

/// Whether writes are taken.
#[derive(Debug, Clone)]
pub(super) enum Health {
    Ready,
    /// A write failed. `retry_at` is when the next may be tried; `None` is never.
    Refusing {
        why: String,
        retry_at: Option<Instant>,
    },
    Closed,
}

pub(super) fn closed() -> StoreError {
    StoreError::Refuses("it is closed".to_owned())
}

impl Shared {
    // A panic while writing is noticed by the write guard. A panic while reading has changed nothing.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state, unless the store is closed.
    pub(super) fn open_state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        match state.health {
            Health::Closed => Err(closed()),
            _ => Ok(state),
        }
    }

    /// Returns whether writes are synced.
    pub(super) fn syncs(&self) -> bool {
        self.config.fsync == Fsync::Always
    }

    /// Notes a batch that does not match its checksum.
    pub(super) fn found_damaged(&self, topic: &TopicName, base: Offset, count: u32) {
        if self.state().damage.add(topic, base, count) {
            metrics::store::damaged(count.into());
            tracing::error!(%topic, offset = %base, messages = count, "a stored batch does not match its checksum");
        }
    }
}
