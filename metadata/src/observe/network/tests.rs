use super::*;
use serde_json::json;

fn slice(value: serde_json::Value) -> metadata::EndpointSlice {
    let seen = endpoint_slice(&serde_json::from_value(value).unwrap());
    let Object::EndpointSlice(slice) = seen.object else { panic!("{seen:?}") };
    slice
}

fn policy(value: &serde_json::Value) -> (Observed, metadata::Policy) {
    let seen = network_policy(&serde_json::from_value(value.clone()).unwrap());
    let Object::Policy(policy) = seen.object.clone() else { panic!("{seen:?}") };
    (seen, policy)
}

#[test]
fn endpoints_that_are_not_ready_are_left_out_and_silence_is_ready() {
    let slice = slice(json!({
        "metadata": {"name": "web-x", "namespace": "shop", "uid": "s", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.1"]}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "all"}]}));
    assert_eq!(slice.service, "web");
    assert_eq!(slice.addresses, ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()]);
    let port = metadata::ServicePort {
        name: "http".to_owned(),
        port: 8080,
        protocol: 6,
        target: 8080,
        target_name: String::new(),
    };
    assert_eq!(slice.ports, [port], "a slice without a port number stands for all ports");
}

#[test]
fn a_policy_is_its_spec_in_one_form_with_who_changed_it() {
    let (seen, kept) = policy(&json!({
        "metadata": {"name": "deny", "namespace": "shop", "uid": "p", "creationTimestamp": "1970-01-01T00:00:01Z",
            "managedFields": [
                {"manager": "kubectl-edit", "operation": "Update", "time": "1970-01-01T00:00:09Z"},
                {"manager": "controller", "operation": "Update", "subresource": "status", "time": "1970-01-01T00:00:20Z"},
                {"manager": "argocd", "operation": "Apply", "time": "1970-01-01T00:00:05Z"}]},
        "spec": {"policyTypes": ["Ingress"], "podSelector": {"matchLabels": {"b": "2", "a": "1"}}}}));
    assert_eq!(
        (kept.api_version.as_str(), kept.kind.as_str(), kept.staged),
        ("networking.k8s.io/v1", "NetworkPolicy", false)
    );
    assert_eq!(kept.spec, r#"{"podSelector":{"matchLabels":{"a":"1","b":"2"}},"policyTypes":["Ingress"]}"#);
    assert_eq!((seen.about.changed_by.as_str(), seen.about.changed_at), ("kubectl-edit", Some(9_000)));
    assert_eq!(seen.changed, Some(written(9_000, BoundSource::ManagedFields)));
}

#[test]
fn a_staged_policy_says_so() {
    let staged = |value: &str| {
        let meta = json!({"name": "deny", "annotations": {STAGED_ANNOTATION: value}});
        policy(&json!({"metadata": meta, "spec": {"podSelector": {}}})).1.staged
    };
    assert!(staged("true") && !staged("false"));
}

#[test]
fn canonical_json_does_not_depend_on_the_order_of_keys() {
    let (a, b) = (json!({"x": [1, "é\"", null], "a": {}}), json!({"a": {}, "x": [1, "é\"", null]}));
    assert_eq!(canonical(&a), canonical(&b));
    assert_eq!(serde_json::from_str::<Value>(&canonical(&a)).unwrap(), a);
}

#[test]
fn a_config_map_that_becomes_a_network_set_late_is_not_certain_from_its_creation_on() {
    let map = json!({"metadata": {"name": "partners", "namespace": "weir", "uid": "m", "creationTimestamp": "1970-01-01T00:00:01Z",
        "managedFields": [{"manager": "kubectl-label", "operation": "Update", "time": "1970-01-01T00:00:09Z"}]},
        "data": {"networks": "198.51.100.0/24"}});
    let seen = network_set(&serde_json::from_value(map).unwrap());
    assert_eq!(seen.since.map(|since| (since.earliest, since.latest)), Some((1_000, 9_999)));
}
