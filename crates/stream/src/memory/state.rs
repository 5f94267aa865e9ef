//! Everything that the log in memory holds, changed only by plain functions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Fault;
use super::group::Group;
use super::partition::{PartitionLog, Visibility};
use crate::{Delivery, NewRecord, OffsetAndMetadata, Result, StreamError, TopicPartition, TopicSpec};

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) partitions: Vec<PartitionLog>,
    append_time: bool,
    configs: BTreeMap<String, String>,
    /// Where the next record without key and partition goes.
    round_robin: i32,
}

impl Topic {
    pub(super) fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// A setting as it was given; of the defaults only the one that is asked for anywhere, Kafka's seven days.
    pub(super) fn config(&self, name: &str) -> Option<String> {
        let default = (name == "retention.ms").then(|| "604800000".to_owned());
        self.configs.get(name).cloned().or(default)
    }
}

#[derive(Debug, Default)]
struct Transactions {
    epoch: u32,
    open: Option<OpenTransaction>,
}

#[derive(Debug, Default)]
struct OpenTransaction {
    partitions: BTreeSet<TopicPartition>,
    offsets: BTreeMap<(String, TopicPartition), OffsetAndMetadata>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) written: u32,
    pub(super) committed: u32,
    pub(super) aborted: u32,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) now: i64,
    pub(super) faults: Vec<Fault>,
    pub(super) counters: Counters,
    topics: BTreeMap<String, Topic>,
    groups: BTreeMap<String, Group>,
    transactions: BTreeMap<Arc<str>, Transactions>,
}

impl State {
    pub(super) fn ensure_topic(&mut self, spec: &TopicSpec) -> Result<()> {
        if let Some(topic) = self.topics.get(&spec.name) {
            let found = topic.count();
            if found != spec.partitions {
                return Err(StreamError::PartitionCount { topic: spec.name.clone(), expected: spec.partitions, found });
            }
            return Ok(());
        }
        let mut topic = Topic {
            append_time: spec
                .configs
                .iter()
                .any(|(name, value)| name == "message.timestamp.type" && value == "LogAppendTime"),
            configs: spec.configs.iter().cloned().collect(),
            ..Topic::default()
        };
        topic.partitions.extend((0..spec.partitions).map(|_| PartitionLog::default()));
        self.topics.insert(spec.name.clone(), topic);
        Ok(())
    }

    pub(super) fn topic(&mut self, name: &str) -> Result<&mut Topic> {
        self.topics.get_mut(name).ok_or_else(|| StreamError::UnknownTopic(name.to_owned()))
    }

    pub(super) fn partition(&mut self, name: &TopicPartition) -> Result<&mut PartitionLog> {
        let topic = self.topic(&name.topic)?;
        usize::try_from(name.partition)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index))
            .ok_or_else(|| StreamError::UnknownTopic(name.to_string()))
    }

    /// All partitions of these topics, as far as they exist, topic by topic.
    pub(super) fn partitions_of(&self, topics: &BTreeSet<String>) -> Vec<TopicPartition> {
        let mut partitions = Vec::new();
        for name in topics {
            let count = self.topics.get(name).map_or(0, Topic::count);
            let topic: Arc<str> = Arc::from(name.as_str());
            partitions.extend((0..count).map(|p| TopicPartition::new(Arc::clone(&topic), p)));
        }
        partitions
    }

    /// Takes the first injected fault that `fits`.
    pub(super) fn fault(&mut self, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let index = self.faults.iter().position(fits)?;
        Some(self.faults.remove(index))
    }

    pub(super) fn append(&mut self, record: NewRecord, transaction: Option<&Arc<str>>) -> Result<Delivery> {
        let now = self.now;
        let name = Arc::clone(&record.topic);
        let topic = self.topic(&name)?;
        let count = topic.count();
        let partition = match (record.partition, &record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => crate::memory::producer::partition_of(key, count),
            (None, None) => {
                topic.round_robin = (topic.round_robin + 1) % count;
                topic.round_robin
            }
        };
        let timestamp = match record.timestamp {
            Some(given) if !topic.append_time => given,
            _ => now,
        };
        let target = TopicPartition::new(name, partition);
        let visibility = match transaction {
            Some(id) => Visibility::Open(Arc::clone(id)),
            None => Visibility::Committed,
        };
        let offset = self.partition(&target)?.append(record, timestamp, visibility);
        if let Some(id) = transaction {
            self.open(id).partitions.insert(target);
        }
        self.counters.written = self.counters.written.saturating_add(1);
        Ok(Delivery { partition, offset })
    }

    // Transactions.

    fn open(&mut self, id: &Arc<str>) -> &mut OpenTransaction {
        let transactions = self.transactions.entry(Arc::clone(id)).or_default();
        transactions.open.get_or_insert_default()
    }

    /// Aborts what is open and starts a new epoch, which it returns: older producers are fenced.
    pub(super) fn fence(&mut self, id: &str) -> u32 {
        self.end_transaction(id, false);
        let transactions = self.transactions.entry(Arc::from(id)).or_default();
        transactions.epoch += 1;
        transactions.epoch
    }

    pub(super) fn epoch(&self, id: &str) -> u32 {
        self.transactions.get(id).map_or(0, |t| t.epoch)
    }

    pub(super) fn add_offsets(&mut self, id: &Arc<str>, group: &str, offsets: &[(TopicPartition, OffsetAndMetadata)]) {
        let open = self.open(id);
        for (partition, position) in offsets {
            let key = (group.to_owned(), partition.clone());
            open.offsets.insert(key, position.clone());
        }
    }

    /// Commits or aborts what is open, if anything is.
    pub(super) fn end_transaction(&mut self, id: &str, commit: bool) {
        let Some((id, transactions)) = self.transactions.get_key_value(id) else {
            return;
        };
        if transactions.open.is_none() {
            return;
        }
        let id = Arc::clone(id);
        let open = std::mem::take(self.open(&id));
        self.transactions.entry(Arc::clone(&id)).or_default().open = None;
        let now = self.now;
        for partition in &open.partitions {
            if let Ok(log) = self.partition(partition) {
                log.end_transaction(&id, commit, now);
            }
        }
        let count = if commit {
            for ((group, partition), position) in open.offsets {
                self.group(&group).committed.insert(partition, position);
            }
            &mut self.counters.committed
        } else {
            &mut self.counters.aborted
        };
        *count = count.saturating_add(1);
    }

    // Groups.

    pub(super) fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    /// What a group has committed; `None` while an open transaction holds a position of one of them.
    pub(super) fn stable_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Option<Vec<(TopicPartition, Option<OffsetAndMetadata>)>> {
        let pending = |partition: &TopicPartition| {
            let key = (group.to_owned(), partition.clone());
            let mut open = self.transactions.values().filter_map(|t| t.open.as_ref());
            open.any(|transaction| transaction.offsets.contains_key(&key))
        };
        if partitions.iter().any(pending) {
            return None;
        }
        let committed = self.groups.get(group).map(|group| &group.committed);
        let of = |partition: &TopicPartition| committed?.get(partition).cloned();
        let answer = partitions.iter().map(|tp| (tp.clone(), of(tp)));
        Some(answer.collect())
    }

    /// Moves a group on as far as it goes: a rebalance ends once all members have let go.
    pub(super) fn settle(&mut self, group: &str) {
        let Some(topics) = self.groups.get(group).map(Group::topics) else {
            return;
        };
        let partitions = self.partitions_of(&topics);
        self.group(group).settle(&partitions);
    }

    /// New partitions reach the groups that read them.
    pub(super) fn settle_all(&mut self) {
        let groups: Vec<String> = self.groups.keys().cloned().collect();
        for group in groups {
            let topics = self.group(&group).topics();
            let partitions = self.partitions_of(&topics);
            self.group(&group).partitions_changed(&partitions);
            self.settle(&group);
        }
    }
}
