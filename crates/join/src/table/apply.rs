//! How a revision gets into the table, and out of it.

use super::{
    AgentBody, Body, NamedNode, NetworkSetBody, NodeBody, Revisions, ServiceBody, ServiceEntry, Stored, Table, element,
    element_mut, kind_of,
};
use crate::addresses::{address_of, change_entry, number};
use crate::ends::Ends;
use crate::holders::{AtNode, Described, Holders, ObjectNumber, Whose};
use crate::identities::{Identities, IdentityNumber};
use crate::identity::{Entity, Identity, IdentityKind, NOWHERE, qualified};
use crate::index::Latest;
use crate::intern::is_same;
use crate::networks::canonical;
use crate::since::Since;
use crate::span::{Span, is_always};
use crate::timeline::{LOOKED_AT, Part, Said, Timeline};
use crate::uids::{PastOfUid, UidKey};
use ipnet::IpNet;
use std::sync::Arc;
use weir_flow::Address;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::metadata::{Agent, NetworkSet, Node, Object, Pod, Revision, Service};

/// A revision's place while it is entered into the indices or taken out of them.
#[derive(Clone, Copy)]
struct Entry {
    span: Span,
    object: ObjectNumber,
    revision: u64,
    enter: bool,
}

impl Entry {
    fn whose(self) -> Whose {
        Whose { object: self.object, revision: self.revision }
    }

    /// Enters what is held, or takes it out.
    fn change<T: PartialEq>(self, holders: &mut Holders<T>, who: T) {
        if self.enter {
            holders.insert(self.span, who);
        } else {
            holders.remove(self.span, &who);
        }
    }
}

/// Nodes' and services' labels say nothing about what runs.
const NO_LABELS: [&str; 0] = [];

impl Table {
    pub(super) fn put<T: AsRef<str>, R>(&mut self, revision: &Revision<T, R>) {
        let (kind, uid) = (kind_of(&revision.object), UidKey::of(revision.uid.as_ref()));
        let object = self.object(kind, uid);
        self.remove(object, revision.revision);
        let body = self.body(object, revision);
        let stored = Stored { revision: revision.revision, span: Span::of(revision), body };
        self.index(object, &stored, true);
        self.newest = self.newest.max(stored.span.earliest_start());
        if let Some(revisions) = element_mut(&mut self.objects, object) {
            revisions.insert(stored);
            self.revisions += 1;
        }
        self.note(kind, uid, object);
    }

    /// Notes beside a UID who its object is for long, and who it was.
    pub(super) fn note(&mut self, kind: usize, uid: UidKey<'_>, object: ObjectNumber) {
        if let (Some(uids), Some(revisions)) = (self.by_uid.get_mut(kind), element(&self.objects, object)) {
            uids.note(uid, revisions.latest(&self.identities), revisions.past(&self.identities));
        }
    }

    pub(super) fn remove(&mut self, object: ObjectNumber, revision: u64) {
        if let Some(stored) = element_mut(&mut self.objects, object).and_then(|revisions| revisions.remove(revision)) {
            self.index(object, &stored, false);
            stored.identity().into_iter().for_each(|identity| self.identities.release(identity));
            if let Body::Pod { addresses, .. } = stored.body {
                self.address_lists.release(addresses);
            }
            self.revisions -= 1;
        }
    }

    fn object(&mut self, kind: usize, uid: UidKey<'_>) -> ObjectNumber {
        let Some(uids) = self.by_uid.get_mut(kind) else { return NOWHERE };
        if let Some(known) = uids.get(uid) {
            return known.object;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.objects.push(Revisions::default());
            u32::try_from(self.objects.len() - 1).unwrap_or(NOWHERE)
        });
        uids.insert(uid, number);
        number
    }

    fn body<T: AsRef<str>, R>(&mut self, object: ObjectNumber, revision: &Revision<T, R>) -> Body {
        match &revision.object {
            Object::Pod(pod) => self.pod(object, revision, pod),
            Object::Node(node) => self.node(object, revision, node),
            Object::Service(service) => self.service_body(object, revision, service),
            Object::Agent(agent) => self.agent(agent),
            Object::NetworkSet(set) => self.network_set_body(revision, set),
            Object::Namespace(_) | Object::EndpointSlice(_) | Object::Policy(_) => Body::Other,
        }
    }

    /// What a pod's latest revision says and this one repeats is shared with it.
    fn pod<T: AsRef<str>, R>(&mut self, object: ObjectNumber, revision: &Revision<T, R>, pod: &Pod<T, R>) -> Body {
        let latest = element(&self.objects, object).and_then(|revisions| revisions.list.last());
        let latest = latest.and_then(|stored| match stored.body {
            Body::Pod { identity, addresses } => Some((identity, addresses)),
            _ => None,
        });
        // The addresses of a pod on the node's network are the node's: no flow is the pod's by address.
        let own = if pod.host_network { &[] } else { pod.addresses.as_slice() };
        let same = latest.filter(|(number, _)| is_entity(self.identities.get(*number), revision, pod));
        let Some((number, addresses)) = same else {
            let entity = Entity {
                node: self.texts.text(pod.node.as_ref()),
                workload_kind: self.texts.text(pod.workload_kind.as_ref()),
                workload: self.texts.text(pod.workload.as_ref()),
                service_account: self.texts.text(pod.service_account.as_ref()),
                ..self.entity(IdentityKind::Pod, revision)
            };
            let identity = self.identity(object, entity, &revision.labels);
            return Body::Pod { identity, addresses: self.address_lists.insert(&distinct(own)) };
        };
        let addresses = if self.address_lists.get(addresses) == own {
            self.address_lists.share(addresses)
        } else {
            self.address_lists.insert(&distinct(own))
        };
        let known = self.identities.get(number);
        let identity = if is_same(&known.labels, &revision.labels) {
            self.identities.share(number)
        } else {
            let known = known.clone();
            self.identities.insert(Identity { labels: self.texts.set(&revision.labels), ..known })
        };
        Body::Pod { identity, addresses }
    }

    fn node<T: AsRef<str>, R>(&mut self, object: ObjectNumber, revision: &Revision<T, R>, node: &Node<T>) -> Body {
        let entity =
            Entity { node: self.texts.text(revision.name.as_ref()), ..self.entity(IdentityKind::Node, revision) };
        Body::Node(Box::new(NodeBody {
            identity: self.identity(object, entity, &NO_LABELS),
            addresses: distinct(&node.addresses).into(),
            networks: self.networks(&node.pod_networks),
            zone: self.texts.text(node.zone.as_ref()),
        }))
    }

    fn service_body<T: AsRef<str>, R>(
        &mut self,
        object: ObjectNumber,
        revision: &Revision<T, R>,
        service: &Service<R>,
    ) -> Body {
        let mut entries: Vec<ServiceEntry> = Vec::new();
        for address in &service.addresses {
            entries.extend(service.ports.iter().map(|port| (number(*address), port.port, port.protocol)));
        }
        entries.sort_unstable();
        entries.dedup();
        let entity = self.entity(IdentityKind::Service, revision);
        Body::Service(Box::new(ServiceBody {
            identity: self.identity(object, entity, &NO_LABELS),
            name: self.texts.text(&qualified(revision.namespace.as_ref(), revision.name.as_ref())),
            entries: entries.into(),
        }))
    }

    fn agent<T: AsRef<str>>(&mut self, agent: &Agent<T>) -> Body {
        Body::Agent(Box::new(AgentBody {
            node: Some(agent.node.as_ref()).filter(|node| !node.is_empty()).map(|node| self.node_number(node)),
            networks: self.networks(&agent.networks),
            one_observer: agent.one_observer,
        }))
    }

    fn network_set_body<T: AsRef<str>, R>(&mut self, revision: &Revision<T, R>, set: &NetworkSet<T, R>) -> Body {
        Body::NetworkSet(Box::new(NetworkSetBody {
            name: self.texts.text(&qualified(revision.namespace.as_ref(), revision.name.as_ref())),
            networks: self.networks(&set.networks),
        }))
    }

    fn entity<T: AsRef<str>, R>(&mut self, kind: IdentityKind, revision: &Revision<T, R>) -> Entity {
        let empty = self.texts.text("");
        Entity {
            kind,
            uid: Arc::from(revision.uid.as_ref()),
            namespace: self.texts.text(revision.namespace.as_ref()),
            name: self.texts.text(revision.name.as_ref()),
            node: empty.clone(),
            workload_kind: empty.clone(),
            workload: empty.clone(),
            service_account: empty,
            always_valid: is_always(revision),
        }
    }

    fn identity<T: AsRef<str>>(&mut self, object: ObjectNumber, entity: Entity, labels: &[T]) -> IdentityNumber {
        let node_number = self.node_number(&entity.node);
        let labels = self.texts.set(labels);
        self.identities.insert(Identity { entity: Arc::new(entity), labels, object, node_number })
    }

    fn networks<T: AsRef<str>>(&mut self, texts: &[T]) -> Box<[IpNet]> {
        let parsed = texts.iter().filter_map(|text| text.as_ref().parse().ok());
        let mut networks: Vec<IpNet> = parsed.map(canonical).collect();
        self.malformed += u64::try_from(texts.len() - networks.len()).unwrap_or(u64::MAX);
        networks.sort_unstable();
        networks.dedup();
        networks.into()
    }

    /// The number of a node's name; that of no node for an empty one.
    fn node_number(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return NOWHERE;
        }
        if let Some(&known) = self.node_numbers.get(name) {
            return known;
        }
        let number = u32::try_from(self.named_nodes.len()).unwrap_or(NOWHERE);
        let zone = self.texts.text("");
        let history = Box::default();
        self.named_nodes.push(NamedNode { zone, zone_since: Since::NEVER, agent_since: Since::NEVER, history });
        self.node_numbers.insert(self.texts.text(name), number);
        number
    }

    /// Enters a revision into the indices, or takes it out.
    fn index(&mut self, object: ObjectNumber, stored: &Stored, enter: bool) {
        let entry = Entry { span: stored.span, object, revision: stored.revision, enter };
        match &stored.body {
            Body::Pod { identity, addresses } => {
                let who = AtNode { identity: *identity, node: self.identities.node(*identity) };
                index_end(&mut self.ends, entry, self.address_lists.get(*addresses), who);
            }
            Body::Node(node) => {
                let number = self.identities.get(node.identity).node_number;
                index_end(&mut self.ends, entry, &node.addresses, AtNode { identity: node.identity, node: number });
                for network in &node.networks {
                    self.pod_networks.change(network, |holders| entry.change(holders, entry.whose()));
                }
                if let Some(named) = element_mut(&mut self.named_nodes, number) {
                    let who = Described { who: node.identity, text: node.zone.clone() };
                    entry.change(&mut named.history.nodes, who);
                    named.note_latest();
                }
            }
            Body::Service(service) => {
                for key in &service.entries {
                    self.ends.serve(address_of(key.0), enter);
                    let who = Described { who: service.identity, text: service.name.clone() };
                    change_entry(&mut self.services, *key, |list| entry.change(list, who), Holders::is_empty);
                }
            }
            Body::Agent(agent) => {
                if let Some(named) = agent.node.and_then(|node| element_mut(&mut self.named_nodes, node)) {
                    entry.change(&mut named.history.agents, entry.whose());
                    named.note_latest();
                }
                for network in &agent.networks {
                    self.agent_networks.change(network, |holders| entry.change(holders, entry.whose()));
                }
                if agent.one_observer {
                    entry.change(&mut self.single_observers, entry.whose());
                }
            }
            Body::NetworkSet(set) => {
                for network in &set.networks {
                    let who = Described { who: entry.whose(), text: set.name.clone() };
                    self.network_sets.change(network, |holders| entry.change(holders, who));
                }
            }
            Body::Other => {}
        }
    }
}

fn index_end(ends: &mut Ends, entry: Entry, addresses: &[Address], who: AtNode) {
    for address in addresses {
        if entry.enter {
            ends.insert(*address, entry.span, who);
        } else {
            ends.remove(*address, entry.span, who);
        }
    }
}

impl NamedNode {
    /// Notes what holds for long.
    fn note_latest(&mut self) {
        let nodes = self.history.nodes.view().latest_open();
        self.zone_since =
            nodes.map_or(Since::NEVER, |(node, others)| Since::of(others.max(node.span.earliest_start())));
        if let Some((node, _)) = nodes {
            self.zone.clone_from(&node.who.text);
        }
        let agents = self.history.agents.view().latest_open();
        self.agent_since = agents.map_or(Since::NEVER, |(agent, _)| Since::of(agent.span.latest_start()));
    }
}

impl Revisions {
    /// Who the object is for long, if it is a pod: its last revision, from when no other one is possible. That holds when
    /// it has ended, too, because who still sends then is the same pod.
    fn latest(&self, identities: &Identities) -> Latest {
        let Some((last, others)) = self.list.split_last() else { return Latest::NOBODY };
        let Some(identity) = last.pod() else { return Latest::NOBODY };
        let end = |stored: &Stored| stored.span.latest_end();
        let others = if self.ordered { others.last().map(end) } else { others.iter().map(end).max() };
        let from = others.map_or(last.span.earliest_start(), |end| end.max(last.span.earliest_start()));
        Latest { since: Since::of(from), who: AtNode { identity, node: identities.node(identity) } }
    }

    /// Who the object was, if it is a pod: after a revision has ended and until the next one may have begun it is still what
    /// it was. Where times go back from one revision to the next nothing is said.
    fn past(&self, identities: &Identities) -> PastOfUid {
        let skipped = self.list.len().saturating_sub(LOOKED_AT);
        let (Some(list), true) = (self.list.get(skipped..), self.ordered) else { return PastOfUid::SILENT };
        let Some(first) = list.first() else { return PastOfUid::SILENT };
        let end = |stored: &Stored| stored.span.latest_end();
        let mut ended = skipped.checked_sub(1).and_then(|last| self.list.get(last)).map_or(NEVER, end);
        let mut runs = list.chunk_by(|a, b| a.identity() == b.identity()).peekable();
        let parts = std::iter::from_fn(|| {
            let run = runs.next()?;
            let next = runs.peek().and_then(|next| next.first()).map_or(FOR_EVER, |next| next.span.earliest_start());
            let (first, last) = (run.first()?, run.last()?);
            let who = first.pod().map(|identity| AtNode { identity, node: identities.node(identity) });
            let said = who.map_or(Said::Nothing, Said::Who);
            let part = Part { from: first.span.earliest_start().max(ended), until: next, said };
            ended = last.span.latest_end();
            Some(part)
        });
        Timeline::of((skipped == 0).then(|| first.span.earliest_start()), parts)
    }

    fn insert(&mut self, stored: Stored) {
        let is_last = self.list.last().is_none_or(|last| last.revision < stored.revision);
        let place =
            if is_last { self.list.len() } else { self.list.partition_point(|known| known.revision < stored.revision) };
        // Room for a third as many more, where a vector would double: there are very many short lists.
        if self.list.len() == self.list.capacity() {
            self.list.reserve_exact(self.list.len() / 3 + 1);
        }
        self.list.insert(place, stored);
        let around =
            if self.ordered { place.saturating_sub(1)..self.list.len().min(place + 2) } else { 0..self.list.len() };
        let around = self.list.get(around).unwrap_or_default();
        self.ordered = around.iter().zip(around.iter().skip(1)).all(|(a, b)| {
            a.span.earliest_start() <= b.span.earliest_start() && a.span.latest_end() <= b.span.latest_end()
        });
    }

    fn remove(&mut self, revision: u64) -> Option<Stored> {
        if self.list.last().is_none_or(|last| last.revision < revision) {
            return None;
        }
        let place = self.list.binary_search_by_key(&revision, |known| known.revision).ok()?;
        Some(self.list.remove(place))
    }
}

/// Whether a revision of a pod says the same of it as a known one, but for its labels.
fn is_entity<T: AsRef<str>, R>(known: &Entity, revision: &Revision<T, R>, pod: &Pod<T, R>) -> bool {
    *known.name == *revision.name.as_ref()
        && *known.namespace == *revision.namespace.as_ref()
        && *known.node == *pod.node.as_ref()
        && *known.workload_kind == *pod.workload_kind.as_ref()
        && *known.workload == *pod.workload.as_ref()
        && *known.service_account == *pod.service_account.as_ref()
        && known.always_valid == is_always(revision)
}

fn distinct(addresses: &[Address]) -> Vec<Address> {
    let mut distinct = addresses.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}
