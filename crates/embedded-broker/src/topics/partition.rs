//! A partition: its log behind a mutex, and the readers that wait for it to grow.

use crate::batch::Marker;
use crate::codes::Code;
use crate::locks::lock;
use crate::log::{AppendRules, Appended, Isolation, PartitionLog, ProducerLimit, ReadPlan, Recovered};
use crate::settings::Limits;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::Notify;

/// Milliseconds without a batch after which a producer is forgotten: a day.
const PRODUCER_IDLE_MS: i64 = 24 * 60 * 60 * 1000;

/// How many producers a partition remembers.
pub(super) fn producer_limit(limits: &Limits) -> ProducerLimit {
    ProducerLimit { count: limits.producers_per_partition, idle_ms: PRODUCER_IDLE_MS }
}

/// A partition. The mutex is held for one `write` at most, never over an `fsync` or a read of records.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Mutex<PartitionLog>,
    readers: Mutex<Vec<Weak<Notify>>>,
}

impl Partition {
    /// Opens the log in a folder; also returns how many bytes were cut off its end. Blocks.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(super) fn open(folder: &Path, limit: ProducerLimit, now: i64) -> io::Result<(Self, u64)> {
        let Recovered { log, truncated } = PartitionLog::open(folder, limit, now)?;
        Ok((Self { log: Mutex::new(log), readers: Mutex::default() }, truncated))
    }

    /// Stores a client's batch; see [`PartitionLog::append`].
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn append(
        &self,
        batch: &mut [u8],
        rules: &AppendRules,
        now: i64,
        may_write: impl Fn(i64, i16) -> Result<(), Code>,
    ) -> Result<Appended, Code> {
        let appended = lock(&self.log).append(batch, rules, now, may_write)?;
        if !appended.duplicate {
            self.wake_readers();
        }
        Ok(appended)
    }

    /// Ends a producer's transaction here, if it has one; see [`PartitionLog::append_marker`].
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn end_transaction(
        &self,
        producer: (i64, i16),
        marker: Marker,
        rules: &AppendRules,
        now: i64,
    ) -> Result<(), Code> {
        if lock(&self.log).append_marker(producer, marker, rules, now)? {
            self.wake_readers();
        }
        Ok(())
    }

    /// Decides what a read returns; see [`PartitionLog::plan_read`].
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn plan_read(&self, offset: i64, isolation: Isolation) -> Result<ReadPlan, Code> {
        lock(&self.log).plan_read(offset, isolation)
    }

    /// Offset and timestamp of the first record of at least `timestamp`.
    ///
    /// # Errors
    /// The protocol's code.
    pub(crate) fn find_time(&self, timestamp: i64, isolation: Isolation) -> Result<Option<(i64, i64)>, Code> {
        let searches = lock(&self.log).plan_time_search(timestamp, isolation)?;
        for search in searches {
            if let Some(found) = search.run()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Runs something short under the mutex.
    pub(crate) fn with_log<T>(&self, run: impl FnOnce(&mut PartitionLog) -> T) -> T {
        run(&mut lock(&self.log))
    }

    /// Has a reader woken once when the log or its stable end grows.
    pub(crate) fn wake_on_growth(&self, reader: &Arc<Notify>) {
        let mut readers = lock(&self.readers);
        readers.retain(|waiting| waiting.strong_count() > 0 && waiting.as_ptr() != Arc::as_ptr(reader));
        readers.push(Arc::downgrade(reader));
    }

    /// Wakes all waiting readers.
    pub(crate) fn wake_readers(&self) {
        for reader in lock(&self.readers).drain(..).filter_map(|reader| reader.upgrade()) {
            reader.notify_one();
        }
    }

    /// Makes everything appended so far durable, without holding the mutex meanwhile.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let work = lock(&self.log).take_sync_work();
        let mut result = Ok(());
        for segment in work {
            if let Err(error) = segment.run() {
                result = Err(error);
            }
        }
        result
    }
}
