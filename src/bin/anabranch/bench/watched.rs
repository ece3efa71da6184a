//! A store that counts what is appended at once, so that the disk can be asked the same question.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anabranch::{
    Offset, ProducerId, RequestId, TopicName,
    store::{Append, Appended, Store, StoreError, StoreState, StoredBatch, Trim},
    wire::{Enrolled, Identity, TopicInfo},
};
use futures_util::future::BoxFuture;

/// Passes everything on.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn Store>,
    groups: AtomicU64,
    bytes: AtomicU64,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            groups: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// How many bytes a group had on average since the last look; nothing, where there was none.
    pub(super) fn usual_group(&self) -> Option<u64> {
        let (groups, bytes) = (self.groups.swap(0, Relaxed), self.bytes.swap(0, Relaxed));
        bytes.checked_div(groups)
    }
}

impl Store for Watched {
    fn enrol<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Enrolled, StoreError>> {
        self.inner.enrol(identity)
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        let bytes: usize = group.iter().map(|append| append.batch.len()).sum();
        self.groups.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.inner.append(group)
    }

    fn recall(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        self.inner.recall(producer, from, limit)
    }

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        self.inner.read(topic, from, max_bytes)
    }

    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        self.inner.topic(topic)
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        self.inner.topics(after, limit)
    }

    fn create_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.create_topic(topic)
    }

    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.inner.trim(topic, trim)
    }

    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        self.inner.position(topic, name)
    }

    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.set_position(topic, name, next)
    }

    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        self.inner.least_position(topic)
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.forget_producers(age)
    }

    fn state(&self) -> StoreState {
        self.inner.state()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.close()
    }
}
