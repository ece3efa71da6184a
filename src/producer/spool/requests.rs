//! Pure: a piece of the log becomes requests, one for each topic in it.
//!
//! A piece is always the same messages, and so are its requests: a request is named by the place of its first
//! message, counted from 1.

use bytes::Bytes;

use super::log::{Entry, Piece};
use crate::{
    RequestId, TopicName,
    producer::{Fate, SendErrorKind},
    wire::{BatchBuilder, FailureCode, Record, produce_overhead},
};

/// What the broker takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) message: usize,
    pub(super) frame: usize,
}

/// Messages of one topic that are sent as one request.
#[derive(Debug)]
pub(super) struct Part {
    /// Requests of a later turn are sent when those before have their answers.
    pub(super) turn: usize,
    pub(super) id: RequestId,
    pub(super) topic: TopicName,
    pub(super) batch: Bytes,
    /// The places of its messages, in its order.
    pub(super) places: Vec<u64>,
}

/// A message that cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undeliverable {
    pub(super) place: u64,
    pub(super) kind: SendErrorKind,
    pub(super) fate: Fate,
}

#[derive(Debug, Default)]
pub(super) struct ReplayRequests {
    pub(super) parts: Vec<Part>,
    pub(super) lost: Vec<Undeliverable>,
}

/// The messages of one topic.
struct Open {
    topic: TopicName,
    records: Vec<(u64, Record)>,
}

pub(super) fn join(piece: Piece, limits: Limits) -> ReplayRequests {
    let mut joined = ReplayRequests::default();
    let mut open: Vec<Open> = Vec::new();
    for Entry { places, content } in piece.entries {
        let Some((topic, batch)) = content else {
            // An earlier process may have sent it while it could still be read.
            joined.lost.extend(places.map(|place| Undeliverable {
                place,
                kind: SendErrorKind::Damaged,
                fate: Fate::Unknown,
            }));
            continue;
        };
        let at = open.iter().position(|o| o.topic == topic);
        let at = at.unwrap_or_else(|| {
            let records = Vec::new();
            open.push(Open { topic, records });
            open.len() - 1
        });
        for (place, record) in places.zip(batch.records()) {
            if record.content_len() > limits.message {
                joined.lost.push(Undeliverable {
                    place,
                    kind: SendErrorKind::Refused(FailureCode::TooLarge),
                    fate: Fate::NotStored,
                });
            } else {
                open[at].records.push((place, record));
            }
        }
    }
    for Open { topic, records } in open {
        if records.is_empty() {
            continue;
        }
        let whole = part(0, &topic, &records);
        if whole.batch.len() + produce_overhead(&topic) <= limits.frame {
            joined.parts.push(whole);
        } else {
            // One message always fits.
            let singles = records.chunks(1).enumerate();
            joined
                .parts
                .extend(singles.map(|(turn, one)| part(turn, &topic, one)));
        }
    }
    joined
}

fn part(turn: usize, topic: &TopicName, records: &[(u64, Record)]) -> Part {
    let mut builder = BatchBuilder::new(0);
    records.iter().for_each(|(_, record)| builder.push(record));
    let places: Vec<_> = records.iter().map(|(place, _)| *place).collect();
    Part {
        turn,
        id: request(places.first().copied().unwrap_or_default()),
        topic: topic.clone(),
        batch: builder.finish(),
        places,
    }
}

/// The request whose first message stands at `place`.
pub(super) const fn request(place: u64) -> RequestId {
    RequestId(place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Batch;

    const LIMITS: Limits = Limits {
        message: 100,
        frame: 10_000,
    };

    fn piece(entries: &[(&str, &[&'static str])]) -> Piece {
        let mut at = 10;
        let entries: Vec<_> = entries
            .iter()
            .map(|(topic, payloads)| {
                let mut builder = BatchBuilder::new(0);
                for &payload in *payloads {
                    builder.push(&Record {
                        payload: payload.into(),
                        ..Record::default()
                    });
                }
                let places = at..at + payloads.len() as u64;
                at = places.end;
                Entry {
                    places,
                    content: TopicName::new(topic)
                        .ok()
                        .map(|topic| (topic, Batch::decode(builder.finish()).unwrap())),
                }
            })
            .collect();
        Piece {
            places: 10..at,
            entries,
        }
    }

    fn payloads(part: &Part) -> Vec<Bytes> {
        let batch = Batch::decode(part.batch.clone()).unwrap();
        batch.records().map(|r| r.payload).collect()
    }

    #[test]
    fn small_entries_of_a_topic_become_one_request_in_their_order() {
        let joined = join(
            piece(&[("a", &["1", "2"]), ("b", &["x"]), ("a", &["3"])]),
            LIMITS,
        );
        assert_eq!(joined.parts.len(), 2);
        assert_eq!(payloads(&joined.parts[0]), ["1", "2", "3"]);
        assert_eq!(joined.parts[0].places, [10, 11, 13]);
        assert_eq!(joined.parts[0].id, RequestId(11));
        assert_eq!(joined.parts[1].id, RequestId(13));
        assert!(joined.lost.is_empty());
    }

    #[test]
    fn a_damaged_entry_is_lost_and_holds_nothing_up() {
        // No topic has that name: here it stands for an entry that cannot be read.
        let joined = join(
            piece(&[("a", &["1"]), ("?", &["2", "3"]), ("a", &["4"])]),
            LIMITS,
        );
        assert_eq!(payloads(&joined.parts[0]), ["1", "4"]);
        let places: Vec<_> = joined.lost.iter().map(|l| l.place).collect();
        assert_eq!(places, [11, 12]);
    }

    #[test]
    fn what_is_too_long_for_the_broker_is_lost_or_goes_one_by_one() {
        let small = Limits {
            message: 3,
            frame: 10_000,
        };
        let joined = join(piece(&[("a", &["1", "long", "2"])]), small);
        assert_eq!(payloads(&joined.parts[0]), ["1", "2"]);
        assert_eq!(joined.lost[0].place, 11);
        let tight = Limits {
            message: 3,
            frame: 50,
        };
        let joined = join(piece(&[("a", &["1", "2", "3"])]), tight);
        let turns: Vec<_> = joined.parts.iter().map(|p| (p.turn, p.id.0)).collect();
        assert_eq!(turns, [(0, 11), (1, 12), (2, 13)]);
    }
}
