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

/// The mapping of version 3, as it stands in indices of then.
fn version_3() -> Value {
    serde_json::from_str::<Value>(include_str!("../../tests/golden/weir-flows.v3.json")).unwrap()["mappings"].clone()
}

#[test]
fn an_older_mapping_gets_what_it_lacks_and_keeps_what_it_has() {
    let (theirs, ours) = (version_3(), of(IndexKind::Flows).unwrap()["template"]["mappings"].clone());
    let mut poorer = theirs.clone();
    poorer["properties"].as_object_mut().unwrap().remove("related");
    poorer["properties"]["source"]["properties"].as_object_mut().unwrap().remove("port");
    let added = additions(&poorer, &ours);
    let properties = added["properties"].as_object().unwrap();
    assert_eq!(properties["related"], ours["properties"]["related"]);
    assert_eq!(properties["source"], json!({"properties": {"port": {"type": "integer"}}}));
    // What policies said came later.
    assert_eq!(properties["rule"], ours["properties"]["rule"]);
    assert_eq!(properties["weir"]["properties"], json!({"policy": ours["properties"]["weir"]["properties"]["policy"]}));
    assert_eq!((properties.len(), &added["dynamic"]), (4, &json!("strict")));
    assert_eq!(version(&added), version(&ours));
    assert!(has_whole_ids(&added), "its documents keep their ids");
}

#[test]
fn a_mapping_of_this_version_lacks_nothing_and_has_shorter_ids() {
    for kind in IndexKind::ALL {
        let mappings = of(kind).unwrap()["template"]["mappings"].clone();
        let added = additions(&mappings, &mappings);
        assert_eq!((&added["properties"], &added["_meta"]), (&json!({}), &mappings["_meta"]));
        assert!(!has_whole_ids(&mappings), "{kind:?}");
    }
}

fn engine(distribution: &str, version: &str) -> Info {
    Info { distribution: distribution.to_owned(), version: version.to_owned(), cluster_name: String::new() }
}

#[test]
fn only_engines_that_know_them_get_settings_of_their_own() {
    let knows = |distribution, version| {
        let template = of(IndexKind::Flows).unwrap();
        compact(&template, &engine(distribution, version)).is_some()
    };
    for version in ["9.1.0", "9.5.3", "9.10.0", "10.0.0-SNAPSHOT"] {
        assert!(knows("elasticsearch", version), "{version}");
    }
    for (distribution, version) in
        [("elasticsearch", "9.0.8"), ("elasticsearch", "8.19.21"), ("opensearch", "3.8.0"), ("opensearch", "9.1.0")]
    {
        assert!(!knows(distribution, version), "{distribution} {version}");
    }
    assert!(!knows("elasticsearch", "") && !knows("elasticsearch", "newest"));
}

#[test]
fn settings_of_one_engine_are_added_and_replace_nothing() {
    for kind in IndexKind::ALL {
        let mut template = of(kind).unwrap();
        let body = template["template"].clone();
        let fitted = |content| compact(content, &engine("elasticsearch", "9.5.3")).unwrap();
        let (of_template, of_body) = (fitted(&template), fitted(&body));
        assert_eq!(of_template["template"], of_body);
        assert_eq!(body["settings"]["index"].get("seq_no"), None, "others would refuse it");
        template["template"]["settings"]["index"]["seq_no"] = json!({"index_options": "doc_values_only"});
        assert_eq!(of_template, template);
    }
}
