//! Sans-I/O: checks a history against the promises, without knowledge of how they are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    ConsumerNumber, Event, History, MessageId, Order, Outcome, ProducerNumber, ReaderName,
    Violation,
};

impl History {
    /// Returns all violations of the promises.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let stored = self.stored(&mut found);
        let calls = self.calls();
        self.check_outcomes(&calls, &stored, &mut found);
        self.check_order(&calls, &mut found);
        self.check_readers(&mut found);
        self.check_producers(&mut found);
        found
    }

    /// Returns the offset of each message, and checks the topic for holes and duplicates.
    fn stored(&self, found: &mut Vec<Violation>) -> HashMap<MessageId, u64> {
        let mut places = HashMap::new();
        for (expected, &(offset, id)) in (0..).zip(&self.topic) {
            if offset != expected {
                found.push(Violation::Hole { offset: expected });
                break;
            }
            if let Some(first) = places.insert(id, offset) {
                let offsets = [first, offset];
                found.push(Violation::Duplicate { id, offsets });
            }
        }
        places
    }

    fn calls(&self) -> BTreeMap<MessageId, Call> {
        let mut calls = BTreeMap::new();
        for (index, event) in self.events.iter().enumerate() {
            if let &Event::Called {
                id,
                producer,
                order,
            } = event
            {
                let call = Call {
                    index,
                    producer,
                    order,
                    outcome: None,
                };
                assert!(calls.insert(id, call).is_none(), "{id:?} was called twice");
            }
        }
        calls
    }

    fn check_outcomes(
        &self,
        calls: &BTreeMap<MessageId, Call>,
        stored: &HashMap<MessageId, u64>,
        found: &mut Vec<Violation>,
    ) {
        let mut calls = calls.clone();
        let handed_back: HashSet<_> = self.handed_back().collect();
        for event in &self.events {
            let (&Event::Ended { id, outcome } | &Event::HandedBack { id, outcome }) = event else {
                continue;
            };
            let call = calls.get_mut(&id).expect("a call that ends was made");
            match call.outcome.replace(outcome) {
                // A close and a receipt may both report a message, with the same outcome.
                Some(first) if first != outcome || !handed_back.contains(&id) => {
                    let outcomes = [first, outcome];
                    found.push(Violation::TwoOutcomes { id, outcomes });
                }
                _ => {}
            }
        }
        let killed: HashSet<_> = self.killed().collect();
        for (&id, call) in &calls {
            match (call.outcome, stored.get(&id)) {
                (None, _) if !killed.contains(&call.producer) => {
                    found.push(Violation::NoOutcome { id });
                }
                (Some(Outcome::Stored(offset)), None) => {
                    found.push(Violation::Lost { id, offset });
                }
                (Some(Outcome::Stored(acknowledged)), Some(&stored)) if acknowledged != stored => {
                    found.push(Violation::Misplaced {
                        id,
                        acknowledged,
                        stored,
                    });
                }
                (Some(Outcome::NotStored), Some(&offset)) => {
                    found.push(Violation::Resurrected { id, offset });
                }
                _ => {}
            }
        }
        for &(offset, id) in &self.topic {
            if !calls.contains_key(&id) {
                found.push(Violation::Stranger { id, offset });
            }
        }
    }

    fn handed_back(&self) -> impl Iterator<Item = MessageId> {
        self.events.iter().filter_map(|event| match event {
            Event::HandedBack { id, .. } => Some(*id),
            _ => None,
        })
    }

    fn killed(&self) -> impl Iterator<Item = ProducerNumber> {
        self.events.iter().filter_map(|event| match event {
            Event::Killed { producer } => Some(*producer),
            _ => None,
        })
    }

    /// Checks that stored messages of each ordered sequence are in the order of their calls.
    fn check_order(&self, calls: &BTreeMap<MessageId, Call>, found: &mut Vec<Violation>) {
        let mut newest: HashMap<(ProducerNumber, Order), (usize, MessageId)> = HashMap::new();
        for &(_, id) in &self.topic {
            let Some(call) = calls.get(&id).filter(|call| call.order != Order::None) else {
                continue;
            };
            let newest = newest
                .entry((call.producer, call.order))
                .or_insert((call.index, id));
            if call.index < newest.0 {
                found.push(Violation::Disorder {
                    first: id,
                    second: newest.1,
                });
            } else {
                *newest = (call.index, id);
            }
        }
    }

    fn check_readers(&self, found: &mut Vec<Violation>) {
        let mut names: BTreeMap<ReaderName, Position> = BTreeMap::new();
        let mut lives: HashMap<ConsumerNumber, (ReaderName, u64)> = HashMap::new();
        for event in &self.events {
            match *event {
                Event::Began {
                    consumer,
                    name,
                    next: began,
                } => {
                    lives.insert(consumer, (name, began));
                    let known = names.entry(name).or_default();
                    let (confirmed, acknowledged) = (known.confirmed, known.acknowledged);
                    if began < confirmed {
                        found.push(Violation::ForgotPosition {
                            consumer,
                            confirmed,
                            began,
                        });
                    }
                    if began > acknowledged {
                        found.push(Violation::Skipped {
                            consumer,
                            acknowledged,
                            began,
                        });
                    }
                }
                Event::Delivered {
                    consumer,
                    offset,
                    id,
                } => {
                    let (name, next) = lives.get_mut(&consumer).expect("the consumer has started");
                    match offset.cmp(next) {
                        std::cmp::Ordering::Less => {
                            found.push(Violation::Repeated { consumer, offset });
                        }
                        std::cmp::Ordering::Greater => found.push(Violation::Gap {
                            consumer,
                            expected: *next,
                            came: offset,
                        }),
                        std::cmp::Ordering::Equal => {}
                    }
                    *next = (*next).max(offset + 1);
                    let there = usize::try_from(offset).ok();
                    let there = there.and_then(|place| self.topic.get(place));
                    if there != Some(&(offset, id)) {
                        found.push(Violation::Altered { consumer, offset });
                    }
                    names.entry(*name).or_default().seen.insert(offset);
                }
                Event::Acknowledged { consumer, next } => {
                    let known = names.entry(lives[&consumer].0).or_default();
                    known.acknowledged = known.acknowledged.max(next);
                }
                Event::Confirmed { consumer, next } => {
                    let known = names.entry(lives[&consumer].0).or_default();
                    known.confirmed = known.confirmed.max(next);
                }
                _ => {}
            }
        }
        for (name, position) in names {
            let all = self.topic.iter().map(|&(offset, _)| offset);
            let unread = all.filter(|offset| !position.seen.contains(offset));
            found.extend(unread.map(|offset| Violation::Unread { name, offset }));
        }
    }

    fn check_producers(&self, found: &mut Vec<Violation>) {
        for event in &self.events {
            match *event {
                Event::Flushed { producer, open } if open > 0 => {
                    found.push(Violation::FlushedTooEarly { producer, open });
                }
                Event::Room { producer, free, of } if free != of => {
                    found.push(Violation::Budget { producer, free, of });
                }
                _ => {}
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Call {
    /// Index of the call among all events.
    index: usize,
    producer: ProducerNumber,
    order: Order,
    outcome: Option<Outcome>,
}

/// The position of a reader's name.
#[derive(Debug, Default)]
struct Position {
    acknowledged: u64,
    confirmed: u64,
    seen: BTreeSet<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProducerNumber = ProducerNumber(1);
    const C: ConsumerNumber = ConsumerNumber(1);
    const NAME: ReaderName = ReaderName(1);

    fn called(id: u64, order: Order) -> Event {
        Event::Called {
            id: MessageId(id),
            producer: P,
            order,
        }
    }

    fn ended(id: u64, outcome: Outcome) -> Event {
        Event::Ended {
            id: MessageId(id),
            outcome,
        }
    }

    fn delivered(consumer: ConsumerNumber, offset: u64, id: u64) -> Event {
        Event::Delivered {
            consumer,
            offset,
            id: MessageId(id),
        }
    }

    fn began(consumer: ConsumerNumber, next: u64) -> Event {
        Event::Began {
            consumer,
            name: NAME,
            next,
        }
    }

    /// Returns a history of four stored messages, two of one key and two in order, and of two consumers. The second one
    /// continues after the acknowledged messages.
    fn sound() -> History {
        let mut events = vec![
            called(10, Order::OfKey(7)),
            called(11, Order::OfCalls),
            called(12, Order::OfKey(7)),
            called(13, Order::OfCalls),
            called(14, Order::None),
        ];
        let stored = [10, 12, 11, 13];
        for (offset, id) in (0..).zip(stored) {
            events.push(ended(id, Outcome::Stored(offset)));
        }
        events.push(ended(14, Outcome::NotStored));
        events.push(Event::Flushed {
            producer: P,
            open: 0,
        });
        events.push(Event::Room {
            producer: P,
            free: 9,
            of: 9,
        });
        events.push(began(C, 0));
        for (offset, id) in (0..3).zip(stored) {
            events.push(delivered(C, offset, id));
        }
        events.push(Event::Acknowledged {
            consumer: C,
            next: 2,
        });
        events.push(Event::Confirmed {
            consumer: C,
            next: 2,
        });
        let second = ConsumerNumber(2);
        events.push(began(second, 2));
        events.push(delivered(second, 2, 11));
        events.push(delivered(second, 3, 13));
        let topic = (0..).zip(stored.map(MessageId)).collect();
        History { events, topic }
    }

    /// Changes a sound history, and checks which violations are found.
    #[track_caller]
    fn finds(change: impl FnOnce(&mut History), expected: &[Violation]) {
        let mut history = sound();
        change(&mut history);
        assert_eq!(history.violations(), expected);
    }

    /// As [`finds`], for a history without consumers.
    #[track_caller]
    fn finds_unread(change: impl FnOnce(&mut History), expected: &[Violation]) {
        finds(
            |history| {
                let end = history.events.iter().position(|e| *e == began(C, 0));
                history.events.truncate(end.unwrap());
                change(history);
            },
            expected,
        );
    }

    fn place(history: &History, event: Event) -> usize {
        history.events.iter().position(|e| *e == event).unwrap()
    }

    #[test]
    fn a_sound_history_has_nothing_to_find() {
        finds(|_| {}, &[]);
    }

    #[test]
    fn a_lost_message_is_found() {
        finds_unread(
            |history| history.topic.truncate(3),
            &[Violation::Lost {
                id: MessageId(13),
                offset: 3,
            }],
        );
    }

    #[test]
    fn a_duplicate_is_found() {
        finds_unread(
            |history| history.topic.push((4, MessageId(10))),
            &[
                Violation::Duplicate {
                    id: MessageId(10),
                    offsets: [0, 4],
                },
                Violation::Misplaced {
                    id: MessageId(10),
                    acknowledged: 0,
                    stored: 4,
                },
                Violation::Disorder {
                    first: MessageId(10),
                    second: MessageId(12),
                },
            ],
        );
    }

    #[test]
    fn a_duplicate_of_a_message_whose_fate_is_unknown_is_found() {
        finds_unread(
            |history| {
                history.push(called(20, Order::None));
                history.push(ended(20, Outcome::Unknown));
                history.topic.push((4, MessageId(20)));
                history.topic.push((5, MessageId(20)));
            },
            &[Violation::Duplicate {
                id: MessageId(20),
                offsets: [4, 5],
            }],
        );
    }

    #[test]
    fn a_swapped_order_is_found_for_keys_and_for_calls() {
        for (ids, outcomes) in [([10, 12], [0, 1]), ([11, 13], [2, 3])] {
            finds_unread(
                |history| {
                    for (id, offset) in ids.into_iter().zip(outcomes) {
                        let ack = place(history, ended(id, Outcome::Stored(offset)));
                        let swapped = outcomes[0] + outcomes[1] - offset;
                        history.events[ack] = ended(id, Outcome::Stored(swapped));
                        history.topic[usize::try_from(swapped).unwrap()].1 = MessageId(id);
                    }
                },
                &[Violation::Disorder {
                    first: MessageId(ids[0]),
                    second: MessageId(ids[1]),
                }],
            );
        }
    }

    #[test]
    fn a_missing_outcome_is_found_unless_its_producer_was_killed() {
        let remove = |history: &mut History| {
            let outcome = place(history, ended(14, Outcome::NotStored));
            history.events.remove(outcome);
        };
        finds(remove, &[Violation::NoOutcome { id: MessageId(14) }]);
        let killed = |history: &mut History| {
            remove(history);
            history.push(Event::Killed { producer: P });
        };
        finds(killed, &[]);
    }

    #[test]
    fn two_outcomes_are_found_even_where_they_are_the_same() {
        for second in [Outcome::Stored(0), Outcome::Unknown] {
            finds(
                |history| history.push(ended(10, second)),
                &[Violation::TwoOutcomes {
                    id: MessageId(10),
                    outcomes: [Outcome::Stored(0), second],
                }],
            );
        }
    }

    #[test]
    fn a_close_that_hands_back_what_was_acknowledged_is_found() {
        let back = |outcome| Event::HandedBack {
            id: MessageId(14),
            outcome,
        };
        finds(|history| history.push(back(Outcome::NotStored)), &[]);
        finds(
            |history| history.push(back(Outcome::Unknown)),
            &[Violation::TwoOutcomes {
                id: MessageId(14),
                outcomes: [Outcome::NotStored, Outcome::Unknown],
            }],
        );
    }

    #[test]
    fn what_was_said_to_be_not_stored_is_found_in_the_topic() {
        finds_unread(
            |history| history.topic.push((4, MessageId(14))),
            &[Violation::Resurrected {
                id: MessageId(14),
                offset: 4,
            }],
        );
    }

    #[test]
    fn what_nobody_sent_and_a_hole_in_the_topic_are_found() {
        finds_unread(
            |history| history.topic.push((4, MessageId(99))),
            &[Violation::Stranger {
                id: MessageId(99),
                offset: 4,
            }],
        );
        finds_unread(
            |history| {
                history.push(called(20, Order::None));
                history.push(ended(20, Outcome::Unknown));
                history.topic.push((5, MessageId(20)));
            },
            &[Violation::Hole { offset: 4 }],
        );
    }

    #[test]
    fn a_consumer_s_gap_its_repeat_and_its_wrong_content_are_found() {
        let second = ConsumerNumber(2);
        finds(
            |history| {
                let middle = place(history, delivered(C, 1, 12));
                history.events.remove(middle);
            },
            &[
                Violation::Gap {
                    consumer: C,
                    expected: 1,
                    came: 2,
                },
                Violation::Unread {
                    name: NAME,
                    offset: 1,
                },
            ],
        );
        finds(
            |history| history.push(delivered(second, 2, 11)),
            &[Violation::Repeated {
                consumer: second,
                offset: 2,
            }],
        );
        finds(
            |history| {
                let last = history.events.len() - 1;
                history.events[last] = delivered(second, 3, 10);
            },
            &[Violation::Altered {
                consumer: second,
                offset: 3,
            }],
        );
    }

    #[test]
    fn a_topic_that_was_not_read_to_its_end_is_found() {
        finds(
            |history| history.events.truncate(history.events.len() - 1),
            &[Violation::Unread {
                name: NAME,
                offset: 3,
            }],
        );
    }

    #[test]
    fn a_forgotten_position_and_a_skipped_one_are_found() {
        let third = ConsumerNumber(3);
        finds(
            |history| history.push(began(third, 1)),
            &[Violation::ForgotPosition {
                consumer: third,
                confirmed: 2,
                began: 1,
            }],
        );
        finds(
            |history| history.push(began(third, 3)),
            &[Violation::Skipped {
                consumer: third,
                acknowledged: 2,
                began: 3,
            }],
        );
    }

    #[test]
    fn a_flush_that_was_over_too_early_and_room_that_is_missing_are_found() {
        let flushed = |history: &mut History| {
            history.push(Event::Flushed {
                producer: P,
                open: 1,
            });
        };
        let expected = Violation::FlushedTooEarly {
            producer: P,
            open: 1,
        };
        finds(flushed, &[expected]);
        for free in [8, 10] {
            let room = |history: &mut History| {
                history.push(Event::Room {
                    producer: P,
                    free,
                    of: 9,
                });
            };
            let expected = Violation::Budget {
                producer: P,
                free,
                of: 9,
            };
            finds(room, &[expected]);
        }
    }
}
