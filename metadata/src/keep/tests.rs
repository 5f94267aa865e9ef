use super::*;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;

fn namespace(labels: &serde_json::Value, annotations: &serde_json::Value) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": "shop", "labels": labels, "annotations": annotations}})).unwrap()
}

fn kept(keep: &Keep, namespace: &Namespace) -> (Observed, LeftOut) {
    let mut seen = observe::namespace(namespace);
    let left_out = keep.apply(&mut seen, &namespace.metadata);
    (seen, left_out)
}

fn keys(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn without_lists_all_labels_and_no_annotations_are_kept() {
    let namespace = namespace(&json!({"b": "2", "a": "1"}), &json!({"owner": "x"}));
    let (seen, left_out) = kept(&Keep::default(), &namespace);
    assert_eq!((seen.labels, seen.annotations), (keys(&["a=1", "b=2"]), vec![]));
    assert_eq!(left_out, LeftOut::default());
}

#[test]
fn lists_name_keys_or_their_beginnings() {
    let labels =
        json!({"app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop", "tier": "front", "x": "y"});
    let namespace = namespace(&labels, &json!({"owner": "team", "note": "n"}));
    let keep = Keep::new(&keys(&["app.kubernetes.io/*", "tier"]), &keys(&["owner"]));
    let (seen, left_out) = kept(&keep, &namespace);
    assert_eq!(seen.labels, keys(&["app.kubernetes.io/name=web", "app.kubernetes.io/part-of=shop", "tier=front"]));
    assert_eq!(seen.annotations, keys(&["owner=team"]));
    assert_eq!((seen.about.labels_dropped, left_out.labels, left_out.annotations), (1, 1, 0));
}

#[test]
fn too_many_and_too_long_are_left_out_and_counted() {
    let mut labels: serde_json::Map<String, serde_json::Value> =
        (0..LABELS + 3).map(|number| (format!("k{number:03}"), json!("v"))).collect();
    labels.insert("a-long-one".to_owned(), json!("v".repeat(LABEL_BYTES)));
    let long = "v".repeat(ANNOTATION_BYTES);
    let namespace = namespace(&labels.into(), &json!({"note": long, "other": "short"}));
    let (seen, left_out) = kept(&Keep::new(&[], &keys(&["*"])), &namespace);
    assert_eq!((seen.labels.len(), seen.about.labels_dropped), (LABELS, 4));
    assert_eq!(seen.annotations, keys(&["other=short"]));
    assert_eq!((left_out.labels, left_out.annotations), (4, 1));
}

#[test]
fn a_specification_that_no_message_could_hold_is_left_out() {
    let spec = json!({"podSelector": {}, "description": "x".repeat(SPEC_BYTES)});
    let policy = observe::OtherPolicy {
        api_version: "cilium.io/v2".to_owned(),
        kind: crate::watched::POLICY_KINDS[8],
        metadata: ObjectMeta { name: Some("big".to_owned()), ..ObjectMeta::default() },
        spec,
    };
    let mut seen = observe::other_policy(&policy);
    let left_out = Keep::default().apply(&mut seen, &policy.metadata);
    assert_eq!(left_out.specs, 1);
    assert!(matches!(&seen.object, Object::Policy(policy) if policy.spec.is_empty()));
}
