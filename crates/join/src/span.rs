//! When a revision was valid, with what is not known about it.

use weir_flow::Millis;
use weir_flow::time::FOR_EVER;
use weir_schemas::metadata::{Bound, BoundSource, Revision};

#[cfg(test)]
mod tests;

/// Set where the bound was clipped, so that what it bounds may have been earlier.
const CLIPPED: u32 = 1 << 31;
/// Widths below this are kept to the millisecond: 12 days.
const EXACT: u32 = 1 << 30;
/// Wider ones are rounded up to this many milliseconds, as a power of two.
const COARSE: u32 = 12;

/// How long a bound is in doubt, in 31 bits: to the millisecond up to 12 days, above that rounded up to 4.096 s, above
/// 139 years for ever. Equal widths stay equal, and doubt is never made less. And whether the bound was clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Width(u32);

impl Width {
    /// No end of the doubt.
    const FOR_EVER: u32 = 2 * EXACT - 1;

    fn of(bound: Bound) -> Self {
        let clipped = if bound.source == BoundSource::Clipped { CLIPPED } else { 0 };
        let Some(width) = bound.latest.checked_sub(bound.earliest) else { return Self(Self::FOR_EVER | clipped) };
        // A bound that ends before it begins is no doubt at all.
        let width = u64::try_from(width).unwrap_or(0);
        let width = match u32::try_from(width) {
            Ok(exact) if exact < EXACT => exact,
            _ => match u32::try_from(width.div_ceil(1 << COARSE)) {
                Ok(coarse) if coarse < EXACT - 1 => coarse | EXACT,
                _ => Self::FOR_EVER,
            },
        };
        Self(width | clipped)
    }

    fn after(self, earliest: Millis) -> Millis {
        match self.0 & !CLIPPED {
            exact if exact < EXACT => earliest.saturating_add(i64::from(exact)),
            Self::FOR_EVER => FOR_EVER,
            coarse => earliest.saturating_add(i64::from(coarse - EXACT) << COARSE),
        }
    }
}

/// The two bounds of a revision's validity, each an interval; in 24 bytes, because there is one for each revision and
/// each of its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    from: Millis,
    to: Millis,
    from_width: Width,
    to_width: Width,
}

impl Span {
    pub(crate) fn of<T, R>(revision: &Revision<T, R>) -> Self {
        let open = Bound { earliest: FOR_EVER, latest: FOR_EVER, source: BoundSource::Always };
        Self::between(revision.valid_from, revision.valid_to.unwrap_or(open))
    }

    pub(crate) fn between(from: Bound, to: Bound) -> Self {
        Self { from: from.earliest, to: to.earliest, from_width: Width::of(from), to_width: Width::of(to) }
    }

    /// From when it may have been valid.
    #[inline]
    pub(crate) fn earliest_start(&self) -> Millis {
        self.from
    }

    /// From when it certainly was valid.
    #[inline]
    pub(crate) fn latest_start(&self) -> Millis {
        self.from_width.after(self.from)
    }

    /// Until when (exclusive) it certainly was valid.
    #[inline]
    pub(crate) fn earliest_end(&self) -> Millis {
        self.to
    }

    /// Until when (exclusive) it may have been valid.
    #[inline]
    pub(crate) fn latest_end(&self) -> Millis {
        self.to_width.after(self.to)
    }

    /// Whether its beginning was learnt too late and moved: it may have been earlier than it says.
    pub(crate) fn began_unseen(&self) -> bool {
        self.from_width.0 & CLIPPED != 0
    }

    /// Valid at `at` wherever in their intervals the bounds are.
    #[inline]
    pub(crate) fn certain(&self, at: Millis) -> bool {
        self.latest_start() <= at && at < self.to
    }

    /// Valid at `at` for some place of the bounds in their intervals.
    #[inline]
    pub(crate) fn possible(&self, at: Millis) -> bool {
        self.from <= at && at < self.latest_end()
    }

    /// Whether `next` begins at the very event that ends this span.
    pub(crate) fn continues_in(&self, next: &Self) -> bool {
        self.to == next.from && self.to_width == next.from_width && self.latest_end() != FOR_EVER
    }
}

/// Whether the revision comes from a source without times.
pub(crate) fn is_always<T, R>(revision: &Revision<T, R>) -> bool {
    revision.valid_from.source == BoundSource::Always
}
