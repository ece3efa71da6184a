//! Stores for topics.
//!
//! A [`Store`] keeps batches by topic and offset, the requests each producer has had stored, and the committed
//! positions of named consumers. It is the only state of a broker that survives a crash.
//!
//! ```text
//!                catalog ── plan ── dedup_window     sans-I/O: topics, producers and positions; the outcome of a group
//!                   │         │                      of batches; the requests that may be repeated
//!           ┌───────┴─────────┴───────┐
//!      MemoryStore                LogStore           drivers: a deque for each topic, or a log on disk
//! ```
//!
//! Both stores plan a group of batches with the same code, write it in one piece, and change their catalog only
//! afterwards. [`MemoryStore`] forgets everything when it is dropped. [`LogStore`] answers an append when the group is
//! on disk. An application can implement [`Store`] itself, or wrap one of these with [`DelegateStore`].

mod catalog;
mod dedup_window;
mod delegate;
mod log;
pub mod log_format;
mod memory;
mod plan;
mod trim;

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{Offset, ProducerId, RequestId, Timestamp, TopicName};

pub use crate::wire::{ProducerIdentity, RegisteredProducer, TopicInfo, TopicRetention};
pub use dedup_window::{
    DedupCheck, DedupDelta, DedupTxn, DedupWindow, MAX_DEDUP_WINDOW, RequestContent, StoredRequest,
};
pub use delegate::DelegateStore;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use log::fuzz;
pub use log::{Fsync, LogConfig, LogStore, OpenError, Report, check, repair};
pub use memory::{MemoryConfig, MemoryStore};
pub use trim::Trim;

use trim::Ages;

/// A batch to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// The producer that sends it.
    pub producer: ProducerId,
    /// The number of the request at that producer. A request that is already in the dedup window is answered and not
    /// stored again.
    pub request: RequestId,
    /// The producer has the outcome of every request before this one. The store may forget those requests.
    pub answered_below: RequestId,
    /// The topic it is appended to. A topic that does not exist is created.
    pub topic: TopicName,
    /// The number of messages in it, at least one.
    pub count: u32,
    /// The encoded batch. Its checksum, the first four bytes, has been verified.
    pub batch: Bytes,
    /// The broker's time, which is stored with the batch.
    pub time: Timestamp,
}

/// The place at which a batch was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first message.
    pub base: Offset,
    /// The time at which it was stored; for a repeat, the time at which it was stored first.
    pub time: Timestamp,
    /// Whether the request had been stored before.
    pub repeat: bool,
}

/// A batch read from a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The offset of its first message.
    pub base: Offset,
    /// The number of messages in it.
    pub count: u32,
    /// The time at which it was stored.
    pub time: Timestamp,
    /// The encoded batch, byte for byte as it was appended.
    pub batch: Bytes,
}

impl StoredBatch {
    /// Returns the offset that follows its last message.
    #[must_use]
    pub fn end(&self) -> Offset {
        Offset(self.base.0.saturating_add(u64::from(self.count)))
    }
}

/// Limits of the state that a store keeps in memory. What would exceed a limit is refused with [`StoreError::Limit`];
/// nothing that is stored is dropped for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of topics. Default: 100 000, about 20 MB of memory.
    pub topics: usize,
    /// The maximum number of producers that are neither fenced nor forgotten. Default: 100 000, about 30 MB of memory.
    pub producers: usize,
    /// The maximum number of committed positions in all topics together. Default: 100 000, about 20 MB of memory.
    pub positions: usize,
    /// The maximum number of entries in the dedup windows of all producers together: batches that are stored and whose
    /// answers the producers have not confirmed. At the limit, producers with their equal share or more are refused, and the
    /// others get up to that share beyond it. Default: 4 194 304, about 300 MB of memory.
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

/// The readiness of a store for writes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreState {
    /// Writes are taken.
    Ready,
    /// Writes are refused, for the reason given in a sentence. Reads go on. The store leaves this state by itself: a later
    /// append may succeed.
    Refusing(String),
    /// The store has been closed.
    Closed,
}

/// An operation of a store that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A later producer with the same name has been registered, or the producer has been forgotten.
    #[error("a later producer of the same name has taken over")]
    Fenced,
    /// The request has been stored already, with another batch or in another topic. Nothing of this one is stored.
    #[error("the request was stored before with other content")]
    RequestReused,
    /// The request is below the producer's low-water mark, or too far above it.
    #[error("the request lies outside the producer's window")]
    OutOfWindow,
    /// The store takes no writes at present, for example because the disk is full. Nothing of the operation was stored.
    #[error("the store takes no writes: {0}")]
    Refuses(String),
    /// A write failed and may or may not be on disk.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The bytes that were read do not match their checksum, or are not well formed.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// A limit of [`Limits`] is reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// An earlier batch of the same producer in the group was refused, so this one was not considered.
    #[error("an earlier batch of the same producer was refused")]
    AfterRejected,
    /// The topic does not exist.
    #[error("there is no such topic")]
    UnknownTopic,
}

/// Storage for topics, dedup windows and committed positions.
///
/// Methods may be called from many tasks at once, except [`Store::append`]: a single committer calls it, one call at a
/// time, and the order of its groups is the order of the topics.
///
/// # Cancel safety
/// If the future of a call is dropped, the call is carried out completely or not at all. An append that may have been
/// carried out can be repeated: it is answered as a repeat.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Registers a producer and returns its id. The same name and instance get the same id; another instance of a name gets
    /// a greater id, and every lesser id of that name is fenced for good.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if `identity` brings an id that is less than the current one of its name. That is known for as
    /// long as a producer of that name is, see [`Store::forget_producers`].
    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>>;

    /// Appends a group of batches in order, in one atomic write with their dedup entries. Returns when the group is as
    /// durable as this store makes it, with one answer for each batch, in order.
    ///
    /// If a batch is refused, later batches of the same producer in the group are refused too, with
    /// [`StoreError::AfterRejected`] unless there is a more specific error: none of them may be stored before the producer
    /// knows. Repeats are answered all the same.
    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>>;

    /// Returns the stored requests of a producer from `from` on, in the order of their ids, at most `limit`.
    ///
    /// A store that does not know returns none. Nothing is lost by that: the requests are sent again and answered as repeats.
    fn stored_requests(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        let _ = (producer, from, limit);
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Reads batches in order until `max_bytes` are reached, but at least one if there is one. The first batch is the one
    /// that contains `from`, or the oldest one after it. Returns none at the end of the topic.
    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>>;

    /// Returns a topic, if it exists.
    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>>;

    /// Lists topics by name, those that follow `after`, at most `limit`.
    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>>;

    /// Creates a topic, unless it exists. Returns whether it was created.
    fn create_topic<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Changes what is kept of a topic.
    fn set_retention<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Deletes a topic, its batches, the positions in it, and the dedup entries of its batches. A topic of the same name that
    /// is created later begins at offset 0 and has another [`TopicInfo::identity`].
    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Deletes batches of a topic and returns their size in bytes. Appends go on meanwhile.
    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Returns the committed position of a named consumer.
    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>>;

    /// Commits the position of a named consumer: the first offset that it has not processed.
    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Lists the committed positions of a topic by name, those that follow `after`, at most `limit`.
    fn positions<'a>(
        &'a self,
        topic: &'a TopicName,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Offset)>, StoreError>>;

    /// Removes the position of a named consumer, if it exists.
    fn remove_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Returns the least committed position of a topic.
    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>>;

    /// Forgets producers that have been silent for `age`, and returns their number.
    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Returns whether the store takes writes. Does not wait and does not touch the disk.
    fn state(&self) -> StoreState {
        StoreState::Ready
    }

    /// Returns what is known of damage to stored messages, in a sentence; `None` if nothing is. Reads and writes of
    /// everything else go on. Does not wait and does not touch the disk.
    fn damage(&self) -> Option<String> {
        None
    }

    /// Makes everything durable and closes the files. Later calls fail.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
