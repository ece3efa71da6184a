//! Pure: what a store knows without looking: topics, producers and positions.
//!
//! Both stores keep their books in memory. The log store writes each change down before it makes it here, and
//! reads the books back when it opens. Batches are not in the books; only where they begin and end is.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Appended, Limits, StoreError, window::Window};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName,
    wire::{Enrolled, Identity, TopicInfo},
};

/// A time since the Unix epoch, in the milliseconds that stores keep.
pub(super) fn millis(time: Duration) -> Timestamp {
    Timestamp(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Where the numbers of producers begin in a store that is new at `wall`: behind those of every store before it. So
/// the numbers that producers bring from a store that is gone still tell the later from the earlier.
pub(super) fn first_producer(wall: Duration) -> u64 {
    u64::try_from(wall.as_micros()).unwrap_or(1).max(1)
}

/// The number of a topic in its store: given once, never again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct TopicId(pub(super) u32);

/// Where a topic begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    /// The oldest offset kept; equal to `next` where nothing is.
    pub(super) first: Offset,
    /// The offset the next message gets.
    pub(super) next: Offset,
    /// The bytes of the batches kept.
    pub(super) bytes: u64,
}

impl Topic {
    pub(super) fn new(id: TopicId) -> Self {
        Self {
            id,
            first: Offset(0),
            next: Offset(0),
            bytes: 0,
        }
    }

    fn info(&self, name: &TopicName) -> TopicInfo {
        TopicInfo {
            name: name.clone(),
            first: self.first,
            next: self.next,
            bytes: self.bytes,
        }
    }
}

/// A producer that is neither fenced nor forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Producer {
    pub(super) identity: Identity,
    /// When it was last heard of.
    pub(super) seen: Timestamp,
    pub(super) window: Window,
}

/// What is to be done with a producer that says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enrolment {
    /// It has come back.
    Known(ProducerId),
    /// It is new, or takes the name over from `fenced`.
    New {
        enrolled: Enrolled,
        fenced: Option<ProducerId>,
    },
}

/// What a producer is told that has come back.
pub(super) const fn known(id: ProducerId) -> Enrolled {
    let forgotten = false;
    Enrolled { id, forgotten }
}

/// Topics, producers and positions.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) limits: Limits,
    topics: BTreeMap<TopicName, Topic>,
    producers: HashMap<ProducerId, Producer>,
    /// The one producer of each name that is not fenced.
    names: HashMap<String, ProducerId>,
    positions: BTreeMap<(TopicId, String), Offset>,
    next_topic: u32,
    /// The first number that this store can have given to a producer.
    first_producer: u64,
    next_producer: u64,
    /// Entries in all windows together.
    entries: usize,
}

impl Books {
    /// Empty, with numbers of producers that begin at `first_producer`.
    pub(super) fn new(limits: Limits, first_producer: u64) -> Self {
        Self {
            limits,
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
        self.topics.get(name).map(|topic| topic.info(name))
    }

    /// Topics behind `after`, by name.
    pub(super) fn infos(&self, after: Option<&TopicName>, limit: usize) -> Vec<TopicInfo> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.topics
            .range::<TopicName, _>((from, Unbounded))
            .take(limit)
            .map(|(name, topic)| topic.info(name))
            .collect()
    }

    /// The topic that comes to be when `made` topics were made before it.
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

    /// Notes how a topic stands, new or not.
    pub(super) fn set_topic(&mut self, name: &TopicName, topic: Topic) {
        self.next_topic = self.next_topic.max(topic.id.0.saturating_add(1));
        match self.topics.get_mut(name) {
            Some(known) => *known = topic,
            None => {
                self.topics.insert(name.clone(), topic);
            }
        }
    }

    // ---- producers

    pub(super) fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(&id)
    }

    /// How many window entries there is still room for.
    pub(super) fn entries_left(&self) -> usize {
        self.limits.dedupe_entries.saturating_sub(self.entries)
    }

    /// What enrolling `identity` means.
    ///
    /// Of two producers of one name, the one with the greater id is the later. Who shows no id comes for the first
    /// time and gets one greater than all before; an id that this store cannot have given counts as none.
    pub(super) fn enrolment(&self, identity: &Identity) -> Result<Enrolment, StoreError> {
        let shown = identity.id.filter(|id| id.0 < self.next_producer);
        let standing = self.names.get(&identity.name).copied();
        match standing {
            Some(id) if self.is_instance(id, identity.instance) => return Ok(Enrolment::Known(id)),
            Some(id) if shown.is_some_and(|shown| shown <= id) => return Err(StoreError::Fenced),
            None if self.producers.len() >= self.limits.producers => {
                return Err(StoreError::Limit("producers"));
            }
            Some(_) | None => {}
        }
        // It is not this one's where a producer of another name has it.
        let own = shown.filter(|shown| !self.producers.contains_key(shown));
        Ok(Enrolment::New {
            enrolled: Enrolled {
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

    /// What is stored of a producer's requests from `from` on.
    pub(super) fn recall(
        &self,
        id: ProducerId,
        from: RequestId,
        limit: usize,
    ) -> Result<Vec<(RequestId, Appended)>, StoreError> {
        let producer = self.producers.get(&id).ok_or(StoreError::Fenced)?;
        Ok(producer.window.since(from).take(limit).collect())
    }

    /// Adds a producer, and drops the one that had its name before.
    pub(super) fn enrol(&mut self, id: ProducerId, producer: Producer) {
        self.next_producer = self.next_producer.max(id.0.saturating_add(1));
        let earlier = self.names.insert(producer.identity.name.clone(), id);
        if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
            self.drop_window(earlier);
        }
        self.entries += producer.window.len();
        self.producers.insert(id, producer);
    }

    /// Notes that a producer was heard of.
    pub(super) fn heard(&mut self, id: ProducerId, now: Timestamp) {
        if let Some(producer) = self.producers.get_mut(&id) {
            producer.seen = producer.seen.max(now);
        }
    }

    /// Changes a producer's window, keeping count.
    pub(super) fn window(&mut self, id: ProducerId, change: impl FnOnce(&mut Window)) {
        if let Some(producer) = self.producers.get_mut(&id) {
            let before = producer.window.len();
            change(&mut producer.window);
            self.entries = self.entries + producer.window.len() - before;
        }
    }

    /// The producers not heard of after `time`.
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

    /// Whether a position of this name may be kept, beside so many others that are being set.
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

    pub(super) fn least_position(&self, topic: TopicId) -> Option<Offset> {
        let of_topic = self.positions.range((topic, String::new())..);
        of_topic
            .take_while(|((id, _), _)| *id == topic)
            .map(|(_, offset)| *offset)
            .min()
    }

    // ---- ids

    /// The first number that this store can have given, and the one it gives next.
    pub(super) fn producer_numbers(&self) -> (u64, u64) {
        (self.first_producer, self.next_producer)
    }

    /// Takes up the numbers where they were left.
    pub(super) fn restore_producer_numbers(&mut self, (first, next): (u64, u64)) {
        (self.first_producer, self.next_producer) = (first, next);
    }
}
