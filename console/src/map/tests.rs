use super::*;
use crate::row::Totals;
use proptest::prelude::*;

fn end(namespace: &str, workload: &str) -> End {
    End { namespace: Some(namespace.to_owned()), workload: Some(workload.to_owned()), ..End::default() }
}

fn outside(scope: &str) -> End {
    End { attribution: "none".to_owned(), scope: scope.to_owned(), ..End::default() }
}

fn row(source: End, destination: End, bytes: u64) -> Row {
    Row {
        id: String::new(),
        correction: 0,
        time: iso(0),
        window: 0,
        window_length: 5_000,
        first_seen: iso(0),
        last_seen: iso(0),
        generation: iso(0),
        level: 2,
        origin: "ebpf".to_owned(),
        cluster: "local".to_owned(),
        cluster_known: true,
        action: "allow".to_owned(),
        arrival: "ok".to_owned(),
        arrival_reason: String::new(),
        protocol: "tcp".to_owned(),
        source,
        destination,
        totals: Totals { forward_bytes: bytes, reverse_bytes: 1, forward_packets: 2, started: 3, ..Totals::default() },
        drop_reasons: Vec::new(),
        tcp_flags: crate::row::TcpFlags::default(),
        reports: Vec::new(),
        coarsened: false,
        orientation_guessed: false,
        untranslated: false,
        samples: 1,
        policy: None,
    }
}

fn map(rows: &[Row]) -> Map {
    let mut surveyor = Surveyor::default();
    rows.iter().for_each(|row| surveyor.take(row));
    surveyor.finish()
}

#[test]
fn rows_of_the_same_two_ends_are_one_connection_with_its_ports() {
    let with_port = |port: u64, bytes: u64, action: &str| {
        let destination = End { port: Some(port), ..end("shop", "cart") };
        Row { action: action.to_owned(), ..row(end("shop", "web"), destination, bytes) }
    };
    let rows = [with_port(8080, 100, "allow"), with_port(8080, 20, "allow"), with_port(22, 3, "deny")];
    let map = map(&rows);
    assert_eq!((map.nodes.len(), map.edges.len(), map.records), (2, 1, 3));
    let edge = &map.edges[0];
    let counts =
        Counts { forward_bytes: 123, reverse_bytes: 3, packets: 6, connections: 9, allow: 2, deny: 1, mixed: 0 };
    assert_eq!(edge.counts, counts);
    let ports: Vec<_> = edge.ports.iter().map(|port| (port.port, port.counts.forward_bytes)).collect();
    assert_eq!(ports, [(Some(22), 3), (Some(8080), 120)], "what was dropped comes first");
}

#[test]
fn who_is_not_known_is_named_by_where_the_address_belongs() {
    let map = map(&[
        row(outside("public"), end("shop", "web"), 1),
        row(outside("public"), outside("private"), 1),
        row(end("shop", "web"), outside("public"), 1),
    ]);
    let names: Vec<(&str, &str)> = map.nodes.iter().map(|node| (&*node.name, node.role)).collect();
    let expected =
        [("internet", "source"), ("web", ""), ("private network", "destination"), ("internet", "destination")];
    assert_eq!(names, expected, "whoever calls and whoever is called are not one");
}

#[test]
fn the_terms_of_an_end_are_fields_of_the_language() {
    let hostile = End { process: Some("a\"b\\c".to_owned()), host: Some("h".to_owned()), ..outside("private") };
    let ends = [
        end("shop", "web"),
        End { pod: Some("p".to_owned()), ..End::default() },
        outside("link_local"),
        End { attribution: "ambiguous".to_owned(), ..End::default() },
        End { service: Some("shop/db".to_owned()), attribution: "exact".to_owned(), ..End::default() },
        End { host: Some("h".to_owned()), ..End::default() },
        End { node: Some("n".to_owned()), ..End::default() },
        End { network_set: Some("s".to_owned()), ..End::default() },
        End { namespace: Some("s".to_owned()), ..End::default() },
        hostile,
    ];
    for end in ends {
        for side in ["src", "dst"] {
            let node = node("local", &end);
            let terms = node.terms.iter().map(|Term { field, value }| match value {
                Some(value) => format!("{side}.{field} == {value}"),
                None => format!("not has({side}.{field})"),
            });
            let text = terms.collect::<Vec<_>>().join(" and ");
            assert!(!text.is_empty());
            weir_filter::parse(&text, weir_filter::Place::Search).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
}

#[test]
fn a_map_of_very_many_ends_keeps_what_was_dropped_and_counts_the_rest() {
    let mut rows: Vec<Row> =
        (0..500_u64).map(|n| row(end("shop", &format!("w{n}")), end("shop", "db"), n + 10)).collect();
    rows.push(Row { action: "deny".to_owned(), ..row(end("shop", "intruder"), end("shop", "db"), 0) });
    let map = map(&rows);
    assert_eq!((map.nodes.len(), map.nodes_more), (NODES_MOST, 502 - NODES_MOST));
    assert_eq!(map.edges.len() + map.edges_more, 501);
    let name = |number: usize| &*map.nodes[number].name;
    assert_eq!(name(map.edges[0].source), "intruder");
    assert_eq!(name(map.edges[1].source), "w499", "then by bytes");
}

proptest! {
    #[test]
    fn slots_are_few_without_gaps_and_add_up(windows in prop::collection::vec(0..10_000_i64, 1..60)) {
        let rows: Vec<Row> = windows
            .iter()
            .map(|n| Row { window: n * 5_000, ..row(end("a", "x"), end("a", "y"), 7) })
            .collect();
        let map = map(&rows);
        prop_assert!(map.slots.len() <= usize::try_from(SLOTS_MOST).unwrap());
        prop_assert_eq!(map.slot_length % 5_000, 0);
        let sum: u64 = map.slots.iter().map(|slot| slot.counts.forward_bytes).sum();
        prop_assert_eq!(sum, 7 * u64::try_from(windows.len()).unwrap());
        let first = windows.iter().min().unwrap() * 5_000;
        prop_assert_eq!(&map.slots[0].time, &iso(first));
        let times: Vec<_> = (0..).map(|n| iso(first + n * map.slot_length)).take(map.slots.len()).collect();
        prop_assert_eq!(times, map.slots.iter().map(|slot| slot.time.clone()).collect::<Vec<_>>());
    }
}
