//! Everything that writes, but for positions.

use std::{sync::PoisonError, time::Instant};

use super::{
    super::{
        Append, Appended, StoreError, Trim,
        catalog::{Catalog, Producer, ProducerRegistration, known},
        dedup_window::DedupWindow,
        plan::{AppendPlan, plan},
    },
    engine::{CommitError, Durable, Engine, Group},
    folder::Folder,
    rows,
    shared::{Health, Shared, closed},
};
use crate::{
    ProducerId, Timestamp, TopicName,
    wire::{ProducerIdentity, RegisteredProducer},
};

/// Batches that one turn of a trim deletes at most.
const TRIM_TURN: usize = 1024;

/// Trimmed bytes from which giving the space back is worth the work; and no less than a quarter of what is
/// kept, so that the work stays in proportion.
const RECLAIM_FROM: u64 = 64 << 20;

pub(super) fn store_error(error: &CommitError) -> StoreError {
    match error {
        CommitError::NotWritten(why) => StoreError::Refuses(why.clone()),
        CommitError::Unknown(why) => StoreError::Failed(why.clone()),
    }
}

impl Shared {
    pub(super) fn append(
        &self,
        group: &[Append],
        now: Instant,
    ) -> Vec<Result<Appended, StoreError>> {
        let turn = self.turn(now);
        let (plan, rows) = {
            let known = &self.known();
            if matches!(known.health, Health::Closed) {
                return group.iter().map(|_| Err(closed())).collect();
            }
            let plan = plan(&known.catalog, group, u64::MAX);
            let rows = producer_rows(&known.catalog, &plan);
            (plan, rows)
        };
        if plan.is_empty() {
            return plan.answers();
        }
        let turn = match turn.and_then(|turn| self.check_room().map(|()| turn)) {
            Ok(turn) => turn,
            Err(why) => return self.refuse(group, plan, &why),
        };
        let fill = |writes: &mut Group<'_>| fill(writes, group, &plan, rows);
        let placed = plan.placed.iter().map(|placed| &group[placed.index]);
        self.known().in_doubt = placed.map(|a| (a.producer, a.request)).collect();
        let written = turn.write(Durable::AsConfigured, fill, |catalog| plan.apply(catalog));
        if !matches!(written, Err(CommitError::Unknown(_))) {
            self.known().in_doubt.clear();
        }
        match written {
            Ok(()) => plan.answers(),
            Err(error) => plan.answers_for_failure(|_| store_error(&error)),
        }
    }

    /// Refuses what of a group is not stored. Of what may be stored it does not say that it is not.
    fn refuse(
        &self,
        group: &[Append],
        plan: AppendPlan,
        why: &str,
    ) -> Vec<Result<Appended, StoreError>> {
        let in_doubt = &self.known().in_doubt;
        plan.answers_for_failure(|index| {
            let append = &group[index];
            if in_doubt.contains(&(append.producer, append.request)) {
                StoreError::Failed(why.to_owned())
            } else {
                StoreError::Refuses(why.to_owned())
            }
        })
    }

    /// Whether the disk has room for appends, and notes it.
    fn check_room(&self) -> Result<(), String> {
        let least = self.config.min_free_bytes;
        let free = self.disk().folder.as_ref().map(Folder::free_bytes);
        let no_room = match free {
            Some(Ok(free)) if free < least => Some(format!(
                "the disk has {free} bytes left, and {least} are to be left free"
            )),
            // A disk that cannot say is a disk to try.
            _ => None,
        };
        let mut known = self.known();
        if known.no_room.is_some() != no_room.is_some() {
            match &no_room {
                Some(why) => tracing::warn!(%why, "the store takes no appends"),
                None => tracing::info!("the store takes appends again"),
            }
        }
        known.no_room.clone_from(&no_room);
        no_room.map_or(Ok(()), Err)
    }

    pub(super) fn register_producer(
        &self,
        identity: &ProducerIdentity,
        now: Instant,
        wall: Timestamp,
    ) -> Result<RegisteredProducer, StoreError> {
        // One that comes back needs no write, and is let in while none is taken.
        if let Some(id) = self.come_back(identity, wall)? {
            return Ok(known(id));
        }
        let turn = self.turn_or_refuse(now)?;
        let (enrolled, stale, (first, next)) = {
            let catalog = &self.known().catalog;
            match catalog.registration(identity)? {
                ProducerRegistration::Known(id) => return Ok(known(id)),
                ProducerRegistration::New { enrolled, fenced } => {
                    let stale = fenced.map(|id| traces(catalog, id));
                    (enrolled, stale, catalog.producer_numbers())
                }
            }
        };
        let id = enrolled.id;
        let window = DedupWindow::default();
        let row = rows::producer_row(id, identity, window.low(), wall);
        let fill = |group: &mut Group<'_>| {
            group.put(rows::meta_row(first, next.max(id.0.saturating_add(1))));
            group.put(row);
            for key in stale.into_iter().flatten() {
                group.delete(key);
            }
        };
        let producer = Producer {
            identity: identity.clone(),
            seen: wall,
            window,
        };
        turn.write(Durable::AsConfigured, fill, |catalog| {
            catalog.register_producer(id, producer)
        })
        .map_err(|e| store_error(&e))?;
        Ok(enrolled)
    }

    fn come_back(
        &self,
        identity: &ProducerIdentity,
        wall: Timestamp,
    ) -> Result<Option<ProducerId>, StoreError> {
        let catalog = &mut self.open_catalog()?.catalog;
        match catalog.registration(identity)? {
            ProducerRegistration::Known(id) => {
                catalog.heard(id, wall);
                Ok(Some(id))
            }
            ProducerRegistration::New { .. } => Ok(None),
        }
    }

    pub(super) fn create_topic(&self, name: &TopicName, now: Instant) -> Result<(), StoreError> {
        let turn = self.turn_or_refuse(now)?;
        let topic = {
            let catalog = &self.known().catalog;
            if catalog.topic(name).is_some() {
                return Ok(());
            }
            catalog.new_topic(0)?
        };
        let fill = |group: &mut Group<'_>| group.put(rows::topic_row(name, &topic));
        turn.write(Durable::AsConfigured, fill, |catalog| {
            catalog.set_topic(name, topic)
        })
        .map_err(|e| store_error(&e))
    }

    /// One turn of a trim: answers how many bytes went, 0 when it is done.
    pub(super) fn trim(
        &self,
        name: &TopicName,
        trim: Trim,
        now: Instant,
    ) -> Result<u64, StoreError> {
        let turn = self.turn_or_refuse(now)?;
        let (mut topic, trim) = {
            let catalog = &self.known().catalog;
            let topic = catalog.topic(name).ok_or(StoreError::UnknownTopic)?;
            let least = catalog.least_position(topic.id);
            (topic, trim.with_least_position(least))
        };
        let before = topic.bytes;
        let mut doomed = Vec::new();
        {
            let disk = self.disk();
            for key in disk.engine()?.keys(topic.id, topic.first, topic.next) {
                let key = key?;
                if doomed.len() == TRIM_TURN || !trim.takes(topic.bytes, key.time, key.end()) {
                    break;
                }
                topic.first = key.end();
                topic.bytes = topic.bytes.saturating_sub(u64::from(key.len));
                doomed.push(key);
            }
        }
        if doomed.is_empty() {
            return Ok(0);
        }
        let fill = |group: &mut Group<'_>| {
            doomed.into_iter().for_each(|key| group.delete_batch(key));
            group.put(rows::topic_row(name, &topic));
        };
        // Not synced: a trim that a power cut undoes is made again.
        turn.write(Durable::Later, fill, |catalog| {
            catalog.set_topic(name, topic);
        })
        .map_err(|e| store_error(&e))?;
        let went = before - topic.bytes;
        self.known().trimmed += went;
        Ok(went)
    }

    /// Whether so much has been trimmed that its space should be given back. It answers yes once.
    pub(super) fn take_reclaiming(&self) -> bool {
        let mut known = self.known();
        let kept = |catalog: &Catalog| catalog.topics().map(|(_, topic)| topic.bytes).sum::<u64>();
        let due = known.trimmed >= RECLAIM_FROM && known.trimmed >= kept(&known.catalog) / 4;
        if due {
            known.trimmed = 0;
        }
        due
    }

    pub(super) fn reclaim(&self, now: Instant) -> Result<(), StoreError> {
        // The turn is for a look alone: appends go on while tables and value files are rewritten.
        drop(self.turn_or_refuse(now)?);
        let reclaimed = self.disk().engine()?.reclaim();
        reclaimed.map_err(|e| store_error(&e))
    }

    pub(super) fn forget(&self, id: ProducerId, now: Instant) -> Result<(), StoreError> {
        let turn = self.turn_or_refuse(now)?;
        let stale = traces(&self.known().catalog, id);
        let fill = |group: &mut Group<'_>| stale.into_iter().for_each(|key| group.delete(key));
        turn.write(Durable::Later, fill, |catalog| catalog.forget(id))
            .map_err(|e| store_error(&e))
    }

    pub(super) fn close(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.known().health = Health::Closed;
        let mut disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
        let synced = disk.engine.as_ref().map_or(Ok(()), Engine::sync);
        disk.engine = None;
        disk.folder = None;
        synced.map_err(|e| store_error(&e))
    }
}

/// The rows of the producers that a plan changes, as they stand afterwards.
fn producer_rows(catalog: &Catalog, plan: &AppendPlan) -> Vec<rows::Row> {
    let changed = plan.producers.iter().filter_map(|change| {
        let producer = catalog.producer(change.id)?;
        let (low, seen) = (change.window.low, change.seen);
        Some(rows::producer_row(change.id, &producer.identity, low, seen))
    });
    changed.collect()
}

fn fill(writes: &mut Group<'_>, group: &[Append], plan: &AppendPlan, producers: Vec<rows::Row>) {
    for placed in &plan.placed {
        let append = &group[placed.index];
        let key = rows::BatchKey {
            topic: placed.topic,
            base: placed.base,
            time: append.time,
            count: append.count,
            len: placed.len,
        };
        writes.put_batch(key, &append.batch);
    }
    for (name, topic) in &plan.topics {
        writes.put(rows::topic_row(name, topic));
    }
    for change in &plan.producers {
        for (request, stored) in &change.window.added {
            writes.put(rows::dedupe_row(change.id, *request, stored));
        }
        for request in &change.window.dropped {
            writes.delete(rows::dedupe_key(change.id, *request));
        }
    }
    producers.into_iter().for_each(|row| writes.put(row));
}

/// The keys of everything that is known of a producer.
fn traces(catalog: &Catalog, id: ProducerId) -> Vec<Vec<u8>> {
    let producer = catalog.producer(id).into_iter();
    let requests = producer.flat_map(|p| p.window.requests());
    let mut keys: Vec<_> = requests.map(|r| rows::dedupe_key(id, r)).collect();
    keys.push(rows::producer_key(id));
    keys
}
