//! The store on disk: one append-only log, in which every byte is written once.
//!
//! ```text
//! append ─▶ write guard ─▶ plan ─▶ one frame: records and batches ─▶ pwrite, fdatasync ─▶ apply ─▶ answers
//!           one writer at a time   segments, made ahead of use                          catalog, index
//! read ─▶ catalog, index: where the batches are ─▶ pread ─▶ checksum ─▶ batches
//! open ─▶ manifest ─▶ snapshot ─▶ frames after it ─▶ catalog, index, end of the log ─▶ a new segment
//! ```
//!
//! - `format`: the bytes on disk, as [`log_format`](super::log_format) tells them. `disk`: the file system behind a trait.
//! - `frames`, `walk`: reading a segment, up to the first damage and past it. `load`: reading each other file.
//! - `data_dir`: the folder and its lock. `recover`, `replay`, `open`: what a folder holds. `check`, `repair`: for a person.
//! - `active`: the end of the log. `index`: where batches are. `files`: the files open for reading. `read`: batches, checked.
//! - `write_guard`: frames, and failures of the disk. `writer`, `positions`: everything that writes.
//! - `maintenance`: `segments`, `snapshot`, `compact` (space), `mark` (how far the log goes), `verify` (damage).
//!
//! # When the disk fails
//!
//! A write or sync that fails leaves open what is on disk: after a failed sync the system may have dropped what it could not
//! write, and a second sync of the same file may succeed all the same. The answer is [`StoreError::Failed`], the catalog stays
//! as it was, and the store refuses every write from then on, while reads go on. After [`LogConfig::retry_after`] the next write
//! first tries whether the disk takes a file. Then the segment is read back from the disk and compared with what was answered,
//! its end is written to the manifest, and the log goes on in another segment. The failed frame is after that end, so it is
//! known then that it is not stored. Until then a batch of that frame is answered `Failed` again and not `Refuses`, which would
//! say that it is not stored. If the process ends before, the next opening finds the frame whole or torn.
//!
//! A full disk is met when the next segment is made, before anything is written. Below [`LogConfig::min_free_bytes`] appends are
//! refused, while positions and trims are still taken.
//!
//! # Locks
//!
//! In this order, and none held across an await: `writer` (held while a frame is written), `manifest` (held while files are
//! added or removed), `state` (the catalog and the index, held for moments).

mod active;
mod check;
mod compact;
mod config;
mod damage;
mod data_dir;
mod disk;
mod files;
mod format;
mod frames;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod index;
mod load;
mod maintenance;
mod mark;
mod open;
mod position_queue;
mod positions;
mod read;
mod recover;
mod repair;
mod replay;
mod report;
mod segments;
mod shared;
mod snapshot;
mod verify;
mod walk;
mod work;
mod write_guard;
mod writer;

#[cfg(test)]
pub(super) mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::oneshot, task::spawn_blocking};

pub use self::{
    check::check,
    config::{Fsync, LogConfig},
    data_dir::OpenError,
    repair::repair,
    report::Report,
};
use self::{
    position_queue::NewPosition,
    positions::PositionWriter,
    shared::{Health, Shared},
};
use super::{Append, Appended, Store, StoreError, StoreState, StoredBatch, Trim, catalog::millis};
use crate::{
    Offset, ProducerId, RequestId, TopicName, time,
    wire::{ProducerIdentity, RegisteredProducer, TopicInfo, TopicRetention},
};

/// A [`Store`] on disk. See the [module's front page](super).
///
/// # Drop
/// A store that is dropped without [`Store::close`] waits for its maintenance to stop, in the dropping thread. Nothing that was
/// answered is lost by it; the next opening takes longer than after a close.
#[derive(Debug)]
pub struct LogStore {
    shared: Arc<Shared>,
}

impl LogStore {
    /// Opens the data folder at `path`, creating it if it does not exist.
    ///
    /// Reads a snapshot and the frames after it: the last two or three segments, or more if the snapshot is large.
    ///
    /// # Errors
    /// [`OpenError`] says in a sentence why the folder cannot be opened. Nothing in the folder has been changed then.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the opening; the store is closed as soon as it is open.
    pub async fn open(path: impl Into<PathBuf>, config: LogConfig) -> Result<Self, OpenError> {
        let path = path.into();
        let named = path.clone();
        let opened = spawn_blocking(move || Self::open_here(path, config)).await;
        opened.unwrap_or_else(|e| Err(OpenError::damaged(&named, e)))
    }

    /// Opens a data folder in the calling thread, which waits for the disk.
    pub(crate) fn open_here(path: PathBuf, config: LogConfig) -> Result<Self, OpenError> {
        let named = path.clone();
        let shared = Arc::new(Shared::open(path, config)?);
        maintenance::start(&shared).map_err(|e| OpenError::io(&named, e))?;
        Ok(Self { shared })
    }

    /// Returns the offset after the batch that contains `offset`, from the index alone: to skip a batch that is damaged.
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

    /// Gives the disk space of trimmed batches back now. Trims do it by themselves when there is enough of it.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the disk failed.
    pub async fn reclaim(&self) -> Result<(), StoreError> {
        self.on_disk(move |shared| {
            let done = shared.maintain(true);
            done.map_err(|e| StoreError::Failed(e.to_string()))
        })
        .await
    }

    /// Reads every sealed segment now and checks it, as the store does in the background at [`LogConfig::verify_rate`]. Returns
    /// what [`Store::damage`] returns then.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the work dies.
    pub async fn verify(&self) -> Result<Option<String>, StoreError> {
        let now = time::now();
        self.on_disk(move |shared| {
            shared.verify(now);
            Ok(shared.state().damage.said())
        })
        .await
    }

    /// Writes trims and forgotten producers. If that fails, the next frame brings them: what a crash undoes is done again.
    async fn write_pending(&self) -> Result<(), StoreError> {
        self.on_disk(|shared| {
            if let Err(error) = shared.write_pending(false) {
                tracing::warn!(%error, "a trim was not written yet");
            }
            Ok(())
        })
        .await
    }

    /// Does `work` in a thread that may wait for the disk. It is done to its end, even if the caller is gone.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let done = work(&shared);
            shared.maintain_here();
            done
        };
        match spawn_blocking(work).await {
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
            let state = self.shared.open_state()?;
            state.catalog.stored_requests(producer, from, limit)
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
        async move { Ok(self.shared.open_state()?.catalog.info(topic)) }.boxed()
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        async move {
            let state = self.shared.open_state()?;
            Ok(state.catalog.infos(after.as_ref(), limit))
        }
        .boxed()
    }

    fn create_topic<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (topic, now) = (topic.clone(), time::now());
        self.on_disk(move |shared| shared.create_topic(&topic, retention, now))
            .boxed()
    }

    fn set_retention<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (topic, now) = (topic.clone(), time::now());
        self.on_disk(move |shared| shared.set_retention(&topic, retention, now))
            .boxed()
    }

    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        let (topic, now) = (topic.clone(), time::now());
        self.on_disk(move |shared| shared.delete_topic(&topic, now))
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
                // Appends go on between the rounds.
                let name = topic.clone();
                let round = self.on_disk(move |shared| shared.trim(&name, trim));
                match round.await? {
                    0 => break,
                    went => bytes += went,
                }
            }
            if bytes > 0 {
                self.write_pending().await?;
            }
            self.shared.work.wake();
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
            let state = self.shared.open_state()?;
            let topic = state.catalog.topic(topic);
            Ok(topic.and_then(|topic| state.catalog.position(topic.id, name)))
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

    fn positions<'a>(
        &'a self,
        topic: &'a TopicName,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Offset)>, StoreError>> {
        async move {
            let state = self.shared.open_state()?;
            let topic = state.catalog.topic(topic);
            let topic = topic.ok_or(StoreError::UnknownTopic)?;
            Ok(state.catalog.positions(topic.id, after, limit))
        }
        .boxed()
    }

    fn remove_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (topic, name, now) = (topic.clone(), name.to_owned(), time::now());
        self.on_disk(move |shared| shared.remove_position(&topic, &name, now))
            .boxed()
    }

    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        async move {
            let state = self.shared.open_state()?;
            let topic = state.catalog.topic(topic);
            Ok(topic.and_then(|topic| state.catalog.least_position(topic.id)))
        }
        .boxed()
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let before = millis(time::unix_time().saturating_sub(age));
            let silent = self.shared.open_state()?.catalog.silent_since(before);
            let count = silent.len() as u64;
            for id in silent {
                self.on_disk(move |shared| shared.forget(id)).await?;
            }
            if count > 0 {
                self.write_pending().await?;
            }
            Ok(count)
        }
        .boxed()
    }

    fn state(&self) -> StoreState {
        let state = self.shared.state();
        match (&state.health, &state.no_room) {
            (Health::Closed, _) => StoreState::Closed,
            (Health::Refusing { why, .. }, _) | (Health::Ready, Some(why)) => {
                StoreState::Refusing(why.clone())
            }
            (Health::Ready, None) => StoreState::Ready,
        }
    }

    fn damage(&self) -> Option<String> {
        self.shared.state().damage.said()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.on_disk(|shared| {
            shared.work.stop();
            shared.close()
        })
        .boxed()
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.shared.work.stop();
    }
}
