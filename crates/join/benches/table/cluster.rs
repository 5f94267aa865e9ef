//! A cluster of a given size as the messages of its metadata topic, made by arithmetic alone: nothing of it is kept in
//! memory, so that what is measured is the table.
//!
//! 100 pods a node and 20 a workload; dual-stack pods with 10 labels, of which a workload's pods share all but one in
//! three workloads; ten revisions a pod: without an address, then by turns a new pair of addresses and a changed label.
//! Addresses come from a pool a node and are used again by other pods two or three steps later, as address managers do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_flow::{Address, Millis};
use weir_schemas::metadata::{
    Agent, Bound, BoundSource, Container, ContainerPort, Heartbeat, Metadata, Namespace, Node, Object, Pod, Proof,
    Revision, Service, ServicePort,
};

/// Revisions of each pod.
pub(crate) const REVISIONS: u64 = 10;
/// When the first pod appeared, ms since the epoch.
const START: Millis = 1_760_000_000_000;
/// Time between two revisions of a pod, ms.
const STEP: Millis = 3_600_000;
/// Pods of a node, and of a workload.
const PODS_OF_NODE: u64 = 100;
const PODS_OF_WORKLOAD: u64 = 20;
/// Addresses of a node's pool.
const POOL: u64 = 250;

/// A well-mixed number (splitmix64).
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn millis(n: u64) -> Millis {
    Millis::try_from(n).unwrap()
}

fn byte(n: u64) -> u8 {
    u8::try_from(n % 256).unwrap()
}

fn uuid(seed: u64) -> String {
    let (a, b) = (mix(seed), mix(seed ^ 0x5555_0000));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

fn bound(at: Millis, source: BoundSource) -> Bound {
    // A status is a whole second; what it says began somewhere in it.
    Bound { earliest: at, latest: at + 1_000, source }
}

/// Makes the object of a number.
type Make = fn(Cluster, u64) -> Revision;

/// A cluster by the number of its pods.
#[derive(Clone, Copy)]
pub(crate) struct Cluster {
    pub(crate) pods: u64,
}

impl Cluster {
    fn nodes(self) -> u64 {
        self.pods.div_ceil(PODS_OF_NODE)
    }

    fn workloads(self) -> u64 {
        self.pods.div_ceil(PODS_OF_WORKLOAD)
    }

    /// The time of a random question, ms since the epoch.
    pub(crate) fn time(self, random: u64) -> Millis {
        START + millis(random % (REVISIONS * 3_600_000))
    }

    /// One at which nearly every pod has an address.
    pub(crate) fn busy_time(self, random: u64) -> Millis {
        self.time(random).max(START + 2 * STEP)
    }

    /// The start of a tick of the last seconds, in which every pod has been what it is for an hour.
    pub(crate) fn now(self, random: u64) -> Millis {
        START + millis(REVISIONS) * STEP + 3_600_000 - millis(random % 12) * 5_000
    }

    /// What a replay reads as its n-th batch: a tick and a node. Of a partition's nodes, of which there are sixteen times as
    /// many, one follows the other, then their next tick comes.
    pub(crate) fn replayed(self, batch: u64) -> (Millis, u64) {
        let nodes = self.nodes().div_ceil(16);
        let ticks = (REVISIONS - 2) * 3_600_000 / 5_000;
        (START + 2 * STEP + millis(batch / nodes % ticks) * 5_000, batch % nodes * 16)
    }

    /// The address that a pod has by then.
    pub(crate) fn address_now(self, pod: u64, six: bool) -> Address {
        self.address(pod, (REVISIONS - 2) / 2, six)
    }

    /// The address that a pod has from its revision 2 × step + 2 on.
    pub(crate) fn address(self, pod: u64, step: u64, six: bool) -> Address {
        // Pods of a workload are spread over the nodes.
        let (node, place) = (pod % self.nodes(), pod / self.nodes());
        let index = (place + PODS_OF_NODE * step) % POOL + 2;
        let ip = if six {
            let node = u16::try_from(node).unwrap();
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x244, node, 0, 0, 0, u16::try_from(index).unwrap()))
        } else {
            IpAddr::V4(Ipv4Addr::new(10, 64 + byte(node / 256), byte(node), byte(index)))
        };
        Address::new(ip)
    }

    /// The address that a pod certainly had at a time, if it had one.
    pub(crate) fn address_at(self, pod: u64, at: Millis, six: bool) -> Option<Address> {
        let since = at - START - Self::offset(pod);
        let (step, into) = (since.div_euclid(STEP), since.rem_euclid(STEP));
        let step = u64::try_from(step).ok().filter(|step| *step > 0 && into >= 1_000)?;
        Some(self.address(pod, (step.min(REVISIONS - 1) - 1) / 2, six))
    }

    /// A random pod of a random node.
    pub(crate) fn pod_of_node(self, node: u64, random: u64) -> u64 {
        let node = node % self.nodes();
        (node + random % PODS_OF_NODE * self.nodes()).min(self.pods - 1)
    }

    /// A random pod: the n-th of those that are popular is asked for in proportion to 1/n (Zipf's law).
    pub(crate) fn popular_pod(self, random: u64) -> u64 {
        let part = f64::from(u32::try_from(random % (1 << 32)).unwrap()) / f64::from(u32::MAX);
        let mut rank = 0;
        let mut weight = part * f64::from(u32::try_from(self.pods).unwrap()).ln();
        // The whole part of e to the weight, which is Zipf's law for a uniform part, without a cast.
        weight = weight.exp();
        for bit in (0..32).rev() {
            let half = f64::from(1u32 << bit);
            if weight >= half {
                weight -= half;
                rank |= 1u64 << bit;
            }
        }
        mix(rank) % self.pods
    }

    /// Pods change at different moments of a step, so that bounds do not coincide.
    fn offset(pod: u64) -> Millis {
        millis(mix(pod) % 600_000)
    }

    /// A cluster address of a workload's service.
    pub(crate) fn service_address(self, workload: u64, six: bool) -> Address {
        let ip = if six {
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, u16::try_from(workload + 1).unwrap()))
        } else {
            IpAddr::V4(Ipv4Addr::new(10, 48, byte(workload / 256), byte(workload)))
        };
        Address::new(ip)
    }

    /// A pod's UID.
    pub(crate) fn uid(self, pod: u64) -> String {
        uuid(pod)
    }

    /// How many messages [`Cluster::message`] has.
    pub(crate) fn messages(self) -> u64 {
        1 + 2 * self.nodes() + 2 * self.workloads() + self.pods * REVISIONS
    }

    /// One message of the topic after compaction, in the topic's order: the objects around the pods, then every pod's
    /// first revision, every pod's second, and so on.
    pub(crate) fn message(self, index: u64) -> Metadata {
        let mut rest = index;
        if rest == 0 {
            return Metadata::Heartbeat(Heartbeat {
                cluster: "local".to_owned(),
                complete_to: START,
                proof: Proof::Probed,
                cluster_known: true,
            });
        }
        rest -= 1;
        let fixed: [(u64, Make); 4] = [
            (self.nodes(), Self::node),
            (self.nodes(), Self::agent),
            (self.workloads(), Self::namespace),
            (self.workloads(), Self::service),
        ];
        for (count, make) in fixed {
            if rest < count {
                return Metadata::Revision(make(self, rest));
            }
            rest -= count;
        }
        Metadata::Revision(self.pod(rest % self.pods, rest / self.pods))
    }

    fn revision(self, uid: u64, name: String, namespace: String, object: Object) -> Revision {
        Revision {
            cluster: "local".to_owned(),
            uid: uuid(uid),
            revision: 1,
            namespace,
            name,
            labels: Vec::new(),
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_by: "kube-controller-manager".to_owned(),
            changed_at: Some(START),
            valid_from: bound(START - 86_400_000, BoundSource::Creation),
            valid_to: None,
            object,
        }
    }

    fn node_name(node: u64) -> String {
        format!("ip-10-0-{}-{}.eu-central-1.compute.internal", node / 256, node % 256)
    }

    fn node(self, node: u64) -> Revision {
        let object = Object::Node(Node {
            addresses: vec![Address::new(IpAddr::V4(Ipv4Addr::new(10, 0, byte(node / 256), byte(node))))],
            pod_networks: vec![
                format!("10.{}.{}.0/24", 64 + node / 256, node % 256),
                format!("fd00:10:244:{node:x}::/64"),
            ],
            zone: format!("eu-central-1{}", ["a", "b", "c"][usize::try_from(node % 3).unwrap()]),
        });
        self.revision((1 << 40) | node, Self::node_name(node), String::new(), object)
    }

    fn agent(self, node: u64) -> Revision {
        let object = Object::Agent(Agent { node: Self::node_name(node), ..Agent::default() });
        self.revision((2 << 40) | node, format!("weir-agent-{node:05}"), "weir".to_owned(), object)
    }

    fn namespace_name(workload: u64) -> String {
        format!("team-{:03}-production", workload / 8)
    }

    fn workload_name(workload: u64) -> String {
        let part = ["api", "worker", "web", "cache", "scheduler", "gateway", "billing", "search"];
        format!("{}-{:04x}", part[usize::try_from(workload % 8).unwrap()], mix(workload) >> 48)
    }

    /// A namespace a workload: eight say the same, as eight revisions of one would.
    fn namespace(self, workload: u64) -> Revision {
        let object = Object::Namespace(Namespace { phase: "Active".to_owned() });
        let uid = (3 << 40) | (workload / 8);
        Revision {
            revision: workload % 8 + 1,
            ..self.revision(uid, Self::namespace_name(workload), String::new(), object)
        }
    }

    fn service(self, workload: u64) -> Revision {
        let port = |port, target| ServicePort { port, protocol: 6, target, ..ServicePort::default() };
        let object = Object::Service(Service {
            addresses: vec![self.service_address(workload, false), self.service_address(workload, true)],
            ports: vec![port(443, 8443), port(9090, 9090)],
            selector: vec![format!("app.kubernetes.io/name={}", Self::workload_name(workload))],
        });
        self.revision((4 << 40) | workload, Self::workload_name(workload), Self::namespace_name(workload), object)
    }

    fn labels(pod: u64, workload: u64, version: u64) -> Vec<String> {
        let name = Self::workload_name(workload);
        let mut labels = vec![
            "app.kubernetes.io/component=server".to_owned(),
            format!("app.kubernetes.io/instance={name}-production"),
            "app.kubernetes.io/managed-by=Helm".to_owned(),
            format!("app.kubernetes.io/name={name}"),
            format!("app.kubernetes.io/part-of=team-{:03}", workload / 8),
            format!("app.kubernetes.io/version=4.{}.{version}", workload % 9),
            format!("helm.sh/chart={name}-4.{}.0", workload % 9),
            format!("pod-template-hash={:010x}", mix(workload) >> 24),
            format!("rollout-stage={version}"),
        ];
        labels.push(if workload.is_multiple_of(3) {
            format!("statefulset.kubernetes.io/pod-name={name}-{pod}")
        } else {
            format!("team=team-{:03}", workload / 8)
        });
        labels
    }

    fn pod(self, pod: u64, step: u64) -> Revision {
        let workload = pod / PODS_OF_WORKLOAD;
        let name = Self::workload_name(workload);
        let at = |step: u64| START + STEP * millis(step) + Self::offset(pod);
        let addresses = match step {
            0 => Vec::new(),
            _ => [false, true].map(|six| self.address(pod, (step - 1) / 2, six)).to_vec(),
        };
        let object = Object::Pod(Pod {
            addresses,
            host_network: false,
            node: Self::node_name(pod % self.nodes()),
            service_account: name.clone(),
            workload_kind: "Deployment".to_owned(),
            workload: name.clone(),
            phase: "Running".to_owned(),
            containers: vec![Container {
                id: format!("{:016x}{:016x}{:016x}{:016x}", mix(pod), mix(pod + 1), mix(pod + 2), mix(pod + 3)),
                name: "server".to_owned(),
            }],
            ports: vec![ContainerPort { name: "https".to_owned(), port: 8443, protocol: 6 }],
            owners: vec![format!("ReplicaSet/{name}-{:010x}", mix(workload) >> 24), format!("Deployment/{name}")],
        });
        let pod_name = format!("{name}-{:010x}-{:05x}", mix(workload) >> 24, mix(pod) >> 44);
        Revision {
            revision: step + 1,
            labels: Self::labels(pod, workload, step / 2),
            changed_at: Some(at(step)),
            valid_from: bound(at(step), BoundSource::Status),
            valid_to: (step + 1 < REVISIONS).then(|| bound(at(step + 1), BoundSource::Status)),
            ..self.revision(pod, pod_name, Self::namespace_name(workload), object)
        }
    }
}
