use super::samples::{NOON, maximal, minimal};
use super::*;
use crate::template;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weir_flow::AddressScope;
use weir_schemas::enriched::{Action, Arrival, Attribution, Counters, direction};

fn document(record: &Enriched) -> Value {
    let prepared = prepare(record, &Periods::default()).unwrap();
    let document = prepared.operation.as_bytes().split(|byte| *byte == b'\n').nth(1).unwrap();
    serde_json::from_slice(document).unwrap()
}

fn template() -> Value {
    template::of(IndexKind::Flows).unwrap()
}

/// Every leaf of the mapping with its type.
pub(crate) fn mapped(properties: &Value, prefix: &str, found: &mut Vec<(String, String)>) {
    for (name, field) in properties.as_object().unwrap() {
        let path = format!("{prefix}{name}");
        match field.get("properties") {
            Some(inner) => mapped(inner, &format!("{path}."), found),
            None => found.push((path, field["type"].as_str().unwrap().to_owned())),
        }
    }
}

/// Every leaf of a document with its value; a list is a leaf.
fn written(value: &Value, prefix: &str, found: &mut Vec<(String, Value)>) {
    for (name, field) in value.as_object().unwrap() {
        let path = format!("{prefix}{name}");
        match field {
            Value::Object(_) => written(field, &format!("{path}."), found),
            leaf => found.push((path, leaf.clone())),
        }
    }
}

fn fits(kind: &str, value: &Value) -> bool {
    match (kind, value) {
        ("object", Value::Array(_)) => true,
        (_, Value::Array(values)) => !values.is_empty() && values.iter().all(|v| fits(kind, v)),
        ("keyword", v) => v.is_string(),
        ("ip", v) => v.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
        ("date", v) => v.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        ("boolean", v) => v.is_boolean(),
        ("byte", v) => v.as_i64().is_some_and(|n| i8::try_from(n).is_ok()),
        ("integer", v) => v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        ("long", v) => v.is_i64(),
        _ => false,
    }
}

fn assert_fits(record: &Enriched) -> BTreeSet<String> {
    fitting(&template(), &document(record))
}

/// The fields of a document, each of which the template has.
pub(crate) fn fitting(template: &Value, document: &Value) -> BTreeSet<String> {
    let (mut fields, mut leaves) = (vec![], vec![]);
    mapped(&template["template"]["mappings"]["properties"], "", &mut fields);
    written(document, "", &mut leaves);
    let fields: std::collections::BTreeMap<_, _> = fields.into_iter().collect();
    for (path, value) in &leaves {
        let kind = fields.get(path).unwrap_or_else(|| panic!("{path} is not in the mapping"));
        assert!(fits(kind, value), "{path}: {value} does not fit {kind}");
    }
    leaves.into_iter().map(|(path, _)| path).collect()
}

#[test]
fn a_maximal_document_writes_exactly_the_fields_of_the_mapping() {
    let mut fields = vec![];
    mapped(&template()["template"]["mappings"]["properties"], "", &mut fields);
    let mut mapped: BTreeSet<_> = fields.into_iter().map(|(path, _)| path).collect();
    // Addresses of both families have no common type.
    assert!(mapped.remove("network.type"));
    assert_eq!(assert_fits(&maximal()), mapped);
}

#[test]
fn golden_minimal_document() {
    let expected: Value = serde_json::from_str(include_str!("../../tests/golden/minimal.json")).unwrap();
    assert_eq!(document(&minimal()), expected, "{:#}", document(&minimal()));
}

#[test]
fn golden_maximal_document() {
    let expected: Value = serde_json::from_str(include_str!("../../tests/golden/maximal.json")).unwrap();
    assert_eq!(document(&maximal()), expected, "{:#}", document(&maximal()));
}

#[test]
fn the_two_directions_add_up_to_the_network_totals() {
    let d = document(&maximal());
    assert_eq!(
        (&d["source"]["bytes"], &d["destination"]["bytes"], &d["network"]["bytes"]),
        (&json!(1_000), &json!(9_000), &json!(10_000))
    );
}

#[test]
fn the_operation_goes_to_the_write_alias_with_the_correction_as_version() {
    let prepared = prepare(&maximal(), &Periods::default()).unwrap();
    assert_eq!(prepared.index.to_string(), "weir-flows-l2-2026.11.22");
    let text = String::from_utf8(prepared.operation.as_bytes().to_vec()).unwrap();
    let (action, document) = text.split_once('\n').unwrap();
    let action: Value = serde_json::from_str(action).unwrap();
    let expected = json!({"index": {"_index": "weir-flows-l2-2026.11.22-WRITE", "_id": "ASNFZ4mrze8BI0Vn", "version": 3, "version_type": "external_gte"}});
    assert_eq!(action, expected);
    let whole = String::from_utf8(prepared.under_whole_id(&prepared.operation).as_bytes().to_vec()).unwrap();
    assert_eq!(whole, text.replace("ASNFZ4mrze8BI0Vn", &maximal().id));
    assert_eq!(serde_json::from_str::<Value>(document).unwrap(), self::document(&maximal()));
}

#[test]
fn a_delete_has_no_document() {
    let prepared = prepare(&Enriched { kind: Kind::Delete, ..maximal() }, &Periods::default()).unwrap();
    let text = String::from_utf8(prepared.operation.as_bytes().to_vec()).unwrap();
    assert!(text.starts_with(r#"{"delete":"#) && text.lines().count() == 1, "{text}");
}

#[test]
fn what_can_never_be_written_is_refused_with_its_reason() {
    let refused = |record: Enriched| prepare(&record, &Periods::default()).unwrap_err().to_string();
    assert!(refused(Enriched { id: "x".into(), ..maximal() }).contains("32 hexadecimal"));
    assert!(refused(Enriched { level: 4, ..maximal() }).contains("level 4"));
    assert!(refused(Enriched { first_seen: -5, ..maximal() }).contains("first_seen"));
    assert!(refused(Enriched { window: i64::MAX, ..maximal() }).contains("window"));
}

#[test]
fn what_a_reporter_counted_is_written_where_it_differs_from_the_totals() {
    let mut record = maximal();
    let counters = record.totals;
    record.by_initiator.as_mut().unwrap().counters = counters;
    record.by_responder.as_mut().unwrap().counters = Counters { forward_packets: 0, ..counters };
    let document = document(&record);
    let counted = |reporter: &str| {
        let names = ["forward_bytes", "forward_packets", "reverse_bytes", "reverse_packets", "started", "ended"];
        names.map(|name| document["weir"][reporter][name].clone())
    };
    assert!(counted("initiator").iter().all(Value::is_null), "{document:#}");
    assert_eq!(counted("responder")[1], json!(0));
    assert_eq!(counted("responder").iter().filter(|counter| counter.is_null()).count(), 5);
}

#[test]
fn directions_are_those_of_the_clusters_border() {
    let side = |attribution, scope| Side { attribution, scope, ..samples::empty_side() };
    let pod = side(Attribution::Exact, AddressScope::Private);
    let internet = side(Attribution::None, AddressScope::Public);
    let pod_with_public_address = side(Attribution::Exact, AddressScope::Public);
    assert_eq!(direction(pod.is_inside(), internet.is_inside()), "outbound");
    assert_eq!(direction(internet.is_inside(), pod.is_inside()), "inbound");
    assert_eq!(direction(pod.is_inside(), pod_with_public_address.is_inside()), "internal");
    assert_eq!(direction(internet.is_inside(), internet.is_inside()), "external");
}

#[test]
fn denied_and_lost_traffic_is_a_failure() {
    let outcome = |action, arrival| document(&Enriched { action, arrival, ..maximal() })["event"]["outcome"].clone();
    assert_eq!(outcome(Action::Deny, Arrival::Unknown), "failure");
    assert_eq!(outcome(Action::Allow, Arrival::Never), "failure");
    assert_eq!(outcome(Action::Mixed, Arrival::Ok), "unknown");
    assert_eq!(outcome(Action::Allow, Arrival::Unknown), "success");
}

proptest! {
    #[test]
    fn any_counters_and_names_fit_the_mapping(
        forward in 0..=i64::MAX.unsigned_abs(), reverse in 0..=i64::MAX.unsigned_abs(),
        namespace in ".{0,80}", late in 0i64..100_000_000, seconds in 0i64..200_000_000_000,
    ) {
        let mut record = maximal();
        record.totals.forward_bytes = forward;
        record.totals.reverse_bytes = reverse;
        record.initiator.namespace = Some(namespace);
        record.window = seconds;
        record.generation = seconds + late;
        record.first_seen = seconds + late;
        record.last_seen = seconds;
        assert_fits(&record);
        let prepared = prepare(&record, &Periods::default()).unwrap();
        prop_assert_eq!(prepared.operation.as_bytes().iter().filter(|b| **b == b'\n').count(), 2);
        prop_assert_eq!(prepare(&record, &Periods::default()).unwrap(), prepared);
    }
}

#[test]
fn the_time_of_noon_is_written_as_such() {
    assert_eq!(document(&minimal())["@timestamp"], "2026-11-22T12:00:00.000Z");
    assert_eq!(NOON % 60_000, 0);
}

#[test]
fn all_addresses_of_both_ends_are_related_each_once_and_in_order() {
    let mut record = maximal();
    record.initiator.address = Some("10.0.0.9".parse().unwrap());
    record.initiator.addresses = vec!["fd00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
    record.responder.address = None;
    record.responder.addresses = vec!["10.0.0.1".parse().unwrap(), "10.0.0.5".parse().unwrap()];
    let related = |record: &Enriched| document(record)["related"]["ip"].clone();
    assert_eq!(related(&record), json!(["10.0.0.1", "10.0.0.5", "10.0.0.9", "fd00::1"]));
    record.initiator = record.responder.clone();
    assert_eq!(related(&record), json!(["10.0.0.1", "10.0.0.5"]));
    record.initiator.addresses.clear();
    record.responder.addresses.clear();
    assert_eq!(document(&record).get("related"), None);
}
