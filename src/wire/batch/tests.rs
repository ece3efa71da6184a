use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    super::{
        BatchBuilder,
        tests::arbitrary::{arb_bytes, arb_record, arb_records, encode},
    },
    *,
};

/// Returns a small batch of two records with a key, a header and a payload.
fn specimen() -> Bytes {
    let header = Header {
        name: "h".to_owned(),
        value: Bytes::from_static(b"v"),
    };
    let first = Record {
        time: Timestamp(1000),
        key: Some(Bytes::from_static(b"k")),
        headers: vec![header],
        payload: Bytes::from_static(b"pay"),
    };
    let second = Record {
        time: Timestamp(999),
        ..Record::default()
    };
    encode(&[first, second])
}

/// Returns a batch of any head and any records with a correct checksum.
fn forged(format: u8, flags: u8, count: u32, records: &[u8]) -> Vec<u8> {
    let base_time = 1000_u64.to_le_bytes();
    let summed = [
        &[format, flags][..],
        &count.to_le_bytes(),
        &base_time,
        records,
    ]
    .concat();
    [&crc32fast::hash(&summed).to_le_bytes()[..], &summed].concat()
}

fn error_of(bytes: &[u8]) -> DecodeError {
    Batch::check(bytes).expect_err("these bytes are not a batch")
}

#[test]
fn the_bytes_of_a_batch_stay_as_they_are() {
    let records = b"\x00\x02k\x01\x01h\x01v\x03pay\x01\x00\x00\x00";
    let bytes = specimen();
    assert_eq!(&bytes[..], forged(1, 0, 2, records));
    assert_eq!(bytes[..4], 0x4859_0bee_u32.to_le_bytes());
}

#[test]
fn every_single_bit_that_flips_is_found() {
    let bytes = specimen();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = error_of(&damaged);
        assert!(
            matches!(error, DecodeError::Checksum { .. }),
            "bit {bit}: {error:?}"
        );
    }
}

#[test]
fn a_batch_that_is_cut_or_goes_on_is_refused() {
    let bytes = specimen();
    for cut in 0..bytes.len() {
        error_of(&bytes[..cut]);
    }
    error_of(&[&bytes[..], &[0]].concat());

    let records = &bytes[Batch::HEADER_LEN..];
    for cut in 0..records.len() {
        let error = error_of(&forged(1, 0, 2, &records[..cut]));
        assert!(
            matches!(error, DecodeError::Short { .. }),
            "{cut}: {error:?}"
        );
    }
    let trailing = DecodeError::Trailing {
        what: "batch",
        bytes: 1,
    };
    assert_eq!(
        error_of(&forged(1, 0, 2, &[records, &[0]].concat())),
        trailing
    );
}

#[test]
fn a_count_that_is_not_the_number_of_records_is_refused() {
    let records = &specimen()[Batch::HEADER_LEN..];
    assert!(Batch::check(&forged(1, 0, 2, records)).is_ok());
    assert_eq!(
        error_of(&forged(1, 0, 0, records)),
        DecodeError::Empty { what: "batch" }
    );
    assert_eq!(
        error_of(&forged(1, 0, 1, records)),
        DecodeError::Trailing {
            what: "batch",
            bytes: 4
        }
    );
    for count in [3, u32::MAX] {
        let error = error_of(&forged(1, 0, count, records));
        assert_eq!(
            error,
            DecodeError::Short {
                what: "record time"
            }
        );
    }
}

#[test]
fn a_format_or_flag_of_a_later_version_is_named() {
    let records = &specimen()[Batch::HEADER_LEN..];
    let unknown = |what, value| DecodeError::UnknownValue { what, value };
    assert_eq!(
        error_of(&forged(2, 0, 2, records)),
        unknown("batch format", 2)
    );
    assert_eq!(
        error_of(&forged(1, 0x80, 2, records)),
        unknown("batch flags", 0x80)
    );
}

#[test]
fn each_length_is_checked_before_it_is_believed() {
    const HUGE: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let short = |what| DecodeError::Short { what };
    let cases: [(&[u8], DecodeError); 7] = [
        (b"\x00", short("key")),
        (b"\x00\x00", short("headers")),
        (b"\x00\x00\x00", short("payload")),
        (b"\x00\x00\x01", short("header name")),
        (b"\x00\x00\x01\x00", short("header value")),
        (
            b"\x80\x00",
            DecodeError::Varint {
                what: "record time",
            },
        ),
        (
            b"\x00\x00\x01\x01\xff\x00\x00",
            DecodeError::NotUtf8 {
                what: "header name",
            },
        ),
    ];
    for (record, error) in cases {
        assert_eq!(error_of(&forged(1, 0, 1, record)), error);
        if matches!(error, DecodeError::Short { .. }) {
            let huge = error_of(&forged(1, 0, 1, &[record, HUGE].concat()));
            let next = if error == short("headers") {
                DecodeError::TooLong {
                    what: "headers",
                    value: usize::MAX,
                    limit: Record::MAX_HEADERS,
                }
            } else {
                error
            };
            assert_eq!(huge, next);
        }
    }
}

#[test]
fn a_message_over_the_limit_is_found_and_measured() {
    let batch = Batch::decode(specimen()).unwrap();
    assert_eq!(batch.check_messages(8), Ok(()));
    let error = DecodeError::TooLong {
        what: "message",
        value: 8,
        limit: 7,
    };
    assert_eq!(batch.check_messages(7), Err(error));
}

#[test]
fn records_share_the_memory_of_their_batch() {
    let batch = Batch::decode(specimen()).unwrap();
    let memory = batch.bytes().as_ptr_range();
    let record = batch.records().next().unwrap();
    for part in [
        record.key.as_ref().unwrap(),
        &record.headers[0].value,
        &record.payload,
    ] {
        assert!(memory.contains(&part.as_ptr()));
    }
}

/// Generates the start of a record, then any bytes.
fn arb_forged_records() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![4 => 0_u8..4, 1 => any::<u8>()];
    prop_oneof![vec(small, 0..40), vec(any::<u8>(), 0..40)]
}

proptest! {
    #[test]
    fn records_come_back_from_their_batch(records in arb_records()) {
        let bytes = encode(&records);
        let batch = Batch::decode(bytes.clone()).unwrap();
        prop_assert_eq!(batch.count() as usize, records.len());
        prop_assert_eq!(batch.base_time(), records[0].time);
        prop_assert_eq!(batch.records().len(), records.len());
        prop_assert_eq!(batch.records().collect::<Vec<_>>(), &records[..]);
        let largest = records.iter().map(Record::content_len).max();
        prop_assert_eq!(Some(batch.summary().largest_message), largest);
        prop_assert_eq!(batch.into_bytes(), bytes);
    }

    #[test]
    fn a_reader_may_begin_anywhere_in_a_batch(records in arb_records(), at: Index) {
        let at = at.index(records.len() + 1);
        let batch = Batch::decode(encode(&records)).unwrap();
        let rest = batch.into_iter().skip(at);
        prop_assert_eq!(rest.len(), records.len() - at);
        prop_assert_eq!(rest.collect::<Vec<_>>(), &records[at..]);
    }

    #[test]
    fn any_bytes_are_a_batch_or_an_error(bytes in arb_bytes(60)) {
        prop_assert!(Batch::decode(bytes).is_err());
    }

    /// The checksum detects damage, but a peer can compute it for any bytes.
    #[test]
    fn a_batch_that_passes_its_check_has_all_its_records(count in 1_u32..6, records in arb_forged_records()) {
        let bytes = Bytes::from(forged(1, 0, count, &records));
        if let Ok(batch) = Batch::decode(bytes) {
            let records: Vec<Record> = batch.records().collect();
            prop_assert_eq!(records.len(), count as usize);
            let largest = records.iter().map(Record::content_len).max();
            prop_assert_eq!(Some(batch.summary().largest_message), largest);
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_or_another_record(
        records in arb_records(),
        damage in vec(any::<(Index, u8)>(), 1..4),
    ) {
        let bytes = encode(&records);
        let mut damaged = bytes[Batch::HEADER_LEN..].to_vec();
        for (at, byte) in damage {
            let at = at.index(damaged.len());
            damaged[at] = byte;
        }
        let count = u32::try_from(records.len()).unwrap();
        if let Ok(batch) = Batch::decode(forged(1, 0, count, &damaged).into()) {
            prop_assert_eq!(batch.records().count(), records.len());
        }
    }

    #[test]
    fn the_length_of_a_record_is_known_before_it_is_encoded(records in vec(arb_record(), 1..6)) {
        let mut builder = BatchBuilder::new(64);
        let mut before = Batch::HEADER_LEN;
        for record in &records {
            builder.push(record);
            let (took, most) = (builder.len() - before, super::super::encoded_len(record.key.as_deref(), &record.headers, &record.payload));
            prop_assert!(took <= most && most <= took + 9, "{took} bytes, at most {most}");
            before = builder.len();
        }
        prop_assert_eq!(builder.finish().len(), before);
    }
}

#[test]
fn headers_are_bounded_in_number_and_count_even_if_they_are_empty() {
    let empty = Header {
        name: String::new(),
        value: Bytes::new(),
    };
    let with = |count| Record {
        headers: vec![empty.clone(); count],
        ..Record::default()
    };
    let most = Record::MAX_HEADERS;
    let batch = Batch::decode(encode(&[with(most)])).unwrap();
    assert_eq!(batch.summary().largest_message, 2 * most);
    assert_eq!(with(most).content_len(), 2 * most);
    let error = DecodeError::TooLong {
        what: "headers",
        value: most + 1,
        limit: most,
    };
    assert_eq!(error_of(&encode(&[with(most + 1)])), error);
}
