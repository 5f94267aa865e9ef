//! Offsets that groups commit.

use crate::broker::State;
use crate::codes::Code;
use crate::coordinator::{Committed, FetchedOffset, TopicPartition};
use crate::groups::{CommitIdentity, MemberKey};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

/// Offsets to be committed together, and those among them that cannot be.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) good: BTreeMap<TopicPartition, Committed>,
    refused: BTreeMap<TopicPartition, Code>,
}

impl Sorted {
    /// Adds one offset.
    pub(super) fn add(&mut self, state: &State, partition: TopicPartition, committed: Committed) {
        match state.coordinator.check_offset(&partition, &committed) {
            Ok(()) => {
                self.good.insert(partition, committed);
            }
            Err(code) => {
                self.refused.insert(partition, code);
            }
        }
    }

    /// The code for one partition, given what became of the good ones.
    pub(super) fn code_of(&self, partition: &TopicPartition, committed: &Result<(), Code>) -> i16 {
        let own = self.refused.get(partition).map(|code| code.value());
        match committed {
            Err(code) => code.value(),
            Ok(()) => own.unwrap_or(0),
        }
    }
}

pub(super) fn commit(state: &State, body: OffsetCommitRequest) -> ResponseKind {
    let identity = CommitIdentity {
        key: MemberKey { member_id: &body.member_id, instance_id: body.group_instance_id.as_deref() },
        generation: body.generation_id_or_member_epoch,
    };
    let mut sorted = Sorted::default();
    for topic in &body.topics {
        for partition in &topic.partitions {
            let committed = Committed {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref().map(ToString::to_string),
            };
            sorted.add(state, (topic.name.to_string(), partition.partition_index), committed);
        }
    }
    let good = std::mem::take(&mut sorted.good);
    let committed = state
        .groups
        .commit(&body.group_id, &identity, false, || state.coordinator.commit_offsets(&body.group_id, good));
    let topics = body.topics.into_iter().map(|topic| {
        let name = topic.name.to_string();
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(sorted.code_of(&(name.clone(), index), &committed))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    ResponseKind::OffsetCommit(OffsetCommitResponse::default().with_topics(topics.collect()))
}

pub(super) fn fetch(state: &State, body: OffsetFetchRequest) -> ResponseKind {
    let group = body.group_id.as_str();
    let wanted: Vec<(String, Vec<i32>)> = match body.topics {
        Some(topics) => topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect(),
        None => {
            let mut by_topic: BTreeMap<String, Vec<i32>> = BTreeMap::new();
            for (topic, index) in state.coordinator.committed_partitions(group) {
                by_topic.entry(topic).or_default().push(index);
            }
            by_topic.into_iter().collect()
        }
    };
    let topics = wanted.into_iter().map(|(name, indexes)| {
        let partitions = indexes.into_iter().map(|index| {
            let found = state.coordinator.fetch_offset(group, &(name.clone(), index), body.require_stable);
            describe(index, found)
        });
        let partitions = partitions.collect();
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(StrBytes::from_string(name)))
            .with_partitions(partitions)
    });
    ResponseKind::OffsetFetch(OffsetFetchResponse::default().with_topics(topics.collect()))
}

fn describe(index: i32, found: FetchedOffset) -> OffsetFetchResponsePartition {
    let response = OffsetFetchResponsePartition::default()
        .with_partition_index(index)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::default()));
    match found {
        FetchedOffset::Committed(committed) => response
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(committed.metadata.unwrap_or_default()))),
        FetchedOffset::None => response,
        FetchedOffset::Unstable => response.with_error_code(Code::UNSTABLE_OFFSET_COMMIT.value()),
    }
}
