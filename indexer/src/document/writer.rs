//! Records of the topic as operations of a batch, with what repeats written once.

use super::end::End;
use super::flow::{self, At};
use super::{DocumentError, Placed, Prepared, WriteError};
use crate::index::{Index, IndexKind};
use crate::periods::Periods;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use weir_elastic::bulk::{Batch, Place};
use weir_schemas::enriched::{EncodedSide, Kind, ReadEnriched, document_id};

#[cfg(test)]
mod tests;

/// Memory for ends that were met, bytes: some ten thousand.
const ENDS: usize = 16 << 20;
/// The most names of write aliases that are kept.
const ALIASES: usize = 64;

/// Writes flow records. What it keeps only saves work: a document is a function of its record and the settings alone.
#[derive(Debug)]
pub struct Writer {
    ends: Ends,
    aliases: HashMap<Index, Arc<str>, RandomState>,
}

/// Of how many ends the text was known, and of how many it had to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Known from an earlier record.
    pub known: u64,
    /// Met for the first time, or after it was forgotten.
    pub new: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self { ends: Ends::within(ENDS), aliases: HashMap::default() }
    }
}

impl Writer {
    /// Writes a record into a batch.
    ///
    /// # Errors
    /// When the record can never be a document; nothing is written then.
    pub fn put(
        &mut self,
        record: ReadEnriched<'_>,
        periods: &Periods,
        batch: &mut Batch,
    ) -> Result<Prepared<Place>, DocumentError> {
        flow::check(&record)?;
        let placed = Placed::of_flow(IndexKind::of(record.origin), &record);
        let index = placed.index(periods)?;
        let (alias, id) = (self.alias(index), document_id(&record.id));
        let target = placed.target(&alias, &id);
        let operation = match record.kind {
            Kind::Delete => batch.delete(target),
            Kind::Upsert => {
                let mut end = |side: &EncodedSide<'_>| {
                    self.ends.of(side).map_err(|cause| match cause {
                        EndError::Side(cause) => DocumentError::End { id: record.id.clone(), cause: cause.to_string() },
                        EndError::Json(error) => placed.refused(&error.into()),
                    })
                };
                let ends = [end(&record.initiator)?, end(&record.responder)?];
                let ports = [record.initiator.port(), record.responder.port()];
                let at = [At { end: &ends[0], port: ports[0] }, At { end: &ends[1], port: ports[1] }];
                let written = batch.index(target, |line| Ok::<_, WriteError>(flow::write(line, &record, at)?));
                written.map_err(|error| placed.refused(&error))?
            }
        };
        Ok(Prepared {
            index,
            window: record.window,
            correction: record.correction,
            cluster: record.cluster,
            id: record.id,
            operation,
        })
    }

    /// What ends were met since this was asked last.
    pub fn take_met(&mut self) -> Met {
        std::mem::take(&mut self.ends.met)
    }

    fn alias(&mut self, index: Index) -> Arc<str> {
        if let Some(alias) = self.aliases.get(&index) {
            return Arc::clone(alias);
        }
        if self.aliases.len() >= ALIASES {
            self.aliases.clear();
        }
        let alias: Arc<str> = index.write_alias().into();
        self.aliases.insert(index, Arc::clone(&alias));
        alias
    }
}

/// Ends by their bytes, in two generations: when the younger one is full, the older one is forgotten.
#[derive(Debug)]
struct Ends {
    young: HashMap<Box<[u8]>, Arc<End>, RandomState>,
    old: HashMap<Box<[u8]>, Arc<End>, RandomState>,
    /// Memory of the younger generation, bytes.
    bytes: usize,
    /// The most that it may take.
    limit: usize,
    /// The end that is looked for.
    key: Vec<u8>,
    met: Met,
}

enum EndError {
    Side(weir_schemas::enriched::NoSide),
    Json(serde_json::Error),
}

impl Ends {
    fn within(memory: usize) -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        Self { young, old, bytes: 0, limit: memory / 2, key: Vec::new(), met: Met::default() }
    }

    fn of(&mut self, side: &EncodedSide<'_>) -> Result<Arc<End>, EndError> {
        let (before, behind) = side.bytes();
        self.key.clear();
        self.key.extend_from_slice(before);
        self.key.extend_from_slice(behind);
        if let Some(end) = self.young.get(self.key.as_slice()) {
            self.met.known += 1;
            return Ok(Arc::clone(end));
        }
        let end = if let Some(end) = self.old.remove(self.key.as_slice()) {
            self.met.known += 1;
            end
        } else {
            self.met.new += 1;
            Arc::new(End::of(&side.read().map_err(EndError::Side)?).map_err(EndError::Json)?)
        };
        self.keep(&end);
        Ok(end)
    }

    fn keep(&mut self, end: &Arc<End>) {
        /// What a map takes for each member, roughly.
        const ENTRY: usize = 64;
        let bytes = self.key.len() + end.memory() + ENTRY;
        if self.bytes + bytes > self.limit {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.young.insert(self.key.as_slice().into(), Arc::clone(end));
    }
}
