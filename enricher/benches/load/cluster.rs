//! A cluster of a given size: its metadata, and who is where. Made by arithmetic alone, so that a number is a pod.
//!
//! 100 pods a node, 20 a workload, one service a workload; pods of a workload are spread over the nodes. Every pod has one
//! revision, one address and eight labels, of which one is its own. The address of one pod in fifty may still be held by a
//! pod that is going, so that it is ambiguous to others. Every node has a ready agent. Policies, if there are any, select
//! the workloads in turn: each takes connections from one team more, and every other one lets go to the cluster and to a
//! part of the outside only.

use std::net::Ipv4Addr;
use weir_flow::{Address, Millis, time};
use weir_schemas::metadata::{
    Agent, Bound, BoundSource, Container, Heartbeat, Metadata, Namespace, Node, Object, Pod, Policy, Proof, Revision,
    Service, ServicePort,
};

/// Pods of a node.
const PODS_OF_NODE: u32 = 100;
/// Pods of a workload.
pub(crate) const PODS_OF_WORKLOAD: u32 = 20;

/// A cluster by its name and the number of its pods.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) pods: u32,
    /// Whether its metadata has namespaces; without them nothing can be said of policies.
    pub(crate) namespaces: bool,
    /// How many policies it has.
    pub(crate) policies: u32,
}

/// Workloads of a namespace.
const WORKLOADS_OF_NAMESPACE: u32 = 8;

/// A well-mixed number (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn uid(kind: u64, number: u32) -> String {
    let (a, b) = (mix(kind << 32 | u64::from(number)), mix(kind << 40 | u64::from(number)));
    let (high, middle, low) = (a >> 32, a >> 16 & 0xffff, a & 0xfff);
    format!("{high:08x}-{middle:04x}-4{low:03x}-a{:03x}-{:012x}", b >> 52, b & 0xffff_ffff_ffff)
}

fn address(base: u32, number: u32) -> Address {
    Address::new(Ipv4Addr::from(base + number).into())
}

impl Cluster {
    pub(crate) fn nodes(&self) -> u32 {
        self.pods.div_ceil(PODS_OF_NODE)
    }

    pub(crate) fn workloads(&self) -> u32 {
        self.pods.div_ceil(PODS_OF_WORKLOAD)
    }

    fn teams(&self) -> u32 {
        self.workloads().div_ceil(WORKLOADS_OF_NAMESPACE)
    }

    /// The node that a pod is on.
    pub(crate) fn node_of(&self, pod: u32) -> u32 {
        pod % self.nodes()
    }

    pub(crate) fn node_name(node: u32) -> String {
        format!("ip-10-0-{}-{}.eu-central-1.compute.internal", node / 256, node % 256)
    }

    /// A pod's address: the network of its node, 256 addresses each.
    pub(crate) fn pod_address(&self, pod: u32) -> Address {
        address(0x0A40_0000, self.node_of(pod) * 256 + pod / self.nodes() + 2)
    }

    /// The address of a workload's service.
    pub(crate) fn service_address(workload: u32) -> Address {
        address(0x0A30_0000, workload + 1)
    }

    /// An address outside the cluster.
    pub(crate) fn outside_address(number: u32) -> Address {
        address(0x2D00_0000, number % 0x0100_0000)
    }

    pub(crate) fn pod_uid(pod: u32) -> String {
        uid(1, pod)
    }

    /// The messages of the metadata topic.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = Metadata> + '_ {
        let nodes = (0..self.nodes()).flat_map(|node| [self.node(node), self.agent(node)]);
        let services = (0..self.workloads()).map(|workload| self.service(workload));
        let pods = (0..self.pods).map(|pod| self.pod(pod)).chain(self.going());
        let namespaces = (0..self.teams()).filter(|_| self.namespaces).map(|team| self.team(team));
        let policies = (0..self.policies).map(|policy| self.policy(policy));
        let heartbeat = self.complete_to(time::FOR_EVER);
        let named = namespaces.chain(policies);
        nodes.chain(services).chain(pods).chain(named).map(Metadata::Revision).chain([heartbeat])
    }

    /// That metadata is complete up to a time.
    pub(crate) fn complete_to(&self, complete_to: Millis) -> Metadata {
        let proof = if complete_to == time::FOR_EVER { Proof::Closed } else { Proof::Probed };
        Metadata::Heartbeat(Heartbeat { cluster: self.name.clone(), complete_to, proof, cluster_known: true })
    }

    fn revision(&self, uid: String, namespace: String, name: String, object: Object) -> Revision {
        Revision {
            cluster: self.name.clone(),
            uid,
            revision: 1,
            namespace,
            name,
            labels: Vec::new(),
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_by: "kube-controller-manager".to_owned(),
            changed_at: None,
            valid_from: Bound { earliest: 0, latest: 1_000, source: BoundSource::Creation },
            valid_to: None,
            object,
        }
    }

    fn node(&self, node: u32) -> Revision {
        let object = Object::Node(Node {
            addresses: vec![address(0x0A00_0000, node)],
            pod_networks: vec![format!("{}/24", address(0x0A40_0000, node * 256))],
            zone: format!("eu-central-1{}", if node.is_multiple_of(2) { "a" } else { "b" }),
        });
        self.revision(uid(2, node), String::new(), Self::node_name(node), object)
    }

    fn agent(&self, node: u32) -> Revision {
        let object = Object::Agent(Agent { node: Self::node_name(node), ..Agent::default() });
        self.revision(uid(3, node), "weir".to_owned(), format!("weir-agent-{node:05}"), object)
    }

    fn namespace(workload: u32) -> String {
        format!("team-{:03}-production", workload / WORKLOADS_OF_NAMESPACE)
    }

    /// The namespace of a team.
    fn team(&self, team: u32) -> Revision {
        let name = Self::namespace(team * WORKLOADS_OF_NAMESPACE);
        let labels = vec![format!("kubernetes.io/metadata.name={name}"), format!("team=team-{team:03}")];
        let object = Object::Namespace(Namespace::default());
        Revision { labels, ..self.revision(uid(6, team), String::new(), name, object) }
    }

    fn policy(&self, number: u32) -> Revision {
        let (workload, turn) = (number % self.workloads(), number / self.workloads());
        let team = (workload / WORKLOADS_OF_NAMESPACE + turn) % self.teams();
        let name = Self::workload_name(workload);
        let ports = ["TCP", "UDP"]
            .map(|protocol| format!(r#"{{"endPort":65535,"port":1024,"protocol":"{protocol}"}}"#))
            .into_iter()
            .take(if turn % 3 == 0 { 2 } else { 1 })
            .collect::<Vec<_>>();
        let egress = if number.is_multiple_of(2) {
            r#""egress":[{"to":[{"namespaceSelector":{}},{"ipBlock":{"cidr":"45.0.0.0/9"}}]}],"#
        } else {
            ""
        };
        let spec = format!(
            r#"{{{egress}"ingress":[{{"from":[{{"namespaceSelector":{{"matchLabels":{{"team":"team-{team:03}"}}}}}}],"ports":[{}]}}],"podSelector":{{"matchLabels":{{"app.kubernetes.io/name":"{name}"}}}}}}"#,
            ports.join(",")
        );
        let object = Object::Policy(Policy {
            api_version: "networking.k8s.io/v1".to_owned(),
            kind: "NetworkPolicy".to_owned(),
            spec,
            staged: false,
        });
        self.revision(uid(7, number), Self::namespace(workload), format!("{name}-{turn}"), object)
    }

    fn workload_name(workload: u32) -> String {
        let parts = ["api", "worker", "web", "cache", "scheduler", "gateway", "billing", "search"];
        let part = parts[usize::try_from(workload % 8).unwrap()];
        format!("{part}-{:04x}", mix(u64::from(workload)) >> 48)
    }

    fn service(&self, workload: u32) -> Revision {
        let port = |port, target| ServicePort { port, protocol: 6, target, ..ServicePort::default() };
        let name = Self::workload_name(workload);
        let object = Object::Service(Service {
            addresses: vec![Self::service_address(workload)],
            ports: vec![port(443, 8443), port(80, 8080)],
            selector: vec![format!("app.kubernetes.io/name={name}")],
        });
        self.revision(uid(4, workload), Self::namespace(workload), name, object)
    }

    /// Pods that may still hold an address that another pod has already.
    fn going(&self) -> impl Iterator<Item = Revision> + '_ {
        (0..self.pods).filter(|pod| pod % 50 == 7).map(|pod| {
            let mut revision = self.pod(pod);
            revision.uid = uid(5, pod);
            revision.name.push_str("-going");
            revision.valid_to = Some(Bound { earliest: 2_000, latest: i64::MAX - 1, source: BoundSource::Deletion });
            revision
        })
    }

    fn pod(&self, pod: u32) -> Revision {
        let workload = pod / PODS_OF_WORKLOAD;
        let (name, namespace) = (Self::workload_name(workload), Self::namespace(workload));
        let hash = mix(u64::from(workload)) >> 24;
        let object = Object::Pod(Pod {
            addresses: vec![self.pod_address(pod)],
            node: Self::node_name(self.node_of(pod)),
            service_account: name.clone(),
            workload_kind: "Deployment".to_owned(),
            workload: name.clone(),
            phase: "Running".to_owned(),
            containers: vec![Container { id: format!("{:064x}", mix(u64::from(pod))), name: "server".to_owned() }],
            owners: vec![format!("ReplicaSet/{name}-{hash:010x}"), format!("Deployment/{name}")],
            ..Pod::default()
        });
        let labels = vec![
            "app.kubernetes.io/component=server".to_owned(),
            format!("app.kubernetes.io/instance={name}-production"),
            "app.kubernetes.io/managed-by=Helm".to_owned(),
            format!("app.kubernetes.io/name={name}"),
            format!("app.kubernetes.io/version=4.{}.0", workload % 9),
            format!("apps.kubernetes.io/pod-index={}", pod % PODS_OF_WORKLOAD),
            format!("pod-template-hash={hash:010x}"),
            format!("team=team-{:03}", workload / WORKLOADS_OF_NAMESPACE),
        ];
        let pod_name = format!("{name}-{hash:010x}-{:05x}", mix(u64::from(pod)) >> 44);
        Revision { labels, ..self.revision(Self::pod_uid(pod), namespace, pod_name, object) }
    }
}
