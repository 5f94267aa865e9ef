//! Reading without a group.

use std::time::Duration;

use crate::record::Record;
use crate::{Result, kafka, memory};

/// Which partitions of a topic are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// All that the topic has when the reader is made.
    All,
    /// One.
    One(i32),
    /// These.
    Some(Vec<i32>),
}

/// Where reading starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the lowest offset that is still there.
    Beginning,
    /// After what is there now.
    End,
    /// At this offset of each partition; outside of the log it is the nearest end.
    Offset(i64),
    /// At these (partition, offset) pairs; partitions not named start at the beginning.
    Offsets(Vec<(i32, i64)>),
    /// At the first record of at least this timestamp (milliseconds since the epoch), else at the end.
    Time(i64),
    /// Up to so many offsets before the end: for the last written state.
    BeforeEnd(i64),
}

impl Partitions {
    /// The numbers, in order and each once, of a topic of `count` partitions.
    pub(crate) fn numbers(&self, count: i32) -> Vec<i32> {
        let mut numbers = match self {
            Self::All => (0..count).collect(),
            Self::One(partition) => vec![*partition],
            Self::Some(partitions) => partitions.clone(),
        };
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl Start {
    /// The offset to start at in a partition that now reaches from `start` to `end`. `at_time` finds
    /// the first offset of a time.
    pub(crate) fn resolve(
        &self,
        partition: i32,
        start: i64,
        end: i64,
        at_time: impl FnOnce(i64) -> Option<i64>,
    ) -> i64 {
        let wanted = match self {
            Self::Beginning => start,
            Self::End => end,
            Self::Offset(offset) => *offset,
            Self::Offsets(offsets) => {
                offsets.iter().find(|(number, _)| *number == partition).map_or(start, |(_, offset)| *offset)
            }
            Self::Time(timestamp) => at_time(*timestamp).unwrap_or(end),
            Self::BeforeEnd(count) => end.saturating_sub(*count),
        };
        wanted.clamp(start, end.max(start))
    }
}

/// Reads partitions of one topic without a group, committed records only. What is deleted while it
/// reads is skipped, with a warning.
#[derive(Debug)]
pub struct Reader(pub(crate) ReaderInner);

#[derive(Debug)]
pub(crate) enum ReaderInner {
    Kafka(kafka::KafkaReader),
    Memory(memory::MemoryReader),
}

impl Reader {
    /// The next batch, in offset order per partition; empty after `timeout`. Cancel-safe.
    ///
    /// # Errors
    /// Only errors after which the reader must be made anew.
    pub async fn next(&mut self, timeout: Duration) -> Result<Vec<Record>> {
        match &mut self.0 {
            ReaderInner::Kafka(reader) => reader.next(timeout).await,
            ReaderInner::Memory(reader) => reader.next(timeout).await,
        }
    }

    /// The next batch of what was committed when the call that began this walk was made; `None` once the reader has
    /// passed that end in every partition (the next call then begins a new walk). Use it in a loop, so that a large
    /// topic need not fit in memory. Cancel-safe.
    ///
    /// # Errors
    /// As [`next`](Self::next), and [`crate::StreamError::Timeout`] when nothing came for `idle`.
    pub async fn next_before_end(&mut self, idle: Duration) -> Result<Option<Vec<Record>>> {
        match &mut self.0 {
            ReaderInner::Kafka(reader) => reader.next_before_end(idle).await,
            ReaderInner::Memory(reader) => Ok(reader.next_before_end()),
        }
    }

    /// Everything that is committed now, in one piece: for topics that are known to be small.
    ///
    /// # Errors
    /// As [`next_before_end`](Self::next_before_end).
    pub async fn read_to_end(&mut self, idle: Duration) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        while let Some(batch) = self.next_before_end(idle).await? {
            records.extend(batch);
        }
        Ok(records)
    }

    /// The next offset of each partition, (partition, offset), in order.
    pub fn positions(&self) -> Vec<(i32, i64)> {
        match &self.0 {
            ReaderInner::Kafka(reader) => reader.positions(),
            ReaderInner::Memory(reader) => reader.positions(),
        }
    }
}
