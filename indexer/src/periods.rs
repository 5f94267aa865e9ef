//! The index period by cluster and time, from the dated settings.

use std::collections::BTreeMap;
use weir_flow::settings::IndexPeriod;
use weir_flow::{Millis, RecordSettings};

#[cfg(test)]
mod tests;

/// Which index period holds for which cluster and window. Settings are dated and never changed afterwards, so the
/// answer for a window does not depend on when it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Periods {
    clusters: BTreeMap<String, BTreeMap<Millis, IndexPeriod>>,
}

impl Periods {
    /// Takes settings into account.
    pub fn apply(&mut self, settings: &RecordSettings) {
        let dates = self.clusters.entry(settings.cluster.clone()).or_default();
        dates.insert(settings.valid_from, settings.index_period);
    }

    /// The period for a window: of the newest settings that hold by then; a day where there are none.
    #[must_use]
    pub fn at(&self, cluster: &str, window: Millis) -> IndexPeriod {
        let dates = self.clusters.get(cluster);
        let newest = dates.and_then(|d| d.range(..=window).next_back());
        newest.map_or(IndexPeriod::Day, |(_, period)| *period)
    }
}
