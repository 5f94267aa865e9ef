//! Reading a partition: what is read is decided under its mutex, the bytes are taken outside.

use super::segment::{Segment, scan_headers};
use super::{AbortedTransaction, PartitionLog};
use crate::batch::first_record_at_or_after;
use crate::codes::Code;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Which records a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// All of them.
    ReadUncommitted,
    /// Those before the first one of an open transaction.
    ReadCommitted,
}

/// What a read will return, apart from the bytes.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) start_offset: i64,
    source: Option<Source>,
    aborted: Vec<AbortedTransaction>,
}

#[derive(Debug)]
struct Source {
    file: Arc<File>,
    from_offset: i64,
    before_offset: i64,
    from: u64,
    to: u64,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Whole batches; the first one may start before the offset asked for.
    pub(crate) records: Bytes,
    /// The aborted transactions that reach into them.
    pub(crate) aborted: Vec<AbortedTransaction>,
}

fn storage_error(error: &io::Error) -> Code {
    tracing::warn!(%error, "log not read");
    Code::KAFKA_STORAGE_ERROR
}

impl PartitionLog {
    /// End of what a reader may see.
    pub(crate) fn end_for(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.next_offset,
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Decides what a read at `offset` returns.
    ///
    /// # Errors
    /// [`Code::OFFSET_OUT_OF_RANGE`], [`Code::KAFKA_STORAGE_ERROR`].
    pub(crate) fn plan_read(&self, offset: i64, isolation: Isolation) -> Result<ReadPlan, Code> {
        if offset < self.start_offset || offset > self.next_offset {
            return Err(Code::OFFSET_OUT_OF_RANGE);
        }
        let end = self.end_for(isolation);
        let source = if offset < end { Some(self.source(offset, end)?) } else { None };
        let aborted = if isolation == Isolation::ReadCommitted && source.is_some() {
            let first = self.aborted.partition_point(|aborted| aborted.last_offset < offset);
            self.aborted[first..].iter().filter(|aborted| aborted.first_offset < end).copied().collect()
        } else {
            Vec::new()
        };
        Ok(ReadPlan {
            high_watermark: self.next_offset,
            last_stable_offset: self.last_stable_offset(),
            start_offset: self.start_offset,
            source,
            aborted,
        })
    }

    fn source(&self, offset: i64, end: i64) -> Result<Source, Code> {
        let after = self.segments.partition_point(|segment| segment.base_offset() <= offset);
        let segment = &self.segments[after.saturating_sub(1)];
        Ok(Source {
            file: segment.reader().map_err(|error| storage_error(&error))?,
            from_offset: offset,
            before_offset: end,
            from: segment.index().position_of(offset),
            to: segment.size(),
        })
    }

    /// The segments in which a record of at least `timestamp` may be, in order; each is searched by
    /// [`TimeSearch::run`] outside the mutex.
    ///
    /// # Errors
    /// [`Code::KAFKA_STORAGE_ERROR`].
    pub(crate) fn plan_time_search(&self, timestamp: i64, isolation: Isolation) -> Result<Vec<TimeSearch>, Code> {
        let candidates = self.segments.iter().filter(|segment| segment.max_timestamp() >= timestamp);
        let search = |segment: &Segment| {
            Ok(TimeSearch {
                file: segment.reader()?,
                from: segment.index().position_of_time(timestamp),
                to: segment.size(),
                start_offset: self.start_offset,
                before_offset: self.end_for(isolation),
                timestamp,
            })
        };
        // A handful of segments suffices: the answer is in the first one, unless only records that were deleted, or
        // markers, made it a candidate.
        let found: io::Result<Vec<_>> = candidates.take(MAX_TIME_SEARCHES).map(search).collect();
        found.map_err(|error| storage_error(&error))
    }
}

/// Segments looked through for one time.
const MAX_TIME_SEARCHES: usize = 16;

/// A search for a time in one segment.
#[derive(Debug)]
pub(crate) struct TimeSearch {
    file: Arc<File>,
    from: u64,
    to: u64,
    start_offset: i64,
    before_offset: i64,
    timestamp: i64,
}

impl TimeSearch {
    /// Offset and timestamp of the first record that is new enough.
    ///
    /// # Errors
    /// [`Code::KAFKA_STORAGE_ERROR`].
    pub(crate) fn run(&self) -> Result<Option<(i64, i64)>, Code> {
        let mut found = None;
        let mut failed = None;
        scan_headers(&self.file, self.from, self.to, |position, header| {
            if header.base_offset >= self.before_offset {
                return false;
            }
            if header.max_timestamp < self.timestamp || header.is_control() || header.last_offset() < self.start_offset
            {
                return true;
            }
            let mut bytes = vec![0; header.bytes];
            if let Err(error) = self.file.read_exact_at(&mut bytes, position) {
                failed = Some(error);
                return false;
            }
            found = first_record_at_or_after(&Bytes::from(bytes), self.start_offset, self.timestamp);
            found.is_none()
        })
        .map_err(|error| storage_error(&error))?;
        match failed {
            Some(error) => Err(storage_error(&error)),
            None => Ok(found),
        }
    }
}

impl ReadPlan {
    /// Takes the bytes: whole batches up to `max_bytes`, and with `at_least_one` the first batch whatever its size.
    ///
    /// # Errors
    /// [`Code::KAFKA_STORAGE_ERROR`].
    pub(crate) fn run(self, max_bytes: usize, at_least_one: bool) -> Result<Read, Code> {
        let Some(source) = self.source else {
            return Ok(Read { records: Bytes::new(), aborted: Vec::new() });
        };
        let range = source.find(max_bytes, at_least_one).map_err(|error| storage_error(&error))?;
        let mut bytes = vec![0; usize::try_from(range.to - range.from).unwrap_or(0)];
        source.file.read_exact_at(&mut bytes, range.from).map_err(|error| storage_error(&error))?;
        let aborted = self.aborted.into_iter().filter(|aborted| aborted.first_offset < range.end_offset);
        Ok(Read { records: Bytes::from(bytes), aborted: aborted.collect() })
    }
}

struct Range {
    from: u64,
    to: u64,
    end_offset: i64,
}

impl Source {
    fn find(&self, max_bytes: usize, at_least_one: bool) -> io::Result<Range> {
        let allowed = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        let mut range: Option<Range> = None;
        scan_headers(&self.file, self.from, self.to, |position, header| {
            if header.base_offset >= self.before_offset {
                return false;
            }
            if header.last_offset() < self.from_offset {
                return true;
            }
            let end = position + u64::try_from(header.bytes).unwrap_or(u64::MAX);
            let from = range.as_ref().map_or(position, |range| range.from);
            let first = range.is_none();
            if end - from > allowed && !(first && at_least_one) {
                return false;
            }
            range = Some(Range { from, to: end, end_offset: header.last_offset() + 1 });
            end - from < allowed
        })?;
        Ok(range.unwrap_or(Range { from: self.from, to: self.from, end_offset: self.from_offset }))
    }
}
