//! What retention has deleted: records below a horizon are refused and counted instead of making their index anew.

use crate::document::Prepared;
use crate::following::Followed;
use crate::index::IndexKind;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use weir_flow::Millis;
use weir_schemas::horizon::Horizon;
use weir_schemas::topics;
use weir_service::rate_limited;
use weir_stream::Record;

#[cfg(test)]
mod tests;

/// The most indices that are known to be gone; beyond, those that went longest ago are forgotten. What would make one of them
/// anew was written before it went, and topics do not keep records for so many deletions.
const INDICES: usize = 10_000;

/// The horizons, as far as their topic was read; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Horizons {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Partition → offset of the last record of the topic that was taken into account: it may be read again from the beginning, and
    /// what was said before must not hold for a moment.
    applied: BTreeMap<i32, i64>,
    /// (kind, level) → cluster (empty = all) → windows before are gone.
    windows: BTreeMap<(IndexKind, u8), BTreeMap<String, Millis>>,
    /// Index → what was written before is gone: of kinds that hold windows of any time.
    indices: BTreeMap<String, Millis>,
}

impl Horizons {
    /// Takes a horizon into account. The topic's last word stands, so that a person can take a horizon back.
    pub fn set(&self, horizon: Horizon) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match (horizon.index, IndexKind::named(&horizon.kind)) {
            (Some(index), _) => known.set_index(index, horizon.before),
            (None, Some(kind)) => {
                let clusters = known.windows.entry((kind, horizon.level)).or_default();
                clusters.insert(horizon.cluster, horizon.before);
            }
            (None, None) => {
                rate_limited!(warn, kind = horizon.kind, "horizon of a kind that this version does not write");
            }
        }
    }

    fn forget(&self, key: &[u8]) {
        let Ok(key) = std::str::from_utf8(key) else { return };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut parts = key.splitn(3, '/');
        let (Some(kind), Some(level), Some(cluster)) = (parts.next(), parts.next(), parts.next()) else {
            known.indices.remove(key);
            return;
        };
        let (Some(kind), Ok(level)) = (IndexKind::named(kind), level.parse()) else { return };
        if let Some(clusters) = known.windows.get_mut(&(kind, level)) {
            clusters.remove(cluster);
        }
    }

    /// Whether a record of the topic was not taken into account yet; notes that it is.
    fn is_news(&self, record: &Record) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let last = known.applied.entry(record.partition).or_insert(-1);
        let news = record.offset > *last;
        *last = record.offset.max(*last);
        news
    }

    /// Whether what a record belongs to is gone. `written` is when it was written to its topic, ms since the epoch.
    #[must_use]
    pub fn is_below<O>(&self, record: &Prepared<O>, written: Millis) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let kind = record.index.kind();
        if kind.is_of_any_time() {
            let gone = || known.indices.get(&record.index.to_string());
            return !known.indices.is_empty() && gone().is_some_and(|before| written < *before);
        }
        let Some(clusters) = known.windows.get(&(kind, record.index.level())) else { return false };
        ["", record.cluster.as_str()].iter().filter_map(|c| clusters.get(*c)).any(|before| record.window < *before)
    }
}

impl Known {
    fn set_index(&mut self, index: String, before: Millis) {
        self.indices.insert(index, before);
        if self.indices.len() > INDICES {
            let oldest = self.indices.iter().min_by_key(|(_, before)| **before).map(|(index, _)| index.clone());
            rate_limited!(warn, limit = INDICES, index = oldest, "too many horizons, the oldest is forgotten");
            self.indices.remove(&oldest.unwrap_or_default());
        }
    }
}

impl Followed for Horizons {
    const TOPIC: &'static str = topics::HORIZON;

    fn apply(&self, records: &[Record]) {
        for record in records.iter().filter(|record| self.is_news(record)) {
            let Some(value) = &record.value else {
                self.forget(record.key.as_deref().unwrap_or_default());
                continue;
            };
            match weir_schemas::decode::<Horizon>(value) {
                Ok(horizon) => self.set(horizon),
                Err(cause) => rate_limited!(error, offset = record.offset, "horizon cannot be used: {cause}"),
            }
        }
    }
}
