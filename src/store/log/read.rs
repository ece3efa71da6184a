//! Reading batches from the database, and checking them.

use std::ops::Bound;

use bytes::Bytes;
use fjall::{Guard, LsmError, Slice};

use super::{
    super::{StoreError, StoredBatch, catalog::TopicId},
    engine::{Engine, sentence},
    rows::{BatchKey, Malformed},
};
use crate::{Offset, TopicName};

impl Engine {
    /// Reads batches of `topic` from the one that holds `from` on, not beyond `end`, until `max_bytes` are
    /// reached. A damaged batch ends what is read, or is the error where it is the first.
    pub(super) fn read(
        &self,
        (name, topic): (&TopicName, TopicId),
        from: Offset,
        end: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        let start = self
            .holding(topic, from)
            .map_err(|e| failure(&e, name, from))?;
        let range = (
            Bound::Included(BatchKey::at(topic, start)),
            Bound::Excluded(BatchKey::at(topic, end)),
        );
        let mut read = Vec::new();
        let mut left = max_bytes;
        for found in self.batches.range(range) {
            let is_first = read.is_empty();
            let fits = |len: u32| usize::try_from(len).is_ok_and(|len| len <= left) || is_first;
            match one(found, fits) {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    left = left.saturating_sub(batch.batch.len());
                    read.push(batch);
                }
                Err(e) if is_first => {
                    let at = e.at.unwrap_or(start);
                    return Err(failure(&e.why, name, at));
                }
                // The next read begins with it and says so.
                Err(_) => break,
            }
            if left == 0 {
                break;
            }
        }
        Ok(read)
    }

    /// The base of the batch that holds `offset`, or `offset` itself where none does.
    fn holding(&self, topic: TopicId, offset: Offset) -> Result<Offset, ReadError> {
        let before = BatchKey::at(topic, Offset(0))..BatchKey::at(topic, offset.next());
        let Some(last) = self.batches.range(before).next_back() else {
            return Ok(offset);
        };
        let key = BatchKey::decode(&last.key()?)?;
        Ok(if key.end() > offset { key.base } else { offset })
    }

    /// The offset behind the batch that holds `offset`; `end` where none does.
    #[cfg(feature = "spool")]
    pub(super) fn end_behind(
        &self,
        topic: TopicId,
        offset: Offset,
        end: Offset,
    ) -> Result<Offset, StoreError> {
        let from = self.holding(topic, offset);
        let from = from.map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let mut keys = self.keys(topic, from, end);
        keys.next().map_or(Ok(end), |key| Ok(key?.end()))
    }

    /// What the keys of `topic` say of its batches from `first` on, oldest first.
    pub(super) fn keys(
        &self,
        topic: TopicId,
        first: Offset,
        end: Offset,
    ) -> impl Iterator<Item = Result<BatchKey, StoreError>> {
        let range = BatchKey::at(topic, first)..BatchKey::at(topic, end);
        self.batches.range(range).map(|found| {
            let key = found.key().map_err(|e| match e {
                fjall::Error::Io(_) => StoreError::Failed(sentence(&e)),
                _ => StoreError::Corrupt(sentence(&e)),
            })?;
            BatchKey::decode(&key).map_err(|e| StoreError::Corrupt(e.to_string()))
        })
    }
}

/// Why a batch could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{}", sentence(.0))]
    Database(#[from] fjall::Error),
    #[error(transparent)]
    Key(#[from] Malformed),
    #[error("the batch does not match its checksum")]
    Checksum,
}

struct At {
    at: Option<Offset>,
    why: ReadError,
}

fn one(found: Guard, fits: impl Fn(u32) -> bool) -> Result<Option<StoredBatch>, At> {
    let unplaced = |why| At { at: None, why };
    let wanted = |key: &Slice| BatchKey::decode(key).is_ok_and(|key| fits(key.len));
    let (key, value) = found
        .into_inner_if(wanted)
        .map_err(|e| unplaced(e.into()))?;
    let key = BatchKey::decode(&key).map_err(|e| unplaced(e.into()))?;
    let Some(value) = value else {
        return Ok(None);
    };
    if !is_intact(&value) {
        return Err(At {
            at: Some(key.base),
            why: ReadError::Checksum,
        });
    }
    Ok(Some(StoredBatch {
        base: key.base,
        count: key.count,
        time: key.time,
        batch: Bytes::from_owner(value),
    }))
}

/// Whether a batch matches the checksum it begins with.
fn is_intact(batch: &[u8]) -> bool {
    batch
        .split_first_chunk()
        .is_some_and(|(sum, rest)| u32::from_le_bytes(*sum) == crc32fast::hash(rest))
}

fn failure(why: &ReadError, topic: &TopicName, at: Offset) -> StoreError {
    let said = format!("topic {topic}, offset {at}: {why}");
    match why {
        ReadError::Database(fjall::Error::Io(_) | fjall::Error::Storage(LsmError::Io(_))) => {
            StoreError::Failed(said)
        }
        _ => StoreError::Corrupt(said),
    }
}
