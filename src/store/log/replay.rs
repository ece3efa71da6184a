//! Sans-I/O: rebuilding the catalog and the index from a snapshot and frames.

use std::collections::HashMap;

use super::{
    super::{
        Appended, Limits,
        catalog::{Catalog, Producer, Topic, TopicId},
        dedup_window::DedupWindow,
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
    /// Missing frames are passed over, for a repair.
    lenient: bool,
}

impl Replay {
    pub(super) fn new(limits: Limits, first_producer: u64) -> Self {
        Self {
            catalog: Catalog::new(limits, first_producer),
            index: Index::default(),
            names: HashMap::new(),
            lenient: false,
        }
    }

    /// Passes over what is missing, from here on.
    pub(super) fn be_lenient(&mut self) {
        self.lenient = true;
    }

    /// Makes sure that a topic goes up to an offset, giving it a name where that is not known.
    pub(super) fn reach(&mut self, topic: TopicId, next: Offset) {
        if let Ok(name) = self.name(topic)
            && let Some(mut topic) = self.catalog.topic(&name)
        {
            topic.next = topic.next.max(next);
            self.catalog.set_topic(&name, topic);
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
            Item::Topic {
                id,
                first,
                next,
                name,
            } => {
                let mut topic = Topic::new(id);
                (topic.first, topic.next) = (first, next);
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
                for (request, base, time) in entries {
                    let repeat = true;
                    window.insert(request, Appended { base, time, repeat });
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
                if self.catalog.topic(name).is_none() {
                    self.catalog.set_topic(name, Topic::new(*id));
                }
                self.names.insert(*id, name.clone());
            }
            Record::Trim { topic, first } => {
                let name = self.name(*topic)?;
                if let Some(mut topic) = self.catalog.topic(&name) {
                    topic.first = topic.first.max(*first);
                    topic.next = topic.next.max(*first);
                    self.catalog.set_topic(&name, topic);
                }
            }
            Record::Position { topic, name, next } => {
                self.catalog.set_position(*topic, name.clone(), *next);
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

    fn name(&mut self, topic: TopicId) -> Result<TopicName, String> {
        if let Some(name) = self.names.get(&topic) {
            return Ok(name.clone());
        }
        let name = TopicName::new(&format!("recovered-{}", topic.0));
        match name {
            Ok(name) if self.lenient => {
                self.catalog.set_topic(&name, Topic::new(topic));
                self.names.insert(topic, name.clone());
                Ok(name)
            }
            _ => Err(format!("topic {} is not known", topic.0)),
        }
    }

    fn batch(&mut self, batch: &BatchRecord) -> Result<(), String> {
        let name = self.name(batch.topic)?;
        let Some(mut topic) = self.catalog.topic(&name) else {
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
        let stored = Appended {
            base: batch.base,
            time: batch.time,
            repeat: true,
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
