use super::*;
use std::collections::BTreeSet;

/// Every leaf of a mapping with its type.
fn leaves(properties: &Value, prefix: &str, found: &mut Vec<(String, String)>) {
    for (name, field) in properties.as_object().unwrap() {
        let path = format!("{prefix}{name}");
        match field.get("properties") {
            Some(inner) => leaves(inner, &format!("{path}."), found),
            None => found.push((path, field["type"].as_str().unwrap().to_owned())),
        }
    }
}

#[test]
fn every_mapping_is_strict_without_text_and_sorts_by_fields_that_it_has() {
    for kind in IndexKind::ALL {
        let template = &of(kind).unwrap()["template"];
        assert_eq!(template["mappings"]["dynamic"], "strict");
        assert!(version(&template["mappings"]) >= 1);
        assert!(template["aliases"].get(read_alias(kind)).is_some(), "{kind:?}");
        let mut fields = vec![];
        leaves(&template["mappings"]["properties"], "", &mut fields);
        for field in template["settings"]["index"]["sort"]["field"].as_array().unwrap() {
            assert!(fields.iter().any(|(path, _)| Some(path.as_str()) == field.as_str()), "{kind:?}: {field}");
        }
        assert!(fields.iter().all(|(_, kind)| kind != "text"));
    }
}

#[test]
fn templates_have_names_and_patterns_of_their_own() {
    let all = all().unwrap();
    let names: BTreeSet<_> = all.iter().map(|(name, _)| *name).collect();
    let patterns: Vec<String> = all
        .iter()
        .flat_map(|(_, t)| t["index_patterns"].as_array().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>())
        .collect();
    assert_eq!((names.len(), patterns.len()), (5, 6));
    assert_eq!(patterns.iter().collect::<BTreeSet<_>>().len(), 6);
}

#[test]
fn replayed_flows_are_no_flows_to_whoever_reads_the_alias() {
    let aliases = of(IndexKind::Replay).unwrap()["template"]["aliases"].clone();
    assert_eq!(aliases, json!({"weir-replay": {}}));
}
