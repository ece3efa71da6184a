//! A store in memory, for tests, for trying things out, and for topics whose loss does not matter.
//!
//! One lock covers everything. It is held for the duration of a call and never while waiting. Each topic has a deque of
//! batches, so an append is a push and a read a binary search. The size of all batches is bounded: a full store refuses
//! batches and takes them again after a trim has made room. It never drops a batch by itself.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{
    Ages, Append, Appended, Limits, Store, StoreError, StoreState, StoredBatch, Trim,
    catalog::{
        Catalog, Producer, ProducerRegistration, Topic, TopicId, first_producer, known, millis,
    },
    dedup_window::DedupWindow,
    plan::{AppendPlan, plan},
};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName, time,
    wire::{ProducerIdentity, RegisteredProducer, TopicInfo, TopicRetention},
};

/// The limits of a [`MemoryStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// The maximum size of the batches in all topics together, in bytes. Default: 256 MiB. A batch that would exceed it is
    /// refused with [`StoreError::Refuses`].
    pub max_bytes: u64,
    /// The maximum numbers of topics, producers, positions and dedup entries.
    pub limits: Limits,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            limits: Limits::default(),
        }
    }
}

/// A bounded [`Store`] in memory. See the [module's front page](super).
///
/// Its content is lost when it is dropped or closed.
#[derive(Debug)]
pub struct MemoryStore {
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    max_bytes: u64,
    bytes: u64,
    catalog: Catalog,
    batches: HashMap<TopicId, VecDeque<StoredBatch>>,
    closed: bool,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryConfig::default())
    }
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        let mut catalog = Catalog::new(config.limits, first_producer(time::unix_time()));
        catalog.log = fastrand::u64(..);
        Self {
            held: Mutex::new(Held {
                max_bytes: config.max_bytes,
                bytes: 0,
                catalog,
                batches: HashMap::new(),
                closed: false,
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No change can be interrupted by a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, Held>, StoreError> {
        let held = self.held();
        if held.closed {
            return Err(closed());
        }
        Ok(held)
    }
}

fn closed() -> StoreError {
    StoreError::Refuses("it is closed".to_owned())
}

impl Held {
    fn append(&mut self, group: &[Append]) -> Vec<Result<Appended, StoreError>> {
        let room = self.max_bytes.saturating_sub(self.bytes);
        let plan = plan(&self.catalog, group, room);
        self.take(group, &plan);
        plan.apply(&mut self.catalog);
        plan.answers()
    }

    fn take(&mut self, group: &[Append], plan: &AppendPlan) {
        for placed in &plan.placed {
            let append = &group[placed.index];
            self.bytes += u64::from(placed.len);
            let batches = self.batches.entry(placed.topic).or_default();
            batches.push_back(StoredBatch {
                base: placed.base,
                count: append.count,
                time: append.time,
                // A copy: the batch is a slice of a larger receive buffer, which `max_bytes` does not count.
                batch: Bytes::copy_from_slice(&append.batch),
            });
        }
    }

    fn topic(&self, name: &TopicName) -> Result<Topic, StoreError> {
        self.catalog.topic(name).ok_or(StoreError::UnknownTopic)
    }

    fn read(
        &self,
        name: &TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<StoredBatch>, StoreError> {
        let topic = self.topic(name)?;
        let Some(batches) = self.batches.get(&topic.id) else {
            return Ok(Vec::new());
        };
        let start = batches.partition_point(|batch| batch.end() <= from);
        let mut bytes = 0;
        let fits = |batch: &&StoredBatch| {
            let first = bytes == 0;
            bytes += batch.batch.len();
            first || bytes <= max_bytes
        };
        Ok(batches.range(start..).take_while(fits).cloned().collect())
    }

    fn trim(&mut self, name: &TopicName, trim: Trim) -> Result<u64, StoreError> {
        let mut topic = self.topic(name)?;
        let trim = trim.with_least_position(self.catalog.least_position(topic.id));
        let before = topic.bytes;
        if let Some(batches) = self.batches.get_mut(&topic.id) {
            let mut ages = Ages::default();
            while let Some(oldest) = batches.front() {
                let times = || batches.iter().map(|batch| (batch.time, batch.end()));
                let time = ages.time_of(&trim, (oldest.time, oldest.end()), times);
                if !trim.takes(topic.bytes, time, oldest.end()) {
                    break;
                }
                topic.first = oldest.end();
                topic.bytes -= oldest.batch.len() as u64;
                batches.pop_front();
            }
            if batches.len() < batches.capacity() / 4 {
                batches.shrink_to(batches.len() * 2);
            }
        }
        self.catalog.set_topic(name, topic);
        self.bytes -= before - topic.bytes;
        Ok(before - topic.bytes)
    }

    fn register_producer(
        &mut self,
        identity: &ProducerIdentity,
        now: Timestamp,
    ) -> Result<RegisteredProducer, StoreError> {
        match self.catalog.registration(identity)? {
            ProducerRegistration::Known(id) => {
                self.catalog.heard(id, now);
                Ok(known(id))
            }
            ProducerRegistration::New { enrolled, .. } => {
                let producer = Producer {
                    identity: identity.clone(),
                    seen: now,
                    window: DedupWindow::default(),
                };
                self.catalog.register_producer(enrolled.id, producer);
                Ok(enrolled)
            }
        }
    }
}

impl Store for MemoryStore {
    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        async move {
            self.open()?
                .register_producer(identity, millis(time::unix_time()))
        }
        .boxed()
    }

    fn stored_requests(
        &self,
        producer: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RequestId, Appended)>, StoreError>> {
        async move { self.open()?.catalog.stored_requests(producer, from, limit) }.boxed()
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        async move {
            match self.open() {
                Ok(mut held) => held.append(&group),
                Err(_) => group.iter().map(|_| Err(closed())).collect(),
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
        async move { self.open()?.read(topic, from, max_bytes) }.boxed()
    }

    fn topic<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<TopicInfo>, StoreError>> {
        async move { Ok(self.open()?.catalog.info(topic)) }.boxed()
    }

    fn topics(
        &self,
        after: Option<TopicName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TopicInfo>, StoreError>> {
        async move { Ok(self.open()?.catalog.infos(after.as_ref(), limit)) }.boxed()
    }

    fn create_topic<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move {
            let mut held = self.open()?;
            if held.catalog.topic(topic).is_some() {
                return Ok(false);
            }
            let mut new = held.catalog.new_topic(0)?;
            new.retention = retention;
            held.catalog.set_topic(topic, new);
            Ok(true)
        }
        .boxed()
    }

    fn set_retention<'a>(
        &'a self,
        topic: &'a TopicName,
        retention: TopicRetention,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut held = self.open()?;
            let mut changed = held.topic(topic)?;
            changed.retention = retention;
            held.catalog.set_topic(topic, changed);
            Ok(())
        }
        .boxed()
    }

    fn delete_topic<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut held = self.open()?;
            let bytes = held.topic(topic)?.bytes;
            if let Some(id) = held.catalog.delete_topic(topic) {
                held.batches.remove(&id);
                held.bytes -= bytes;
            }
            Ok(())
        }
        .boxed()
    }

    fn trim<'a>(
        &'a self,
        topic: &'a TopicName,
        trim: Trim,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        async move { self.open()?.trim(topic, trim) }.boxed()
    }

    fn position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        async move {
            let held = self.open()?;
            let topic = held.catalog.topic(topic);
            Ok(topic.and_then(|topic| held.catalog.position(topic.id, name)))
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
            let mut held = self.open()?;
            let topic = held.topic(topic)?;
            held.catalog.check_position(topic.id, name, 0)?;
            held.catalog.set_position(topic.id, name.to_owned(), next);
            Ok(())
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
            let held = self.open()?;
            let topic = held.topic(topic)?;
            Ok(held.catalog.positions(topic.id, after, limit))
        }
        .boxed()
    }

    fn remove_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut held = self.open()?;
            let topic = held.topic(topic)?;
            held.catalog.remove_position(topic.id, name);
            Ok(())
        }
        .boxed()
    }

    fn least_position<'a>(
        &'a self,
        topic: &'a TopicName,
    ) -> BoxFuture<'a, Result<Option<Offset>, StoreError>> {
        async move {
            let held = self.open()?;
            let topic = held.catalog.topic(topic);
            Ok(topic.and_then(|topic| held.catalog.least_position(topic.id)))
        }
        .boxed()
    }

    fn forget_producers(&self, age: Duration) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let mut held = self.open()?;
            let silent = held
                .catalog
                .silent_since(millis(time::unix_time().saturating_sub(age)));
            for id in &silent {
                held.catalog.forget(*id);
            }
            Ok(silent.len() as u64)
        }
        .boxed()
    }

    fn state(&self) -> StoreState {
        let held = self.held();
        match held.closed {
            true => StoreState::Closed,
            false if held.bytes >= held.max_bytes => StoreState::Refusing("it is full".to_owned()),
            false => StoreState::Ready,
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let mut held = self.held();
            held.closed = true;
            held.batches.clear();
            held.bytes = 0;
            Ok(())
        }
        .boxed()
    }
}
