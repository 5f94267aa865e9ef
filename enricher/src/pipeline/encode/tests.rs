use super::*;
use crate::fixtures::{Fake, asking, batch, history, question, sample, settings};
use crate::position::Stage1Position;
use crate::stage1::{Content, Input, Partition};
use std::net::Ipv6Addr;
use weir_schemas::partial::{Behind, MissingTicks, Sets};

fn a_batch() -> PartialBatch {
    let mut partition = Partition::new("local", 0, history(settings(1, 1)), Stage1Position::START);
    for (offset, tick) in [(0, 100_000), (1, 200_000)] {
        let content = Content::Batch(batch("node-a", 0, tick, vec![sample(1)]));
        partition.read(Input { offset, append_time: tick + 1_000, size: 1, content });
    }
    let last = partition.ready(i64::MAX, 8).unwrap();
    partition.close(last, &Fake::default()).partials.remove(0).1
}

fn decoded(records: &[NewRecord]) -> Vec<Partial> {
    let mut partials = Vec::new();
    for record in records {
        let value = record.value.as_ref().unwrap();
        assert!(value.len() <= LARGEST);
        let PartialMessage::Partials(batch) = weir_schemas::decode(value).unwrap() else { panic!("no partials") };
        partials.extend(batch.partials);
    }
    partials
}

#[test]
fn large_batches_are_split() {
    let mut batch = a_batch();
    let mut one = batch.partials[0].clone();
    let name = "n".repeat(250);
    one.behind = Behind::of(&[Sets::default(), Sets { domains: vec![&name], ..Sets::default() }]);
    batch.partials = vec![one; 5_000];
    let mut records = Vec::new();
    partials("t", 0, batch, &mut records).unwrap();
    assert!(records.len() > 1);
    assert_eq!(decoded(&records).len(), 5_000);
}

#[test]
fn a_record_with_enormous_sets_is_shortened_and_says_so() {
    let mut batch = a_batch();
    batch.partials.truncate(1);
    let pods = (0..10_000).map(|i| format!("{}-{i:05}", "n".repeat(120))).collect();
    let addresses = (0..10_000_u128).map(|i| std::net::IpAddr::from(Ipv6Addr::from(i)).into()).collect();
    batch.partials[0].behind = Behind::from(&[Sets { addresses, pods, ..Sets::default() }, Sets::default()]);
    let mut records = Vec::new();
    partials("t", 0, batch, &mut records).unwrap();
    let partial = &decoded(&records)[0];
    let [initiator, _] = partial.behind.ends();
    assert_eq!((initiator.pods.len(), partial.initiator.pods_more), (5_000, 5_000));
    assert_eq!((initiator.addresses.len(), partial.initiator.addresses_more), (5_000, 5_000));
}

#[test]
fn a_dns_record_with_enormous_answers_is_shortened_and_says_so() {
    let mut partition = Partition::new("local", 0, history(settings(1, 1)), Stage1Position::START);
    for (offset, tick, dns) in [(0, 100_000, vec![question("db.shop")]), (1, 200_000, vec![])] {
        let content = Content::Batch(asking("node-a", 0, tick, vec![], dns));
        partition.read(Input { offset, append_time: tick + 1_000, size: 1, content });
    }
    let last = partition.ready(i64::MAX, 8).unwrap();
    let mut batch = partition.close(last, &Fake::default()).dns.remove(0).1;
    let mut large = batch.dns[0].clone();
    large.answers = (0..40_000_u128).map(|n| Ipv6Addr::from(u128::MAX - n).to_string()).collect();
    batch.dns.push(large);
    let mut records = Vec::new();
    questions("t", 0, batch, &mut records).unwrap();
    let decoded = records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap());
    let mut lengths: Vec<(usize, String)> = decoded
        .flat_map(|message| if let PartialMessage::Dns(batch) = message { batch.dns } else { panic!("no DNS") })
        .map(|partial| (partial.answers.len(), partial.answers[0].clone()))
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [(1, "10.0.0.2".to_owned()), (20_001, MORE.to_owned())]);
}

#[test]
fn a_marker_of_too_many_nodes_is_shortened_and_says_so() {
    let missing = |number: usize| MissingTicks { node: format!("{number:0500}"), ticks: 1 };
    let of = |nodes: usize| Marker {
        cluster: "local".to_owned(),
        partition: 0,
        generation: 100_000,
        missing: (0..nodes).map(missing).collect(),
    };
    for (nodes, left_out) in [(0, 0), (1_000, 0), (5_000, 3_750)] {
        let (record, found) = marker("t", 0, of(nodes)).unwrap();
        let value = record.value.unwrap();
        assert!(value.len() <= LARGEST);
        let PartialMessage::Marker(marker) = weir_schemas::decode(&value).unwrap() else { panic!("no marker") };
        assert_eq!((marker.missing.len(), found), (nodes - left_out, left_out));
    }
}
