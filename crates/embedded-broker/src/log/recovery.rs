//! Opening a partition's log after any kind of end of the process.
//!
//! A segment with a summary was synced as a whole and is taken as the summary says. From the first one without on,
//! every batch is read and its checksum verified; the log ends before the first one that is torn, damaged or out of
//! order, and whatever follows is removed.

use super::producers::Producers;
use super::segment::{self, Segment};
use super::{AbortedTransaction, PartitionLog, ProducerLimit, START_FILE};
use crate::batch::{BatchError, BatchHeader, HEADER_BYTES, marker_of};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// A log and what its recovery had to cut off.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) log: PartitionLog,
    /// Bytes removed because they were torn, damaged or followed such.
    pub(crate) truncated: u64,
}

impl PartitionLog {
    /// Opens the log in a folder, which is created if absent. `now` in milliseconds.
    ///
    /// # Errors
    /// Whatever the file system refuses.
    pub(crate) fn open(folder: &Path, limit: ProducerLimit, now: i64) -> io::Result<Recovered> {
        fs::create_dir_all(folder)?;
        let stored_start = read_start(&folder.join(START_FILE))?;
        let mut state = State::default();
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let mut truncated = 0;
        let mut intact = true;
        for (base_offset, path) in segment_files(folder)? {
            let size = fs::metadata(&path)?.len();
            let follows = segments.is_empty() || base_offset == state.next_offset;
            if !intact || !follows {
                truncated += size;
                fs::remove_file(&path)?;
                segment::remove_summary(&path)?;
                intact = false;
                continue;
            }
            if let Some(previous) = segments.back_mut().filter(|previous| !previous.is_closed()) {
                previous.close(state.producers.clone(), state.aborted.clone());
            }
            state.next_offset = base_offset;
            if let Some(summary) = segment::read_summary(&path, size) {
                segments.push_back(Segment::from_summary(path, base_offset, &summary));
                state.next_offset = summary.next_offset;
                state.producers = summary.producers;
                state.aborted = summary.aborted;
                continue;
            }
            let mut segment = Segment::create(folder, base_offset);
            state.read_segment(&path, size, &mut segment, limit, now)?;
            if segment.size() < size {
                truncated += size - segment.size();
                intact = false;
                OpenOptions::new().write(true).open(&path)?.set_len(segment.size())?;
            }
            segment.mark_unsynced();
            segments.push_back(segment);
        }
        Ok(Recovered { log: state.into_log(folder, segments, stored_start)?, truncated })
    }
}

fn read_start(path: &Path) -> io::Result<i64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The segments of a folder by their first offset.
fn segment_files(folder: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let base = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (true, Some(base)) = (is_log, base) {
            found.push((base, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[derive(Debug, Default)]
struct State {
    next_offset: i64,
    producers: Producers,
    aborted: Vec<AbortedTransaction>,
}

impl State {
    /// Reads the batches of a segment up to the first one that is not right.
    fn read_segment(
        &mut self,
        path: &Path,
        size: u64,
        segment: &mut Segment,
        limit: ProducerLimit,
        now: i64,
    ) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut batch = Vec::new();
        while next_batch(&mut reader, size - segment.size(), &mut batch)? {
            let Ok(header) = BatchHeader::verify(&batch) else {
                break;
            };
            if header.base_offset != self.next_offset {
                break;
            }
            if header.is_control() {
                let Some(marker) = marker_of(&batch) else {
                    break;
                };
                self.aborted.extend(self.producers.end(&header, marker));
            } else {
                let append_time = if header.has_append_time() { header.max_timestamp } else { -1 };
                self.producers.record(&header, append_time, now, limit);
            }
            segment.note(&header, now);
            self.next_offset = header.last_offset() + 1;
        }
        Ok(())
    }

    fn into_log(
        mut self,
        folder: &Path,
        mut segments: VecDeque<Segment>,
        stored_start: i64,
    ) -> io::Result<PartitionLog> {
        if self.next_offset < stored_start {
            // The end was lost up to before the first readable offset: go on there, so that no offset is used twice.
            for segment in segments.drain(..) {
                segment.delete()?;
            }
            self.next_offset = stored_start;
        }
        let first = segments.front().map_or(stored_start, Segment::base_offset);
        let last_append_time = segments.iter().map(Segment::last_append_time).max().unwrap_or(-1);
        if segments.back().is_none_or(Segment::is_closed) {
            segments.push_back(Segment::create(folder, self.next_offset));
        }
        Ok(PartitionLog {
            folder: folder.to_path_buf(),
            segments,
            next_offset: self.next_offset,
            start_offset: stored_start.max(first),
            producers: self.producers,
            aborted: self.aborted,
            last_append_time,
        })
    }
}

/// Reads the next batch into `batch`; false if there is none or its end is missing.
fn next_batch(reader: &mut impl Read, left: u64, batch: &mut Vec<u8>) -> io::Result<bool> {
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    if left < HEADER_BYTES {
        return Ok(false);
    }
    batch.resize(HEADER_BYTES, 0);
    reader.read_exact(batch)?;
    let header = match BatchHeader::parse(batch) {
        Ok(header) if header.bytes <= left => header,
        Ok(_) | Err(BatchError::Truncated | BatchError::Invalid | BatchError::Checksum) => {
            return Ok(false);
        }
    };
    batch.resize(header.bytes, 0);
    reader.read_exact(&mut batch[HEADER_BYTES..])?;
    Ok(true)
}
