//! The store on disk, on [fjall](https://docs.rs/fjall) 3.
//!
//! ```text
//! append ─▶ turn ─▶ plan ─▶ one write: batches, topic rows, dedupe entries ─▶ journal, fdatasync ─▶ enter ─▶ answers
//!            one writer at a time          deletions of entries that fell out       the books
//! read ─▶ books: is there such a topic, how far does it go ─▶ keys and values ─▶ checksum ─▶ batches
//! ```
//!
//! - [`folder`]: who may have the data folder, and what it is. - [`rows`]: the rows and their bytes.
//! - [`engine`]: fjall and how it is used. - [`journal`]: its end after a power cut.
//! - [`load`]: the books from the rows. - [`read`]: batches, checked. - [`writer`]: everything that writes.
//!
//! # When the disk fails
//!
//! A write that fails leaves open whether it is on disk, and neither the memory nor the database is to be
//! trusted about it. The answer is [`StoreError::Failed`], the books stay as they were before, and the store
//! refuses every write from then on, while reads go on. After [`LogConfig::retry_after`] the next write first
//! tries whether the disk takes a probe; then it opens the database again, writes everything that stood in the
//! journal alone to tables (what could be read back after a failed sync may have been in the system's cache
//! and nowhere else), and reads the books from it. Only then is it known what was stored, and only then are
//! writes taken again. A producer that sends its batch once more gets the right answer in either case; while
//! the store refuses, a batch of the write that failed is answered `Failed` again and not `Refuses`, which
//! would say that it is not stored.
//!
//! A disk that fills up should not come to that: below [`LogConfig::min_free_bytes`] appends are refused before
//! they are tried, and what makes room again is still written.
//!
//! # Locks
//!
//! In this order, and none held across an await: `turn` (one writer; held while the disk writes), `disk` (read
//! while in use, written to close and reopen), `known` (the books, held for moments).

mod engine;
mod folder;
mod journal;
mod load;
mod read;
mod rows;
mod writer;

#[cfg(test)]
pub(super) mod tests;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::oneshot, task::spawn_blocking};

pub use self::folder::OpenError;
use self::{engine::Engine, folder::Folder, load::LoadError};
use super::{
    Append, Appended, Limits, Store, StoreError, StoreState, StoredBatch, Trim,
    books::{Books, millis},
};
use crate::{
    Offset, ProducerId, RequestId, TopicName, time,
    wire::{Identity, TopicInfo},
};

/// How a [`LogStore`] writes and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// When what was appended is made durable. Default: [`Fsync::Always`].
    pub fsync: Fsync,
    /// Memory for what is read from disk, in bytes. Default: 32 MiB. Readers near a topic's end read what is
    /// still in memory and do not need it.
    pub cache_bytes: u64,
    /// So many bytes of the disk are left free. Default: 256 MiB. With less, appends are refused with
    /// [`StoreError::Refuses`], while trims and positions are still written: without this a store that has
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

/// A [`Store`] on disk. See the [module's front page](super).
///
/// # Drop
/// A store that is dropped without [`Store::close`] closes in the dropping thread, which then waits for the
/// disk. Nothing that was answered is lost by it.
#[derive(Debug)]
pub struct LogStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: LogConfig,
    /// Whoever holds it writes.
    turn: Mutex<()>,
    disk: RwLock<Disk>,
    known: Mutex<Known>,
    positions: Mutex<Positions>,
}

/// What is open on disk.
#[derive(Debug)]
struct Disk {
    /// Dropped before the folder. `None`: closed, or it could not be opened again.
    engine: Option<Engine>,
    /// `None`: closed.
    folder: Option<Folder>,
}

/// What is known without looking at the disk.
#[derive(Debug)]
struct Known {
    books: Books,
    health: Health,
    /// Why there was no room for the last append that needed any; `None` where there was.
    no_room: Option<String>,
    /// What the write that failed may or may not have stored; empty while the store is ready.
    in_doubt: HashSet<(ProducerId, RequestId)>,
    /// Bytes trimmed since space was last given back.
    trimmed: u64,
}

#[derive(Debug, Clone)]
enum Health {
    Ready,
    Refusing { why: String, retry_at: Instant },
    Closed,
}

/// Positions that wait to be written together.
#[derive(Debug, Default)]
struct Positions {
    waiting: Vec<NewPosition>,
    /// Somebody is writing, and will look again before they stop.
    writing: bool,
}

#[derive(Debug)]
struct NewPosition {
    topic: TopicName,
    name: String,
    next: Offset,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl LogStore {
    /// Opens the data folder at `path`, making it where there is none.
    ///
    /// Reads what the journal holds, at most about 200 MB.
    ///
    /// # Errors
    /// [`OpenError`] says in a sentence why the folder cannot be opened.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the opening; the store is closed as soon as it is open.
    pub async fn open(path: impl Into<PathBuf>, config: LogConfig) -> Result<Self, OpenError> {
        let path = path.into();
        let named = path.clone();
        let opened = spawn_blocking(move || Shared::open(path, config)).await;
        let shared = opened.unwrap_or_else(|e| Err(OpenError::damaged(&named, e)))?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Gives the disk space of trimmed batches back now. Trims do it by themselves, when it is worth the work.
    ///
    /// # Errors
    /// [`StoreError::Refuses`] where the store takes no writes, [`StoreError::Failed`] where the disk failed.
    pub async fn reclaim(&self) -> Result<(), StoreError> {
        let now = time::now();
        self.on_disk(move |shared| shared.reclaim(now)).await
    }

    /// Does `work` where waiting for the disk is allowed. It is done to its end, even where the caller is gone.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        match spawn_blocking(move || work(&shared)).await {
            Ok(done) => done,
            Err(died) => Err(StoreError::Failed(format!("the work on it died: {died}"))),
        }
    }
}

impl Shared {
    fn open(path: PathBuf, config: LogConfig) -> Result<Self, OpenError> {
        let folder = Folder::take(path)?;
        let engine = open_engine(&folder, &config)?;
        let books = load::load(&engine, &config.limits).map_err(|e| match e {
            LoadError::Failed(why) => OpenError::damaged(folder.path(), why),
            LoadError::Malformed(row) => OpenError::damaged(folder.path(), row),
        })?;
        Ok(Self {
            config,
            turn: Mutex::new(()),
            disk: RwLock::new(Disk {
                engine: Some(engine),
                folder: Some(folder),
            }),
            known: Mutex::new(Known {
                books,
                health: Health::Ready,
                no_room: None,
                in_doubt: HashSet::new(),
                trimmed: 0,
            }),
            positions: Mutex::default(),
        })
    }

    // Who panics while writing is noticed: see `writer::Turn`. Who panics while reading has changed nothing.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> RwLockReadGuard<'_, Disk> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books, where the store is not closed.
    fn open_books(&self) -> Result<MutexGuard<'_, Known>, StoreError> {
        let known = self.known();
        match known.health {
            Health::Closed => Err(closed()),
            _ => Ok(known),
        }
    }

    fn read(
        &self,
        name: &TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        let topic = self.open_books()?.books.topic(name);
        let topic = topic.ok_or(StoreError::UnknownTopic)?;
        if from >= topic.next {
            return Ok(Vec::new());
        }
        let disk = self.disk();
        let engine = disk.engine.as_ref().ok_or_else(closed)?;
        let from = from.max(topic.first);
        engine.read((name, topic.id), from, topic.next, max_bytes)
    }
}

fn closed() -> StoreError {
    StoreError::Refuses("it is closed".to_owned())
}

/// Opens the database; after a power cut, once more without the group that was being written.
fn open_engine(folder: &Folder, config: &LogConfig) -> Result<Engine, OpenError> {
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

impl Store for LogStore {
    fn enrol<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<ProducerId, StoreError>> {
        let (identity, now, wall) = (identity.clone(), time::now(), millis(time::wall()));
        self.on_disk(move |shared| shared.enrol(&identity, now, wall))
            .boxed()
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        async move {
            let (len, now) = (group.len(), time::now());
            let answered = self.on_disk(move |shared| Ok(shared.append(&group, now)));
            match answered.await {
                Ok(answers) => answers,
                Err(died) => (0..len)
                    .map(|_| Err(StoreError::Failed(died.to_string())))
                    .collect(),
            }
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        let topic = topic.clone();
        self.on_disk(move |shared| shared.read(&topic, from, max_bytes))
            .boxed()
    }

    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        async move { Ok(self.shared.open_books()?.books.info(topic)) }.boxed()
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        async move {
            let known = self.shared.open_books()?;
            Ok(known.books.infos(after.as_ref(), limit))
        }
        .boxed()
    }

    fn create_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        let (topic, now) = (topic.clone(), time::now());
        self.on_disk(move |shared| shared.create_topic(&topic, now))
            .boxed()
    }

    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        async move {
            let mut bytes = 0;
            loop {
                // A turn each: appends go in between.
                let (name, now) = (topic.clone(), time::now());
                let round = self.on_disk(move |shared| shared.trim(&name, trim, now));
                match round.await? {
                    0 => break,
                    went => bytes += went,
                }
            }
            if self.shared.take_reclaiming()
                && let Err(error) = self.reclaim().await
            {
                tracing::warn!(%error, "the space of trimmed batches could not be given back");
            }
            Ok(bytes)
        }
        .boxed()
    }

    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        async move {
            let known = self.shared.open_books()?;
            let topic = known.books.topic(topic);
            Ok(topic.and_then(|topic| known.books.position(topic.id, name)))
        }
        .boxed()
    }

    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let (done, answer) = oneshot::channel();
            let position = NewPosition {
                topic: topic.clone(),
                name: name.to_owned(),
                next,
                done,
            };
            if self.shared.queue_position(position) {
                let (shared, now) = (Arc::clone(&self.shared), time::now());
                spawn_blocking(move || shared.write_positions(now));
            }
            let died = || StoreError::Failed("the work on it died".to_owned());
            answer.await.unwrap_or_else(|_| Err(died()))
        }
        .boxed()
    }

    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        async move {
            let known = self.shared.open_books()?;
            let topic = known.books.topic(topic);
            Ok(topic.and_then(|topic| known.books.least_position(topic.id)))
        }
        .boxed()
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let before = millis(time::wall().saturating_sub(age));
            let silent = self.shared.open_books()?.books.silent_since(before);
            let count = silent.len() as u64;
            for id in silent {
                let now = time::now();
                self.on_disk(move |shared| shared.forget(id, now)).await?;
            }
            Ok(count)
        }
        .boxed()
    }

    fn state(&self) -> StoreState {
        let known = self.shared.known();
        match (&known.health, &known.no_room) {
            (Health::Closed, _) => StoreState::Closed,
            (Health::Refusing { why, .. }, _) | (Health::Ready, Some(why)) => {
                StoreState::Refusing(why.clone())
            }
            (Health::Ready, None) => StoreState::Ready,
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on_disk(Shared::close).boxed()
    }
}
