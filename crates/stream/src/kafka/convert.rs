//! Between the client library's types and this crate's.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rdkafka::TopicPartitionList;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::topic_partition_list::Offset;

use crate::{NewRecord, OffsetAndMetadata, Record, Result, StreamError, TopicPartition};

/// Size of the pieces of memory of [`Copies`], bytes: a record that is kept for long keeps as much at most.
const PIECE: usize = 64 * 1024;

/// Gives each topic name out as one shared string.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// The one that was asked for last, as it mostly is again.
    last: Option<Arc<str>>,
}

impl Names {
    pub(super) fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(last) = self.last.as_ref().filter(|last| ***last == *name) {
            return Arc::clone(last);
        }
        let known = self.known.get(name).cloned().unwrap_or_else(|| {
            let name: Arc<str> = Arc::from(name);
            self.known.insert(Arc::clone(&name));
            name
        });
        self.last = Some(Arc::clone(&known));
        known
    }
}

/// Copies that stand one behind the other in larger pieces of memory, for records that come and go together: memory of its own
/// for each key and value, which another thread gives back, costs more than copying them.
#[derive(Debug, Default)]
pub(super) struct Copies(BytesMut);

impl Copies {
    pub(super) fn of(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(PIECE.max(bytes.len()));
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

/// A record whose key and value are copied like this.
pub(super) fn record(message: &BorrowedMessage<'_>, names: &mut Names, mut copy: impl FnMut(&[u8]) -> Bytes) -> Record {
    let headers = message.headers().map(|headers| {
        let pairs = headers.iter().map(|header| {
            let value = header.value.unwrap_or_default();
            (header.key.to_owned(), Bytes::copy_from_slice(value))
        });
        pairs.collect()
    });
    Record {
        topic: names.get(message.topic()),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(&mut copy),
        value: message.payload().map(&mut copy),
        headers: headers.unwrap_or_default(),
    }
}

pub(super) fn headers(record: &NewRecord) -> Option<OwnedHeaders> {
    if record.headers.is_empty() {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    let headers = record
        .headers
        .iter()
        .fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(value.as_ref()) }));
    Some(headers)
}

pub(super) fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let mut partitions: Vec<TopicPartition> =
        list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
    partitions.sort();
    partitions
}

pub(super) fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

pub(super) fn offsets<'a>(offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))
            .map_err(|error| StreamError::Misuse(format!("offset of {partition}: {error}")))?;
    }
    Ok(list)
}

pub(super) fn commits(offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, position) in offsets {
        let mut element = list.add_partition(&partition.topic, partition.partition);
        element
            .set_offset(Offset::Offset(position.offset))
            .map_err(|error| StreamError::Misuse(format!("offset of {partition}: {error}")))?;
        if !position.metadata.is_empty() {
            element.set_metadata(&position.metadata);
        }
    }
    Ok(list)
}

/// The committed positions of a list that a broker has answered. Every element's own error counts,
/// for the call as a whole succeeds also when one partition's answer is an error.
pub(super) fn committed(list: &TopicPartitionList) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>> {
    let mut answer = Vec::with_capacity(list.count());
    for element in list.elements() {
        let partition = TopicPartition::new(element.topic(), element.partition());
        element.error().map_err(|error| StreamError::Offset {
            partition: partition.clone(),
            message: error.to_string(),
            retriable: true,
        })?;
        let position = match element.offset() {
            Offset::Offset(offset) => Some(OffsetAndMetadata::new(offset, element.metadata())),
            _ => None,
        };
        answer.push((partition, position));
    }
    answer.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(answer)
}

pub(super) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::MessageConsumptionFatal(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The error of a question to a broker that changes nothing.
pub(super) fn question(what: impl std::fmt::Display, error: &KafkaError) -> StreamError {
    match code(error) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            StreamError::UnknownTopic(what.to_string())
        }
        Some(code) if is_refusal(code) => {
            StreamError::Fatal(format!("{what}: {error}; check the user's access rights"))
        }
        _ => StreamError::Retriable(format!("{what}: {error}; check that the brokers can be reached")),
    }
}

/// Errors that a person has to mend.
pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::UnsupportedSASLMechanism
    )
}

/// Another producer of the same transactional id has taken over.
pub(super) fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

#[cfg(test)]
mod tests;
