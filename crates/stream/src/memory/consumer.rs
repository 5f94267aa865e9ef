//! A member of a group of the log in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::group::{Membership, Stage};
use super::state::State;
use super::{Fault, Shared};
use crate::group::GroupMetadataInner;
use crate::{
    AssignedPartition, Event, GroupMetadata, GroupSettings, OffsetAndMetadata, Record, Result, RevokeAck, StreamError,
    TopicPartition,
};

#[derive(Debug)]
pub(crate) struct MemoryGroupConsumer {
    shared: Arc<Shared>,
    group: String,
    number: u64,
    max_batch_records: usize,
    max_batch_bytes: usize,
    metadata: Option<GroupMetadata>,
    /// The partitions of the last assignment that has not been revoked.
    assigned: Vec<TopicPartition>,
    /// The next offset of each started partition.
    positions: BTreeMap<TopicPartition, i64>,
    paused: BTreeSet<TopicPartition>,
    /// Out of range, and the owner was told.
    stalled: BTreeSet<TopicPartition>,
}

impl MemoryGroupConsumer {
    pub(super) fn join(shared: Arc<Shared>, settings: &GroupSettings) -> Self {
        let name = settings.instance_id.as_ref().unwrap_or(&settings.client_id);
        let topics = settings.topics.iter().cloned().collect();
        let number = shared.change(|state| {
            let group = state.group(&settings.group);
            let number = group.join(name, settings.instance_id.is_some(), topics);
            state.settle(&settings.group);
            number
        });
        Self {
            shared,
            group: settings.group.clone(),
            number,
            max_batch_records: settings.max_batch_records.max(1),
            max_batch_bytes: settings.max_batch_bytes,
            metadata: None,
            assigned: Vec::new(),
            positions: BTreeMap::new(),
            paused: BTreeSet::new(),
            stalled: BTreeSet::new(),
        }
    }

    pub(crate) async fn next(&mut self, timeout: Duration) -> Result<Event> {
        let mut version = self.shared.version.subscribe();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(event) = self.poll()? {
                return Ok(event);
            }
            if timeout.is_zero() || tokio::time::timeout_at(deadline, version.changed()).await.is_err() {
                return Ok(Event::Idle);
            }
        }
    }

    /// The next event, if there is one now.
    fn poll(&mut self) -> Result<Option<Event>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.read();
        let Some(member) = state.group(&self.group).members.get_mut(&self.number) else {
            return Err(StreamError::Fenced(format!(
                "another member of group {} has taken this one's place",
                self.group
            )));
        };
        match std::mem::replace(&mut member.stage, Stage::Idle) {
            Stage::Assigning(partitions) => {
                let Some(event) = self.assign(&mut state, &partitions)? else {
                    self.set_stage(&mut state, Stage::Assigning(partitions));
                    return Ok(None);
                };
                self.set_stage(&mut state, Stage::Owning(partitions));
                Ok(Some(event))
            }
            Stage::Revoking(partitions) => {
                self.set_stage(&mut state, Stage::LettingGo);
                let done = self.let_go();
                Ok(Some(Event::Revoked { partitions, done }))
            }
            Stage::Lost(partitions) => {
                self.set_stage(&mut state, Stage::LettingGo);
                let done = self.let_go();
                Ok(Some(Event::Lost { partitions, done }))
            }
            stage => {
                self.set_stage(&mut state, stage);
                self.read(&mut state)
            }
        }
    }

    fn set_stage(&self, state: &mut State, stage: Stage) {
        let group = state.group(&self.group);
        if let Some(member) = group.members.get_mut(&self.number) {
            member.stage = stage;
        }
    }

    /// The assignment with its positions; `None` while they are not stable.
    fn assign(&mut self, state: &mut State, partitions: &[TopicPartition]) -> Result<Option<Event>> {
        let Some(committed) = state.stable_offsets(&self.group, partitions) else {
            return Ok(None);
        };
        let mut assigned = Vec::with_capacity(committed.len());
        for (partition, committed) in committed {
            let log_start = state.partition(&partition)?.start;
            assigned.push(AssignedPartition { partition, committed, log_start });
        }
        let group_metadata = GroupMetadata(GroupMetadataInner::Memory(Membership {
            group: self.group.clone(),
            member: self.number,
            generation: state.group(&self.group).generation(),
        }));
        self.forget();
        self.metadata = Some(group_metadata.clone());
        self.assigned = partitions.to_vec();
        Ok(Some(Event::Assigned { partitions: assigned, group_metadata }))
    }

    fn forget(&mut self) {
        self.assigned.clear();
        self.positions.clear();
        self.paused.clear();
        self.stalled.clear();
    }

    fn let_go(&mut self) -> RevokeAck {
        self.forget();
        let shared = Arc::clone(&self.shared);
        let (name, number) = (self.group.clone(), self.number);
        RevokeAck::new(move || {
            shared.change(|state| {
                let group = state.group(&name);
                if let Some(member) = group.members.get_mut(&number)
                    && member.stage == Stage::LettingGo
                {
                    member.stage = Stage::Idle;
                    // After a loss the group went on without this member: it joins again.
                    if !group.manual {
                        group.rebalance_unless_running();
                    }
                }
                state.settle(&name);
            });
        })
    }

    fn read(&mut self, state: &mut State) -> Result<Option<Event>> {
        let mut batch: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for (name, position) in &mut self.positions {
            if self.paused.contains(name) || self.stalled.contains(name) {
                continue;
            }
            let log = state.partition(name)?;
            if *position < log.start || *position > log.next {
                self.stalled.insert(name.clone());
                return Ok(Some(Event::OutOfRange {
                    partition: name.clone(),
                    position: *position,
                    log_start: log.start,
                }));
            }
            let room = self.max_batch_records - batch.len();
            let room_bytes = self.max_batch_bytes.saturating_sub(bytes);
            if room == 0 || (room_bytes == 0 && !batch.is_empty()) {
                break;
            }
            let end = log.stable_end();
            if *position >= end {
                continue;
            }
            let (records, next) = log.read(name, *position, end, room, room_bytes);
            bytes += records.iter().map(Record::size).sum::<usize>();
            batch.extend(records);
            *position = next;
        }
        Ok((!batch.is_empty()).then_some(Event::Records(batch)))
    }

    pub(crate) fn start(&mut self, offsets: &[(TopicPartition, i64)]) -> Result<()> {
        if self.assigned.is_empty() {
            return Ok(());
        }
        let given: BTreeSet<_> = offsets.iter().map(|(partition, _)| partition).collect();
        if given != self.assigned.iter().collect() {
            return Err(StreamError::Misuse("start must name exactly the assigned partitions".into()));
        }
        self.positions = offsets.iter().cloned().collect();
        self.wake();
        Ok(())
    }

    pub(crate) fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let owned = partitions.iter().filter(|p| self.assigned.contains(p));
        self.paused.extend(owned.cloned());
        Ok(())
    }

    pub(crate) fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.paused.retain(|paused| !partitions.contains(paused));
        self.wake();
        Ok(())
    }

    pub(crate) fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<()> {
        if let Some(position) = self.positions.get_mut(partition) {
            *position = offset;
            self.stalled.remove(partition);
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        self.shared.change(|_| ());
    }

    pub(crate) fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        let Some(GroupMetadata(GroupMetadataInner::Memory(membership))) = &self.metadata else {
            return Err(StreamError::Misuse("nothing was assigned yet, so nothing can be committed".into()));
        };
        let first = &offsets[0].0;
        let refused = |message: String, retriable| StreamError::Offset { partition: first.clone(), message, retriable };
        self.shared.change(|state| {
            let fault = state.fault(|fault| *fault == Fault::ConsumerCommitRetriable);
            if fault.is_some() {
                return Err(refused("injected fault".into(), true));
            }
            let group = state.group(&self.group);
            group.check(membership).map_err(|reason| refused(reason, false))?;
            for (partition, position) in offsets {
                group.committed.insert(partition.clone(), position.clone());
            }
            Ok(())
        })
    }

    pub(crate) fn group_metadata(&self) -> Option<&GroupMetadata> {
        self.metadata.as_ref()
    }
}

impl Drop for MemoryGroupConsumer {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.group(&self.group).leave(self.number);
            state.settle(&self.group);
        });
    }
}
