use serde_json::json;

use super::*;

#[test]
fn paths_resolve_through_objects_sub_fields_and_flattened_keys() {
    let mapping = Mapping::parse(&json!({"properties": {
        "source": {"properties": {"ip": {"type": "ip"}}},
        "source.port": {"type": "integer"},
        "name": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "labels": {"type": "flattened"}
    }}))
    .unwrap();
    assert_eq!(mapping.resolve("source.ip").unwrap().field.kind, FieldType::Ip);
    assert_eq!(mapping.resolve("source.port").unwrap().field.kind.name(), "integer");
    assert_eq!(mapping.resolve("name.keyword").unwrap().field.kind.name(), "keyword");
    assert_eq!(
        mapping.resolve("labels.app.kubernetes.io/name").unwrap().key.as_deref(),
        Some("app.kubernetes.io/name")
    );
    assert!(mapping.resolve("source").is_none());
    assert!(mapping.resolve("name.other").is_none());
}

#[test]
fn a_mapping_is_shown_as_it_was_given() {
    let given = json!({"dynamic": "strict", "_meta": {"v": 1}, "properties": {
        "a": {"type": "keyword", "ignore_above": 256}, "b": {"type": "object", "enabled": false},
        "c": {"properties": {"d": {"type": "date", "format": "epoch_millis"}}}}});
    assert_eq!(Mapping::parse(&given).unwrap().to_json(), given);
}

#[test]
fn types_cannot_change_and_unknown_parameters_are_refused() {
    let first = Mapping::parse(&json!({"properties": {"a": {"type": "long"}}})).unwrap();
    let second = Mapping::parse(&json!({"properties": {"a": {"type": "keyword"}}})).unwrap();
    let error = first.merged(&second, 1_000).unwrap_err();
    assert_eq!(error.reason, "mapper [a] cannot be changed from type [long] to [keyword]");
    assert!(Mapping::parse(&json!({"properties": {"a": {"type": "keyword", "normaliser": "x"}}})).is_err());
    assert!(Mapping::parse(&json!({"properties": {"a": {"type": "geo_point"}}})).is_err());
    let mut deep = json!({"type": "long"});
    for _ in 0..40 {
        deep = json!({"properties": {"x": deep}});
    }
    assert!(Mapping::parse(&deep).is_err());
}
