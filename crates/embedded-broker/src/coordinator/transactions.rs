//! Producer ids and transactions.
//!
//! A transaction is ongoing from its first partition or offset; its outcome is decided by one journal entry; then control
//! batches are written to its partitions; then a last entry completes it, which also commits its offsets. What was decided
//! but not completed when the process ended is completed at the next start. Lock order: the transactional id, then a
//! partition, then the journal.

use super::Coordinator;
use super::image::{Entry, Offsets, Phase, TopicPartition, Transaction};
use crate::batch::Marker;
use crate::clock::now_ms;
use crate::codes::Code;
use crate::locks::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Producer ids reserved by one journal entry.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// A transactional id that was not used for this long is forgotten, milliseconds: a week.
const FORGET_AFTER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A producer as it names itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProducerKey<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// A wish for a producer id with a transactional id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InitProducer<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) timeout_ms: i32,
    /// What the producer has, if it goes on after an error; negative if not.
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

fn check_producer<'a>(
    transactions: &'a BTreeMap<String, Transaction>,
    key: &ProducerKey<'_>,
) -> Result<&'a Transaction, Code> {
    match transactions.get(key.transactional_id) {
        Some(known) if known.producer_id != key.producer_id => Err(Code::INVALID_PRODUCER_ID_MAPPING),
        Some(known) if known.epoch != key.epoch => Err(Code::PRODUCER_FENCED),
        Some(known) => Ok(known),
        None => Err(Code::INVALID_PRODUCER_ID_MAPPING),
    }
}

impl Coordinator {
    fn transaction_lock(&self, id: &str) -> Arc<Mutex<()>> {
        let mut locks = lock(&self.transaction_locks);
        if let Some(present) = locks.get(id).and_then(Weak::upgrade) {
            return present;
        }
        locks.retain(|_, waiting| waiting.strong_count() > 0);
        let new = Arc::new(Mutex::new(()));
        locks.insert(id.to_owned(), Arc::downgrade(&new));
        new
    }

    /// A producer id never given out before. Blocks for one write at times.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn new_producer_id(&self) -> Result<i64, Code> {
        let mut store = self.store();
        if store.next_producer_id >= store.image.producer_ids_below {
            let from = store.image.producer_ids_below;
            store.commit(vec![Entry::ProducerIds { below: from + PRODUCER_ID_BLOCK }])?;
            store.next_producer_id = from;
        }
        let id = store.next_producer_id;
        store.next_producer_id += 1;
        Ok(id)
    }

    /// Gives a transactional producer its id and a new epoch; whoever had the id before is fenced and its transaction
    /// aborted. Blocks.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn init_producer(&self, wish: &InitProducer<'_>) -> Result<(i64, i16), Code> {
        let timeout_ms = i64::from(wish.timeout_ms);
        let longest = i64::try_from(self.limits.transaction_timeout.as_millis()).unwrap_or(i64::MAX);
        if timeout_ms <= 0 || timeout_ms > longest {
            return Err(Code::INVALID_TRANSACTION_TIMEOUT);
        }
        if wish.transactional_id.is_empty() {
            return Err(Code::INVALID_REQUEST);
        }
        let id = wish.transactional_id;
        let serialised = self.transaction_lock(id);
        let _serialised = guard(&serialised);
        let (known, count) = {
            let store = self.store();
            (store.image.transactions.get(id).cloned(), store.image.transactions.len())
        };
        let Some(known) = known else {
            if count >= self.limits.transactional_ids {
                self.metrics.transactional_ids_refused.increment();
                return Err(Code::COORDINATOR_NOT_AVAILABLE);
            }
            let producer_id = self.new_producer_id()?;
            return self.set_producer(id, producer_id, 0, timeout_ms);
        };
        let names_itself = wish.producer_id >= 0;
        if names_itself && (wish.producer_id, wish.epoch) != (known.producer_id, known.epoch) {
            return Err(Code::PRODUCER_FENCED);
        }
        self.finish_if_decided(id)?;
        let exhausted = known.epoch >= i16::MAX - 1;
        let bumped = if exhausted { known.epoch } else { known.epoch + 1 };
        if known.phase == Phase::Ongoing {
            // The control batches carry the new epoch, so that the old producer's late batches are refused.
            self.end_with(id, Marker::Abort, known.epoch.saturating_add(1))?;
        }
        if exhausted {
            let producer_id = self.new_producer_id()?;
            return self.set_producer(id, producer_id, 0, timeout_ms);
        }
        self.set_producer(id, known.producer_id, bumped, timeout_ms)
    }

    fn set_producer(&self, id: &str, producer_id: i64, epoch: i16, timeout_ms: i64) -> Result<(i64, i16), Code> {
        let transaction = Transaction {
            producer_id,
            epoch,
            timeout_ms,
            phase: Phase::Empty,
            since: now_ms(),
            partitions: BTreeSet::new(),
            offsets: BTreeMap::new(),
        };
        self.store().commit(vec![Entry::Transaction { id: id.to_owned(), transaction }])?;
        Ok((producer_id, epoch))
    }

    /// Takes partitions into the producer's transaction, which begins if it had not. Blocks for one write.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn add_partitions(
        &self,
        key: &ProducerKey<'_>,
        partitions: BTreeSet<TopicPartition>,
    ) -> Result<(), Code> {
        let serialised = self.transaction_lock(key.transactional_id);
        let _serialised = guard(&serialised);
        let mut store = self.store();
        let known = check_producer(&store.image.transactions, key)?;
        match known.phase {
            Phase::PrepareCommit | Phase::PrepareAbort => return Err(Code::CONCURRENT_TRANSACTIONS),
            Phase::Ongoing if known.partitions.is_superset(&partitions) => return Ok(()),
            _ => {}
        }
        let id = key.transactional_id.to_owned();
        store.commit(vec![Entry::TransactionPartitions { id, partitions, now: now_ms() }])
    }

    /// Takes offsets of a group into the producer's transaction. Blocks for one write.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn add_offsets(&self, key: &ProducerKey<'_>, group: &str, offsets: Offsets) -> Result<(), Code> {
        self.check_room(group, &offsets)?;
        let serialised = self.transaction_lock(key.transactional_id);
        let _serialised = guard(&serialised);
        let mut store = self.store();
        let known = check_producer(&store.image.transactions, key)?;
        match known.phase {
            Phase::PrepareCommit | Phase::PrepareAbort => return Err(Code::CONCURRENT_TRANSACTIONS),
            Phase::Ongoing => {}
            Phase::Empty | Phase::CompleteCommit | Phase::CompleteAbort => return Err(Code::INVALID_TXN_STATE),
        }
        let id = key.transactional_id.to_owned();
        store.commit(vec![Entry::TransactionOffsets { id, group: group.to_owned(), offsets }])
    }

    /// Ends the producer's transaction: once this succeeds, all of it is visible, or none. Blocks.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn end_transaction(&self, key: &ProducerKey<'_>, marker: Marker) -> Result<(), Code> {
        let id = key.transactional_id;
        let serialised = self.transaction_lock(id);
        let _serialised = guard(&serialised);
        self.finish_if_decided(id)?;
        let phase = check_producer(&self.store().image.transactions, key)?.phase;
        match (phase, marker) {
            (Phase::Ongoing, _) => self.end_with(id, marker, key.epoch),
            // The answer to the first attempt was lost.
            (Phase::CompleteCommit, Marker::Commit) | (Phase::CompleteAbort, Marker::Abort) => Ok(()),
            _ => Err(Code::INVALID_TXN_STATE),
        }
    }

    /// Decides a transaction and writes the outcome everywhere. The caller holds the transactional id.
    fn end_with(&self, id: &str, marker: Marker, epoch: i16) -> Result<(), Code> {
        let commit = marker == Marker::Commit;
        self.store().commit(vec![Entry::TransactionDecided { id: id.to_owned(), commit, epoch }])?;
        self.finish_if_decided(id)
    }

    /// Writes a decided outcome everywhere. The caller holds the transactional id.
    fn finish_if_decided(&self, id: &str) -> Result<(), Code> {
        let Some(transaction) = self.store().image.transactions.get(id).cloned() else {
            return Ok(());
        };
        let (marker, ended) = match transaction.phase {
            Phase::PrepareCommit => (Marker::Commit, &self.metrics.transactions_committed),
            Phase::PrepareAbort => (Marker::Abort, &self.metrics.transactions_aborted),
            _ => return Ok(()),
        };
        let now = now_ms();
        for (name, index) in &transaction.partitions {
            let Some(topic) = self.topics.get(name) else {
                continue;
            };
            let Some(partition) = topic.partition(*index) else {
                continue;
            };
            let producer = (transaction.producer_id, transaction.epoch);
            partition
                .end_transaction(producer, marker, topic.config().append_rules(), now)
                .map_err(|_| Code::CONCURRENT_TRANSACTIONS)?;
        }
        self.store().commit(vec![Entry::TransactionCompleted { id: id.to_owned() }])?;
        ended.increment();
        Ok(())
    }

    /// Whether a transactional producer may write to a partition now.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn check_write(&self, producer_id: i64, epoch: i16, partition: &TopicPartition) -> Result<(), Code> {
        let store = self.store();
        let id = store.image.by_producer.get(&producer_id).ok_or(Code::INVALID_PRODUCER_ID_MAPPING)?;
        let known = store.image.transactions.get(id).ok_or(Code::INVALID_PRODUCER_ID_MAPPING)?;
        if known.epoch != epoch {
            return Err(Code::INVALID_PRODUCER_EPOCH);
        }
        if known.phase == Phase::Ongoing && known.partitions.contains(partition) {
            Ok(())
        } else {
            Err(Code::INVALID_TXN_STATE)
        }
    }

    /// Completes every decided transaction that could not be completed before.
    pub(crate) fn finish_decided(&self) {
        let decided =
            |transaction: &Transaction| matches!(transaction.phase, Phase::PrepareCommit | Phase::PrepareAbort);
        for id in self.ids_where(decided) {
            let serialised = self.transaction_lock(&id);
            let _serialised = guard(&serialised);
            if let Err(code) = self.finish_if_decided(&id) {
                tracing::warn!(id, ?code, "transaction not completed yet");
            }
        }
    }

    /// Ends transactions that are open in a partition but not here. Only a loss of power leaves such, when it took the
    /// control batch but not the journal's entry, or the reverse; they would hold readers for ever.
    pub(super) fn end_orphans(&self) {
        for topic in self.topics.all() {
            for (partition, index) in topic.partitions().iter().zip(0_i32..) {
                let key = (topic.name.clone(), index);
                for producer in partition.with_log(|log| log.open_producers()) {
                    let Some(marker) = self.outcome_of_orphan(producer, &key) else {
                        continue;
                    };
                    tracing::warn!(
                        topic = topic.name,
                        index,
                        producer = producer.0,
                        ?marker,
                        "lost end of a transaction written"
                    );
                    let config = topic.config();
                    if let Err(code) = partition.end_transaction(producer, marker, config.append_rules(), now_ms()) {
                        tracing::warn!(topic = topic.name, index, ?code, "transaction not ended");
                    }
                }
            }
        }
    }

    /// How a transaction that is open in a partition ended; none if it goes on.
    fn outcome_of_orphan(&self, producer: (i64, i16), partition: &TopicPartition) -> Option<Marker> {
        let store = self.store();
        let id = store.image.by_producer.get(&producer.0);
        let known = id.and_then(|id| store.image.transactions.get(id)).filter(|known| known.epoch == producer.1);
        match known {
            Some(known) if known.partitions.contains(partition) => None,
            Some(known) if known.phase == Phase::CompleteCommit => Some(Marker::Commit),
            _ => Some(Marker::Abort),
        }
    }

    /// Aborts transactions that take too long and forgets ids that were not used for long. Blocks.
    pub(crate) fn sweep(&self, now: i64) {
        let overdue = |transaction: &Transaction| {
            transaction.phase == Phase::Ongoing && now.saturating_sub(transaction.since) > transaction.timeout_ms
        };
        for id in self.ids_where(overdue) {
            let serialised = self.transaction_lock(&id);
            let _serialised = guard(&serialised);
            let still =
                self.store().image.transactions.get(&id).filter(|found| overdue(found)).map(|found| found.epoch);
            let Some(epoch) = still else {
                continue;
            };
            match self.end_with(&id, Marker::Abort, epoch.saturating_add(1)) {
                Ok(()) => self.metrics.transactions_timed_out.increment(),
                Err(code) => tracing::warn!(id, ?code, "overdue transaction not aborted yet"),
            }
        }
        let unused = |transaction: &Transaction| {
            transaction.partitions.is_empty()
                && transaction.phase != Phase::Ongoing
                && now.saturating_sub(transaction.since) > FORGET_AFTER_MS
        };
        for id in self.ids_where(unused) {
            if let Err(code) = self.store().commit(vec![Entry::TransactionForgotten { id }]) {
                tracing::warn!(?code, "unused transactional id not forgotten");
            }
        }
    }

    fn ids_where(&self, wanted: impl Fn(&Transaction) -> bool) -> Vec<String> {
        let store = self.store();
        store.image.transactions.iter().filter(|(_, found)| wanted(found)).map(|(id, _)| id.clone()).collect()
    }
}

fn guard(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
