//! Committed positions, written together.
//!
//! A sync costs the same for one position as for many, so positions are queued. The call that finds no writer becomes the
//! writer: it writes what has been queued meanwhile, round by round, until the queue is empty.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    super::{StoreError, catalog::TopicId},
    format::Record,
    position_queue::{NewPosition, Waiting},
    shared::{Shared, State},
    write_guard::Room,
};
use crate::Offset;

/// The writer of positions.
///
/// # Drop
/// If it is dropped before the queue is empty, the calls that wait get an error, and the next call becomes the writer.
pub(super) struct PositionWriter {
    shared: Arc<Shared>,
    /// The queue was empty; what is queued from here on is written by another call.
    finished: bool,
}

impl Drop for PositionWriter {
    fn drop(&mut self) {
        if !self.finished {
            let mut waiting = self.shared.waiting();
            waiting.queue.clear();
            waiting.writing = false;
        }
    }
}

impl PositionWriter {
    /// Queues a position. Returns the writer if no call is writing.
    pub(super) fn wanted(shared: &Arc<Shared>, position: NewPosition) -> Option<Self> {
        let mut waiting = shared.waiting();
        waiting.queue.push(position);
        let wanted = !mem::replace(&mut waiting.writing, true);
        wanted.then(|| Self {
            shared: Arc::clone(shared),
            finished: false,
        })
    }

    /// Writes what is queued until the queue is empty.
    pub(super) fn run(mut self, now: Instant) {
        loop {
            let round = {
                let mut waiting = self.shared.waiting();
                if waiting.queue.is_empty() {
                    waiting.writing = false;
                    self.finished = true;
                    return;
                }
                mem::take(&mut waiting.queue)
            };
            self.shared.write_round(round, now);
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write_round(&self, round: Vec<NewPosition>, now: Instant) {
        let mut guard = match self.write_guard(now) {
            Ok(guard) => guard,
            Err(why) => {
                for position in round {
                    let _ = position.done.send(Err(StoreError::Refuses(why.clone())));
                }
                return;
            }
        };
        let mut accepted = Vec::with_capacity(round.len());
        for position in round {
            match self.check(&position, accepted.len()) {
                Ok(topic) => accepted.push((topic, position)),
                Err(error) => {
                    let _ = position.done.send(Err(error));
                }
            }
        }
        // Of two positions of one consumer the later counts.
        let last: BTreeMap<(TopicId, &str), Offset> = accepted
            .iter()
            .map(|(topic, position)| ((*topic, position.name.as_str()), position.next))
            .collect();
        if last.is_empty() {
            return;
        }
        let records = last.iter().map(|((topic, name), next)| Record::Position {
            topic: *topic,
            name: (*name).to_owned(),
            next: *next,
        });
        let records: Vec<_> = records.collect();
        let apply = |state: &mut State| {
            for ((topic, name), next) in &last {
                state
                    .catalog
                    .set_position(*topic, (*name).to_owned(), *next);
            }
        };
        let written = guard.commit(Room::Small, &records, &[], apply);
        drop(guard);
        for (_, position) in accepted {
            let answer = written.as_ref().map_err(StoreError::from).copied();
            let _ = position.done.send(answer);
        }
    }

    /// Checks whether a position may be set, given how many others of its round may.
    fn check(&self, position: &NewPosition, others: usize) -> Result<TopicId, StoreError> {
        let catalog = &self.state().catalog;
        let topic = catalog
            .topic(&position.topic)
            .ok_or(StoreError::UnknownTopic)?;
        catalog.check_position(topic.id, &position.name, others)?;
        Ok(topic.id)
    }
}
