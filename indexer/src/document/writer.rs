//! Records of the topic as operations of a batch, with what repeats written once.

use super::flow;
use super::known::{EndError, Known, Met};
use super::{DocumentError, Placed, Prepared, WriteError};
use crate::index::{Index, IndexKind};
use crate::periods::Periods;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use thiserror::Error;
use weir_elastic::bulk::{Batch, Place};
use weir_schemas::enriched::{Kind, document_id};
use weir_schemas::{DecodeError, decode_enriched};

#[cfg(test)]
mod tests;

/// The most names of write aliases that are kept.
const ALIASES: usize = 64;

/// Writes flow records. What it keeps only saves work: a document is a function of its record and the settings alone.
#[derive(Debug, Default)]
pub struct Writer {
    known: Known,
    aliases: HashMap<Index, Arc<str>, RandomState>,
}

/// Why a message is no document.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It is none of the topic.
    #[error(transparent)]
    Message(#[from] DecodeError),
    /// It can never be a document.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl Writer {
    /// Writes a message of the topic into a batch.
    ///
    /// # Errors
    /// When it is none, or can never be a document; nothing is written then.
    pub fn put(&mut self, message: &[u8], periods: &Periods, batch: &mut Batch) -> Result<Prepared<Place>, ReadError> {
        let record = decode_enriched(message, self.known.expected())?;
        flow::check(&record)?;
        let placed = Placed::of_flow(IndexKind::of(record.origin), &record);
        let index = placed.index(periods)?;
        let (alias, id) = (self.alias(index), document_id(&record.id));
        let target = placed.target(&alias, &id);
        let operation = match record.kind {
            Kind::Delete => batch.delete(target),
            Kind::Upsert => {
                let pair = self.known.pair([&record.initiator, &record.responder]).map_err(|cause| match cause {
                    EndError::Side(cause) => DocumentError::End { id: record.id.clone(), cause: cause.to_string() },
                    EndError::Json(error) => placed.refused(&error.into()),
                })?;
                let ports = [record.initiator.port(), record.responder.port()];
                let written = batch.index(target, |line| Ok::<_, WriteError>(flow::write(line, &record, pair, ports)?));
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
        self.known.take_met()
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
