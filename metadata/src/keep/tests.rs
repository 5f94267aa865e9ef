use super::*;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::json;
use weir_schemas::metadata::Object;

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

fn pad(number: usize) -> String {
    format!("{number:06}{}", "x".repeat(247))
}

/// As much of everything as nobody would write, of each kind; 64 full labels and 32 full annotations besides.
fn giants() -> Vec<Observed> {
    use weir_schemas::metadata::{
        Agent, Container, ContainerPort, EndpointSlice, NetworkSet, Node, Pod, Policy, Service, ServicePort,
    };
    const MANY: usize = 40_000;
    let long = || "é".repeat(300_000);
    let texts = || (0..MANY).map(pad).collect::<Vec<String>>();
    let networks = || (0..MANY).map(|number| format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{number:04x}/128")).collect();
    let addresses = || (0..MANY).map(|number| format!("2001:db8::{number:x}").parse().unwrap()).collect();
    let port = |name| ServicePort { name, port: 65_535, protocol: 255, target: 65_535, target_name: pad(0) };
    let ports = || texts().into_iter().map(port).collect();
    let objects = [
        Object::Pod(Pod {
            addresses: addresses(),
            host_network: true,
            node: long(),
            service_account: long(),
            workload_kind: long(),
            workload: long(),
            phase: long(),
            containers: texts().into_iter().map(|id| Container { name: id.clone(), id }).collect(),
            ports: texts().into_iter().map(|name| ContainerPort { name, port: 65_535, protocol: 255 }).collect(),
            owners: texts(),
        }),
        Object::Node(Node { addresses: addresses(), pod_networks: texts(), zone: long() }),
        Object::Namespace(weir_schemas::metadata::Namespace { phase: long() }),
        Object::Service(Service { addresses: addresses(), ports: ports(), selector: texts() }),
        Object::Agent(Agent { node: long(), networks: networks(), one_observer: false }),
        Object::EndpointSlice(EndpointSlice { service: long(), addresses: addresses(), ports: ports() }),
        Object::Policy(Policy { api_version: long(), kind: long(), spec: "x".repeat(SPEC_BYTES), staged: true }),
        Object::Policy(Policy { spec: long(), ..Policy::default() }),
        Object::NetworkSet(NetworkSet { networks: networks(), domains: texts() }),
    ];
    let label = |number: usize| (format!("{number:03}{}", "k".repeat(250)), "v".repeat(63));
    let note = |number: usize| (format!("{number:03}{}", "k".repeat(250)), "v".repeat(ANNOTATION_BYTES - 254));
    let meta = ObjectMeta {
        labels: Some((0..100).map(label).collect()),
        annotations: Some((0..100).map(note).collect()),
        ..ObjectMeta::default()
    };
    let keep = Keep::new(&[], &keys(&["*"]));
    let give = |object| {
        let mut seen = observe::namespace(&namespace(&json!({}), &json!({})));
        (seen.object, seen.namespace, seen.name, seen.uid) = (object, long(), long(), "u".repeat(128));
        seen.about.changed_by = long();
        let left_out = keep.apply(&mut seen, &meta);
        assert!(!left_out.too_large.is_empty(), "{} is named", seen.object.kind());
        seen
    };
    objects.into_iter().map(give).collect()
}

#[test]
fn whatever_an_object_says_a_record_holds_it() {
    use crate::revisions::{History, key};
    use weir_schemas::metadata::Metadata;
    for seen in giants() {
        let mut history = History::new(&"c".repeat(100));
        let kind = crate::revisions::Kind::of(&seen.object);
        let uid = seen.uid.clone();
        let _ = history.observe(seen, 1_700_000_000_000);
        let closed = history.vanish(kind, &uid, None, 1_800_000_000_000).unwrap();
        let message = Metadata::Revision(closed.clone());
        let value = weir_schemas::encode(&message).unwrap();
        let size = key(&closed).len() + value.len();
        assert!(size <= RECORD_BYTES, "{}: {size} bytes", kind.name());
        assert_eq!(weir_schemas::decode::<Metadata>(&value).unwrap(), message);
    }
}

#[test]
fn a_set_of_ten_thousand_long_domains_keeps_the_first_and_counts_the_rest() {
    let domain =
        |number: usize| format!("{number:05}.{}.example", ["d".repeat(60), "e".repeat(60), "f".repeat(60)].join("."));
    let domains: Vec<String> = (0..SET_MEMBERS).map(domain).collect();
    let networks: Vec<String> = (0..SET_MEMBERS).map(|number| format!("2001:db8::{number:x}")).collect();
    let map: k8s_openapi::api::core::v1::ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "partners", "namespace": "weir"},
        "data": {"networks": networks.join("\n"), "domains": domains.join("\n")}}))
    .unwrap();
    let mut seen = observe::network_set(&map);
    let left_out = Keep::default().apply(&mut seen, &map.metadata);
    let Object::NetworkSet(set) = &seen.object else { panic!() };
    assert_eq!(set.networks.len(), SET_MEMBERS, "networks are what names flows");
    assert_eq!(set.domains[..], domains[..set.domains.len()]);
    assert_eq!(left_out.members, u64::try_from(SET_MEMBERS - set.domains.len()).unwrap());
    assert!((1_000..SET_MEMBERS).contains(&set.domains.len()));
    assert_eq!(left_out.too_large, "NetworkSet weir/partners");
}
