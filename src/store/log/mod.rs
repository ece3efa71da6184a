//! The store on disk, on [fjall](https://docs.rs/fjall) 3.
//!
//! ```text
//! append ─▶ turn ─▶ plan ─▶ one write: batches, topic rows, dedupe entries ─▶ journal, fdatasync ─▶ enter ─▶ answers
//!            one writer at a time          deletions of entries that fell out       the catalog
//! read ─▶ catalog: is there such a topic, how far does it go ─▶ keys and values ─▶ checksum ─▶ batches
//! ```
//!
//! - `folder`: who may have the data folder, and what it is. `rows`: the rows and their bytes.
//! - `engine`: fjall and how it is used. `journal`: its end after a power cut.
//! - `shared`: the files and the catalog. `load`: the catalog from the rows. `read`: batches, checked.
//! - `turn`: the right to write. `writer`: everything that writes. `positions`: written together.
//!
//! # When the disk fails
//!
//! A write that fails leaves open whether it is on disk, and neither the memory nor the database is to be
//! trusted about it. The answer is [`StoreError::Failed`], the catalog stay as they were before, and the store
//! refuses every write from then on, while reads go on. After [`LogConfig::retry_after`] the next write first
//! tries whether the disk takes a probe; then it opens the database again, writes everything that stood in the
//! journal alone to tables (what could be read back after a failed sync may have been in the system's cache
//! and nowhere else), and reads the catalog from it. Only then is it known what was stored, and only then are
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
//! while in use, written to close and reopen), `known` (the catalog, held for moments).

mod config;
mod engine;
mod folder;
mod journal;
mod load;
mod positions;
mod read;
mod rows;
mod shared;
mod turn;
mod writer;

#[cfg(test)]
pub(super) mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::oneshot, task::spawn_blocking};

pub use self::{
    config::{Fsync, LogConfig},
    folder::OpenError,
};
use self::{
    positions::{NewPosition, PositionWriter},
    shared::{Health, Shared},
};
use super::{Append, Appended, Store, StoreError, StoreState, StoredBatch, Trim, catalog::millis};
use crate::{
    Offset, ProducerId, RequestId, TopicName, time,
    wire::{ProducerIdentity, RegisteredProducer, TopicInfo},
};

/// A [`Store`] on disk. See the [module's front page](super).
///
/// # Drop
/// A store that is dropped without [`Store::close`] closes in the dropping thread, which then waits for the
/// disk. Nothing that was answered is lost by it.
#[derive(Debug)]
pub struct LogStore {
    shared: Arc<Shared>,
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

    /// As [`LogStore::open`], in the calling thread, which waits for the disk.
    #[cfg(feature = "spool")]
    pub(crate) fn open_here(path: PathBuf, config: LogConfig) -> Result<Self, OpenError> {
        Ok(Self {
            shared: Arc::new(Shared::open(path, config)?),
        })
    }

    /// The offset behind the batch that holds `offset`, by its key alone: to go past a batch that is damaged.
    #[cfg(feature = "spool")]
    pub(crate) async fn end_behind(
        &self,
        topic: &TopicName,
        offset: Offset,
    ) -> Result<Offset, StoreError> {
        let topic = topic.clone();
        self.on_disk(move |shared| shared.end_behind(&topic, offset))
            .await
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

impl Store for LogStore {
    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        let (identity, now, wall) = (identity.clone(), time::now(), millis(time::unix_time()));
        self.on_disk(move |shared| shared.register_producer(&identity, now, wall))
            .boxed()
    }

    fn stored_requests(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        async move {
            let known = self.shared.open_catalog()?;
            known.catalog.stored_requests(producer, from, limit)
        }
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
        async move { Ok(self.shared.open_catalog()?.catalog.info(topic)) }.boxed()
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        async move {
            let known = self.shared.open_catalog()?;
            Ok(known.catalog.infos(after.as_ref(), limit))
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
            let known = self.shared.open_catalog()?;
            let topic = known.catalog.topic(topic);
            Ok(topic.and_then(|topic| known.catalog.position(topic.id, name)))
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
            if let Some(writer) = PositionWriter::wanted(&self.shared, position) {
                let now = time::now();
                spawn_blocking(move || writer.run(now));
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
            let known = self.shared.open_catalog()?;
            let topic = known.catalog.topic(topic);
            Ok(topic.and_then(|topic| known.catalog.least_position(topic.id)))
        }
        .boxed()
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let before = millis(time::unix_time().saturating_sub(age));
            let silent = self.shared.open_catalog()?.catalog.silent_since(before);
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
