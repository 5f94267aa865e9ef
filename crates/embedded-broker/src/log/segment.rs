//! One file of a partition's log.

use super::AbortedTransaction;
use super::index::SparseIndex;
use super::producers::Producers;
use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::files;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at a time when batch headers are looked through.
const SCAN_BYTES: usize = 32 << 10;

/// What is known of a closed segment, kept beside it so that it need not be read again at the next start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) size: u64,
    pub(super) next_offset: i64,
    pub(super) max_timestamp: i64,
    pub(super) last_append_time: i64,
    pub(super) index: SparseIndex,
    /// The producers as they were at the end of the segment.
    pub(super) producers: Producers,
    /// All aborted transactions that end before the end of the segment and are still stored.
    pub(super) aborted: Vec<AbortedTransaction>,
}

/// One file of a partition's log.
#[derive(Debug)]
pub(super) struct Segment {
    base_offset: i64,
    path: PathBuf,
    size: u64,
    next_offset: i64,
    max_timestamp: i64,
    last_append_time: i64,
    /// When its first batch was written, milliseconds.
    started: Option<i64>,
    index: SparseIndex,
    /// Open while the segment is written to; a closed one is opened for each read.
    file: Option<Arc<File>>,
    unsynced: bool,
    closed: bool,
    summary_due: Option<Box<Summary>>,
}

/// Something to make durable outside the partition's mutex.
#[derive(Debug)]
pub(crate) struct SyncWork {
    file: Arc<File>,
    path: PathBuf,
    summary: Option<Box<Summary>>,
}

impl SyncWork {
    /// Syncs the segment and stores its summary if it was closed.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(crate) fn run(self) -> io::Result<()> {
        self.file.sync_data()?;
        let Some(summary) = self.summary else {
            return Ok(());
        };
        let json = serde_json::to_vec(&summary)?;
        let mut content = format!("{:08x}\n", crc32c::crc32c(&json)).into_bytes();
        content.extend(json);
        // The segment may have been deleted by retention in the meantime.
        if self.path.exists() {
            files::replace(&summary_path(&self.path), &content)?;
        }
        Ok(())
    }
}

fn summary_path(segment: &Path) -> PathBuf {
    segment.with_extension("summary")
}

/// Reads a summary; a missing, damaged or not matching one is none.
pub(super) fn read_summary(segment: &Path, size: u64) -> Option<Summary> {
    let content = fs::read(summary_path(segment)).ok()?;
    let (checksum, json) = content.split_at_checked(9)?;
    let checksum = u32::from_str_radix(std::str::from_utf8(&checksum[..8]).ok()?, 16).ok()?;
    if crc32c::crc32c(json) != checksum {
        return None;
    }
    serde_json::from_slice::<Summary>(json).ok().filter(|summary| summary.size == size)
}

/// Removes the summary of a segment that is going to be written to.
pub(super) fn remove_summary(segment: &Path) -> io::Result<()> {
    files::remove_if_present(&summary_path(segment))
}

/// Path of the segment that starts at an offset.
pub(super) fn path_of(folder: &Path, base_offset: i64) -> PathBuf {
    folder.join(format!("{base_offset:020}.log"))
}

impl Segment {
    /// An empty segment; its file is created by the first append.
    pub(super) fn create(folder: &Path, base_offset: i64) -> Self {
        Self {
            base_offset,
            path: path_of(folder, base_offset),
            size: 0,
            next_offset: base_offset,
            max_timestamp: -1,
            last_append_time: -1,
            started: None,
            index: SparseIndex::default(),
            file: None,
            unsynced: false,
            closed: false,
            summary_due: None,
        }
    }

    /// A closed segment as its summary tells.
    pub(super) fn from_summary(path: PathBuf, base_offset: i64, summary: &Summary) -> Self {
        Self {
            base_offset,
            path,
            size: summary.size,
            next_offset: summary.next_offset,
            max_timestamp: summary.max_timestamp,
            last_append_time: summary.last_append_time,
            started: Some(0),
            index: summary.index.clone(),
            file: None,
            unsynced: false,
            closed: true,
            summary_due: None,
        }
    }

    /// Whether it is no longer written to.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Notes that the file may hold what was never synced.
    pub(super) fn mark_unsynced(&mut self) {
        self.unsynced = true;
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    pub(super) fn last_append_time(&self) -> i64 {
        self.last_append_time
    }

    pub(super) fn index(&self) -> &SparseIndex {
        &self.index
    }

    pub(super) fn is_older_than(&self, age_ms: i64, now: i64) -> bool {
        self.started.is_some_and(|started| now.saturating_sub(started) > age_ms)
    }

    /// The file, for reading.
    pub(super) fn reader(&self) -> io::Result<Arc<File>> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(Arc::new(File::open(&self.path)?)),
        }
    }

    fn writer(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let new = !self.path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        if new {
            files::sync_parent(&self.path)?;
        }
        let file = Arc::new(file);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Writes a batch that has its offset. On an error the segment is as before.
    pub(super) fn append(&mut self, bytes: &[u8], header: &BatchHeader, now: i64) -> io::Result<()> {
        let file = self.writer()?;
        if let Err(error) = file.write_all_at(bytes, self.size) {
            // What was written of it must not be taken for a batch at the next start.
            if let Err(error) = file.set_len(self.size) {
                tracing::warn!(path = %self.path.display(), %error, "torn batch not removed");
            }
            return Err(error);
        }
        self.note(header, now);
        self.unsynced = true;
        Ok(())
    }

    /// Notes a batch that is in the file.
    pub(super) fn note(&mut self, header: &BatchHeader, now: i64) {
        self.index.note(header.base_offset, self.size, self.max_timestamp);
        self.size += u64::try_from(header.bytes).unwrap_or(u64::MAX);
        self.next_offset = header.last_offset() + 1;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        if header.has_append_time() {
            self.last_append_time = self.last_append_time.max(header.max_timestamp);
        }
        self.started.get_or_insert(now);
    }

    /// Ends writing; the summary is stored with the next sync.
    pub(super) fn close(&mut self, producers: Producers, aborted: Vec<AbortedTransaction>) {
        self.unsynced = true;
        self.closed = true;
        self.summary_due = Some(Box::new(Summary {
            size: self.size,
            next_offset: self.next_offset,
            max_timestamp: self.max_timestamp,
            last_append_time: self.last_append_time,
            index: self.index.clone(),
            producers,
            aborted,
        }));
    }

    /// What is to be synced; a segment that was closed lets go of its file.
    pub(super) fn take_sync_work(&mut self) -> Option<SyncWork> {
        if !self.unsynced {
            return None;
        }
        let file = self.reader().ok()?;
        self.unsynced = false;
        let summary = self.summary_due.take();
        if summary.is_some() {
            self.file = None;
        }
        Some(SyncWork { file, path: self.path.clone(), summary })
    }

    /// Removes the files.
    pub(super) fn delete(&self) -> io::Result<()> {
        files::remove_if_present(&self.path)?;
        remove_summary(&self.path)
    }
}

/// Walks the headers of the batches between two positions of a file until `visit` returns false; `visit` gets the
/// position of each batch.
///
/// # Errors
/// If the file cannot be read, or holds something else than batches there.
pub(super) fn scan_headers(
    file: &File,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, &BatchHeader) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; SCAN_BYTES];
    let mut buffered = (from, 0_usize);
    let mut position = from;
    while position < to {
        let (start, filled) = buffered;
        let skip = usize::try_from(position - start).unwrap_or(usize::MAX);
        if skip.saturating_add(HEADER_BYTES) > filled {
            let wanted = usize::try_from(to - position).unwrap_or(usize::MAX).min(SCAN_BYTES);
            file.read_exact_at(&mut buffer[..wanted], position)?;
            buffered = (position, wanted);
        }
        let skip = usize::try_from(position - buffered.0).unwrap_or(usize::MAX);
        let header =
            BatchHeader::parse(&buffer[skip..buffered.1]).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if !visit(position, &header) {
            break;
        }
        position += u64::try_from(header.bytes).unwrap_or(u64::MAX);
    }
    Ok(())
}
