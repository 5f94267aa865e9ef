//! The kinds that are watched: those of every cluster, and policies of kinds that are there or not.

#[cfg(test)]
mod tests;

/// The kinds of every cluster.
const ALWAYS: usize = 9;

/// The number of kinds that are watched.
pub const WATCHED: usize = ALWAYS + POLICY_KINDS.len();

/// A kind of policy besides Kubernetes' own, whose definition (CRD) a cluster has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyKind {
    number: usize,
    /// The kind, e.g. `CiliumNetworkPolicy`.
    pub kind: &'static str,
    /// Its plural with a group, as errors and counters name it.
    pub name: &'static str,
    /// Its plural.
    pub plural: &'static str,
    /// Where it may be served, as (group, version): the first that is served counts, since another shows the same objects.
    pub places: &'static [(&'static str, &'static str)],
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether its objects are proposals, judged as pending and never as enforced.
    pub staged: bool,
}

const SIG_NETWORK_1: &[(&str, &str)] = &[("policy.networking.k8s.io", "v1alpha1")];
const SIG_NETWORK_2: &[(&str, &str)] = &[("policy.networking.k8s.io", "v1alpha2")];
/// Calico keeps its objects in the first group, and serves them in the second by an API server of its own; newer versions keep
/// them in the second.
const CALICO: &[(&str, &str)] = &[("crd.projectcalico.org", "v1"), ("projectcalico.org", "v3")];
const CILIUM: &[(&str, &str)] = &[("cilium.io", "v2")];

/// SIG Network's cluster-wide kinds, and Calico's and Cilium's kinds.
pub const POLICY_KINDS: [PolicyKind; 10] = [
    PolicyKind {
        number: 0,
        kind: "AdminNetworkPolicy",
        name: "adminnetworkpolicies.policy.networking.k8s.io",
        plural: "adminnetworkpolicies",
        places: SIG_NETWORK_1,
        namespaced: false,
        staged: false,
    },
    PolicyKind {
        number: 1,
        kind: "BaselineAdminNetworkPolicy",
        name: "baselineadminnetworkpolicies.policy.networking.k8s.io",
        plural: "baselineadminnetworkpolicies",
        places: SIG_NETWORK_1,
        namespaced: false,
        staged: false,
    },
    PolicyKind {
        number: 2,
        kind: "ClusterNetworkPolicy",
        name: "clusternetworkpolicies.policy.networking.k8s.io",
        plural: "clusternetworkpolicies",
        places: SIG_NETWORK_2,
        namespaced: false,
        staged: false,
    },
    PolicyKind {
        number: 3,
        kind: "NetworkPolicy",
        name: "networkpolicies.projectcalico.org",
        plural: "networkpolicies",
        places: CALICO,
        namespaced: true,
        staged: false,
    },
    PolicyKind {
        number: 4,
        kind: "GlobalNetworkPolicy",
        name: "globalnetworkpolicies.projectcalico.org",
        plural: "globalnetworkpolicies",
        places: CALICO,
        namespaced: false,
        staged: false,
    },
    PolicyKind {
        number: 5,
        kind: "StagedNetworkPolicy",
        name: "stagednetworkpolicies.projectcalico.org",
        plural: "stagednetworkpolicies",
        places: CALICO,
        namespaced: true,
        staged: true,
    },
    PolicyKind {
        number: 6,
        kind: "StagedGlobalNetworkPolicy",
        name: "stagedglobalnetworkpolicies.projectcalico.org",
        plural: "stagedglobalnetworkpolicies",
        places: CALICO,
        namespaced: false,
        staged: true,
    },
    PolicyKind {
        number: 7,
        kind: "StagedKubernetesNetworkPolicy",
        name: "stagedkubernetesnetworkpolicies.projectcalico.org",
        plural: "stagedkubernetesnetworkpolicies",
        places: CALICO,
        namespaced: true,
        staged: true,
    },
    PolicyKind {
        number: 8,
        kind: "CiliumNetworkPolicy",
        name: "ciliumnetworkpolicies.cilium.io",
        plural: "ciliumnetworkpolicies",
        places: CILIUM,
        namespaced: true,
        staged: false,
    },
    PolicyKind {
        number: 9,
        kind: "CiliumClusterwideNetworkPolicy",
        name: "ciliumclusterwidenetworkpolicies.cilium.io",
        plural: "ciliumclusterwidenetworkpolicies",
        places: CILIUM,
        namespaced: false,
        staged: false,
    },
];

impl PolicyKind {
    /// The kind of an object by its `apiVersion` (of whatever version) and `kind`.
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let (group, _) = api_version.split_once('/')?;
        POLICY_KINDS.into_iter().find(|known| known.kind == kind && known.places.iter().any(|(of, _)| *of == group))
    }
}

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Pods.
    Pod,
    /// Nodes.
    Node,
    /// Namespaces.
    Namespace,
    /// Services.
    Service,
    /// `ReplicaSets`, their metadata only.
    ReplicaSet,
    /// Jobs, their metadata only.
    Job,
    /// Slices of services' endpoints.
    EndpointSlice,
    /// Network policies.
    NetworkPolicy,
    /// Network sets: `ConfigMaps` with a label, in one namespace.
    NetworkSet,
    /// Policies of another kind.
    OtherPolicy(PolicyKind),
}

impl Watched {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let always = [
            Self::Pod,
            Self::Node,
            Self::Namespace,
            Self::Service,
            Self::ReplicaSet,
            Self::Job,
            Self::EndpointSlice,
            Self::NetworkPolicy,
            Self::NetworkSet,
        ];
        always.into_iter().chain(POLICY_KINDS.into_iter().map(Self::OtherPolicy))
    }

    /// Its number, below [`WATCHED`].
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Self::Pod => 0,
            Self::Node => 1,
            Self::Namespace => 2,
            Self::Service => 3,
            Self::ReplicaSet => 4,
            Self::Job => 5,
            Self::EndpointSlice => 6,
            Self::NetworkPolicy => 7,
            Self::NetworkSet => 8,
            Self::OtherPolicy(kind) => ALWAYS + kind.number,
        }
    }

    /// Its name in the API, in the plural.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Node => "nodes",
            Self::Namespace => "namespaces",
            Self::Service => "services",
            Self::ReplicaSet => "replicasets",
            Self::Job => "jobs",
            Self::EndpointSlice => "endpointslices",
            Self::NetworkPolicy => "networkpolicies",
            Self::NetworkSet => "configmaps",
            Self::OtherPolicy(kind) => kind.name,
        }
    }
}
