//! Policies and ends, compiled.
//!
//! Every selector that any policy has is kept once, with the set of ends that it selects; every network once, in a trie.
//! A policy that comes or goes touches its own selectors alone, and a new end is compared with each selector once.

use crate::bits::{Bits, index, number};
use crate::ends::{End, EndKind, EndNumber, Known};
use crate::labels::{Conditions, Holds, Text, Texts};
use crate::model::{Direction, Foreign, Peer, Pods, Policy, PolicyId, Tier};
use crate::networks::{Class, Networks};
use crate::profile::Profile;
use foldhash::fast::FixedState;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::Arc;

mod alike;
mod compile;
mod judge;
mod side;

#[cfg(test)]
mod naive;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use judge::{Ask, Cache, Judgement, Outcome, Verdict};
pub use side::Side;

/// What a selector is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Matcher {
    PodsIn(Text, Conditions),
    Pods(Conditions, Conditions),
    Nodes(Conditions),
}

impl Matcher {
    fn hold(&self, end: &Known) -> Holds {
        let is_pod = matches!(end.kind, EndKind::Pod | EndKind::HostPod);
        match self {
            Self::PodsIn(namespace, pods) if is_pod && *namespace == end.namespace => {
                pods.hold(&end.labels, end.complete)
            }
            Self::Pods(namespaces, pods) if is_pod => {
                let pod = pods.hold(&end.labels, end.complete);
                pod.min(namespaces.hold(&end.namespace_labels, end.complete))
            }
            Self::Nodes(nodes) if end.is_host() => match &end.node_labels {
                Some(labels) => nodes.hold(labels, true),
                None => Holds::Maybe,
            },
            _ => Holds::No,
        }
    }
}

/// A selector and the ends that it selects.
#[derive(Clone, Debug)]
struct Selection {
    matcher: Matcher,
    uses: u32,
    yes: Bits,
    maybe: Bits,
}

impl Selection {
    fn see(&mut self, end: u32, known: &Known) {
        match self.matcher.hold(known) {
            Holds::Yes => self.yes.insert(end),
            Holds::Maybe => self.maybe.insert(end),
            Holds::No => {}
        }
    }

    fn holds(&self, end: u32) -> Holds {
        if self.yes.contains(end) {
            Holds::Yes
        } else if self.maybe.contains(end) {
            Holds::Maybe
        } else {
            Holds::No
        }
    }
}

/// A peer as numbers.
#[derive(Clone, Debug)]
enum CompiledPeer {
    Pods(u32),
    Nodes(u32),
    IpBlock(Class, Box<[Class]>),
    Networks(Box<[Class]>),
    Domains,
}

/// Ports as numbers.
#[derive(Clone, Copy, Debug)]
enum CompiledPorts {
    Any,
    Range(u16, u16),
    Named(Text),
}

type PortOf = (Option<u8>, CompiledPorts);

#[derive(Clone, Debug)]
struct CompiledRule {
    action: crate::model::Action,
    peers: Option<Box<[CompiledPeer]>>,
    /// Each with its protocol; any if absent.
    ports: Option<Box<[PortOf]>>,
}

#[derive(Clone, Debug)]
struct Compiled {
    policy: Arc<Policy>,
    subject: u32,
    /// Egress before ingress, as they are judged.
    egress: Option<Box<[CompiledRule]>>,
    ingress: Option<Box<[CompiledRule]>>,
    /// Whether a staged policy of the same name takes its place in what is pending.
    shadowed: bool,
}

impl Compiled {
    fn rules(&self, direction: Direction) -> Option<&[CompiledRule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Its place in the order of evaluation.
    fn rank(&self) -> (Tier, u16, &PolicyId) {
        (self.policy.tier, self.policy.priority, &self.policy.id)
    }
}

/// An end and the policies that may select it, in the order of evaluation.
#[derive(Clone, Debug)]
struct Selected {
    known: Known,
    egress: Vec<u32>,
    ingress: Vec<u32>,
    /// The first end of the same kind and namespace: where no policy selects one of them, the same is said of all.
    plain: u32,
}

impl Selected {
    fn policies(&self, direction: Direction) -> &[u32] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// The policies in force at a time, and the ends that were asked about.
#[derive(Clone, Debug)]
pub struct Engine {
    profile: Profile,
    texts: Texts,
    selections: Vec<Selection>,
    selection_numbers: HashMap<Matcher, u32, FixedState>,
    free_selections: Vec<u32>,
    policies: Vec<Option<Compiled>>,
    policy_numbers: BTreeMap<PolicyId, u32>,
    free_policies: Vec<u32>,
    foreign: BTreeSet<Foreign>,
    /// How many policies use a network.
    network_uses: BTreeMap<IpNet, u32>,
    networks: Networks,
    ends: Vec<Selected>,
    end_numbers: HashMap<Known, u32, FixedState>,
    /// The first end of each kind and namespace.
    plain: HashMap<(EndKind, Text), u32, FixedState>,
    /// Another one after each change of a policy, by which caches know whether they still hold.
    state: Arc<()>,
}

impl Engine {
    /// Without any policy.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            texts: Texts::default(),
            selections: Vec::new(),
            selection_numbers: HashMap::default(),
            free_selections: Vec::new(),
            policies: Vec::new(),
            policy_numbers: BTreeMap::new(),
            free_policies: Vec::new(),
            foreign: BTreeSet::new(),
            network_uses: BTreeMap::new(),
            networks: Networks::default(),
            ends: Vec::new(),
            end_numbers: HashMap::default(),
            plain: HashMap::default(),
            state: Arc::new(()),
        }
    }

    /// How what is left to the implementation is decided.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The policies, in the order of what they are known by.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policy_numbers.values().filter_map(|number| Some(&*self.compiled(*number)?.policy))
    }

    /// The policies that select but cannot be evaluated.
    pub fn foreign(&self) -> impl Iterator<Item = &Foreign> {
        self.foreign.iter()
    }

    /// How many ends that differ were asked about: what memory grows with.
    #[must_use]
    pub fn ends(&self) -> usize {
        self.ends.len()
    }

    /// Forgets all ends: their numbers are void, and caches are, too.
    pub fn forget_ends(&mut self) {
        self.ends.clear();
        self.end_numbers.clear();
        self.plain.clear();
        for selection in &mut self.selections {
            selection.yes.clear();
            selection.maybe.clear();
        }
        self.state = Arc::new(());
    }

    /// The number of an end. Its cost grows with the number of labels, and once with the number of selectors: keep the number.
    pub fn end<T: AsRef<str>>(&mut self, end: &End<'_, T>) -> EndNumber {
        let known = Known::new(&mut self.texts, end);
        if let Some(number) = self.end_numbers.get(&known) {
            return EndNumber(*number);
        }
        let new = number(self.ends.len());
        for selection in self.selections.iter_mut().filter(|selection| selection.uses > 0) {
            selection.see(new, &known);
        }
        let plain = *self.plain.entry((known.kind, known.namespace)).or_insert(new);
        let mut selected = Selected { known: known.clone(), egress: Vec::new(), ingress: Vec::new(), plain };
        for (at, compiled) in self.policies.iter().enumerate() {
            let Some(compiled) = compiled else { continue };
            if self.selects(compiled, new) {
                Self::list(&mut selected, number(at), compiled);
            }
        }
        for list in [&mut selected.egress, &mut selected.ingress] {
            list.sort_by(|a, b| self.rank(*a).cmp(&self.rank(*b)));
        }
        self.ends.push(selected);
        self.end_numbers.insert(known, new);
        EndNumber(new)
    }

    fn list(selected: &mut Selected, policy: u32, compiled: &Compiled) {
        if compiled.egress.is_some() {
            selected.egress.push(policy);
        }
        if compiled.ingress.is_some() {
            selected.ingress.push(policy);
        }
    }

    fn rank(&self, policy: u32) -> Option<(Tier, u16, &PolicyId)> {
        Some(self.compiled(policy)?.rank())
    }

    fn compiled(&self, policy: u32) -> Option<&Compiled> {
        self.policies.get(index(policy))?.as_ref()
    }

    fn selection(&self, number: u32) -> Option<&Selection> {
        self.selections.get(index(number))
    }

    fn holds(&self, selection: u32, end: u32) -> Holds {
        self.selection(selection).map_or(Holds::No, |selection| selection.holds(end))
    }

    fn selects(&self, compiled: &Compiled, end: u32) -> bool {
        self.holds(compiled.subject, end) != Holds::No
    }

    fn selected(&self, end: u32) -> Option<&Selected> {
        self.ends.get(index(end))
    }

    /// Reads what is asked first of ends that are judged about next, so that they wait for memory together.
    pub fn fetch(&self, ends: &[EndNumber]) {
        let selected = ends.iter().filter_map(|end| self.selected(end.0));
        black_box(selected.fold(0, |all, end| all ^ end.plain ^ number(end.egress.len() ^ end.ingress.len())));
    }

    /// Whether a policy selects any of the ends that are known.
    #[must_use]
    pub fn selects_any(&self, id: &PolicyId) -> bool {
        let compiled = self.policy_numbers.get(id).and_then(|number| self.compiled(*number));
        let selection = compiled.and_then(|compiled| self.selection(compiled.subject));
        selection
            .is_some_and(|selection| selection.yes.iter().next().is_some() || selection.maybe.iter().next().is_some())
    }

    /// The networks that policies name, each once, sorted.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.network_uses.keys().copied()
    }

    /// Whether any of the ends that are known is such a peer; nothing if that cannot be said of this kind of peer.
    #[must_use]
    pub fn peer_exists(&self, peer: &Peer) -> Option<bool> {
        let (namespaces, pods) = match peer {
            Peer::Pods(Pods { namespaces, pods }) => (Some(namespaces), pods),
            Peer::Nodes(nodes) => (None, nodes),
            _ => return None,
        };
        let mut texts = self.texts.clone();
        let matcher = compile::matcher(&mut texts, namespaces, pods);
        Some(self.ends.iter().any(|end| matcher.hold(&end.known) != Holds::No))
    }
}
