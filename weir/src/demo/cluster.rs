//! Who exists in the simulated cluster, and when.

use super::CLUSTER;
use serde_json::json;
use std::net::Ipv4Addr;
use weir_flow::{Address, Millis, protocol};
use weir_policy::NAMESPACE_NAME_LABEL;
use weir_schemas::metadata::{
    Agent, Bound, BoundSource, Namespace, Node, Object, Pod, Policy, Revision, Service, ServicePort,
};

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;
/// Seconds between two rollouts.
pub(super) const ROLLOUT_SECONDS: u64 = 60;

/// A workload: what its pods have in common.
pub(super) struct Workload {
    pub(super) namespace: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) replicas: usize,
    /// Port and protocol of its service; none without a service.
    pub(super) service: Option<(u16, u8)>,
}

/// The workloads. Order matters: pods get their addresses by it.
pub(super) const WORKLOADS: [Workload; 12] = [
    Workload {
        namespace: "shop",
        kind: "Deployment",
        name: "frontend",
        replicas: 3,
        service: Some((8080, protocol::TCP)),
    },
    Workload { namespace: "shop", kind: "Deployment", name: "cart", replicas: 2, service: Some((7070, protocol::TCP)) },
    Workload {
        namespace: "shop",
        kind: "Deployment",
        name: "catalog",
        replicas: 2,
        service: Some((3550, protocol::TCP)),
    },
    Workload {
        namespace: "shop",
        kind: "Deployment",
        name: "checkout",
        replicas: 2,
        service: Some((5050, protocol::TCP)),
    },
    Workload {
        namespace: "payments",
        kind: "Deployment",
        name: "gateway",
        replicas: 2,
        service: Some((8443, protocol::TCP)),
    },
    Workload {
        namespace: "payments",
        kind: "StatefulSet",
        name: "ledger-db",
        replicas: 1,
        service: Some((5432, protocol::TCP)),
    },
    Workload {
        namespace: "shop",
        kind: "StatefulSet",
        name: "redis",
        replicas: 1,
        service: Some((6379, protocol::TCP)),
    },
    Workload {
        namespace: "kube-system",
        kind: "Deployment",
        name: "coredns",
        replicas: 2,
        service: Some((53, protocol::UDP)),
    },
    Workload {
        namespace: "monitoring",
        kind: "StatefulSet",
        name: "prometheus",
        replicas: 1,
        service: Some((9090, protocol::TCP)),
    },
    Workload { namespace: "shop", kind: "Deployment", name: "loadgenerator", replicas: 2, service: None },
    Workload { namespace: "batch", kind: "CronJob", name: "report", replicas: 1, service: None },
    Workload { namespace: "default", kind: "Pod", name: "debug-shell", replicas: 1, service: None },
];

/// A pod that runs now.
#[derive(Clone)]
pub(super) struct RunningPod {
    pub(super) workload: usize,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) address: Ipv4Addr,
    pub(super) node: usize,
    from: Millis,
}

/// The cluster now.
pub(super) struct Cluster {
    seed: u64,
    begin: Millis,
    pub(super) pods: Vec<RunningPod>,
    rollouts: u64,
}

/// Name of a node.
pub(super) fn node_name(node: usize) -> String {
    format!("demo-node-{}", node + 1)
}

/// A well-mixed number from a seed and coordinates (`SplitMix64`'s finalizer), the demo's only source of variety.
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

fn octet(number: usize) -> u8 {
    u8::try_from(number % 250).unwrap_or(0)
}

/// The address of a service.
pub(super) fn service_address(workload: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, 10 + octet(workload))
}

fn at(time: Millis) -> Bound {
    Bound { earliest: time, latest: time, source: BoundSource::Status }
}

fn revision(namespace: &str, name: &str, uid: String, from: Bound, object: Object) -> Revision {
    Revision {
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        cluster: CLUSTER.to_owned(),
        uid,
        revision: 1,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        labels: Vec::new(),
        valid_from: from,
        valid_to: None,
        object,
    }
}

impl Cluster {
    /// The cluster whose first objects are there from `begin`.
    pub(super) fn new(seed: u64, begin: Millis) -> Self {
        let mut cluster = Self { seed, begin, pods: Vec::new(), rollouts: 0 };
        let mut host = 10;
        for (index, workload) in WORKLOADS.iter().enumerate() {
            for _ in 0..workload.replicas {
                let node = host % NODES;
                let address = Ipv4Addr::new(10, 244, octet(node), octet(host));
                let pod = cluster.pod(index, address, node, begin, u64::from(address.to_bits()));
                cluster.pods.push(pod);
                host += 1;
            }
        }
        cluster
    }

    /// The UID of an object that lives as long as this start of the cluster.
    fn uid(&self, kind: &str, name: &str) -> String {
        format!("{kind}-{name}-{}", self.begin)
    }

    fn pod(&self, workload: usize, address: Ipv4Addr, node: usize, from: Millis, salt: u64) -> RunningPod {
        let kind = &WORKLOADS[workload];
        // A second start is another history: its pods are not those of the first.
        let start = u64::try_from(self.begin).unwrap_or(0);
        let random = mix(&[self.seed, start, salt, u64::try_from(workload).unwrap_or(0)]);
        let name = match kind.kind {
            "StatefulSet" => format!("{}-0", kind.name),
            "Pod" => kind.name.to_owned(),
            _ => format!("{}-{:08x}-{:05x}", kind.name, mix(&[self.seed, salt / 8]) & 0xffff_ffff, random & 0xf_ffff),
        };
        let uid = format!("{:08x}-0000-4000-8000-{:012x}", random >> 32, random & 0xffff_ffff_ffff);
        RunningPod { workload, name, uid, address, node, from }
    }

    fn pod_revision(pod: &RunningPod, from: Bound, to: Option<Bound>) -> Revision {
        let workload = &WORKLOADS[pod.workload];
        let object = Object::Pod(Pod {
            owners: Vec::new(),
            ports: Vec::new(),
            addresses: vec![Address::new(pod.address.into())],
            host_network: false,
            node: node_name(pod.node),
            service_account: workload.name.to_owned(),
            workload_kind: if workload.kind == "Pod" { String::new() } else { workload.kind.to_owned() },
            workload: workload.name.to_owned(),
            phase: "Running".to_owned(),
            containers: Vec::new(),
        });
        let mut revision = revision(workload.namespace, &pod.name, pod.uid.clone(), from, object);
        revision.labels = vec![format!("app={}", workload.name), format!("team={}", workload.namespace)];
        revision.valid_to = to;
        revision
    }

    /// Everything that exists before the first tick.
    pub(super) fn initial(&self) -> Vec<Revision> {
        let begin = at(self.begin);
        let mut all = Vec::new();
        for node in 0..NODES {
            let name = node_name(node);
            let zone = format!("zone-{}", ["a", "b", "c"][node % 3]);
            let networks = vec![format!("10.244.{node}.0/24")];
            let addresses = vec![Address::new(Ipv4Addr::new(192, 168, 50, 11 + octet(node)).into())];
            let object = Object::Node(Node { addresses, pod_networks: networks, zone });
            all.push(revision("", &name, self.uid("node", &name), begin, object));
            let agent = Agent { node: name.clone(), networks: Vec::new(), one_observer: false };
            all.push(revision(
                "weir",
                &format!("weir-agent-{node}"),
                self.uid("agent", &name),
                begin,
                Object::Agent(agent),
            ));
        }
        let mut namespaces: Vec<_> = WORKLOADS.iter().map(|w| w.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for name in namespaces {
            let object = Object::Namespace(Namespace { phase: "Active".to_owned() });
            all.push(revision("", name, self.uid("namespace", name), begin, object));
        }
        all.push(self.policy(begin));
        for (index, workload) in WORKLOADS.iter().enumerate() {
            let Some((port, number)) = workload.service else { continue };
            let ports = vec![ServicePort {
                name: String::new(),
                port,
                protocol: number,
                target: port,
                target_name: String::new(),
            }];
            let object = Object::Service(Service {
                addresses: vec![Address::new(service_address(index).into())],
                ports,
                selector: vec![format!("app={}", workload.name)],
            });
            all.push(revision(workload.namespace, workload.name, self.uid("service", workload.name), begin, object));
        }
        all.extend(self.pods.iter().map(|p| Self::pod_revision(p, begin, None)));
        all
    }

    /// What drops the scan: into the namespace of payments get the shop, the monitoring, and what is there already.
    fn policy(&self, begin: Bound) -> Revision {
        let name = json!({"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": ["monitoring", "payments", "shop"]});
        let from = json!([{"from": [{"namespaceSelector": {"matchExpressions": [name]}}]}]);
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": from});
        let policy = Policy {
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: "NetworkPolicy".to_owned(),
            spec: spec.to_string(),
            staged: false,
        };
        revision("payments", "only-shop", self.uid("policy", "only-shop"), begin, Object::Policy(policy))
    }

    /// Changes of this second: every minute the catalog rolls, and its old addresses go to the next pods, one of them
    /// to the report job, so that an address names another workload than a moment before.
    pub(super) fn advance(&mut self, seconds: u64, now: Millis) -> Vec<Revision> {
        if seconds / ROLLOUT_SECONDS <= self.rollouts {
            return Vec::new();
        }
        self.rollouts += 1;
        let rolling: Vec<usize> = (0..self.pods.len())
            .filter(|i| matches!(WORKLOADS[self.pods[*i].workload].name, "catalog" | "report"))
            .collect();
        let old: Vec<RunningPod> = rolling.iter().map(|i| self.pods[*i].clone()).collect();
        let mut changed = Vec::new();
        for pod in &old {
            changed.push(Self::pod_revision(pod, at(pod.from), Some(at(now))));
        }
        for (place, index) in rolling.iter().enumerate() {
            let place_of = &old[(place + 1) % old.len()];
            let salt = self.rollouts * 1_000 + u64::try_from(*index).unwrap_or(0);
            let pod = self.pod(old[place].workload, place_of.address, place_of.node, now, salt);
            changed.push(Self::pod_revision(&pod, at(now), None));
            self.pods[*index] = pod;
        }
        changed
    }
}
