use super::*;
use crate::raw::{DropClass, Loss};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|b| Address::from_bytes(&b).unwrap()),
        any::<[u8; 16]>().prop_map(|b| Address::from_bytes(&b).unwrap()),
    ]
}

fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..1_000u64, 0..u64::from(u32::MAX)]
}

prop_compose! {
    fn sample()(
        place in 0u8..10, interface in "[a-z]{0,3}", addresses in (address(), address()),
        ports in any::<(u16, u16)>(), protocol in any::<u8>(), opened in 0u8..3,
        first_seen in 0i64..5_000, last in 0i64..5_000, counters in (counter(), counter(), counter(), counter()),
        flags in 0u16..512, started in 0u64..3, ended in 0u64..3, age in prop::option::of(0i64..100_000),
        retransmits in 0u64..3, uid in prop::option::of("[0-9a-f]{4}"), process in prop::option::of("[a-z]{1,4}"),
        sampling in 1u32..100, drops in 0usize..3, round_trip in prop::option::of(1u64..1_000),
    ) -> Sample {
        let points = [Point::Pod, Point::Host, Point::Transit, Point::Underlay, Point::Capture];
        let (point, end) = (points[usize::from(place / 2)], [End::Source, End::Destination][usize::from(place % 2)]);
        Sample {
            zero_windows: retransmits, resets: started,
            coarsened: [Coarsening::None, Coarsening::SourcePort, Coarsening::Prefix][usize::from(opened)],
            handshake: age.map(|a| RoundTrip { sum: 1, count: 1, min: 1, max: u64::try_from(a).unwrap() }),
            point, end, interface, source: addresses.0, destination: addresses.1, source_port: ports.0,
            destination_port: ports.1, protocol,
            translated: (started == 1).then_some(Tuple { source: addresses.1, destination: addresses.0, source_port: 1, destination_port: 2 }),
            opened_by: [OpenedBy::Unknown, OpenedBy::Source, OpenedBy::Destination][usize::from(opened)],
            first_seen, last_seen: first_seen + last, bytes: counters.0, packets: counters.1, tcp_flags: flags, started,
            ended, opened_at: age.map(|a| first_seen - a), cumulative_bytes: counters.0 + counters.2,
            cumulative_packets: counters.1 + counters.3,
            drops: (0..drops).map(|n| Drop { reason: format!("R{n}"), class: DropClass::Other, packets: 1, bytes: 60 }).collect(),
            retransmits, round_trip: round_trip.map(|t| RoundTrip { sum: t, count: 1, min: t, max: t }),
            pod_uid: uid, container: None, process, sampling,
        }
    }
}

fn batch(samples: Vec<Sample>) -> RawBatch {
    RawBatch {
        dns: Vec::new(),
        cluster: "c".to_owned(),
        node: "n".to_owned(),
        boot: "b".to_owned(),
        sequence: 1,
        tick: 0,
        tick_length: 5_000,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Ebpf,
        seen: Totals::default(),
        published: Totals::default(),
        lost: vec![Loss { reason: "map_full".to_owned(), lost: Totals::default() }],
        samples,
    }
}

proptest! {
    #[test]
    fn every_batch_is_read_back_from_its_columns(samples in prop::collection::vec(sample(), 0..20)) {
        let batch = batch(samples);
        prop_assert_eq!(&RawBatch::<String>::try_from(ColumnBatch::from(batch.clone())).unwrap(), &batch);
        let bytes = crate::encode(&batch).unwrap();
        let shared = crate::decode::<RawBatch<std::sync::Arc<str>>>(&bytes).unwrap();
        prop_assert_eq!(crate::encode(&shared).unwrap(), bytes.clone(), "shared texts are the same texts");
        prop_assert_eq!(crate::decode::<RawBatch>(&bytes).unwrap(), batch);
    }
}

#[test]
fn columns_of_unequal_length_are_refused() {
    let mut columns = ColumnBatch::from(batch(vec![]));
    columns.count = 1;
    assert_eq!(RawBatch::<String>::try_from(columns.clone()), Err(ColumnError::Length("place", 0, 1)));
    columns.count = 0;
    columns.columns.sampling = vec![1];
    assert_eq!(RawBatch::<String>::try_from(columns), Err(ColumnError::Length("sampling", 1, 0)));
}

#[test]
fn a_number_that_names_nothing_is_refused() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let one = sample().new_tree(&mut runner).unwrap().current();
    let good = ColumnBatch::from(batch(vec![one.clone(), one]));
    let (strings, addresses) =
        (u32::try_from(good.strings.len()).unwrap(), u32::try_from(good.addresses.len()).unwrap());
    type Spoil<'a> = (&'static str, i64, &'a dyn Fn(&mut Columns));
    let spoilt: [Spoil<'_>; 9] = [
        ("source", addresses.into(), &|c| c.source[1] = addresses),
        ("destination", addresses.into(), &|c| c.destination[1] = addresses),
        ("interface", i64::from(strings) + 1, &|c| c.interface[1] = strings + 1),
        ("pod_uid", i64::from(strings) + 1, &|c| c.pod_uid = vec![0, strings + 1]),
        ("container", i64::from(strings) + 1, &|c| c.container = vec![0, strings + 1]),
        ("process", i64::from(u32::MAX), &|c| c.process = vec![0, u32::MAX]),
        ("place", 10, &|c| c.place[1] = 10),
        ("opened_by", 3, &|c| c.opened_by[1] = 3),
        ("coarsened", 3, &|c| c.coarsened = vec![0, 3]),
    ];
    for (name, number, spoil) in spoilt {
        let mut bad = good.clone();
        spoil(&mut bad.columns);
        assert_eq!(RawBatch::<String>::try_from(bad), Err(ColumnError::Range(name, number, 1)));
    }
}

#[test]
fn texts_that_are_longer_than_their_bounds_are_refused() {
    let named = |node: usize, question: usize| {
        let dns = crate::raw::DnsSample {
            point: Point::Pod,
            end: End::Source,
            interface: String::new(),
            client: Address::from_bytes(&[10, 0, 0, 1]).unwrap(),
            server: Address::from_bytes(&[10, 0, 0, 2]).unwrap(),
            server_port: 53,
            protocol: 17,
            question: "q".repeat(question),
            question_type: 1,
            response_code: None,
            count: 1,
            latency: None,
            answers: Vec::new(),
            answers_more: 0,
            pod_uid: None,
            container: None,
            process: None,
        };
        let batch = RawBatch { node: "n".repeat(node), dns: vec![dns], ..batch(Vec::new()) };
        crate::decode::<RawBatch>(&crate::encode(&batch).unwrap()).map(|read| assert_eq!(read, batch))
    };
    assert_eq!(named(512, 1_024), Ok(()));
    let refused = |node, question| named(node, question).unwrap_err().to_string();
    assert_eq!(refused(513, 1), "flows.raw body: node has 513 bytes, more than 512");
    assert_eq!(refused(1, 1_025), "flows.raw body: DNS question has 1025 bytes, more than 1024");
}
