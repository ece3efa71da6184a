use std::time::Duration;

use futures_util::StreamExt;
use proptest::{collection::vec, prelude::*, sample::Index};
use tokio_util::codec::FramedRead;

use super::{
    super::{
        Connect, Connected, Delivery, Failure, FailureCode, PositionInfo, Produce,
        ProducerIdentity, Refused, RegisteredProducer, ResumePoint, RetentionLimit, Start, Stored,
        StoredEarlier, Subscribe, Subscribed, TopicChange, TopicInfo, TopicRetention,
        tests::arbitrary::{arb_bytes, arb_packet, arb_topic},
    },
    *,
};
use crate::{ProducerId, TopicIdentity};

const MAX_FRAME: usize = 300 * 1024;

fn encoded(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    PacketCodec::new(MAX_FRAME)
        .encode(packet, &mut bytes)
        .unwrap();
    bytes
}

/// The packets of a stream, and the error that ended it.
type Outcome = (Vec<Packet>, Option<DecodeError>);

/// Decodes a stream that arrives in pieces.
fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut codec = PacketCodec::new(MAX_FRAME);
    let (mut src, mut packets) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        loop {
            match codec.decode(&mut src) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(CodecError::Decode(error)) => return (packets, Some(error)),
                Err(other) => panic!("{other}"),
            }
        }
    }
    (packets, None)
}

/// Splits `bytes` at these indexes.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts
        .zip(ends)
        .map(|(start, end)| &bytes[start..end])
        .collect()
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[kind], body].concat()
}

fn error_of(bytes: &[u8]) -> DecodeError {
    decoded([bytes]).1.expect("these bytes are not a packet")
}

/// Returns why a packet is not encoded, and checks that nothing of it was written.
fn refusal_of(codec: PacketCodec, packet: Packet) -> EncodeError {
    let mut bytes = BytesMut::from("before");
    let mut codec = codec;
    let Err(CodecError::Encode(error)) = codec.encode(packet, &mut bytes) else {
        panic!("this packet cannot be encoded");
    };
    assert_eq!(bytes, "before");
    error
}

const IDENTITY: TopicIdentity = TopicIdentity { log: 9, number: 2 };

fn resume(checksum: Option<u32>) -> Start {
    Start::Resume(ResumePoint {
        offset: Offset(9),
        topic: IDENTITY,
        checksum,
    })
}

fn positions(count: usize, name: &str) -> Packet {
    let one = PositionInfo {
        name: name.to_owned(),
        next: Offset(5),
    };
    Packet::Positions(vec![one; count])
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn failed(code: FailureCode, detail: &str) -> Packet {
    Packet::Failed(Failure {
        code,
        detail: detail.to_owned(),
    })
}

fn connect(token: Vec<u8>, name: &str, id: Option<ProducerId>) -> Packet {
    let producer = Some(ProducerIdentity {
        name: name.to_owned(),
        instance: 0x0a0b,
        id,
    });
    Packet::Connect(Connect {
        token: token.into(),
        producer,
    })
}

fn produce(topic_name: &str, batch: Bytes) -> Packet {
    Packet::Produce(Produce {
        request: RequestId(3),
        answered_below: RequestId(2),
        topic: topic(topic_name),
        batch,
    })
}

fn topics(count: usize, name: &str) -> Packet {
    let info = TopicInfo {
        name: topic(name),
        first: Offset(1),
        next: Offset(2),
        bytes: 3,
        identity: IDENTITY,
        retention: TopicRetention {
            max_age: RetentionLimit::At(Duration::from_millis(4)),
            max_bytes: RetentionLimit::Unlimited,
        },
    };
    Packet::Topics(vec![info; count])
}

fn stored_list(count: usize) -> Packet {
    let (request, base, time) = (RequestId(1), Offset(2), Timestamp(3));
    let one = StoredEarlier {
        request,
        base,
        time,
    };
    Packet::StoredList(vec![one; count])
}

fn subscribe(topic_name: &str, name: Option<&str>, from: Start) -> Packet {
    let (topic, name) = (topic(topic_name), name.map(str::to_owned));
    Packet::Subscribe(Subscribe {
        topic,
        name,
        from,
        credit: 0x1000,
        reader: 1,
    })
}

/// Returns a packet of each kind with its bytes after the length, in hexadecimal.
fn specimens() -> Vec<(Packet, &'static str)> {
    let connected = |producer| {
        let (max_frame, max_message, stream_window) = (0x10, 0x20, 0x30);
        Packet::Connected(Connected {
            producer,
            max_frame,
            max_message,
            stream_window,
        })
    };
    let registered = |forgotten| {
        let id = ProducerId(8);
        Some(RegisteredProducer { id, forgotten })
    };
    let (base, time, request) = (Offset(5), Timestamp(6), RequestId(7));
    let failure = Failure {
        code: FailureCode::Limit,
        detail: "no".to_owned(),
    };
    let batch = Bytes::from_static(b"batch");
    vec![
        (Packet::Connect(Connect::default()), "01 0000 00"),
        (
            connect(vec![0xee], "p", None),
            "01 0100ee 0170 0b0a000000000000 00",
        ),
        (
            connect(vec![0xee], "p", Some(ProducerId(8))),
            "01 0100ee 0170 0b0a000000000000 01 0800000000000000",
        ),
        (Packet::Ping { nonce: 1 }, "02 0100000000000000"),
        (Packet::Probe { nonce: 2 }, "03 0200000000000000"),
        (
            produce("t", batch.clone()),
            "04 0300000000000000 0200000000000000 0174 6261746368",
        ),
        (
            subscribe("t", None, Start::Earliest),
            "05 0174 00 00 0010000000000000 0100000000000000",
        ),
        (
            subscribe("t", Some("n"), Start::Latest),
            "05 0174 016e 01 0010000000000000 0100000000000000",
        ),
        (
            subscribe("t", None, Start::Offset(Offset(9))),
            "05 0174 00 02 0900000000000000 0010000000000000 0100000000000000",
        ),
        (
            subscribe("t", None, resume(None)),
            "05 0174 00 03 0900000000000000 0900000000000000 02000000 00 0010000000000000 0100000000000000",
        ),
        (
            subscribe("t", None, resume(Some(6))),
            "05 0174 00 03 0900000000000000 0900000000000000 02000000 01 06000000 0010000000000000 0100000000000000",
        ),
        (Packet::Credit { bytes: 4 }, "06 0400000000000000"),
        (Packet::Acknowledge { next: base }, "07 0500000000000000"),
        (Packet::ListTopics { after: None }, "08 00"),
        (
            Packet::ListTopics {
                after: Some(topic("t")),
            },
            "08 0174",
        ),
        (connected(None), "81 00 10000000 20000000 3000000000000000"),
        (
            connected(registered(false)),
            "81 01 0800000000000000 10000000 20000000 3000000000000000",
        ),
        (
            connected(registered(true)),
            "81 02 0800000000000000 10000000 20000000 3000000000000000",
        ),
        (Packet::QueryStored { from: request }, "0c 0700000000000000"),
        (
            stored_list(1),
            "8c 0100 0100000000000000 0200000000000000 0300000000000000",
        ),
        (Packet::Pong { nonce: 1 }, "82 0100000000000000"),
        (Packet::Probed { nonce: 2 }, "83 0200000000000000"),
        (
            Packet::Stored(Stored {
                request,
                base,
                time,
                processing_us: 8,
            }),
            "84 0700000000000000 0500000000000000 0600000000000000 08000000",
        ),
        (
            Packet::Subscribed(Subscribed {
                next: base,
                end: Offset(6),
                topic: IDENTITY,
                reader: 7,
            }),
            "85 0500000000000000 0600000000000000 0900000000000000 02000000 0700000000000000",
        ),
        (
            Packet::Delivery(Delivery { base, time, batch }),
            "86 0500000000000000 0600000000000000 6261746368",
        ),
        (Packet::Acknowledged { next: base }, "87 0500000000000000"),
        (
            topics(1, "t"),
            "88 0100 0174 0100000000000000 0200000000000000 0300000000000000 0900000000000000 02000000 0400000000000000 ffffffffffffffff",
        ),
        (
            Packet::Refused(Refused {
                request,
                failure: failure.clone(),
            }),
            "89 0700000000000000 0d00 0200 6e6f",
        ),
        (
            Packet::ChangeTopic {
                topic: topic("t"),
                change: TopicChange::Create(TopicRetention::default()),
            },
            "0d 0174 00 0000000000000000 0000000000000000",
        ),
        (
            Packet::ChangeTopic {
                topic: topic("t"),
                change: TopicChange::Purge,
            },
            "0d 0174 02",
        ),
        (Packet::TopicChanged { dropped: 3 }, "8d 0300000000000000"),
        (
            Packet::ListPositions {
                topic: topic("t"),
                after: None,
            },
            "0e 0174 00",
        ),
        (positions(1, "n"), "8e 0100 016e 0500000000000000"),
        (Packet::GoAway, "8a"),
        (Packet::Failed(failure), "8b 0d00 0200 6e6f"),
    ]
}

#[test]
fn the_bytes_of_every_packet_stay_as_they_are() {
    for (packet, hex) in specimens() {
        let bytes = encoded(&packet);
        let (length, rest) = bytes.split_first_chunk::<LENGTH>().unwrap();
        let found: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hex.replace(' ', ""), "{}", packet.name());
        assert_eq!(
            u32::from_le_bytes(*length) as usize,
            rest.len(),
            "{}",
            packet.name()
        );
    }
}

#[test]
fn a_frame_that_is_cut_short_is_never_a_packet() {
    for (packet, _) in specimens() {
        let bytes = encoded(&packet);
        for cut in 0..bytes.len() {
            assert_eq!(
                decoded([&bytes[..cut]]),
                (vec![], None),
                "{} at {cut}",
                packet.name()
            );

            let ended = PacketCodec::new(MAX_FRAME).decode_eof(&mut BytesMut::from(&bytes[..cut]));
            match ended {
                Ok(None) => assert_eq!(cut, 0),
                Err(CodecError::Decode(error)) => {
                    assert_eq!(error, DecodeError::Incomplete { bytes: cut });
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_body_that_is_cut_short_or_goes_on_is_an_error() {
    for (packet, _) in specimens() {
        let bytes = encoded(&packet);
        let (kind, body) = (bytes[LENGTH], &bytes[LENGTH + 1..]);
        let batch = match &packet {
            Packet::Produce(produce) => produce.batch.len(),
            Packet::Delivery(delivery) => delivery.batch.len(),
            _ => 0,
        };
        for cut in 0..body.len() - batch {
            let error = error_of(&frame(kind, &body[..cut]));
            assert!(
                matches!(error, DecodeError::Short { .. }),
                "{}: {error:?}",
                packet.name()
            );
        }
        if batch == 0 {
            let error = error_of(&frame(kind, &[body, b"!"].concat()));
            let fixed = Kind::of(&packet).max_body() == Some(body.len());
            let what = packet.name();
            let expected = match (fixed, body.len()) {
                (true, limit) => DecodeError::TooLong {
                    what,
                    value: limit + 1,
                    limit,
                },
                (false, _) => DecodeError::Trailing { what, bytes: 1 },
            };
            assert_eq!(error, expected);
        }
    }
}

#[test]
fn the_longest_packet_of_each_kind_is_as_long_as_its_limit() {
    let (long, detail) = ("x".repeat(200), "d".repeat(1000));
    let failure = Failure {
        code: FailureCode::Closing,
        detail,
    };
    let mut longest: Vec<Packet> = specimens().into_iter().map(|(packet, _)| packet).collect();
    longest.extend([
        connect(vec![0; 1024], &long, Some(ProducerId(1))),
        subscribe(&long, Some(&long), resume(Some(1))),
        Packet::ChangeTopic {
            topic: topic(&long),
            change: TopicChange::Retain(TopicRetention::default()),
        },
        Packet::ListPositions {
            topic: topic(&long),
            after: Some(long.clone()),
        },
        positions(Packet::MAX_POSITIONS, &long),
        Packet::ListTopics {
            after: Some(topic(&long)),
        },
        topics(Packet::MAX_TOPICS, &long),
        stored_list(Packet::MAX_STORED_LIST),
        Packet::Refused(Refused {
            request: RequestId(0),
            failure: failure.clone(),
        }),
        Packet::Failed(failure),
    ]);
    for byte in (0x01..=0x08).chain(0x0c..=0x0e).chain(0x81..=0x8e) {
        let kind = Kind::from_u8(byte).unwrap();
        let of_kind = longest.iter().filter(|packet| Kind::of(packet) == kind);
        let bodies = of_kind.map(|packet| {
            let bytes = encoded(packet);
            assert_eq!(decoded([&bytes[..]]), (vec![packet.clone()], None));
            bytes.len() - LENGTH - 1
        });
        let longest = bodies.max();
        assert!(longest.is_some(), "{}", kind.name());
        if kind.max_body().is_some() {
            assert_eq!(longest, kind.max_body(), "{}", kind.name());
        }
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_reserved() {
    let mut src = BytesMut::with_capacity(16);
    src.extend_from_slice(&u32::MAX.to_le_bytes());
    let error = PacketCodec::new(MAX_FRAME).decode(&mut src).unwrap_err();
    let value = u32::MAX as usize;
    let expected = DecodeError::TooLong {
        what: "frame",
        value,
        limit: MAX_FRAME,
    };
    assert!(matches!(error, CodecError::Decode(error) if error == expected));
    assert_eq!(src.capacity(), 16);
}

#[test]
fn a_frame_of_exactly_the_limit_is_read_and_written_and_one_byte_more_is_not() {
    let packet = produce("t", Bytes::from(vec![1; 80]));
    let len = encoded(&packet).len() - LENGTH;
    let (mut src, mut exact) = (BytesMut::new(), PacketCodec::new(len));
    exact.encode(&packet, &mut src).unwrap();
    assert_eq!(
        exact.decode(&mut src.clone()).unwrap(),
        Some(packet.clone())
    );

    let small = PacketCodec::new(len - 1);
    assert!(small.clone().decode(&mut src).is_err());
    let expected = EncodeError::TooLong {
        what: "Produce",
        value: len,
        limit: len - 1,
    };
    assert_eq!(refusal_of(small, packet), expected);
}

#[test]
fn a_length_alone_gets_little_memory() {
    let mut codec = PacketCodec::new(usize::MAX);
    for head in [
        &b"\xff\xff\xff\xff"[..],
        b"\xff\xff\xff\xff\x04",
        b"\xff\xff\xff\xff\x86",
    ] {
        let mut src = BytesMut::from(head);
        assert!(codec.decode(&mut src).unwrap().is_none());
        assert!(src.capacity() <= RESERVE_AHEAD + 64, "{}", src.capacity());
    }
}

#[test]
fn a_packet_that_is_always_short_may_not_be_announced_long() {
    let limit = 8;
    let expected = DecodeError::TooLong {
        what: "Ping",
        value: 255,
        limit,
    };
    assert_eq!(error_of(b"\x00\x01\x00\x00\x02"), expected);
}

#[test]
fn a_frame_without_a_kind_is_an_error() {
    assert_eq!(error_of(&[0; 4]), DecodeError::Empty { what: "frame" });
}

#[test]
fn an_unknown_kind_is_named() {
    let error = error_of(&frame(0x7f, b""));
    assert_eq!(error, DecodeError::UnknownKind { kind: 0x7f });
    assert_eq!(error.to_string(), "no packet has the kind 0x7f");
}

#[test]
fn each_broken_rule_of_a_field_is_named() {
    let too_long = |what, value, limit| DecodeError::TooLong { what, value, limit };
    let name = TopicName::new("a b").unwrap_err();
    assert_eq!(
        error_of(&frame(0x08, b"\x03a b")),
        DecodeError::TopicName(name)
    );
    assert_eq!(
        error_of(&frame(0x08, b"\x01\xff")),
        DecodeError::NotUtf8 { what: "topic" }
    );
    let unknown = |what, value| DecodeError::UnknownValue { what, value };
    assert_eq!(
        error_of(&frame(0x05, b"\x01t\x00\x04")),
        unknown("start", 4)
    );
    assert_eq!(error_of(&frame(0x81, b"\x03")), unknown("producer", 3));
    let bytes = frame(0x01, &[&[0, 0, 1, b'p'][..], &[0; 8], &[2]].concat());
    assert_eq!(error_of(&bytes), unknown("producer", 2));
    let bytes = frame(0x01, &[&[0, 0, 201][..], &[b'x'; 201], &[0; 8]].concat());
    assert_eq!(error_of(&bytes), too_long("producer name", 201, 200));
    assert_eq!(
        error_of(&frame(0x8b, b"\x01\x00\xe9\x03")),
        too_long("failure detail", 1001, 1000)
    );
    assert_eq!(
        error_of(&frame(0x88, b"\xe9\x03")),
        too_long("topics", 1001, 1000)
    );
    assert_eq!(
        error_of(&frame(0x8c, b"\xd1\x07")),
        too_long("requests", 2001, 2000)
    );
}

#[test]
fn a_packet_that_could_not_be_read_is_not_written() {
    let codec = PacketCodec::new(MAX_FRAME);
    let too_long = |what, value, limit| EncodeError::TooLong { what, value, limit };
    let empty = |what| EncodeError::Empty { what };
    assert_eq!(
        refusal_of(codec, connect(vec![0; 1025], "p", None)),
        too_long("token", 1025, 1024)
    );
    assert_eq!(
        refusal_of(codec, connect(vec![], "", None)),
        empty("producer name")
    );
    for len in [201, 300] {
        let name = "n".repeat(len);
        let refusal = refusal_of(codec, connect(vec![], &name, None));
        assert_eq!(refusal, too_long("producer name", len, 200));
        let refusal = refusal_of(codec, subscribe("t", Some(&name), Start::Latest));
        assert_eq!(refusal, too_long("reader name", len, 200));
    }
    assert_eq!(
        refusal_of(codec, subscribe("t", Some(""), Start::Latest)),
        empty("reader name")
    );
    assert_eq!(
        refusal_of(codec, topics(1001, "t")),
        too_long("topics", 1001, 1000)
    );
    assert_eq!(
        refusal_of(codec, topics(70_000, "t")),
        too_long("topics", 70_000, 1000)
    );
    assert_eq!(
        refusal_of(codec, stored_list(2001)),
        too_long("requests", 2001, 2000)
    );
}

#[test]
fn a_refusal_is_never_lost_for_being_explained_at_length() {
    let packet = failed(
        FailureCode::Limit,
        &format!("{}ä and more", "x".repeat(999)),
    );
    let expected = failed(FailureCode::Limit, &"x".repeat(999));
    assert_eq!(decoded([&encoded(&packet)[..]]), (vec![expected], None));
}

#[test]
fn a_failure_code_of_a_later_version_is_kept() {
    let packet = failed(FailureCode::Unrecognised(4711), "from the future");
    assert_eq!(FailureCode::from_u16(4711), None);
    assert_eq!(decoded([&encoded(&packet)[..]]), (vec![packet], None));
}

#[test]
fn a_batch_shares_the_memory_that_it_was_read_into() {
    let mut src = encoded(&produce("t", Bytes::from(vec![1; 80])));
    let memory = src.as_ptr_range();
    let Ok(Some(Packet::Produce(produce))) = PacketCodec::new(MAX_FRAME).decode(&mut src) else {
        panic!("a produce packet");
    };
    assert!(memory.contains(&produce.batch.as_ptr()));
}

#[test]
fn a_token_does_not_show_in_logs() {
    let shown = format!("{:?}", connect(b"secret".to_vec(), "p", None));
    assert!(
        shown.contains("[6 bytes]") && !shown.contains("secret"),
        "{shown}"
    );
    let numbers = format!("{:?}", b"secret");
    assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{shown}");
}

#[tokio::test]
async fn packets_stream_through_a_framed_reader() {
    let packets: Vec<Packet> = specimens().into_iter().map(|(packet, _)| packet).collect();
    let mut bytes = BytesMut::new();
    for packet in &packets {
        PacketCodec::new(MAX_FRAME)
            .encode(packet, &mut bytes)
            .unwrap();
    }
    let reader = FramedRead::new(&bytes[..], PacketCodec::new(MAX_FRAME));
    let read: Vec<Packet> = reader.map(Result::unwrap).collect().await;
    assert_eq!(read, packets);
}

/// Generates damage to a frame: bytes overwritten, and an index where it is cut.
fn arb_damage() -> impl Strategy<Value = (Vec<(Index, u8)>, Option<Index>)> {
    (
        vec(any::<(Index, u8)>(), 0..4),
        prop::option::weighted(0.3, any::<Index>()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_packet_comes_back_from_its_bytes(packet in arb_packet()) {
        prop_assert_eq!(decoded([&encoded(&packet)[..]]), (vec![packet], None));
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        packets in vec(arb_packet(), 0..5),
        garbage in arb_bytes(12),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let frames = packets.iter().map(|packet| encoded(packet).freeze()).chain([garbage]);
        let bytes = frames.collect::<Vec<_>>().concat();
        let whole = decoded([&bytes[..]]);
        prop_assert_eq!(&whole.0[..packets.len()], &packets[..]);
        prop_assert_eq!(&decoded(pieces(&bytes, &cuts)), &whole);
        prop_assert_eq!(&decoded(bytes.chunks(1)), &whole);
    }

    #[test]
    fn bytes_that_are_a_packet_are_its_only_encoding(
        kind in prop_oneof![0x01_u8..0x09, 0x81_u8..0x8c],
        body in arb_bytes(60),
        bytes in arb_bytes(40),
    ) {
        for bytes in [frame(kind, &body), bytes.to_vec()] {
            let (packets, _) = decoded([&bytes[..]]);
            let again = packets.iter().flat_map(encoded).collect::<Vec<u8>>();
            prop_assert!(bytes.starts_with(&again));
        }
    }

    #[test]
    fn a_damaged_frame_is_an_error_or_another_packet(
        packet in arb_packet(),
        (overwritten, cut) in arb_damage(),
    ) {
        let mut bytes = encoded(&packet);
        for (at, byte) in overwritten {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        let (packets, _) = decoded([&bytes[..]]);
        let again = packets.iter().flat_map(encoded).collect::<Vec<u8>>();
        prop_assert!(bytes.starts_with(&again));
    }

    #[test]
    fn a_head_and_its_batch_are_the_packet(
        (request, answered_below, topic) in (any::<u64>(), any::<u64>(), arb_topic()),
        (base, time, batch) in (any::<u64>(), any::<u64>(), arb_bytes(300)),
    ) {
        let (request, answered_below) = (RequestId(request), RequestId(answered_below));
        let produce_head = produce_head(request, answered_below, &topic, batch.len());
        let overhead = produce_overhead(&topic);
        prop_assert_eq!(produce_head.len(), LENGTH + overhead);
        let packet = Produce { request, answered_below, topic, batch: batch.clone() };
        let whole = encoded(&Packet::Produce(packet));
        prop_assert_eq!([&produce_head[..], &batch].concat(), &whole[..]);

        let (base, time) = (Offset(base), Timestamp(time));
        let delivery_head = delivery_head(base, time, batch.len());
        prop_assert!(delivery_head.len() < produce_head.len());
        let whole = encoded(&Packet::Delivery(Delivery { base, time, batch: batch.clone() }));
        prop_assert_eq!([&delivery_head[..], &batch].concat(), &whole[..]);
    }
}
