//! Committed offsets.

use super::Coordinator;
use super::image::{Committed, Entry, Offsets, TopicPartition};
use crate::codes::Code;
use std::collections::BTreeSet;

/// Longest metadata string of an offset, bytes.
const MAX_METADATA_BYTES: usize = 4096;

/// The answer for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchedOffset {
    Committed(Committed),
    /// Nothing was committed.
    None,
    /// A transaction that would change it has not ended.
    Unstable,
}

impl Coordinator {
    /// Checks a single offset to be committed.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn check_offset(&self, partition: &TopicPartition, committed: &Committed) -> Result<(), Code> {
        if committed.metadata.as_ref().is_some_and(|metadata| metadata.len() > MAX_METADATA_BYTES) {
            return Err(Code::OFFSET_METADATA_TOO_LARGE);
        }
        if self.topics.partition(&partition.0, partition.1).is_none() {
            return Err(Code::UNKNOWN_TOPIC_OR_PARTITION);
        }
        Ok(())
    }

    /// Checks that a group may keep these offsets too.
    ///
    /// # Errors
    /// [`Code::COORDINATOR_NOT_AVAILABLE`] if not.
    pub(super) fn check_room(&self, group: &str, offsets: &Offsets) -> Result<(), Code> {
        let store = self.store();
        let groups = &store.image.offsets;
        let room = match groups.get(group) {
            Some(present) => {
                let added = offsets.keys().filter(|partition| !present.contains_key(*partition)).count();
                present.len().saturating_add(added) <= self.limits.offsets_per_group
            }
            None => groups.len() < self.limits.groups && offsets.len() <= self.limits.offsets_per_group,
        };
        if room {
            return Ok(());
        }
        self.metrics.groups_refused.increment();
        Err(Code::COORDINATOR_NOT_AVAILABLE)
    }

    /// Commits offsets of a group. Blocks for one write.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn commit_offsets(&self, group: &str, offsets: Offsets) -> Result<(), Code> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.check_room(group, &offsets)?;
        self.store().commit(vec![Entry::Offsets { group: group.to_owned(), offsets }])
    }

    /// The partitions a group has offsets of.
    pub(crate) fn committed_partitions(&self, group: &str) -> Vec<TopicPartition> {
        let store = self.store();
        store.image.offsets.get(group).into_iter().flatten().map(|(partition, _)| partition.clone()).collect()
    }

    /// The offset a group committed for a partition; with `require_stable` one that no open transaction would change.
    pub(crate) fn fetch_offset(&self, group: &str, partition: &TopicPartition, require_stable: bool) -> FetchedOffset {
        let store = self.store();
        if require_stable && store.image.is_unstable(group, partition) {
            return FetchedOffset::Unstable;
        }
        let found = store.image.offsets.get(group).and_then(|offsets| offsets.get(partition));
        found.cloned().map_or(FetchedOffset::None, FetchedOffset::Committed)
    }

    /// Names of the groups that have offsets.
    pub(crate) fn groups_with_offsets(&self) -> Vec<String> {
        self.store().image.offsets.keys().cloned().collect()
    }

    /// Forgets all offsets of a group; returns whether it had any. Blocks for one write.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn delete_group(&self, group: &str) -> Result<bool, Code> {
        let mut store = self.store();
        if !store.image.offsets.contains_key(group) {
            return Ok(false);
        }
        store.commit(vec![Entry::GroupDeleted { group: group.to_owned() }])?;
        Ok(true)
    }

    /// Forgets what groups committed for a deleted topic. Blocks for one write.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn forget_topic(&self, topic: &str) -> Result<(), Code> {
        let mut store = self.store();
        let mut entries = Vec::new();
        for (group, offsets) in &store.image.offsets {
            let of_topic = offsets.keys().filter(|(name, _)| name == topic).cloned();
            let partitions: BTreeSet<TopicPartition> = of_topic.collect();
            if !partitions.is_empty() {
                entries.push(Entry::OffsetsDeleted { group: group.clone(), partitions });
            }
        }
        if entries.is_empty() { Ok(()) } else { store.commit(entries) }
    }
}
