//! The look-ups, all of them as of a time.

use super::{Body, NamedNode, Revisions, Stored, Table, element};
use crate::addresses::number;
use crate::ask::Ask;
use crate::holders::{Described, Holder, Holders, Holding, Whose, certain};
use crate::identity::{Identity, IdentityKind};
use crate::resolution::Resolution;
use crate::span::Span;
use std::sync::Arc;
use weir_flow::time::NEVER;
use weir_flow::{Address, Millis};
use weir_schemas::enriched::{Attribution, IdentifiedBy, NoneReason};

/// Who may have held something at a time.
enum Held<'a, T> {
    Nobody,
    /// One holder throughout the bounds, and no other possible; with one of its revisions.
    One(&'a T, Arc<Identity>),
    /// Several possible, or none certain.
    Several(Vec<Arc<Identity>>),
}

/// What names an end.
trait Names: Holding {
    fn identity(&self) -> &Arc<Identity>;
}

impl Names for Arc<Identity> {
    fn identity(&self) -> &Self {
        self
    }
}

impl Names for Described<Arc<Identity>> {
    fn identity(&self) -> &Arc<Identity> {
        &self.who
    }
}

/// An exact answer by address.
fn exact(identity: Arc<Identity>) -> Resolution {
    Resolution::exact(identity, IdentifiedBy::Address)
}

impl Table {
    /// Who an end was: by UID first, then as the reporter's own host, then by address. An address that nobody held has
    /// its network set, if that is certain: among the sets of which a network contains it, the one with the longest
    /// prefix. Where one that may or may not have held has as long a prefix or a longer one, nothing is said.
    #[must_use]
    pub fn resolve(&self, ask: &Ask<'_>) -> Resolution {
        let mut resolution = if !self.cluster_known {
            self.without_cluster(ask)
        } else if let Some(uid) = ask.pod_uid {
            self.by_pod_uid(uid, ask.at)
        } else if let Some(node) = ask.local_host.and_then(|name| self.node_named(name, ask.at)) {
            exact(node)
        } else {
            self.by_address(ask)
        };
        match &resolution.identity {
            Some(identity) => resolution.zone = self.zone(identity, ask.at),
            None if resolution.attribution == Attribution::None && !self.is_by_uid(ask) => {
                resolution.network_set = self.network_set(ask.address, ask.at);
            }
            None => {}
        }
        resolution
    }

    /// Whether a question is answered by UID alone.
    pub(super) fn is_by_uid(&self, ask: &Ask<'_>) -> bool {
        self.cluster_known && ask.pod_uid.is_some()
    }

    /// The service `namespace/name` that certainly and alone had this address, port and protocol.
    #[must_use]
    pub fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<Arc<str>> {
        match self.service_holder(at, address, Some(port), protocol) {
            Held::One(service, _) => Some(service.text.clone()),
            Held::Nobody | Held::Several(_) => None,
        }
    }

    /// Whether an end had a ready agent: whoever it may be was certainly on a node with one at `at`, or its address is in
    /// a network that an agent certainly covered.
    #[must_use]
    pub fn covered(&self, resolution: &Resolution, address: Address, at: Millis) -> bool {
        let on_covered_node = match resolution.attribution {
            Attribution::Exact => resolution.identity.iter().any(|identity| self.agent_on(&identity.node, at)),
            Attribution::Ambiguous => {
                !resolution.candidates.is_empty()
                    && resolution.candidates.iter().all(|candidate| self.agent_on(&candidate.node, at))
            }
            Attribution::None => false,
        };
        on_covered_node || self.agent_networks.any_certain(address, at)
    }

    /// Whether one observer certainly stood for both ends at `at`, as in a capture.
    #[must_use]
    pub fn one_observer(&self, at: Millis) -> bool {
        self.single_observers.any_certain(at)
    }

    fn named(&self, node: &str) -> Option<&NamedNode> {
        self.node_numbers.get(node).and_then(|&number| element(&self.named_nodes, number))
    }

    fn agent_on(&self, node: &str, at: Millis) -> bool {
        self.named(node).is_some_and(|named| named.agents.any_certain(at))
    }

    /// Without a cluster the only names are those of hosts.
    fn without_cluster(&self, ask: &Ask<'_>) -> Resolution {
        let mut resolution = match ask.local_host.and_then(|name| self.node_named(name, ask.at)) {
            Some(node) => exact(node),
            None => {
                let is_node = |identity: &Identity| identity.kind == IdentityKind::Node;
                match self.held(self.ends.get(ask.address), ask.at, is_node) {
                    Held::One(_, node) => exact(node),
                    Held::Several(nodes) => Resolution::ambiguous(nodes),
                    Held::Nobody => Resolution::none(NoneReason::NoCluster),
                }
            }
        };
        resolution.host = match (&resolution.identity, resolution.attribution) {
            (Some(node), _) => Some(node.name.clone()),
            (None, Attribution::None) => ask.local_host.map(Arc::from),
            (None, _) => None,
        };
        resolution
    }

    /// The node knew the pod, so that its UID decides alone: when the pod is not in the table as of then, its address is
    /// not asked, because whoever else held it was not this pod.
    fn by_pod_uid(&self, uid: &str, at: Millis) -> Resolution {
        match self.pod_revisions(uid).and_then(|revisions| revisions.pod_at(at)) {
            Some(identity) => Resolution::exact(identity, IdentifiedBy::Uid),
            None => Resolution::none(self.reason_or(NoneReason::NotYetReported, at)),
        }
    }

    /// The revisions of a pod.
    pub(super) fn pod_revisions(&self, uid: &str) -> Option<&Revisions> {
        self.by_uid.first().and_then(|uids| uids.get(uid)).and_then(|object| element(&self.objects, object))
    }

    fn by_address(&self, ask: &Ask<'_>) -> Resolution {
        match self.held(self.ends.get(ask.address), ask.at, |_| true) {
            Held::One(_, identity) => {
                let port = ask.port.filter(|_| ask.responder);
                let service = port.and_then(|port| self.service(ask.at, ask.address, port, ask.protocol));
                Resolution { service, ..exact(identity) }
            }
            Held::Several(candidates) => Resolution::ambiguous(candidates),
            Held::Nobody => self.by_service_address(ask),
        }
    }

    /// An address that no pod and no node held: a service's, if it was reached at one of its ports.
    fn by_service_address(&self, ask: &Ask<'_>) -> Resolution {
        if !ask.responder {
            return Resolution::none(self.nobody(ask.address, ask.at));
        }
        match self.service_holder(ask.at, ask.address, ask.port, ask.protocol) {
            Held::One(service, identity) => Resolution { service: Some(service.text.clone()), ..exact(identity) },
            Held::Several(services) => Resolution::ambiguous(services),
            Held::Nobody => Resolution::none(self.nobody(ask.address, ask.at)),
        }
    }

    fn nobody(&self, address: Address, at: Millis) -> NoneReason {
        // Any node's pod network will do, so that neither the longest prefix nor a bound in doubt matters.
        let in_pod_network = self.pod_networks.any_possible(address, at);
        self.reason_or(if in_pod_network { NoneReason::UnknownPodAddress } else { NoneReason::Outside }, at)
    }

    fn reason_or(&self, reason: NoneReason, at: Millis) -> NoneReason {
        if self.history_start != NEVER && at < self.history_start { NoneReason::BeforeHistory } else { reason }
    }

    /// The one set that has the longest prefix wherever the bounds in doubt are.
    fn network_set(&self, address: Address, at: Millis) -> Option<Arc<str>> {
        let mut first: Option<&Described<Whose>> = None;
        let mut revisions: Vec<(u64, Span)> = Vec::new();
        for holders in self.network_sets.containing(address) {
            for holder in holders.possible(at) {
                if holder.who.object() != first.get_or_insert(&holder.who).object() {
                    return None;
                }
                revisions.push((holder.who.who.revision, holder.span));
            }
            revisions.sort_unstable_by_key(|(revision, _)| *revision);
            revisions.dedup_by_key(|(revision, _)| *revision);
            if certain(&revisions, at) {
                return first.map(|set| set.text.clone());
            }
        }
        None
    }

    fn service_holder(
        &self,
        at: Millis,
        address: Address,
        port: Option<u16>,
        protocol: u8,
    ) -> Held<'_, Described<Arc<Identity>>> {
        let holders = port.and_then(|port| self.services.get(&(number(address), port, protocol)));
        self.held(holders, at, |_| true)
    }

    /// The node with this name: the name identifies it, so that a bound in doubt does not matter, but two nodes that had
    /// the name one after the other do.
    fn node_named(&self, name: &str, at: Millis) -> Option<Arc<Identity>> {
        match self.held(Some(&self.named(name)?.nodes), at, |_| true) {
            Held::One(_, node) => Some(node),
            Held::Several(nodes) => <[_; 1]>::try_from(nodes).ok().map(|[node]| node),
            Held::Nobody => None,
        }
    }

    /// The zone of an identity's node as of then; nothing where it may have been one or another.
    fn zone(&self, identity: &Identity, at: Millis) -> Option<Arc<str>> {
        let named = element(&self.named_nodes, identity.node_number)?;
        let mut zones = named.nodes.possible(at).map(|holder| &holder.who.text);
        let zone = zones.next()?;
        (!zone.is_empty() && zones.all(|other| other == zone)).then(|| zone.clone())
    }

    /// Who held something at a time, of those whom the condition admits.
    fn held<'a, T: Names>(
        &self,
        holders: Option<&'a Holders<T>>,
        at: Millis,
        admits: impl Fn(&Identity) -> bool,
    ) -> Held<'a, T> {
        let Some(holders) = holders else { return Held::Nobody };
        let mut possible = holders.possible(at).filter(|holder| admits(holder.who.identity()));
        let Some(first) = possible.next() else { return Held::Nobody };
        let Some(second) = possible.next() else {
            let identity = first.who.identity().clone();
            return if first.span.certain(at) {
                Held::One(&first.who, identity)
            } else {
                Held::Several(vec![identity])
            };
        };
        self.groups([first, second].into_iter().chain(possible).collect(), at)
    }

    /// Several revisions may have held: those of one object are one holder.
    fn groups<'a, T: Names>(&self, possible: Vec<&'a Holder<T>>, at: Millis) -> Held<'a, T> {
        let mut possible: Vec<(u64, &Holder<T>)> =
            possible.into_iter().map(|holder| (self.revision_of(holder), holder)).collect();
        possible.sort_unstable_by_key(|(revision, holder)| (holder.who.object(), *revision));
        let mut identities: Vec<Arc<Identity>> = Vec::new();
        let mut all_certain = true;
        for group in possible.chunk_by(|(_, a), (_, b)| a.who.object() == b.who.object()) {
            let revisions: Vec<(u64, Span)> = group.iter().map(|(revision, holder)| (*revision, holder.span)).collect();
            all_certain &= certain(&revisions, at);
            let all = group.iter().map(|(_, holder)| holder.who.identity().clone());
            identities.extend(all.reduce(|a, b| common(a, &b)));
        }
        match (identities.pop(), possible.first()) {
            (Some(only), Some((_, holder))) if identities.is_empty() && all_certain => Held::One(&holder.who, only),
            (last, _) => Held::Several(identities.into_iter().chain(last).collect()),
        }
    }

    /// The ordinal of the revision by which something is held.
    fn revision_of<T: Names>(&self, holder: &Holder<T>) -> u64 {
        let list = element(&self.objects, holder.who.object()).map_or(&[][..], |revisions| &revisions.list);
        let identity = holder.who.identity();
        let is = |stored: &&Stored| {
            stored.span == holder.span && stored.identity().is_some_and(|known| Arc::ptr_eq(known, identity))
        };
        list.iter().find(is).map_or(0, |stored| stored.revision)
    }
}

impl Stored {
    pub(super) fn identity(&self) -> Option<&Arc<Identity>> {
        match &self.body {
            Body::Pod { identity, .. } => Some(identity),
            Body::Node(node) => Some(&node.identity),
            Body::Service(service) => Some(&service.identity),
            Body::Agent(_) | Body::NetworkSet(_) | Body::Other => None,
        }
    }
}

impl Revisions {
    /// Those of which it is possible that they were valid at a time, latest first.
    pub(super) fn possible(&self, at: Millis) -> impl Iterator<Item = &Stored> {
        let ordered = self.ordered;
        self.begun(at)
            .iter()
            .rev()
            .take_while(move |stored| !ordered || stored.span.latest_end() > at)
            .filter(move |stored| stored.span.possible(at))
    }

    /// Those that may have begun by then; where they are in no order, all.
    fn begun(&self, at: Millis) -> &[Stored] {
        let begun = |stored: &Stored| stored.span.earliest_start() <= at;
        let end = if self.ordered { self.list.partition_point(begun) } else { self.list.len() };
        self.list.get(..end).unwrap_or_default()
    }

    /// Who a pod was: what its possible revisions have in common, or its last one before.
    fn pod_at(&self, at: Millis) -> Option<Arc<Identity>> {
        let possible = self.possible(at).filter_map(Stored::identity).cloned().reduce(|a, b| common(a, &b));
        possible.or_else(|| {
            // A pod that is said to have ended may still be sending; it is the same pod.
            let last = self.begun(at).iter().rev().find(|stored| stored.span.earliest_start() <= at);
            last.and_then(Stored::identity).cloned()
        })
    }
}

fn common(a: Arc<Identity>, b: &Arc<Identity>) -> Arc<Identity> {
    if a == *b { a } else { Arc::new(a.common(b)) }
}
