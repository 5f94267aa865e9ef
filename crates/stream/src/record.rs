//! Records and positions: what goes in and out of a log.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}[{}]", self.topic, self.partition)
    }
}

/// A position to commit, or one that was committed: the next offset to read, and a string that
/// travels with it (at most 4096 bytes, which is the broker's own limit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: i64,
    /// What the committer wants to find again beside the offset; empty where it wants nothing.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// A position with its metadata string.
    pub fn new(offset: i64, metadata: impl Into<String>) -> Self {
        Self { offset, metadata: metadata.into() }
    }
}

/// The header of a record whose batch cannot be unpacked.
pub(crate) const UNREADABLE: &str = "weir-stream-unreadable";

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic it was read from.
    pub topic: Arc<str>,
    /// The partition it was read from.
    pub partition: i32,
    /// Its offset in that partition.
    pub offset: i64,
    /// Milliseconds since the epoch: the broker's append time where the topic says
    /// `message.timestamp.type=LogAppendTime`, else what the producer gave; -1 when there is none.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in the order they were written.
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    /// The partition it was read from.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition: self.partition }
    }

    /// Why its batch cannot be unpacked. Such a record has no key, no value and no time; members of groups are given one for each
    /// offset of the batch, in place of what nobody can read.
    pub fn unreadable(&self) -> Option<String> {
        self.header(UNREADABLE).map(|cause| String::from_utf8_lossy(cause).into_owned())
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }

    /// Bytes of key, value and headers together.
    pub fn size(&self) -> usize {
        payload_size(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The topic to write to.
    pub topic: Arc<str>,
    /// The partition; `None` leaves it to the hash of the key (murmur2, like the Java client).
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` writes a tombstone.
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch; `None` is now.
    pub timestamp: Option<i64>,
    /// Headers, written in this order.
    pub headers: Vec<(String, Bytes)>,
}

impl NewRecord {
    /// A record with key and value; partition by key, timestamp now, no headers.
    pub fn new(topic: impl Into<Arc<str>>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: Some(key.into()),
            value: Some(value.into()),
            timestamp: None,
            headers: Vec::new(),
        }
    }

    /// The deletion of a key on a compacted topic.
    pub fn tombstone(topic: impl Into<Arc<str>>, key: impl Into<Bytes>) -> Self {
        Self { value: None, ..Self::new(topic, key, Bytes::new()) }
    }

    /// The same record, to an explicit partition.
    #[must_use]
    pub fn to_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same record with a timestamp (milliseconds since the epoch).
    #[must_use]
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same record with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Bytes of key, value and headers together.
    pub fn size(&self) -> usize {
        payload_size(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

fn payload_size(key: Option<&Bytes>, value: Option<&Bytes>, headers: &[(String, Bytes)]) -> usize {
    let headers: usize = headers.iter().map(|(k, v)| k.len() + v.len()).sum();
    key.map_or(0, Bytes::len) + value.map_or(0, Bytes::len) + headers
}
