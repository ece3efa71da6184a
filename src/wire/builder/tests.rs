use proptest::{collection::vec, prelude::*};

use super::{
    super::tests::arbitrary::{arb_records, encode},
    *,
};

const CAPACITY: usize = 4096;

fn record(payload_len: usize) -> Record {
    Record {
        payload: Bytes::from(vec![7; payload_len]),
        ..Record::default()
    }
}

fn batch(builder: &mut BatchBuilder, payload_len: usize) -> Bytes {
    builder.push(&record(payload_len));
    builder.finish()
}

#[test]
fn a_batch_without_records_has_no_bytes() {
    let mut builder = BatchBuilder::new(CAPACITY);
    assert!(builder.is_empty());
    assert_eq!((builder.len(), builder.count()), (0, 0));
    assert_eq!(builder.finish(), Bytes::new());

    batch(&mut builder, 100);
    assert!(builder.is_empty());
    assert_eq!((builder.len(), builder.count()), (0, 0));
    assert_eq!(builder.finish(), Bytes::new());
}

#[test]
fn small_batches_are_cut_from_one_allocation() {
    let mut builder = BatchBuilder::new(CAPACITY);
    let batches: Vec<Bytes> = (0..10).map(|_| batch(&mut builder, 100)).collect();
    for pair in batches.windows(2) {
        assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
    }
}

#[test]
fn the_memory_of_a_batch_that_is_gone_is_used_again() {
    let mut builder = BatchBuilder::new(CAPACITY);
    let mut next = || batch(&mut builder, CAPACITY - 50).as_ptr();
    let first = next();
    for _ in 0..10 {
        assert_eq!(next(), first);
    }
}

#[test]
fn a_large_batch_does_not_leave_its_memory_behind() {
    let mut builder = BatchBuilder::new(CAPACITY);
    let mut small = Bytes::new();
    for large in [3 * CAPACITY, 100 * CAPACITY, 1000 * CAPACITY] {
        let encoded = batch(&mut builder, large);
        assert!(Batch::check(&encoded).is_ok());
        drop((encoded, small));
        assert!(
            builder.buf.capacity() <= 2 * CAPACITY,
            "{}",
            builder.buf.capacity()
        );
        small = batch(&mut builder, 100);
        assert!(
            builder.buf.capacity() <= 2 * CAPACITY,
            "{}",
            builder.buf.capacity()
        );
    }
}

proptest! {
    #[test]
    fn a_builder_that_is_used_again_makes_the_same_batches(
        batches in vec((arb_records(), any::<bool>()), 1..6),
        capacity in 0_usize..2000,
    ) {
        let mut builder = BatchBuilder::new(capacity);
        let mut kept = Vec::new();
        for (records, keep) in &batches {
            for (count, record) in (1..).zip(records) {
                builder.push(record);
                prop_assert_eq!(builder.count(), count);
            }
            let len = builder.len();
            let batch = builder.finish();
            prop_assert_eq!(batch.len(), len);
            prop_assert_eq!(&batch, &encode(records));
            if *keep {
                kept.push((records, batch));
            }
        }
        for (records, batch) in kept {
            prop_assert_eq!(batch, encode(records));
        }
    }
}

proptest! {
    #[test]
    fn joined_batches_hold_the_records_of_both(
        first in arb_records(),
        second in arb_records(),
        base in any::<u64>(),
    ) {
        let mut builders = [&first, &second].map(|records| {
            let mut builder = BatchBuilder::with_base_time(0, Timestamp(base));
            for record in records {
                builder.push(record);
            }
            builder
        });
        let [joined, other] = &mut builders;
        joined.append(other);
        let batch = Batch::decode(joined.finish()).unwrap();
        let records: Vec<_> = batch.records().collect();
        prop_assert_eq!(records, [first, second].concat());
    }
}
