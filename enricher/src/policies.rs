//! What policies say and of whom, as of any time: the policies themselves, and the labels, ports and networks of pods,
//! namespaces and nodes. It is filled from the same messages as the table of the join, and holds what that has no use for.
//!
//! Nobody tells exactly when something changed: each bound of a revision is an interval. So everything can be asked for
//! with changes taken to lie as late, or as early, as they can have been ([`Change`]).

use foldhash::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use weir_flow::Millis;
use weir_join::Interner;
use weir_policy::{Foreign, NamedPort, Parsed, Policy, PolicyObject, parse_served};
use weir_schemas::metadata::{Metadata, Object, Pod, Revision, parse_revision_key};
use xxhash_rust::xxh3::xxh3_128;

mod marks;
mod timeline;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use marks::Mark;
use marks::{Marks, Number};
pub(crate) use timeline::{Change, Timeline};

/// Below this many facts none is ever dropped.
const FEW: usize = 4096;

/// A port that a pod's containers declare by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Port {
    name: Arc<str>,
    protocol: u8,
    port: u16,
}

/// What policies can tell of a pod. Texts and labels are kept once, so that the same ones are at the same place; so are
/// facts.
#[derive(Clone, Debug)]
pub(crate) struct PodFacts {
    pub(crate) namespace: Arc<str>,
    pub(crate) labels: Arc<[Arc<str>]>,
    /// Whether these are all labels.
    pub(crate) complete: bool,
    pub(crate) host_network: bool,
    /// Of a pod in its node's network: the node. Of others it tells policies nothing.
    pub(crate) node: Arc<str>,
    ports: Vec<Port>,
}

impl PartialEq for PodFacts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.labels, &other.labels)
            && Arc::ptr_eq(&self.namespace, &other.namespace)
            && Arc::ptr_eq(&self.node, &other.node)
            && (self.complete, self.host_network) == (other.complete, other.host_network)
            && self.ports == other.ports
    }
}

impl Eq for PodFacts {}

impl Hash for PodFacts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.labels.as_ptr().addr().hash(state);
        self.namespace.as_ptr().addr().hash(state);
        self.ports.len().hash(state);
    }
}

impl PodFacts {
    /// The ports as the engine asks for them.
    pub(crate) fn ports(&self) -> Vec<NamedPort<'_>> {
        let named = self.ports.iter();
        named.map(|Port { name, protocol, port }| NamedPort { name, protocol: *protocol, port: *port }).collect()
    }
}

/// The labels of a namespace or node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelFacts {
    pub(crate) labels: Arc<[Arc<str>]>,
    /// Whether these are all labels.
    pub(crate) complete: bool,
}

/// The labels of one namespace or node, over time.
pub(crate) type Labels = Timeline<LabelFacts>;

/// What a revision of a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// What the engine evaluates.
    Policy(Box<Policy>),
    /// What may select and cannot be evaluated.
    Foreign(Foreign),
}

/// A policy by what people know it by; two of one name follow each other.
pub(crate) type PolicyName = (Arc<str>, Arc<str>, Arc<str>);

/// Objects that are asked for by name, of which there may be several one after the other.
#[derive(Debug, Default)]
struct Named {
    by_uid: HashMap<ObjectKey, (Arc<str>, Labels)>,
    by_name: HashMap<Arc<str>, Vec<ObjectKey>>,
}

/// Everything of one cluster.
#[derive(Debug)]
pub struct Policies {
    cluster: Arc<str>,
    texts: Interner,
    facts: HashSet<Arc<PodFacts>>,
    sweep_at: usize,
    /// With their numbers in the marks.
    pods: HashMap<ObjectKey, (Number, Timeline<PodFacts>)>,
    marks: Marks,
    namespaces: Named,
    nodes: Named,
    policies: BTreeMap<ObjectKey, (PolicyName, Timeline<Rules>)>,
    /// Another one after each change of a policy.
    state: Arc<()>,
    /// Which these are among others.
    of: Arc<()>,
}

/// A pod outside its node's network that is known to stay what it is for a while.
#[derive(Clone, Debug)]
pub(crate) struct SteadyPod {
    pub(crate) facts: Arc<PodFacts>,
    pub(crate) namespace: Arc<LabelFacts>,
    /// From when on and before when it and its namespace are that.
    pub(crate) between: (Millis, Millis),
    /// Since when both are what they are.
    pub(crate) since: Millis,
    /// By which it can be told whether anything of that has been told anew.
    pub(crate) mark: Mark,
}

/// An object by its UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectKey(u128);

impl ObjectKey {
    pub(crate) fn of(uid: &str) -> Self {
        Self(xxh3_128(uid.as_bytes()))
    }
}

impl Policies {
    /// Of one cluster, about which nothing is known yet.
    #[must_use]
    pub fn new(cluster: &str) -> Self {
        Self {
            cluster: Arc::from(cluster),
            texts: Interner::default(),
            facts: HashSet::default(),
            sweep_at: FEW,
            pods: HashMap::default(),
            marks: Marks::default(),
            namespaces: Named::default(),
            nodes: Named::default(),
            policies: BTreeMap::new(),
            state: Arc::new(()),
            of: Arc::new(()),
        }
    }

    /// Takes a message of the metadata topic. A revision that is already known is replaced.
    pub fn take<T: AsRef<str>, R>(&mut self, message: &Metadata<T, R>) {
        let Metadata::Revision(revision) = message else { return };
        if *revision.cluster.as_ref() != *self.cluster {
            return;
        }
        let uid = ObjectKey::of(revision.uid.as_ref());
        match &revision.object {
            Object::Pod(pod) => {
                let facts = self.pod_facts(revision, pod);
                let marks = &mut self.marks;
                let (number, pod) = self.pods.entry(uid).or_insert_with(|| (marks.number(), Timeline::default()));
                marks.change(*number);
                pod.put(revision, facts);
            }
            Object::Namespace(_) => {
                self.marks.change_namespaces();
                let (name, facts) = self.label_facts(revision);
                self.namespaces.put(uid, name, revision, facts);
            }
            Object::Node(_) => {
                let (name, facts) = self.label_facts(revision);
                self.nodes.put(uid, name, revision, facts);
            }
            Object::Policy(policy) => {
                self.state = Arc::new(());
                let text = |texts: &mut Interner, text: &T| texts.text(text.as_ref());
                let name = (
                    text(&mut self.texts, &policy.kind),
                    text(&mut self.texts, &revision.namespace),
                    text(&mut self.texts, &revision.name),
                );
                let (_, timeline) = self.policies.entry(uid).or_insert_with(|| (name, Timeline::default()));
                // The text of a revision never changes; it comes again when its end is told.
                let known = timeline.facts(revision.revision);
                let rules = known.unwrap_or_else(|| Arc::new(rules(revision, policy)));
                timeline.put(revision, rules);
            }
            Object::Service(_) | Object::Agent(_) | Object::EndpointSlice(_) | Object::NetworkSet(_) => {}
        }
    }

    /// Takes a tombstone: forgets the revision with key `<cluster>/<kind>/<uid>/<revision>`. Other keys are ignored.
    pub fn forget(&mut self, of: &str) {
        let Some((kind, uid, revision)) = parse_revision_key(of, &self.cluster) else { return };
        let uid = ObjectKey::of(uid);
        match kind {
            "Pod" => self.forget_pod(uid, revision),
            "Namespace" => {
                self.marks.change_namespaces();
                self.namespaces.forget(uid, revision);
            }
            "Node" => self.nodes.forget(uid, revision),
            "Policy" => {
                self.state = Arc::new(());
                if self.policies.get_mut(&uid).is_some_and(|(_, policy)| policy.remove(revision)) {
                    self.policies.remove(&uid);
                }
            }
            _ => {}
        }
    }

    fn forget_pod(&mut self, uid: ObjectKey, revision: u64) {
        let Some((number, pod)) = self.pods.get_mut(&uid) else { return };
        self.marks.change(*number);
        if pod.remove(revision) {
            self.marks.free(*number);
            self.pods.remove(&uid);
        }
    }

    fn pod_facts<T: AsRef<str>, R>(&mut self, revision: &Revision<T, R>, pod: &Pod<T, R>) -> Arc<PodFacts> {
        let mut ports: Vec<Port> = Vec::new();
        for port in pod.ports.iter().filter(|port| !port.name.as_ref().is_empty()) {
            ports.push(Port { name: self.texts.text(port.name.as_ref()), protocol: port.protocol, port: port.port });
        }
        let facts = PodFacts {
            namespace: self.texts.text(revision.namespace.as_ref()),
            labels: self.texts.set(&revision.labels),
            complete: revision.labels_dropped == 0,
            host_network: pod.host_network,
            node: self.texts.text(if pod.host_network { pod.node.as_ref() } else { "" }),
            ports,
        };
        if let Some(known) = self.facts.get(&facts) {
            return known.clone();
        }
        if self.facts.len() >= self.sweep_at {
            self.facts.retain(|facts| Arc::strong_count(facts) > 1);
            self.sweep_at = FEW.max(2 * self.facts.len());
        }
        let new = Arc::new(facts);
        self.facts.insert(new.clone());
        new
    }

    fn label_facts<T: AsRef<str>, R>(&mut self, revision: &Revision<T, R>) -> (Arc<str>, Arc<LabelFacts>) {
        let facts = LabelFacts { labels: self.texts.set(&revision.labels), complete: revision.labels_dropped == 0 };
        (self.texts.text(revision.name.as_ref()), Arc::new(facts))
    }

    /// A pod.
    pub(crate) fn pod(&self, pod: ObjectKey) -> Option<&Timeline<PodFacts>> {
        self.pods.get(&pod).map(|(_, pod)| pod)
    }

    /// What a pod and its namespace are as long as both stay that; nothing where that takes a closer look.
    pub(crate) fn steady_pod(&self, pod: ObjectKey) -> Option<SteadyPod> {
        let (number, pod) = self.pods.get(&pod)?;
        let ((from, until), facts, since) = pod.steady_between()?;
        if facts.host_network {
            return None;
        }
        let ((begun, ends), namespace, of_namespace) = self.only_namespace(&facts.namespace)?.steady_between()?;
        Some(SteadyPod {
            facts: facts.clone(),
            namespace: namespace.clone(),
            between: (from.max(begun), until.min(ends)),
            since: since.max(of_namespace),
            mark: self.marks.mark(*number),
        })
    }

    /// Whether nothing was told of a pod, nor of a namespace, since it was marked.
    pub(crate) fn is_unchanged(&self, mark: Mark) -> bool {
        self.marks.is_unchanged(mark)
    }

    /// By which these can be told from others.
    pub(crate) fn of(&self) -> &Arc<()> {
        &self.of
    }

    /// The namespace of a name, at a time.
    pub(crate) fn namespace(&self, name: &str, at: Millis, change: Change) -> Option<&Labels> {
        self.namespaces.at(name, at, change)
    }

    /// The namespace of a name, where only one ever had it.
    pub(crate) fn only_namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.only(name)
    }

    /// The node of a name, at a time.
    pub(crate) fn node(&self, name: &str, at: Millis, change: Change) -> Option<&Labels> {
        self.nodes.at(name, at, change)
    }

    /// All policies that ever held, as far as they are known.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (&PolicyName, &Timeline<Rules>)> {
        self.policies.values().map(|(name, policy)| (name, policy))
    }

    /// By which it can be told whether a policy has changed.
    pub(crate) fn state(&self) -> &Arc<()> {
        &self.state
    }

    /// How many revisions of policies are held.
    #[must_use]
    pub fn policy_revisions(&self) -> usize {
        self.policies.values().map(|(_, policy)| policy.len()).sum()
    }
}

impl Named {
    fn put<T, R>(&mut self, uid: ObjectKey, name: Arc<str>, revision: &Revision<T, R>, facts: Arc<LabelFacts>) {
        let (_, timeline) = self.by_uid.entry(uid).or_insert_with(|| (name.clone(), Timeline::default()));
        // Facts that were known already stay where they are.
        let same = timeline.last().filter(|last| **last == facts).cloned();
        timeline.put(revision, same.unwrap_or(facts));
        let uids = self.by_name.entry(name).or_default();
        if !uids.contains(&uid) {
            uids.push(uid);
        }
    }

    fn forget(&mut self, uid: ObjectKey, revision: u64) {
        let Some((name, timeline)) = self.by_uid.get_mut(&uid) else { return };
        if !timeline.remove(revision) {
            return;
        }
        let name = name.clone();
        self.by_uid.remove(&uid);
        if let Some(uids) = self.by_name.get_mut(&name) {
            uids.retain(|known| *known != uid);
            if uids.is_empty() {
                self.by_name.remove(&name);
            }
        }
    }

    /// The one that had the name, if there was one only.
    fn only(&self, name: &str) -> Option<&Labels> {
        let [uid] = self.by_name.get(name)?.as_slice() else { return None };
        self.by_uid.get(uid).map(|(_, timeline)| timeline)
    }

    /// The one that held the name, else the one that had it last before. Which is first does not depend on the order in
    /// which they were told.
    fn at(&self, name: &str, at: Millis, change: Change) -> Option<&Labels> {
        let uids = self.by_name.get(name)?;
        let timelines = || uids.iter().filter_map(|uid| Some((*uid, &self.by_uid.get(uid)?.1)));
        if let ([_], Some((_, only))) = (uids.as_slice(), timelines().next()) {
            return Some(only);
        }
        let place = |(uid, timeline): &(ObjectKey, &Labels)| {
            (timeline.held(at, change).is_some(), timeline.begun_at(at, change), *uid)
        };
        timelines().max_by_key(place).map(|(_, timeline)| timeline)
    }
}

fn rules<T: AsRef<str>, R>(revision: &Revision<T, R>, policy: &weir_schemas::metadata::Policy<T>) -> Rules {
    let object = PolicyObject {
        api_version: policy.api_version.as_ref(),
        kind: policy.kind.as_ref(),
        namespace: revision.namespace.as_ref(),
        name: revision.name.as_ref(),
        staged: policy.staged,
    };
    match parse_served(object, policy.spec.as_ref()) {
        Parsed::Policy(policy, _) => Rules::Policy(policy),
        Parsed::Foreign(foreign) => Rules::Foreign(foreign),
        // Not of what a server has taken; whatever it is, it may select.
        Parsed::Invalid(_) => Rules::Foreign(Foreign {
            kind: object.kind.to_owned(),
            namespace: object.namespace.to_owned(),
            name: object.name.to_owned(),
            staged: object.staged,
        }),
    }
}
