//! Adding and removing policies.

use super::{Compiled, CompiledPeer, CompiledPorts, CompiledRule, Engine, Matcher, Selection, index, number};
use crate::bits::Bits;
use crate::labels::{Conditions, Texts};
use crate::model::{Direction, Foreign, Namespaces, Peer, Pods, Policy, PolicyId, Ports, Rule, Selector};
use crate::networks::{NO_NETWORK, Networks};
use ipnet::IpNet;
use std::sync::Arc;

/// How many networks that nobody uses are kept, beside as many as are used.
const UNUSED_NETWORKS: usize = 64;

pub(super) fn matcher(texts: &mut Texts, namespaces: Option<&Namespaces>, labels: &Selector) -> Matcher {
    let labels = Conditions::new(texts, labels);
    match namespaces {
        None => Matcher::Nodes(labels),
        Some(Namespaces::Named(name)) => Matcher::PodsIn(texts.make(name), labels),
        Some(Namespaces::Selected(namespaces)) => Matcher::Pods(Conditions::new(texts, namespaces), labels),
    }
}

/// Every network of a policy, each once.
fn networks(policy: &Policy) -> Vec<IpNet> {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let mut found = Vec::new();
    for peer in rules.flat_map(|rule| rule.peers.iter().flatten()) {
        match peer {
            Peer::IpBlock { network, except } => {
                found.push(*network);
                found.extend(except);
            }
            Peer::Networks(networks) => found.extend(networks),
            Peer::Pods(_) | Peer::Nodes(_) | Peer::Domains(_) => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

impl Engine {
    /// Adds a policy, in place of one with the same id.
    pub fn insert(&mut self, policy: Policy) {
        self.take_out(&policy.id);
        self.state = Arc::new(());
        for network in networks(&policy) {
            let uses = self.network_uses.entry(network).or_insert(0);
            *uses = uses.saturating_add(1);
            if *uses == 1 {
                self.networks.add(network);
            }
        }
        let id = policy.id.clone();
        let compiled = self.compile(Arc::new(policy));
        let place = self.free_policies.pop().unwrap_or_else(|| {
            self.policies.push(None);
            number(self.policies.len() - 1)
        });
        if let Some(slot) = self.policies.get_mut(index(place)) {
            *slot = Some(compiled);
        }
        self.policy_numbers.insert(id.clone(), place);
        self.list_at_ends(place);
        self.shadow(&id);
    }

    /// Removes a policy; false if there was none.
    pub fn remove(&mut self, id: &PolicyId) -> bool {
        let removed = self.take_out(id);
        if removed {
            self.state = Arc::new(());
            self.shadow(id);
        }
        removed
    }

    /// Adds a policy that selects but cannot be evaluated.
    pub fn insert_foreign(&mut self, foreign: Foreign) {
        self.state = Arc::new(());
        self.foreign.insert(foreign);
    }

    /// Removes one; false if there was none.
    pub fn remove_foreign(&mut self, foreign: &Foreign) -> bool {
        let removed = self.foreign.remove(foreign);
        if removed {
            self.state = Arc::new(());
        }
        removed
    }

    /// Notes whether an enforced policy has a staged one of the same name.
    fn shadow(&mut self, id: &PolicyId) {
        let staged = PolicyId { staged: true, ..id.clone() };
        let enforced = PolicyId { staged: false, ..id.clone() };
        let shadowed = self.policy_numbers.contains_key(&staged);
        let place = self.policy_numbers.get(&enforced).copied();
        if let Some(Some(compiled)) = place.and_then(|place| self.policies.get_mut(index(place))) {
            compiled.shadowed = shadowed;
        }
    }

    fn take_out(&mut self, id: &PolicyId) -> bool {
        let Some(place) = self.policy_numbers.remove(id) else { return false };
        let Some(compiled) = self.policies.get_mut(index(place)).and_then(Option::take) else { return false };
        for end in self.subjects(&compiled) {
            if let Some(selected) = self.ends.get_mut(index(end)) {
                selected.egress.retain(|policy| *policy != place);
                selected.ingress.retain(|policy| *policy != place);
            }
        }
        self.release(compiled.subject);
        let rules = compiled.egress.iter().chain(&compiled.ingress).flat_map(|rules| rules.iter());
        for peer in rules.flat_map(|rule| rule.peers.iter().flatten()) {
            if let CompiledPeer::Pods(selection) | CompiledPeer::Nodes(selection) = peer {
                self.release(*selection);
            }
        }
        for network in networks(&compiled.policy) {
            let uses = self.network_uses.get(&network).copied().unwrap_or(0).saturating_sub(1);
            if uses == 0 {
                self.network_uses.remove(&network);
            } else {
                self.network_uses.insert(network, uses);
            }
        }
        self.free_policies.push(place);
        // The trie keeps what nobody uses for a while: one class more changes no answer.
        if self.networks.len() > 2 * self.network_uses.len() + UNUSED_NETWORKS {
            self.rebuild_networks();
        }
        true
    }

    /// The ends that a policy may select.
    fn subjects(&self, compiled: &Compiled) -> Vec<u32> {
        let selection = self.selection(compiled.subject);
        selection.iter().flat_map(|selection| selection.yes.iter().chain(selection.maybe.iter())).collect()
    }

    fn list_at_ends(&mut self, place: u32) {
        let Some(compiled) = self.compiled(place) else { return };
        let (ends, egress, ingress) = (self.subjects(compiled), compiled.egress.is_some(), compiled.ingress.is_some());
        let directions = [(Direction::Egress, egress), (Direction::Ingress, ingress)];
        for end in ends {
            for (direction, _) in directions.into_iter().filter(|(_, speaks)| *speaks) {
                let Some(selected) = self.selected(end) else { continue };
                let list = selected.policies(direction);
                let at = list.partition_point(|other| self.rank(*other) < self.rank(place));
                let Some(selected) = self.ends.get_mut(index(end)) else { continue };
                match direction {
                    Direction::Egress => selected.egress.insert(at, place),
                    Direction::Ingress => selected.ingress.insert(at, place),
                }
            }
        }
    }

    /// A trie of the networks in use, and every rule's classes in it.
    fn rebuild_networks(&mut self) {
        self.networks = Networks::default();
        for network in self.network_uses.keys() {
            self.networks.add(*network);
        }
        let mut policies = std::mem::take(&mut self.policies);
        for compiled in policies.iter_mut().flatten() {
            self.renumber(compiled.egress.as_deref_mut(), compiled.policy.egress.as_deref());
            self.renumber(compiled.ingress.as_deref_mut(), compiled.policy.ingress.as_deref());
        }
        self.policies = policies;
    }

    fn renumber(&self, rules: Option<&mut [CompiledRule]>, sources: Option<&[Rule]>) {
        for (rule, source) in rules.into_iter().flatten().zip(sources.into_iter().flatten()) {
            let peers = rule.peers.iter_mut().flatten();
            for (peer, source) in peers.zip(source.peers.iter().flatten()) {
                if let Some(block) = self.block(source) {
                    *peer = block;
                }
            }
        }
    }

    /// A peer of addresses; nothing for one of another kind.
    fn block(&self, peer: &Peer) -> Option<CompiledPeer> {
        let class = |network: &IpNet| self.networks.number(*network).unwrap_or(NO_NETWORK);
        match peer {
            Peer::IpBlock { network, except } => {
                Some(CompiledPeer::IpBlock(class(network), except.iter().map(class).collect()))
            }
            Peer::Networks(networks) => Some(CompiledPeer::Networks(networks.iter().map(class).collect())),
            Peer::Pods(_) | Peer::Nodes(_) | Peer::Domains(_) => None,
        }
    }

    fn compile(&mut self, policy: Arc<Policy>) -> Compiled {
        let Pods { namespaces, pods } = &policy.subject;
        let subject = self.acquire(Some(namespaces), pods);
        let egress = policy.egress.as_deref().map(|rules| self.rules(rules));
        let ingress = policy.ingress.as_deref().map(|rules| self.rules(rules));
        Compiled { subject, egress, ingress, shadowed: false, policy }
    }

    fn rules(&mut self, rules: &[Rule]) -> Box<[CompiledRule]> {
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            let mut peers = None;
            if let Some(sources) = &rule.peers {
                peers = Some(sources.iter().map(|peer| self.peer(peer)).collect());
            }
            let mut ports = None;
            if let Some(sources) = &rule.ports {
                let mut list = Vec::with_capacity(sources.len());
                for port in sources {
                    let numbers = match &port.ports {
                        Ports::Any => CompiledPorts::Any,
                        Ports::Range(first, last) => CompiledPorts::Range(*first, *last),
                        Ports::Named(name) => CompiledPorts::Named(self.texts.make(name)),
                    };
                    list.push((port.protocol, numbers));
                }
                ports = Some(list.into());
            }
            compiled.push(CompiledRule { action: rule.action, peers, ports });
        }
        compiled.into()
    }

    fn peer(&mut self, peer: &Peer) -> CompiledPeer {
        match peer {
            Peer::Pods(Pods { namespaces, pods }) => CompiledPeer::Pods(self.acquire(Some(namespaces), pods)),
            Peer::Nodes(nodes) => CompiledPeer::Nodes(self.acquire(None, nodes)),
            Peer::Domains(_) => CompiledPeer::Domains,
            Peer::IpBlock { .. } | Peer::Networks(_) => self.block(peer).unwrap_or(CompiledPeer::Domains),
        }
    }

    /// The number of a selector, which is compared with all ends if it is new.
    fn acquire(&mut self, namespaces: Option<&Namespaces>, labels: &Selector) -> u32 {
        let matcher = matcher(&mut self.texts, namespaces, labels);
        if let Some(known) = self.selection_numbers.get(&matcher) {
            if let Some(selection) = self.selections.get_mut(index(*known)) {
                selection.uses = selection.uses.saturating_add(1);
            }
            return *known;
        }
        let mut selection =
            Selection { matcher: matcher.clone(), uses: 1, yes: Bits::default(), maybe: Bits::default() };
        for (at, end) in self.ends.iter().enumerate() {
            selection.see(number(at), &end.known);
        }
        let place = self.free_selections.pop().filter(|place| index(*place) < self.selections.len());
        let place = place.unwrap_or_else(|| number(self.selections.len()));
        match self.selections.get_mut(index(place)) {
            Some(slot) => *slot = selection,
            None => self.selections.push(selection),
        }
        self.selection_numbers.insert(matcher, place);
        place
    }

    fn release(&mut self, place: u32) {
        let Some(selection) = self.selections.get_mut(index(place)) else { return };
        selection.uses = selection.uses.saturating_sub(1);
        if selection.uses == 0 {
            selection.yes.clear();
            selection.maybe.clear();
            self.selection_numbers.remove(&selection.matcher);
            self.free_selections.push(place);
        }
    }
}
