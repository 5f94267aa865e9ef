//! What policies say and what the packets show, side by side: real connections between namespaces, a firewall that does what policies
//! say or does not, and a policy that changes under an open connection.

use crate::harness::{Engines, Up, is_root, number, weir};
use crate::namespaces::{Started, between, pod, start};
use crate::network::{DENIED_PORT, ECHO_PORT, Network, POD_A, POD_B};
use serde_json::{Value, json};
use std::path::Path;

/// A port that the policy does not name, so that the end of the tier denies it, and the node drops it.
const UNNAMED_PORT: u16 = 9_000;
/// A port that the policy allows and the node drops all the same.
const UNDECLARED_PORT: u16 = 9_997;
/// A port that the policy allows and on which nobody listens.
const CLOSED_PORT: u16 = 9_998;
/// An address to which the node has no route.
const NOWHERE: &str = "10.99.0.1";
/// The address of a pod that is not there, which a policy of another maker selects.
const ELSEWHERE: &str = "10.99.0.2";

/// An administrator denies one port; the namespace's policy allows these.
fn policies(allowed: &[u16]) -> String {
    let ports: Vec<String> = allowed.iter().map(|port| format!("{{protocol: TCP, port: {port}}}")).collect();
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: no-scans}}\nspec:\n  \
         tier: Admin\n  priority: 10\n  subject: {{pods: {{namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: \
         server}}}}}}}}\n  ingress:\n  - {{name: scan, action: Deny, from: [{{namespaces: {{}}}}], protocols: [{{tcp: \
         {{destinationPort: {{number: {DENIED_PORT}}}}}}}]}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: server, namespace: shop}}\nspec:\n  \
         podSelector: {{matchLabels: {{app: server}}}}\n  policyTypes: [Ingress]\n  ingress:\n  - from: [{{podSelector: \
         {{matchLabels: {{app: client}}}}}}]\n    ports: [{}]\n---\n",
        ports.join(", ")
    )
}

/// What is only staged, and what cannot be evaluated.
const OTHERS: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: tomorrow, namespace: shop, annotations: {weir.dev/staged: \"true\"}}
spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: l7, namespace: lab}
spec: {endpointSelector: {}}
---
";

fn manifests(allowed: &[u16]) -> String {
    let namespace =
        |name: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, uid: {name}}}\n---\n");
    let probe = pod("probe", 3, ELSEWHERE).replace("namespace: shop", "namespace: lab");
    let pods = [pod("client", 1, POD_A), pod("server", 2, POD_B), probe].concat();
    [namespace("shop"), namespace("lab"), pods, policies(allowed), OTHERS.to_owned()].concat()
}

/// The records of a port of pod B so far.
fn at_port(started: &Started, port: u16) -> Vec<Value> {
    let mut found = between(&started.up, &started.cluster, 1);
    found.retain(|d| number(d, "destination.port") == u64::from(port));
    found
}

/// Waits for a record of a port that is as it should be.
fn wait_for(started: &Started, what: &str, port: u16, fits: impl Fn(&Value) -> bool) -> Value {
    started.up.wait_for(what, 40, |_| at_port(started, port).into_iter().find(|d| fits(d)))
}

fn explanation(document: &Value) -> &str {
    document["weir"]["policy"]["explanation"].as_str().unwrap_or_default()
}

fn verdict(document: &Value) -> &Value {
    &document["weir"]["policy"]["verdict"]
}

fn dropped(document: &Value, class: &str) -> u64 {
    ["initiator", "responder"]
        .iter()
        .flat_map(|side| ["forward", "reverse"].map(|way| format!("weir.{side}.dropped.{class}.{way}_packets")))
        .map(|field| number(document, &field))
        .sum()
}

/// Attempts of every kind, all in one or two windows.
fn attempts(network: &Network) {
    for port in [ECHO_PORT, DENIED_PORT, UNNAMED_PORT, CLOSED_PORT] {
        network.act("a", &format!("attempt 4 {POD_B}:{port}"));
    }
    network.act("a", &format!("attempt 1 {POD_B}:{UNDECLARED_PORT}"));
    network.act("a", &format!("attempt 4 {NOWHERE}:80"));
    network.act("a", &format!("attempt 2 {ELSEWHERE}:80"));
}

/// Every attempt goes as policies say, or is lost for a reason that is no policy's.
fn as_judged(started: &Started) {
    let allowed = wait_for(started, "what is allowed", ECHO_PORT, |d| number(d, "weir.connections.started") > 0);
    assert_eq!((verdict(&allowed), explanation(&allowed)), (&json!(["allow"]), "as_judged"), "{allowed:#}");
    assert_eq!(allowed["rule"]["name"], json!(["shop/knp.default.server"]), "{allowed:#}");

    let denied = wait_for(started, "what a rule denies", DENIED_PORT, |d| dropped(d, "policy") > 0);
    assert_eq!((verdict(&denied), explanation(&denied)), (&json!(["deny"]), "as_judged"), "{denied:#}");
    assert_eq!(denied["rule"]["name"], json!(["kcnp.kube-admin.no-scans"]), "{denied:#}");

    let default = wait_for(started, "what nothing allows", UNNAMED_PORT, |d| dropped(d, "policy") > 0);
    assert_eq!((verdict(&default), explanation(&default)), (&json!(["deny"]), "as_judged"), "{default:#}");
    assert_eq!(default["rule"]["name"], json!(["end of tier"]), "{default:#}");
    assert_eq!(default["weir"]["policy"]["answers"][0]["selecting"], json!(["NetworkPolicy shop/server"]));

    // Nobody listens, and there is no way: what is refused and what is lost is not against what policies say.
    let closed = wait_for(started, "what nobody takes", CLOSED_PORT, |_| true);
    let nowhere = started.up.wait_for("what goes nowhere", 40, |up| {
        let of =
            [json!({"term": {"orchestrator.cluster.name": started.cluster}}), json!({"term": {"related.ip": NOWHERE}})];
        up.documents(1, &of).into_iter().find(|d| dropped(d, "other") > 0)
    });
    for lost in [closed, nowhere] {
        assert_eq!(dropped(&lost, "policy"), 0, "{lost:#}");
        assert_ne!(lost["event"]["action"], "deny", "{lost:#}");
        assert_eq!((verdict(&lost), explanation(&lost)), (&json!(["allow"]), "as_judged"), "{lost:#}");
    }
}

/// What cannot be evaluated is unknown and named, on records and on the command line; what is staged is pending.
fn unknown_and_pending(started: &Started, folder: &Path) {
    let named = "CiliumNetworkPolicy lab/l7";
    let unknown = started.up.wait_for("what cannot be evaluated", 40, |up| {
        let of = [
            json!({"term": {"orchestrator.cluster.name": started.cluster}}),
            json!({"term": {"related.ip": ELSEWHERE}}),
        ];
        up.documents(1, &of).pop()
    });
    assert_eq!((verdict(&unknown), explanation(&unknown)), (&json!(["unknown"]), "unknown"), "{unknown:#}");
    let answer = &unknown["weir"]["policy"]["answers"][0];
    assert_eq!(answer["reason"], "a policy selects that cannot be evaluated", "{answer:#}");
    assert!(answer["trace"].to_string().contains(&format!("|unknown|{named}|unknown|-2")), "{answer:#}");
    assert_eq!(answer["pending"]["verdict"], "deny", "{answer:#}");
    let allowed = wait_for(started, "what is pending", ECHO_PORT, |_| true);
    assert_eq!(allowed["weir"]["policy"]["pending"], json!(["deny"]), "{allowed:#}");

    let folder = folder.to_str().unwrap();
    let told = weir(&["explain", "shop/client", "lab/probe", "80", "--manifests", folder]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("unknown") && told.contains(&format!("{named} may select it")), "{told}");
    assert!(told.contains("with staged policies: deny"), "{told}");
    let listed = weir(&["policy", "connections", "--manifests", folder, "-o", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let rows = listed["connections"].as_array().unwrap();
    let row = rows.iter().find(|row| row["src"] == "shop/client" && row["dst"] == "lab/probe").unwrap();
    assert_eq!((&row["verdict"], &row["why"]), (&json!("unknown"), &answer["reason"]), "{row:#}");
}

/// The firewall drops what policies allow: at least three attempts make a mismatch, fewer do not.
fn dropped_though_allowed(network: &Network, started: &Started) {
    let once = wait_for(started, "one attempt", UNDECLARED_PORT, |d| dropped(d, "policy") > 0);
    assert_eq!((verdict(&once), explanation(&once)), (&json!(["allow"]), "unexplained"), "{once:#}");
    network.act("a", &format!("attempt 8 {POD_B}:{UNDECLARED_PORT}"));
    let often = wait_for(started, "a mismatch", UNDECLARED_PORT, |d| explanation(d) == "mismatch");
    assert_eq!(verdict(&often), &json!(["allow"]), "{often:#}");
    assert!(number(&often, "weir.policy.against") >= 3, "{often:#}");
}

/// A policy that changes says nothing against a connection that was there before; those that come after it are a mismatch.
fn changed_under_a_connection(network: &Network, started: &Started, folder: &Path) {
    wait_for(started, "the connection", ECHO_PORT, |d| number(d, "source.bytes") > 2_000);
    // What was allowed is not any more, and nobody enforces that.
    let changed = manifests(&[CLOSED_PORT, UNDECLARED_PORT]);
    std::fs::write(folder.join("next.tmp"), &changed).unwrap();
    std::fs::rename(folder.join("next.tmp"), folder.join("pods.yaml")).unwrap();
    let denies = |d: &Value| verdict(d) == &json!(["deny"]);
    let old = wait_for(started, "the old connection", ECHO_PORT, |d| denies(d) && explanation(d) != "as_judged");
    assert_eq!(explanation(&old), "unexplained", "it was open before: {old:#}");
    assert_eq!(number(&old, "weir.policy.against"), 0, "{old:#}");
    // Longer than the settle time, it is still no mismatch.
    let all = started.up.wait_for("another window", 40, |_| {
        let all = at_port(started, ECHO_PORT);
        (all.iter().filter(|d| denies(d)).count() >= 2).then_some(all)
    });
    assert!(all.iter().all(|d| explanation(d) != "mismatch"), "{all:#?}");
    network.act("a", &format!("attempt 5 {POD_B}:{ECHO_PORT}"));
    let new = wait_for(started, "a mismatch", ECHO_PORT, |d| explanation(d) == "mismatch");
    assert!(denies(&new) && (3..=5).contains(&number(&new, "weir.policy.against")), "{new:#}");
}

#[test]
fn what_packets_show_is_explained_by_the_policies_of_the_moment() {
    if !is_root("network namespaces") {
        return;
    }
    let (network, data) = (Network::new("5"), tempfile::tempdir().unwrap());
    network.drop_port(UNNAMED_PORT);
    network.drop_port(UNDECLARED_PORT);
    let text = manifests(&[ECHO_PORT, CLOSED_PORT, UNDECLARED_PORT]);
    let started = start(&network, data.path(), &Engines::Embedded, Some(&text), &["--policy-settle", "2s"]);
    ready(&started.up, &started.cluster);
    let folder = data.path().join("manifests");
    attempts(&network);
    as_judged(&started);
    unknown_and_pending(&started, &folder);
    let talking = network.begin("a", &format!("talk {POD_B}:{ECHO_PORT}"));
    dropped_though_allowed(&network, &started);
    changed_under_a_connection(&network, &started, &folder);
    drop(talking);
    assert_eq!(started.up.interrupt(), Some(0));
}

/// The first record of anything says that the programs are attached and the whole path runs.
fn ready(up: &Up, cluster: &str) {
    up.wait_for("the path", 60, |up| {
        let of = json!({"term": {"orchestrator.cluster.name": cluster}});
        (!up.documents(1, &[of]).is_empty()).then_some(())
    });
}
