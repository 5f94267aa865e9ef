//! Topic `k8s.metadata.v1`, compacted: what Kubernetes knew, and when. A slowly-changing-dimension (type 2) table.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use weir_flow::{Address, Millis};

/// A message on the metadata topic. `T` holds the texts that flows are named, placed and judged by: `String`, or `&str` for a
/// message that is read and not kept ([`crate::decode_metadata`]). `R` holds the rest: the same, or [`Skipped`].
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is a revision; a box would cost an allocation each"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Metadata<T = String, R = T> {
    /// One revision of one object; key `<cluster>/<kind>/<uid>/<revision>`.
    #[serde(rename = "weir.Revision")]
    Revision(Revision<T, R>),
    /// "Complete up to": key `<cluster>/heartbeat/<metadata partition>`; the first of all also under `<cluster>/heartbeat/first`,
    /// what the source was after a time under [`source_key`], and what nobody will know under [`gap_key`].
    #[serde(rename = "weir.Heartbeat")]
    Heartbeat(Heartbeat<T>),
}

/// A text that is read over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Self)
    }
}

/// Metadata of the cluster is complete up to a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat<T = String> {
    /// The cluster's id.
    pub cluster: T,
    /// H, ms since the epoch; the largest long = nothing can be learnt any more.
    pub complete_to: Millis,
    /// How that is known.
    pub proof: Proof,
    /// Whether Kubernetes names can be had at all: false where there is neither a cluster nor manifests. A topic that has
    /// records of [`source_key`] says it there for each time.
    pub cluster_known: bool,
}

/// How a heartbeat's time is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A watch-list probe showed that the cache was current.
    Probed,
    /// Now minus a stated delay.
    Assumed,
    /// After a scan of manifests.
    Manifests,
    /// There is no source that could change: no cluster, or a capture.
    Closed,
    /// A person gave up on a stall: complete to H, with a gap before ([`gap_key`]).
    Gap,
}

/// One identity of one object, and when it was valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision<T = String, R = T> {
    /// The cluster's id.
    pub cluster: T,
    /// The object's UID; for objects without one (manifests) a UUID made of kind, namespace and name.
    pub uid: T,
    /// Ordinal of identity content, from 1; never the resourceVersion.
    pub revision: u64,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: T,
    /// Name.
    pub name: T,
    /// Labels as `k=v`, sorted by key.
    pub labels: Vec<T>,
    /// How many labels were left out by the keep-list or a limit.
    pub labels_dropped: u32,
    /// Annotations of the keep-list as `k=v`, sorted by key.
    pub annotations: Vec<R>,
    /// Who changed the object last: the manager of the newest entry of `metadata.managedFields` but status; empty when unknown.
    pub changed_by: R,
    /// When, ms since the epoch; absent when unknown.
    pub changed_at: Option<Millis>,
    /// From when it was valid.
    pub valid_from: Bound,
    /// Until when (exclusive); absent while it still is.
    pub valid_to: Option<Bound>,
    /// What is particular to the kind.
    pub object: Object<T, R>,
}

/// A bound of validity: the API does not know exactly when an address was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// It cannot have been before, ms since the epoch.
    pub earliest: Millis,
    /// It cannot have been after, ms since the epoch.
    pub latest: Millis,
    /// Where the bound comes from.
    pub source: BoundSource,
}

/// Where a bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundSource {
    /// `metadata.creationTimestamp`.
    Creation,
    /// A pod condition's or container's time.
    Status,
    /// `metadata.deletionTimestamp`.
    Deletion,
    /// A time of `metadata.managedFields`.
    ManagedFields,
    /// When the watch told.
    Arrival,
    /// Learnt after a heartbeat and clipped to after it.
    Clipped,
    /// A manifest without times, or a setting: always valid.
    Always,
}

/// What is particular to a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Object<T = String, R = T> {
    /// A pod.
    #[serde(rename = "weir.Pod")]
    Pod(Pod<T, R>),
    /// A node.
    #[serde(rename = "weir.Node")]
    Node(Node<T>),
    /// A namespace.
    #[serde(rename = "weir.Namespace")]
    Namespace(Namespace<R>),
    /// A service.
    #[serde(rename = "weir.Service")]
    Service(Service<R>),
    /// An agent that covers ends.
    #[serde(rename = "weir.Agent")]
    Agent(Agent<T>),
    /// A slice of a service's endpoints.
    #[serde(rename = "weir.EndpointSlice")]
    EndpointSlice(EndpointSlice<R>),
    /// A policy of any kind.
    #[serde(rename = "weir.Policy")]
    Policy(Policy<T>),
    /// A named set of networks and domains.
    #[serde(rename = "weir.NetworkSet")]
    NetworkSet(NetworkSet<T, R>),
}

/// The key of a revision.
#[must_use]
pub fn revision_key(cluster: &str, kind: &str, uid: &str, revision: u64) -> String {
    format!("{cluster}/{kind}/{uid}/{revision}")
}

/// Whether a key is of a cluster's messages. What another cluster's say is no concern of one's own, not even whether it can be
/// read.
#[must_use]
pub fn is_of_cluster(key: &str, cluster: &str) -> bool {
    key.strip_prefix(cluster).is_some_and(|rest| rest.starts_with('/'))
}

/// Kind, UID and ordinal of a revision of this cluster, by its key; nothing for other keys.
#[must_use]
pub fn parse_revision_key<'k>(key: &'k str, cluster: &str) -> Option<(&'k str, &'k str, u64)> {
    let mut parts = key.rsplitn(4, '/');
    let (revision, uid, kind) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    (parts.next()? == cluster).then_some((kind, uid, revision))
}

/// The key of the heartbeat from which on the history is whole: the first of all, and later the time before which it was
/// forgotten.
#[must_use]
pub fn first_heartbeat_key(cluster: &str) -> String {
    format!("{cluster}/heartbeat/first")
}

/// The key of a heartbeat that says what the source was after a time, `after` in ms since the epoch: its `complete_to` is that
/// time, and its `cluster_known` holds until that of the next such time. It stays, so that whoever reads the topic later
/// knows what could be known at each time. A cluster whose source never changed has none.
#[must_use]
pub fn source_key(cluster: &str, after: Millis) -> String {
    format!("{cluster}/heartbeat/source/{after}")
}

/// Whether a key is one of [`source_key`].
#[must_use]
pub fn is_source_key(key: &str, cluster: &str) -> bool {
    key.strip_prefix(cluster).is_some_and(|rest| rest.starts_with("/heartbeat/source/"))
}

/// The key of a heartbeat by which a person gave up on a stall: of the times after `after` up to its `complete_to`, in ms since the
/// epoch, nothing is known. It stays, so that whoever reads the topic later names nobody of then either.
#[must_use]
pub fn gap_key(cluster: &str, after: Millis) -> String {
    format!("{cluster}/heartbeat/gap/{after}")
}

/// After which time a gap begins, ms since the epoch, by its [`gap_key`]; nothing for other keys.
#[must_use]
pub fn parse_gap_key(key: &str, cluster: &str) -> Option<Millis> {
    key.strip_prefix(cluster)?.strip_prefix("/heartbeat/gap/")?.parse().ok()
}

impl<T: AsRef<str>, R> Metadata<T, R> {
    /// The message's key on the topic; `partition` is the metadata partition that a heartbeat is for.
    #[must_use]
    pub fn key(&self, partition: i32) -> String {
        match self {
            Self::Revision(r) => revision_key(r.cluster.as_ref(), r.object.kind(), r.uid.as_ref(), r.revision),
            Self::Heartbeat(h) => format!("{}/heartbeat/{partition}", h.cluster.as_ref()),
        }
    }
}

impl<T, R> Object<T, R> {
    /// The kind's name, as it stands in keys.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pod(_) => "Pod",
            Self::Node(_) => "Node",
            Self::Namespace(_) => "Namespace",
            Self::Service(_) => "Service",
            Self::Agent(_) => "Agent",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::Policy(_) => "Policy",
            Self::NetworkSet(_) => "NetworkSet",
        }
    }
}

/// A pod's identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod<T = String, R = T> {
    /// All addresses of the pod; the node's for a host-network pod.
    pub addresses: Vec<Address>,
    /// Whether it uses the node's network.
    pub host_network: bool,
    /// Name of its node; empty before it is scheduled.
    pub node: T,
    /// Name of its service account.
    pub service_account: T,
    /// Kind of the top of its owner chain, e.g. `Deployment`; empty without an owner.
    pub workload_kind: T,
    /// Name of the top of its owner chain; the pod's own name without an owner.
    pub workload: T,
    /// Phase, as Kubernetes writes it.
    pub phase: R,
    /// Containers that have an id.
    pub containers: Vec<Container<R>>,
    /// Ports that its containers declare; policies and services name them.
    pub ports: Vec<ContainerPort<T>>,
    /// Its owner chain as `Kind/name`, nearest first.
    pub owners: Vec<R>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Container<T = String> {
    /// Its id, without the runtime's prefix.
    pub id: T,
    /// Its name in the pod.
    pub name: T,
}

/// A port that a container declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerPort<T = String> {
    /// Its name; empty without one.
    pub name: T,
    /// The port.
    pub port: u16,
    /// IANA protocol number.
    pub protocol: u8,
}

/// A node's identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node<T = String> {
    /// Internal and external addresses.
    pub addresses: Vec<Address>,
    /// Pod networks in CIDR notation.
    pub pod_networks: Vec<T>,
    /// `topology.kubernetes.io/zone`; empty without.
    pub zone: T,
}

/// A namespace has nothing beyond its labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespace<T = String> {
    /// Phase, as Kubernetes writes it.
    pub phase: T,
}

/// A service's addresses and ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service<R = String> {
    /// Cluster, external and load-balancer addresses.
    pub addresses: Vec<Address>,
    /// Ports.
    pub ports: Vec<ServicePort<R>>,
    /// The selector as `k=v`, sorted; empty without.
    pub selector: Vec<R>,
}

/// A service's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort<T = String> {
    /// Its name; empty where there is only one.
    pub name: T,
    /// Port at the service's address.
    pub port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Target port as a number; 0 where it is named.
    pub target: u16,
    /// Target port's name; empty where it is a number.
    pub target_name: T,
}

/// A ready agent: the ends it covers are those on its node and those in its networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agent<T = String> {
    /// Name of the node whose ends are covered; empty for a capture.
    pub node: T,
    /// Networks in CIDR notation whose ends are covered though no node is known for them: the host's own connected
    /// networks without a cluster, everything for a capture.
    pub networks: Vec<T>,
    /// One observer for both ends (a capture): each packet is seen once, and stands for the initiator's report.
    pub one_observer: bool,
}

/// Ready endpoints behind a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndpointSlice<T = String> {
    /// Name of the service in the slice's namespace; empty without one.
    pub service: T,
    /// Addresses of the ready endpoints, sorted.
    pub addresses: Vec<Address>,
    /// Ports at those addresses: `port` and `target` are the same.
    pub ports: Vec<ServicePort<T>>,
}

/// A policy of any kind: Kubernetes' own, or another maker's by name only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy<T = String> {
    /// `apiVersion`, e.g. `networking.k8s.io/v1`.
    pub api_version: T,
    /// `kind`, e.g. `NetworkPolicy`.
    pub kind: T,
    /// `.spec` as canonical JSON: keys sorted, no blanks.
    pub spec: T,
    /// Whether it is only staged: judged as pending, never as enforced.
    pub staged: bool,
}

/// A named set of networks and domains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSet<T = String, R = T> {
    /// Networks in CIDR notation, sorted.
    pub networks: Vec<T>,
    /// Domains, lower case, without the last dot, sorted; a leading `*.` stands for any name below.
    pub domains: Vec<R>,
}
