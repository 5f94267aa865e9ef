use crate::{
    Ask, Cache, End, EndNumber, Engine, Foreign, Outcome, Parsed, PodEnd, PolicyObject, Profile, Reasons, parse,
};
use serde_json::{Value, json};

fn engine(policies: &[(&str, &str, Value)]) -> Engine {
    let mut engine = Engine::new(Profile::NONE);
    for (kind, name, spec) in policies {
        let (api_version, namespace) = match *kind {
            "NetworkPolicy" => ("networking.k8s.io/v1", "shop"),
            "ClusterNetworkPolicy" => ("policy.networking.k8s.io/v1alpha2", ""),
            _ => ("policy.networking.k8s.io/v1alpha1", ""),
        };
        let (staged, name) = name.strip_prefix("staged:").map_or((false, *name), |name| (true, name));
        match parse(PolicyObject { api_version, kind, namespace, name, staged }, spec) {
            Parsed::Policy(policy, _) => engine.insert(*policy),
            other => panic!("{other:?}"),
        }
    }
    engine
}

fn pod(engine: &mut Engine, namespace: &str, labels: &[&str]) -> EndNumber {
    engine.end(&End::Pod(PodEnd {
        namespace,
        namespace_labels: &[],
        labels,
        labels_complete: true,
        ports: &[],
        host_network: false,
        node_labels: None,
    }))
}

fn ask(source: EndNumber, destination: EndNumber, port: u16) -> Ask {
    Ask {
        source,
        source_address: "10.0.0.1".parse().ok(),
        translated_source: None,
        destination,
        destination_address: "10.0.0.2".parse().ok(),
        protocol: 6,
        port,
        same_node: None,
        same_pod: false,
    }
}

fn entries(engine: &mut Engine, port: u16) -> Vec<String> {
    let (source, destination) = (pod(engine, "front", &["app=web"]), pod(engine, "shop", &["app=db"]));
    let judged = engine.judge(&mut Cache::new(8), &ask(source, destination, port));
    engine.entries(&judged.enforced, "front", "shop").iter().map(ToString::to_string).collect()
}

#[test]
fn a_trace_names_what_was_passed_and_what_decided_egress_first() {
    let deny = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
        "egress": [{"action": "Pass", "to": [{"namespaces": {}}]}]});
    let allow = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}, {"ports": [{"port": 80}]}]});
    let mut engine = engine(&[("ClusterNetworkPolicy", "pass-on", deny), ("NetworkPolicy", "web", allow)]);
    let wanted = [
        "0|kube-admin|kcnp.kube-admin.pass-on|pass|0",
        "1|__PROFILE__|__PROFILE__.kns.front|allow|0",
        "2|default|shop/knp.default.web|allow|1",
    ];
    assert_eq!(entries(&mut engine, 80), wanted);
}

#[test]
fn a_default_deny_is_the_end_of_the_tier_and_lists_all_that_select() {
    let nothing = json!({"podSelector": {}});
    let other = json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"ports": [{"port": 1}]}]});
    let elsewhere = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    let policies = [("NetworkPolicy", "b", nothing), ("NetworkPolicy", "a", other), ("NetworkPolicy", "c", elsewhere)];
    let mut engine = engine(&policies);
    let wanted = ["0|__PROFILE__|__PROFILE__.kns.front|allow|0", "1|default|end of tier|deny|-1"];
    assert_eq!(entries(&mut engine, 80), wanted);
    let (source, destination) = (pod(&mut engine, "front", &["app=web"]), pod(&mut engine, "shop", &["app=db"]));
    let judged = engine.judge(&mut Cache::new(8), &ask(source, destination, 80));
    let step = judged.enforced.ingress.steps.last().unwrap();
    let selecting: Vec<&str> = engine.selecting(step).map(|policy| policy.id.name.as_str()).collect();
    assert_eq!(selecting, ["a", "b"]);
}

#[test]
fn policies_that_cannot_be_evaluated_make_it_unknown_and_are_named() {
    let mut engine = engine(&[]);
    let foreign = Foreign {
        kind: "CiliumNetworkPolicy".to_owned(),
        namespace: "shop".to_owned(),
        name: "l7".to_owned(),
        staged: false,
    };
    engine.insert_foreign(foreign.clone());
    let wanted = ["0|__PROFILE__|__PROFILE__.kns.front|allow|0", "1|unknown|CiliumNetworkPolicy shop/l7|unknown|-2"];
    assert_eq!(entries(&mut engine, 80), wanted);
    let (source, destination) = (pod(&mut engine, "front", &[]), pod(&mut engine, "shop", &[]));
    let judged = engine.judge(&mut Cache::new(8), &ask(source, destination, 80));
    assert_eq!((judged.enforced.outcome, judged.enforced.reasons), (Outcome::Unknown, Reasons::FOREIGN));
    assert_eq!(engine.judge(&mut Cache::new(8), &ask(destination, source, 80)).enforced.outcome, Outcome::Unknown);
    // Very many are not all named.
    for number in 0..10_000 {
        engine.insert_foreign(Foreign { name: format!("l7-{number:05}"), ..foreign.clone() });
    }
    let entry = entries(&mut engine, 80).pop().unwrap();
    assert!(entry.contains("shop/l7, CiliumNetworkPolicy shop/l7-00000,"), "{entry}");
    assert!(entry.ends_with("shop/l7-00006 and 9993 more|unknown|-2"), "{entry}");
    for number in 0..10_000 {
        assert!(engine.remove_foreign(&Foreign { name: format!("l7-{number:05}"), ..foreign.clone() }));
    }
    assert!(engine.remove_foreign(&foreign));
    assert_eq!(engine.judge(&mut Cache::new(8), &ask(source, destination, 80)).enforced.outcome, Outcome::Allow);
}

#[test]
fn a_staged_policy_takes_the_place_of_the_enforced_one_of_its_name() {
    let deny = json!({"podSelector": {}});
    let allow = json!({"podSelector": {}, "ingress": [{}]});
    let mut engine = engine(&[("NetworkPolicy", "web", allow), ("NetworkPolicy", "staged:web", deny)]);
    let (source, destination) = (pod(&mut engine, "front", &[]), pod(&mut engine, "shop", &[]));
    let judged = engine.judge(&mut Cache::new(8), &ask(source, destination, 80));
    assert_eq!(judged.enforced.outcome, Outcome::Allow);
    assert_eq!(judged.pending.as_ref().unwrap().outcome, Outcome::Deny);
}

#[test]
fn a_cache_forgets_what_it_knew_when_a_policy_changes_and_is_no_larger_than_it_may_be() {
    let mut engine = engine(&[("NetworkPolicy", "any", json!({"podSelector": {}, "ingress": [{}]}))]);
    let mut cache = Cache::new(2);
    let (source, destination) = (pod(&mut engine, "front", &[]), pod(&mut engine, "shop", &[]));
    assert_eq!(engine.judge(&mut cache, &ask(source, destination, 1)).enforced.outcome, Outcome::Allow);
    engine.judge(&mut cache, &ask(source, destination, 1));
    assert_eq!((cache.hits(), cache.misses()), (1, 1));
    for port in 2..10 {
        engine.judge(&mut cache, &ask(source, destination, port));
    }
    assert_eq!(cache.len(), 1);
    let object = PolicyObject {
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        namespace: "shop",
        name: "any",
        staged: false,
    };
    let Parsed::Policy(policy, _) = parse(object, &json!({"podSelector": {}})) else { panic!() };
    engine.insert(*policy);
    assert_eq!(engine.judge(&mut cache, &ask(source, destination, 1)).enforced.outcome, Outcome::Deny);
    assert_eq!(engine.clone().judge(&mut cache, &ask(source, destination, 1)).enforced.outcome, Outcome::Deny);
}

#[test]
fn ends_that_no_policy_tells_apart_are_judged_about_once() {
    let web = json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]});
    let mut engine = engine(&[("NetworkPolicy", "web", web)]);
    let mut cache = Cache::new(100);
    let mut judge = |engine: &mut Engine, source: &str, destination: &str, port: u16| {
        let pod_of = |engine: &mut Engine, app: &str, number: u16| {
            pod(engine, "shop", &[&format!("app={app}"), &format!("number={number}")])
        };
        let (source, destination) = (pod_of(engine, source, port), pod_of(engine, destination, port + 1));
        let asked = Ask { port: 80, ..ask(source, destination, 80) };
        let judged = engine.judge(&mut cache, &asked).enforced.outcome;
        assert_eq!(judged, engine.judge(&mut Cache::new(1), &asked).enforced.outcome);
        (judged, cache.misses())
    };
    // The labels of each pod alone matter to nobody.
    assert_eq!(judge(&mut engine, "web", "db", 1), (Outcome::Allow, 1));
    assert_eq!(judge(&mut engine, "web", "db", 3), (Outcome::Allow, 1));
    assert_eq!(judge(&mut engine, "other", "db", 5), (Outcome::Deny, 2));
    assert_eq!(judge(&mut engine, "another", "db", 7), (Outcome::Deny, 2));
    // Who is not selected is all one, though a peer of the policy.
    assert_eq!(judge(&mut engine, "web", "web", 9), (Outcome::Allow, 3));
    assert_eq!(judge(&mut engine, "other", "web", 11), (Outcome::Allow, 3));
}

#[test]
fn what_is_said_of_ends_that_no_policy_selects_is_not_said_of_others() {
    let mut engine = engine(&[("NetworkPolicy", "deny", json!({"podSelector": {"matchLabels": {"app": "db"}}}))]);
    let mut cache = Cache::new(100);
    // The selected end is the first of its namespace, by which the others go, and nothing is known of the connection.
    let (db, web) = (pod(&mut engine, "shop", &["app=db"]), pod(&mut engine, "shop", &["app=web"]));
    let nothing = Ask { source_address: None, destination_address: None, protocol: 0, ..ask(web, web, 0) };
    assert_eq!(engine.judge(&mut cache, &nothing).enforced.outcome, Outcome::Allow);
    let selected = Ask { source: db, destination: db, ..nothing };
    let alone = engine.judge(&mut Cache::new(1), &selected).enforced.outcome;
    assert_ne!(alone, Outcome::Allow);
    assert_eq!(engine.judge(&mut cache, &selected).enforced.outcome, alone);
}

#[test]
fn very_many_values_and_very_many_policies_are_taken() {
    let values: Vec<String> = (0..100_000).map(|at| format!("v{at}")).collect();
    let large = json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": values}]}});
    let mut engine = engine(&[("NetworkPolicy", "large", large)]);
    for at in 0..10_000 {
        let name = format!("p{at}");
        let object = PolicyObject {
            api_version: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            namespace: "shop",
            name: &name,
            staged: false,
        };
        let spec = json!({"podSelector": {"matchLabels": {"app": format!("v{at}")}},
            "ingress": [{"from": [{"ipBlock": {"cidr": format!("10.{}.{}.0/24", at / 256, at % 256)}}]}]});
        let Parsed::Policy(policy, _) = parse(object, &spec) else { panic!() };
        engine.insert(*policy);
    }
    let (source, destination) = (pod(&mut engine, "front", &[]), pod(&mut engine, "shop", &["app=v9999"]));
    let mut asked = ask(source, destination, 80);
    assert_eq!(engine.judge(&mut Cache::new(8), &asked).enforced.outcome, Outcome::Deny);
    let outside = engine.end::<&str>(&End::External);
    asked.source = outside;
    asked.source_address = "10.39.15.1".parse().ok();
    assert_eq!(engine.judge(&mut Cache::new(8), &asked).enforced.outcome, Outcome::Allow);
    let other = pod(&mut engine, "shop", &["app=none"]);
    asked.destination = other;
    assert_eq!(engine.judge(&mut Cache::new(8), &asked).enforced.outcome, Outcome::Allow);
}

#[test]
fn an_address_that_is_not_known_leaves_open_what_depends_on_it() {
    let block = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]}]});
    let mut engine = engine(&[("NetworkPolicy", "block", block)]);
    let (source, destination) = (engine.end::<&str>(&End::External), pod(&mut engine, "shop", &[]));
    let mut asked = ask(source, destination, 80);
    asked.source_address = None;
    let judged = engine.judge(&mut Cache::new(8), &asked);
    assert_eq!((judged.enforced.outcome, judged.enforced.reasons), (Outcome::Unknown, Reasons::NO_ADDRESS));
    asked.port = 81;
    assert_eq!(engine.judge(&mut Cache::new(8), &asked).enforced.outcome, Outcome::Deny);
}
