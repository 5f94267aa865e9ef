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

    pub(crate) fn holds(self, moment: Moment) -> bool {
        self.0 <= moment.0
    }
}
