//! Sans-I/O: rebuilding the catalog and the index from a snapshot and frames.

use std::collections::{BTreeSet, HashMap};

use super::{
    super::{
        Appended, Limits,
        catalog::{Catalog, Producer, Topic, TopicId},
        dedup_window::{DedupWindow, RequestContent, StoredRequest},
    },
    format::{BatchRecord, Frame, Item, Record},
    index::Index,
};
use crate::{Offset, Timestamp, TopicName, wire::ProducerIdentity};

/// A catalog and an index that are being rebuilt.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) catalog: Catalog,
    pub(super) index: Index,
    names: HashMap<TopicId, TopicName>,
    /// Topics that records name and that are not known: a later frame deletes them. A snapshot is newer than its first frame,
    /// and has them no more.
    unknown: BTreeSet<TopicId>,
    /// The snapshot has every topic with a lower number that was not deleted.
    known_below: u32,
    /// Missing frames are passed over, for a repair.
    lenient: bool,
    /// The most messages that can have been in all frames that were missing so far.
    lost: u64,
    /// What of `lost` was before the last batch of a topic, whose offset says what is missing before it.
    accounted: HashMap<TopicId, u64>,
}

impl Replay {
    pub(super) fn new(limits: Limits, first_producer: u64) -> Self {
        Self {
            catalog: Catalog::new(limits, first_producer),
            index: Index::default(),
            names: HashMap::new(),
            unknown: BTreeSet::new(),
            known_below: 0,
            lenient: false,
            lost: 0,
            accounted: HashMap::new(),
        }
    }

    /// Passes over what is missing, from here on.
    pub(super) fn be_lenient(&mut self) {
        self.lenient = true;
    }

    /// Makes sure that a topic goes up to an offset, giving it a name where that is not known.
    pub(super) fn reach(&mut self, topic: TopicId, next: Offset) {
        if let Some((name, mut topic)) = self.topic(topic) {
            topic.next = topic.next.max(next);
            self.catalog.set_topic(&name, topic);
        }
    }

    /// Notes that frames are missing which can have held at most `messages` messages, producers and topics.
    pub(super) fn lose(&mut self, messages: u64) {
        self.lost = self.lost.saturating_add(messages);
        let (_, next) = self.catalog.producer_numbers();
        self.set_next_producer(next.saturating_add(messages));
        let topics = u32::try_from(messages).unwrap_or(u32::MAX / 2);
        let next = self.catalog.next_topic().saturating_add(topics);
        self.catalog.reserve_topics(next);
    }

    /// Moves every topic past the offsets that missing frames may have given, and returns those topics with the range that is
    /// left out.
    pub(super) fn leave_gaps(&mut self) -> Vec<(TopicName, Offset, Offset)> {
        let mut gaps = Vec::new();
        for (name, mut topic) in self.topics() {
            let accounted = self.accounted.get(&topic.id).copied().unwrap_or(0);
            let lost = self.lost.saturating_sub(accounted);
            if lost > 0 {
                let from = topic.next;
                topic.next = Offset(from.0.saturating_add(lost));
                self.catalog.set_topic(&name, topic);
                gaps.push((name, from, topic.next));
            }
        }
        gaps
    }

    fn account(&mut self, topic: TopicId) {
        if self.lost > 0 {
            self.accounted.insert(topic, self.lost);
        }
    }

    fn set_next_producer(&mut self, at_least: u64) {
        let (first, next) = self.catalog.producer_numbers();
        self.catalog
            .restore_producer_numbers((first, next.max(at_least)));
    }

    /// Adds an item of a snapshot.
    pub(super) fn item(&mut self, item: Item) {
        match item {
            Item::NextProducer(next) => self.set_next_producer(next),
            Item::NextTopic(next) => {
                self.known_below = next;
                self.catalog.reserve_topics(next);
            }
            Item::Topic {
                id,
                first,
                next,
                retention,
                name,
            } => {
                let mut topic = Topic::new(id);
                (topic.first, topic.next) = (first, next);
                topic.retention = retention;
                self.catalog.set_topic(&name, topic);
                self.names.insert(id, name);
            }
            Item::Producer {
                id,
                instance,
                seen,
                low,
                name,
                entries,
            } => {
                let mut window = DedupWindow::new(low);
                for (request, base, time, content) in entries {
                    let repeat = true;
                    let appended = Appended { base, time, repeat };
                    window.insert(request, StoredRequest { appended, content });
                }
                self.register(id, instance, (seen, name), window);
            }
            Item::Position { topic, name, next } => self.catalog.set_position(topic, name, next),
        }
    }

    fn register(
        &mut self,
        id: crate::ProducerId,
        instance: u64,
        (seen, name): (Timestamp, String),
        window: DedupWindow,
    ) {
        // An id that is known with another content is replaced as a whole.
        self.catalog.forget(id);
        let identity = ProducerIdentity {
            name,
            instance,
            id: None,
        };
        let producer = Producer {
            identity,
            seen,
            window,
        };
        self.catalog.register_producer(id, producer);
    }

    /// Applies the records of a frame to the catalog. A frame may be applied to a state that is newer already.
    ///
    /// # Errors
    /// A sentence, if the frame cannot follow those before it.
    pub(super) fn frame(&mut self, frame: &Frame) -> Result<(), String> {
        frame
            .records
            .iter()
            .try_for_each(|record| self.record(record))
    }

    fn record(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Batch(batch) => self.batch(batch)?,
            Record::Topic { id, name } => {
                // A later topic of the name is from a snapshot that is newer than this frame.
                if self.catalog.topic(name).is_none_or(|known| known.id < *id) {
                    self.catalog.set_topic(name, Topic::new(*id));
                    self.account(*id);
                }
                self.names.insert(*id, name.clone());
            }
            Record::Trim { topic, first } => {
                if let Some((name, mut topic)) = self.topic(*topic) {
                    topic.first = topic.first.max(*first);
                    topic.next = topic.next.max(*first);
                    self.catalog.set_topic(&name, topic);
                }
            }
            Record::Retention { topic, retention } => {
                if let Some((name, mut topic)) = self.topic(*topic) {
                    topic.retention = *retention;
                    self.catalog.set_topic(&name, topic);
                }
            }
            Record::Delete { topic } => {
                if let Some((name, _)) = self.topic(*topic) {
                    self.catalog.delete_topic(&name);
                }
                self.names.remove(topic);
                self.unknown.remove(topic);
                self.catalog.reserve_topics(topic.0.saturating_add(1));
            }
            Record::Position { topic, name, next } if next.0 == u64::MAX => {
                self.catalog.remove_position(*topic, name);
            }
            Record::Position { topic, name, next } => {
                if self.topic(*topic).is_some() {
                    self.catalog.set_position(*topic, name.clone(), *next);
                }
            }
            Record::Producer {
                id,
                instance,
                seen,
                next_producer,
                name,
            } => {
                self.register(
                    *id,
                    *instance,
                    (*seen, name.clone()),
                    DedupWindow::default(),
                );
                self.set_next_producer(*next_producer);
            }
            Record::Forget { id } => self.catalog.forget(*id),
        }
        Ok(())
    }

    /// Returns a topic by its number. One that is not known gets a name in a repair, and must be deleted later otherwise.
    fn topic(&mut self, id: TopicId) -> Option<(TopicName, Topic)> {
        if let Some(name) = self.names.get(&id) {
            let topic = self.catalog.topic(name).filter(|topic| topic.id == id);
            if topic.is_none() {
                self.unknown.insert(id);
            }
            return Some((name.clone(), topic?));
        }
        if !self.lenient {
            self.unknown.insert(id);
            return None;
        }
        if id.0 < self.known_below {
            return None;
        }
        let name = TopicName::new(&format!("recovered-{}", id.0)).ok()?;
        self.catalog.set_topic(&name, Topic::new(id));
        self.names.insert(id, name.clone());
        Some((name, Topic::new(id)))
    }

    /// Checks, after the last frame, that every topic that records name is known or was deleted.
    pub(super) fn check_topics(&self) -> Result<(), String> {
        match self.unknown.first() {
            Some(topic) => Err(format!("topic {} is not known", topic.0)),
            None => Ok(()),
        }
    }

    fn batch(&mut self, batch: &BatchRecord) -> Result<(), String> {
        let Some((name, mut topic)) = self.topic(batch.topic) else {
            return Ok(());
        };
        if batch.base > topic.next && !self.lenient {
            let (base, next) = (batch.base, topic.next);
            return Err(format!(
                "messages {next} to {base} of topic {name} are missing"
            ));
        }
        topic.next = topic
            .next
            .max(Offset(batch.base.0.saturating_add(batch.count.into())));
        self.catalog.set_topic(&name, topic);
        self.account(batch.topic);
        let stored = StoredRequest {
            appended: Appended {
                base: batch.base,
                time: batch.time,
                repeat: true,
            },
            content: RequestContent {
                topic: batch.topic.0,
                checksum: batch.checksum,
            },
        };
        self.catalog.window(batch.producer, |window| {
            window.advance(batch.low);
            window.insert(batch.request, stored);
        });
        self.catalog.heard(batch.producer, batch.time);
        Ok(())
    }

    /// Returns the topics, for [`Replay::set_topic`].
    pub(super) fn topics(&self) -> Vec<(TopicName, Topic)> {
        let topics = self.catalog.topics();
        topics.map(|(name, topic)| (name.clone(), *topic)).collect()
    }

    /// Sets what the index says of a topic: its size, and its first offset where a segment with its oldest batches was removed
    /// before the trim was written.
    pub(super) fn settle(&mut self, name: &TopicName, mut topic: Topic) -> Result<(), String> {
        match self.index.range(topic.id) {
            Some((first, next)) if next <= topic.next.0 => {
                topic.first = topic.first.max(Offset(first));
            }
            Some(_) => return Err(format!("topic {name} has batches after its end")),
            None => topic.first = topic.next,
        }
        topic.bytes = self.index.bytes(topic.id);
        self.catalog.set_topic(name, topic);
        Ok(())
    }
}
