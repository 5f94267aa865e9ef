use super::*;
use crate::document::{prepare, samples};
use std::collections::BTreeSet;

fn read(dataset: Dataset, value: Option<&[u8]>) -> Result<Prepared, String> {
    let mut batch = Batch::default();
    let read = dataset.read(value, &Periods::default(), &mut Writer::default(), &mut batch);
    assert!(read.is_ok() || batch.size() == 0);
    read.map(|prepared| prepared.map(|place| batch.finish().operation(place)))
}

#[test]
fn what_cannot_be_read_says_why() {
    for dataset in Dataset::ALL {
        let cause = |value| read(dataset, value).unwrap_err();
        assert!(cause(None).contains("without a value"));
        assert!(cause(Some(b"junk")).contains("Avro"), "{}", cause(Some(b"junk")));
    }
}

#[test]
fn an_encoded_record_is_read_and_prepared() {
    let enriched = samples::maximal();
    let encoded = weir_schemas::encode(&enriched).unwrap();
    let prepared = read(Dataset::Flows, Some(&encoded)).unwrap();
    assert_eq!(prepared, prepare(&enriched, &Periods::default()).unwrap());
    assert!(read(Dataset::Dns, Some(&encoded)).is_err(), "a flow is no DNS record");
}

#[test]
fn data_sets_share_neither_topic_nor_group_and_take_all_memory() {
    let topics: BTreeSet<_> = Dataset::ALL.map(Dataset::topic).into();
    let groups: BTreeSet<_> = Dataset::ALL.map(|d| d.group("weir-indexer")).into();
    assert_eq!((topics.len(), groups.len()), (4, 4));
    assert_eq!(Dataset::Flows.group("weir-indexer"), "weir-indexer");
    assert_eq!(Dataset::ALL.map(Dataset::sixteenths).iter().sum::<u64>(), 16);
}
