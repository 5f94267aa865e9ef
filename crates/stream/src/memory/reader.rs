//! Reading the log in memory without a group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::{Partitions, Record, Result, Start, StreamError, TopicPartition};

const MAX_BATCH_RECORDS: usize = 1000;
const MAX_BATCH_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct MemoryReader {
    shared: Arc<Shared>,
    topic: Arc<str>,
    positions: BTreeMap<i32, i64>,
    /// The ends that the walk under way goes to.
    walk: Option<BTreeMap<i32, i64>>,
}

impl MemoryReader {
    pub(super) fn new(shared: Arc<Shared>, topic: &str, partitions: &Partitions, from: &Start) -> Result<Self> {
        let topic: Arc<str> = Arc::from(topic);
        let mut positions = BTreeMap::new();
        {
            let mut state = shared.read();
            let count = state.topic(&topic)?.count();
            for partition in partitions.numbers(count) {
                let name = TopicPartition::new(Arc::clone(&topic), partition);
                let log = state.partition(&name)?;
                let at_time = |time| log.offset_for_time(time);
                let position = from.resolve(partition, log.start, log.stable_end(), at_time);
                positions.insert(partition, position);
            }
        }
        if positions.is_empty() {
            return Err(StreamError::Misuse(format!("no partition of {topic} to read")));
        }
        Ok(Self { shared, topic, positions, walk: None })
    }

    pub(crate) async fn next(&mut self, timeout: Duration) -> Result<Vec<Record>> {
        let mut version = self.shared.version.subscribe();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let batch = self.read(None);
            let more = tokio::time::timeout_at(deadline, version.changed());
            if !batch.is_empty() || timeout.is_zero() || more.await.is_err() {
                return Ok(batch);
            }
        }
    }

    pub(crate) fn next_before_end(&mut self) -> Option<Vec<Record>> {
        let walk = self.walk.take().unwrap_or_else(|| self.ends());
        let batch = self.read(Some(&walk));
        if batch.is_empty() {
            return None;
        }
        self.walk = Some(walk);
        Some(batch)
    }

    fn ends(&self) -> BTreeMap<i32, i64> {
        let mut state = self.shared.read();
        let mut end = |partition: i32| {
            let name = TopicPartition::new(Arc::clone(&self.topic), partition);
            state.partition(&name).map_or(0, |log| log.stable_end())
        };
        self.positions.keys().map(|p| (*p, end(*p))).collect()
    }

    fn read(&mut self, ends: Option<&BTreeMap<i32, i64>>) -> Vec<Record> {
        let mut state = self.shared.read();
        let mut batch = Vec::new();
        for (partition, position) in &mut self.positions {
            let name = TopicPartition::new(Arc::clone(&self.topic), *partition);
            let Ok(log) = state.partition(&name) else {
                continue;
            };
            let stable = log.stable_end();
            let end = ends.map_or(stable, |ends| ends.get(partition).copied().unwrap_or(0).min(stable));
            *position = (*position).max(log.start);
            let room = MAX_BATCH_RECORDS.saturating_sub(batch.len());
            if *position >= end || room == 0 {
                continue;
            }
            let (records, next) = log.read(&name, *position, end, room, MAX_BATCH_BYTES);
            batch.extend(records);
            *position = next;
        }
        batch
    }

    pub(crate) fn positions(&self) -> Vec<(i32, i64)> {
        self.positions.iter().map(|(p, o)| (*p, *o)).collect()
    }
}
