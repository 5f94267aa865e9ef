//! What retention has deleted: records below a horizon are refused and counted instead of making their index anew.

use crate::document::Prepared;
use crate::following::Followed;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use weir_flow::Millis;
use weir_schemas::horizon::Horizon;
use weir_schemas::topics;
use weir_service::rate_limited;
use weir_stream::Record;

#[cfg(test)]
mod tests;

/// The horizons, as far as their topic was read; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Horizons {
    /// (kind, level) → cluster (empty = all) → windows before are gone.
    known: Arc<RwLock<Known>>,
}

type Known = BTreeMap<(String, u8), BTreeMap<String, Millis>>;

impl Horizons {
    /// Takes a horizon into account. The topic's last word stands, so that a person can take a horizon back.
    pub fn set(&self, horizon: Horizon) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let clusters = known.entry((horizon.kind, horizon.level)).or_default();
        clusters.insert(horizon.cluster, horizon.before);
    }

    fn forget(&self, key: &[u8]) {
        let Ok(key) = std::str::from_utf8(key) else { return };
        let mut parts = key.splitn(3, '/');
        let (Some(kind), Some(level), Some(cluster)) = (parts.next(), parts.next(), parts.next()) else { return };
        let Ok(level) = level.parse() else { return };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(clusters) = known.get_mut(&(kind.to_owned(), level)) {
            clusters.remove(cluster);
        }
    }

    /// Whether what a record belongs to is gone.
    #[must_use]
    pub fn is_below(&self, record: &Prepared) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return false;
        }
        let key = (record.index.kind().as_str().to_owned(), record.index.level());
        let Some(clusters) = known.get(&key) else { return false };
        ["", record.cluster.as_str()].iter().filter_map(|c| clusters.get(*c)).any(|before| record.window < *before)
    }
}

impl Followed for Horizons {
    const TOPIC: &'static str = topics::HORIZON;

    fn apply(&self, records: &[Record]) {
        for record in records {
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
