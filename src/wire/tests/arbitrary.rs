//! Strategies for random packets, records and batches.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, string::string_regex};

use super::super::*;
use crate::{Offset, ProducerId, RequestId, Timestamp, TopicIdentity, TopicName};

pub(crate) fn arb_bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

pub(crate) fn arb_topic() -> impl Strategy<Value = TopicName> {
    let short = string_regex("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,8}").unwrap();
    let long = string_regex("[a-z]{200}").unwrap();
    prop_oneof![9 => short, 1 => long].prop_map(|name| TopicName::new(&name).unwrap())
}

fn arb_name() -> impl Strategy<Value = String> {
    let short = string_regex("\\PC{1,8}").unwrap();
    prop_oneof![9 => short, 1 => string_regex("[a-z]{200}").unwrap()]
}

fn arb_failure() -> impl Strategy<Value = Failure> {
    let code = any::<u16>()
        .prop_map(|code| FailureCode::from_u16(code).unwrap_or(FailureCode::Unrecognised(code)));
    let code = prop_oneof![prop::sample::select(FailureCode::ALL), code];
    (code, "\\PC{0,40}").prop_map(|(code, detail)| Failure { code, detail })
}

fn arb_identity() -> impl Strategy<Value = TopicIdentity> {
    (any::<u64>(), any::<u32>()).prop_map(|(log, number)| TopicIdentity { log, number })
}

fn arb_retention() -> impl Strategy<Value = TopicRetention> {
    let number = || prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    (number(), number()).prop_map(TopicRetention::from_numbers)
}

fn arb_change() -> impl Strategy<Value = TopicChange> {
    prop_oneof![
        arb_retention().prop_map(TopicChange::Create),
        arb_retention().prop_map(TopicChange::Retain),
        Just(TopicChange::Purge),
        Just(TopicChange::Delete),
    ]
}

fn arb_start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Earliest),
        Just(Start::Latest),
        any::<u64>().prop_map(|offset| Start::Offset(Offset(offset))),
        (any::<u64>(), arb_identity(), option::of(any::<u32>())).prop_map(
            |(offset, topic, checksum)| {
                let offset = Offset(offset);
                Start::Resume(ResumePoint {
                    offset,
                    topic,
                    checksum,
                })
            }
        ),
    ]
}

fn arb_connect() -> impl Strategy<Value = Packet> {
    let identity = (arb_name(), any::<u64>(), option::of(any::<u64>()));
    let identity = identity.prop_map(|(name, instance, id)| ProducerIdentity {
        name,
        instance,
        id: id.map(ProducerId),
    });
    (arb_bytes(40), option::of(identity))
        .prop_map(|(token, producer)| Packet::Connect(Connect { token, producer }))
}

fn arb_connected() -> impl Strategy<Value = Packet> {
    (
        option::of((any::<u64>(), any::<bool>())),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
    )
        .prop_map(|(producer, max_frame, max_message, stream_window)| {
            let producer = producer.map(|(id, forgotten)| RegisteredProducer {
                id: ProducerId(id),
                forgotten,
            });
            Packet::Connected(Connected {
                producer,
                max_frame,
                max_message,
                stream_window,
            })
        })
}

fn arb_produce() -> impl Strategy<Value = Packet> {
    (any::<u64>(), any::<u64>(), arb_topic(), arb_bytes(60)).prop_map(
        |(request, answered_below, topic, batch)| {
            let (request, answered_below) = (RequestId(request), RequestId(answered_below));
            Packet::Produce(Produce {
                request,
                answered_below,
                topic,
                batch,
            })
        },
    )
}

fn arb_stored() -> impl Strategy<Value = Packet> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(request, base, time, processing_us)| {
            let (request, base, time) = (RequestId(request), Offset(base), Timestamp(time));
            Packet::Stored(Stored {
                request,
                base,
                time,
                processing_us,
            })
        },
    )
}

fn arb_subscribe() -> impl Strategy<Value = Packet> {
    (
        arb_topic(),
        option::of(arb_name()),
        arb_start(),
        any::<u64>(),
        any::<u64>(),
    )
        .prop_map(|(topic, name, from, credit, reader)| {
            Packet::Subscribe(Subscribe {
                topic,
                name,
                from,
                credit,
                reader,
            })
        })
}

fn arb_topics() -> impl Strategy<Value = Packet> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let topic = (arb_topic(), numbers, arb_identity(), arb_retention()).prop_map(
        |(name, (first, next, bytes), identity, retention)| {
            let (first, next) = (Offset(first), Offset(next));
            TopicInfo {
                name,
                first,
                next,
                bytes,
                identity,
                retention,
            }
        },
    );
    vec(topic, 0..6).prop_map(Packet::Topics)
}

fn arb_recalled() -> impl Strategy<Value = Packet> {
    let stored = (any::<u64>(), any::<u64>(), any::<u64>());
    let stored = stored.prop_map(|(request, base, time)| StoredEarlier {
        request: RequestId(request),
        base: Offset(base),
        time: Timestamp(time),
    });
    vec(stored, 0..6).prop_map(Packet::StoredList)
}

/// Generates packets of every kind.
pub(crate) fn arb_packet() -> impl Strategy<Value = Packet> {
    let number = any::<u64>;
    prop_oneof![
        arb_connect(),
        arb_connected(),
        number().prop_map(|nonce| Packet::Ping { nonce }),
        number().prop_map(|nonce| Packet::Pong { nonce }),
        Just(Packet::GoAway),
        number().prop_map(|nonce| Packet::Probe { nonce }),
        number().prop_map(|nonce| Packet::Probed { nonce }),
        arb_produce(),
        arb_stored(),
        (number(), arb_failure()).prop_map(|(request, failure)| {
            Packet::Refused(Refused {
                request: RequestId(request),
                failure,
            })
        }),
        arb_subscribe(),
        (number(), number(), arb_identity(), number()).prop_map(|(next, end, topic, reader)| {
            let (next, end) = (Offset(next), Offset(end));
            Packet::Subscribed(Subscribed {
                next,
                end,
                topic,
                reader,
            })
        }),
        (arb_topic(), arb_change())
            .prop_map(|(topic, change)| Packet::ChangeTopic { topic, change }),
        number().prop_map(|dropped| Packet::TopicChanged { dropped }),
        (arb_topic(), option::of(arb_name()))
            .prop_map(|(topic, after)| Packet::ListPositions { topic, after }),
        vec((arb_name(), number()), 0..6).prop_map(|listed| {
            let position = |(name, next)| PositionInfo {
                name,
                next: Offset(next),
            };
            Packet::Positions(listed.into_iter().map(position).collect())
        }),
        number().prop_map(|bytes| Packet::Credit { bytes }),
        (number(), number(), arb_bytes(60)).prop_map(|(base, time, batch)| {
            Packet::Delivery(Delivery {
                base: Offset(base),
                time: Timestamp(time),
                batch,
            })
        }),
        number().prop_map(|next| Packet::Acknowledge { next: Offset(next) }),
        number().prop_map(|next| Packet::Acknowledged { next: Offset(next) }),
        option::of(arb_topic()).prop_map(|after| Packet::ListTopics { after }),
        arb_topics(),
        number().prop_map(|from| Packet::QueryStored {
            from: RequestId(from)
        }),
        arb_recalled(),
        arb_failure().prop_map(Packet::Failed),
    ]
}

/// Generates records, with times close to each other and with extreme times.
pub(crate) fn arb_record() -> impl Strategy<Value = Record> {
    let time = prop_oneof![
        8 => 1_700_000_000_000..1_700_000_100_000_u64,
        1 => Just(0),
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ];
    let header = ("\\PC{0,6}", arb_bytes(200)).prop_map(|(name, value)| Header { name, value });
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => vec(header, 0..4)];
    (time, option::of(arb_bytes(150)), headers, arb_bytes(300)).prop_map(
        |(time, key, headers, payload)| Record {
            time: Timestamp(time),
            key,
            headers,
            payload,
        },
    )
}

/// Generates one or more records.
pub(crate) fn arb_records() -> impl Strategy<Value = Vec<Record>> {
    vec(arb_record(), 1..8)
}

/// Encodes records as a batch.
pub(crate) fn encode(records: &[Record]) -> Bytes {
    let mut builder = BatchBuilder::new(256);
    records.iter().for_each(|record| builder.push(record));
    builder.finish()
}
