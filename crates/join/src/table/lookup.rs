//! The look-ups, all of them as of a time.

use super::{Body, Revisions, Stored, Table};
use crate::ask::Ask;
use crate::holders::{Holders, Slot};
use crate::identity::Identity;
use crate::resolution::Resolution;
use crate::span::Span;
use std::sync::Arc;
use weir_flow::time::NEVER;
use weir_flow::{Address, Millis};
use weir_schemas::enriched::{Attribution, IdentifiedBy, NoneReason};

/// Who may have held something at a time.
enum Held {
    Nobody,
    /// One holder throughout the bounds, and no other possible.
    One(Arc<Identity>),
    /// Several possible, or none certain.
    Several(Vec<Arc<Identity>>),
}

impl Table {
    /// Who an end was: by UID first, then as the reporter's own host, then by address.
    #[must_use]
    pub fn resolve(&self, ask: &Ask<'_>) -> Resolution {
        let mut resolution = if !self.cluster_known {
            self.without_cluster(ask)
        } else if let Some(uid) = ask.pod_uid {
            self.by_pod_uid(uid, ask.at)
        } else if let Some(node) = ask.local_host.and_then(|name| self.node_named(name, ask.at)) {
            Resolution::exact(node, IdentifiedBy::Address)
        } else {
            self.by_address(ask)
        };
        if let Some(identity) = &resolution.identity {
            resolution.zone = self.zone(&identity.node, ask.at);
        }
        resolution
    }

    /// The service `namespace/name` that certainly and alone had this address, port and protocol.
    #[must_use]
    pub fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<Arc<str>> {
        match self.service_holder(at, address, Some(port), protocol) {
            Held::One(service) => Some(self.service_name(&service)),
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
        on_covered_node || self.agent_networks.any(address, at, |span| span.certain(at))
    }

    /// Whether one observer certainly stood for both ends at `at`, as in a capture.
    #[must_use]
    pub fn one_observer(&self, at: Millis) -> bool {
        self.single_observers.possible(at).any(|(span, _)| span.certain(at))
    }

    fn agent_on(&self, node: &str, at: Millis) -> bool {
        self.agents_by_node.get(node).is_some_and(|holders| holders.possible(at).any(|(span, _)| span.certain(at)))
    }

    /// Without a cluster the only names are those of hosts.
    fn without_cluster(&self, ask: &Ask<'_>) -> Resolution {
        let by_name = ask.local_host.and_then(|name| self.node_named(name, ask.at));
        let held = match by_name {
            Some(node) => Held::One(node),
            None => self.holder_of(self.nodes.get(&ask.address), ask.at),
        };
        let mut resolution = match held {
            Held::One(node) => {
                let mut found = Resolution::exact(node.clone(), IdentifiedBy::Address);
                found.host = Some(node.name.clone());
                found
            }
            Held::Several(nodes) => Resolution::ambiguous(nodes),
            Held::Nobody => Resolution::none(NoneReason::NoCluster),
        };
        if resolution.host.is_none() && resolution.attribution == Attribution::None {
            resolution.host = ask.local_host.map(Arc::from);
        }
        resolution
    }

    /// The node knew the pod, so that its UID decides alone: when the pod is not in the table as of then, its address is
    /// not asked, because whoever else held it was not this pod.
    fn by_pod_uid(&self, uid: &str, at: Millis) -> Resolution {
        let mut known: Vec<(Span, Arc<Identity>)> = Vec::new();
        for stored in self.revisions_of_pod(uid).filter(|stored| stored.span.from_earliest <= at) {
            if let Body::Pod { identity, .. } = &stored.body {
                known.push((stored.span, identity.clone()));
            }
        }
        let Some((_, last)) = known.last().cloned() else {
            return Resolution::none(self.reason_or(NoneReason::NotYetReported, at));
        };
        // A pod that is said to have ended may still be sending; it is the same pod.
        let identity = known
            .into_iter()
            .filter(|(span, _)| span.possible(at))
            .map(|(_, identity)| identity)
            .reduce(|a, b| if a == b { a } else { Arc::new(a.common(&b)) });
        Resolution::exact(identity.unwrap_or(last), IdentifiedBy::Uid)
    }

    fn by_address(&self, ask: &Ask<'_>) -> Resolution {
        let mut resolution = match self.end_holder(ask.address, ask.at) {
            Held::One(identity) => Resolution::exact(identity, IdentifiedBy::Address),
            Held::Several(candidates) => Resolution::ambiguous(candidates),
            Held::Nobody => self.by_service_address(ask),
        };
        if resolution.service.is_none() && ask.responder && resolution.attribution == Attribution::Exact {
            resolution.service = ask.port.and_then(|port| self.service(ask.at, ask.address, port, ask.protocol));
        }
        resolution
    }

    /// An address that no pod and no node held: a service's, if it was reached at one of its ports.
    fn by_service_address(&self, ask: &Ask<'_>) -> Resolution {
        if !ask.responder {
            return Resolution::none(self.nobody(ask.address, ask.at));
        }
        match self.service_holder(ask.at, ask.address, ask.port, ask.protocol) {
            Held::One(service) => {
                let name = self.service_name(&service);
                let mut found = Resolution::exact(service, IdentifiedBy::Address);
                found.service = Some(name);
                found
            }
            Held::Several(services) => Resolution::ambiguous(services),
            Held::Nobody => Resolution::none(self.nobody(ask.address, ask.at)),
        }
    }

    fn nobody(&self, address: Address, at: Millis) -> NoneReason {
        let in_pod_network = self.pod_networks.any(address, at, |_| true);
        self.reason_or(if in_pod_network { NoneReason::UnknownPodAddress } else { NoneReason::Outside }, at)
    }

    fn reason_or(&self, reason: NoneReason, at: Millis) -> NoneReason {
        if self.history_start != NEVER && at < self.history_start { NoneReason::BeforeHistory } else { reason }
    }

    /// Pods and nodes together: an address that a pod and a node may both have held is nobody's for certain.
    fn end_holder(&self, address: Address, at: Millis) -> Held {
        let pods = self.holder_of(self.pods.get(&address), at);
        let nodes = self.holder_of(self.nodes.get(&address), at);
        match (pods, nodes) {
            (held, Held::Nobody) | (Held::Nobody, held) => held,
            (pods, nodes) => Held::Several(pods.names().into_iter().chain(nodes.names()).collect()),
        }
    }

    fn service_holder(&self, at: Millis, address: Address, port: Option<u16>, protocol: u8) -> Held {
        port.map_or(Held::Nobody, |port| self.holder_of(self.services.get(&(address, port, protocol)), at))
    }

    fn service_name(&self, service: &Identity) -> Arc<str> {
        self.revisions_of(3, &service.uid)
            .find_map(|stored| match &stored.body {
                Body::Service { name, .. } => Some(name.clone()),
                _ => None,
            })
            .unwrap_or_else(|| Arc::from(service.qualified_name()))
    }

    fn holder_of(&self, holders: Option<&Holders>, at: Millis) -> Held {
        let Some(holders) = holders else { return Held::Nobody };
        let mut possible = holders.possible(at);
        let Some((span, slot)) = possible.next() else { return Held::Nobody };
        let Some(second) = possible.next() else {
            return match self.stored(slot).and_then(identity_of) {
                Some(identity) if span.certain(at) => Held::One(identity.clone()),
                Some(identity) => Held::Several(vec![identity.clone()]),
                None => Held::Nobody,
            };
        };
        let slots = [slot, second.1].into_iter().chain(possible.map(|(_, slot)| slot));
        self.groups(slots.filter_map(|slot| self.stored(slot)).collect(), at)
    }

    /// Several revisions may have held: those of one object are one holder.
    fn groups(&self, mut revisions: Vec<&Stored>, at: Millis) -> Held {
        revisions.sort_unstable_by_key(|stored| (stored.object, stored.revision));
        let mut holders: Vec<Arc<Identity>> = Vec::new();
        let mut all_certain = true;
        for group in revisions.chunk_by(|a, b| a.object == b.object) {
            all_certain &= certain(group, at);
            let identities = group.iter().filter_map(|stored| identity_of(stored)).cloned();
            holders.extend(identities.reduce(|a, b| if a == b { a } else { Arc::new(a.common(&b)) }));
        }
        match (holders.len(), all_certain) {
            (0, _) => Held::Nobody,
            (1, true) => holders.pop().map_or(Held::Nobody, Held::One),
            _ => Held::Several(holders),
        }
    }

    /// The node with this name: the name identifies it, so that a bound in doubt does not matter, but two nodes that had
    /// the name one after the other do.
    fn node_named(&self, name: &str, at: Millis) -> Option<Arc<Identity>> {
        match self.holder_of(self.nodes_by_name.get(name), at) {
            Held::One(node) => Some(node),
            Held::Several(nodes) => <[_; 1]>::try_from(nodes).ok().map(|[node]| node),
            Held::Nobody => None,
        }
    }

    /// The zone of a node as of then; nothing where it may have been one or another.
    fn zone(&self, node: &str, at: Millis) -> Option<Arc<str>> {
        if node.is_empty() {
            return None;
        }
        let mut zones =
            self.nodes_by_name.get(node)?.possible(at).filter_map(|(_, slot)| match &self.stored(slot)?.body {
                Body::Node { zone, .. } => Some(zone),
                _ => None,
            });
        let zone = zones.next()?;
        (!zone.is_empty() && zones.all(|other| other == zone)).then(|| zone.clone())
    }

    fn revisions_of_pod(&self, uid: &str) -> impl Iterator<Item = &Stored> {
        self.revisions_of(0, uid)
    }

    fn revisions_of(&self, kind: usize, uid: &str) -> impl Iterator<Item = &Stored> {
        let object =
            self.by_uid.get(kind).and_then(|map| map.get(uid)).and_then(|&object| usize::try_from(object).ok());
        let list = object.and_then(|object| self.objects.get(object)).map_or(&[][..], |Revisions(list)| list);
        list.iter().filter_map(|(_, slot)| self.stored(*slot))
    }

    fn stored(&self, slot: Slot) -> Option<&Stored> {
        usize::try_from(slot).ok().and_then(|i| self.stored.get(i)).and_then(Option::as_ref)
    }
}

impl Held {
    fn names(self) -> Vec<Arc<Identity>> {
        match self {
            Self::Nobody => Vec::new(),
            Self::One(identity) => vec![identity],
            Self::Several(identities) => identities,
        }
    }
}

fn identity_of(stored: &Stored) -> Option<&Arc<Identity>> {
    match &stored.body {
        Body::Pod { identity, .. } | Body::Node { identity, .. } | Body::Service { identity, .. } => Some(identity),
        Body::Agent { .. } | Body::Other => None,
    }
}

/// Whether one object certainly held throughout: one of its revisions did, or revisions that follow each other without
/// a gap did together.
fn certain(group: &[&Stored], at: Millis) -> bool {
    if group.iter().any(|stored| stored.span.certain(at)) {
        return true;
    }
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return false };
    first.span.from_latest <= at
        && at < last.span.to_earliest
        && group
            .iter()
            .zip(group.iter().skip(1))
            .all(|(a, b)| a.revision.checked_add(1) == Some(b.revision) && a.span.continues_in(&b.span))
}
