//! Positions of readers, written together.
//!
//! Every reader that acknowledges wants its position durable, and a sync costs the same for one position as
//! for all. So positions are queued; whoever finds nobody writing writes, and writes what has gathered
//! meanwhile, round by round, until nothing is left.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    super::{
        StoreError,
        catalog::{Catalog, TopicId},
    },
    engine::{Durable, Group},
    rows,
    shared::Shared,
    writer::store_error,
};
use crate::{Offset, TopicName};

/// A position to be set, and who waits for it.
#[derive(Debug)]
pub(super) struct NewPosition {
    pub(super) topic: TopicName,
    pub(super) name: String,
    pub(super) next: Offset,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

/// Positions that wait to be written: one a caller that waits for it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Vec<NewPosition>,
    /// Somebody is writing, and will look again before they stop.
    writing: bool,
}

/// The one who writes positions.
///
/// # Drop
/// Where it is dropped before everything is written, nobody is left waiting: who waits is told that the work
/// failed, and the next position finds nobody writing.
pub(super) struct PositionWriter {
    shared: Arc<Shared>,
    /// Everything is written; what is queued from here on is another's.
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
    /// Queues a position. Where nobody is writing, the caller is to be the one.
    pub(super) fn wanted(shared: &Arc<Shared>, position: NewPosition) -> Option<Self> {
        let mut waiting = shared.waiting();
        waiting.queue.push(position);
        let wanted = !mem::replace(&mut waiting.writing, true);
        wanted.then(|| Self {
            shared: Arc::clone(shared),
            finished: false,
        })
    }

    /// Writes what is queued until nothing is.
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
        let turn = match self.turn(now) {
            Ok(turn) => turn,
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
        // A key stands once in a write; of two for one reader the later counts.
        let last: BTreeMap<(TopicId, &str), Offset> = accepted
            .iter()
            .map(|(topic, position)| ((*topic, position.name.as_str()), position.next))
            .collect();
        if last.is_empty() {
            return;
        }
        let fill = |group: &mut Group<'_>| {
            for ((topic, name), next) in &last {
                group.put(rows::position_row(*topic, name, *next));
            }
        };
        let enter = |catalog: &mut Catalog| {
            for ((topic, name), next) in &last {
                catalog.set_position(*topic, (*name).to_owned(), *next);
            }
        };
        let written = turn.write(Durable::AsConfigured, fill, enter);
        for (_, position) in accepted {
            let answer = written.as_ref().map_err(store_error).copied();
            let _ = position.done.send(answer);
        }
    }

    /// Whether a position may be set, given how many others of its round may.
    fn check(&self, position: &NewPosition, others: usize) -> Result<TopicId, StoreError> {
        let catalog = &self.known().catalog;
        let topic = catalog
            .topic(&position.topic)
            .ok_or(StoreError::UnknownTopic)?;
        catalog.check_position(topic.id, &position.name, others)?;
        Ok(topic.id)
    }
}
