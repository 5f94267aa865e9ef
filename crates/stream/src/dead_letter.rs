//! Dead letters: records that can never be processed, kept with their cause and origin.

use std::sync::Arc;

use bytes::Bytes;

use crate::record::{NewRecord, Record};

/// Bytes of key and of value that a dead letter keeps, each.
pub const MAX_BYTES: usize = 512 * 1024;

/// Bytes of the cause that a dead letter keeps.
pub const MAX_CAUSE_BYTES: usize = 4096;

/// Header: why the record could not be processed.
pub const CAUSE: &str = "weir.dlq.cause";
/// Header: the topic it was read from.
pub const TOPIC: &str = "weir.dlq.topic";
/// Header: the partition it was read from, in decimal.
pub const PARTITION: &str = "weir.dlq.partition";
/// Header: its offset there, in decimal.
pub const OFFSET: &str = "weir.dlq.offset";
/// Header: its timestamp there, milliseconds since the epoch in decimal.
pub const TIMESTAMP: &str = "weir.dlq.timestamp";
/// Header: `true` when key or value were longer than [`MAX_BYTES`] and are cut.
pub const TRUNCATED: &str = "weir.dlq.truncated";

/// The dead-letter topic of a topic.
pub fn topic(origin: &str) -> String {
    format!("weir.dlq.{origin}")
}

/// The dead letter of `record`: its key, value and headers, bounded, and headers that say why it is
/// there and where it came from. The same record and cause give the same bytes.
pub fn dead_letter(record: &Record, cause: &str) -> NewRecord {
    let longest = [&record.key, &record.value].into_iter().flatten().map(Bytes::len).max();
    let mut headers = vec![
        (CAUSE.to_owned(), Bytes::from(bounded(cause).to_owned())),
        (TOPIC.to_owned(), Bytes::from(record.topic.to_string())),
        decimal(PARTITION, record.partition.into()),
        decimal(OFFSET, record.offset),
        decimal(TIMESTAMP, record.timestamp),
    ];
    let mut room = MAX_BYTES;
    let mut truncated = longest.is_some_and(|length| length > MAX_BYTES);
    for (name, value) in &record.headers {
        match room.checked_sub(name.len() + value.len()) {
            Some(rest) => {
                room = rest;
                headers.push((name.clone(), value.clone()));
            }
            None => truncated = true,
        }
    }
    if truncated {
        headers.push((TRUNCATED.to_owned(), Bytes::from_static(b"true")));
    }
    NewRecord {
        topic: Arc::from(topic(&record.topic)),
        partition: None,
        key: record.key.as_ref().map(cut),
        value: record.value.as_ref().map(cut),
        timestamp: None,
        headers,
    }
}

fn decimal(name: &str, value: i64) -> (String, Bytes) {
    (name.to_owned(), Bytes::from(value.to_string()))
}

fn cut(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len().min(MAX_BYTES))
}

fn bounded(cause: &str) -> &str {
    let mut end = cause.len().min(MAX_CAUSE_BYTES);
    while !cause.is_char_boundary(end) {
        end -= 1;
    }
    &cause[..end]
}

#[cfg(test)]
mod tests;
