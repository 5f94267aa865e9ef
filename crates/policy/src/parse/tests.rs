use super::{Parsed, PolicyObject, parse, parse_served};
use proptest::prelude::*;
use serde_json::{Value, json};

fn object(kind: &str) -> PolicyObject<'_> {
    let (api_version, namespace) = match kind {
        "NetworkPolicy" => ("networking.k8s.io/v1", "shop"),
        "ClusterNetworkPolicy" => ("policy.networking.k8s.io/v1alpha2", ""),
        _ => ("policy.networking.k8s.io/v1alpha1", ""),
    };
    PolicyObject { api_version, kind, namespace, name: "default", staged: false }
}

fn errors(kind: &str, spec: &Value) -> Vec<String> {
    match parse(object(kind), spec) {
        Parsed::Invalid(errors) => errors.iter().map(ToString::to_string).collect(),
        Parsed::Policy(..) => Vec::new(),
        Parsed::Foreign(_) => panic!("it is not evaluated"),
    }
}

#[track_caller]
fn network_policy(spec: &Value, wanted: &[&str]) {
    assert_eq!(errors("NetworkPolicy", spec), wanted);
}

#[test]
fn ports_are_refused_in_the_words_of_the_api_server() {
    let with = |port: Value| json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}, port]}]});
    let path = "spec.ingress[0].ports[1]";
    let cases = [
        (json!({"port": 0}), format!("{path}.port: Invalid value: 0: must be between 1 and 65535, inclusive")),
        (json!({"port": 65536}), format!("{path}.port: Invalid value: 65536: must be between 1 and 65535, inclusive")),
        (
            json!({"port": 80, "endPort": 79}),
            format!("{path}.endPort: Invalid value: 79: must be greater than or equal to `port`"),
        ),
        (
            json!({"endPort": 79}),
            format!("{path}.endPort: Invalid value: 79: may not be specified when `port` is not specified"),
        ),
        (
            json!({"port": "http", "endPort": 79}),
            format!("{path}.endPort: Invalid value: 79: may not be specified when `port` is non-numeric"),
        ),
        (
            json!({"port": 80, "protocol": "ICMP"}),
            format!("{path}.protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\""),
        ),
        (
            json!({"port": "very-long-port-name"}),
            format!("{path}.port: Invalid value: \"very-long-port-name\": must be no more than 15 characters"),
        ),
        (json!({"port": "80"}), format!("{path}.port: Invalid value: \"80\": must contain at least one letter (a-z)")),
        (
            json!({"port": 1.5}),
            format!("{path}.port: Invalid value: \"number\": {path}.port in body must be of type integer: \"number\""),
        ),
    ];
    for (port, wanted) in cases {
        network_policy(&with(port), &[&wanted]);
    }
}

#[test]
fn peers_are_refused_in_the_words_of_the_api_server() {
    let with = |peer: Value| json!({"podSelector": {}, "egress": [{"to": [peer]}]});
    let path = "spec.egress[0].to[0]";
    let cidr = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let cases = [
        (json!({}), vec![format!("{path}: Required value: must specify a peer")]),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
            vec![format!("{path}: Forbidden: may not specify both ipBlock and another peer")],
        ),
        (json!({"ipBlock": {}}), vec![format!("{path}.ipBlock.cidr: Required value")]),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0"}}),
            vec![format!("{path}.ipBlock.cidr: Invalid value: \"10.0.0.0\": {cidr}")],
        ),
        (
            json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16", "10.0.0.0/8", "10.1.0.0/16", "x"]}}),
            vec![
                format!("{path}.ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"),
                format!("{path}.ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`"),
                format!("{path}.ipBlock.except[3]: Invalid value: \"x\": {cidr}"),
            ],
        ),
    ];
    for (peer, wanted) in cases {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        network_policy(&with(peer), &wanted);
    }
}

#[test]
fn selectors_are_refused_in_the_words_of_the_api_server() {
    let with = |expression: Value| json!({"podSelector": {"matchExpressions": [expression]}});
    let path = "spec.podSelector.matchExpressions[0]";
    let cases = [
        (
            json!({"key": "a", "operator": "In"}),
            format!("{path}.values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
        ),
        (
            json!({"key": "a", "operator": "Exists", "values": ["x"]}),
            format!("{path}.values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        ),
        (
            json!({"key": "a", "operator": "Gt", "values": ["x"]}),
            format!("{path}.operator: Invalid value: \"Gt\": not a valid selector operator"),
        ),
    ];
    for (expression, wanted) in cases {
        network_policy(&with(expression), &[&wanted]);
    }
    let found = errors("NetworkPolicy", &json!({"podSelector": {"matchLabels": {"a b": "ok", "ok": "-x"}}}));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("spec.podSelector.matchLabels: Invalid value: \"a b\": name part must consist of"));
    assert!(
        found[1].starts_with("spec.podSelector.matchLabels: Invalid value: \"-x\": a valid label must be an empty")
    );
}

#[test]
fn policy_types_and_shapes_are_refused() {
    network_policy(
        &json!({"podSelector": {}, "policyTypes": ["Ingress", "Out"]}),
        &["spec.policyTypes[1]: Unsupported value: \"Out\": supported values: \"Ingress\", \"Egress\""],
    );
    network_policy(
        &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress", "Ingress"]}),
        &[
            "spec.policyTypes: Invalid value: [\"Ingress\",\"Egress\",\"Ingress\"]: may not specify more than two policyTypes",
        ],
    );
    network_policy(
        &json!({"podSelector": [], "ingress": {}}),
        &[
            "spec.podSelector: Invalid value: \"array\": spec.podSelector in body must be of type object: \"array\"",
            "spec.ingress: Invalid value: \"object\": spec.ingress in body must be of type array: \"object\"",
        ],
    );
    let object = PolicyObject { name: "Not_A_Name", ..object("NetworkPolicy") };
    let Parsed::Invalid(errors) = parse(object, &json!({})) else { panic!() };
    assert!(
        errors[0]
            .to_string()
            .starts_with("metadata.name: Invalid value: \"Not_A_Name\": a lowercase RFC 1123 subdomain")
    );
}

#[test]
fn what_a_kind_does_not_have_is_told_and_does_not_count() {
    let spec = json!({"podSelector": {"matchlabels": {"a": "b"}}, "ingres": [{}]});
    let Parsed::Policy(policy, remarks) = parse(object("NetworkPolicy"), &spec) else { panic!() };
    assert_eq!(remarks.unknown, ["spec.ingres", "spec.podSelector.matchlabels"]);
    assert_eq!(policy.ingress.as_deref(), Some(&[][..]));
    assert!(policy.subject.pods.requirements.is_empty());
}

#[test]
fn cluster_wide_policies_are_refused_as_their_schema_says() {
    let all = json!({"namespaces": {}});
    let wrong = json!({
        "tier": "Middle", "priority": 1001, "subject": {"namespaces": {}, "pods": {"podSelector": {}}},
        "ingress": [{"action": "Allow", "from": []}],
        "egress": [
            {"action": "Deny", "to": [{"domainNames": ["a.example.com"]}]},
            {"action": "Accept", "to": [{"networks": ["10.0.0.0"]}, {}], "protocols": [{"destinationNamedPort": "http"}]},
            {"action": "Accept", "to": [all], "protocols": [{"tcp": {"destinationPort": {"range": {"start": 9, "end": 9}}}}]},
        ],
    });
    let found = errors("ClusterNetworkPolicy", &wrong);
    let wanted = [
        "spec.tier: Unsupported value: \"Middle\": supported values: \"Admin\", \"Baseline\"",
        "spec.priority: Invalid value: 1001: spec.priority in body should be less than or equal to 1000",
        "spec.subject: Too many: 2: must have at most 1 item",
        "spec.ingress[0].action: Unsupported value: \"Allow\": supported values: \"Accept\", \"Deny\", \"Pass\"",
        "spec.ingress[0].from: Invalid value: 0: spec.ingress[0].from in body should have at least 1 items",
        "spec.egress[0]: Invalid value: domainNames are only supported for rules that accept",
        "spec.egress[1].to[0].networks[0]: Invalid value: \"10.0.0.0\": Invalid CIDR format provided",
        "spec.egress[1].to[1]: Invalid value: 0: spec.egress[1].to[1] in body should have at least 1 properties",
        "spec.egress[1]: Invalid value: networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames",
        "spec.egress[2].protocols[0].tcp.destinationPort.range: Invalid value: Start port must be less than End port",
    ];
    assert_eq!(found, wanted);
    let rules: Vec<Value> = (0..26).map(|_| json!({"action": "Deny", "from": [all]})).collect();
    let many = json!({"tier": "Admin", "priority": 0, "subject": all, "ingress": rules});
    assert_eq!(errors("ClusterNetworkPolicy", &many), ["spec.ingress: Too many: 26: must have at most 25 items"]);
    assert_eq!(errors("ClusterNetworkPolicy", &json!({})).len(), 3);
}

#[test]
fn a_baseline_is_called_default_and_does_not_pass() {
    let spec = json!({"subject": {"namespaces": {}}, "ingress": [{"action": "Pass", "from": [{"namespaces": {}}]}]});
    let object = PolicyObject { name: "other", ..object("BaselineAdminNetworkPolicy") };
    let Parsed::Invalid(errors) = parse(object, &spec) else { panic!() };
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["metadata.name", "spec.ingress[0].action"]);
}

#[test]
fn what_a_server_has_taken_is_never_invalid() {
    let newer = r#"{"podSelector":{},"ingress":[{"from":[{"services":{}}]}]}"#;
    assert!(matches!(parse_served(object("NetworkPolicy"), newer), Parsed::Foreign(_)));
    assert!(matches!(parse_served(object("NetworkPolicy"), ""), Parsed::Foreign(_)));
    let other = PolicyObject { api_version: "networking.k8s.io/v2", ..object("NetworkPolicy") };
    assert!(matches!(parse_served(other, "{}"), Parsed::Foreign(_)));
    assert!(matches!(parse_served(object("NetworkPolicy"), r#"{"podSelector":{}}"#), Parsed::Policy(..)));
}

#[test]
fn errors_are_bounded_however_many_there_are() {
    let peers: Vec<Value> = (0..10_000).map(|_| json!({"ipBlock": {"cidr": "x".repeat(10_000)}})).collect();
    let found = errors("NetworkPolicy", &json!({"podSelector": {}, "ingress": [{"from": peers}]}));
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|error| error.len() < 400), "{}", found[0]);
}

/// JSON of the fields that policies have, with anything in them.
fn anything() -> impl Strategy<Value = Value> {
    let names = vec![
        "podSelector",
        "matchLabels",
        "matchExpressions",
        "key",
        "operator",
        "values",
        "ingress",
        "egress",
        "from",
        "to",
        "ports",
        "port",
        "endPort",
        "protocol",
        "ipBlock",
        "cidr",
        "except",
        "policyTypes",
        "tier",
        "priority",
        "subject",
        "namespaces",
        "pods",
        "namespaceSelector",
        "action",
        "networks",
        "nodes",
        "domainNames",
        "protocols",
        "tcp",
        "destinationPort",
        "range",
        "start",
        "end",
        "number",
        "portNumber",
        "portRange",
        "namedPort",
        "name",
        "odd",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["In", "TCP", "10.0.0.0/8", "Ingress", "Accept", "Deny", "Admin", "http"])
            .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let name = prop::sample::select(names.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn anything_is_a_policy_or_has_errors(spec in anything()) {
        for kind in ["NetworkPolicy", "ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy"] {
            if let Parsed::Invalid(errors) = parse(object(kind), &spec) {
                prop_assert!(!errors.is_empty(), "{kind} is refused without a reason: {spec}");
            }
        }
    }

    #[test]
    fn any_bytes_are_taken_from_a_topic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(!matches!(parse_served(object("NetworkPolicy"), &text), Parsed::Invalid(_)));
    }
}
