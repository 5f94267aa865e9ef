use super::*;
use crate::document::samples::NOON;
use crate::document::tests::{fitting, mapped};
use crate::template;
use std::collections::BTreeSet;

fn entry() -> Audit {
    Audit {
        at: NOON,
        action: "delete_index".into(),
        target: "weir-flows-l1-2026.11.01".into(),
        reason: "budget".into(),
        bytes: 1_000,
        documents: 10,
        by: "weir-retention at node-1".into(),
    }
}

#[test]
fn a_document_writes_exactly_the_fields_of_the_mapping() {
    let template = template::of(IndexKind::Audit).unwrap();
    let mut fields = vec![];
    mapped(&template["template"]["mappings"]["properties"], "", &mut fields);
    let document = serde_json::to_value(Document::of(&entry())).unwrap();
    assert_eq!(fitting(&template, &document), fields.into_iter().map(|(path, _)| path).collect::<BTreeSet<_>>());
    assert_eq!(document["event"]["action"], "delete_index");
}

#[test]
fn an_entry_goes_to_the_index_of_its_month_and_is_one_document_however_often_it_is_read() {
    let prepared = prepare(&entry(), &Periods::default()).unwrap();
    assert_eq!(prepared.index.to_string(), "weir-audit-2026.11");
    assert_eq!(prepare(&entry(), &Periods::default()).unwrap(), prepared);
    let other = prepare(&Audit { at: NOON + 1, ..entry() }, &Periods::default()).unwrap();
    assert_ne!(other.operation, prepared.operation);
}
