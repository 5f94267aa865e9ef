use super::*;

fn begin(committed: Option<i64>, log_start: i64, accept_gap: bool) -> Option<(i64, i64)> {
    start(committed, log_start, accept_gap).ok().map(|b| (b.offset, b.expired))
}

#[test]
fn a_group_without_a_position_begins_only_where_nothing_was_deleted() {
    assert_eq!(begin(None, 0, false), Some((0, 0)));
    assert_eq!(begin(None, 7, false), None);
    assert_eq!(begin(None, 7, true), Some((7, 7)));
}

#[test]
fn a_position_that_was_deleted_is_a_loss_with_a_number() {
    assert_eq!(begin(Some(3), 7, false), Some((7, 4)));
    assert_eq!(begin(Some(7), 7, false), Some((7, 0)));
    assert_eq!(begin(Some(9), 7, false), Some((9, 0)));
}

fn record(value: Option<Vec<u8>>) -> Record {
    Record {
        topic: "t".into(),
        partition: 0,
        offset: 0,
        timestamp: 0,
        key: None,
        value: value.map(Into::into),
        headers: vec![],
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let cause = |value| super::read(&record(value), &Periods::default()).unwrap_err();
    assert!(cause(None).contains("without a value"));
    assert!(cause(Some(b"junk".to_vec())).contains("Avro"), "{}", cause(Some(b"junk".to_vec())));
}

#[test]
fn an_encoded_record_is_read_and_prepared() {
    let enriched = crate::document::samples::maximal();
    let prepared = super::read(&record(Some(weir_schemas::encode(&enriched).unwrap())), &Periods::default()).unwrap();
    assert_eq!(prepared, prepare(&enriched, &Periods::default()).unwrap());
}
