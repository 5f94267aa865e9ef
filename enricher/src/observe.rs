//! One sample, oriented and joined: who opened the connection, whose report it is, who both ends were at its tick, and
//! whether its counters feed the totals.

use crate::join::Join;
use crate::key::EndKey;
use weir_flow::{Address, Millis, protocol};
use weir_join::{IdentityKind, Resolution};
use weir_schemas::enriched::{Attribution, NoneReason, Side};
use weir_schemas::ledger::Reporter;
use weir_schemas::raw::{DropClass, End, OpenedBy, Point, Sample, Tuple};

#[cfg(test)]
mod tests;

/// Where and when a sample was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Start of the tick that the sample is placed in.
    pub(crate) tick: Millis,
    /// Length of the tick, ms.
    pub(crate) tick_length: Millis,
    /// Name of the reporter's node.
    pub(crate) node: &'a str,
}

/// One end as it was asked for and found.
#[derive(Clone, Debug)]
pub(crate) struct EndFound<'a> {
    pub(crate) ask: weir_join::Ask<'a>,
    pub(crate) found: Resolution,
    pub(crate) covered: bool,
}

/// A sample with everything that decides where it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Observation<'a> {
    pub(crate) sample: &'a Sample,
    /// Whether the packets went from the initiator to the responder.
    pub(crate) forward: bool,
    pub(crate) reporter: Reporter,
    /// Whether the counters feed the totals.
    pub(crate) authority: bool,
    pub(crate) guessed: bool,
    pub(crate) untranslated: bool,
    pub(crate) initiator: EndFound<'a>,
    pub(crate) responder: EndFound<'a>,
    pub(crate) policy_drops: bool,
}

/// Whether a sample's point stands for one of the ends; what is seen in transit or under a tunnel is outside totals.
pub(crate) fn stands_for_an_end(point: Point) -> bool {
    matches!(point, Point::Pod | Point::Host | Point::Capture)
}

/// Orients and joins a sample. It must stand for an end.
pub(crate) fn observe<'a>(sample: &'a Sample, place: &Place<'a>, join: &impl Join) -> Observation<'a> {
    let tuple = real_tuple(sample);
    let (forward, guessed) = orientation(sample, &tuple);
    let local_is_initiator = (sample.end == End::Source) == forward;
    let one_observer = sample.point == Point::Capture || join.one_observer(place.tick);
    let reporter = if one_observer || local_is_initiator { Reporter::Initiator } else { Reporter::Responder };
    let asker = Asker { sample, place, forward, tuple };
    let initiator = asker.end(true, local_is_initiator, join);
    let mut responder = asker.end(false, !local_is_initiator, join);
    asker.service_before_translation(&mut responder, join);
    let untranslated = responder.found.identity.as_ref().is_some_and(|identity| identity.kind == IdentityKind::Service);
    Observation {
        sample,
        forward,
        reporter,
        authority: one_observer || (reporter == Reporter::Initiator) == initiator.covered,
        guessed,
        untranslated,
        initiator,
        responder,
        policy_drops: sample.drops.iter().any(|drop| drop.class == DropClass::Policy && drop.packets > 0),
    }
}

/// The tuple after translation, in the direction of the packets. At a pod's interface the pod's own end is as seen, and
/// the other end is as translated: behind a service's address stands a pod, behind a masqueraded source its client. A
/// host's interface sees packets after translation already.
fn real_tuple(sample: &Sample) -> Tuple {
    let seen = Tuple {
        source: sample.source,
        destination: sample.destination,
        source_port: sample.source_port,
        destination_port: sample.destination_port,
    };
    match (&sample.translated, sample.point, sample.end) {
        (Some(other), Point::Pod, End::Source) => {
            Tuple { destination: other.destination, destination_port: other.destination_port, ..seen }
        }
        (Some(other), Point::Pod, End::Destination) => {
            Tuple { source: other.source, source_port: other.source_port, ..seen }
        }
        _ => seen,
    }
}

/// Whether the packets go from the initiator to the responder, and whether that was guessed: the lower port is the
/// responder's; where the ports say nothing, the lower address is.
fn orientation(sample: &Sample, tuple: &Tuple) -> (bool, bool) {
    match sample.opened_by {
        OpenedBy::Source => (true, false),
        OpenedBy::Destination => (false, false),
        OpenedBy::Unknown => {
            let ports = protocol::has_ports(sample.protocol) && tuple.source_port != tuple.destination_port;
            let forward =
                if ports { tuple.destination_port < tuple.source_port } else { tuple.destination <= tuple.source };
            (forward, true)
        }
    }
}

struct Asker<'a, 'p> {
    sample: &'a Sample,
    place: &'p Place<'a>,
    forward: bool,
    tuple: Tuple,
}

impl<'a> Asker<'a, '_> {
    fn ends_of(&self, tuple: &Tuple, initiator: bool) -> (Address, u16) {
        if initiator == self.forward {
            (tuple.source, tuple.source_port)
        } else {
            (tuple.destination, tuple.destination_port)
        }
    }

    fn end(&self, initiator: bool, local: bool, join: &impl Join) -> EndFound<'a> {
        let (address, port) = self.ends_of(&self.tuple, initiator);
        let far = weir_join::Ask {
            at: self.place.tick,
            address,
            port: protocol::has_ports(self.sample.protocol).then_some(port),
            protocol: self.sample.protocol,
            pod_uid: None,
            container: None,
            process: None,
            responder: !initiator,
            local_host: None,
        };
        // Who has the authority must be the same question for both reporters, so it goes by address alone.
        let by_address = self.resolve(&far, join);
        let covered = join.covered(&by_address, address, self.place.tick);
        if !local || self.sample.point == Point::Capture {
            return EndFound { ask: far, found: by_address, covered };
        }
        let on_host = self.sample.point == Point::Host && self.sample.pod_uid.is_none();
        let ask = weir_join::Ask {
            pod_uid: self.sample.pod_uid.as_deref(),
            container: self.sample.container.as_deref(),
            process: self.sample.process.as_deref(),
            local_host: on_host.then_some(self.place.node),
            ..far
        };
        let found = if ask.pod_uid.is_some() || on_host { self.resolve(&ask, join) } else { by_address };
        EndFound { ask, found, covered }
    }

    fn resolve(&self, ask: &weir_join::Ask<'_>, join: &impl Join) -> Resolution {
        resolve_at(ask, self.place, join)
    }

    /// Where the connection is translated, the service is known by the responder's address in the other tuple.
    fn service_before_translation(&self, responder: &mut EndFound<'_>, join: &impl Join) {
        let Some(other) = &self.sample.translated else { return };
        if responder.found.service.is_some() {
            return;
        }
        let seen = Tuple {
            source: self.sample.source,
            destination: self.sample.destination,
            source_port: self.sample.source_port,
            destination_port: self.sample.destination_port,
        };
        responder.found.service = [seen, *other].iter().find_map(|tuple| {
            let (address, port) = self.ends_of(tuple, false);
            let same = address == responder.ask.address;
            if same { None } else { join.service(self.place.tick, address, port, self.sample.protocol) }
        });
    }
}

/// Asks as of the tick's start; for who came only within the tick, as of its end.
pub(crate) fn resolve_at(ask: &weir_join::Ask<'_>, place: &Place<'_>, join: &impl Join) -> Resolution {
    let found = join.resolve(ask);
    let may_come = matches!(
        found.reason,
        Some(
            NoneReason::UnknownPodAddress
                | NoneReason::NotYetReported
                | NoneReason::BeforeHistory
                | NoneReason::Outside
        )
    );
    if found.attribution != Attribution::None || !may_come {
        return found;
    }
    let end = place.tick.saturating_add(place.tick_length).saturating_sub(1);
    let later = join.resolve(&weir_join::Ask { at: end, ..*ask });
    if later.attribution == Attribution::None { found } else { later }
}

/// The workload that all candidates of an ambiguous end belong to.
fn shared_workload(found: &Resolution) -> Option<&weir_join::Identity> {
    let first = found.candidates.first()?;
    let same = |other: &weir_join::Identity| {
        (&other.namespace, &other.workload_kind, &other.workload)
            == (&first.namespace, &first.workload_kind, &first.workload)
    };
    (!first.workload.is_empty() && found.candidates.iter().all(|other| same(other))).then_some(first)
}

impl EndFound<'_> {
    /// What keys see of this end; `instance` is whether the level tells pods of one workload apart.
    pub(crate) fn key(&self, instance: bool) -> EndKey<'_> {
        let identity = self.found.identity.as_deref();
        let workload = if instance { identity } else { identity.or_else(|| shared_workload(&self.found)) };
        let pod = identity.filter(|identity| instance && identity.kind == IdentityKind::Pod);
        EndKey {
            present: true,
            address: instance.then_some(self.ask.address),
            port: self.ask.port,
            scope: self.ask.address.scope(),
            pod_uid: pod.map_or("", |identity| &identity.uid),
            namespace: workload.map_or("", |identity| &identity.namespace),
            workload_kind: workload.map_or("", |identity| &identity.workload_kind),
            workload: workload.map_or("", |identity| &identity.workload),
            node: identity.map_or("", |identity| &identity.node),
            host: self.found.host.as_deref().unwrap_or_default(),
            service: self.found.service.as_deref().unwrap_or_default(),
            network_set: self.found.network_set.as_deref().unwrap_or_default(),
            attribution: self.found.attribution,
            reason: self.found.reason,
        }
    }

    /// The end as it stands on a record.
    pub(crate) fn side(&self, instance: bool) -> Side {
        let mut side = self.found.to_side(&self.ask);
        if instance {
            return side;
        }
        if let (None, Some(identity)) = (&self.found.identity, shared_workload(&self.found)) {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            side.namespace = some(&identity.namespace);
            side.workload_kind = some(&identity.workload_kind);
            side.workload = some(&identity.workload);
        }
        let port = side.port;
        side = crate::merge::without_instance(side);
        side.port = port;
        side
    }

    /// Whether no one pod is known, but the workload of all that it may have been.
    pub(crate) fn shares_workload(&self) -> bool {
        self.found.identity.is_none() && shared_workload(&self.found).is_some()
    }

    /// The pod behind a record of levels 2 and 3, `namespace/name`.
    pub(crate) fn pod(&self) -> Option<String> {
        let identity = self.found.identity.as_deref().filter(|identity| identity.kind == IdentityKind::Pod)?;
        Some(identity.qualified_name())
    }
}
