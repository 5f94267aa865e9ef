//! Times in four bytes, to about a second: enough to tell that a question is about now, and little enough to stand beside
//! what is asked.

use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// Milliseconds of a step, as a power of two: 1.024 s.
const STEP: u32 = 10;

/// A time rounded down to a step, as it is compared with a [`Since`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u32);

impl Moment {
    /// Of a time before 1970 or after 2109 it is a moment at which nothing is said to hold.
    pub(crate) fn of(at: Millis) -> Self {
        Self(
            u32::try_from(at >> STEP)
                .ok()
                .and_then(|steps| steps.checked_add(1))
                .filter(|n| *n < u32::MAX)
                .unwrap_or(0),
        )
    }

    /// The first moment that is not wholly before a time; 0 of one before 1970, and the last one of one after 2109.
    pub(crate) fn end(until: Millis) -> Self {
        if until < 0 {
            return Self(0);
        }
        Self(u32::try_from(until >> STEP).ok().and_then(|steps| steps.checked_add(1)).unwrap_or(u32::MAX))
    }

    /// Whether it is one at which something may be said to hold.
    pub(crate) fn is_said(self) -> bool {
        self.0 > 0
    }

    pub(crate) fn later(self, steps: u8) -> Self {
        Self(self.0.saturating_add(u32::from(steps)))
    }

    /// From this moment on.
    pub(crate) fn as_since(self) -> Since {
        Since(self.0)
    }
}

/// From when on something holds for as long as nothing else is told; rounded up to a step, so that it never says too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since(u32);

impl Since {
    /// Nothing is said.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    pub(crate) fn of(from: Millis) -> Self {
        let steps = ((from.max(0).saturating_sub(1)) >> STEP) + 1;
        Self(u32::try_from(steps).ok().and_then(|steps| steps.checked_add(1)).unwrap_or(u32::MAX))
    }

    #[inline]
    pub(crate) fn holds(self, moment: Moment) -> bool {
        self.0 <= moment.0
    }

    /// Whether there is a moment from this one on that is before an end.
    pub(crate) fn is_before(self, end: Moment) -> bool {
        self.0 < end.0
    }

    /// How many moments it begins after an end.
    pub(crate) fn after(self, end: Moment) -> u32 {
        self.0.saturating_sub(end.0)
    }
}
