use super::*;
use crate::replay::kind::Replayed as _;
use crate::replay::samples::record;

#[test]
fn addresses_are_written_as_people_write_them() {
    let mut record = record();
    record.responder.addresses = vec!["10.0.0.9".parse().unwrap()];
    let object = record.object().unwrap();
    assert_eq!(object["initiator"]["address"], "10.0.0.1");
    assert_eq!(object["responder"]["address"], "2001:db8::2");
    assert_eq!(object["responder"]["addresses"], json!(["10.0.0.9"]));
    assert_eq!((&object["id"], &object["kind"]), (&json!(record.id), &json!("upsert")));
}

#[test]
fn fields_that_differ_are_named_with_both_values_up_to_a_limit() {
    let (stands, mut replayed) = (record(), record());
    replayed.totals.forward_bytes = 7;
    replayed.initiator.workload = Some("web".to_owned());
    let of = |record: &weir_schemas::enriched::Enriched| record.object().unwrap();
    let found = differences(&of(&stands), &of(&replayed), 8);
    let expected = [("initiator.workload", Value::Null, json!("web")), ("totals.forward_bytes", json!(0), json!(7))];
    assert_eq!(found, expected.map(|(name, left, right)| (name.to_owned(), left, right)));
    assert_eq!(differences(&of(&stands), &of(&replayed), 1).len(), 1);
    assert!(differences(&of(&stands), &of(&stands), 8).is_empty());
}
