//! Sans-I/O: makes requests of a piece of the log, one for each topic in it.
//!
//! A piece always has the same messages, and so have its requests. The number of a request is the position of its first
//! message in the log, counted from 1.

use bytes::Bytes;

use super::log::Piece;
use crate::{
    RequestId, TopicName,
    producer::{Fate, SendErrorKind},
    wire::{BatchBuilder, FailureCode, Record, produce_overhead},
};

/// The broker's limits, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) message: usize,
    pub(super) frame: usize,
}

/// Messages of one topic that are sent as one request.
#[derive(Debug)]
pub(super) struct ReplayRequest {
    /// The round in which it is sent. A round begins when every request of the one before has its response.
    pub(super) round: usize,
    pub(super) id: RequestId,
    pub(super) topic: TopicName,
    pub(super) batch: Bytes,
    /// The positions of its messages in the log, in the order of the batch.
    pub(super) positions: Vec<u64>,
}

/// A message that cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undeliverable {
    /// Its position in the log.
    pub(super) position: u64,
    pub(super) kind: SendErrorKind,
    pub(super) fate: Fate,
}

/// What a piece of the log becomes.
#[derive(Debug, Default)]
pub(super) struct ReplayRequests {
    pub(super) requests: Vec<ReplayRequest>,
    pub(super) undeliverable: Vec<Undeliverable>,
}

/// The messages of one topic, each with its position.
struct TopicRecords {
    topic: TopicName,
    records: Vec<(u64, Record)>,
}

/// Returns the requests that deliver a piece, and the messages that none can deliver.
pub(super) fn requests_of(piece: Piece, limits: Limits) -> ReplayRequests {
    let mut result = ReplayRequests::default();
    let mut topics: Vec<TopicRecords> = Vec::new();
    for entry in piece.entries {
        let positions = entry.positions;
        let Some((topic, batch)) = entry.content else {
            let damaged = positions.map(|position| Undeliverable {
                position,
                kind: SendErrorKind::Damaged,
                // An earlier process may have sent it while it could still be read.
                fate: Fate::Unknown,
            });
            result.undeliverable.extend(damaged);
            continue;
        };
        let index = topics.iter().position(|t| t.topic == topic);
        let index = index.unwrap_or_else(|| {
            let records = Vec::new();
            topics.push(TopicRecords { topic, records });
            topics.len() - 1
        });
        for (position, record) in positions.zip(batch.records()) {
            if record.content_len() > limits.message {
                result.undeliverable.push(Undeliverable {
                    position,
                    kind: SendErrorKind::Refused(FailureCode::TooLarge),
                    fate: Fate::NotStored,
                });
            } else {
                topics[index].records.push((position, record));
            }
        }
    }
    for TopicRecords { topic, records } in topics {
        if records.is_empty() {
            continue;
        }
        let one = request(0, &topic, &records);
        if one.batch.len() + produce_overhead(&topic) <= limits.frame {
            result.requests.push(one);
        } else {
            // A single message always fits.
            let singles = records.chunks(1).enumerate();
            let singles = singles.map(|(round, single)| request(round, &topic, single));
            result.requests.extend(singles);
        }
    }
    result
}

fn request(round: usize, topic: &TopicName, records: &[(u64, Record)]) -> ReplayRequest {
    let mut builder = BatchBuilder::new(0);
    records.iter().for_each(|(_, record)| builder.push(record));
    let positions: Vec<_> = records.iter().map(|(position, _)| *position).collect();
    ReplayRequest {
        round,
        id: request_at(positions.first().copied().unwrap_or_default()),
        topic: topic.clone(),
        batch: builder.finish(),
        positions,
    }
}

/// Returns the number of the request whose first message is at `position`.
pub(super) const fn request_at(position: u64) -> RequestId {
    RequestId(position + 1)
}

#[cfg(test)]
mod tests {
    use super::{super::log::Entry, *};
    use crate::wire::Batch;

    const LIMITS: Limits = Limits {
        message: 100,
        frame: 10_000,
    };

    fn piece(entries: &[(&str, &[&'static str])]) -> Piece {
        let mut next = 10;
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
                let positions = next..next + payloads.len() as u64;
                next = positions.end;
                Entry {
                    positions,
                    content: TopicName::new(topic)
                        .ok()
                        .map(|topic| (topic, Batch::decode(builder.finish()).unwrap())),
                }
            })
            .collect();
        Piece {
            positions: 10..next,
            entries,
        }
    }

    fn payloads(request: &ReplayRequest) -> Vec<Bytes> {
        let batch = Batch::decode(request.batch.clone()).unwrap();
        batch.records().map(|r| r.payload).collect()
    }

    #[test]
    fn small_entries_of_a_topic_become_one_request_in_their_order() {
        let all = requests_of(
            piece(&[("a", &["1", "2"]), ("b", &["x"]), ("a", &["3"])]),
            LIMITS,
        );
        assert_eq!(all.requests.len(), 2);
        assert_eq!(payloads(&all.requests[0]), ["1", "2", "3"]);
        assert_eq!(all.requests[0].positions, [10, 11, 13]);
        assert_eq!(all.requests[0].id, RequestId(11));
        assert_eq!(all.requests[1].id, RequestId(13));
        assert!(all.undeliverable.is_empty());
    }

    #[test]
    fn a_damaged_entry_is_lost_and_holds_nothing_up() {
        // `?` is not a topic's name. Here it stands for an entry that cannot be read.
        let all = requests_of(
            piece(&[("a", &["1"]), ("?", &["2", "3"]), ("a", &["4"])]),
            LIMITS,
        );
        assert_eq!(payloads(&all.requests[0]), ["1", "4"]);
        let positions: Vec<_> = all.undeliverable.iter().map(|u| u.position).collect();
        assert_eq!(positions, [11, 12]);
    }

    #[test]
    fn what_is_too_long_for_the_broker_is_lost_or_goes_one_by_one() {
        let small = Limits {
            message: 3,
            frame: 10_000,
        };
        let all = requests_of(piece(&[("a", &["1", "long", "2"])]), small);
        assert_eq!(payloads(&all.requests[0]), ["1", "2"]);
        assert_eq!(all.undeliverable[0].position, 11);
        let tight = Limits {
            message: 3,
            frame: 50,
        };
        let all = requests_of(piece(&[("a", &["1", "2", "3"])]), tight);
        let rounds: Vec<_> = all.requests.iter().map(|r| (r.round, r.id.0)).collect();
        assert_eq!(rounds, [(0, 11), (1, 12), (2, 13)]);
    }
}
