//! What the broker remembers about groups and producers: committed offsets, producer ids, transactions.
//!
//! One journal file holds it: every change is an entry with a checksum, written before it is acknowledged. The state in
//! memory is nothing but the journal's entries applied in order ([`image`]), so a restart finds what was acknowledged. The
//! journal is rewritten from the state when it has grown. Its mutex is held for one short `write`, never over an `fsync`
//! (but for the rare rewriting), and no other lock is taken while it is held.

mod image;
mod journal;
mod offsets;
#[cfg(test)]
mod tests;
mod transactions;

pub(crate) use image::{Committed, TopicPartition};
pub(crate) use offsets::FetchedOffset;
pub(crate) use transactions::{InitProducer, ProducerKey};

use crate::codes::Code;
use crate::error::BrokerError;
use crate::locks::lock;
use crate::metrics::Metrics;
use crate::settings::Limits;
use crate::topics::Topics;
use image::{Entry, Image};
use journal::Journal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Offsets, producer ids and transactions.
#[derive(Debug)]
pub(crate) struct Coordinator {
    store: Mutex<Store>,
    /// Serialises the steps of each transactional id.
    transaction_locks: Mutex<BTreeMap<String, Weak<Mutex<()>>>>,
    topics: Arc<Topics>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Store {
    image: Image,
    journal: Journal,
    next_producer_id: i64,
}

impl Store {
    /// Writes entries and applies them.
    fn commit(&mut self, entries: Vec<Entry>) -> Result<(), Code> {
        self.journal.append(&entries).map_err(|error| {
            tracing::warn!(%error, "coordinator journal not written");
            Code::COORDINATOR_NOT_AVAILABLE
        })?;
        for entry in entries {
            self.image.apply(entry);
        }
        if self.journal.wants_rewriting()
            && let Err(error) = self.journal.rewrite(&self.image.entries())
        {
            tracing::warn!(%error, "coordinator journal not rewritten");
        }
        Ok(())
    }
}

impl Coordinator {
    /// Reads the journal of a data folder and completes the transactions whose outcome was decided. Blocks.
    ///
    /// # Errors
    /// If the journal cannot be read or written.
    pub(crate) fn open(
        data: &Path,
        topics: Arc<Topics>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BrokerError> {
        let path = data.join("coordinator.journal");
        let mut image = Image::default();
        let (mut journal, truncated) =
            Journal::open(&path, |entry| image.apply(entry)).map_err(BrokerError::storage(&path, "read"))?;
        if truncated > 0 {
            tracing::warn!(truncated, "torn end of coordinator journal removed");
            metrics.recovery_bytes_truncated.add(usize::try_from(truncated).unwrap_or(usize::MAX));
        }
        journal.rewrite(&image.entries()).map_err(BrokerError::storage(&path, "written"))?;
        let coordinator = Self {
            store: Mutex::new(Store { next_producer_id: image.producer_ids_below, image, journal }),
            transaction_locks: Mutex::default(),
            topics,
            limits,
            metrics,
        };
        coordinator.finish_decided();
        coordinator.end_orphans();
        Ok(coordinator)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// Makes all entries durable. Blocks.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        let file = self.store().journal.unsynced();
        file.map_or(Ok(()), |file| file.sync_data())
    }
}
