//! The log of one partition: segments of record batches with a sparse index, what each producer wrote last, and which
//! transactions are open or were aborted.
//!
//! An append is a `write` before it is acknowledged, so it survives the end of the process; the file system is asked to
//! keep it (`fsync`) in the background. The caller holds the partition's mutex for appends and for planning a read; the
//! bytes of a read are taken outside it.

mod index;
mod producers;
mod read;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use crate::batch::{self, BatchHeader, Marker};
use crate::codes::Code;
use crate::files;
pub(crate) use producers::Limit as ProducerLimit;
use producers::{Check, Producers};
pub(crate) use read::{Isolation, ReadPlan};
pub(crate) use recovery::Recovered;
use segment::Segment;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

/// File that holds the first offset clients may read, if that is not the first one stored.
const START_FILE: &str = "log-start";

/// How a partition is written.
#[derive(Debug, Clone)]
pub(crate) struct AppendRules {
    /// Whether batches get the broker's time.
    pub(crate) append_time: bool,
    /// A segment is closed before it would grow beyond this, bytes.
    pub(crate) segment_bytes: u64,
    /// A segment is closed when its first batch is older than this, milliseconds.
    pub(crate) segment_ms: i64,
    /// Largest batch, bytes.
    pub(crate) batch_bytes: usize,
    /// Producers remembered.
    pub(crate) producers: ProducerLimit,
}

/// Where a batch was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// The broker's time given to the batch, milliseconds; -1 if the topic keeps the producer's.
    pub(crate) append_time: i64,
    /// Whether this is a repetition of a batch stored before.
    pub(crate) duplicate: bool,
}

/// A transaction of a producer that was aborted in this partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AbortedTransaction {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    /// Offset of the control batch that ends it.
    pub(crate) last_offset: i64,
}

/// The log of one partition.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    folder: PathBuf,
    /// Never empty; the last one is written to.
    segments: VecDeque<Segment>,
    next_offset: i64,
    start_offset: i64,
    producers: Producers,
    /// In the order of their last offset.
    aborted: Vec<AbortedTransaction>,
    last_append_time: i64,
}

impl PartitionLog {
    /// First offset that may be read.
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// Offset of the next record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Every record before this offset belongs to no open transaction.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.producers.first_open_offset().unwrap_or(self.next_offset)
    }

    /// Id and epoch of every producer with an open transaction here.
    pub(crate) fn open_producers(&self) -> Vec<(i64, i16)> {
        self.producers.open_producers()
    }

    /// Stores a client's batch. `now` is the time in milliseconds; `may_write` decides if a transactional producer (id,
    /// epoch) has this partition in its ongoing transaction.
    ///
    /// # Errors
    /// The protocol's code for the client; nothing is stored then.
    pub(crate) fn append(
        &mut self,
        batch: &mut [u8],
        rules: &AppendRules,
        now: i64,
        may_write: impl Fn(i64, i16) -> Result<(), Code>,
    ) -> Result<Appended, Code> {
        let mut header = batch::check_from_client(batch).map_err(|_| Code::CORRUPT_MESSAGE)?;
        if header.bytes > rules.batch_bytes {
            return Err(Code::MESSAGE_TOO_LARGE);
        }
        if header.producer_id >= 0 {
            match self.producers.check(&header)? {
                Check::Duplicate { base_offset, append_time } => {
                    return Ok(Appended { base_offset, append_time, duplicate: true });
                }
                Check::Next => {}
            }
            if header.is_transactional() {
                may_write(header.producer_id, header.producer_epoch)?;
            } else if self.producers.is_open(header.producer_id) {
                return Err(Code::INVALID_TXN_STATE);
            }
        }
        let append_time = rules.append_time.then(|| now.max(self.last_append_time));
        header.base_offset = self.next_offset;
        batch::place(batch, header.base_offset, append_time);
        if let Some(time) = append_time {
            header.max_timestamp = time;
            self.last_append_time = time;
        }
        self.write(batch, &header, rules, now)?;
        let append_time = append_time.unwrap_or(-1);
        self.producers.record(&header, append_time, now, rules.producers);
        Ok(Appended { base_offset: header.base_offset, append_time, duplicate: false })
    }

    /// Ends a producer's open transaction; does nothing if none is open. Returns whether a marker was written.
    ///
    /// # Errors
    /// [`Code::KAFKA_STORAGE_ERROR`] if it cannot be written.
    pub(crate) fn append_marker(
        &mut self,
        producer: (i64, i16),
        marker: Marker,
        rules: &AppendRules,
        now: i64,
    ) -> Result<bool, Code> {
        let (producer_id, epoch) = producer;
        if !self.producers.is_open(producer_id) {
            return Ok(false);
        }
        let time = now.max(self.last_append_time);
        let mut bytes = batch::control_batch(producer_id, epoch, marker, time);
        batch::place(&mut bytes, self.next_offset, rules.append_time.then_some(time));
        let header = BatchHeader::parse(&bytes).map_err(|_| Code::KAFKA_STORAGE_ERROR)?;
        if rules.append_time {
            self.last_append_time = time;
        }
        self.write(&bytes, &header, rules, now)?;
        self.aborted.extend(self.producers.end(&header, marker));
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8], header: &BatchHeader, rules: &AppendRules, now: i64) -> Result<(), Code> {
        let active = self.active();
        let full = active.size() + files::length(bytes) > rules.segment_bytes;
        if active.size() > 0 && (full || active.is_older_than(rules.segment_ms, now)) {
            self.roll();
        }
        self.active_mut().append(bytes, header, now).map_err(|error| {
            tracing::warn!(folder = %self.folder.display(), %error, "batch not written");
            Code::KAFKA_STORAGE_ERROR
        })?;
        self.next_offset = header.last_offset() + 1;
        Ok(())
    }

    /// Closes the segment written to and starts the next one.
    fn roll(&mut self) {
        let state = self.producers.clone();
        let aborted = self.aborted.clone();
        self.active_mut().close(state, aborted);
        self.segments.push_back(Segment::create(&self.folder, self.next_offset));
    }

    #[expect(clippy::expect_used, reason = "a log always has a segment: see the field")]
    fn active(&self) -> &Segment {
        self.segments.back().expect("a log has at least one segment")
    }

    #[expect(clippy::expect_used, reason = "a log always has a segment: see the field")]
    fn active_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has at least one segment")
    }

    /// Moves the first readable offset up to `offset` (not beyond the end) and deletes the segments before it. Returns
    /// the first readable offset.
    ///
    /// # Errors
    /// If the new start cannot be stored.
    pub(crate) fn delete_before(&mut self, offset: i64) -> io::Result<i64> {
        let offset = offset.min(self.next_offset);
        if offset > self.start_offset {
            files::replace(&self.folder.join(START_FILE), offset.to_string().as_bytes())?;
            self.start_offset = offset;
            self.drop_segments_before_start()?;
        }
        Ok(self.start_offset)
    }

    fn drop_segments_before_start(&mut self) -> io::Result<usize> {
        let mut dropped = 0;
        while self.segments.get(1).is_some_and(|next| next.base_offset() <= self.start_offset) {
            if let Some(segment) = self.segments.pop_front() {
                segment.delete()?;
                dropped += 1;
            }
        }
        let start = self.start_offset;
        self.aborted.retain(|aborted| aborted.last_offset >= start);
        Ok(dropped)
    }

    /// Deletes whole segments that are older than `retention_ms` or beyond `retention_bytes`; a negative bound is none.
    /// Records of open transactions stay. Returns how many segments were deleted.
    ///
    /// # Errors
    /// If the new start cannot be stored or a file cannot be removed.
    pub(crate) fn apply_retention(&mut self, retention_ms: i64, retention_bytes: i64, now: i64) -> io::Result<usize> {
        let expired =
            |segment: &Segment| retention_ms >= 0 && segment.max_timestamp() < now.saturating_sub(retention_ms);
        if self.active().size() > 0 && self.segments.iter().all(expired) {
            self.roll();
        }
        let mut bytes: u64 = self.segments.iter().map(Segment::size).sum();
        let allowed = u64::try_from(retention_bytes).unwrap_or(u64::MAX);
        let mut keep_from = self.start_offset;
        for (segment, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            bytes -= segment.size();
            let over = bytes >= allowed;
            if !(over || expired(segment)) || next.base_offset() > self.last_stable_offset() {
                break;
            }
            keep_from = next.base_offset();
        }
        if keep_from <= self.start_offset {
            return Ok(0);
        }
        files::replace(&self.folder.join(START_FILE), keep_from.to_string().as_bytes())?;
        self.start_offset = keep_from;
        self.drop_segments_before_start()
    }

    /// What has to be made durable: called under the partition's mutex, carried out outside it.
    pub(crate) fn take_sync_work(&mut self) -> Vec<segment::SyncWork> {
        self.segments.iter_mut().filter_map(Segment::take_sync_work).collect()
    }

    /// Forgets producers that were idle for longer than the limit allows.
    pub(crate) fn expire_producers(&mut self, limit: ProducerLimit, now: i64) {
        self.producers.expire(limit, now);
    }

    /// Highest timestamp of a batch, milliseconds; -1 if there is none.
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.segments.iter().map(Segment::max_timestamp).max().unwrap_or(-1)
    }
}
