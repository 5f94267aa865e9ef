use super::*;
use bytes::Bytes;
use weir_flow::Address;
use weir_join::Ask;
use weir_schemas::encode;
use weir_schemas::metadata::{Bound, BoundSource, Heartbeat, Object, Pod, Proof, Revision};

const CLUSTER: &str = "local";

fn record(offset: i64, key: String, value: Option<Vec<u8>>) -> Record {
    Record {
        topic: Arc::from(topics::METADATA),
        partition: 0,
        offset,
        timestamp: 0,
        key: Some(Bytes::from(key)),
        value: value.map(Bytes::from),
        headers: Vec::new(),
    }
}

fn address(number: usize) -> Address {
    format!("10.0.{}.{}", number / 250, number % 250 + 1).parse().unwrap()
}

/// Pods with an address each; each third is forgotten soon, and at 100 the history is cut to what came from 50 on.
fn records(pods: usize) -> Vec<Record> {
    let exactly = |at| Bound { earliest: at, latest: at, source: BoundSource::Status };
    let mut all: Vec<(String, Option<Metadata>)> = Vec::new();
    let beat = |complete_to| {
        Metadata::Heartbeat(Heartbeat {
            cluster: CLUSTER.to_owned(),
            complete_to,
            proof: Proof::Probed,
            cluster_known: true,
        })
    };
    all.push((first_heartbeat_key(CLUSTER), Some(beat(10))));
    for number in 0..pods {
        let revision = Revision {
            cluster: CLUSTER.to_owned(),
            uid: format!("uid-{number}"),
            revision: 1,
            namespace: "shop".to_owned(),
            name: format!("pod-{number}"),
            labels: Vec::new(),
            labels_dropped: 0,
            annotations: vec!["a=b".to_owned()],
            changed_by: "test".to_owned(),
            changed_at: None,
            valid_from: exactly(20),
            valid_to: None,
            object: Object::Pod(Pod { addresses: vec![address(number)], ..Pod::default() }),
        };
        let message = Metadata::Revision(revision);
        all.push((message.key(0), Some(message)));
        if number % 3 == 1 {
            all.push((format!("{CLUSTER}/Pod/uid-{}/1", number - 1), None));
        }
        if number == 100 {
            all.push((first_heartbeat_key(CLUSTER), Some(beat(50))));
        }
    }
    all.push((format!("{CLUSTER}/heartbeat/0"), Some(beat(90))));
    let encoded = all.into_iter().map(|(key, message)| (key, message.map(|message| encode(&message).unwrap())));
    (0i64..).zip(encoded).map(|(offset, (key, value))| record(offset, key, value)).collect()
}

fn nothing() -> Known {
    Known { table: Table::new(CLUSTER, 1), policies: Policies::new(CLUSTER) }
}

#[test]
fn a_second_thread_changes_nothing_but_the_time() {
    let all = records(1_000);
    assert!(all.len() > MANY && all.len() > AHEAD * GROUP);
    let (mut together, mut alone) = (nothing(), nothing());
    apply_all(&mut together, &all).unwrap();
    all.iter().for_each(|record| apply_all(&mut alone, std::slice::from_ref(record)).unwrap());
    let (together, alone) = (together.table, alone.table);
    for table in [&together, &alone] {
        assert_eq!((table.revisions(), table.complete_to(), table.history_start()), (667, 90, 50));
    }
    for number in 0..1_000 {
        let ask = Ask::address(60, address(number));
        assert_eq!(together.side(&ask), alone.side(&ask));
        assert_eq!(together.side(&ask).pod.is_some(), number % 3 != 0 || number == 999, "{number}");
    }
}

#[test]
fn what_was_given_up_moves_h_and_has_no_names_and_later_heartbeats_go_on() {
    use weir_schemas::enriched::NoneReason;
    use weir_schemas::metadata::gap_key;
    for pods in [10, 1_000] {
        let beat = |complete_to, proof| {
            encode(&Metadata::Heartbeat(Heartbeat {
                cluster: CLUSTER.to_owned(),
                complete_to,
                proof,
                cluster_known: true,
            }))
            .unwrap()
        };
        let mut all = records(pods);
        all.push(record(9_000, gap_key(CLUSTER, 90), Some(beat(500, Proof::Gap))));
        all.push(record(9_001, format!("{CLUSTER}/heartbeat/0"), Some(beat(500, Proof::Gap))));
        let mut known = nothing();
        apply_all(&mut known, &all).unwrap();
        assert_eq!(known.table.complete_to(), 500, "windows that waited are written");
        // Later, when compaction has left the gap and the last heartbeat, and after a restart, it is the same.
        let mut later: Vec<Record> = all.iter().filter(|record| record.offset != 9_001).cloned().collect();
        later.push(record(9_002, format!("{CLUSTER}/heartbeat/0"), Some(beat(700, Proof::Probed))));
        let mut after = nothing();
        apply_all(&mut after, &later).unwrap();
        assert_eq!(after.table.complete_to(), 700);
        for (at, is_named) in [(90, true), (91, false), (500, false), (501, true)] {
            let side = after.table.side(&Ask::address(at, address(1)));
            assert_eq!(side.pod.is_some(), is_named, "{at}");
            assert_eq!(side.reason == Some(NoneReason::NotYetReported), !is_named, "{at}");
        }
    }
}

#[test]
fn a_record_that_cannot_be_read_is_named_by_its_offset() {
    for pods in [10, 1_000] {
        let mut all = records(pods);
        all[8].value = Some(Bytes::from_static(b"nonsense"));
        let error = apply_all(&mut nothing(), &all).unwrap_err();
        assert!(format!("{error:#}").contains("offset 8"), "{error:#}");
    }
}

#[test]
fn another_clusters_record_that_cannot_be_read_stops_nothing() {
    for pods in [10, 1_000] {
        let mut all = records(pods);
        all.insert(8, record(0, "local-2/Pod/uid/1".to_owned(), Some(b"nonsense".to_vec())));
        all.insert(9, record(0, "other/heartbeat/0".to_owned(), Some(Vec::new())));
        let mut known = nothing();
        apply_all(&mut known, &all).unwrap();
        assert_eq!(known.table.complete_to(), 90);
    }
}
