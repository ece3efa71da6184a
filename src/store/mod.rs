//! Where topics live.
//!
//! A [`Store`] keeps batches by topic and offset, what each producer has had stored, and the positions of
//! named readers. It is the broker's only memory: everything a broker must know after a crash is in here.
//!
//! ```text
//!                    books ── plan ── window       pure: topics, producers and positions, what a group of
//!                      │        │                  batches comes to, what was stored and may be asked again
//!              ┌───────┴────────┴───────┐
//!        MemoryStore                LogStore       the shells: a deque a topic, or fjall on disk
//! ```
//!
//! Both plan a group of batches in the same pure way, write it in one piece, and only then change what they
//! know. [`MemoryStore`] forgets everything when it is dropped; [`LogStore`] answers an append when the disk
//! has it. Users can bring their own [`Store`], or a [`Layer`] around one of these.

mod books;
mod layer;
mod log;
mod memory;
mod plan;
mod window;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName,
    wire::{Enrolled, Identity, TopicInfo},
};

pub use layer::Layer;
pub use log::{Fsync, LogConfig, LogStore, OpenError};
pub use memory::{MemoryConfig, MemoryStore};
pub use window::{Change, Check, Draft, MAX_WINDOW, Window};

/// A batch to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Who sends it.
    pub producer: ProducerId,
    /// Its number at that producer: a number that is in the dedupe window already is answered, not stored again.
    pub request: RequestId,
    /// Every request before this one has its outcome at the producer: the store may forget them.
    pub answered_below: RequestId,
    /// Where it goes. A topic that does not exist is made.
    pub topic: TopicName,
    /// How many messages it holds, at least one.
    pub count: u32,
    /// The encoded batch, checked.
    pub batch: Bytes,
    /// The broker's time, kept with the batch.
    pub time: Timestamp,
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first message.
    pub base: Offset,
    /// When it was stored. For a repeat: when it was stored the first time.
    pub time: Timestamp,
    /// It was there already.
    pub repeat: bool,
}

/// A batch that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The offset of its first message.
    pub base: Offset,
    /// How many messages it holds.
    pub count: u32,
    /// When it was stored.
    pub time: Timestamp,
    /// The encoded batch as it came in.
    pub batch: Bytes,
}

impl StoredBatch {
    /// The offset behind its last message.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.base.0.saturating_add(u64::from(self.count)))
    }
}

/// What may be dropped from a topic. Whole batches go, oldest first, and never the topic's last batch's offsets:
/// offsets are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trim {
    /// Batches stored before this time may go.
    pub older_than: Option<Timestamp>,
    /// The oldest batches go until at most so many bytes are left.
    pub max_bytes: Option<u64>,
    /// Nothing at or behind this offset may go.
    pub keep_from: Option<Offset>,
    /// Nothing may go that a named reader of the topic is not done with: its position is looked up in the same step,
    /// so that no reader's first position comes in between.
    pub keep_unread: bool,
}

impl Trim {
    /// The same trim where the least position of the topic's named readers is this.
    #[must_use]
    pub fn with_least_position(mut self, least: Option<Offset>) -> Self {
        if self.keep_unread {
            self.keep_from = match (self.keep_from, least) {
                (Some(from), Some(least)) => Some(from.min(least)),
                (from, least) => from.or(least),
            };
        }
        self
    }

    /// Whether the oldest batch of a topic may go: `left` is what the topic's batches come to with it, `time`
    /// when it was stored, `end` the offset behind its last message.
    #[must_use]
    pub fn takes(&self, left: u64, time: Timestamp, end: Offset) -> bool {
        let needed = self.keep_from.is_some_and(|keep| end > keep);
        let old = self.older_than.is_some_and(|before| time < before);
        let over = self.max_bytes.is_some_and(|most| left > most);
        !needed && (old || over)
    }
}

/// How much a store keeps books of. Reaching a limit refuses what would go beyond it, with
/// [`StoreError::Limit`]; nothing that is there is dropped for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most topics. Default: 100 000, about 20 MB of memory.
    pub topics: usize,
    /// The most producers that are neither fenced nor forgotten. Default: 100 000, about 30 MB of memory.
    pub producers: usize,
    /// The most named positions in all topics together. Default: 100 000, about 20 MB of memory.
    pub positions: usize,
    /// The most entries in the dedupe windows of all producers together: batches stored whose answers the
    /// producers have not confirmed. Default: 4 194 304, about 250 MB of memory.
    pub dedupe_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            topics: 100_000,
            producers: 100_000,
            positions: 100_000,
            dedupe_entries: 4_194_304,
        }
    }
}

/// Whether a store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreState {
    /// It does.
    Ready,
    /// It does not, for the reason given in a sentence; reads go on. A store leaves this state by itself: an
    /// append that comes later may be taken again.
    Refusing(String),
    /// It has been closed.
    Closed,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A later incarnation of the same producer name has been enrolled, or the producer has been forgotten.
    #[error("a later producer of the same name has taken over")]
    Fenced,
    /// The request lies before the producer's own low-water mark, or too far ahead of it.
    #[error("the request lies outside the producer's window")]
    OutOfWindow,
    /// The store takes no writes at present (full, read-only); nothing of this was stored.
    #[error("the store takes no writes: {0}")]
    Refuses(String),
    /// Writing failed in a way that leaves open whether this was stored.
    #[error("the store failed: {0}")]
    Failed(String),
    /// What was read does not match its checksum or is not well formed.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// A limit (topics, producers, positions) is reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// A batch before it in its group, of the same producer, was refused: this one was not looked at.
    #[error("a batch before it was refused")]
    Behind,
    /// There is no such topic.
    #[error("there is no such topic")]
    UnknownTopic,
}

/// Topics, dedupe windows and positions, on disk or in memory or elsewhere.
///
/// Calls may come from many tasks at once, with one exception: [`Store::append`] is called by one committer, one
/// call at a time, so the order of its groups is the order of the topics.
///
/// # Cancel safety
/// A call whose future is dropped may be carried out or not, but never by half. An append that may have been
/// carried out can be made again: it is answered as a repeat.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Makes `identity` known and gives its producer id: the same for the same name and instance, a greater one
    /// otherwise, and then every lesser id of that name is fenced for good.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where `identity` shows an id less than the one that stands: it was overtaken. That is
    /// known for as long as a producer of that name is, see [`Store::forget_producers`].
    fn enrol<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Enrolled, StoreError>>;

    /// Appends a group of batches in order, in one atomic write with their dedupe entries, and returns when it is as durable as
    /// this store makes it. One answer a batch, in order.
    ///
    /// Where a batch is refused, the batches of the same producer behind it in the group are refused too, with
    /// [`StoreError::Behind`] unless there is more to say: none of them may be stored before its producer knows.
    /// Repeats are answered all the same.
    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>>;

    /// What is stored of a producer's requests at or behind `from`, in the order of their ids, at most `limit`.
    ///
    /// A store that cannot say answers with none. Nothing is lost by it: the requests come again, and are answered as
    /// repeats.
    fn recall(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        let _ = (producer, from, limit);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Reads batches in order, beginning with the one that holds `from` (or the oldest behind it), until
    /// `max_bytes` are reached, but at least one if there is one. Empty at the end of the topic.
    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>>;

    /// One topic, if it exists.
    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>>;

    /// Topics by name, behind `after`, at most `limit`.
    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>>;

    /// Makes a topic if it does not exist.
    fn create_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Drops what `trim` allows; answers how many bytes went. Appends go on meanwhile.
    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// The position of a named reader.
    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>>;

    /// Sets the position of a named reader: the first offset it is not done with.
    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The least position of all named readers of a topic.
    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>>;

    /// Forgets producers that were not heard of for `age`.
    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Whether the store takes writes. Does not wait, and does not touch the disk.
    fn state(&self) -> StoreState {
        StoreState::Ready
    }

    /// Makes everything durable and lets go of the files. Later calls fail.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
