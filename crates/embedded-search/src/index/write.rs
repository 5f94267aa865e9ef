//! Writing documents: versions, the translog, then the columns.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value};
use tantivy::schema::OwnedValue;
use tantivy::{TantivyDocument, Term};

use super::segments::{Finder, StoredDocument, load_document};
use super::{Index, LIVE_DOCUMENTS, Live, State, TOMBSTONES, TRANSLOG_BYTES, Tombstone};
use crate::document::{self, Extracted, Scalar};
use crate::error::{ApiError, ApiResult};
use crate::mapping::Mapping;
use crate::numbers::to_u64;
use crate::translog::Operation;

/// What to do with a document.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Writes it, whether it exists or not.
    Index,
    /// Writes it only if it does not exist.
    Create,
    /// Merges a partial document into it.
    Update {
        upsert: Option<Map<String, Value>>,
        doc_as_upsert: bool,
        detect_noop: bool,
    },
    Delete,
}

/// Which versions a write accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionCheck {
    None,
    /// `version_type=external`: the version must be higher than the one present.
    External(u64),
    /// `version_type=external_gte`: it must not be lower.
    ExternalGte(u64),
    /// `if_seq_no` and `if_primary_term`.
    SeqNo {
        seq_no: u64,
        primary_term: u64,
    },
}

/// One write.
#[derive(Debug, Clone)]
pub(crate) struct WriteRequest {
    pub(crate) id: String,
    pub(crate) action: Action,
    pub(crate) check: VersionCheck,
    /// The source as received; for an update the partial document.
    pub(crate) source: Vec<u8>,
    /// The id was made by the server: it cannot exist yet.
    pub(crate) fresh_id: bool,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Updated,
    Deleted,
    NotFound,
    Noop,
}

/// A write that was done.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) version: u64,
    pub(crate) seq_no: u64,
    pub(crate) outcome: Outcome,
}

/// What is known about a document before a write.
struct Current {
    version: u64,
    seq_no: u64,
    exists: bool,
}

/// A write that is checked and ready for the translog.
struct Prepared {
    position: usize,
    operation: Operation,
    document: Option<TantivyDocument>,
    outcome: Outcome,
    fresh_id: bool,
}

impl Index {
    /// Writes documents in order. Those that succeed are in the translog when this returns.
    pub(crate) fn write(&self, requests: &[WriteRequest], max_fields: usize, now: i64) -> Vec<ApiResult<Written>> {
        let mut state = self.lock();
        if let Err(error) = self.ready(&mut state, now) {
            return requests.iter().map(|_| Err(error.clone())).collect();
        }
        let finder = match Finder::new(&self.reader.searcher(), self.fields) {
            Ok(finder) => finder,
            Err(error) => return requests.iter().map(|_| Err(error.clone())).collect(),
        };
        // Versions within this call: later requests see earlier ones.
        let mut batch: foldhash::HashMap<&str, usize> = foldhash::HashMap::default();
        let mut prepared: Vec<Prepared> = Vec::with_capacity(requests.len());
        let mut results = Vec::with_capacity(requests.len());
        for (position, request) in requests.iter().enumerate() {
            let earlier =
                batch.get(request.id.as_str()).and_then(|at| prepared.get(*at)).map(|earlier| &earlier.operation);
            match self.prepare(&state, &finder, request, earlier, max_fields, now) {
                Ok(Step::Write(operation, document, outcome)) => {
                    let mut operation = operation;
                    operation.seq_no = state.next_seq_no;
                    state.next_seq_no += 1;
                    results.push(Ok(Written { version: operation.version, seq_no: operation.seq_no, outcome }));
                    batch.insert(&request.id, prepared.len());
                    prepared.push(Prepared { position, operation, document, outcome, fresh_id: request.fresh_id });
                }
                Ok(Step::Noop(written)) => results.push(Ok(written)),
                Err(error) => results.push(Err(error)),
            }
        }
        if let Err(error) = self.apply(&mut state, &prepared, now) {
            for failed in &prepared {
                results[failed.position] = Err(error.clone());
            }
        }
        results
    }

    fn ready(&self, state: &mut State, now: i64) -> ApiResult<()> {
        if self.is_deleted() {
            return Err(ApiError::index_not_found(&self.name));
        }
        if state.broken {
            self.recover(state, now)?;
        }
        if state.translog.length() >= TRANSLOG_BYTES || state.live.len() >= LIVE_DOCUMENTS {
            self.commit(state, now)?;
        }
        Ok(())
    }

    /// Writes to the translog and only then to the columns.
    fn apply(&self, state: &mut State, prepared: &[Prepared], now: i64) -> ApiResult<()> {
        if prepared.is_empty() {
            return Ok(());
        }
        // Opened first, so that a failure to open it leaves nothing in the translog.
        self.writer(state)?;
        let operations: Vec<Operation> = prepared.iter().map(|prepared| prepared.operation.clone()).collect();
        let offsets = state.translog.append(&operations)?;
        let _ = self.dirty_since.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire);
        state.last_write = now;
        self.indexed.fetch_add(to_u64(prepared.len()), Ordering::Relaxed);
        for (prepared, offset) in prepared.iter().zip(offsets) {
            let operation = &prepared.operation;
            // A failure here is repaired from the translog, which holds the operation already.
            let added = self.add(state, operation, prepared.document.clone(), prepared.fresh_id);
            if added.is_err() {
                state.broken = true;
                return Ok(());
            }
            self.remember(state, operation, prepared.outcome, offset, now);
        }
        Ok(())
    }

    fn remember(&self, state: &mut State, operation: &Operation, outcome: Outcome, offset: u64, now: i64) {
        let (version, seq_no) = (operation.version, operation.seq_no);
        let offset = operation.source.is_some().then_some(offset);
        if matches!(outcome, Outcome::Deleted | Outcome::NotFound) {
            if state.tombstones.len() < TOMBSTONES {
                state.tombstones.insert(operation.id.clone(), Tombstone { version, seq_no, since: now });
            }
        } else if !state.tombstones.is_empty() {
            state.tombstones.remove(&operation.id);
        }
        state.live.insert(operation.id.clone(), Live { version, seq_no, offset });
    }

    fn add(
        &self,
        state: &mut State,
        operation: &Operation,
        document: Option<TantivyDocument>,
        fresh_id: bool,
    ) -> ApiResult<()> {
        let fields = self.fields;
        let writer = self.writer(state)?;
        if !fresh_id {
            writer.delete_term(Term::from_field_text(fields.id, &operation.id));
        }
        if let Some(mut document) = document {
            document.add_u64(fields.seq_no, operation.seq_no);
            writer.add_document(document)?;
        }
        Ok(())
    }

    fn current(
        &self,
        state: &State,
        finder: &Finder,
        request: &WriteRequest,
        earlier: Option<&Operation>,
    ) -> ApiResult<Option<Current>> {
        if let Some(earlier) = earlier {
            return Ok(Some(Current {
                version: earlier.version,
                seq_no: earlier.seq_no,
                exists: earlier.source.is_some(),
            }));
        }
        if let Some(live) = state.live.get(&request.id) {
            return Ok(Some(Current { version: live.version, seq_no: live.seq_no, exists: live.offset.is_some() }));
        }
        if let Some(tombstone) = state.tombstones.get(&request.id) {
            return Ok(Some(Current { version: tombstone.version, seq_no: tombstone.seq_no, exists: false }));
        }
        let found = if request.fresh_id { None } else { finder.find(&request.id)? };
        Ok(found.map(|found| Current { version: found.version, seq_no: found.seq_no, exists: true }))
    }

    fn prepare(
        &self,
        state: &State,
        finder: &Finder,
        request: &WriteRequest,
        earlier: Option<&Operation>,
        max_fields: usize,
        now: i64,
    ) -> ApiResult<Step> {
        let current = self.current(state, finder, request, earlier)?;
        let exists = current.as_ref().is_some_and(|current| current.exists);
        let version = self.check(request, current.as_ref())?;
        let operation = |source| Operation { seq_no: 0, version, id: request.id.clone(), source };
        let source: Cow<'_, [u8]> = match &request.action {
            Action::Delete => {
                let outcome = if exists { Outcome::Deleted } else { Outcome::NotFound };
                return Ok(Step::Write(operation(None), None, outcome));
            }
            Action::Create if exists => {
                let present = current.map_or(0, |current| current.version);
                return Err(
                    self.conflict(&request.id, &format!("document already exists (current version [{present}])"))
                );
            }
            Action::Index | Action::Create => Cow::Borrowed(&request.source),
            Action::Update { upsert, doc_as_upsert, detect_noop } => {
                let present = match (exists, earlier) {
                    (false, _) => None,
                    (true, Some(earlier)) => earlier.source.clone(),
                    (true, None) => self.stored(state, finder, &request.id)?.map(|stored| stored.source),
                };
                match merge_update(&request.source, present.as_deref(), upsert.as_ref(), *doc_as_upsert)? {
                    None => return Err(self.missing(&request.id)),
                    Some(merged)
                        if *detect_noop && present.as_deref().is_some_and(|present| same_json(present, &merged)) =>
                    {
                        let (version, seq_no) = current.map_or((1, 0), |current| (current.version, current.seq_no));
                        return Ok(Step::Noop(Written { version, seq_no, outcome: Outcome::Noop }));
                    }
                    Some(merged) => Cow::Owned(merged),
                }
            }
        };
        let document = self.document(&request.id, version, &source, max_fields, now)?;
        let outcome = if exists { Outcome::Updated } else { Outcome::Created };
        Ok(Step::Write(operation(Some(source.into_owned())), Some(document), outcome))
    }

    /// The version that a write gets, or the conflict that it runs into.
    fn check(&self, request: &WriteRequest, current: Option<&Current>) -> ApiResult<u64> {
        let present = current.map_or(0, |current| current.version);
        match request.check {
            VersionCheck::None => Ok(present + 1),
            VersionCheck::External(version) if current.is_some() && version <= present => Err(self.conflict(
                &request.id,
                &format!("current version [{present}] is higher or equal to the one provided [{version}]"),
            )),
            VersionCheck::ExternalGte(version) if current.is_some() && version < present => Err(self.conflict(
                &request.id,
                &format!("current version [{present}] is higher than the one provided [{version}]"),
            )),
            VersionCheck::External(version) | VersionCheck::ExternalGte(version) => Ok(version),
            VersionCheck::SeqNo { seq_no, primary_term } => match current.filter(|current| current.exists) {
                Some(current) if current.seq_no == seq_no && primary_term == 1 => Ok(present + 1),
                found => {
                    let found = found.map_or("but no document was found".to_owned(), |current| {
                        format!("current document has seqNo [{}] and primary term [1]", current.seq_no)
                    });
                    Err(self.conflict(
                        &request.id,
                        &format!("required seqNo [{seq_no}], primary term [{primary_term}]. {found}"),
                    ))
                }
            },
        }
    }

    fn conflict(&self, id: &str, reason: &str) -> ApiError {
        ApiError::new(409, "version_conflict_engine_exception", format!("[{id}]: version conflict, {reason}"))
            .with("index_uuid", self.meta().uuid.clone())
            .with("shard", "0")
            .with("index", self.name.clone())
    }

    fn missing(&self, id: &str) -> ApiError {
        ApiError::new(404, "document_missing_exception", format!("[{id}]: document missing"))
            .with("index_uuid", self.meta().uuid.clone())
            .with("shard", "0")
            .with("index", self.name.clone())
    }

    /// Reads a source by the mapping, extending the mapping where it is dynamic.
    fn document(
        &self,
        id: &str,
        version: u64,
        source: &[u8],
        max_fields: usize,
        _now: i64,
    ) -> ApiResult<TantivyDocument> {
        let parsed = parse_source(source)?;
        let mut mapping = self.meta().mapping.clone();
        let mut extracted = document::extract(&mapping, &parsed, id)?;
        if !extracted.introduced.is_empty() {
            mapping = self.extend_mapping(&extracted, max_fields)?;
            extracted = document::extract(&mapping, &parsed, id)?;
        }
        Ok(self.assemble_document(id, version, source, extracted.values))
    }

    fn extend_mapping(&self, extracted: &Extracted, max_fields: usize) -> ApiResult<Arc<Mapping>> {
        self.change_meta(|meta| {
            let mut mapping = Mapping::clone(&meta.mapping);
            for (path, definition) in &extracted.introduced {
                mapping
                    .introduce(path, definition)
                    .map_err(|error| ApiError::new(400, "document_parsing_exception", error.reason))?;
            }
            mapping.check_limits(max_fields)?;
            meta.mapping = Arc::new(mapping);
            Ok(())
        })?;
        Ok(self.meta().mapping.clone())
    }

    fn assemble_document(
        &self,
        id: &str,
        version: u64,
        source: &[u8],
        values: Vec<(String, Scalar)>,
    ) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_text(self.fields.id, id);
        document.add_bytes(self.fields.source, source);
        document.add_u64(self.fields.version, version);
        let values = values.into_iter().map(|(column, scalar)| (column, owned(scalar))).collect();
        document.add_field_value(self.fields.values, &OwnedValue::Object(values));
        document
    }

    /// Puts recovered operations into the writer.
    pub(super) fn replay_batch(
        &self,
        state: &mut State,
        mapping: &Mapping,
        operations: &[Operation],
        now: i64,
    ) -> ApiResult<u64> {
        for operation in operations {
            let document = match &operation.source {
                None => None,
                Some(source) => {
                    let parsed = parse_source(source)?;
                    let values = document::extract(mapping, &parsed, &operation.id)?.values;
                    Some(self.assemble_document(&operation.id, operation.version, source, values))
                }
            };
            self.add(state, operation, document, false)?;
            state.next_seq_no = state.next_seq_no.max(operation.seq_no + 1);
            self.dirty_since.store(now.max(1), Ordering::Release);
        }
        Ok(to_u64(operations.len()))
    }

    fn stored(&self, state: &State, finder: &Finder, id: &str) -> ApiResult<Option<StoredDocument>> {
        if let Some(live) = state.live.get(id) {
            let Some(offset) = live.offset else { return Ok(None) };
            let operation = state.translog.read(offset)?;
            let source = operation.source.unwrap_or_default();
            return Ok(Some(StoredDocument { id: id.to_owned(), version: live.version, seq_no: live.seq_no, source }));
        }
        match finder.find(id)? {
            None => Ok(None),
            Some(found) => load_document(&self.reader.searcher(), self.fields, found.address).map(Some),
        }
    }

    /// The newest state of a document, searchable already or not.
    pub(crate) fn get(&self, id: &str, now: i64) -> ApiResult<Option<StoredDocument>> {
        let mut state = self.lock();
        self.ready(&mut state, now)?;
        let finder = Finder::new(&self.reader.searcher(), self.fields)?;
        self.stored(&state, &finder, id)
    }
}

/// What a request comes to.
enum Step {
    Write(Operation, Option<TantivyDocument>, Outcome),
    Noop(Written),
}

fn owned(scalar: Scalar) -> OwnedValue {
    match scalar {
        Scalar::Text(text) => OwnedValue::Str(text),
        Scalar::Float(number) => OwnedValue::F64(number),
        Scalar::Integer(number) => match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => OwnedValue::I64(number),
            (_, Ok(number)) => OwnedValue::U64(number),
            // Field types are within one of the two.
            _ => OwnedValue::Null,
        },
    }
}

fn parse_source(source: &[u8]) -> ApiResult<Map<String, Value>> {
    serde_json::from_slice(source)
        .map_err(|error| ApiError::new(400, "document_parsing_exception", format!("failed to parse: {error}")))
}

fn same_json(left: &[u8], right: &[u8]) -> bool {
    matches!((serde_json::from_slice::<Value>(left), serde_json::from_slice::<Value>(right)), (Ok(left), Ok(right)) if left == right)
}

/// The source after an update; `None` when there is no document and nothing to insert.
fn merge_update(
    doc: &[u8],
    present: Option<&[u8]>,
    upsert: Option<&Map<String, Value>>,
    doc_as_upsert: bool,
) -> ApiResult<Option<Vec<u8>>> {
    let doc = parse_source(doc)?;
    let merged = match (present, upsert) {
        (Some(present), _) => {
            let mut merged = parse_source(present)?;
            merge_objects(&mut merged, doc);
            merged
        }
        (None, _) if doc_as_upsert => doc,
        (None, Some(upsert)) => upsert.clone(),
        (None, None) => return Ok(None),
    };
    serde_json::to_vec(&merged).map(Some).map_err(ApiError::internal)
}

fn merge_objects(target: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (key, value) in changes {
        match (target.get_mut(&key), value) {
            (Some(Value::Object(target)), Value::Object(changes)) => merge_objects(target, changes),
            (_, value) => {
                target.insert(key, value);
            }
        }
    }
}
