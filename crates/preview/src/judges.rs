//! Every record under the policies of its time, and under those with the edits.

use crate::edit::Edit;
use crate::history::{Change, History, pod};
use crate::world::{Node, Place, World, judge, outside};
use std::collections::{BTreeMap, HashMap};
use weir_flow::Millis;
use weir_policy::{Cache, End, Engine, Outcome, PolicyId, Profile};
use weir_schemas::enriched::{Attribution, Enriched, NoneReason, Side};
use weir_schemas::metadata::Object;

/// The most answers that are kept of one set of policies.
const ANSWERS: usize = 500_000;
/// The most sets of policies that are kept compiled.
const STATES: usize = 32;

/// What is said of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// By the policies of its time.
    pub now: Outcome,
    /// By those with the edits.
    pub then: Outcome,
    /// Why one of them is not known.
    pub why: String,
}

impl Verdicts {
    fn unknown(why: &str) -> Self {
        Self { now: Outcome::Unknown, then: Outcome::Unknown, why: why.to_owned() }
    }
}

/// A set of policies, compiled without and with the edits.
#[derive(Debug)]
struct State {
    now: Engine,
    then: Engine,
    caches: (Cache, Cache),
}

/// An end, in both engines of a state.
type Both = (Place, Place);

/// Everything that is needed to judge.
#[derive(Debug)]
pub struct Judges<'a> {
    history: &'a History,
    profile: Profile,
    edits: Vec<Edit>,
    changes: BTreeMap<Change, Vec<Millis>>,
    /// Which state holds between two changes.
    known: HashMap<(Change, usize), usize>,
    signatures: HashMap<Vec<String>, usize>,
    states: Vec<State>,
    places: HashMap<(usize, String, u64, u64), Both>,
    /// Policies to be deleted that no set had so far.
    missing: Vec<PolicyId>,
}

impl<'a> Judges<'a> {
    /// Judges by what was known then, with the answers of a profile and with these edits.
    #[must_use]
    pub fn new(history: &'a History, profile: Profile, edits: Vec<Edit>) -> Self {
        let changes = [Change::Early, Change::Late].map(|change| (change, history.policy_changes(change)));
        let missing = edits.iter().filter_map(|edit| match edit {
            Edit::Delete(id) => Some(id.clone()),
            Edit::Put(_) => None,
        });
        Self {
            history,
            profile,
            missing: missing.collect(),
            edits,
            changes: changes.into(),
            known: HashMap::new(),
            signatures: HashMap::new(),
            states: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Policies to be deleted that were never there.
    #[must_use]
    pub fn missing(&self) -> &[PolicyId] {
        if self.states.is_empty() { &[] } else { &self.missing }
    }

    /// Judges a record. Where policies or labels changed within its window, or may have, both ways must agree.
    pub fn judge(&mut self, flow: &Enriched) -> Verdicts {
        let last = flow.window.saturating_add(flow.window_length).saturating_sub(1);
        let before = self.judge_at(flow, flow.window, Change::Late);
        let after = self.judge_at(flow, last, Change::Early);
        if (before.now, before.then) == (after.now, after.then) {
            return before;
        }
        Verdicts::unknown("policies or labels changed within the window")
    }

    fn judge_at(&mut self, flow: &Enriched, at: Millis, change: Change) -> Verdicts {
        let state = self.state(at, change);
        let place = |judges: &mut Self, side: &Side| judges.place(state, side, at, change);
        let (source, destination) = match (place(self, &flow.initiator), place(self, &flow.responder)) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(why), _) | (_, Err(why)) => return Verdicts::unknown(why),
        };
        let same = flow.initiator.pod_uid.is_some() && flow.initiator.pod_uid == flow.responder.pod_uid;
        if same {
            return Verdicts { now: Outcome::Allow, then: Outcome::Allow, why: String::new() };
        }
        let port = (flow.protocol, flow.responder.port.unwrap_or(0));
        let Some(State { now, then, caches }) = self.states.get_mut(state) else {
            return Verdicts::unknown("policies are not known");
        };
        let now = judge(now, &mut caches.0, (&source.0, &destination.0), port);
        let then = judge(then, &mut caches.1, (&source.1, &destination.1), port);
        let reasons = now.enforced.reasons.and(then.enforced.reasons);
        Verdicts { now: now.enforced.outcome, then: then.enforced.outcome, why: reasons.to_string() }
    }

    /// The number of the set of policies that holds at a time.
    fn state(&mut self, at: Millis, change: Change) -> usize {
        let changes = self.changes.get(&change).map(Vec::as_slice).unwrap_or_default();
        let place = changes.partition_point(|time| *time <= at);
        if let Some(state) = self.known.get(&(change, place)) {
            return *state;
        }
        if self.states.len() >= STATES {
            self.known.clear();
            self.signatures.clear();
            self.states.clear();
            self.places.clear();
        }
        let world = World { policies: self.history.policies(at, change), ..World::default() };
        let signature: Vec<String> = world.policies.iter().map(|policy| format!("{policy:?}")).collect();
        let state = match self.signatures.get(&signature) {
            Some(state) => *state,
            None => {
                let (now, _) = world.compile(self.profile);
                let mut then = now.clone();
                for edit in &self.edits {
                    match edit {
                        Edit::Put(policy) => then.insert((**policy).clone()),
                        Edit::Delete(id) => {
                            if then.remove(id) {
                                self.missing.retain(|missing| missing != id);
                            }
                        }
                    }
                }
                let caches = (Cache::new(ANSWERS), Cache::new(ANSWERS));
                self.states.push(State { now, then, caches });
                self.signatures.insert(signature, self.states.len() - 1);
                self.states.len() - 1
            }
        };
        self.known.insert((change, place), state);
        state
    }

    fn place(&mut self, state: usize, side: &Side, at: Millis, change: Change) -> Result<Both, &'static str> {
        let history = self.history;
        match (side.attribution, &side.pod_uid) {
            (Attribution::Exact, Some(uid)) => {
                let revision = history.held("Pod", uid, at, change).ok_or("the metadata topic no longer has a pod")?;
                let namespace = history.named("Namespace", &revision.namespace, at, change);
                let namespace = namespace.ok_or("the metadata topic no longer has a namespace")?;
                let key = (state, uid.clone(), revision.revision, namespace.revision);
                let address = side.address.or_else(|| match &revision.object {
                    Object::Pod(pod) => pod.addresses.first().copied(),
                    _ => None,
                });
                if let Some((now, then)) = self.places.get(&key) {
                    return Ok((Place { address, ..now.clone() }, Place { address, ..then.clone() }));
                }
                let (workload, pod) = pod(revision).ok_or("an object of the metadata topic is no pod")?;
                let mut world = World::default();
                let known = namespace.labels_dropped == 0;
                world.namespaces.insert(revision.namespace.clone(), (namespace.labels.clone(), known));
                if let Some(node) = history.named("Node", &pod.node, at, change).filter(|_| pod.host_network) {
                    let node = Node { labels: node.labels.clone(), addresses: Vec::new() };
                    world.nodes.insert(pod.node.clone(), node);
                }
                let engines = self.states.get_mut(state).ok_or("policies are not known")?;
                let place = |engine: &mut Engine| world.place(engine, &revision.namespace, &pod, workload.clone());
                let both = (place(&mut engines.now), place(&mut engines.then));
                self.places.insert(key, both.clone());
                Ok((Place { address, ..both.0 }, Place { address, ..both.1 }))
            }
            (Attribution::Exact, None) if side.service.is_some() && side.workload.is_none() => {
                Err("the address is a service's, and its endpoint is not known")
            }
            (Attribution::Exact, None) => self.node(state, side, at, change),
            (Attribution::Ambiguous, _) => Err("who had the address is not certain"),
            (Attribution::None, _) => match (side.reason, side.address) {
                (Some(NoneReason::Outside), Some(address)) => {
                    let engines = self.states.get_mut(state).ok_or("policies are not known")?;
                    Ok((outside(&mut engines.now, address), outside(&mut engines.then, address)))
                }
                (Some(NoneReason::UnknownPodAddress), _) => Err("a pod's address that nobody is known to have had"),
                (Some(NoneReason::BeforeHistory), _) => Err("it was before the metadata topic begins"),
                (Some(NoneReason::NotYetReported), _) => Err("a pod that was not yet reported"),
                (Some(NoneReason::NoCluster), _) => Err("no cluster is known"),
                _ => Err("an end is not known: the record is coarsened"),
            },
        }
    }

    fn node(&mut self, state: usize, side: &Side, at: Millis, change: Change) -> Result<Both, &'static str> {
        let name = side.node.as_deref().or(side.host.as_deref()).ok_or("an end is no pod, node or outside address")?;
        let labels = self.history.named("Node", name, at, change).map(|node| node.labels.clone());
        let engines = self.states.get_mut(state).ok_or("policies are not known")?;
        let place = |engine: &mut Engine| Place {
            number: engine.end(&End::Node(labels.as_deref())),
            address: side.address,
            node: name.to_owned(),
            namespace: String::new(),
            title: format!("node/{name}"),
        };
        Ok((place(&mut engines.now), place(&mut engines.then)))
    }
}
