use super::check::{Severity, findings};
use super::connections::{Side, differences, ranges};
use super::explain::{explain, parse_port, words};
use super::manifests::world;
use super::{Cni, lines};
use std::path::Path;
use weir_metadata::manifests::written;
use weir_policy::{Direction, PolicyId, PolicyKind, Profile};
use weir_preview::world::World;
use weir_preview::{Change, History};
use weir_schemas::metadata::{self, Bound, BoundSource, Heartbeat, Metadata, Object, Proof, Revision};

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-5f-x
  namespace: shop
  labels: {app: web, pod-template-hash: 5f}
  ownerReferences: [{kind: ReplicaSet, name: web-5f, controller: true}]
spec: {nodeName: n1, containers: [{ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.0.0.1}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec: {template: {metadata: {labels: {app: db}}, spec: {containers: []}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  namespace: shop
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - ports: [{port: 1}]
  - from:
    - podSelector:
        matchLabels: {app: web}

    - ipBlock: {cidr: 203.0.113.0/24}
    ports:
    - {port: 5432}
  policyTypes: [Ingress]
";

fn read(text: &str) -> World {
    world(&written("dir/shop.yaml", text).unwrap(), Path::new("dir"))
}

#[test]
fn pods_take_the_place_of_what_their_template_would_make() {
    let world = read(SHOP);
    let pods = &world.workloads[&("shop".to_owned(), "web".to_owned())];
    assert_eq!(pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["web-5f-x"]);
    assert_eq!(pods[0].ports, [("http".to_owned(), 6, 8080)]);
    let template = &world.workloads[&("shop".to_owned(), "db".to_owned())];
    assert_eq!((template.len(), template[0].name.as_str()), (1, ""));
}

#[test]
fn a_folder_named_staged_stages_what_is_in_it() {
    let policy = SHOP.rsplit("---").next().unwrap();
    let staged = |file: &str| world(&written(file, policy).unwrap(), Path::new("dir")).policies[0].staged;
    assert!(!staged("dir/shop.yaml") && staged("dir/staged/shop.yaml") && !staged("staged/shop.yaml"));
    let noted = policy.replace("  name: db\n", "  name: db\n  annotations: {weir.dev/staged: 'true'}\n");
    assert!(read(&noted).policies[0].staged);
}

/// Source, destination, protocol and ports of what is said to be so.
fn rows(text: &str, cni: Cni, verdict: &str) -> Vec<String> {
    let mut side = Side::new(read(text), cni, false);
    let ranges = ranges(&[&side]);
    let rows = super::connections::rows_of(&side.connections(&ranges));
    let wanted = rows.into_iter().filter(|row| row.verdict == verdict);
    wanted.map(|row| format!("{} {} {} {}", row.src, row.dst, row.protocol, row.ports)).collect()
}

#[test]
fn connections_are_by_workload_and_by_ranges_outside() {
    let allowed = rows(SHOP, Cni::None, "allow");
    assert!(allowed.contains(&"shop/web shop/db tcp 1,5432".to_owned()), "{allowed:?}");
    assert!(allowed.contains(&"203.0.113.0/24 shop/db tcp 1,5432".to_owned()), "{allowed:?}");
    assert!(allowed.contains(&"0.0.0.0-203.0.112.255 shop/db tcp 1".to_owned()), "{allowed:?}");
    assert!(allowed.contains(&"shop/db 0.0.0.0/0 any all".to_owned()), "{allowed:?}");
    assert!(
        !allowed.iter().any(|row| row.starts_with("shop/web shop/web")),
        "one pod talks to itself only: {allowed:?}"
    );
    let denied = rows(SHOP, Cni::None, "deny");
    assert!(denied.contains(&"shop/web shop/db tcp 2-5431,5433-65535".to_owned()), "{denied:?}");
    assert!(denied.contains(&"shop/web shop/db udp all".to_owned()), "{denied:?}");
}

#[test]
fn what_two_sets_do_otherwise_is_told_by_ports() {
    let mut before = Side::new(read(SHOP), Cni::Calico, false);
    let mut now = Side::new(read(&SHOP.replace("5432", "5433")), Cni::Calico, false);
    let ranges = ranges(&[&before, &now]);
    let (before, now) = (before.connections(&ranges), now.connections(&ranges));
    assert!(differences(&now, &now).is_empty());
    let rows = super::connections::changed_rows(&differences(&before, &now));
    let rows: Vec<String> =
        rows.iter().map(|row| format!("{} {} {:?} {}", row.src, row.ports, row.before, row.verdict)).collect();
    assert!(rows.contains(&"shop/web 5432 Some(\"allow\") deny".to_owned()), "{rows:?}");
    assert!(rows.contains(&"shop/web 5433 Some(\"deny\") allow".to_owned()), "{rows:?}");
    // Of db itself no address is known, which the block would ask for.
    assert!(rows.contains(&"shop/db 5433 Some(\"deny\") unknown".to_owned()), "{rows:?}");
    assert_eq!(rows.len(), 6, "{rows:?}");
}

#[test]
fn an_explanation_names_the_rule_and_its_ports() {
    let world = read(SHOP);
    let (mut engine, _) = world.compile(Profile::NONE);
    let all = explain(&world, &mut engine, ("shop/web", "shop/db"), (6, None)).unwrap();
    let said: Vec<(&str, &str)> = all.iter().map(|one| (one.ports.as_str(), one.verdict.as_str())).collect();
    assert_eq!(said, [("1", "allow"), ("2-5431", "deny"), ("5432", "allow"), ("5433-65535", "deny")]);
    assert_eq!(all[2].trace, ["0|__PROFILE__|__PROFILE__.kns.shop|allow|0", "1|default|shop/knp.default.db|allow|1"]);
    let text = words(&all[1]);
    assert!(text.contains("end of tier, deny: selected by NetworkPolicy shop/db, none of which allows it"), "{text}");
    let by_address = explain(&world, &mut engine, ("10.0.0.1", "shop/db"), (6, Some(5432))).unwrap();
    assert_eq!(by_address[0].verdict, "allow");
    assert!(explain(&world, &mut engine, ("shop/nobody", "shop/db"), (6, Some(1))).is_err());
}

#[test]
fn the_lines_of_a_rule_are_those_that_belong_to_it() {
    let id = PolicyId {
        kind: PolicyKind::NetworkPolicy,
        namespace: "shop".to_owned(),
        name: "db".to_owned(),
        staged: false,
    };
    let (line, shown) = lines::of_rule(SHOP, &id, Direction::Ingress, 1).unwrap();
    assert_eq!(SHOP.lines().nth(line - 1), Some("  - from:"));
    assert_eq!((shown.first().unwrap().as_str(), shown.last().unwrap().as_str()), ("  - from:", "    - {port: 5432}"));
    let (_, first) = lines::of_rule(SHOP, &id, Direction::Ingress, 0).unwrap();
    assert_eq!(first, ["  - ports: [{port: 1}]"]);
    assert_eq!(lines::of_rule(SHOP, &id, Direction::Ingress, 2), None);
    assert_eq!(lines::of_rule("a: [", &id, Direction::Ingress, 0), None);
}

#[test]
fn ports_are_written_in_several_ways() {
    assert_eq!(parse_port("443").unwrap(), (6, Some(443)));
    assert_eq!(parse_port("udp/53").unwrap(), (17, Some(53)));
    assert_eq!(parse_port("sctp").unwrap(), (132, None));
    assert_eq!(parse_port("icmp").unwrap(), (1, None));
    for wrong in ["", "tcp/", "tcp/65536", "http", "icmp/8", "-1"] {
        assert!(parse_port(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_check_tells_what_is_wrong_and_what_does_nothing() {
    let more = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ports, namespace: shop}
spec: {ingress: [{ports: [{port: 80, endPort: 79}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: typo, namespace: shop}
spec: {podSelector: {matchLabels: {app: wep}}, ingres: [], ingress: [{}, {from: [{podSelector: {matchLabels: {app: wep}}}]}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: l7, namespace: shop}
spec: {}
";
    let found = findings(&read(&format!("{SHOP}{more}")));
    let of = |severity| found.iter().filter(move |one| one.severity == severity).map(|one| one.field.as_str());
    assert_eq!(of(Severity::Error).collect::<Vec<_>>(), ["spec.ingress[0].ports[0].endPort"]);
    let wanted = ["spec.ingres", "spec.ingress[1]", "spec.ingress[1].from[0]", "spec.podSelector"];
    assert_eq!(of(Severity::Warning).collect::<Vec<_>>(), wanted);
    assert_eq!(of(Severity::Note).count(), 1);
    assert!(findings(&read(SHOP)).is_empty());
}

fn bound(earliest: i64, latest: i64) -> Bound {
    Bound { earliest, latest, source: BoundSource::ManagedFields }
}

fn policy(revision: u64, from: Bound, to: Option<Bound>, spec: &str) -> Metadata {
    Metadata::Revision(Revision {
        cluster: "local".to_owned(),
        uid: "u1".to_owned(),
        revision,
        namespace: "shop".to_owned(),
        name: "db".to_owned(),
        labels: Vec::new(),
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_by: String::new(),
        changed_at: None,
        valid_from: from,
        valid_to: to,
        object: Object::Policy(metadata::Policy {
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: "NetworkPolicy".to_owned(),
            spec: spec.to_owned(),
            staged: false,
        }),
    })
}

#[test]
fn the_history_knows_what_held_and_where_a_change_may_lie() {
    let mut history = History::default();
    let change = bound(1_000, 1_999);
    history.take(policy(2, change, None, r#"{"podSelector":{}}"#), "", "local");
    history.take(policy(1, bound(0, 0), Some(change), "{}"), "", "local");
    history.take(policy(1, bound(0, 0), None, "{}"), "", "elsewhere");
    let heartbeat =
        Heartbeat { cluster: "local".to_owned(), complete_to: 5_000, proof: Proof::Probed, cluster_known: true };
    history.take(Metadata::Heartbeat(heartbeat), "local/heartbeat/0", "local");
    let held = |at, change| history.held("Policy", "u1", at, change).map(|revision| revision.revision);
    assert_eq!(
        [held(999, Change::Early), held(1_000, Change::Early), held(1_998, Change::Late)],
        [Some(1), Some(2), Some(1)]
    );
    assert_eq!([held(1_999, Change::Late), held(-1, Change::Late)], [Some(2), None]);
    assert_eq!(history.policy_changes(Change::Late), [0, 1_999]);
    assert_eq!((history.complete_to(), history.policies(500, Change::Late).len()), (5_000, 1));
}
