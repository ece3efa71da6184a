use proptest::prelude::*;

use super::super::arbitrary::{arb_records, encode};
use super::*;

proptest! {
    #[test]
    fn records_come_back_from_their_batch(records in arb_records()) {
        let batch = Batch::decode(encode(&records)).unwrap();
        prop_assert_eq!(batch.count() as usize, records.len());
        prop_assert_eq!(batch.base_time(), records[0].time);
        prop_assert_eq!(batch.records().len(), records.len());
        prop_assert_eq!(batch.records().collect::<Vec<_>>(), records);
    }
}
