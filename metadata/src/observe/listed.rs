//! What a list shows: how an object is, but not since when it has been so.

use crate::bounds::{between, written};
use crate::revisions::Observed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::metadata::{Bound, BoundSource, Object};

#[cfg(test)]
mod tests;

/// The object as a list shows it. A watch tells of each change by itself, so that the newest time of `managedFields` is that
/// of the change; a list may hide several, the newest of which is another's. So what it shows has been so since that time at
/// the latest, and may have been since the last heartbeat, or since the object's beginning if it was not known. A pod's own
/// times say when it got its addresses.
#[must_use]
pub fn listed(mut seen: Observed, meta: &ObjectMeta, heartbeat: Millis, arrival: Millis) -> Observed {
    if matches!(seen.object, Object::Pod(_)) {
        return seen;
    }
    let touched = if seen.changed.is_some() { seen.about.changed_at } else { super::touched(meta) };
    let latest = touched.map_or(arrival, |time| written(time, BoundSource::ManagedFields).latest);
    shown_at_once(&mut seen, latest, heartbeat);
    seen
}

/// The same of a manifest: what says nothing of its times has been so always.
pub fn shown(seen: &mut Observed, heartbeat: Millis) {
    if matches!(seen.object, Object::Policy(_) | Object::NetworkSet(_))
        && let Some(time) = seen.about.changed_at
    {
        shown_at_once(seen, written(time, BoundSource::ManagedFields).latest, heartbeat);
    }
}

fn shown_at_once(seen: &mut Observed, latest: Millis, heartbeat: Millis) {
    let later = |since: Bound| since.source != BoundSource::Always && latest > since.latest;
    seen.since = seen.since.map(|since| if later(since) { since_at_latest(since, latest) } else { since });
    let earliest = if heartbeat == NEVER { NEVER } else { heartbeat.saturating_add(1) };
    seen.changed = seen.changed.map(|_| between(earliest, latest, BoundSource::ManagedFields));
}

fn since_at_latest(since: Bound, latest: Millis) -> Bound {
    Bound { latest, source: BoundSource::ManagedFields, ..since }
}
