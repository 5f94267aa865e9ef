//! Who an end is.

use std::sync::Arc;

/// What kind of object an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityKind {
    /// A pod.
    Pod,
    /// A node, or the host where there is no cluster.
    Node,
    /// A service's address.
    Service,
}

/// Who an end is: the part of a revision that flows are named by. Empty texts mean "without".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it is.
    pub kind: IdentityKind,
    /// The object's UID.
    pub uid: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name of the pod, node or service.
    pub name: Arc<str>,
    /// Name of the pod's node, or of the node itself.
    pub node: Arc<str>,
    /// Kind of the workload.
    pub workload_kind: Arc<str>,
    /// Name of the workload.
    pub workload: Arc<str>,
    /// The pod's service account.
    pub service_account: Arc<str>,
    /// Labels as `k=v`, sorted; of pods only, because a node's or a service's say nothing about what runs.
    pub labels: Arc<[Arc<str>]>,
    /// Whether it comes from a source without times.
    pub always_valid: bool,
}

impl Identity {
    /// The name among candidates: `namespace/name`, or the name alone.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        if self.namespace.is_empty() { self.name.to_string() } else { format!("{}/{}", self.namespace, self.name) }
    }

    /// What holds for both of two revisions of one object: equal fields, and the labels that both have.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let keep = |a: &Arc<str>, b: &Arc<str>| if a == b { a.clone() } else { Arc::from("") };
        Self {
            kind: self.kind,
            uid: self.uid.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            node: keep(&self.node, &other.node),
            workload_kind: keep(&self.workload_kind, &other.workload_kind),
            workload: keep(&self.workload, &other.workload),
            service_account: keep(&self.service_account, &other.service_account),
            labels: self.labels.iter().filter(|label| other.labels.contains(label)).cloned().collect(),
            always_valid: self.always_valid && other.always_valid,
        }
    }
}
