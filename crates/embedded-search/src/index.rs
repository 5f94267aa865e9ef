//! One index: a tantivy index of columns and sources, with a translog, versions and its mapping.
//!
//! All fields live in the columns of one JSON field; `_id` alone is in an inverted index. What is
//! written becomes searchable with a tantivy commit (a refresh); until then `live` knows where in the
//! translog the newest state of each document is.

mod meta;
mod segments;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use foldhash::{HashMap, HashMapExt};
use tantivy::schema::{Field, IndexRecordOption, JsonObjectOptions, STORED, Schema, TextFieldIndexing, TextOptions};
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, Searcher};

pub(crate) use self::meta::{Meta, flatten_settings, write_atomically};
pub(crate) use self::segments::{StoredDocument, docs_with_ids, load_document};
pub(crate) use self::write::{Action, Outcome, VersionCheck, WriteRequest, Written};
use crate::error::{ApiError, ApiResult};
use crate::translog::{self, Ending, Translog};

/// The heap of an open writer, in bytes; tantivy refuses less than 15 MB.
const WRITER_HEAP_BYTES: usize = 20_000_000;
/// A refresh is due when the translog has grown to this, in bytes.
const TRANSLOG_BYTES: u64 = 48 << 20;
/// A refresh is due when this many documents wait for it.
const LIVE_DOCUMENTS: usize = 200_000;
/// A writer that has not been used for this long is closed, in milliseconds.
const WRITER_IDLE_MS: i64 = 20_000;
/// An index that nobody searches is refreshed no later than this after a write, in milliseconds.
const UNSEARCHED_REFRESH_MS: i64 = 10_000;
/// An index counts as searched for this long after a search, in milliseconds.
const SEARCHED_MS: i64 = 30_000;
/// How long the version of a deleted document is remembered, in milliseconds, as `index.gc_deletes`.
const TOMBSTONE_MS: i64 = 60_000;
/// The most deleted documents whose versions are remembered.
const TOMBSTONES: usize = 100_000;

/// The fields of the tantivy schema.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) id: Field,
    pub(crate) source: Field,
    values: Field,
    version: Field,
    seq_no: Field,
}

/// The newest state of a document that a refresh has not made searchable yet.
#[derive(Debug, Clone)]
struct Live {
    version: u64,
    seq_no: u64,
    /// The offset in the translog; `None` for a deletion.
    offset: Option<u64>,
}

/// The version that a deleted document had.
struct Tombstone {
    version: u64,
    seq_no: u64,
    since: i64,
}

struct State {
    writer: Option<IndexWriter>,
    translog: Translog,
    live: HashMap<String, Live>,
    tombstones: HashMap<String, Tombstone>,
    next_seq_no: u64,
    last_write: i64,
    /// A commit went wrong: the writer must be rebuilt from the translog before anything is written.
    broken: bool,
}

/// An index.
pub(crate) struct Index {
    pub(crate) name: String,
    folder: PathBuf,
    pub(crate) fields: Fields,
    inner: tantivy::Index,
    reader: IndexReader,
    meta: RwLock<Arc<Meta>>,
    state: Mutex<State>,
    /// Milliseconds since 1970 of the first write that is not searchable; 0 when all are.
    dirty_since: AtomicI64,
    last_search: AtomicI64,
    last_refresh: AtomicI64,
    deleted: AtomicBool,
    pub(crate) indexed: AtomicU64,
    pub(crate) searched: AtomicU64,
}

fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let id = builder.add_text_field("_id", TextOptions::default().set_indexing_options(indexing).set_stored());
    let version = builder.add_u64_field("_version", tantivy::schema::FAST);
    let seq_no = builder.add_u64_field("_seq_no", tantivy::schema::FAST);
    let source = builder.add_bytes_field("_source", STORED);
    let values = builder.add_json_field("f", JsonObjectOptions::default().set_fast("raw"));
    (builder.build(), Fields { id, source, values, version, seq_no })
}

/// How often the folder of a deleted index is tried to be removed, and how long is waited in between.
const REMOVALS: u32 = 200;
const BETWEEN_REMOVALS: std::time::Duration = std::time::Duration::from_millis(10);

impl Index {
    /// Creates an index in an empty folder.
    pub(crate) fn create(folder: &Path, meta: Meta, now: i64) -> ApiResult<Self> {
        let segments = folder.join("segments");
        std::fs::create_dir_all(&segments)?;
        let (schema, fields) = schema();
        let inner = tantivy::Index::create_in_dir(&segments, schema)?;
        let translog = Translog::create(folder, 1)?;
        // Written last: a folder without it is an index that never came to be.
        meta.save(folder)?;
        Self::assemble(folder, meta, inner, fields, translog, 0, now)
    }

    /// Opens an index and replays its translog.
    pub(crate) fn open(folder: &Path, meta: Meta, now: i64) -> ApiResult<Self> {
        let (_, fields) = schema();
        let inner = tantivy::Index::open_in_dir(folder.join("segments"))?;
        let committed = committed_seq_no(&inner)?;
        let generation = translog::generations(folder)?.last().map_or(1, |last| last + 1);
        let translog = Translog::create(folder, generation)?;
        let index = Self::assemble(folder, meta, inner, fields, translog, committed, now)?;
        index.recover(&mut index.lock(), now)?;
        Ok(index)
    }

    fn assemble(
        folder: &Path,
        meta: Meta,
        inner: tantivy::Index,
        fields: Fields,
        translog: Translog,
        next_seq_no: u64,
        now: i64,
    ) -> ApiResult<Self> {
        let reader = inner
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(4)
            .num_warming_threads(1)
            .try_into()?;
        Ok(Self {
            name: meta.name.clone(),
            folder: folder.to_owned(),
            fields,
            inner,
            reader,
            meta: RwLock::new(Arc::new(meta)),
            state: Mutex::new(State {
                writer: None,
                translog,
                live: HashMap::new(),
                tombstones: HashMap::new(),
                next_seq_no,
                last_write: now,
                broken: false,
            }),
            dirty_since: AtomicI64::new(0),
            last_search: AtomicI64::new(0),
            last_refresh: AtomicI64::new(now),
            deleted: AtomicBool::new(false),
            indexed: AtomicU64::new(0),
            searched: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half-changed in a way that the translog does not repair.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about the index apart from its documents.
    pub(crate) fn meta(&self) -> Arc<Meta> {
        self.meta.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes settings, mapping or aliases, on disk first.
    pub(crate) fn change_meta(&self, change: impl FnOnce(&mut Meta) -> ApiResult<()>) -> ApiResult<()> {
        let mut guard = self.meta.write().unwrap_or_else(PoisonError::into_inner);
        let mut meta = Meta::clone(&guard);
        change(&mut meta)?;
        if meta != **guard {
            meta.save(&self.folder)?;
            *guard = Arc::new(meta);
        }
        Ok(())
    }

    /// Replays what the translog holds beyond the last commit, commits it and starts a new translog.
    fn recover(&self, state: &mut State, now: i64) -> ApiResult<()> {
        let committed = committed_seq_no(&self.inner)?;
        state.writer = None;
        state.live.clear();
        state.next_seq_no = state.next_seq_no.max(committed);
        let mapping = self.meta().mapping.clone();
        let mut replayed = 0_u64;
        let mut operations = Vec::new();
        let ending = translog::replay::<ApiError>(&self.folder, |operation| {
            if operation.seq_no >= committed {
                operations.push(operation);
            }
            if operations.len() >= 1_000 {
                replayed += self.replay_batch(state, &mapping, &std::mem::take(&mut operations), now)?;
            }
            Ok(())
        })?;
        replayed += self.replay_batch(state, &mapping, &operations, now)?;
        if ending == Ending::Torn {
            tracing::warn!(index = %self.name, "the translog ends in a torn entry, which was never acknowledged; it is cut off");
        }
        state.broken = false;
        if replayed > 0 {
            tracing::info!(index = %self.name, operations = replayed, "translog replayed");
            self.commit(state, now)?;
        } else {
            state.translog.rotate()?;
            state.translog.remove_older()?;
            self.dirty_since.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// Makes everything written so far searchable.
    pub(crate) fn refresh(&self, now: i64) -> ApiResult<()> {
        if self.dirty_since.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut state = self.lock();
        if self.dirty_since.load(Ordering::Acquire) == 0 || self.is_deleted() {
            return Ok(());
        }
        if state.broken {
            return self.recover(&mut state, now);
        }
        self.commit(&mut state, now)
    }

    fn commit(&self, state: &mut State, now: i64) -> ApiResult<()> {
        let committed = self.try_commit(state);
        if let Err(error) = committed {
            // Nothing is lost: the translog holds it. The writer is rebuilt before the next use.
            state.writer = None;
            state.broken = true;
            tracing::error!(index = %self.name, %error, "refresh did not succeed; it is tried again");
            return Err(ApiError::internal(format!("index [{}] cannot be refreshed: {error}", self.name)));
        }
        state.live.clear();
        state.tombstones.retain(|_, tombstone| now - tombstone.since < TOMBSTONE_MS);
        self.dirty_since.store(0, Ordering::Release);
        self.last_refresh.store(now, Ordering::Release);
        Ok(())
    }

    fn try_commit(&self, state: &mut State) -> tantivy::Result<()> {
        state.translog.rotate()?;
        if let Some(writer) = state.writer.as_mut() {
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&state.next_seq_no.to_string());
            prepared.commit()?;
        }
        self.reader.reload()?;
        state.translog.remove_older()?;
        Ok(())
    }

    /// The documents as a search sees them, refreshed first when a refresh is due.
    pub(crate) fn searcher(&self, now: i64) -> ApiResult<Searcher> {
        self.last_search.store(now, Ordering::Release);
        self.searched.fetch_add(1, Ordering::Relaxed);
        let dirty = self.dirty_since.load(Ordering::Acquire);
        if let (true, Some(interval)) = (dirty != 0, self.meta().refresh_interval())
            && now - dirty >= interval
        {
            self.refresh(now)?;
        }
        Ok(self.reader.searcher())
    }

    /// The documents as of the last refresh, for statistics.
    pub(crate) fn snapshot(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Housekeeping: refreshes when due, closes an idle writer. Says whether a writer is open.
    pub(crate) fn tick(&self, now: i64) -> bool {
        let dirty = self.dirty_since.load(Ordering::Acquire);
        let interval = self.meta().refresh_interval();
        let searched = now - self.last_search.load(Ordering::Acquire) < SEARCHED_MS;
        let due = match interval {
            Some(interval) => now - dirty >= if searched { interval } else { interval.max(UNSEARCHED_REFRESH_MS) },
            None => now - dirty >= WRITER_IDLE_MS,
        };
        if dirty != 0 && due {
            // The error is logged where it happens, and the next tick tries again.
            let _ = self.refresh(now);
        }
        let Ok(mut state) = self.state.try_lock() else { return true };
        if state.writer.is_none() {
            return false;
        }
        if self.dirty_since.load(Ordering::Acquire) == 0 {
            if now - state.last_write >= WRITER_IDLE_MS {
                self.close_writer(&mut state);
                return false;
            }
            // A merge that ended leaves files that the reader still holds.
            let _ = self.reader.reload();
        }
        true
    }

    /// Closes the writer when all it wrote is committed, to make room for another index's.
    pub(crate) fn release_writer(&self, now: i64) {
        if self.refresh(now).is_ok() {
            let mut state = self.lock();
            if self.dirty_since.load(Ordering::Acquire) == 0 {
                self.close_writer(&mut state);
            }
        }
    }

    fn close_writer(&self, state: &mut State) {
        if let Some(writer) = state.writer.take() {
            if let Err(error) = writer.wait_merging_threads() {
                tracing::warn!(index = %self.name, %error, "a merge did not succeed");
            }
            if let Err(error) = self.reader.reload() {
                tracing::warn!(index = %self.name, %error, "the reader cannot be reloaded");
            }
        }
    }

    /// Merges all segments into one.
    pub(crate) fn force_merge(&self, now: i64) -> ApiResult<()> {
        self.refresh(now)?;
        let mut state = self.lock();
        if self.is_deleted() || self.dirty_since.load(Ordering::Acquire) != 0 {
            return Ok(());
        }
        // Merges under way would take segments from under this one.
        self.close_writer(&mut state);
        let segments = self.inner.searchable_segment_ids()?;
        let with_deletes = self.reader.searcher().segment_readers().iter().any(tantivy::SegmentReader::has_deletes);
        if segments.len() > 1 || with_deletes {
            state.last_write = now;
            let writer = self.writer(&mut state)?;
            writer.merge(&segments).wait()?;
            writer.garbage_collect_files().wait()?;
            self.reader.reload()?;
        }
        Ok(())
    }

    fn writer<'a>(&self, state: &'a mut State) -> ApiResult<&'a mut IndexWriter> {
        if state.writer.is_none() {
            let options = tantivy::indexer::IndexWriterOptions::builder()
                .num_worker_threads(1)
                .num_merge_threads(1)
                .memory_budget_per_thread(WRITER_HEAP_BYTES)
                .build();
            let writer: IndexWriter = self.inner.writer_with_options(options)?;
            let mut policy = tantivy::merge_policy::LogMergePolicy::default();
            policy.set_del_docs_ratio_before_merge(0.3);
            writer.set_merge_policy(Box::new(policy));
            state.writer = Some(writer);
        }
        state.writer.as_mut().ok_or_else(|| ApiError::internal("the writer is closed"))
    }

    /// Whether the index has been deleted while someone still held it.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// When the index was last written to, in milliseconds since 1970.
    pub(crate) fn last_write(&self) -> i64 {
        self.lock().last_write
    }

    /// Removes the index from the disk.
    pub(crate) fn delete(&self) -> ApiResult<()> {
        self.deleted.store(true, Ordering::Release);
        let mut state = self.lock();
        state.writer = None;
        Meta::remove(&self.folder)?;
        // A merge that is under way may still put files into the folder.
        for _ in 0..REMOVALS {
            match std::fs::remove_dir_all(&self.folder) {
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                    std::thread::sleep(BETWEEN_REMOVALS);
                }
                removed => return Ok(removed?),
            }
        }
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }

    /// Bytes that the index takes on disk, without the translog.
    pub(crate) fn size(&self) -> u64 {
        let entries = std::fs::read_dir(self.folder.join("segments")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Commits and closes the writer, for an orderly stop.
    pub(crate) fn shutdown(&self, now: i64) {
        if self.refresh(now).is_ok() {
            // Merges are not waited for: they are redone when they are needed.
            self.lock().writer = None;
        }
    }
}

/// The sequence number up to which (not included) all operations are committed.
fn committed_seq_no(index: &tantivy::Index) -> ApiResult<u64> {
    let payload = index.load_metas()?.payload;
    Ok(payload.and_then(|payload| payload.parse().ok()).unwrap_or(0))
}
