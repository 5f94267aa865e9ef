//! The metadata topic as what policies need: who there was at a time, and which policies held.

use crate::world::{Node, Pod, PolicySource, Spec, World};
use std::collections::{BTreeMap, HashMap};
use weir_flow::Millis;
use weir_schemas::metadata::{self, Metadata, Object, Proof, Revision};

/// All revisions of one object, by ordinal.
type Revisions = BTreeMap<u64, Revision>;

/// Where in an uncertain time a change is taken to lie: nodes and servers do not tell times exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// As early as it can have been.
    Early,
    /// As late as it can have been.
    Late,
}

/// Everything that the topic says about one cluster.
#[derive(Debug, Default)]
pub struct History {
    /// By kind and UID.
    objects: HashMap<(&'static str, String), Revisions>,
    /// UIDs of namespaces and nodes by kind and name.
    named: HashMap<(&'static str, String), Vec<String>>,
    /// Up to when it is complete.
    complete_to: Option<Millis>,
    /// From when on it is whole.
    begins: Option<Millis>,
    revisions: usize,
}

fn holds(revision: &Revision, at: Millis, change: Change) -> bool {
    let bound = |bound: &metadata::Bound| match change {
        Change::Early => bound.earliest,
        Change::Late => bound.latest,
    };
    bound(&revision.valid_from) <= at && revision.valid_to.as_ref().is_none_or(|to| at < bound(to))
}

impl History {
    /// Takes a message of the topic.
    pub fn take(&mut self, message: Metadata, key: &str, cluster: &str) {
        match message {
            // Policies are those of objects, whatever the source of names was.
            Metadata::Heartbeat(_)
                if metadata::is_source_key(key, cluster) || metadata::parse_gap_key(key, cluster).is_some() => {}
            Metadata::Heartbeat(heartbeat) if heartbeat.cluster == cluster => {
                if key != metadata::first_heartbeat_key(cluster) {
                    self.complete_to = Some(heartbeat.complete_to);
                } else if matches!(heartbeat.proof, Proof::Probed | Proof::Assumed) {
                    // Manifests hold for all time; only a cluster has a history that begins.
                    self.begins = Some(heartbeat.complete_to);
                }
            }
            Metadata::Revision(revision) if revision.cluster == cluster => {
                let kind = revision.object.kind();
                if matches!(revision.object, Object::Namespace(_) | Object::Node(_)) {
                    let uids = self.named.entry((kind, revision.name.clone())).or_default();
                    if !uids.contains(&revision.uid) {
                        uids.push(revision.uid.clone());
                    }
                }
                let revisions = self.objects.entry((kind, revision.uid.clone())).or_default();
                let known = revisions.insert(revision.revision, revision);
                self.revisions += usize::from(known.is_none());
            }
            Metadata::Heartbeat(_) | Metadata::Revision(_) => {}
        }
    }

    /// Takes a tombstone of the topic.
    pub fn forget(&mut self, key: &str) {
        let parts: Vec<&str> = key.rsplitn(4, '/').collect();
        let [revision, uid, kind, _] = parts.as_slice() else { return };
        let kinds = ["Pod", "Node", "Namespace", "Policy"];
        let kind = kinds.into_iter().find(|known| known == kind);
        let revisions = kind.and_then(|kind| self.objects.get_mut(&(kind, (*uid).to_owned())));
        if let (Some(revisions), Ok(revision)) = (revisions, revision.parse()) {
            self.revisions -= usize::from(revisions.remove(&revision).is_some());
        }
    }

    /// Whether the topic spoke of the cluster at all.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.complete_to.is_some()
    }

    /// Up to when the history is complete, ms since the epoch.
    #[must_use]
    pub fn complete_to(&self) -> Millis {
        self.complete_to.unwrap_or(Millis::MIN)
    }

    /// How many revisions it holds.
    #[must_use]
    pub fn revisions(&self) -> usize {
        self.revisions
    }

    /// From when on it is whole, if it says so.
    #[must_use]
    pub fn begins(&self) -> Option<Millis> {
        self.begins
    }

    /// An object's revision that held at a time.
    #[must_use]
    pub fn held(&self, kind: &'static str, uid: &str, at: Millis, change: Change) -> Option<&Revision> {
        let revisions = self.objects.get(&(kind, uid.to_owned()))?;
        revisions.values().rev().find(|revision| holds(revision, at, change))
    }

    /// The namespace or node of a name that there was at a time.
    #[must_use]
    pub fn named(&self, kind: &'static str, name: &str, at: Millis, change: Change) -> Option<&Revision> {
        let uids = self.named.get(&(kind, name.to_owned()))?;
        uids.iter().rev().find_map(|uid| self.held(kind, uid, at, change))
    }

    fn all(&self, kind: &'static str, at: Millis, change: Change) -> Vec<&Revision> {
        let of_kind = self.objects.iter().filter(|((of, _), _)| *of == kind);
        let mut found: Vec<&Revision> = of_kind
            .filter_map(|(_, revisions)| revisions.values().rev().find(|revision| holds(revision, at, change)))
            .collect();
        found.sort_unstable_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        found
    }

    /// The policies that held at a time.
    #[must_use]
    pub fn policies(&self, at: Millis, change: Change) -> Vec<PolicySource> {
        self.all("Policy", at, change).into_iter().filter_map(policy).collect()
    }

    /// Every time at which a policy may have changed, in order, each once.
    #[must_use]
    pub fn policy_changes(&self, change: Change) -> Vec<Millis> {
        let of_kind = self.objects.iter().filter(|((of, _), _)| *of == "Policy");
        let bounds = of_kind.flat_map(|(_, revisions)| revisions.values()).flat_map(|revision| {
            std::iter::once(&revision.valid_from).chain(&revision.valid_to).map(move |bound| match change {
                Change::Early => bound.earliest,
                Change::Late => bound.latest,
            })
        });
        let mut times: Vec<Millis> = bounds.collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    /// Everything as it was at a time.
    #[must_use]
    pub fn world(&self, at: Millis) -> World {
        let change = Change::Late;
        let mut world = World { policies: self.policies(at, change), ..World::default() };
        for revision in self.all("Namespace", at, change) {
            let known = revision.labels_dropped == 0;
            world.namespaces.insert(revision.name.clone(), (revision.labels.clone(), known));
        }
        for revision in self.all("Node", at, change) {
            if let Object::Node(node) = &revision.object {
                let node = Node { labels: revision.labels.clone(), addresses: node.addresses.clone() };
                world.nodes.insert(revision.name.clone(), node);
            }
        }
        for revision in self.all("Pod", at, change) {
            if let Some((workload, pod)) = pod(revision) {
                world.workloads.entry((revision.namespace.clone(), workload)).or_default().push(pod);
            }
        }
        world
    }
}

/// A pod of a revision, and the name of its workload.
#[must_use]
pub fn pod(revision: &Revision) -> Option<(String, Pod)> {
    let Object::Pod(pod) = &revision.object else { return None };
    let ports = pod.ports.iter().map(|port| (port.name.clone(), port.protocol, port.port)).collect();
    let found = Pod {
        name: revision.name.clone(),
        labels: revision.labels.clone(),
        complete: revision.labels_dropped == 0,
        ports,
        host_network: pod.host_network,
        node: pod.node.clone(),
        addresses: pod.addresses.clone(),
    };
    let workload = if pod.workload.is_empty() { revision.name.clone() } else { pod.workload.clone() };
    Some((workload, found))
}

fn policy(revision: &Revision) -> Option<PolicySource> {
    let Object::Policy(policy) = &revision.object else { return None };
    Some(PolicySource {
        api_version: policy.api_version.clone(),
        kind: policy.kind.clone(),
        namespace: revision.namespace.clone(),
        name: revision.name.clone(),
        staged: policy.staged,
        spec: Spec::Served(policy.spec.clone()),
        file: String::new(),
    })
}
