//! When a revision was valid, with what is not known about it.

use weir_flow::Millis;
use weir_flow::time::FOR_EVER;
use weir_schemas::metadata::{BoundSource, Revision};

/// The two bounds of a revision's validity, each an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_earliest: Millis,
    pub(crate) from_latest: Millis,
    pub(crate) to_earliest: Millis,
    pub(crate) to_latest: Millis,
}

impl Span {
    pub(crate) fn of(revision: &Revision) -> Self {
        let (to_earliest, to_latest) = revision.valid_to.map_or((FOR_EVER, FOR_EVER), |to| (to.earliest, to.latest));
        Self {
            from_earliest: revision.valid_from.earliest,
            from_latest: revision.valid_from.latest,
            to_earliest,
            to_latest,
        }
    }

    /// Valid at `at` wherever in their intervals the bounds are.
    pub(crate) fn certain(&self, at: Millis) -> bool {
        self.from_latest <= at && at < self.to_earliest
    }

    /// Valid at `at` for some place of the bounds in their intervals.
    pub(crate) fn possible(&self, at: Millis) -> bool {
        self.from_earliest <= at && at < self.to_latest
    }

    /// Whether `next` begins at the very event that ends this span.
    pub(crate) fn continues_in(&self, next: &Self) -> bool {
        self.to_earliest == next.from_earliest && self.to_latest == next.from_latest && self.to_latest != FOR_EVER
    }
}

/// Whether the revision comes from a source without times.
pub(crate) fn is_always(revision: &Revision) -> bool {
    revision.valid_from.source == BoundSource::Always
}
