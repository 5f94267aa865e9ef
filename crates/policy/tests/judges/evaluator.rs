//! Random clusters, judged by another project's evaluator as well: `evaluator/` beside this file, built by
//! `go build -o PROGRAM .` there, whose path the variable `WEIR_TEST_POLICY_EVALUATOR` tells.
//!
//! It knows namespaced policies alone, answers `ipBlock` for pods by their addresses, as Calico does, and has no nodes, no pods
//! in their node's network and no translation: these are not asked about. For it `NotIn` selects nothing that lacks the key, where
//! Kubernetes selects that (labels.Requirement.Matches in k8s.io/apimachinery): `NotIn` is asked of the key `d`, which all have.

use crate::cluster::{Cluster, engine};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use weir_policy::{Cache, Outcome, Profile};

/// The other program, which judges a line at a time.
struct Evaluator {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Evaluator {
    fn judge(&mut self, asked: &Value) -> Vec<bool> {
        writeln!(self.input, "{asked}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{asked}: {line:?}: {error}"))
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "where the other program is is no part of what is decided")]
fn evaluator() -> Option<Evaluator> {
    let program = std::env::var_os("WEIR_TEST_POLICY_EVALUATOR")?;
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    Some(Evaluator { child, input, output })
}

fn labels() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc]", "[01]", 0..3).prop_map(|labels| json!(labels))
}

fn labels_of_objects() -> impl Strategy<Value = Value> {
    (labels(), "[01]").prop_map(|(mut labels, value)| {
        labels["d"] = value.into();
        labels
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let set = |operator: &'static str| {
        prop::collection::btree_set("[01]", 1..3)
            .prop_map(move |values| json!({"operator": operator, "values": values}))
    };
    let presence =
        prop::sample::select(vec!["Exists", "DoesNotExist"]).prop_map(|operator| json!({"operator": operator}));
    let with = |key: String, mut expression: Value| {
        expression["key"] = key.into();
        expression
    };
    let expression = prop_oneof![
        ("[abcd]", set("In")).prop_map(move |(key, expression)| with(key, expression)),
        ("[abcd]", presence).prop_map(move |(key, expression)| with(key, expression)),
        set("NotIn").prop_map(move |expression| with("d".to_owned(), expression)),
    ];
    let expressions = prop::option::weighted(0.4, prop::collection::vec(expression, 1..3));
    let equal = prop::option::weighted(0.5, labels());
    (equal, expressions).prop_map(|(equal, expressions)| {
        let parts = [("matchLabels", equal), ("matchExpressions", expressions.map(Value::from))];
        object(parts)
    })
}

fn object<const N: usize>(parts: [(&str, Option<Value>); N]) -> Value {
    let present = parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(present.collect::<Map<String, Value>>())
}

fn block() -> impl Strategy<Value = Value> {
    let blocks = vec![
        json!({"cidr": "0.0.0.0/0"}),
        json!({"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}),
        json!({"cidr": "10.0.0.0/29", "except": ["10.0.0.4/30", "10.0.0.1/32"]}),
        json!({"cidr": "10.0.0.0/30"}),
        json!({"cidr": "8.8.0.0/16", "except": ["8.8.8.0/24"]}),
        json!({"cidr": "fd00::/8"}),
    ];
    prop::sample::select(blocks).prop_map(|block| json!({"ipBlock": block}))
}

fn peer() -> impl Strategy<Value = Value> {
    let selected = (selector(), prop::option::of(selector()), any::<bool>()).prop_map(|(one, other, namespaces)| {
        let (first, second) =
            if namespaces { ("namespaceSelector", "podSelector") } else { ("podSelector", "namespaceSelector") };
        object([(first, Some(one)), (second, other)])
    });
    prop_oneof![3 => selected, 1 => block()]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = prop::option::weighted(0.7, prop::sample::select(vec!["TCP", "UDP", "SCTP"])).boxed();
    let ports = prop_oneof![
        1 => Just((None, None)),
        3 => (80_u16..84).prop_map(|port| (Some(json!(port)), None)),
        2 => (80_u16..84, 0_u16..3).prop_map(|(first, more)| (Some(json!(first)), Some(json!(first + more)))),
        2 => "[pq]".prop_map(|name| (Some(json!(name)), None)),
    ];
    (protocol, ports).prop_map(|(protocol, (port, end))| {
        object([("protocol", protocol.map(Value::from)), ("port", port), ("endPort", end)])
    })
}

fn rules(peers: &'static str) -> impl Strategy<Value = Vec<Value>> {
    let rule = (
        prop::option::weighted(0.8, prop::collection::vec(peer(), 1..3)),
        prop::option::weighted(0.5, prop::collection::vec(port(), 1..3)),
    );
    let rule =
        rule.prop_map(move |(who, ports)| object([(peers, who.map(Value::from)), ("ports", ports.map(Value::from))]));
    prop::collection::vec(rule, 0..3)
}

fn policies() -> impl Strategy<Value = Vec<Value>> {
    let types = prop::sample::subsequence(vec!["Ingress", "Egress"], 1..=2);
    let policy = (0_usize..3, selector(), types, rules("from"), rules("to")).prop_map(
        |(namespace, pods, types, ingress, egress)| {
            let has = |wanted: &str| types.contains(&wanted);
            let spec = object([
                ("podSelector", Some(pods)),
                ("policyTypes", Some(json!(types))),
                ("ingress", has("Ingress").then(|| ingress.into())),
                ("egress", has("Egress").then(|| egress.into())),
            ]);
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"namespace": format!("n{namespace}")}, "spec": spec,
            })
        },
    );
    prop::collection::vec(policy, 0..6).prop_map(|mut policies| {
        for (number, policy) in policies.iter_mut().enumerate() {
            policy["metadata"]["name"] = format!("p{number}").into();
        }
        policies
    })
}

/// Labels of a pod, and its named TCP and UDP ports.
type Pod = (Value, Vec<Value>);

/// Labels of a namespace, and its pods.
type Namespace = (Value, Vec<Pod>);

/// Name of an end for Weir, the same end for the other program, and its named ports.
type End = (String, Value, Vec<Value>);

fn world() -> impl Strategy<Value = Vec<Namespace>> {
    let name = prop::option::of("[pq]");
    let ports = (name, prop::sample::select(vec!["TCP", "UDP"]), 80_u16..84).prop_map(|(name, protocol, port)| {
        name.into_iter().map(|name| json!({"name": name, "protocol": protocol, "containerPort": port})).collect()
    });
    let pods = prop::collection::vec((labels_of_objects(), ports), 1..3);
    prop::collection::vec((labels_of_objects(), pods), 3)
}

/// The cluster for Weir, and its ends by name for the other program; two outside it are among them.
fn build(world: &[Namespace]) -> (Cluster, Vec<End>) {
    let mut cluster = Cluster::default();
    let outside =
        ["8.8.8.8", "fd00::1"].map(|address| (format!("ip:{address}"), json!({"address": address}), Vec::new()));
    let mut ends = Vec::from(outside);
    for (number, (labels, pods)) in world.iter().enumerate() {
        let namespace = format!("n{number}");
        cluster.add(&json!({"kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}));
        let mut all = labels.clone();
        all["kubernetes.io/metadata.name"] = namespace.clone().into();
        for (place, (labels, ports)) in pods.iter().enumerate() {
            let (name, address) = (format!("pod{place}"), format!("10.0.0.{}", 1 + number * 2 + place));
            cluster.add(&json!({
                "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"containers": [{"ports": ports}]}, "status": {"podIP": address},
            }));
            let end = json!({"namespace": namespace, "namespaceLabels": all, "labels": labels, "address": address});
            ends.push((format!("{namespace}/{name}"), end, ports.clone()));
        }
    }
    (cluster, ends)
}

#[test]
fn another_evaluator_judges_random_clusters_alike() {
    let Some(evaluator) = evaluator() else {
        // Not captured by the test harness, so that nobody takes it for a pass.
        let _ = writeln!(std::io::stderr(), "skipped: WEIR_TEST_POLICY_EVALUATOR is not set");
        return;
    };
    let evaluator = RefCell::new(evaluator);
    let counts = RefCell::new([0_u64; 2]);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(world(), policies()), |(world, policies)| {
        let (cluster, ends) = build(&world);
        let mut engine = engine(Profile::CALICO, policies.iter());
        let mut cache = Cache::new(100_000);
        let (mut questions, mut ours) = (Vec::new(), Vec::new());
        for (source, from, _) in &ends {
            for (destination, to, named) in ends.iter().filter(|(name, ..)| name != source) {
                for (protocol, port) in ["TCP", "UDP", "SCTP"].into_iter().flat_map(|p| [80, 82, 85].map(|n| (p, n))) {
                    let name = named.iter().find(|one| one["protocol"] == protocol && one["containerPort"] == port);
                    let name = name.map_or(json!(""), |one| one["name"].clone());
                    questions.push(json!({
                        "source": from, "destination": to, "protocol": protocol, "port": port, "portName": name,
                    }));
                    let judged = cluster.judge(&mut engine, &mut cache, (source, destination), (protocol, port), None);
                    ours.push(judged.enforced.outcome);
                }
            }
        }
        let theirs = evaluator.borrow_mut().judge(&json!({"policies": policies, "questions": questions}));
        prop_assert_eq!(theirs.len(), ours.len());
        for ((question, our), their) in questions.iter().zip(&ours).zip(theirs) {
            let wanted = if their { Outcome::Allow } else { Outcome::Deny };
            counts.borrow_mut()[usize::from(their)] += 1;
            prop_assert_eq!(*our, wanted, "{}", question);
        }
        Ok(())
    });
    outcome.unwrap();
    let [denied, allowed] = *counts.borrow();
    assert!(denied > 10_000 && allowed > 10_000, "{denied} denied, {allowed} allowed");
    let _ = writeln!(std::io::stderr(), "{allowed} allowed, {denied} denied, alike by both");
}
