use super::*;
use crate::document::samples::{NOON, empty_side, full_side};
use crate::document::tests::{fitting, mapped};
use crate::template;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn maximal() -> Dns {
    Dns {
        id: "0123456789abcdef0123456789abcdef".into(),
        correction: 1,
        kind: Kind::Upsert,
        origin: Origin::Demo,
        cluster: "prod".into(),
        window: NOON,
        generation: NOON + 60_000,
        client: full_side("web", 1),
        server: full_side("dns", 2),
        question: "db.example.com".into(),
        question_type: "A".into(),
        response_code: "NOERROR".into(),
        count: 3,
        latency: Some(RoundTrip { sum: 600, count: 3, min: 100, max: 300 }),
        answers: vec!["203.0.113.7".into(), "alias.example.com".into()],
        answers_more: 2,
    }
}

fn minimal() -> Dns {
    Dns {
        client: empty_side(),
        server: empty_side(),
        response_code: String::new(),
        latency: None,
        answers: vec![],
        answers_more: 0,
        ..maximal()
    }
}

fn document(record: &Dns) -> Value {
    serde_json::to_value(Document::of(record)).unwrap()
}

#[test]
fn a_maximal_document_writes_exactly_the_fields_of_the_mapping() {
    let template = template::of(IndexKind::Dns).unwrap();
    let mut fields = vec![];
    mapped(&template["template"]["mappings"]["properties"], "", &mut fields);
    let mut expected: BTreeSet<_> = fields.into_iter().map(|(path, _)| path).collect();
    // Addresses of both families have no common type.
    assert!(expected.remove("network.type"));
    assert_eq!(fitting(&template, &document(&maximal())), expected);
}

#[test]
fn a_question_without_an_answer_says_so() {
    let document = document(&minimal());
    assert_eq!(document["dns"], json!({"type": "query", "question": {"name": "db.example.com", "type": "A"}}));
    assert_eq!(document["event"]["outcome"], "unknown");
    fitting(&template::of(IndexKind::Dns).unwrap(), &document);
}

#[test]
fn answers_that_are_addresses_can_be_searched_as_such() {
    let dns = document(&maximal())["dns"].clone();
    assert_eq!(dns["resolved_ip"], json!(["203.0.113.7"]));
    assert_eq!(dns["answers"]["data"], json!(["203.0.113.7", "alias.example.com"]));
    assert_eq!(document(&Dns { response_code: "NXDOMAIN".into(), ..maximal() })["event"]["outcome"], "failure");
}

#[test]
fn index_and_id_are_functions_of_the_record() {
    let prepared = prepare(&maximal(), &Periods::default()).unwrap();
    assert_eq!((prepared.index.to_string().as_str(), prepared.window), ("weir-dns-2026.11.22", NOON));
    let text = String::from_utf8(prepared.operation.as_bytes().to_vec()).unwrap();
    let action: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let expected = json!({"index": {"_index": "weir-dns-2026.11.22-WRITE", "_id": "ASNFZ4mrze8BI0Vn", "version": 2, "version_type": "external_gte"}});
    assert_eq!(action, expected);
    let deleted = prepare(&Dns { kind: Kind::Delete, ..maximal() }, &Periods::default()).unwrap();
    assert!(deleted.operation.as_bytes().starts_with(br#"{"delete":"#));
    assert!(prepare(&Dns { id: "x".into(), ..maximal() }, &Periods::default()).is_err());
    assert!(prepare(&Dns { window: -1, ..maximal() }, &Periods::default()).is_err());
}
