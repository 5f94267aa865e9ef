//! Producer ids and transactions.

use super::offsets::Sorted;
use crate::batch::Marker;
use crate::broker::State;
use crate::codes::Code;
use crate::coordinator::{Committed, InitProducer, ProducerKey, TopicPartition};
use crate::groups::{CommitIdentity, MemberKey};
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ResponseKind, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use std::collections::BTreeSet;

/// A fenced producer is told so in the versions that know the code, and before that its epoch is invalid.
fn fenced(code: Code, knows: bool) -> Code {
    if code == Code::PRODUCER_FENCED && !knows { Code::INVALID_PRODUCER_EPOCH } else { code }
}

pub(super) fn init_producer_id(state: &State, body: &InitProducerIdRequest, version: i16) -> ResponseKind {
    let given = match &body.transactional_id {
        None => state.coordinator.new_producer_id().map(|id| (id, 0)),
        Some(transactional_id) => state.coordinator.init_producer(&InitProducer {
            transactional_id,
            timeout_ms: body.transaction_timeout_ms,
            producer_id: if version >= 3 { body.producer_id.0 } else { -1 },
            epoch: body.producer_epoch,
        }),
    };
    let response = match given {
        Ok((id, epoch)) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(epoch),
        Err(code) => InitProducerIdResponse::default()
            .with_error_code(fenced(code, version >= 4).value())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    };
    ResponseKind::InitProducerId(response)
}

pub(super) fn add_partitions(state: &State, body: &AddPartitionsToTxnRequest, version: i16) -> ResponseKind {
    let key = ProducerKey {
        transactional_id: &body.v3_and_below_transactional_id,
        producer_id: body.v3_and_below_producer_id.0,
        epoch: body.v3_and_below_producer_epoch,
    };
    let mut wanted: BTreeSet<TopicPartition> = BTreeSet::new();
    for topic in &body.v3_and_below_topics {
        wanted.extend(topic.partitions.iter().map(|index| (topic.name.to_string(), *index)));
    }
    let is_known = |(topic, index): &TopicPartition| state.topics.partition(topic, *index).is_some();
    let unknown: BTreeSet<TopicPartition> = wanted.iter().filter(|one| !is_known(one)).cloned().collect();
    // All or nothing, as on a real broker.
    let added = if unknown.is_empty() {
        state.coordinator.add_partitions(&key, wanted).map_err(|code| fenced(code, version >= 2))
    } else {
        Err(Code::OPERATION_NOT_ATTEMPTED)
    };
    let results = body.v3_and_below_topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            let is_unknown = unknown.contains(&(topic.name.to_string(), *index));
            let code = if is_unknown { Code::UNKNOWN_TOPIC_OR_PARTITION.value() } else { Code::of(&added) };
            AddPartitionsToTxnPartitionResult::default().with_partition_index(*index).with_partition_error_code(code)
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()).with_results_by_partition(partitions)
    });
    ResponseKind::AddPartitionsToTxn(
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect()),
    )
}

/// Begins the transaction if it had not; the offsets themselves follow with their group.
pub(super) fn add_offsets(state: &State, body: &AddOffsetsToTxnRequest, version: i16) -> ResponseKind {
    let key = ProducerKey {
        transactional_id: &body.transactional_id,
        producer_id: body.producer_id.0,
        epoch: body.producer_epoch,
    };
    let added = state.coordinator.add_partitions(&key, BTreeSet::new()).map_err(|code| fenced(code, version >= 2));
    ResponseKind::AddOffsetsToTxn(AddOffsetsToTxnResponse::default().with_error_code(Code::of(&added)))
}

pub(super) fn commit_offsets(state: &State, body: TxnOffsetCommitRequest) -> ResponseKind {
    let key = ProducerKey {
        transactional_id: &body.transactional_id,
        producer_id: body.producer_id.0,
        epoch: body.producer_epoch,
    };
    let identity = CommitIdentity {
        key: MemberKey { member_id: &body.member_id, instance_id: body.group_instance_id.as_deref() },
        generation: body.generation_id,
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
    let taken = state
        .groups
        .commit(&body.group_id, &identity, true, || state.coordinator.add_offsets(&key, &body.group_id, good))
        .map_err(|code| fenced(code, false));
    let topics = body.topics.into_iter().map(|topic| {
        let name = topic.name.to_string();
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(sorted.code_of(&(name.clone(), index), &taken))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    ResponseKind::TxnOffsetCommit(TxnOffsetCommitResponse::default().with_topics(topics.collect()))
}

pub(super) fn end(state: &State, body: &EndTxnRequest, version: i16) -> ResponseKind {
    let key = ProducerKey {
        transactional_id: &body.transactional_id,
        producer_id: body.producer_id.0,
        epoch: body.producer_epoch,
    };
    let marker = if body.committed { Marker::Commit } else { Marker::Abort };
    let ended = state.coordinator.end_transaction(&key, marker).map_err(|code| fenced(code, version >= 2));
    ResponseKind::EndTxn(EndTxnResponse::default().with_error_code(Code::of(&ended)))
}
