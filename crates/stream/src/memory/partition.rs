//! One partition of the log in memory.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::{NewRecord, Record, Result, StreamError, TopicPartition};

/// Whether committed readers see an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Visibility {
    Committed,
    /// Of the open transaction of this transactional id.
    Open(Arc<str>),
    Aborted,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) visibility: Visibility,
    timestamp: i64,
    /// `None` for the control record at the end of a transaction.
    data: Option<Data>,
}

#[derive(Clone, Debug)]
struct Data {
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
}

#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    /// The lowest offset that is still there.
    pub(super) start: i64,
    /// The next offset to be written.
    pub(super) next: i64,
    entries: Vec<Entry>,
}

impl PartitionLog {
    pub(super) fn append(&mut self, record: NewRecord, timestamp: i64, visibility: Visibility) -> i64 {
        let data = Data { key: record.key, value: record.value, headers: record.headers };
        self.push(timestamp, visibility, Some(data))
    }

    fn push(&mut self, timestamp: i64, visibility: Visibility, data: Option<Data>) -> i64 {
        let offset = self.next;
        self.entries.push(Entry { offset, visibility, timestamp, data });
        self.next += 1;
        offset
    }

    /// Ends the transaction of `id` here: a control record, and what it wrote becomes visible or not.
    pub(super) fn end_transaction(&mut self, id: &Arc<str>, commit: bool, now: i64) {
        let open = Visibility::Open(Arc::clone(id));
        let ended = if commit { Visibility::Committed } else { Visibility::Aborted };
        for entry in self.entries.iter_mut().filter(|e| e.visibility == open) {
            entry.visibility = ended.clone();
        }
        self.push(now, ended, None);
    }

    /// The end for committed readers.
    pub(super) fn stable_end(&self) -> i64 {
        let mut entries = self.entries.iter();
        entries.find(|entry| matches!(entry.visibility, Visibility::Open(_))).map_or(self.next, |entry| entry.offset)
    }

    /// Visible records of [from, to), bounded, and the next offset to read.
    pub(super) fn read(
        &self,
        name: &TopicPartition,
        from: i64,
        to: i64,
        max_records: usize,
        max_bytes: usize,
    ) -> (Vec<Record>, i64) {
        let mut records = Vec::new();
        let mut bytes = 0_usize;
        let mut next = from;
        let first = self.entries.partition_point(|entry| entry.offset < from);
        for entry in self.entries[first..].iter().take_while(|e| e.offset < to) {
            if let (Visibility::Committed, Some(data)) = (&entry.visibility, &entry.data) {
                let record = Record {
                    topic: Arc::clone(&name.topic),
                    partition: name.partition,
                    offset: entry.offset,
                    timestamp: entry.timestamp,
                    key: data.key.clone(),
                    value: data.value.clone(),
                    headers: data.headers.clone(),
                };
                bytes = bytes.saturating_add(record.size());
                if !records.is_empty() && (records.len() >= max_records || bytes > max_bytes) {
                    return (records, next);
                }
                records.push(record);
            }
            next = entry.offset + 1;
        }
        (records, next.max(to))
    }

    pub(super) fn offset_for_time(&self, timestamp: i64) -> Option<i64> {
        let end = self.stable_end();
        let mut entries = self.entries.iter().take_while(|entry| entry.offset < end);
        entries.find(|entry| entry.timestamp >= timestamp && entry.data.is_some()).map(|entry| entry.offset)
    }

    pub(super) fn delete_before(&mut self, before: i64) -> Result<()> {
        if before > self.next {
            return Err(StreamError::Misuse(format!(
                "offset {before} to delete before is past the end of the log, {}",
                self.next
            )));
        }
        self.start = self.start.max(before);
        self.entries.retain(|entry| entry.offset >= before);
        Ok(())
    }

    pub(super) fn compact(&mut self, remove_tombstones: bool) {
        let end = self.stable_end();
        let mut last: HashMap<Bytes, i64> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| entry.offset < end) {
            if let (Visibility::Committed, Some(data)) = (&entry.visibility, &entry.data)
                && let Some(key) = &data.key
            {
                last.insert(key.clone(), entry.offset);
            }
        }
        self.entries.retain(|entry| {
            if entry.offset >= end {
                return true;
            }
            let (Visibility::Committed, Some(data)) = (&entry.visibility, &entry.data) else {
                return false;
            };
            let newest = match &data.key {
                Some(key) => last.get(key) == Some(&entry.offset),
                None => true,
            };
            newest && !(remove_tombstones && data.value.is_none())
        });
    }
}
