//! Creating, changing and deleting topics.

use crate::broker::State;
use crate::codes::Code;
use crate::topics::TopicConfig;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;

/// Offset that asks for the end of the log.
const END_OF_LOG: i64 = -1;

type Refusal = (Code, Option<String>);

pub(super) fn create(state: &State, body: CreateTopicsRequest) -> ResponseKind {
    let validate_only = body.validate_only;
    let results = body.topics.into_iter().map(|topic| {
        let created = create_one(state, &topic, validate_only);
        let result = CreatableTopicResult::default().with_name(topic.name).with_replication_factor(1);
        match created {
            Ok(count) => result.with_num_partitions(count),
            Err((code, message)) => {
                result.with_error_code(code.value()).with_error_message(message.map(StrBytes::from_string))
            }
        }
    });
    ResponseKind::CreateTopics(CreateTopicsResponse::default().with_topics(results.collect()))
}

fn create_one(state: &State, topic: &CreatableTopic, validate_only: bool) -> Result<i32, Refusal> {
    let plain = |code| (code, None);
    if !matches!(topic.replication_factor, -1 | 1) {
        return Err((
            Code::INVALID_REPLICATION_FACTOR,
            Some("there is one broker: use replication factor 1".to_owned()),
        ));
    }
    let count = match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => state.default_partitions,
        (0, count) => usize::try_from(count).map_err(|_| plain(Code::INVALID_PARTITIONS))?,
        (assigned, _) => assigned,
    };
    let given = topic
        .configs
        .iter()
        .filter_map(|config| config.value.as_ref().map(|value| (config.name.to_string(), value.to_string())));
    let config = TopicConfig::new(given.collect(), &state.limits)
        .map_err(|error| (Code::INVALID_CONFIG, Some(error.to_string())))?;
    state.topics.check_new(&topic.name, count).map_err(plain)?;
    if !validate_only {
        state.topics.create(&topic.name, count, config).map_err(plain)?;
    }
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

pub(super) fn delete(state: &State, body: DeleteTopicsRequest) -> ResponseKind {
    let results = body.topic_names.into_iter().map(|name| {
        let deleted = state.topics.delete(&name).and_then(|()| state.coordinator.forget_topic(&name));
        DeletableTopicResult::default().with_name(Some(name)).with_error_code(Code::of(&deleted))
    });
    ResponseKind::DeleteTopics(DeleteTopicsResponse::default().with_responses(results.collect()))
}

pub(super) fn create_partitions(state: &State, body: CreatePartitionsRequest) -> ResponseKind {
    let results = body.topics.into_iter().map(|topic| {
        let grown = usize::try_from(topic.count)
            .map_err(|_| Code::INVALID_PARTITIONS)
            .and_then(|count| state.topics.grow(&topic.name, count, body.validate_only));
        CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(Code::of(&grown))
    });
    ResponseKind::CreatePartitions(CreatePartitionsResponse::default().with_results(results.collect()))
}

pub(super) fn delete_records(state: &State, body: DeleteRecordsRequest) -> ResponseKind {
    let topics = body.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wish| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(wish.partition_index);
            match delete_before(state, &topic.name, wish.partition_index, wish.offset) {
                Ok(start) => result.with_low_watermark(start),
                Err(code) => result.with_low_watermark(-1).with_error_code(code.value()),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    ResponseKind::DeleteRecords(DeleteRecordsResponse::default().with_topics(topics.collect()))
}

fn delete_before(state: &State, topic: &str, index: i32, offset: i64) -> Result<i64, Code> {
    let partition = state.topics.partition(topic, index).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    partition.with_log(|log| {
        let offset = if offset == END_OF_LOG { log.next_offset() } else { offset };
        if offset < 0 || offset > log.next_offset() {
            return Err(Code::OFFSET_OUT_OF_RANGE);
        }
        log.delete_before(offset).map_err(|error| {
            tracing::warn!(topic, index, %error, "records not deleted");
            state.metrics.storage_errors.increment();
            Code::KAFKA_STORAGE_ERROR
        })
    })
}
