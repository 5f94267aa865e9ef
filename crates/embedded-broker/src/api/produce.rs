//! Writing records.

use super::{Answer, blocking};
use crate::broker::State;
use crate::clock::now_ms;
use crate::codes::Code;
use crate::log::Appended;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, ResponseKind};
use std::sync::Arc;

/// Stores batches; without acknowledgement asked for (`acks=0`) nothing is answered.
pub(super) async fn produce(state: Arc<State>, body: ProduceRequest) -> Answer {
    let acks = body.acks;
    if !matches!(acks, -1..=1) {
        return refuse(body);
    }
    let responses =
        blocking(move || body.topic_data.into_iter().map(|topic| write_topic(&state, topic)).collect::<Vec<_>>()).await;
    match responses {
        _ if acks == 0 => Answer::Silence,
        Some(responses) => Some(ResponseKind::Produce(ProduceResponse::default().with_responses(responses))).into(),
        None => Answer::Close,
    }
}

fn refuse(body: ProduceRequest) -> Answer {
    let topic = |topic: TopicProduceData| {
        let partitions = topic.partition_data.iter().map(|data| failed(data.index, Code::INVALID_REQUIRED_ACKS));
        TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions.collect())
    };
    let responses = body.topic_data.into_iter().map(topic).collect();
    Some(ResponseKind::Produce(ProduceResponse::default().with_responses(responses))).into()
}

fn failed(index: i32, code: Code) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code.value())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}

fn write_topic(state: &State, topic: TopicProduceData) -> TopicProduceResponse {
    let name = topic.name.to_string();
    let partitions = topic.partition_data.into_iter().map(|data| {
        let index = data.index;
        match write_partition(state, &name, data) {
            Ok((appended, start_offset)) => PartitionProduceResponse::default()
                .with_index(index)
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.append_time)
                .with_log_start_offset(start_offset),
            Err(code) => {
                tracing::debug!(topic = name, index, ?code, "batch refused");
                state.metrics.batches_refused.increment();
                state.metrics.storage_errors.add(usize::from(code == Code::KAFKA_STORAGE_ERROR));
                failed(index, code)
            }
        }
    });
    let partitions = partitions.collect();
    TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions)
}

fn write_partition(state: &State, topic: &str, data: PartitionProduceData) -> Result<(Appended, i64), Code> {
    let index = data.index;
    let topic = state.topics.get(topic).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(index).ok_or(Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let mut batch = own(data.records.unwrap_or_default());
    let key = (topic.name.clone(), index);
    let may_write = |producer_id, epoch| state.coordinator.check_write(producer_id, epoch, &key);
    let config = topic.config();
    let appended = partition.append(&mut batch, config.append_rules(), now_ms(), may_write)?;
    if appended.duplicate {
        state.metrics.batches_duplicate.increment();
    } else {
        state.metrics.batches_appended.increment();
        state.metrics.bytes_appended.add(batch.len());
    }
    Ok((appended, partition.with_log(|log| log.start_offset())))
}

/// Bytes that may be changed; copied only if something else of the request is still in use.
fn own(bytes: Bytes) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()))
}
