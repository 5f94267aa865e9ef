//! Policies as they are understood: one form for all kinds, with tiers, priorities and Pass.

use ipnet::IpNet;
use std::fmt;

/// The kind of a policy, as far as the engine knows how to evaluate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `networking.k8s.io/v1`.
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`.
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`, read as the Admin tier of a `ClusterNetworkPolicy`.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`, read as the Baseline tier of a `ClusterNetworkPolicy`.
    BaselineAdminNetworkPolicy,
}

impl PolicyKind {
    /// The kind of an object by its `apiVersion` and `kind`; nothing for a kind or a version that the engine cannot evaluate.
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        match (api_version, kind) {
            ("networking.k8s.io/v1", "NetworkPolicy") => Some(Self::NetworkPolicy),
            ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy") => Some(Self::ClusterNetworkPolicy),
            ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy") => Some(Self::AdminNetworkPolicy),
            ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy") => {
                Some(Self::BaselineAdminNetworkPolicy)
            }
            _ => None,
        }
    }

    /// Its `kind`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

/// Where a policy stands in the order of evaluation (network-policy-api, `ClusterNetworkPolicySpec.tier`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before all others.
    Admin,
    /// `NetworkPolicy` objects.
    NetworkPolicy,
    /// What `NetworkPolicy` objects override.
    Baseline,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Allows, finally.
    Allow,
    /// Denies, finally.
    Deny,
    /// Leaves it to the next tier.
    Pass,
}

impl Action {
    /// Its name in traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Pass => "pass",
        }
    }
}

/// Which way a policy looks at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Of the destination's policies.
    Ingress,
    /// Of the source's policies.
    Egress,
}

impl Direction {
    /// Its name in specifications.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// How a requirement compares a label (labels.Selector of Kubernetes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// One condition of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// The values of `In` and `NotIn`, sorted, each once.
    pub values: Vec<String>,
}

/// A label selector: all requirements hold. Without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The requirements, sorted.
    pub requirements: Vec<Requirement>,
}

/// Which namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespaces {
    /// The one with this name.
    Named(String),
    /// Those with these labels.
    Selected(Selector),
}

/// A set of pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pods {
    /// In these namespaces.
    pub namespaces: Namespaces,
    /// With these labels.
    pub pods: Selector,
}

/// The other end that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods.
    Pods(Pods),
    /// Nodes by their labels (of the cluster-wide kinds).
    Nodes(Selector),
    /// `ipBlock` of a `NetworkPolicy`: whether it means pods and nodes too is left to the implementation.
    IpBlock {
        /// The block.
        network: IpNet,
        /// What is left out of it.
        except: Vec<IpNet>,
    },
    /// `networks` of the cluster-wide kinds, which means pods and nodes too.
    Networks(Vec<IpNet>),
    /// Domain names: which addresses they stand for is not known to the engine.
    Domains(Vec<String>),
}

/// The destination ports that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMatch {
    /// IANA protocol number; any if absent.
    pub protocol: Option<u8>,
    /// Which ports.
    pub ports: Ports,
}

/// Ports by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All.
    Any,
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The port that the destination pod calls so.
    Named(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// Its name; empty without one.
    pub name: String,
    /// The other ends; any if absent.
    pub peers: Option<Vec<Peer>>,
    /// The ports; any if absent.
    pub ports: Option<Vec<PortMatch>>,
}

/// What a policy is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// The kind.
    pub kind: PolicyKind,
    /// The namespace; empty for the cluster-wide kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Whether it is only staged: judged as pending, never as enforced.
    pub staged: bool,
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let staged = if self.staged { "staged " } else { "" };
        if self.namespace.is_empty() {
            write!(f, "{staged}{} {}", self.kind.name(), self.name)
        } else {
            write!(f, "{staged}{} {}/{}", self.kind.name(), self.namespace, self.name)
        }
    }
}

/// A policy that was read and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What it is known by.
    pub id: PolicyId,
    /// Its tier.
    pub tier: Tier,
    /// Its place in its tier: lower is earlier, 0 to 1000. A `NetworkPolicy` has none, and 0 here.
    pub priority: u16,
    /// The pods that it applies to.
    pub subject: Pods,
    /// Rules for what comes in; absent if the policy does not speak of it.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for what goes out; absent if the policy does not speak of it.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// The rules of a direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A policy that selects but cannot be evaluated: another maker's kind, an unknown version, a specification that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Foreign {
    /// `kind`, as it is written.
    pub kind: String,
    /// The namespace to whose pods it may apply; empty: to all pods.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Whether it is only staged.
    pub staged: bool,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}
