//! A store that wraps another and passes on what it does not implement itself.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! use anabranch::store::{Append, Appended, DelegateStore, MemoryStore, Store, StoreError};
//! use futures_util::future::BoxFuture;
//!
//! /// Counts the groups that are appended.
//! #[derive(Debug, Default)]
//! struct Counted {
//!     inner: MemoryStore,
//!     groups: AtomicU64,
//! }
//!
//! impl DelegateStore for Counted {
//!     fn inner(&self) -> &dyn Store {
//!         &self.inner
//!     }
//!
//!     fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
//!         self.groups.fetch_add(1, Relaxed);
//!         self.inner.append(group)
//!     }
//! }
//! ```

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

use super::{Append, Appended, Store, StoreError, StoreState, StoredBatch, Trim};
use crate::{
    Offset, ProducerId, RequestId, TopicName,
    wire::{ProducerIdentity, RegisteredProducer, TopicInfo, TopicRetention},
};

/// A [`Store`] that wraps another. Every method calls the one of the same name of the inner store unless it is
/// implemented.
pub trait DelegateStore: Send + Sync + fmt::Debug + 'static {
    /// Returns the inner store.
    fn inner(&self) -> &dyn Store;

    /// See [`Store::register_producer`].
    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        self.inner().register_producer(identity)
    }

    /// See [`Store::append`].
    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        self.inner().append(group)
    }

    /// See [`Store::stored_requests`].
    fn stored_requests(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        self.inner().stored_requests(producer, from, limit)
    }

    /// See [`Store::read`].
    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        self.inner().read(topic, from, max_bytes)
    }

    /// See [`Store::topic`].
    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        self.inner().topic(topic)
    }

    /// See [`Store::topics`].
    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        self.inner().topics(after, limit)
    }

    /// See [`Store::create_topic`].
    fn create_topic<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner().create_topic(topic, retention)
    }

    /// See [`Store::set_retention`].
    fn set_retention<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().set_retention(topic, retention)
    }

    /// See [`Store::delete_topic`].
    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().delete_topic(topic)
    }

    /// See [`Store::trim`].
    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.inner().trim(topic, trim)
    }

    /// See [`Store::position`].
    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        self.inner().position(topic, name)
    }

    /// See [`Store::set_position`].
    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().set_position(topic, name, next)
    }

    /// See [`Store::positions`].
    fn positions<'a>(
        &'a self,
        topic: &'a TopicName,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Offset)>, StoreError>> {
        self.inner().positions(topic, after, limit)
    }

    /// See [`Store::remove_position`].
    fn remove_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().remove_position(topic, name)
    }

    /// See [`Store::least_position`].
    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        self.inner().least_position(topic)
    }

    /// See [`Store::forget_producers`].
    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner().forget_producers(age)
    }

    /// See [`Store::state`].
    fn state(&self) -> StoreState {
        self.inner().state()
    }

    /// See [`Store::damage`].
    fn damage(&self) -> Option<String> {
        self.inner().damage()
    }

    /// See [`Store::close`].
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner().close()
    }
}

impl<L: DelegateStore> Store for L {
    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        DelegateStore::register_producer(self, identity)
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        DelegateStore::append(self, group)
    }

    fn stored_requests(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        DelegateStore::stored_requests(self, producer, from, limit)
    }

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        DelegateStore::read(self, topic, from, max_bytes)
    }

    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        DelegateStore::topic(self, topic)
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        DelegateStore::topics(self, after, limit)
    }

    fn create_topic<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        DelegateStore::create_topic(self, topic, retention)
    }

    fn set_retention<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        DelegateStore::set_retention(self, topic, retention)
    }

    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        DelegateStore::delete_topic(self, topic)
    }

    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        DelegateStore::trim(self, topic, trim)
    }

    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        DelegateStore::position(self, topic, name)
    }

    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        DelegateStore::set_position(self, topic, name, next)
    }

    fn positions<'a>(
        &'a self,
        topic: &'a TopicName,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Offset)>, StoreError>> {
        DelegateStore::positions(self, topic, after, limit)
    }

    fn remove_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        DelegateStore::remove_position(self, topic, name)
    }

    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        DelegateStore::least_position(self, topic)
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        DelegateStore::forget_producers(self, age)
    }

    fn state(&self) -> StoreState {
        DelegateStore::state(self)
    }

    fn damage(&self) -> Option<String> {
        DelegateStore::damage(self)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        DelegateStore::close(self)
    }
}
