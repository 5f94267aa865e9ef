//! Reading records, and finding offsets.

use super::blocking;
use crate::broker::State;
use crate::codes::Code;
use crate::log::Isolation;
use crate::topics::Partition;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, ResponseKind,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Longest time a fetch waits, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Timestamp that asks for the end of the log.
const LATEST: i64 = -1;
/// Timestamp that asks for the start of the log.
const EARLIEST: i64 = -2;
/// Timestamp that asks for the record with the highest timestamp.
const MAX_TIMESTAMP: i64 = -3;

fn isolation(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// Reads, waiting until there are enough bytes or the time is up. An error answers at once.
pub(super) async fn fetch(state: Arc<State>, body: FetchRequest) -> Option<ResponseKind> {
    let wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0)).min(MAX_WAIT);
    let deadline = Instant::now() + wait;
    let wanted = usize::try_from(body.min_bytes).unwrap_or(0);
    let body = Arc::new(body);
    let grown = Arc::new(Notify::new());
    loop {
        for partition in partitions_of(&state, &body) {
            partition.wake_on_growth(&grown);
        }
        let (reading, request) = (Arc::clone(&state), Arc::clone(&body));
        let once = blocking(move || read_all(&reading, &request)).await?;
        let enough = once.failed || once.bytes >= wanted;
        if enough || timeout_at(deadline, grown.notified()).await.is_err() {
            state.metrics.bytes_fetched.add(once.bytes);
            return Some(ResponseKind::Fetch(once.response));
        }
    }
}

fn partitions_of(state: &State, body: &FetchRequest) -> Vec<Arc<Partition>> {
    let of_topic = |topic: &FetchTopic| {
        let found = state.topics.get(&topic.topic);
        let indexes: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        indexes.into_iter().filter_map(move |index| found.as_ref()?.partition(index))
    };
    body.topics.iter().flat_map(of_topic).collect()
}

struct Once {
    response: FetchResponse,
    bytes: usize,
    failed: bool,
}

fn read_all(state: &State, body: &FetchRequest) -> Once {
    let isolation = isolation(body.isolation_level);
    let mut left = usize::try_from(body.max_bytes).unwrap_or(0).min(state.limits.fetch_bytes);
    let mut once = Once { response: FetchResponse::default(), bytes: 0, failed: false };
    for topic in &body.topics {
        let found = state.topics.get(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wish in &topic.partitions {
            let partition = found.as_ref().and_then(|topic| topic.partition(wish.partition));
            let data = match partition {
                Some(partition) => read_one(&partition, wish, isolation, left, once.bytes == 0),
                None => failure(wish.partition, Code::UNKNOWN_TOPIC_OR_PARTITION),
            };
            let bytes = data.records.as_ref().map_or(0, bytes::Bytes::len);
            once.failed |= data.error_code != 0;
            once.bytes += bytes;
            left = left.saturating_sub(bytes);
            partitions.push(data);
        }
        let response = FetchableTopicResponse::default().with_topic(topic.topic.clone());
        once.response.responses.push(response.with_partitions(partitions));
    }
    once
}

fn failure(index: i32, code: Code) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code.value())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_preferred_read_replica(BrokerId(-1))
}

fn read_one(
    partition: &Partition,
    wish: &FetchPartition,
    isolation: Isolation,
    left: usize,
    at_least_one: bool,
) -> PartitionData {
    let index = wish.partition;
    let plan = match partition.plan_read(wish.fetch_offset, isolation) {
        Ok(plan) => plan,
        Err(code) => return failure(index, code),
    };
    let data = PartitionData::default()
        .with_partition_index(index)
        .with_high_watermark(plan.high_watermark)
        .with_last_stable_offset(plan.last_stable_offset)
        .with_log_start_offset(plan.start_offset)
        .with_preferred_read_replica(BrokerId(-1));
    let allowed = usize::try_from(wish.partition_max_bytes).unwrap_or(0).min(left);
    match plan.run(allowed, at_least_one) {
        Ok(read) => {
            let aborted = read.aborted.iter().map(|aborted| {
                AbortedTransaction::default()
                    .with_producer_id(aborted.producer_id.into())
                    .with_first_offset(aborted.first_offset)
            });
            data.with_aborted_transactions(Some(aborted.collect())).with_records(Some(read.records))
        }
        Err(code) => failure(index, code),
    }
}

/// Start, end, or the first record of a time.
pub(super) fn list_offsets(state: &State, body: ListOffsetsRequest) -> ResponseKind {
    let isolation = isolation(body.isolation_level);
    let topics = body.topics.into_iter().map(|topic| {
        let found = state.topics.get(&topic.name);
        let partitions = topic.partitions.iter().map(|wish| {
            let partition = found.as_ref().and_then(|topic| topic.partition(wish.partition_index));
            let response = ListOffsetsPartitionResponse::default().with_partition_index(wish.partition_index);
            let found = partition.ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION);
            match found.and_then(|partition| offset_of(&partition, wish, isolation)) {
                Ok((offset, timestamp)) => response.with_offset(offset).with_timestamp(timestamp),
                Err(code) => response.with_error_code(code.value()).with_offset(-1).with_timestamp(-1),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ResponseKind::ListOffsets(ListOffsetsResponse::default().with_topics(topics.collect()))
}

fn offset_of(partition: &Partition, wish: &ListOffsetsPartition, isolation: Isolation) -> Result<(i64, i64), Code> {
    match wish.timestamp {
        LATEST => Ok((partition.with_log(|log| log.end_for(isolation)), -1)),
        EARLIEST => Ok((partition.with_log(|log| log.start_offset()), -1)),
        MAX_TIMESTAMP => {
            let newest = partition.with_log(|log| log.max_timestamp());
            Ok(partition.find_time(newest, isolation)?.unwrap_or((-1, -1)))
        }
        timestamp => Ok(partition.find_time(timestamp, isolation)?.unwrap_or((-1, -1))),
    }
}
