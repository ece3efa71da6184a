//! fjall, as this store uses it.
//!
//! What fjall does, from its source (3.1.13), and what is made of it here:
//!
//! - A commit goes to the journal, is synced if asked, and only then becomes visible. `SyncData` is
//!   `fdatasync`, `SyncAll` is `fsync`; the journal is allocated ahead, and `fdatasync` brings what is needed to
//!   read it back, so `SyncData` is enough.
//! - Values go to the journal, stay in the memtable until it is full, and are then written a second time, to
//!   value files that compaction moves only when most of one is garbage. Keys go to tables.
//! - Every commit that finds the memtable too large asks a worker to rotate it, through a channel of a thousand
//!   places, and the worker answers by a blocking send into the same channel: where a busy worker lets it fill
//!   up, it waits for itself for ever, and meanwhile the memtable grows. So fjall is told that no memtable is
//!   ever too large, and [`Engine::make_room`] rotates it before the commit.
//! - A commit ends by waiting, in a sleep loop without end, while four memtables are unflushed or thirty runs
//!   of tables uncompacted. Where the thread that flushes has died of a full disk, it would wait for ever.
//!   `make_room` waits for less, and looks whether the database still lives.
//! - The first write that fails *poisons* the database: nothing is written any more until it is opened again.
//! - Compaction is set off by flushes alone. In an idle store nothing gives trimmed space back:
//!   [`Engine::reclaim`] does.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use fjall::{
    AbstractTree as _, CompressionType, Database, Error, Keyspace, KeyspaceCreateOptions,
    KvSeparationOptions, OwnedWriteBatch, PersistMode, Slice,
    config::{CompressionPolicy, FilterPolicy},
};

use super::{
    Fsync, LogConfig,
    rows::{self, BatchKey},
};

/// As `LogConfig::memtable_bytes`, for rows: small, because a row is soon overwritten or deleted.
const ROWS_MEMTABLE: u64 = 8 << 20;

/// A log of batches begins with a memtable of so many bytes.
///
/// A flush keeps the disk busy at a stretch, and a commit that comes meanwhile waits for it: 20 to 30 ms with 32 MiB, where
/// it takes half a millisecond alone. A memtable is a value file in the end, and each flush writes the list of them all.
const FIRST_MEMTABLE: u64 = 8 << 20;

/// So the memtable grows with the log, to a value file in so many or the configured size, whichever is less.
const FILES: u64 = 2048;

/// Journals that have been filled are kept until what they hold is in tables; from this many bytes on, what
/// keeps the oldest alive is flushed. It is what a reopening has to read at most, beside the active journal.
const JOURNALS: u64 = 128 << 20;

/// Threads that flush and compact. A second one would never compact, and would spin on the queue for as long
/// as the first one does: a quarter of all processor time, for no shorter waits.
const WORKERS: usize = 1;

/// Files held open.
const OPEN_FILES: usize = 256;

/// A value file is rewritten when so much of it is garbage. At worst half of the disk space is garbage then.
const GARBAGE: f32 = 0.5;

/// Memtables that may wait for their flush before commits wait. fjall itself waits from four on.
const MAX_SEALED: usize = 2;

/// Tables that may wait for their compaction before commits wait. fjall itself waits from thirty on.
const MAX_UNCOMPACTED: usize = 20;

/// How long to wait at a time for a flush or compaction, and how many times before something is done about it.
const WAIT: Duration = Duration::from_millis(2);
const WAITS: usize = 1000;

/// Why a commit did not succeed.
#[derive(Debug, Clone)]
pub(super) enum CommitError {
    /// Nothing of it was written.
    NotWritten(String),
    /// It may have been written, or a part of it may: the next opening will tell.
    Unknown(String),
}

impl CommitError {
    /// Why, in a sentence.
    pub(super) fn into_why(self) -> String {
        match self {
            Self::NotWritten(why) | Self::Unknown(why) => why,
        }
    }
}

/// When a commit is on disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Durable {
    /// When the call returns, where every write is synced.
    AsConfigured,
    /// With the next commit that is synced: nothing later is durable before this is.
    Later,
}

/// An open database.
pub(super) struct Engine {
    db: Database,
    pub(super) batches: Keyspace,
    pub(super) rows: Keyspace,
    mode: PersistMode,
    /// How much of `batches` is gathered in memory, now and at most.
    memtable: AtomicU64,
    most_memtable: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the database at `path`, making it where there is none.
    pub(super) fn open(path: &Path, config: &LogConfig) -> Result<Self, Error> {
        let db = Database::builder(path)
            // Batches are stored as they came: producers know better whether theirs compress.
            .journal_compression(CompressionType::None)
            .cache_size(config.cache_bytes)
            .max_journaling_size(JOURNALS)
            .worker_threads(WORKERS)
            .max_cached_files(Some(OPEN_FILES))
            .manual_journal_persist(true)
            .open()?;
        let batches = db.keyspace("batches", || {
            let values = KvSeparationOptions::default()
                .compression(CompressionType::None)
                // Every batch, however small: so that compaction never moves more than keys.
                .separation_threshold(1)
                .staleness_threshold(GARBAGE)
                // Of all value files, not of the oldest ones alone.
                .age_cutoff(1.0);
            plain().with_kv_separation(Some(values))
        })?;
        let rows = db.keyspace("rows", plain)?;
        let mode = match config.fsync {
            Fsync::Always => PersistMode::SyncData,
            Fsync::Never => PersistMode::Buffer,
        };
        let engine = Self {
            db,
            batches,
            rows,
            mode,
            memtable: AtomicU64::new(0),
            most_memtable: config.memtable_bytes,
        };
        engine.fit_memtable();
        Ok(engine)
    }

    /// Sets the memtable's size by that of the log.
    fn fit_memtable(&self) {
        let fit = memtable_for(self.batches.disk_space(), self.most_memtable);
        self.memtable.store(fit, Ordering::Relaxed);
    }

    /// An empty group of writes.
    pub(super) fn group(&self, capacity: usize) -> Group<'_> {
        Group {
            engine: self,
            writes: OwnedWriteBatch::with_capacity(self.db.clone(), capacity),
        }
    }

    /// Sees to it that the next commit finds room in memory; waits where flushes or compactions are behind.
    fn make_room(&self) -> Result<(), CommitError> {
        for (keyspace, size) in [
            (&self.batches, self.memtable.load(Ordering::Relaxed)),
            (&self.rows, self.most_memtable.min(ROWS_MEMTABLE)),
        ] {
            if keyspace.tree.active_memtable().size() < size {
                continue;
            }
            while keyspace.sealed_memtable_count() >= MAX_SEALED {
                self.check_alive()?;
                thread::sleep(WAIT);
            }
            let mut waited = 0;
            while keyspace.l0_table_count() >= MAX_UNCOMPACTED {
                self.check_alive()?;
                thread::sleep(WAIT);
                waited += 1;
                // Compactions follow flushes, and one should be on its way.
                if waited % WAITS == 0 {
                    keyspace.major_compact().map_err(not_written)?;
                }
            }
            keyspace.rotate_memtable().map_err(not_written)?;
            self.fit_memtable();
        }
        Ok(())
    }

    /// Whether the database still takes writes.
    fn check_alive(&self) -> Result<(), CommitError> {
        self.db.persist(PersistMode::Buffer).map_err(not_written)
    }

    /// Writes what only the journal holds to tables, synced. To be called by who has the turn to write.
    pub(super) fn settle(&self) -> Result<(), CommitError> {
        self.flush(usize::MAX)
    }

    /// Flushes both memtables, and waits `waits` times at most: who appends as fast as the disk takes it can
    /// keep the flushes busy for ever.
    fn flush(&self, waits: usize) -> Result<(), CommitError> {
        for keyspace in [&self.batches, &self.rows] {
            self.check_alive()?;
            keyspace.rotate_memtable().map_err(not_written)?;
            for _ in 0..waits {
                if keyspace.sealed_memtable_count() == 0 {
                    break;
                }
                self.check_alive()?;
                thread::sleep(WAIT);
            }
        }
        Ok(())
    }

    /// Gives the space of deleted batches back to the disk.
    ///
    /// Two passes: the first finds out which values no key leads to any more, the second drops and rewrites
    /// their files. After each the version before it has to be forgotten, which keeps its files alive.
    pub(super) fn reclaim(&self) -> Result<(), CommitError> {
        self.flush(5 * WAITS)?;
        self.compact()?;
        if self.batches.fragmented_blob_bytes() > 0 {
            self.compact()?;
        }
        Ok(())
    }

    fn compact(&self) -> Result<(), CommitError> {
        self.batches.major_compact().map_err(not_written)?;
        // fjall forgets old versions when a memtable is rotated, and those only that lie before the last write.
        let mut group = self.group(1);
        group.put(rows::mark_row());
        group.commit(Durable::Later)?;
        self.rows.rotate_memtable().map_err(not_written)?;
        Ok(())
    }

    /// Makes everything durable.
    pub(super) fn sync(&self) -> Result<(), CommitError> {
        self.db
            .persist(PersistMode::SyncAll)
            .map_err(|e| CommitError::Unknown(sentence(&e)))
    }
}

/// The memtable for a log of so many bytes on disk.
fn memtable_for(stored: u64, most: u64) -> u64 {
    (stored / FILES).max(FIRST_MEMTABLE).min(most)
}

fn plain() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        // Not by fjall: see `Engine::make_room`.
        .max_memtable_size(u64::MAX)
        .data_block_compression_policy(CompressionPolicy::disabled())
        // Filters serve lookups of single keys, and there are none.
        .filter_policy(FilterPolicy::disabled())
}

/// Writes that are made together or not at all.
pub(super) struct Group<'a> {
    engine: &'a Engine,
    writes: OwnedWriteBatch,
}

impl Group<'_> {
    /// Adds a batch. This is the one copy that is made of it on its way to the journal: fjall keeps what it
    /// is given until the next flush, and `batch` is a slice of a larger receive buffer.
    pub(super) fn put_batch(&mut self, key: BatchKey, batch: &Bytes) {
        self.writes
            .insert(&self.engine.batches, key.encode(), Slice::new(batch));
    }

    /// Deletes a batch.
    pub(super) fn delete_batch(&mut self, key: BatchKey) {
        self.writes.remove(&self.engine.batches, key.encode());
    }

    /// Adds or overwrites a row.
    pub(super) fn put(&mut self, (key, value): (Vec<u8>, Vec<u8>)) {
        self.writes.insert(&self.engine.rows, key, value);
    }

    /// Deletes a row.
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.writes.remove(&self.engine.rows, key);
    }

    /// Writes the group, and answers when it is as durable as asked.
    pub(super) fn commit(self, durable: Durable) -> Result<(), CommitError> {
        let mode = match durable {
            Durable::AsConfigured => self.engine.mode,
            Durable::Later => PersistMode::Buffer,
        };
        self.engine.make_room()?;
        let written = self.writes.durability(Some(mode)).commit();
        written.map_err(|error| match error {
            // Looked at before anything is written.
            Error::Poisoned => not_written(error),
            _ => CommitError::Unknown(sentence(&error)),
        })
    }
}

fn not_written(error: Error) -> CommitError {
    CommitError::NotWritten(sentence(&error))
}

/// An error of fjall in words.
pub(super) fn sentence(error: &Error) -> String {
    match error {
        Error::Poisoned => "an earlier write to the disk failed".to_owned(),
        Error::Io(e) => e.to_string(),
        Error::Storage(fjall::LsmError::Io(e)) => e.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memtable_grows_with_its_log_and_no_further_than_it_may() {
        let most = 32 << 20;
        assert_eq!(memtable_for(0, most), 8 << 20);
        assert_eq!(memtable_for(16 << 30, most), 8 << 20);
        assert_eq!(memtable_for(32 << 30, most), 16 << 20);
        assert_eq!(memtable_for(1 << 40, most), most);
        assert_eq!(memtable_for(1 << 40, 1 << 20), 1 << 20);
    }
}
