//! What changed from one revision to the next, and when.

use crate::bounds::between;
use weir_flow::Millis;
use weir_flow::time::{FOR_EVER, NEVER};
use weir_schemas::metadata::{Bound, BoundSource, Object, Pod, Revision};

/// Between the last heartbeat, which promised the former state, and the arrival.
pub(super) fn arrived(heartbeat: Millis, arrival: Millis) -> Bound {
    let earliest = if heartbeat == NEVER { arrival } else { heartbeat.saturating_add(1) };
    between(earliest, arrival, BoundSource::Arrival)
}

/// When the content changed: other addresses are dated by the pod's own status, a policy or network set by what the API server noted,
/// anything else by the watch.
pub(super) fn change(
    open: &Revision,
    next: &Revision,
    changed: Option<Bound>,
    heartbeat: Millis,
    arrival: Millis,
) -> Bound {
    match changed {
        Some(bound) if matches!(next.object, Object::Policy(_) | Object::NetworkSet(_)) => bound,
        Some(bound) if addresses(&open.object) != addresses(&next.object) => bound,
        Some(bound) if was_bound_to_node(open, next) => bound,
        _ => arrived(heartbeat.max(open.valid_from.earliest), arrival),
    }
}

/// Whether nothing but a pod's node became known.
pub(super) fn was_bound_to_node(open: &Revision, next: &Revision) -> bool {
    let (Object::Pod(before), Object::Pod(after)) = (&open.object, &next.object) else { return false };
    before.node.is_empty()
        && !after.node.is_empty()
        && same_content(
            &Revision { object: Object::Pod(Pod { node: after.node.clone(), ..before.clone() }), ..open.clone() },
            next,
        )
}

/// The bound from which a revision's addresses are held, where it was the later one that dates them and an earlier time
/// is told, which is after `passed`: the last heartbeat, and when the revisions before it have begun.
pub(super) fn sooner(open: &Revision, held: Bound, passed: Millis) -> Option<Bound> {
    let (of, both) = (open.valid_from, BoundSource::Status);
    let latest = held.latest.max(passed.saturating_add(1)).max(of.earliest);
    let is_sooner = !addresses(&open.object).is_empty() && latest < of.latest;
    (is_sooner && of.source == both && held.source == both).then_some(Bound { latest, ..of })
}

/// By when at the latest a pod had lost its sandbox, where that was told late and the next sandbox, which was ready sooner, dates
/// its addresses: it had lost the one before it had the next.
pub(super) fn lost_sooner(open: &Revision, next: &Revision, held: Bound) -> Option<Millis> {
    let is_next = addresses(&open.object).is_empty() && !addresses(&next.object).is_empty();
    let latest = held.latest.max(open.valid_from.earliest);
    (is_next && held.source == BoundSource::Status && latest < open.valid_from.latest).then_some(latest)
}

/// A revision cannot end before it can have begun.
pub(super) fn not_before(end: Bound, begin: Bound) -> Bound {
    if end.earliest >= begin.earliest && end.latest >= begin.latest {
        return end;
    }
    between(end.earliest.max(begin.earliest), end.latest.max(begin.latest), end.source)
}

/// Whether a revision still holds, be its end foreseen or not.
pub(super) fn is_open(revision: &Revision) -> bool {
    revision.valid_to.is_none_or(|to| to.latest == FOR_EVER)
}

/// What was said to be the earliest end stays so where a heartbeat has passed it: the answers since then rest on it.
pub(super) fn kept_earliest(end: Bound, foreseen: Option<Bound>, heartbeat: Millis) -> Bound {
    let promised = foreseen.filter(|foreseen| foreseen.earliest <= heartbeat);
    promised.map_or(end, |foreseen| Bound { earliest: foreseen.earliest.min(end.earliest), ..end })
}

pub(super) fn addresses(object: &Object) -> &[weir_flow::Address] {
    match object {
        Object::Pod(pod) => &pod.addresses,
        Object::Node(node) => &node.addresses,
        Object::Service(service) => &service.addresses,
        Object::EndpointSlice(slice) => &slice.addresses,
        Object::Namespace(_) | Object::Agent(_) | Object::Policy(_) | Object::NetworkSet(_) => &[],
    }
}

pub(super) fn same_content(a: &Revision, b: &Revision) -> bool {
    a.namespace == b.namespace
        && a.name == b.name
        && a.labels == b.labels
        && a.annotations == b.annotations
        && match (&a.object, &b.object) {
            (Object::Pod(a), Object::Pod(b)) => {
                a.addresses == b.addresses
                    && a.host_network == b.host_network
                    && a.node == b.node
                    && a.service_account == b.service_account
                    && a.workload_kind == b.workload_kind
                    && a.workload == b.workload
            }
            (Object::Namespace(_), Object::Namespace(_)) => true,
            (a, b) => a == b,
        }
}

/// Status rides along with the next writing of the revision.
pub(super) fn take_status(open: &mut Revision, seen: Revision) {
    match (&mut open.object, seen.object) {
        (Object::Pod(open), Object::Pod(seen)) => {
            open.phase = seen.phase;
            open.containers = seen.containers;
        }
        (Object::Namespace(open), Object::Namespace(seen)) => open.phase = seen.phase,
        _ => {}
    }
}

pub(super) fn keep_workload(open: &Revision, next: &mut Revision) {
    if let (Object::Pod(open), Object::Pod(next)) = (&open.object, &mut next.object) {
        next.owners.clone_from(&open.owners);
        next.workload_kind.clone_from(&open.workload_kind);
        next.workload.clone_from(&open.workload);
    }
}
