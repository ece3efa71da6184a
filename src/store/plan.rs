//! Sans-I/O: the outcome of a group of batches, before any of it is written.
//!
//! [`plan`] gives each batch of a group its offset or its refusal, from the catalog and the earlier batches of the group. It
//! changes nothing. The store writes what the plan says in one piece and applies the plan to the catalog afterwards
//! ([`AppendPlan::apply`]), so a write that failed has changed nothing.
//!
//! ```text
//! catalog + group ─ plan ─▶ placed batches, topics, producers ─ write ─▶ apply ─▶ answers
//!                                                                 └─ failed ─▶ answers: Refuses or Failed
//! ```

use std::{collections::HashMap, mem};

use super::{
    Append, Appended, StoreError,
    catalog::{Catalog, Topic, TopicId},
    dedup_window::{DedupCheck, DedupDelta, DedupTxn, RequestContent, StoredRequest},
};
use crate::{Offset, ProducerId, Timestamp, TopicName};

/// The outcome of a group, not yet written.
#[derive(Debug)]
pub(super) struct AppendPlan {
    dispositions: Vec<Disposition>,
    /// The batches to write, in the order of the group.
    pub(super) placed: Vec<Placed>,
    /// Every topic that changes, with its new state.
    pub(super) topics: Vec<(TopicName, Topic)>,
    /// Every producer that changes.
    pub(super) producers: Vec<ProducerChange>,
}

/// A batch to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its index in the group.
    pub(super) index: usize,
    pub(super) topic: TopicId,
    pub(super) base: Offset,
    pub(super) len: u32,
}

/// The change of a producer.
#[derive(Debug)]
pub(super) struct ProducerChange {
    pub(super) id: ProducerId,
    pub(super) seen: Timestamp,
    pub(super) window: DedupDelta,
}

#[derive(Debug)]
enum Disposition {
    /// It is to be written.
    Stored(Appended),
    /// It repeats a request of this group, and shares the outcome of that one.
    RepeatInGroup(Appended),
    /// It was stored by an earlier group.
    Known(Appended),
    Refused(StoreError),
}

/// Plans a group. `room` is the number of bytes of batches that may be stored.
pub(super) fn plan(catalog: &Catalog, group: &[Append], room: u64) -> AppendPlan {
    let mut draft = PlanBuilder {
        catalog,
        room,
        full: false,
        entries_left: catalog.entries_left(),
        topics: Vec::new(),
        topic_at: HashMap::new(),
        made: 0,
        windows: Vec::new(),
        window_at: HashMap::new(),
        placed: Vec::new(),
    };
    let dispositions = group.iter().enumerate();
    let dispositions = dispositions.map(|(index, append)| draft.place(index, append));
    let dispositions = dispositions.collect();
    AppendPlan {
        dispositions,
        placed: draft.placed,
        topics: draft.topics,
        producers: draft
            .windows
            .into_iter()
            .filter(|drafted| drafted.stores)
            .map(|drafted| ProducerChange {
                id: drafted.id,
                seen: drafted.seen,
                window: drafted.window.finish(),
            })
            .collect(),
    }
}

impl AppendPlan {
    /// Returns whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Applies the changes, after they have been written.
    pub(super) fn apply(&self, catalog: &mut Catalog) {
        for (name, topic) in &self.topics {
            catalog.set_topic(name, *topic);
        }
        for change in &self.producers {
            catalog.window(change.id, |window| window.apply(&change.window));
            catalog.heard(change.id, change.seen);
        }
    }

    /// Returns the answers of a group that was written.
    pub(super) fn answers(self) -> Vec<Result<Appended, StoreError>> {
        self.answer(|_, appended| Ok(appended))
    }

    /// Returns the answers of a group that was not written, or whose write may have failed. `why` gives the error of each
    /// batch that was to be written, by its index. A batch that was stored earlier is answered as a repeat.
    pub(super) fn answers_for_failure(
        self,
        why: impl Fn(usize) -> StoreError,
    ) -> Vec<Result<Appended, StoreError>> {
        self.answer(|index, _| Err(why(index)))
    }

    fn answer(
        self,
        written: impl Fn(usize, Appended) -> Result<Appended, StoreError>,
    ) -> Vec<Result<Appended, StoreError>> {
        let dispositions = self.dispositions.into_iter().enumerate();
        let answers = dispositions.map(|(index, disposition)| match disposition {
            Disposition::Stored(appended) | Disposition::RepeatInGroup(appended) => {
                written(index, appended)
            }
            Disposition::Known(appended) => Ok(appended),
            Disposition::Refused(error) => Err(error),
        });
        answers.collect()
    }
}

/// The part of a group that has been planned.
struct PlanBuilder<'a> {
    catalog: &'a Catalog,
    room: u64,
    /// A batch was refused for lack of room. All later ones are refused too, because batches must not overtake each other.
    full: bool,
    entries_left: usize,
    topics: Vec<(TopicName, Topic)>,
    topic_at: HashMap<TopicName, usize>,
    /// The number of new topics among them.
    made: usize,
    windows: Vec<ProducerDraft<'a>>,
    window_at: HashMap<ProducerId, usize>,
    placed: Vec<Placed>,
}

struct ProducerDraft<'a> {
    id: ProducerId,
    window: DedupTxn<'a>,
    seen: Timestamp,
    /// Entries that fell out of the window and have not been reused by new ones.
    freed: usize,
    /// A batch of this producer was refused. All later ones are refused too: they must not overtake it.
    refused: bool,
    /// A batch of this producer is to be written. Otherwise its window stays as it is: a low-water mark that moved in
    /// memory alone would differ from the one on disk.
    stores: bool,
}

impl<'a> PlanBuilder<'a> {
    fn place(&mut self, index: usize, append: &Append) -> Disposition {
        match self.try_place(index, append) {
            Ok(disposition) => disposition,
            Err(error) => Disposition::Refused(error),
        }
    }

    fn try_place(&mut self, index: usize, append: &Append) -> Result<Disposition, StoreError> {
        let at = self.window_of(append.producer).ok_or(StoreError::Fenced)?;
        let disposition = self.try_place_in(at, index, append);
        self.windows[at].refused |= disposition.is_err();
        disposition
    }

    fn try_place_in(
        &mut self,
        at: usize,
        index: usize,
        append: &Append,
    ) -> Result<Disposition, StoreError> {
        let content = self.number_of(&append.topic);
        let content = content.map(|topic| RequestContent::of(topic.0, &append.batch));
        let drafted = &mut self.windows[at];
        drafted.freed += drafted.window.advance(append.answered_below);
        match drafted.window.check(append.request, content) {
            DedupCheck::OutOfWindow => return Err(StoreError::OutOfWindow),
            DedupCheck::Differs => return Err(StoreError::RequestReused),
            DedupCheck::Repeat(first) if drafted.window.has_drafted(append.request) => {
                return Ok(Disposition::RepeatInGroup(first));
            }
            DedupCheck::Repeat(first) => return Ok(Disposition::Known(first)),
            DedupCheck::New if drafted.refused => return Err(StoreError::AfterRejected),
            DedupCheck::New => {}
        }
        if append.count == 0 {
            return Err(StoreError::Corrupt("a batch of no messages".to_owned()));
        }
        let len = u32::try_from(append.batch.len()).map_err(|_| StoreError::Limit("batch"))?;
        let share = self.catalog.dedupe_share();
        if self.entries_left + drafted.freed == 0 && drafted.window.len() >= share {
            return Err(StoreError::Limit("unanswered requests of all producers"));
        }
        self.check_room(len)?;
        let topic = self.topic_of(&append.topic)?;

        let base = topic.next;
        topic.next = Offset(base.0 + u64::from(append.count));
        topic.bytes += u64::from(len);
        let content = RequestContent::of(topic.id.0, &append.batch);
        let placed = Placed {
            index,
            topic: topic.id,
            base,
            len,
        };
        let appended = Appended {
            base,
            time: append.time,
            repeat: false,
        };
        self.placed.push(placed);
        self.room -= u64::from(len);
        let drafted = &mut self.windows[at];
        let left = self.entries_left + mem::take(&mut drafted.freed);
        self.entries_left = left.saturating_sub(1);
        let stored = StoredRequest { appended, content };
        drafted.window.insert(append.request, stored);
        drafted.stores = true;
        drafted.seen = drafted.seen.max(append.time);
        Ok(Disposition::Stored(appended))
    }

    fn check_room(&mut self, len: u32) -> Result<(), StoreError> {
        self.full |= self.room < u64::from(len);
        if self.full {
            return Err(StoreError::Refuses("it is full".to_owned()));
        }
        Ok(())
    }

    fn window_of(&mut self, id: ProducerId) -> Option<usize> {
        if let Some(at) = self.window_at.get(&id) {
            return Some(*at);
        }
        let producer = self.catalog.producer(id)?;
        let at = self.windows.len();
        self.windows.push(ProducerDraft {
            id,
            window: DedupTxn::of(&producer.window),
            seen: producer.seen,
            freed: 0,
            refused: false,
            stores: false,
        });
        self.window_at.insert(id, at);
        Some(at)
    }

    /// Returns the number of a topic that exists, or is made for an earlier batch of the group.
    fn number_of(&self, name: &TopicName) -> Option<TopicId> {
        match self.topic_at.get(name) {
            Some(at) => Some(self.topics[*at].1.id),
            None => self.catalog.topic(name).map(|topic| topic.id),
        }
    }

    fn topic_of(&mut self, name: &TopicName) -> Result<&mut Topic, StoreError> {
        let at = match self.topic_at.get(name) {
            Some(at) => *at,
            None => {
                let topic = match self.catalog.topic(name) {
                    Some(topic) => topic,
                    None => {
                        let topic = self.catalog.new_topic(self.made)?;
                        self.made += 1;
                        topic
                    }
                };
                let at = self.topics.len();
                self.topics.push((name.clone(), topic));
                self.topic_at.insert(name.clone(), at);
                at
            }
        };
        Ok(&mut self.topics[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Limits,
            catalog::Producer,
            dedup_window::DedupWindow,
            tests::{batch, identity, topic},
        },
        *,
    };
    use crate::RequestId;

    const P: ProducerId = ProducerId(1);
    const Q: ProducerId = ProducerId(2);

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new(Limits::default(), 1);
        for (id, name) in [(P, "p"), (Q, "q")] {
            let producer = Producer {
                identity: identity(name, 1),
                seen: Timestamp(0),
                window: DedupWindow::default(),
            };
            catalog.register_producer(id, producer);
        }
        catalog
    }

    fn written(catalog: &mut Catalog, group: &[Append]) -> Vec<Result<Appended, StoreError>> {
        let plan = plan(catalog, group, u64::MAX);
        plan.apply(catalog);
        plan.answers()
    }

    #[test]
    fn a_plan_that_is_not_entered_has_changed_nothing() {
        let mut catalog = catalog();
        written(&mut catalog, &[batch(P, 1, "a", 2)]);
        let group = [
            batch(P, 2, "a", 3),
            batch(P, 1, "a", 2),
            batch(P, 3, "b", 1),
        ];
        let failed = plan(&catalog, &group, u64::MAX);
        assert_eq!(failed.placed.len(), 2);
        let answers = failed.answers_for_failure(|_| StoreError::Failed(String::new()));
        assert!(matches!(answers[0], Err(StoreError::Failed(_))));
        assert!(
            matches!(answers[1], Ok(Appended { repeat: true, .. })),
            "what was stored before is stored whatever becomes of this group"
        );
        assert!(matches!(answers[2], Err(StoreError::Failed(_))));

        assert_eq!(catalog.topic(&topic("a")).unwrap().next, Offset(2));
        assert_eq!(catalog.topic(&topic("b")), None);
        let answers = written(&mut catalog, &group);
        let first = answers[0].as_ref().unwrap();
        assert_eq!((first.base, first.repeat), (Offset(2), false));
    }

    #[test]
    fn a_repeat_shares_the_fate_of_the_batch_in_its_own_group() {
        let group = [batch(P, 1, "a", 1), batch(P, 1, "a", 1)];
        let plan = plan(&catalog(), &group, u64::MAX);
        assert_eq!(plan.placed.len(), 1);
        let answers = plan.answers_for_failure(|_| StoreError::Failed(String::new()));
        assert!(answers.iter().all(Result::is_err));
    }

    #[test]
    fn once_a_batch_finds_no_room_none_behind_it_is_placed() {
        let catalog = catalog();
        let group = [
            batch(P, 1, "long-name", 1),
            batch(P, 2, "longer-name", 1),
            batch(P, 3, "a", 1),
        ];
        let [first, second, _] = &group;
        let room = first.batch.len() + second.batch.len() - 1;
        let plan = plan(&catalog, &group, room.try_into().unwrap());
        assert_eq!(plan.placed.len(), 1);
        assert_eq!(
            plan.topics.len(),
            1,
            "a topic is made for a batch, not for a refusal"
        );
    }

    #[test]
    fn a_producer_of_which_nothing_is_stored_keeps_its_window() {
        let mut catalog = catalog();
        written(&mut catalog, &[batch(P, 1, "a", 1)]);
        let asks = Append {
            answered_below: RequestId(9),
            ..batch(P, 3, "a", 1)
        };
        let group = [asks, batch(Q, 1, "a", 1)];
        let answers = written(&mut catalog, &group);
        assert!(matches!(answers[0], Err(StoreError::OutOfWindow)));
        assert_eq!(catalog.producer(P).unwrap().window.low(), RequestId(0));
        assert_eq!(catalog.producer(P).unwrap().window.len(), 1);
    }
}
