//! What the calls on a log store share: the files, the catalog, and how it stands with them.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::Instant,
};

use super::{
    super::{StoreError, StoredBatch, catalog::Catalog},
    Fsync, LogConfig, OpenError,
    engine::{self, Engine},
    folder::Folder,
    journal, load,
    positions::Waiting,
};
use crate::{Offset, ProducerId, RequestId, TopicName};

/// Everything that a log store is.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: LogConfig,
    /// Whoever holds it writes.
    pub(super) turn: Mutex<()>,
    pub(super) disk: RwLock<Disk>,
    pub(super) known: Mutex<Known>,
    pub(super) positions: Mutex<Waiting>,
}

/// What is open on disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// Dropped before the folder. `None`: closed, or it could not be opened again.
    pub(super) engine: Option<Engine>,
    /// `None`: closed.
    pub(super) folder: Option<Folder>,
}

impl Disk {
    pub(super) fn engine(&self) -> Result<&Engine, StoreError> {
        match (&self.engine, &self.folder) {
            (Some(engine), _) => Ok(engine),
            (None, None) => Err(closed()),
            (None, Some(_)) => Err(StoreError::Failed(
                "after a failure of the disk it could not be opened again yet".to_owned(),
            )),
        }
    }
}

/// What is known without looking at the disk.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) catalog: Catalog,
    pub(super) health: Health,
    /// Why there was no room for the last append that needed any; `None` where there was.
    pub(super) no_room: Option<String>,
    /// What is being written and, where that failed, may or may not be stored: at most one group.
    pub(super) in_doubt: Vec<(ProducerId, RequestId)>,
    /// Bytes trimmed since space was last given back.
    pub(super) trimmed: u64,
}

/// Whether writes are taken.
#[derive(Debug, Clone)]
pub(super) enum Health {
    Ready,
    /// A write failed. `retry_at`: when the next may be tried; `None` is never.
    Refusing {
        why: String,
        retry_at: Option<Instant>,
    },
    Closed,
}

impl Shared {
    pub(super) fn open(path: PathBuf, config: LogConfig) -> Result<Self, OpenError> {
        let folder = Folder::take(path)?;
        let engine = open_engine(&folder, &config)?;
        let catalog = load::load(&engine, &config.limits)
            .map_err(|e| OpenError::damaged(folder.path(), e.into_why()))?;
        // What an earlier process trimmed and gave no space back for.
        let kept: u64 = catalog.topics().map(|(_, topic)| topic.bytes).sum();
        let trimmed = engine.batches.disk_space().saturating_sub(kept);
        Ok(Self {
            config,
            turn: Mutex::new(()),
            disk: RwLock::new(Disk {
                engine: Some(engine),
                folder: Some(folder),
            }),
            known: Mutex::new(Known {
                catalog,
                health: Health::Ready,
                no_room: None,
                in_doubt: Vec::new(),
                trimmed,
            }),
            positions: Mutex::default(),
        })
    }

    // Who panics while writing is noticed: see `turn::Turn`. Who panics while reading has changed nothing.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn disk(&self) -> RwLockReadGuard<'_, Disk> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The catalog, where the store is not closed.
    pub(super) fn open_catalog(&self) -> Result<MutexGuard<'_, Known>, StoreError> {
        let known = self.known();
        match known.health {
            Health::Closed => Err(closed()),
            _ => Ok(known),
        }
    }

    pub(super) fn read(
        &self,
        name: &TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        let topic = self.open_catalog()?.catalog.topic(name);
        let topic = topic.ok_or(StoreError::UnknownTopic)?;
        if from >= topic.next {
            return Ok(Vec::new());
        }
        let from = from.max(topic.first);
        self.disk()
            .engine()?
            .read((name, topic.id), from, topic.next, max_bytes)
    }
    /// The offset behind the batch that holds `offset`.
    #[cfg(feature = "spool")]
    pub(super) fn end_behind(
        &self,
        name: &TopicName,
        offset: Offset,
    ) -> Result<Offset, StoreError> {
        let topic = self.open_catalog()?.catalog.topic(name);
        let topic = topic.ok_or(StoreError::UnknownTopic)?;
        self.disk()
            .engine()?
            .end_behind(topic.id, offset, topic.next)
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Refuses("it is closed".to_owned())
}

/// Opens the database; after a power cut, once more without the group that was being written.
pub(super) fn open_engine(folder: &Folder, config: &LogConfig) -> Result<Engine, OpenError> {
    let path = folder.database();
    let mut opened = Engine::open(&path, config);
    if matches!(opened, Err(fjall::Error::JournalRecovery(_))) {
        let any_loss = config.fsync == Fsync::Never;
        let cut = journal::cut_torn_end(&path, any_loss);
        if cut.map_err(|e| OpenError::io(folder.path(), e))? {
            opened = Engine::open(&path, config);
        }
    }
    opened.map_err(|e| match e {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => {
            OpenError::io(folder.path(), e)
        }
        fjall::Error::Locked => OpenError::InUse(folder.path().to_path_buf()),
        fjall::Error::JournalRecovery(_) => OpenError::damaged(
            folder.path(),
            "a group in the middle of its journal does not match its checksum",
        ),
        other => OpenError::damaged(folder.path(), engine::sentence(&other)),
    })
}
