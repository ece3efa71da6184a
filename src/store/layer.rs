//! A store around another: what it does differently, and the rest passed on.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//!
//! use anabranch::store::{Append, Appended, Layer, MemoryStore, Store, StoreError};
//! use futures_util::future::BoxFuture;
//!
//! /// Counts the groups that are appended.
//! #[derive(Debug, Default)]
//! struct Counted {
//!     inner: MemoryStore,
//!     groups: AtomicU64,
//! }
//!
//! impl Layer for Counted {
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
    wire::{Enrolled, Identity, TopicInfo},
};

/// A [`Store`] that stands around another. Every method passes the call on unless it is written anew; each means what
/// the method of that name means there.
pub trait Layer: Send + Sync + fmt::Debug + 'static {
    /// The store that the calls go to.
    fn inner(&self) -> &dyn Store;

    /// As [`Store::enrol`].
    fn enrol<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Enrolled, StoreError>> {
        self.inner().enrol(identity)
    }

    /// As [`Store::append`].
    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        self.inner().append(group)
    }

    /// As [`Store::recall`].
    fn recall(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        self.inner().recall(producer, from, limit)
    }

    /// As [`Store::read`].
    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        self.inner().read(topic, from, max_bytes)
    }

    /// As [`Store::topic`].
    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        self.inner().topic(topic)
    }

    /// As [`Store::topics`].
    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        self.inner().topics(after, limit)
    }

    /// As [`Store::create_topic`].
    fn create_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().create_topic(topic)
    }

    /// As [`Store::trim`].
    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.inner().trim(topic, trim)
    }

    /// As [`Store::position`].
    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        self.inner().position(topic, name)
    }

    /// As [`Store::set_position`].
    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner().set_position(topic, name, next)
    }

    /// As [`Store::least_position`].
    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        self.inner().least_position(topic)
    }

    /// As [`Store::forget_producers`].
    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner().forget_producers(age)
    }

    /// As [`Store::state`].
    fn state(&self) -> StoreState {
        self.inner().state()
    }

    /// As [`Store::close`].
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner().close()
    }
}

impl<L: Layer> Store for L {
    fn enrol<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Enrolled, StoreError>> {
        Layer::enrol(self, identity)
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Layer::append(self, group)
    }

    fn recall(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        Layer::recall(self, producer, from, limit)
    }

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        Layer::read(self, topic, from, max_bytes)
    }

    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        Layer::topic(self, topic)
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        Layer::topics(self, after, limit)
    }

    fn create_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        Layer::create_topic(self, topic)
    }

    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Layer::trim(self, topic, trim)
    }

    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        Layer::position(self, topic, name)
    }

    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Layer::set_position(self, topic, name, next)
    }

    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        Layer::least_position(self, topic)
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        Layer::forget_producers(self, age)
    }

    fn state(&self) -> StoreState {
        Layer::state(self)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Layer::close(self)
    }
}
