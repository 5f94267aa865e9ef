//! What the watches of a cluster tell, in the order in which it may enter the history. Pure.
//!
//! Nothing enters before every kind has been listed once, so that owner chains are complete. A pod whose ReplicaSet or
//! Job is not known yet waits for it, until the watch of that kind has passed the pod's own version: then it is gone.

use crate::freshness::Held;
use crate::keep::{Keep, LeftOut};
use crate::observe::{self, OtherPolicy};
use crate::owners::{Middle, Owners};
use crate::revisions::{History, Kind, Observed};
use crate::watched::{PolicyKind, WATCHED, Watched};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use weir_flow::Millis;
use weir_schemas::metadata::{Object, Revision};

mod mirrors;
mod waiting;

#[cfg(test)]
mod tests;

use mirrors::Mirrors;
use waiting::{Queue, Wait, Waiting};

pub use waiting::{WAITING, WithoutOwner};

/// The longest that a pod waits for its owner, ms: versions of different kinds need not be comparable.
const WAIT: Millis = 10_000;

/// Where agents' pods are unless a setting or this service's own namespace says otherwise.
pub const AGENT_NAMESPACE: &str = "weir";

/// How late a node tells the API server what happened on it, at most, ms: a heartbeat that stays this far behind is after
/// everything that the nodes have to tell of its time.
pub const NODES_TELL_WITHIN: Millis = 30_000;

/// An object of a watched kind.
#[derive(Clone, Debug)]
pub enum Item {
    /// A pod.
    Pod(Box<Pod>),
    /// A node.
    Node(Box<Node>),
    /// A namespace.
    Namespace(Box<Namespace>),
    /// A service.
    Service(Box<Service>),
    /// A `ReplicaSet`'s metadata.
    ReplicaSet(Box<ObjectMeta>),
    /// A job's metadata.
    Job(Box<ObjectMeta>),
    /// A slice of a service's endpoints.
    EndpointSlice(Box<EndpointSlice>),
    /// A network policy.
    NetworkPolicy(Box<NetworkPolicy>),
    /// A `ConfigMap` that is a network set.
    NetworkSet(Box<ConfigMap>),
    /// A policy of another kind.
    OtherPolicy(Box<OtherPolicy>),
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Change {
    /// All objects of the kind, at a version.
    Listed(Vec<Item>),
    /// An object is new or was changed.
    Applied(Item),
    /// An object is gone; as it last was.
    Deleted(Item),
    /// Nothing but a version.
    Passed,
}

/// Something that a watch told.
#[derive(Clone, Debug)]
pub struct Event {
    /// The kind.
    pub watched: Watched,
    /// When it arrived, ms since the epoch.
    pub arrival: Millis,
    /// The version up to which the watch has now told everything.
    pub version: u64,
    /// What it told.
    pub change: Change,
}

/// The cluster as far as it has been told.
#[derive(Default)]
pub struct Cluster {
    /// Agents that a setting names.
    agents: Vec<Observed>,
    /// The namespace in which agents' pods are.
    agents_in: String,
    keep: Keep,
    left_out: LeftOut,
    owners: Owners,
    listed: [bool; WATCHED],
    reached: [u64; WATCHED],
    early: Vec<Event>,
    waiting: Queue,
    without_owner: WithoutOwner,
    mirrors: Mirrors,
    /// Pods that were asked to end and were waited for.
    ending: BTreeSet<String>,
    /// When every kind had been listed once.
    listed_at: Option<Millis>,
    /// How far the heartbeat stays behind what the API server held, ms.
    node_delay: Millis,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("listed", &self.listed).field("waiting", &self.waiting.len()).finish()
    }
}

impl Cluster {
    /// A cluster of which nothing has been told, with the agents that a setting names and what is kept of objects.
    #[must_use]
    pub fn new(agents: Vec<Observed>, keep: Keep) -> Self {
        Self { agents, agents_in: AGENT_NAMESPACE.to_owned(), keep, ..Self::default() }
    }

    /// The same with agents' pods in another namespace than [`AGENT_NAMESPACE`].
    #[must_use]
    pub fn with_agents_in(self, namespace: &str) -> Self {
        Self { agents_in: namespace.to_owned(), ..self }
    }

    /// The same with a heartbeat that stays `node_delay` ms behind what the API server held. From [`NODES_TELL_WITHIN`] on
    /// a pod that was asked to end is certain until its containers' end is told: had they ended at a time, its node would
    /// have told so before the heartbeat passes that time.
    #[must_use]
    pub fn with_node_delay(self, node_delay: Millis) -> Self {
        Self { node_delay, ..self }
    }

    /// What was left out since the last call.
    pub fn left_out(&mut self) -> LeftOut {
        std::mem::take(&mut self.left_out)
    }

    /// How many pods were taken before their owner was known since the last call.
    pub fn without_owner(&mut self) -> WithoutOwner {
        std::mem::take(&mut self.without_owner)
    }

    /// How many pods claimed a UID that another has since the last call.
    pub fn claims_refused(&mut self) -> u64 {
        self.mirrors.taken()
    }

    /// Whether every kind has been listed, so that the history can be written.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed.iter().all(|listed| *listed)
    }

    /// When every kind had been listed once, ms since the epoch: what came and went before is not known.
    #[must_use]
    pub fn listed_at(&self) -> Option<Millis> {
        self.listed_at
    }

    /// How many pods wait for their owners.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What pods that wait for their owners keep from being promised; nothing when none waits. A pod waits ten seconds at
    /// most, and what is promised stands still for no longer.
    #[must_use]
    pub fn held(&self) -> Option<Held> {
        let version = self.waiting.iter().map(|waiting| waiting.version).min()?;
        let arrival = self.waiting.iter().map(|waiting| waiting.arrival).min()?;
        Some(Held { kind: Watched::Pod.number(), version, arrival })
    }

    /// Takes an event; the revisions to write.
    #[must_use]
    pub fn take(&mut self, event: Event, history: &mut History) -> Vec<Revision> {
        let number = event.watched.number();
        let was_listed = self.is_listed();
        if let Some(reached) = self.reached.get_mut(number) {
            *reached = event.version.max(*reached);
        }
        if let (Change::Listed(_), Some(listed)) = (&event.change, self.listed.get_mut(number)) {
            *listed = true;
        }
        let now = event.arrival;
        if !was_listed && self.is_listed() {
            self.listed_at = Some(now);
        }
        if self.own(&event) {
            return if was_listed { self.release(now, history) } else { self.begin(history) };
        }
        if !was_listed {
            self.early.push(event);
            return self.begin(history);
        }
        let mut revisions = self.enter(event, history);
        revisions.extend(self.release(now, history));
        revisions
    }

    /// When everything is listed, what came before may enter.
    fn begin(&mut self, history: &mut History) -> Vec<Revision> {
        if !self.is_listed() {
            return Vec::new();
        }
        let early = std::mem::take(&mut self.early);
        let now = early.iter().map(|event| event.arrival).max().unwrap_or_default();
        history.believe_nodes(self.node_delay, NODES_TELL_WITHIN);
        let mut revisions: Vec<Revision> = Vec::new();
        for agent in self.agents.clone() {
            revisions.extend(history.observe(agent, now));
        }
        revisions.extend(early.into_iter().flat_map(|event| self.enter(event, history)));
        revisions
    }

    /// Takes what only owner chains need; whether it was that.
    fn own(&mut self, event: &Event) -> bool {
        let kind = match event.watched {
            Watched::ReplicaSet => Middle::ReplicaSet,
            Watched::Job => Middle::Job,
            _ => return false,
        };
        match &event.change {
            Change::Listed(items) => {
                let metas: Vec<ObjectMeta> = items.iter().filter_map(meta_of).cloned().collect();
                self.owners.replace(kind, &metas, event.arrival);
            }
            Change::Applied(item) => meta_of(item).into_iter().for_each(|meta| self.owners.learn(kind, meta)),
            Change::Deleted(item) => {
                meta_of(item).into_iter().for_each(|meta| self.owners.lose(kind, meta, event.arrival));
            }
            Change::Passed => {}
        }
        true
    }

    fn enter(&mut self, event: Event, history: &mut History) -> Vec<Revision> {
        let Event { watched, arrival, version, change } = event;
        match change {
            Change::Passed => Vec::new(),
            Change::Applied(Item::Pod(pod)) => self.pod(pod, arrival, version, history),
            Change::Applied(item) => {
                self.observe_item(&item).map_or_else(Vec::new, |seen| history.observe(seen, arrival))
            }
            Change::Deleted(item) => self.deleted(&item, arrival, history),
            Change::Listed(items) => self.relisted(watched, items, arrival, history),
        }
    }

    fn pod(&mut self, pod: Box<Pod>, arrival: Millis, version: u64, history: &mut History) -> Vec<Revision> {
        let uid = self.mirrors.uid(&pod, history);
        let waiting = Waiting { uid, pod, arrival, version };
        if !self.waiting.holds(&waiting.uid) && self.wait(&waiting, arrival) == Wait::Over {
            return self.observe_pod(&waiting, history);
        }
        let Some(first) = self.waiting.push(waiting) else { return Vec::new() };
        self.without_owner.limit += 1;
        self.observe_pod(&first, history)
    }

    fn wait(&self, waiting: &Waiting, now: Millis) -> Wait {
        let watched = match self.owners.missing(&waiting.pod.metadata) {
            None => return Wait::Over,
            Some(Middle::ReplicaSet) => Watched::ReplicaSet,
            Some(Middle::Job) => Watched::Job,
        };
        let passed = self.reached.get(watched.number()).is_some_and(|reached| *reached >= waiting.version);
        Wait::of(passed, waiting.arrival, now)
    }

    /// Pods whose wait is over, in the order of their arrival.
    fn release(&mut self, now: Millis, history: &mut History) -> Vec<Revision> {
        let mut revisions = Vec::new();
        let mut still = Queue::default();
        let mut held: BTreeSet<String> = BTreeSet::new();
        for waiting in self.waiting.take(|_| true) {
            let wait = self.wait(&waiting, now);
            if held.contains(&waiting.uid) || wait == Wait::GoesOn {
                held.insert(waiting.uid.clone());
                // There were no more than fit before.
                let _ = still.push(waiting);
                continue;
            }
            self.without_owner.late += u64::from(wait == Wait::Late);
            revisions.extend(self.observe_pod(&waiting, history));
        }
        self.waiting = still;
        revisions
    }

    fn observe_pod(&mut self, waiting: &Waiting, history: &mut History) -> Vec<Revision> {
        let Waiting { uid, pod, arrival, .. } = waiting;
        let arrival = *arrival;
        let owner = self.owners.top(&pod.metadata);
        let mut revisions = Vec::new();
        if let Some((mut former, ended)) = observe::former_pod(pod, &owner, arrival) {
            former.uid.clone_from(uid);
            // What is left out of it is left out again below, and counts once.
            let _ = self.keep.apply(&mut former, &pod.metadata);
            revisions.extend(history.observe_former(former, ended, arrival));
        }
        let mut seen = observe::pod(pod, owner, arrival);
        self.left_out += self.keep.apply(&mut seen, &pod.metadata);
        seen.uid.clone_from(uid);
        revisions.extend(history.observe(seen, arrival));
        if let Some(asked) = observe::deleted(&pod.metadata, arrival) {
            // Without time to end, nobody waits for its containers.
            if pod.metadata.deletion_grace_period_seconds.is_some_and(|grace| grace > 0) {
                self.ending.insert(uid.clone());
            }
            let is_told = self.node_delay >= NODES_TELL_WITHIN;
            let foreseen = if is_told { observe::containers_ended(pod, arrival) } else { Some(asked) };
            revisions.extend(foreseen.and_then(|since| history.foresee_end(Kind::Pod, uid, since)));
        }
        match self.agent(pod) {
            Some(agent) => revisions.extend(history.observe(Observed { uid: uid.clone(), ..agent }, arrival)),
            None => revisions.extend(history.vanish(Kind::Agent, uid, observe::agent_end(pod), arrival)),
        }
        revisions
    }

    /// The agent that a pod is. In another namespace anybody who may make pods could say that a node is covered.
    fn agent(&self, pod: &Pod) -> Option<Observed> {
        observe::agent(pod).filter(|agent| agent.namespace == self.agents_in)
    }

    fn deleted(&mut self, item: &Item, arrival: Millis, history: &mut History) -> Vec<Revision> {
        if let Item::Pod(pod) = item {
            return self.deleted_pod(pod, arrival, history);
        }
        let Some(seen) = self.observe_item(item) else { return Vec::new() };
        let ended = meta_of(item).and_then(|meta| observe::deleted(meta, arrival));
        history.vanish(Kind::of(&seen.object), &seen.uid, ended, arrival).into_iter().collect()
    }

    /// Takes pods that are gone out of those that wait: as they were, for their end to follow.
    fn give_up(&mut self, is_gone: impl Fn(&str) -> bool, history: &mut History) -> Vec<Revision> {
        let gone = self.waiting.take(|waiting| is_gone(&waiting.uid));
        gone.iter().flat_map(|waiting| self.observe_pod(waiting, history)).collect()
    }

    fn deleted_pod(&mut self, pod: &Pod, arrival: Millis, history: &mut History) -> Vec<Revision> {
        let uid = self.mirrors.uid(pod, history);
        self.mirrors.forget(pod);
        let mut revisions = self.give_up(|waiting| waiting == uid, history);
        let ended = observe::pod_end(pod, arrival, self.ending.remove(&uid));
        let agent_ended = observe::agent_end(pod).or(ended);
        revisions.extend(history.vanish(Kind::Agent, &uid, agent_ended, arrival));
        revisions.extend(history.vanish(Kind::Pod, &uid, ended, arrival));
        revisions
    }

    /// A new list: what is not in it went unseen.
    fn relisted(
        &mut self,
        watched: Watched,
        items: Vec<Item>,
        arrival: Millis,
        history: &mut History,
    ) -> Vec<Revision> {
        let kind = match watched {
            Watched::Pod => Kind::Pod,
            Watched::Node => Kind::Node,
            Watched::Namespace => Kind::Namespace,
            Watched::Service => Kind::Service,
            Watched::EndpointSlice => Kind::EndpointSlice,
            Watched::NetworkPolicy | Watched::OtherPolicy(_) => Kind::Policy,
            Watched::NetworkSet => Kind::NetworkSet,
            Watched::ReplicaSet | Watched::Job => return Vec::new(),
        };
        let mut present: BTreeSet<String> = BTreeSet::new();
        let mut agents: BTreeSet<String> = BTreeSet::new();
        let mut revisions = Vec::new();
        for item in items {
            match item {
                Item::Pod(pod) => {
                    let uid = self.mirrors.uid(&pod, history);
                    agents.extend(self.agent(&pod).map(|_| uid.clone()));
                    present.insert(uid);
                    let version = version_of(&pod.metadata);
                    revisions.extend(self.pod(pod, arrival, version, history));
                }
                item => {
                    if let (Some(seen), Some(meta)) = (self.observe_item(&item), meta_of(&item)) {
                        let seen = observe::listed(seen, meta, history.heartbeat(), arrival);
                        present.insert(seen.uid.clone());
                        revisions.extend(history.observe(seen, arrival));
                    }
                }
            }
        }
        if kind == Kind::Pod {
            revisions.extend(self.give_up(|waiting| !present.contains(waiting), history));
            self.ending.retain(|uid| present.contains(uid));
            self.mirrors.retain(&present);
            // Agents that a setting names are in no list of pods.
            agents.extend(self.agents.iter().map(|agent| agent.uid.clone()));
            revisions.extend(history.retain(Kind::Agent, &agents, arrival));
        }
        revisions.extend(history.retain_among(kind, |open| is_of(open, watched), &present, arrival));
        revisions
    }

    fn observe_item(&mut self, item: &Item) -> Option<Observed> {
        let mut seen = match item {
            Item::Node(node) => observe::node(node),
            Item::Namespace(namespace) => observe::namespace(namespace),
            Item::Service(service) => observe::service(service),
            Item::EndpointSlice(slice) => observe::endpoint_slice(slice),
            Item::NetworkPolicy(policy) => observe::network_policy(policy),
            Item::OtherPolicy(policy) => observe::other_policy(policy),
            Item::NetworkSet(map) => {
                self.left_out += LeftOut::of_network_set(map);
                observe::network_set(map)
            }
            Item::Pod(_) | Item::ReplicaSet(_) | Item::Job(_) => return None,
        };
        self.left_out += self.keep.apply(&mut seen, meta_of(item)?);
        Some(seen)
    }
}

/// Whether a revision is of the watched kind: policies of all kinds share one.
fn is_of(revision: &Revision, watched: Watched) -> bool {
    let Object::Policy(policy) = &revision.object else { return true };
    match (PolicyKind::of(&policy.api_version, &policy.kind), watched) {
        (Some(kind), Watched::OtherPolicy(of)) => kind == of,
        (None, Watched::NetworkPolicy) => true,
        _ => false,
    }
}

/// The version of an object; 0 where it is not a number, so that nothing waits for it.
#[must_use]
pub fn version_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn meta_of(item: &Item) -> Option<&ObjectMeta> {
    Some(match item {
        Item::Pod(pod) => &pod.metadata,
        Item::Node(node) => &node.metadata,
        Item::Namespace(namespace) => &namespace.metadata,
        Item::Service(service) => &service.metadata,
        Item::ReplicaSet(meta) | Item::Job(meta) => meta,
        Item::EndpointSlice(slice) => &slice.metadata,
        Item::NetworkPolicy(policy) => &policy.metadata,
        Item::OtherPolicy(policy) => &policy.metadata,
        Item::NetworkSet(map) => &map.metadata,
    })
}
