//! The log on disk: a [`LogStore`] of its own, with one topic for entries and one for the identity.
//!
//! An entry is a batch and the topic it is for. Its number is its position in the log, counted in messages, and so is the
//! request under which it is sent: the same for as long as it is there, whichever process sends it.
//!
//! Two marks are kept beside the entries, each on disk before anything is done on its strength:
//!
//! - `done`: everything before it has its final answer. The broker is told to forget no earlier than that.
//! - `planned`: everything from `done` to it was, or may have been, sent as one piece, and must be sent as the same
//!   piece again: entries are joined into larger batches, and a request id has to mean the same messages each time.

use std::{ops::Range, sync::Arc};

use futures_util::FutureExt;

use super::{Config, entry, mode::Size};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName,
    store::{Append, Appended, LogConfig, LogStore, OpenError, Store, StoreError, Trim},
    time,
    wire::{Batch, ProducerIdentity},
};

/// The size of a segment: an empty spool has two of them.
const SEGMENT: u64 = 4 << 20;

const DONE: &str = "done";
const PLANNED: &str = "planned";

/// One entry of the log.
#[derive(Debug)]
pub(super) struct Entry {
    /// The messages it has, by their positions.
    pub(super) positions: Range<u64>,
    /// Where its messages go; `None` where it is damaged.
    pub(super) content: Option<(TopicName, Batch)>,
}

/// A piece of the log that is sent as one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) positions: Range<u64>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Log {
    store: LogStore,
    entries: TopicName,
    identity: TopicName,
}

/// One group to be written: all of it or nothing.
#[derive(Debug, Clone)]
pub(super) struct Group(pub(super) Vec<Append>);

/// Why something was not written, or not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// Nothing of it is on disk.
    #[error("the spool takes no writes: {0}")]
    NotWritten(StoreError),
    /// It may be on disk.
    #[error("the spool could not be written: {0}")]
    InDoubt(StoreError),
    #[error("the spool does not know yet whether a write succeeded")]
    Waiting,
    #[error("the spool could not be read: {0}")]
    Unreadable(StoreError),
    #[error("the spool does not know who it is: its identity is damaged")]
    NoIdentity,
}

fn not_written(error: StoreError) -> LogError {
    match error {
        StoreError::Failed(_) => LogError::InDoubt(error),
        error => LogError::NotWritten(error),
    }
}

impl Log {
    /// Opens the folder. Waits for the disk.
    pub(super) fn open(config: &Config) -> Result<Self, OpenError> {
        let log = LogConfig {
            segment_bytes: SEGMENT,
            min_free_bytes: config.min_free_bytes,
            ..LogConfig::default()
        };
        let name = |name| TopicName::new(name).expect("a topic's name");
        Ok(Self {
            store: LogStore::open_here(config.folder.clone(), log)?,
            entries: name("entries"),
            identity: name("identity"),
        })
    }

    /// What is on disk and not done.
    pub(super) fn held(&self) -> Size {
        // What the store knows without its disk is there at once.
        let info = self.store.topic(&self.entries).now_or_never();
        let info = info.and_then(Result::ok).flatten();
        info.map_or(Size::default(), |info| Size {
            messages: info.next.0.saturating_sub(self.done().max(info.first.0)),
            bytes: info.bytes,
        })
    }

    /// Everything before this position has its final answer.
    pub(super) fn done(&self) -> u64 {
        self.mark(DONE)
    }

    fn mark(&self, name: &str) -> u64 {
        let mark = self.store.position(&self.entries, name).now_or_never();
        mark.and_then(Result::ok).flatten().map_or(0, |next| next.0)
    }

    /// The right to write, for this process.
    pub(super) async fn writer(&self) -> Result<ProducerId, LogError> {
        let writer = ProducerIdentity {
            name: "writer".to_owned(),
            instance: fastrand::u64(..),
            id: None,
        };
        let enrolled = self.store.register_producer(&writer).await;
        enrolled.map(|enrolled| enrolled.id).map_err(not_written)
    }

    /// One batch as a part of a group. `number` counts what this writer writes.
    pub(super) fn entry(
        &self,
        producer: ProducerId,
        (number, first): (u64, u64),
        topic: &TopicName,
        (batch, count): (&[u8], u32),
    ) -> Append {
        Append {
            producer,
            request: RequestId(number),
            answered_below: RequestId(first),
            topic: self.entries.clone(),
            count,
            batch: entry::encode(topic, batch),
            time: time::timestamp(),
        }
    }

    /// Writes a group and syncs it. The same group may be written again after an error, and is on disk once.
    pub(super) async fn write(&self, group: &Group) -> Result<Vec<Appended>, LogError> {
        let answers = self.store.append(group.0.clone()).await;
        answers
            .into_iter()
            .map(|answer| answer.map_err(not_written))
            .collect()
    }

    /// The next piece, at most about `size`, or the one that was planned before. `None` where everything is done.
    pub(super) async fn next_piece(&self, size: Size) -> Result<Option<Piece>, LogError> {
        let (done, planned) = (self.done(), self.mark(PLANNED));
        let info = self.store.topic(&self.entries).await;
        let info = info.map_err(LogError::Unreadable)?;
        let next = info.map_or(0, |info| info.next.0);
        if done >= next {
            return Ok(None);
        }
        if planned > done {
            let whole = Size {
                messages: u64::MAX,
                bytes: u64::MAX,
            };
            return self.read(done..planned.min(next), whole).await.map(Some);
        }
        let piece = self.read(done..next, size).await?;
        self.set(PLANNED, piece.positions.end).await?;
        Ok(Some(piece))
    }

    async fn read(&self, positions: Range<u64>, size: Size) -> Result<Piece, LogError> {
        let mut entries = Vec::new();
        let (mut at, mut bytes) = (positions.start, 0);
        while at < positions.end && bytes < size.bytes && at - positions.start < size.messages {
            let most = usize::try_from(size.bytes.min(1 << 20)).unwrap_or(usize::MAX);
            match self.store.read(&self.entries, Offset(at), most).await {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => {
                    for stored in batches {
                        if stored.base.0 >= positions.end
                            || bytes >= size.bytes
                            || at - positions.start >= size.messages
                        {
                            break;
                        }
                        bytes += stored.batch.len() as u64;
                        entries.push(Entry {
                            positions: at..stored.end().0,
                            content: entry::decode(&stored.batch),
                        });
                        at = stored.end().0;
                    }
                }
                Err(StoreError::Corrupt(why)) => {
                    let end = self.store.end_behind(&self.entries, Offset(at)).await;
                    let end = end.map_err(LogError::Unreadable)?.0;
                    tracing::error!(%why, messages = end - at, "an entry of the spool is damaged");
                    entries.push(Entry {
                        positions: at..end,
                        content: None,
                    });
                    at = end;
                }
                Err(error) => return Err(LogError::Unreadable(error)),
            }
        }
        Ok(Piece {
            positions: positions.start..at,
            entries,
        })
    }

    async fn set(&self, mark: &str, position: u64) -> Result<(), LogError> {
        let set = self
            .store
            .set_position(&self.entries, mark, Offset(position));
        set.await.map_err(not_written)
    }

    /// Everything before `position` has its final answer. On disk when this returns.
    pub(super) async fn set_done(&self, position: u64) -> Result<(), LogError> {
        self.set(DONE, position).await
    }

    /// Drops what is done.
    pub(super) async fn trim(&self) -> Result<(), LogError> {
        let trim = Trim {
            max_bytes: Some(0),
            keep_from: Some(Offset(self.done())),
            ..Trim::default()
        };
        let trimmed = self.store.trim(&self.entries, trim).await;
        match trimmed {
            Ok(_) | Err(StoreError::UnknownTopic) => Ok(()),
            Err(error) => Err(not_written(error)),
        }
    }

    /// Returns the producer identity under which this folder is delivered. It is the same as long as the folder exists.
    pub(super) async fn identity(&self) -> Result<ProducerIdentity, LogError> {
        let read = self.store.read(&self.identity, Offset(0), 1).await;
        match read {
            Ok(stored) if !stored.is_empty() => {
                entry::decode_identity(&stored[0].batch).ok_or(LogError::NoIdentity)
            }
            Ok(_) | Err(StoreError::UnknownTopic) => self.make_identity().await,
            Err(StoreError::Corrupt(_)) => Err(LogError::NoIdentity),
            Err(error) => Err(LogError::Unreadable(error)),
        }
    }

    async fn make_identity(&self) -> Result<ProducerIdentity, LogError> {
        let identity = ProducerIdentity {
            name: format!("spool-{:016x}", fastrand::u64(..)),
            instance: fastrand::u64(..),
            id: None,
        };
        let founder = ProducerIdentity {
            name: "founder".to_owned(),
            instance: identity.instance,
            id: None,
        };
        let enrolled = self
            .store
            .register_producer(&founder)
            .await
            .map_err(not_written)?;
        let append = Append {
            producer: enrolled.id,
            request: RequestId(0),
            answered_below: RequestId(0),
            topic: self.identity.clone(),
            count: 1,
            batch: entry::encode_identity(&identity),
            time: Timestamp::default(),
        };
        let mut answers = self.store.append(vec![append]).await;
        match answers.pop() {
            Some(Ok(_)) => Ok(identity),
            Some(Err(error)) => Err(not_written(error)),
            None => Err(LogError::NoIdentity),
        }
    }

    /// Lets go of the folder.
    pub(super) async fn close(&self) -> Result<(), LogError> {
        self.store.close().await.map_err(not_written)
    }
}

pub(super) type SharedLog = Arc<Log>;
