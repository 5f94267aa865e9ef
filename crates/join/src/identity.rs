//! Who an end is.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
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

/// The number of no object and of no node.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Who an end is: the part of a revision that flows are named by. Two are equal when they say the same.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What seldom changes from revision to revision, and is shared by them.
    pub entity: Arc<Entity>,
    /// Labels as `k=v`, sorted; of pods only, because a node's or a service's say nothing about what runs.
    pub labels: Arc<[Arc<str>]>,
    /// Number of the object in its table.
    pub(crate) object: u32,
    /// Number of its node in the table.
    pub(crate) node_number: u32,
}

/// Who an end is, but for its labels. Empty texts mean "without".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entity {
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
    /// Whether it comes from a source without times.
    pub always_valid: bool,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        // Revisions share both where nothing was changed, so that texts need seldom be read.
        let same_labels = Arc::ptr_eq(&self.labels, &other.labels) || self.labels == other.labels;
        same_labels && (Arc::ptr_eq(&self.entity, &other.entity) || self.entity == other.entity)
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entity.hash(state);
        self.labels.hash(state);
    }
}

impl Deref for Identity {
    type Target = Entity;

    fn deref(&self) -> &Entity {
        &self.entity
    }
}

impl Identity {
    /// An identity that is in no table.
    #[must_use]
    pub fn new(entity: Entity, labels: Arc<[Arc<str>]>) -> Self {
        Self { entity: Arc::new(entity), labels, object: NOWHERE, node_number: NOWHERE }
    }

    /// The name among candidates: `namespace/name`, or the name alone.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        qualified(&self.namespace, &self.name)
    }

    /// What holds for both of two revisions of one object: equal fields, and the labels that both have.
    pub(crate) fn common(&self, other: &Self) -> Self {
        Self {
            entity: if self.entity == other.entity {
                self.entity.clone()
            } else {
                Arc::new(self.entity.common(&other.entity))
            },
            labels: if self.labels == other.labels {
                self.labels.clone()
            } else {
                self.labels.iter().filter(|label| other.labels.contains(label)).cloned().collect()
            },
            object: self.object,
            node_number: if self.node_number == other.node_number { self.node_number } else { NOWHERE },
        }
    }
}

impl Entity {
    fn common(&self, other: &Self) -> Self {
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
            always_valid: self.always_valid && other.always_valid,
        }
    }
}

/// `namespace/name`, or the name alone of what is cluster-wide.
pub(crate) fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
