//! The coordinator's state as a pure function of its journal's entries.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A partition by its topic's name.
pub(crate) type TopicPartition = (String, i32);

/// Offsets of one group, by partition.
pub(super) type Offsets = BTreeMap<TopicPartition, Committed>;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Option<String>,
}

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// None has begun since the producer was initialised.
    Empty,
    Ongoing,
    /// The outcome is decided; it is being written to the partitions.
    PrepareCommit,
    PrepareAbort,
    /// The last one ended so.
    CompleteCommit,
    CompleteAbort,
}

/// A transactional producer and its transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transaction {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) timeout_ms: i64,
    pub(super) phase: Phase,
    /// When the transaction began or the producer was last heard of, milliseconds.
    pub(super) since: i64,
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// Offsets to be committed with it, by group.
    #[serde(with = "pairs_by_group")]
    pub(super) offsets: BTreeMap<String, Offsets>,
}

/// A change of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// Every producer id below may have been given out.
    ProducerIds { below: i64 },
    /// Offsets a group committed.
    Offsets {
        group: String,
        #[serde(with = "pairs")]
        offsets: Offsets,
    },
    /// Offsets a group no longer has.
    OffsetsDeleted { group: String, partitions: BTreeSet<TopicPartition> },
    /// All offsets of a group are gone.
    GroupDeleted { group: String },
    /// A producer was initialised, or all that is known about it.
    Transaction { id: String, transaction: Transaction },
    /// A transaction takes in partitions, beginning if it had not.
    TransactionPartitions { id: String, partitions: BTreeSet<TopicPartition>, now: i64 },
    /// A transaction takes in offsets of a group.
    TransactionOffsets {
        id: String,
        group: String,
        #[serde(with = "pairs")]
        offsets: Offsets,
    },
    /// The outcome of a transaction, and the epoch its producer has from now on.
    TransactionDecided { id: String, commit: bool, epoch: i16 },
    /// The outcome is written everywhere.
    TransactionCompleted { id: String },
    /// A transactional id was not used for long.
    TransactionForgotten { id: String },
}

/// The coordinator's state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) producer_ids_below: i64,
    pub(super) offsets: BTreeMap<String, Offsets>,
    pub(super) transactions: BTreeMap<String, Transaction>,
    /// Transactional ids by producer id.
    pub(super) by_producer: BTreeMap<i64, String>,
}

impl Image {
    /// Applies a change.
    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::ProducerIds { below } => self.producer_ids_below = below,
            Entry::Offsets { group, offsets } => self.offsets.entry(group).or_default().extend(offsets),
            Entry::OffsetsDeleted { group, partitions } => self.delete_offsets(&group, &partitions),
            Entry::GroupDeleted { group } => {
                self.offsets.remove(&group);
            }
            Entry::Transaction { id, transaction } => self.set_transaction(id, transaction),
            Entry::TransactionForgotten { id } => {
                if let Some(transaction) = self.transactions.remove(&id) {
                    self.by_producer.remove(&transaction.producer_id);
                }
            }
            Entry::TransactionPartitions { id, partitions, now } => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    if transaction.phase != Phase::Ongoing {
                        transaction.phase = Phase::Ongoing;
                        transaction.since = now;
                    }
                    transaction.partitions.extend(partitions);
                }
            }
            Entry::TransactionOffsets { id, group, offsets } => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    transaction.offsets.entry(group).or_default().extend(offsets);
                }
            }
            Entry::TransactionDecided { id, commit, epoch } => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    transaction.phase = if commit { Phase::PrepareCommit } else { Phase::PrepareAbort };
                    transaction.epoch = epoch;
                }
            }
            Entry::TransactionCompleted { id } => self.complete(&id),
        }
    }

    fn delete_offsets(&mut self, group: &str, partitions: &BTreeSet<TopicPartition>) {
        if let Some(offsets) = self.offsets.get_mut(group) {
            offsets.retain(|partition, _| !partitions.contains(partition));
            if offsets.is_empty() {
                self.offsets.remove(group);
            }
        }
    }

    fn set_transaction(&mut self, id: String, transaction: Transaction) {
        self.by_producer.insert(transaction.producer_id, id.clone());
        let producer_id = transaction.producer_id;
        if let Some(before) = self.transactions.insert(id, transaction)
            && before.producer_id != producer_id
        {
            self.by_producer.remove(&before.producer_id);
        }
    }

    fn complete(&mut self, id: &str) {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return;
        };
        transaction.partitions.clear();
        let offsets = std::mem::take(&mut transaction.offsets);
        if transaction.phase == Phase::PrepareCommit {
            transaction.phase = Phase::CompleteCommit;
            for (group, offsets) in offsets {
                self.offsets.entry(group).or_default().extend(offsets);
            }
        } else {
            transaction.phase = Phase::CompleteAbort;
        }
    }

    /// Entries that lead to this state.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let offsets = self
            .offsets
            .iter()
            .map(|(group, offsets)| Entry::Offsets { group: group.clone(), offsets: offsets.clone() });
        let transactions = self
            .transactions
            .iter()
            .map(|(id, transaction)| Entry::Transaction { id: id.clone(), transaction: transaction.clone() });
        let ids = Entry::ProducerIds { below: self.producer_ids_below };
        std::iter::once(ids).chain(offsets).chain(transactions).collect()
    }

    /// Whether a transaction whose end is not written everywhere would change the offset of a partition.
    pub(super) fn is_unstable(&self, group: &str, partition: &TopicPartition) -> bool {
        let touches = |transaction: &Transaction| {
            transaction.offsets.get(group).is_some_and(|offsets| offsets.contains_key(partition))
        };
        self.transactions.values().any(touches)
    }
}

/// JSON has no maps with compound keys: offsets are written as a list of pairs.
mod pairs {
    use super::Offsets;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(offsets: &Offsets, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(offsets)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Offsets, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

/// The same for the offsets of several groups.
mod pairs_by_group {
    use super::Offsets;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize)]
    struct List(#[serde(with = "super::pairs")] Offsets);

    pub(super) fn serialize<S: Serializer>(
        groups: &BTreeMap<String, Offsets>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(groups.iter().map(|(group, offsets)| (group, List(offsets.clone()))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Offsets>, D::Error> {
        let groups: BTreeMap<String, List> = BTreeMap::deserialize(deserializer)?;
        Ok(groups.into_iter().map(|(group, List(offsets))| (group, offsets)).collect())
    }
}
