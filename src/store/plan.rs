//! Pure: what a group of batches comes to, before any of it is written.
//!
//! [`plan`] gives every batch of a group its place or its refusal, from the books as they stand and from the
//! batches before it in the group. It changes nothing. The store writes what the plan says in one piece, and
//! only then makes the plan's changes to the books ([`Plan::enter`]): a write that failed has moved nothing.
//!
//! ```text
//! books + group ─ plan ─▶ placed batches, topic and producer rows ─ write ─▶ enter ─▶ answers
//!                                                                      └─ failed ─▶ answers: Refuses or Failed
//! ```

use std::{collections::HashMap, mem};

use super::{
    Append, Appended, StoreError,
    books::{Books, Topic, TopicId},
    window::{Change, Check, Draft},
};
use crate::{Offset, ProducerId, Timestamp, TopicName};

/// What a group comes to.
#[derive(Debug)]
pub(super) struct Plan {
    verdicts: Vec<Verdict>,
    /// The batches to write, in the order of the group.
    pub(super) placed: Vec<Placed>,
    /// Every topic that changes, as it stands afterwards.
    pub(super) topics: Vec<(TopicName, Topic)>,
    /// Every producer that changes.
    pub(super) producers: Vec<ProducerChange>,
}

/// One batch that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its place in the group.
    pub(super) index: usize,
    pub(super) topic: TopicId,
    pub(super) base: Offset,
    pub(super) len: u32,
}

/// What becomes of a producer.
#[derive(Debug)]
pub(super) struct ProducerChange {
    pub(super) id: ProducerId,
    pub(super) seen: Timestamp,
    pub(super) window: Change,
}

#[derive(Debug)]
enum Verdict {
    /// It is one of those to be written.
    Stored(Appended),
    /// It stands in this group already, and shares that one's fate.
    RepeatInGroup(Appended),
    /// It was stored earlier.
    Known(Appended),
    Refused(StoreError),
}

/// Plans a group, given how many bytes of batches there is room for.
pub(super) fn plan(books: &Books, group: &[Append], room: u64) -> Plan {
    let mut draft = Drafts {
        books,
        room,
        full: false,
        entries_left: books.entries_left(),
        topics: Vec::new(),
        topic_at: HashMap::new(),
        made: 0,
        windows: Vec::new(),
        window_at: HashMap::new(),
        placed: Vec::new(),
    };
    let verdicts = group.iter().enumerate();
    let verdicts = verdicts.map(|(index, append)| draft.place(index, append));
    let verdicts = verdicts.collect();
    Plan {
        verdicts,
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

impl Plan {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Makes the changes that have been written.
    pub(super) fn enter(&self, books: &mut Books) {
        for (name, topic) in &self.topics {
            books.set_topic(name, *topic);
        }
        for change in &self.producers {
            books.window(change.id, |window| window.apply(&change.window));
            books.heard(change.id, change.seen);
        }
    }

    /// The answers of a group that was written.
    pub(super) fn answers(self) -> Vec<Result<Appended, StoreError>> {
        self.answer(|_, appended| Ok(appended))
    }

    /// The answers of a group that was not written, or nobody knows: `why`, by its place in the group, to
    /// each batch that should have been. A batch that was stored earlier is answered all the same.
    pub(super) fn answers_without(
        self,
        why: impl Fn(usize) -> StoreError,
    ) -> Vec<Result<Appended, StoreError>> {
        self.answer(|index, _| Err(why(index)))
    }

    fn answer(
        self,
        written: impl Fn(usize, Appended) -> Result<Appended, StoreError>,
    ) -> Vec<Result<Appended, StoreError>> {
        let verdicts = self.verdicts.into_iter().enumerate();
        let answers = verdicts.map(|(index, verdict)| match verdict {
            Verdict::Stored(appended) | Verdict::RepeatInGroup(appended) => {
                written(index, appended)
            }
            Verdict::Known(appended) => Ok(appended),
            Verdict::Refused(error) => Err(error),
        });
        answers.collect()
    }
}

/// The group so far.
struct Drafts<'a> {
    books: &'a Books,
    room: u64,
    /// A batch was refused for want of room; so are all behind it, or batches would overtake each other.
    full: bool,
    entries_left: usize,
    topics: Vec<(TopicName, Topic)>,
    topic_at: HashMap<TopicName, usize>,
    /// How many of the topics are new.
    made: usize,
    windows: Vec<DraftedWindow<'a>>,
    window_at: HashMap<ProducerId, usize>,
    placed: Vec<Placed>,
}

struct DraftedWindow<'a> {
    id: ProducerId,
    window: Draft<'a>,
    seen: Timestamp,
    /// Entries that fell out and were not yet made use of.
    freed: usize,
    /// A batch of this producer was refused, and so are all behind it: they must not overtake it.
    refused: bool,
    /// Something of this producer is to be written. Without that its window stays as it is: a mark that
    /// moved in memory alone would leave entries behind on disk.
    stores: bool,
}

impl<'a> Drafts<'a> {
    fn place(&mut self, index: usize, append: &Append) -> Verdict {
        match self.try_place(index, append) {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Refused(error),
        }
    }

    fn try_place(&mut self, index: usize, append: &Append) -> Result<Verdict, StoreError> {
        let at = self.window_of(append.producer).ok_or(StoreError::Fenced)?;
        let verdict = self.try_place_in(at, index, append);
        self.windows[at].refused |= verdict.is_err();
        verdict
    }

    fn try_place_in(
        &mut self,
        at: usize,
        index: usize,
        append: &Append,
    ) -> Result<Verdict, StoreError> {
        let drafted = &mut self.windows[at];
        drafted.freed += drafted.window.advance(append.answered_below);
        match drafted.window.check(append.request) {
            Check::OutOfWindow => return Err(StoreError::OutOfWindow),
            Check::Repeat(first) if drafted.window.has_drafted(append.request) => {
                return Ok(Verdict::RepeatInGroup(first));
            }
            Check::Repeat(first) => return Ok(Verdict::Known(first)),
            Check::New if drafted.refused => return Err(StoreError::Behind),
            Check::New => {}
        }
        if append.count == 0 {
            return Err(StoreError::Corrupt("a batch of no messages".to_owned()));
        }
        let len = u32::try_from(append.batch.len()).map_err(|_| StoreError::Limit("batch"))?;
        if self.entries_left + drafted.freed == 0 {
            return Err(StoreError::Limit("unanswered requests of all producers"));
        }
        self.check_room(len)?;
        let topic = self.topic_of(&append.topic)?;

        let base = topic.next;
        topic.next = Offset(base.0 + u64::from(append.count));
        topic.bytes += u64::from(len);
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
        self.entries_left = self.entries_left + mem::take(&mut drafted.freed) - 1;
        drafted.window.insert(append.request, appended);
        drafted.stores = true;
        drafted.seen = drafted.seen.max(append.time);
        Ok(Verdict::Stored(appended))
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
        let producer = self.books.producer(id)?;
        let at = self.windows.len();
        self.windows.push(DraftedWindow {
            id,
            window: Draft::of(&producer.window),
            seen: producer.seen,
            freed: 0,
            refused: false,
            stores: false,
        });
        self.window_at.insert(id, at);
        Some(at)
    }

    fn topic_of(&mut self, name: &TopicName) -> Result<&mut Topic, StoreError> {
        let at = match self.topic_at.get(name) {
            Some(at) => *at,
            None => {
                let topic = match self.books.topic(name) {
                    Some(topic) => topic,
                    None => {
                        let topic = self.books.new_topic(self.made)?;
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
            books::Producer,
            tests::{batch, identity, topic},
            window::Window,
        },
        *,
    };
    use crate::RequestId;

    const P: ProducerId = ProducerId(1);
    const Q: ProducerId = ProducerId(2);

    fn books() -> Books {
        let mut books = Books::new(Limits::default(), 1);
        for (id, name) in [(P, "p"), (Q, "q")] {
            let producer = Producer {
                identity: identity(name, 1),
                seen: Timestamp(0),
                window: Window::default(),
            };
            books.enrol(id, producer);
        }
        books
    }

    fn written(books: &mut Books, group: &[Append]) -> Vec<Result<Appended, StoreError>> {
        let plan = plan(books, group, u64::MAX);
        plan.enter(books);
        plan.answers()
    }

    #[test]
    fn a_plan_that_is_not_entered_has_changed_nothing() {
        let mut books = books();
        written(&mut books, &[batch(P, 1, "a", 2)]);
        let group = [
            batch(P, 2, "a", 3),
            batch(P, 1, "a", 2),
            batch(P, 3, "b", 1),
        ];
        let failed = plan(&books, &group, u64::MAX);
        assert_eq!(failed.placed.len(), 2);
        let answers = failed.answers_without(|_| StoreError::Failed(String::new()));
        assert!(matches!(answers[0], Err(StoreError::Failed(_))));
        assert!(
            matches!(answers[1], Ok(Appended { repeat: true, .. })),
            "what was stored before is stored whatever becomes of this group"
        );
        assert!(matches!(answers[2], Err(StoreError::Failed(_))));

        assert_eq!(books.topic(&topic("a")).unwrap().next, Offset(2));
        assert_eq!(books.topic(&topic("b")), None);
        let answers = written(&mut books, &group);
        let first = answers[0].as_ref().unwrap();
        assert_eq!((first.base, first.repeat), (Offset(2), false));
    }

    #[test]
    fn a_repeat_shares_the_fate_of_the_batch_in_its_own_group() {
        let group = [batch(P, 1, "a", 1), batch(P, 1, "a", 1)];
        let plan = plan(&books(), &group, u64::MAX);
        assert_eq!(plan.placed.len(), 1);
        let answers = plan.answers_without(|_| StoreError::Failed(String::new()));
        assert!(answers.iter().all(Result::is_err));
    }

    #[test]
    fn once_a_batch_finds_no_room_none_behind_it_is_placed() {
        let books = books();
        let group = [
            batch(P, 1, "long-name", 1),
            batch(P, 2, "longer-name", 1),
            batch(P, 3, "a", 1),
        ];
        let [first, second, _] = &group;
        let room = first.batch.len() + second.batch.len() - 1;
        let plan = plan(&books, &group, room.try_into().unwrap());
        assert_eq!(plan.placed.len(), 1);
        assert_eq!(
            plan.topics.len(),
            1,
            "a topic is made for a batch, not for a refusal"
        );
    }

    #[test]
    fn a_producer_of_which_nothing_is_stored_keeps_its_window() {
        let mut books = books();
        written(&mut books, &[batch(P, 1, "a", 1)]);
        let asks = Append {
            answered_below: RequestId(9),
            ..batch(P, 3, "a", 1)
        };
        let group = [asks, batch(Q, 1, "a", 1)];
        let answers = written(&mut books, &group);
        assert!(matches!(answers[0], Err(StoreError::OutOfWindow)));
        assert_eq!(books.producer(P).unwrap().window.low(), RequestId(0));
        assert_eq!(books.producer(P).unwrap().window.len(), 1);
    }
}
