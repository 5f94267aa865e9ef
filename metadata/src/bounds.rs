//! Bounds of validity: what the sources' times say, and the clip that keeps a heartbeat's promise.

use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::metadata::{Bound, BoundSource};

#[cfg(test)]
mod tests;

/// Kubernetes writes times in whole seconds, rounded down: the true time is up to this much later.
pub const SECOND_ROUNDED: Millis = 999;

/// A bound for a time that Kubernetes wrote, in whole seconds.
#[must_use]
pub fn written(time: Millis, source: BoundSource) -> Bound {
    Bound { earliest: time, latest: time.saturating_add(SECOND_ROUNDED), source }
}

/// A bound between two times; `latest` is never before `earliest`, whatever the clocks say.
#[must_use]
pub fn between(earliest: Millis, latest: Millis, source: BoundSource) -> Bound {
    Bound { earliest, latest: latest.max(earliest), source }
}

/// The bound of a source without times.
#[must_use]
pub fn always() -> Bound {
    Bound { earliest: NEVER, latest: NEVER, source: BoundSource::Always }
}

/// Moves what was learnt after heartbeat `heartbeat` to after it: nothing at or before a heartbeat ever changes.
#[must_use]
pub fn clip(bound: Bound, heartbeat: Millis) -> Bound {
    if heartbeat == NEVER || bound.earliest > heartbeat {
        return bound;
    }
    let first = heartbeat.saturating_add(1);
    between(first, bound.latest, BoundSource::Clipped)
}

/// As [`clip`], of what its node would have told by now had it happened up to `untold`, which is at or after the heartbeat:
/// it happened later, so that the bound is narrower and still true. One that ends before then was told too late and is
/// clipped.
#[must_use]
pub fn after(bound: Bound, heartbeat: Millis, untold: Millis) -> Bound {
    if heartbeat == NEVER || untold < heartbeat || bound.latest <= untold {
        return clip(bound, heartbeat);
    }
    Bound { earliest: bound.earliest.max(untold.saturating_add(1)), ..bound }
}
