use super::*;

#[test]
fn a_batch_without_records_has_no_bytes() {
    let mut builder = BatchBuilder::new(100);
    assert!(builder.is_empty());
    assert_eq!(builder.finish(), Bytes::new());
}
