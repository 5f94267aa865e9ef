use crate::harness::{Engines, Up, is_root, number};
use crate::network::{
    Counts, DATAGRAMS_SENT, DENIED_PORT, Network, PAYLOAD_RECEIVED, PAYLOAD_SENT, POD_A, POD_B, Sockets,
};
use crate::relay::Relay;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) fn pod(name: &str, uid: u32, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  uid: 0000000{uid}-0000-4000-8000-000000000000\n  \
         labels: {{app: {name}}}\nspec:\n  containers: [{{name: c, image: i}}]\nstatus:\n  phase: Running\n  podIP: {address}\n  \
         podIPs: [{{ip: {address}}}]\n---\n"
    )
}

/// The server takes connections of the client, but not at the denied port.
fn policy() -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: server, namespace: shop}}\nspec:\n  \
         podSelector: {{matchLabels: {{app: server}}}}\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n    - podSelector: \
         {{matchLabels: {{app: client}}}}\n    ports:\n    - {{protocol: TCP, port: 1, endPort: {}}}\n    - {{protocol: UDP}}\n---\n",
        DENIED_PORT - 1
    )
}

/// The cluster's id of one run: the real engines outlive it.
fn cluster() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    format!("pods-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
}

/// Everything of a cluster between the two pods at a level.
pub(crate) fn between(up: &Up, cluster: &str, level: u8) -> Vec<Value> {
    let related = |address: &str| json!({"term": {"related.ip": address}});
    up.documents(level, &[json!({"term": {"orchestrator.cluster.name": cluster}}), related(POD_A), related(POD_B)])
}

/// What the responder's reporter counted: where it says nothing, the total.
fn sum_of_responder(documents: &[Value], counter: &str, total: &str) -> u64 {
    let reported = documents.iter().filter(|d| d["weir"]["responder"].is_object());
    let counted = |d: &Value| d["weir"]["responder"][counter].as_u64().unwrap_or_else(|| number(d, total));
    reported.map(counted).sum()
}

fn sum(documents: &[Value], field: &str) -> u64 {
    documents.iter().map(|d| number(d, field)).sum()
}

/// Makes traffic and waits until the sums found on the Elasticsearch port are the interfaces' and the sockets' own counts.
fn traffic_is_counted_exactly(up: &Up, cluster: &str, network: &Network) -> Vec<Value> {
    up.wait_for("capture", 60, |up| up.output().contains("console").then_some(()));
    // The first record of anything says that the programs are attached and the whole path runs.
    up.wait_for("the path", 60, |up| {
        let of = json!({"term": {"orchestrator.cluster.name": cluster}});
        (!up.documents(1, &[of]).is_empty()).then_some(())
    });
    let (sockets_a, sockets_b) = (Sockets::listen(network, "a"), Sockets::listen(network, "b"));
    std::thread::sleep(Duration::from_millis(500));
    let (a0, b0) = (network.counts("a"), network.counts("b"));
    network.traffic();
    let (a, b) = (since(network.counts("a"), a0), since(network.counts("b"), b0));
    assert!(a.sent > PAYLOAD_SENT && a.received > PAYLOAD_RECEIVED, "{a:?}");
    let (tcp_a, tcp_b) = (sockets_a.counts(), sockets_b.counts());
    let (datagram_bytes, datagrams) = DATAGRAMS_SENT;
    let by_sockets_a = [tcp_a.bytes() + datagram_bytes, tcp_a.segments + datagrams];
    let by_sockets_b = [tcp_b.bytes() + datagram_bytes, tcp_b.segments + datagrams];
    assert_eq!(by_sockets_a, [a.sent, a.sent_packets], "A's sockets and its interface: {tcp_a:?}");
    assert_eq!(by_sockets_b, [b.sent, b.sent_packets], "B's sockets and its interface: {tcp_b:?}");
    for level in [1, 2] {
        up.wait_for("the interfaces' counts", 40, |up| {
            let found = between(up, cluster, level);
            let counted = [
                sum(&found, "source.bytes"),
                sum(&found, "source.packets"),
                sum(&found, "destination.bytes"),
                sum(&found, "destination.packets"),
            ];
            let reported = [
                sum_of_responder(&found, "forward_bytes", "source.bytes"),
                sum_of_responder(&found, "forward_packets", "source.packets"),
                sum_of_responder(&found, "reverse_bytes", "destination.bytes"),
                sum_of_responder(&found, "reverse_packets", "destination.packets"),
            ];
            let at_a = [a.sent, a.sent_packets, a.received, a.received_packets];
            let at_b = [b.received, b.received_packets, b.sent, b.sent_packets];
            assert!(
                counted.iter().zip(&at_a).all(|(c, i)| c <= i),
                "level {level}: {counted:?} counted, {at_a:?} at the interface"
            );
            (counted == at_a && reported == at_b).then_some(())
        });
    }
    let found = between(up, cluster, 1);
    let denied: Vec<_> = found.iter().filter(|d| number(d, "destination.port") == u64::from(DENIED_PORT)).collect();
    assert!(!denied.is_empty(), "the dropped attempt is missing: {found:#?}");
    for d in denied {
        assert_eq!(d["event"]["action"], "deny", "{d:#}");
        assert!(number(d, "weir.initiator.dropped.policy.forward_packets") > 0, "{d:#}");
    }
    found
}

fn since(now: Counts, before: Counts) -> Counts {
    Counts {
        sent: now.sent - before.sent,
        sent_packets: now.sent_packets - before.sent_packets,
        received: now.received - before.received,
        received_packets: now.received_packets - before.received_packets,
    }
}

/// A started program, with what it needs to reach its engines.
pub(crate) struct Started {
    pub(crate) up: Up,
    pub(crate) cluster: String,
    _relays: Vec<Relay>,
}

pub(crate) fn start(
    network: &Network,
    data: &Path,
    engines: &Engines,
    manifests: Option<&str>,
    more: &[&str],
) -> Started {
    let folder = data.join("manifests");
    let cluster = cluster();
    let mut arguments = vec!["--cluster", &cluster];
    arguments.extend(more);
    if let Some(text) = manifests {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("pods.yaml"), text).unwrap();
        arguments.extend(["--manifests", folder.to_str().unwrap()]);
    }
    // The real engines listen on the main namespace's loopback.
    let relays = match engines {
        Engines::Embedded => Vec::new(),
        Engines::Real { kafka, elasticsearch } => {
            let elasticsearch = elasticsearch.trim_start_matches("http://");
            vec![Relay::start(network, kafka), Relay::start(network, elasticsearch)]
        }
    };
    let up = Up::start(&data.join("up"), engines, Some(&network.node()), &arguments);
    Started { up, cluster, _relays: relays }
}

/// Runs a scenario on every pair of engines there is.
fn on_all(name: &str, manifests: Option<&str>, check: impl Fn(&Value)) {
    if !is_root("network namespaces") {
        return;
    }
    for engines in Engines::all() {
        let (network, data) = (Network::new(name), tempfile::tempdir().unwrap());
        let started = start(&network, data.path(), &engines, manifests, &[]);
        for d in traffic_is_counted_exactly(&started.up, &started.cluster, &network) {
            check(&d);
        }
        assert_eq!(started.up.interrupt(), Some(0));
    }
}

#[test]
fn pods_named_by_manifests_are_named_and_summed_exactly() {
    let manifests = pod("client", 1, POD_A) + &pod("server", 2, POD_B) + &policy();
    on_all("1", Some(&manifests), |d| {
        assert_eq!(d["source"]["kubernetes"]["pod"]["name"], "client", "{d:#}");
        assert_eq!(d["destination"]["kubernetes"]["pod"]["name"], "server", "{d:#}");
        assert_eq!(d["weir"]["source"]["attribution"], "exact");
        assert_eq!(d["weir"]["source"]["always_valid"], true, "a manifest without times says so");
        assert_eq!(d["weir"]["cluster_known"], true);
        // The firewall does what the policy says.
        let denied = number(d, "destination.port") == u64::from(DENIED_PORT);
        let (verdict, rule) = if denied { ("deny", "end of tier") } else { ("allow", "shop/knp.default.server") };
        assert_eq!(d["weir"]["policy"]["verdict"], json!([verdict]), "{d:#}");
        assert_eq!(d["rule"]["name"], json!([rule]), "{d:#}");
        assert_eq!(d["weir"]["policy"]["explanation"], "as_judged", "{d:#}");
    });
}

#[test]
fn without_manifests_nothing_is_named() {
    on_all("2", None, |d| {
        for side in ["source", "destination"] {
            assert!(d[side]["kubernetes"]["pod"].is_null() && d[side]["kubernetes"]["namespace"].is_null(), "{d:#}");
            assert_eq!(d["weir"][side]["attribution"], "none");
        }
        assert_eq!(d["weir"]["cluster_known"], false);
    });
}

#[test]
fn manifests_that_disagree_name_candidates_and_nobody_else() {
    // Two pods claim A's address; the pod that claims to be the server has another address.
    let manifests = pod("client", 1, POD_A) + &pod("impostor", 2, POD_A) + &pod("server", 3, "10.77.1.99");
    on_all("3", Some(&manifests), |d| {
        assert_eq!(d["weir"]["source"]["attribution"], "ambiguous", "{d:#}");
        assert_eq!(d["weir"]["source"]["candidates"], json!(["shop/client", "shop/impostor"]));
        assert!(d["source"]["kubernetes"]["pod"].is_null(), "{d:#}");
        assert_eq!(d["weir"]["destination"]["attribution"], "none");
        assert!(d["destination"]["kubernetes"]["pod"].is_null(), "{d:#}");
    });
}

/// A policy that denies everything, and a firewall that drops one port's attempts only.
#[test]
fn a_policy_that_nobody_enforces_is_a_mismatch() {
    let deny_all = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: shop}\n\
                    spec: {podSelector: {}, policyTypes: [Ingress]}\n---\n";
    let manifests = pod("client", 1, POD_A) + &pod("server", 2, POD_B) + deny_all;
    let mismatches = AtomicU32::new(0);
    on_all("4", Some(&manifests), |d| {
        let policy = &d["weir"]["policy"];
        assert_eq!(policy["verdict"], json!(["deny"]), "{d:#}");
        assert_eq!(policy["answers"][0]["selecting"], json!(["NetworkPolicy shop/closed"]), "{d:#}");
        let wanted = match (number(d, "destination.port"), number(d, "weir.policy.against")) {
            (port, _) if port == u64::from(DENIED_PORT) => "as_judged",
            (_, 3..) => "mismatch",
            _ => "unexplained",
        };
        assert_eq!(policy["explanation"], wanted, "{d:#}");
        mismatches.fetch_add(u32::from(wanted == "mismatch"), Ordering::Relaxed);
    });
    assert!(
        mismatches.load(Ordering::Relaxed) > 0 || !is_root("network namespaces"),
        "twenty connections came through"
    );
}
