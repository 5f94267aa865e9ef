use super::*;
use crate::replay::samples;

#[test]
fn every_way_to_name_an_end_is_a_question() {
    let names = ["shop/web", "node/worker-1", "10.0.0.1", "2001:db8::2", "web"];
    for (source, destination) in names.into_iter().flat_map(|one| names.map(|other| (one, other))) {
        for port in [(6, Some(443)), (17, None), (58, None)] {
            filter((source, destination), port, (0, 3_600_000)).unwrap();
        }
    }
}

fn row(bytes: u64, denied: bool) -> Row {
    let mut record = samples::record();
    record.totals.started = 1;
    record.totals.forward_bytes = bytes;
    record.last_seen += i64::try_from(bytes).unwrap();
    if denied {
        record.action = weir_schemas::enriched::Action::Deny;
    }
    weir_console::row::from_record(&record)
}

#[test]
fn what_was_observed_is_added_up_by_port_and_outcome() {
    let lines = added(&[row(1_000, false), row(2_000, false), row(0, true)]);
    let told: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.connections, line.bytes)).collect();
    assert_eq!(told, [("allow", 2, 3_000), ("deny", 1, 0)]);
    assert_eq!((lines[0].port, lines[0].records), (Some(443), 2));
    assert!(lines[0].first_seen < lines[0].last_seen && lines[0].last_seen > lines[1].last_seen, "{lines:?}");
    let traffic = Traffic { since: "a".to_owned(), until: "b".to_owned(), more: true, lines: lines.clone() };
    let text = words(&traffic);
    assert!(text.starts_with("observed from a to b, the newest 1000 records:\n"), "{text}");
    assert!(text.contains("443   allow           not judged     2      3000"), "{text}");
    assert_eq!(words(&Traffic { lines: Vec::new(), ..traffic }), "observed from a to b: nothing\n");
}
