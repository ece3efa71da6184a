//! Sans-I/O: the state that a store keeps in memory: topics, producers and committed positions.
//!
//! Both stores keep a catalog. The log store writes each change to disk before it applies it here, and rebuilds the
//! catalog when it opens. Batches are not part of it; the first and the next offset of each topic are.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Appended, Limits, StoreError, dedup_window::DedupWindow};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicIdentity, TopicName,
    wire::{ProducerIdentity, RegisteredProducer, TopicInfo, TopicRetention},
};

/// Converts a time since the Unix epoch to the milliseconds that stores keep.
pub(super) fn millis(time: Duration) -> Timestamp {
    Timestamp(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the first producer id of a store that is created at `wall`. It is greater than every id of an earlier store, so
/// that ids which producers bring from a store that no longer exists still order them.
pub(super) fn first_producer(wall: Duration) -> u64 {
    u64::try_from(wall.as_micros()).unwrap_or(1).max(1)
}

/// The number of a topic in its store. It is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct TopicId(pub(super) u32);

/// The offsets and the size of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    /// The oldest offset kept. It equals `next` if the topic is empty.
    pub(super) first: Offset,
    /// The offset of the next message.
    pub(super) next: Offset,
    /// The size of the batches kept, in bytes.
    pub(super) bytes: u64,
    /// What is kept of it.
    pub(super) retention: TopicRetention,
}

impl Topic {
    pub(super) fn new(id: TopicId) -> Self {
        Self {
            id,
            first: Offset(0),
            next: Offset(0),
            bytes: 0,
            retention: TopicRetention::default(),
        }
    }

    fn info(&self, name: &TopicName, log: u64) -> TopicInfo {
        TopicInfo {
            name: name.clone(),
            first: self.first,
            next: self.next,
            bytes: self.bytes,
            identity: TopicIdentity {
                log,
                number: self.id.0,
            },
            retention: self.retention,
        }
    }
}

/// A producer that is neither fenced nor forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) identity: ProducerIdentity,
    /// The time of its last request.
    pub(super) seen: Timestamp,
    pub(super) window: DedupWindow,
}

/// The way in which a producer is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProducerRegistration {
    /// The producer has come back and keeps its id.
    Known(ProducerId),
    /// The producer is new, or takes the name over from `fenced`.
    New {
        enrolled: RegisteredProducer,
        fenced: Option<ProducerId>,
    },
}

/// Returns the answer to a producer that has come back.
pub(super) const fn known(id: ProducerId) -> RegisteredProducer {
    let forgotten = false;
    RegisteredProducer { id, forgotten }
}

/// The topics, producers and committed positions of a store.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) limits: Limits,
    /// The identity of the log.
    pub(super) log: u64,
    topics: BTreeMap<TopicName, Topic>,
    producers: HashMap<ProducerId, Producer>,
    /// The current producer of each name, the only one that is not fenced.
    names: HashMap<String, ProducerId>,
    positions: BTreeMap<(TopicId, String), Offset>,
    next_topic: u32,
    /// The first producer id of this store.
    first_producer: u64,
    next_producer: u64,
    /// The number of entries in all dedup windows together.
    entries: usize,
}

impl Catalog {
    /// Returns an empty catalog whose producer ids begin at `first_producer`.
    pub(super) fn new(limits: Limits, first_producer: u64) -> Self {
        Self {
            limits,
            log: 0,
            topics: BTreeMap::new(),
            producers: HashMap::new(),
            names: HashMap::new(),
            positions: BTreeMap::new(),
            next_topic: 0,
            first_producer,
            next_producer: first_producer,
            entries: 0,
        }
    }

    // ---- topics

    pub(super) fn topic(&self, name: &TopicName) -> Option<Topic> {
        self.topics.get(name).copied()
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&TopicName, &Topic)> {
        self.topics.iter()
    }

    pub(super) fn info(&self, name: &TopicName) -> Option<TopicInfo> {
        self.topics
            .get(name)
            .map(|topic| topic.info(name, self.log))
    }

    /// Returns the topics that follow `after`, by name.
    pub(super) fn infos(&self, after: Option<&TopicName>, limit: usize) -> Vec<TopicInfo> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.topics
            .range::<TopicName, _>((from, Unbounded))
            .take(limit)
            .map(|(name, topic)| topic.info(name, self.log))
            .collect()
    }

    /// Returns the topic to be created after `made` others that are not in the catalog yet.
    pub(super) fn new_topic(&self, made: usize) -> Result<Topic, StoreError> {
        let id = u32::try_from(made)
            .ok()
            .and_then(|made| self.next_topic.checked_add(made));
        match id {
            Some(id) if self.topics.len() + made < self.limits.topics => {
                Ok(Topic::new(TopicId(id)))
            }
            _ => Err(StoreError::Limit("topics")),
        }
    }

    /// Adds or replaces a topic.
    pub(super) fn set_topic(&mut self, name: &TopicName, topic: Topic) {
        self.next_topic = self.next_topic.max(topic.id.0.saturating_add(1));
        match self.topics.get_mut(name) {
            Some(known) => *known = topic,
            None => {
                self.topics.insert(name.clone(), topic);
            }
        }
    }

    /// Deletes a topic with the positions in it, and the requests that it was stored by: a topic of the same name that is made
    /// later is another one. Returns its number.
    pub(super) fn delete_topic(&mut self, name: &TopicName) -> Option<TopicId> {
        let id = self.topics.remove(name)?.id;
        self.positions.retain(|(topic, _), _| *topic != id);
        for producer in self.producers.values_mut() {
            let before = producer.window.len();
            producer.window.forget_topic(id.0);
            self.entries = self.entries + producer.window.len() - before;
        }
        Some(id)
    }

    /// Returns the number of the next topic.
    pub(super) fn next_topic(&self) -> u32 {
        self.next_topic
    }

    /// Makes sure that no topic gets a number before `next`.
    pub(super) fn reserve_topics(&mut self, next: u32) {
        self.next_topic = self.next_topic.max(next);
    }

    // ---- producers

    pub(super) fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(&id)
    }

    /// Returns how many dedup entries a producer may have when there are too many in all: its equal share. So those with the
    /// most are held up, and one that lets its requests be forgotten is not.
    pub(super) fn dedupe_share(&self) -> usize {
        (self.limits.dedupe_entries / self.producers.len().max(1)).max(1)
    }

    /// Returns how many dedup entries may still be added.
    pub(super) fn entries_left(&self) -> usize {
        self.limits.dedupe_entries.saturating_sub(self.entries)
    }

    /// Decides how `identity` is registered. Changes nothing.
    ///
    /// Of two producers of one name, the one with the greater id is the later. A producer without an id is new and gets one
    /// greater than all ids before it. An id that this store cannot have given is ignored.
    pub(super) fn registration(
        &self,
        identity: &ProducerIdentity,
    ) -> Result<ProducerRegistration, StoreError> {
        let shown = identity.id.filter(|id| id.0 < self.next_producer);
        let standing = self.names.get(&identity.name).copied();
        match standing {
            Some(id) if self.is_instance(id, identity.instance) => {
                return Ok(ProducerRegistration::Known(id));
            }
            Some(id) if shown.is_some_and(|shown| shown <= id) => return Err(StoreError::Fenced),
            None if self.producers.len() >= self.limits.producers => {
                return Err(StoreError::Limit("producers"));
            }
            Some(_) | None => {}
        }
        // An id that belongs to a producer of another name is not its own.
        let own = shown.filter(|shown| !self.producers.contains_key(shown));
        Ok(ProducerRegistration::New {
            enrolled: RegisteredProducer {
                id: own.unwrap_or(ProducerId(self.next_producer)),
                forgotten: own.is_some_and(|id| id.0 >= self.first_producer),
            },
            fenced: standing,
        })
    }

    fn is_instance(&self, id: ProducerId, instance: u64) -> bool {
        let producer = self.producers.get(&id);
        producer.is_some_and(|p| p.identity.instance == instance)
    }

    /// Returns the stored requests of a producer from `from` on.
    pub(super) fn stored_requests(
        &self,
        id: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> Result<Vec<(RequestId, Appended)>, StoreError> {
        let producer = self.producers.get(&id).ok_or(StoreError::Fenced)?;
        let stored = producer.window.since(from).take(limit);
        Ok(stored
            .map(|(request, stored)| (request, stored.appended))
            .collect())
    }

    /// Adds a producer and drops the one that had its name before.
    pub(super) fn register_producer(&mut self, id: ProducerId, producer: Producer) {
        self.next_producer = self.next_producer.max(id.0.saturating_add(1));
        let earlier = self.names.insert(producer.identity.name.clone(), id);
        if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
            self.drop_window(earlier);
        }
        self.entries += producer.window.len();
        self.producers.insert(id, producer);
    }

    /// Records the time of a request of a producer.
    pub(super) fn heard(&mut self, id: ProducerId, now: Timestamp) {
        if let Some(producer) = self.producers.get_mut(&id) {
            producer.seen = producer.seen.max(now);
        }
    }

    /// Changes a producer's dedup window and keeps the count of entries.
    pub(super) fn window(&mut self, id: ProducerId, change: impl FnOnce(&mut DedupWindow)) {
        if let Some(producer) = self.producers.get_mut(&id) {
            let before = producer.window.len();
            change(&mut producer.window);
            self.entries = self.entries + producer.window.len() - before;
        }
    }

    /// Returns the producers without a request after `time`.
    pub(super) fn silent_since(&self, time: Timestamp) -> Vec<ProducerId> {
        let silent = self.producers.iter().filter(|(_, p)| p.seen <= time);
        silent.map(|(id, _)| *id).collect()
    }

    /// Forgets a producer and its name.
    pub(super) fn forget(&mut self, id: ProducerId) {
        if let Some(producer) = self.drop_window(id) {
            self.names.remove(&producer.identity.name);
        }
    }

    fn drop_window(&mut self, id: ProducerId) -> Option<Producer> {
        let producer = self.producers.remove(&id)?;
        self.entries -= producer.window.len();
        Some(producer)
    }

    // ---- positions

    pub(super) fn position(&self, topic: TopicId, name: &str) -> Option<Offset> {
        self.positions.get(&(topic, name.to_owned())).copied()
    }

    /// Checks whether a position of this name may be kept together with `others` that are being committed.
    pub(super) fn check_position(
        &self,
        topic: TopicId,
        name: &str,
        others: usize,
    ) -> Result<(), StoreError> {
        let known = self.positions.contains_key(&(topic, name.to_owned()));
        if known || self.positions.len() + others < self.limits.positions {
            Ok(())
        } else {
            Err(StoreError::Limit("positions"))
        }
    }

    pub(super) fn set_position(&mut self, topic: TopicId, name: String, next: Offset) {
        self.positions.insert((topic, name), next);
    }

    pub(super) fn remove_position(&mut self, topic: TopicId, name: &str) {
        self.positions.remove(&(topic, name.to_owned()));
    }

    /// Returns the positions in a topic whose names follow `after`, by name.
    pub(super) fn positions(
        &self,
        topic: TopicId,
        after: &str,
        limit: usize,
    ) -> Vec<(String, Offset)> {
        use std::ops::Bound::{Excluded, Unbounded};
        // No name is empty, so an empty one comes before the first.
        let from = Excluded((topic, after.to_owned()));
        self.positions
            .range((from, Unbounded))
            .take_while(|((id, _), _)| *id == topic)
            .take(limit)
            .map(|((_, name), next)| (name.clone(), *next))
            .collect()
    }

    pub(super) fn least_position(&self, topic: TopicId) -> Option<Offset> {
        let of_topic = self.positions.range((topic, String::new())..);
        of_topic
            .take_while(|((id, _), _)| *id == topic)
            .map(|(_, offset)| *offset)
            .min()
    }

    // ---- ids

    /// Returns the first producer id of this store and the next one.
    pub(super) fn producer_numbers(&self) -> (u64, u64) {
        (self.first_producer, self.next_producer)
    }

    /// Restores the numbers that [`Catalog::producer_numbers`] returned.
    pub(super) fn restore_producer_numbers(&mut self, (first, next): (u64, u64)) {
        (self.first_producer, self.next_producer) = (first, next);
    }

    // ---- a page at a time, for snapshots

    /// Returns the topics that follow `after`, by name.
    pub(super) fn topics_after(
        &self,
        after: Option<&TopicName>,
    ) -> impl Iterator<Item = (&TopicName, &Topic)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.topics.range::<TopicName, _>((from, Unbounded))
    }

    /// Returns the ids of all producers.
    pub(super) fn producer_ids(&self) -> Vec<ProducerId> {
        self.producers.keys().copied().collect()
    }

    /// Returns the committed positions that follow `after`.
    pub(super) fn positions_after(
        &self,
        after: Option<(TopicId, String)>,
    ) -> impl Iterator<Item = (&(TopicId, String), &Offset)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.positions.range((from, Unbounded))
    }
}
