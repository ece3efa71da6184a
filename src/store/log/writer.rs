//! Everything that writes, but for positions.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use super::{
    super::{
        Ages, Append, Appended, StoreError, Trim,
        catalog::{Catalog, Producer, ProducerRegistration, Topic, TopicId, known},
        dedup_window::DedupWindow,
        plan::{AppendPlan, plan},
    },
    format::{BatchRecord, Entry, Record, Run},
    index::Place,
    read::Missing,
    shared::{Health, Shared, closed},
    write_guard::{Room, WriteError},
};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName,
    wire::{ProducerIdentity, RegisteredProducer, TopicRetention},
};

/// The most batches that one round of a trim drops.
const TRIM_ROUND: usize = 1024;

impl Shared {
    pub(super) fn append(
        &self,
        group: &[Append],
        now: Instant,
    ) -> Vec<Result<Appended, StoreError>> {
        let guard = self.write_guard(now);
        let (plan, records) = {
            let state = &self.state();
            if matches!(state.health, Health::Closed) {
                return group.iter().map(|_| Err(closed())).collect();
            }
            let plan = plan(&state.catalog, group, u64::MAX);
            let records = records(&state.catalog, group, &plan);
            (plan, records)
        };
        if plan.is_empty() {
            return plan.answers();
        }
        let mut guard = match guard.and_then(|guard| self.check_room().map(|()| guard)) {
            Ok(guard) => guard,
            Err(why) => return self.refuse(group, plan, &why),
        };
        let batches = plan
            .placed
            .iter()
            .map(|placed| &group[placed.index].batch[..]);
        let batches: Vec<&[u8]> = batches.collect();
        let placed = plan.placed.iter().map(|placed| &group[placed.index]);
        self.state().in_doubt = placed.map(|a| (a.producer, a.request)).collect();
        let apply = |state: &mut super::shared::State| plan.apply(&mut state.catalog);
        let written = guard.commit(Room::Data, &records, &batches, apply);
        if !matches!(written, Err(WriteError::Unknown(_))) {
            self.state().in_doubt.clear();
        }
        drop(guard);
        match written {
            Ok(()) => plan.answers(),
            Err(error) => plan.answers_for_failure(|_| StoreError::from(&error)),
        }
    }

    /// Refuses what of a group is not stored. A batch that may be stored is answered as one that may be.
    fn refuse(
        &self,
        group: &[Append],
        plan: AppendPlan,
        why: &str,
    ) -> Vec<Result<Appended, StoreError>> {
        let in_doubt = &self.state().in_doubt;
        plan.answers_for_failure(|index| {
            let append = &group[index];
            if in_doubt.contains(&(append.producer, append.request)) {
                StoreError::Failed(why.to_owned())
            } else {
                StoreError::Refuses(why.to_owned())
            }
        })
    }

    /// Checks whether the disk has room for appends.
    pub(super) fn check_room(&self) -> Result<(), String> {
        let least = self.config.min_free_bytes;
        let no_room = match self.disk.free_bytes() {
            Ok(free) if free < least => Some(format!(
                "the disk has {free} bytes left, and {least} are to be left free"
            )),
            // If the disk cannot tell, the write will.
            _ => None,
        };
        let mut state = self.state();
        if state.no_room.is_some() != no_room.is_some() {
            match &no_room {
                Some(why) => tracing::warn!(%why, "the store takes no appends"),
                None => tracing::info!("the store takes appends again"),
            }
        }
        state.no_room.clone_from(&no_room);
        no_room.map_or(Ok(()), Err)
    }

    pub(super) fn register_producer(
        &self,
        identity: &ProducerIdentity,
        now: Instant,
        wall: Timestamp,
    ) -> Result<RegisteredProducer, StoreError> {
        // A producer that comes back needs no write, and is let in while none is taken.
        if let Some(id) = self.come_back(identity, wall)? {
            return Ok(known(id));
        }
        let mut guard = self.guard_or_refuse(now)?;
        let (enrolled, next) = {
            let catalog = &self.state().catalog;
            match catalog.registration(identity)? {
                ProducerRegistration::Known(id) => return Ok(known(id)),
                ProducerRegistration::New { enrolled, .. } => {
                    (enrolled, catalog.producer_numbers().1)
                }
            }
        };
        let id = enrolled.id;
        let record = Record::Producer {
            id,
            instance: identity.instance,
            seen: wall,
            next_producer: next.max(id.0.saturating_add(1)),
            name: identity.name.clone(),
        };
        let producer = Producer {
            identity: identity.clone(),
            seen: wall,
            window: DedupWindow::default(),
        };
        guard
            .commit(Room::Small, &[record], &[], |state| {
                state.catalog.register_producer(id, producer);
            })
            .map_err(|e| StoreError::from(&e))?;
        Ok(enrolled)
    }

    fn come_back(
        &self,
        identity: &ProducerIdentity,
        wall: Timestamp,
    ) -> Result<Option<ProducerId>, StoreError> {
        let catalog = &mut self.open_state()?.catalog;
        match catalog.registration(identity)? {
            ProducerRegistration::Known(id) => {
                catalog.heard(id, wall);
                Ok(Some(id))
            }
            ProducerRegistration::New { .. } => Ok(None),
        }
    }

    /// Creates a topic. Returns `false` if it exists already.
    pub(super) fn create_topic(
        &self,
        name: &TopicName,
        retention: TopicRetention,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let mut guard = self.guard_or_refuse(now)?;
        let mut topic = {
            let catalog = &self.state().catalog;
            if catalog.topic(name).is_some() {
                return Ok(false);
            }
            catalog.new_topic(0)?
        };
        topic.retention = retention;
        let made = Record::Topic {
            id: topic.id,
            name: name.clone(),
        };
        let kept = Record::Retention {
            topic: topic.id,
            retention,
        };
        guard
            .commit(Room::Small, &[made, kept], &[], |state| {
                state.catalog.set_topic(name, topic)
            })
            .map_err(|e| StoreError::from(&e))?;
        Ok(true)
    }

    pub(super) fn set_retention(
        &self,
        name: &TopicName,
        retention: TopicRetention,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut guard = self.guard_or_refuse(now)?;
        let topic = self.topic(name)?.id;
        let record = Record::Retention { topic, retention };
        guard
            .commit(Room::Small, &[record], &[], |state| {
                if let Some(mut topic) = state.catalog.topic(name) {
                    topic.retention = retention;
                    state.catalog.set_topic(name, topic);
                }
            })
            .map_err(|e| StoreError::from(&e))
    }

    /// Deletes a topic. The space of its batches is given back by the maintenance.
    pub(super) fn delete_topic(&self, name: &TopicName, now: Instant) -> Result<(), StoreError> {
        let mut guard = self.guard_or_refuse(now)?;
        let topic = self.topic(name)?.id;
        let record = Record::Delete { topic };
        let written = guard.commit(Room::Small, &[record], &[], |state| {
            state.catalog.delete_topic(name);
            state.index.drop_topic(topic);
        });
        drop(guard);
        self.work.wake();
        written.map_err(|e| StoreError::from(&e))
    }

    pub(super) fn remove_position(
        &self,
        topic: &TopicName,
        name: &str,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut guard = self.guard_or_refuse(now)?;
        let topic = self.topic(topic)?.id;
        // A position at the greatest offset stands for none.
        let record = Record::Position {
            topic,
            name: name.to_owned(),
            next: Offset(u64::MAX),
        };
        guard
            .commit(Room::Small, &[record], &[], |state| {
                state.catalog.remove_position(topic, name);
            })
            .map_err(|e| StoreError::from(&e))
    }

    fn topic(&self, name: &TopicName) -> Result<Topic, StoreError> {
        let state = self.open_state()?;
        state.catalog.topic(name).ok_or(StoreError::UnknownTopic)
    }

    /// Does one round of a trim, and returns how many bytes it dropped: 0 when the trim is done. The next
    /// frame brings it.
    pub(super) fn trim(&self, name: &TopicName, trim: Trim) -> Result<u64, StoreError> {
        let mut writer = self.lock_writer();
        let mut attempts = 0;
        let (topic, trim, oldest, after) = loop {
            let (topic, trim, place, after) = {
                let state = self.open_state()?;
                let topic = state.catalog.topic(name).ok_or(StoreError::UnknownTopic)?;
                let least = state.catalog.least_position(topic.id);
                let place = state
                    .index
                    .find(topic.id, topic.first.0, TRIM_ROUND, usize::MAX);
                // What follows the batches that this round looks at, for those that were stored while the clock was ahead.
                let end = match &place {
                    Place::Rows(run, _) => run.end,
                    Place::Entries(entries) => entries.last().map_or(0, |(entry, _)| entry.end()),
                    Place::None => 0,
                };
                let after = trim
                    .now
                    .and_then(|now| state.index.believed_after(topic.id, end, now.0));
                let after = after.map(|(time, end)| (Timestamp(time), Offset(end)));
                (topic, trim.with_least_position(least), place, after)
            };
            match place {
                Place::None => return Ok(0),
                Place::Entries(entries) => {
                    let oldest: Vec<Entry> = entries.into_iter().map(|(entry, _)| entry).collect();
                    break (topic, trim, oldest, after);
                }
                Place::Rows(run, _) if takes_run(&trim, &topic, &run, after) => {
                    let run_is = (run.rows, run.bytes, run.end);
                    self.drop_oldest(&mut writer.trims, name, topic, run_is);
                    return Ok(run.bytes);
                }
                Place::Rows(run, segment) => match self.first_rows(&run, segment) {
                    Ok(rows) => break (topic, trim, rows, after),
                    // It has been compacted meanwhile; the next look finds its new place.
                    Err(Missing::Moved(_)) if attempts < 16 => attempts += 1,
                    Err(why) => return Err(why.into_error(name, topic.first)),
                },
            }
        };
        let mut left = topic.bytes;
        let (mut count, mut bytes, mut end) = (0, 0, topic.first.0);
        let mut ages = Ages::default();
        let place = |entry: &Entry| (Timestamp(entry.time), Offset(entry.end()));
        for (n, entry) in oldest.iter().enumerate() {
            let rest = || oldest[n..].iter().map(place).chain(after);
            let time = ages.time_of(&trim, place(entry), rest);
            if !trim.takes(left, time, Offset(entry.end())) {
                break;
            }
            let len = u64::from(entry.len);
            left = left.saturating_sub(len);
            (count, bytes, end) = (count + 1, bytes + len, entry.end());
        }
        if count > 0 {
            self.drop_oldest(&mut writer.trims, name, topic, (count, bytes, end));
        }
        Ok(bytes)
    }

    fn drop_oldest(
        &self,
        trims: &mut BTreeMap<TopicId, Offset>,
        name: &TopicName,
        mut topic: Topic,
        (count, bytes, end): (u32, u64, u64),
    ) {
        topic.first = Offset(end);
        topic.bytes = topic.bytes.saturating_sub(bytes);
        let mut state = self.state();
        state.index.drop_oldest(topic.id, count, bytes, end);
        state.catalog.set_topic(name, topic);
        state.damage.trimmed(name, topic.first);
        drop(state);
        trims.insert(topic.id, topic.first);
    }

    /// Forgets a producer. The next frame brings it.
    pub(super) fn forget(&self, id: ProducerId) -> Result<(), StoreError> {
        let mut writer = self.lock_writer();
        self.open_state()?.catalog.forget(id);
        writer.forgotten.push(id);
        Ok(())
    }
}

/// Whether a trim drops every batch of the oldest run of a topic.
fn takes_run(trim: &Trim, topic: &Topic, run: &Run, after: Option<(Timestamp, Offset)>) -> bool {
    let left = topic.bytes.saturating_sub(run.bytes);
    let by_size = trim.max_bytes.is_some_and(|most| left >= most);
    let newest = match trim.is_ahead(Timestamp(run.newest)) {
        true => after.map(|(time, _)| time),
        false => Some(Timestamp(run.newest)),
    };
    let by_age = trim
        .older_than
        .is_some_and(|before| newest.is_some_and(|newest| newest < before));
    let needed = trim.keep_from.is_some_and(|keep| run.end > keep.0);
    (by_size || by_age) && !needed
}

/// Returns the records of a group: its new topics, and its batches.
fn records(catalog: &Catalog, group: &[Append], plan: &AppendPlan) -> Vec<Record> {
    let new = plan
        .topics
        .iter()
        .filter(|(name, _)| catalog.topic(name).is_none());
    let new = new.map(|(name, topic)| Record::Topic {
        id: topic.id,
        name: name.clone(),
    });
    let lows = plan
        .producers
        .iter()
        .map(|change| (change.id, change.window.low));
    let lows: HashMap<ProducerId, RequestId> = lows.collect();
    let batches = plan.placed.iter().map(|placed| {
        let append = &group[placed.index];
        Record::Batch(BatchRecord {
            topic: placed.topic,
            base: placed.base,
            time: append.time,
            count: append.count,
            len: placed.len,
            producer: append.producer,
            request: append.request,
            low: lows.get(&append.producer).copied().unwrap_or_default(),
            checksum: 0,
        })
    });
    new.chain(batches).collect()
}
