//! The look-ups, all of them as of a time.

use super::{Body, NamedNode, NodeHistory, Revisions, Stored, Table, element};
use crate::addresses::number;
use crate::ask::Ask;
use crate::ends::Place;
use crate::holders::{AtNode, Described, Holder, Holders, View, Whose, certain};
use crate::identities::IdentityNumber;
use crate::identity::{Identity, IdentityKind, NOWHERE};
use crate::resolution::Resolution;
use crate::since::Moment;
use crate::span::Span;
use crate::timeline::{ELSEWHERE, Said};
use crate::uids::{Known, UidKey, Uids};
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use weir_flow::time::NEVER;
use weir_flow::{Address, Millis};
use weir_schemas::enriched::{Attribution, IdentifiedBy, NoneReason};

/// How long before the newest change questions are about now, ms.
const RECENT: Millis = 600_000;

/// Who may have held something at a time.
pub(super) enum Held<'t, T> {
    Nobody,
    /// One holder throughout the bounds, and no other possible; with one of its revisions.
    One(&'t T, Cow<'t, Identity>),
    /// Several possible, or none certain.
    Several(Vec<Cow<'t, Identity>>),
}

/// What names an end.
pub(super) trait Names {
    fn identity(&self) -> IdentityNumber;
}

impl Names for AtNode {
    fn identity(&self) -> IdentityNumber {
        self.identity
    }
}

impl Names for Described<IdentityNumber> {
    fn identity(&self) -> IdentityNumber {
        self.who
    }
}

/// An exact answer by address.
fn exact(identity: Cow<'_, Identity>) -> Resolution<'_> {
    Resolution::exact(identity, IdentifiedBy::Address)
}

impl Table {
    /// Who an end was: by UID first, then as the reporter's own host, then by address. An address that nobody held has
    /// its network set, if that is certain: among the sets of which a network contains it, the one with the longest
    /// prefix. Where one that may or may not have held has as long a prefix or a longer one, nothing is said.
    #[must_use]
    pub fn resolve(&self, ask: &Ask<'_>) -> Resolution<'_> {
        if !self.cluster_known(ask.at) {
            self.without_cluster(ask)
        } else if self.known_before(ask.at).is_some() {
            Resolution::none(Some(self.reason_or(NoneReason::NotYetReported, ask.at)))
        } else if let Some(uid) = ask.pod_uid {
            let uid = UidKey::of(uid);
            let known = self.pods().and_then(|pods| {
                let home = pods.home(uid);
                if self.is_past(ask.at) {
                    black_box(pods.touch_past(home));
                }
                pods.get_from(home, uid)
            });
            self.by_known_pod(known, ask.at)
        } else if let Some(node) = ask.local_host.and_then(|name| self.node_named(name, ask.at)) {
            Resolution { zone: self.zone(node.node_number, ask.at), ..exact(node) }
        } else {
            let home = self.ends.home(ask.address);
            if self.is_past(ask.at) {
                black_box(self.ends.touch_past(home));
            }
            let place = self.ends.place_from(home, ask.address);
            match place.and_then(|place| place.latest(Moment::of(ask.at))) {
                Some(end) => self.latest(end, IdentifiedBy::Address, ask.at),
                None => self.by_address_said(ask, place, self.past_of_address(place, ask.at)),
            }
        }
    }

    /// Who holds something for long, by what is noted beside it.
    pub(super) fn latest(&self, who: AtNode, by: IdentifiedBy, at: Millis) -> Resolution<'_> {
        let zone = self.zone(who.node, at);
        Resolution { zone, ..Resolution::exact(Cow::Borrowed(self.identities.get(who.identity)), by) }
    }

    /// The service `namespace/name` that certainly and alone had this address, port and protocol.
    #[must_use]
    pub fn service(&self, at: Millis, address: Address, port: u16, protocol: u8) -> Option<&Arc<str>> {
        match self.service_holder(at, address, Some(port), protocol) {
            _ if self.known_before(at).is_some() => None,
            Held::One(service, _) => Some(&service.text),
            Held::Nobody | Held::Several(_) => None,
        }
    }

    /// Whether an end had a ready agent: whoever it may be was certainly on a node with one at `at`, or its address is in
    /// a network that an agent certainly covered. In a gap it is as it last was: whose report counts must be the same for
    /// both reporters, and where nobody has a name it would never be the initiator's.
    #[must_use]
    pub fn covered(&self, resolution: &Resolution<'_>, address: Address, at: Millis) -> bool {
        if let Some(before) = self.known_before(at) {
            return self.covered(&self.resolve(&Ask::address(before, address)), address, before);
        }
        let on_covered_node = match resolution.attribution {
            Attribution::Exact => resolution.identity.iter().any(|identity| self.agent_on(identity, at)),
            Attribution::Ambiguous => {
                !resolution.candidates.is_empty()
                    && resolution.candidates.iter().all(|candidate| self.agent_on(candidate, at))
            }
            Attribution::None => false,
        };
        on_covered_node || self.agent_networks.any_certain(address, at)
    }

    /// Whether one observer certainly stood for both ends at `at`, as in a capture.
    #[must_use]
    pub fn one_observer(&self, at: Millis) -> bool {
        self.single_observers.view().any_certain(at)
    }

    fn named(&self, node: &str) -> Option<&NamedNode> {
        self.node_numbers.get(node).and_then(|&number| element(&self.named_nodes, number))
    }

    pub(super) fn agent_on(&self, identity: &Identity, at: Millis) -> bool {
        let by_number = element(&self.named_nodes, identity.node_number);
        let named = if identity.node_number == NOWHERE { self.named(&identity.node) } else { by_number };
        named.is_some_and(|named| named.agent_since.holds(Moment::of(at)) || named.history.has_agent(at))
    }

    /// Without a cluster the only names are those of hosts.
    fn without_cluster(&self, ask: &Ask<'_>) -> Resolution<'_> {
        let mut resolution = match ask.local_host.and_then(|name| self.node_named(name, ask.at)) {
            Some(node) => exact(node),
            None => {
                let view = self.ends.place(ask.address).map(|place| self.ends.at(place));
                let is_node = |identity: &Identity| identity.kind == IdentityKind::Node;
                match self.held(view, ask.at, |who| is_node(self.identities.get(who.identity))) {
                    Held::One(_, node) => exact(node),
                    Held::Several(nodes) => Resolution::ambiguous(nodes),
                    Held::Nobody => self.outside(ask, NoneReason::NoCluster),
                }
            }
        };
        resolution.host = match (&resolution.identity, resolution.attribution) {
            (Some(node), _) => Some(node.name.clone()),
            (None, Attribution::None) => ask.local_host.map(Arc::from),
            (None, _) => None,
        };
        if let Some(node) = &resolution.identity {
            resolution.zone = self.zone(node.node_number, ask.at);
        }
        resolution
    }

    /// The node knew the pod, so that its UID decides alone: when the pod is not in the table as of then, its address is
    /// not asked, because whoever else held it was not this pod.
    pub(super) fn by_pod_uid(&self, revisions: Option<&Revisions>, at: Millis) -> Resolution<'_> {
        match revisions.and_then(|revisions| self.pod_at(revisions, at)) {
            Some((identity, node)) => {
                let zone = self.zone(node, at);
                Resolution { zone, ..Resolution::exact(identity, IdentifiedBy::Uid) }
            }
            None => Resolution::none(Some(self.reason_or(NoneReason::NotYetReported, at))),
        }
    }

    /// What is said of who had an address, which is at this place.
    #[inline]
    pub(super) fn past_of_address(&self, place: Option<Place>, at: Millis) -> Said {
        place.map_or(Said::Nothing, |place| self.ends.past(place, Moment::of(at)))
    }

    /// What is said of who a pod was.
    #[inline]
    pub(super) fn past_of_pod(&self, known: Option<Known>, at: Millis) -> Said {
        let known = self.pods().zip(known);
        known.map_or(Said::Nothing, |(pods, known)| pods.at(known, Moment::of(at)))
    }

    /// Somebody of whom that is said.
    #[inline]
    pub(super) fn said(&self, who: AtNode) -> AtNode {
        let node = if who.node == ELSEWHERE { self.identities.node(who.identity) } else { who.node };
        AtNode { node, ..who }
    }

    /// Who had an address, after what is said of its past.
    pub(super) fn by_address_said(&self, ask: &Ask<'_>, place: Option<Place>, said: Said) -> Resolution<'_> {
        match said {
            Said::Who(who) => self.latest(self.said(who), IdentifiedBy::Address, ask.at),
            Said::Nobody => self.outside(ask, self.nobody(ask.address, ask.at)),
            Said::Nothing => self.by_address(ask, place),
        }
    }

    /// Whether a question is probably about somebody's past, so that reading it is begun before it is known whose.
    fn is_past(&self, at: Millis) -> bool {
        at < self.newest.saturating_sub(RECENT)
    }

    fn by_known_pod(&self, known: Option<Known>, at: Millis) -> Resolution<'_> {
        match known.and_then(|known| known.latest.at(Moment::of(at))) {
            Some(pod) => self.latest(pod, IdentifiedBy::Uid, at),
            None => self.by_pod_said(known, at, self.past_of_pod(known, at)),
        }
    }

    /// Who a pod was, after what is said of its past.
    pub(super) fn by_pod_said(&self, known: Option<Known>, at: Millis, said: Said) -> Resolution<'_> {
        match said {
            Said::Who(who) => self.latest(self.said(who), IdentifiedBy::Uid, at),
            Said::Nobody => self.by_pod_uid(None, at),
            Said::Nothing => self.by_pod_uid(self.revisions_of(known), at),
        }
    }

    /// Pods by UID.
    pub(super) fn pods(&self) -> Option<&Uids> {
        self.by_uid.first()
    }

    /// The revisions of an object.
    pub(super) fn revisions_of(&self, known: Option<Known>) -> Option<&Revisions> {
        known.and_then(|known| element(&self.objects, known.object))
    }

    /// Who had an address, which is at this place.
    pub(super) fn by_address(&self, ask: &Ask<'_>, place: Option<Place>) -> Resolution<'_> {
        match self.held(place.map(|place| self.ends.at(place)), ask.at, |_| true) {
            Held::One(who, identity) => {
                let mut resolution = exact(identity);
                resolution.zone = self.zone(who.node, ask.at);
                if place.is_some_and(|place| self.ends.is_service(place)) {
                    let port = ask.port.filter(|_| ask.responder);
                    let service = port.and_then(|port| self.service(ask.at, ask.address, port, ask.protocol));
                    resolution.service = service.map(Cow::Borrowed);
                }
                resolution
            }
            Held::Several(candidates) => Resolution::ambiguous(candidates),
            Held::Nobody if place.is_some_and(|place| self.ends.is_service(place)) => self.by_service_address(ask),
            Held::Nobody => self.outside(ask, self.nobody(ask.address, ask.at)),
        }
    }

    /// An address that no pod and no node held: a service's, if it was reached at one of its ports.
    fn by_service_address(&self, ask: &Ask<'_>) -> Resolution<'_> {
        if !ask.responder {
            return self.outside(ask, self.nobody(ask.address, ask.at));
        }
        match self.service_holder(ask.at, ask.address, ask.port, ask.protocol) {
            Held::One(service, identity) => {
                Resolution { service: Some(Cow::Borrowed(&service.text)), ..exact(identity) }
            }
            Held::Several(services) => Resolution::ambiguous(services),
            Held::Nobody => self.outside(ask, self.nobody(ask.address, ask.at)),
        }
    }

    /// An address that nobody held, for a reason.
    pub(super) fn outside(&self, ask: &Ask<'_>, reason: NoneReason) -> Resolution<'_> {
        let network_set = self.network_set(ask.address, ask.at).map(Cow::Borrowed);
        Resolution { network_set, ..Resolution::none(Some(reason)) }
    }

    pub(super) fn nobody(&self, address: Address, at: Millis) -> NoneReason {
        // Any node's pod network will do, so that neither the longest prefix nor a bound in doubt matters.
        let in_pod_network = self.pod_networks.any_possible(address, at);
        self.reason_or(if in_pod_network { NoneReason::UnknownPodAddress } else { NoneReason::Outside }, at)
    }

    fn reason_or(&self, reason: NoneReason, at: Millis) -> NoneReason {
        if self.history_start != NEVER && at < self.history_start { NoneReason::BeforeHistory } else { reason }
    }

    /// The one set that has the longest prefix wherever the bounds in doubt are.
    fn network_set(&self, address: Address, at: Millis) -> Option<&Arc<str>> {
        let mut first: Option<&Described<Whose>> = None;
        let mut revisions: Vec<(u64, Span)> = Vec::new();
        for holders in self.network_sets.containing(address) {
            for holder in holders.possible(at) {
                if holder.who.who.object != first.get_or_insert(&holder.who).who.object {
                    return None;
                }
                revisions.push((holder.who.who.revision, holder.span));
            }
            revisions.sort_unstable_by_key(|(revision, _)| *revision);
            revisions.dedup_by_key(|(revision, _)| *revision);
            if certain(&revisions, at) {
                return first.map(|set| &set.text);
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
    ) -> Held<'_, Described<IdentityNumber>> {
        let holders = port.and_then(|port| self.services.get(&(number(address), port, protocol)));
        self.held(holders.map(Holders::view), at, |_| true)
    }

    /// The node with this name: the name identifies it, so that a bound in doubt does not matter, but two nodes that had
    /// the name one after the other do.
    fn node_named(&self, name: &str, at: Millis) -> Option<Cow<'_, Identity>> {
        match self.held(Some(self.named(name)?.history.nodes.view()), at, |_| true) {
            Held::One(_, node) => Some(node),
            Held::Several(nodes) => <[_; 1]>::try_from(nodes).ok().map(|[node]| node),
            Held::Nobody => None,
        }
    }

    /// The zone of a node as of then; nothing where it may have been one or another.
    pub(super) fn zone(&self, node: u32, at: Millis) -> Option<Cow<'_, Arc<str>>> {
        let named = element(&self.named_nodes, node)?;
        if named.zone_since.holds(Moment::of(at)) {
            return (!named.zone.is_empty()).then_some(Cow::Borrowed(&named.zone));
        }
        named.history.zone(at).map(Cow::Borrowed)
    }

    /// Who held something at a time, of those whom the condition admits.
    fn held<'t, T: Names>(
        &'t self,
        holders: Option<View<'t, T>>,
        at: Millis,
        admits: impl Fn(&T) -> bool,
    ) -> Held<'t, T> {
        let Some(holders) = holders else { return Held::Nobody };
        let mut possible = holders.possible(at).filter(|holder| admits(&holder.who));
        let Some(first) = possible.next() else { return Held::Nobody };
        let Some(second) = possible.next() else {
            let identity = Cow::Borrowed(self.identities.get(first.who.identity()));
            return if first.span.certain(at) {
                Held::One(&first.who, identity)
            } else {
                Held::Several(vec![identity])
            };
        };
        let possible: Vec<&Holder<T>> = [first, second].into_iter().chain(possible).collect();
        self.of_several(holders, &possible, at)
    }

    /// Who a pod was, and the number of its node: what its possible revisions have in common, or its last one before.
    fn pod_at(&self, revisions: &Revisions, at: Millis) -> Option<(Cow<'_, Identity>, u32)> {
        let pod = |number| (Cow::Borrowed(self.identities.get(number)), self.identities.node(number));
        let possible = revisions.possible(at).filter_map(Stored::pod).map(pod);
        let possible = possible.reduce(|(a, node), (b, other)| {
            let node = if node == other { node } else { NOWHERE };
            (common(a, &b), node)
        });
        possible.or_else(|| {
            // A pod that is said to have ended may still be sending; it is the same pod.
            let last = revisions.begun(at).iter().rev().find(|stored| stored.span.earliest_start() <= at);
            last.and_then(Stored::pod).map(pod)
        })
    }
}

impl NodeHistory {
    /// The one zone that was possible.
    pub(super) fn zone(&self, at: Millis) -> Option<&Arc<str>> {
        let mut zones = self.nodes.view().possible(at).map(|holder| &holder.who.text);
        let zone = zones.next()?;
        (!zone.is_empty() && zones.all(|other| other == zone)).then_some(zone)
    }

    /// Whether an agent was certainly ready.
    pub(super) fn has_agent(&self, at: Millis) -> bool {
        self.agents.view().any_certain(at)
    }
}

impl Stored {
    /// Of a pod its identity.
    pub(super) fn pod(&self) -> Option<IdentityNumber> {
        match &self.body {
            Body::Pod { identity, .. } => Some(*identity),
            _ => None,
        }
    }

    pub(super) fn identity(&self) -> Option<IdentityNumber> {
        match &self.body {
            Body::Pod { identity, .. } => Some(*identity),
            Body::Node(node) => Some(node.identity),
            Body::Service(service) => Some(service.identity),
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
    pub(super) fn begun(&self, at: Millis) -> &[Stored] {
        let begun = |stored: &Stored| stored.span.earliest_start() <= at;
        // Nearly every question is about now: the last has begun.
        let all = !self.ordered || self.list.last().is_none_or(begun);
        let end = if all { self.list.len() } else { self.list.partition_point(begun) };
        self.list.get(..end).unwrap_or_default()
    }
}

/// What two revisions of one object have in common.
pub(super) fn common<'t>(a: Cow<'t, Identity>, b: &Identity) -> Cow<'t, Identity> {
    if *a == *b { a } else { Cow::Owned(a.common(b)) }
}
