use super::*;
use crate::document::samples;
use std::collections::BTreeSet;

#[test]
fn what_cannot_be_read_says_why() {
    for dataset in Dataset::ALL {
        let cause = |value| dataset.read(value, &Periods::default()).unwrap_err();
        assert!(cause(None).contains("without a value"));
        assert!(cause(Some(b"junk")).contains("Avro"), "{}", cause(Some(b"junk")));
    }
}

#[test]
fn an_encoded_record_is_read_and_prepared() {
    let enriched = samples::maximal();
    let encoded = weir_schemas::encode(&enriched).unwrap();
    let prepared = Dataset::Flows.read(Some(&encoded), &Periods::default()).unwrap();
    assert_eq!(prepared, prepare(&enriched, &Periods::default()).unwrap());
    assert!(Dataset::Dns.read(Some(&encoded), &Periods::default()).is_err(), "a flow is no DNS record");
}

#[test]
fn data_sets_share_neither_topic_nor_group_and_take_all_memory() {
    let topics: BTreeSet<_> = Dataset::ALL.map(Dataset::topic).into();
    let groups: BTreeSet<_> = Dataset::ALL.map(|d| d.group("weir-indexer")).into();
    assert_eq!((topics.len(), groups.len()), (4, 4));
    assert_eq!(Dataset::Flows.group("weir-indexer"), "weir-indexer");
    assert_eq!(Dataset::ALL.map(Dataset::sixteenths).iter().sum::<u64>(), 16);
}
