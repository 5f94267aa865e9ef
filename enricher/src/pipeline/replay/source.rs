//! Raw partitions, each from an offset to what is its end when it is first read. Without a group.

use super::plan::PlanError;
use crate::pipeline::IDLE;
use crate::position::Stage1Position;
use std::collections::BTreeMap;
use weir_flow::Millis;
use weir_stream::{Log, Partitions, Reader, Record, Start, TopicPartition};

struct Open {
    reader: Reader,
    /// The next offset that is expected.
    next: i64,
    /// What was read ahead.
    ahead: Option<Vec<Record>>,
}

/// One reader for each partition, so that the one that is furthest behind can be read next.
pub(super) struct Source {
    log: Log,
    topic: String,
    open: BTreeMap<i32, Open>,
}

impl Source {
    /// Opens a reader for each partition.
    pub(super) async fn open(log: &Log, topic: &str, starts: &[Stage1Position]) -> anyhow::Result<Self> {
        let mut open = BTreeMap::new();
        for (number, start) in (0..).zip(starts) {
            let reader = log.reader(topic, Partitions::One(number), Start::Offset(start.offset)).await?;
            open.insert(number, Open { reader, next: start.offset, ahead: None });
        }
        Ok(Self { log: log.clone(), topic: topic.to_owned(), open })
    }

    /// How many messages there are until the ends as they are now; some of them may be marks of transactions.
    pub(super) async fn messages(&self) -> anyhow::Result<u64> {
        let mut messages = 0_u64;
        for (number, open) in &self.open {
            let end = self.log.log_end(&TopicPartition::new(self.topic.as_str(), *number)).await?;
            messages = messages.saturating_add(u64::try_from(end.saturating_sub(open.next)).unwrap_or(0));
        }
        Ok(messages)
    }

    /// The lowest append time of the first messages; nothing when there are none.
    pub(super) async fn first_append_time(&mut self) -> anyhow::Result<Option<Millis>> {
        let mut lowest: Option<Millis> = None;
        for open in self.open.values_mut() {
            open.ahead = open.reader.next_before_end(IDLE).await?;
            if let Some(first) = open.ahead.as_ref().and_then(|batch| batch.first()) {
                lowest = Some(lowest.map_or(first.timestamp, |lowest| lowest.min(first.timestamp)));
            }
        }
        Ok(lowest)
    }

    /// The next messages of a partition; nothing at its end, after which it is not read any more.
    ///
    /// # Errors
    /// When messages were deleted before they were read, or the log cannot be read.
    pub(super) async fn next(&mut self, number: i32, first: Millis) -> anyhow::Result<Option<Vec<Record>>> {
        let Some(open) = self.open.get_mut(&number) else { return Ok(None) };
        let batch = match open.ahead.take() {
            Some(batch) => Some(batch),
            None => open.reader.next_before_end(IDLE).await?,
        };
        let Some(batch) = batch else {
            self.open.remove(&number);
            return Ok(None);
        };
        for record in &batch {
            if record.offset > open.next {
                // Control records take offsets too; only what lies before the log's start is lost.
                let partition = TopicPartition::new(self.topic.as_str(), number);
                let log_start = self.log.log_start(&partition).await?;
                if log_start > open.next {
                    let (from, to) = (open.next, log_start);
                    return Err(PlanError::Expired { partition, from, to, first, earliest: None }.into());
                }
            }
            open.next = record.offset.saturating_add(1);
        }
        Ok(Some(batch))
    }

    /// Closes the reader of a partition that is read far enough.
    pub(super) fn close(&mut self, wanted: impl Fn(i32) -> bool) {
        self.open.retain(|number, _| wanted(*number));
    }
}
