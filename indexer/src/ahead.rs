//! Which indices are made before their period begins, so that the first bulks of a period do not all wait for them at once. Pure.

use crate::index::Index;
use crate::periods::Periods;
use std::collections::BTreeSet;
use weir_flow::Millis;

#[cfg(test)]
mod tests;

/// The indices that what was written shows to be needed soon. `written` is the index, cluster and window (ms since the epoch) of
/// each document; `now` is the time, ms since the epoch. That is the next one of each kind and level of which something was written
/// in the last tenth of its period, and whose own period has not begun: of past periods nobody knows whether they are needed.
pub(crate) fn due<'a>(
    written: impl Iterator<Item = (Index, &'a str, Millis)>,
    periods: &Periods,
    now: Millis,
) -> BTreeSet<Index> {
    let soon = written.filter(|(index, _, window)| index.nears_its_end(*window) && now < index.end());
    soon.filter_map(|(index, cluster, _)| index.next(periods.at(cluster, index.end()))).collect()
}
