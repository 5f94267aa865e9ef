//! Single documents.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::admin::refresh_after;
use crate::error::{ApiError, ApiResult};
use crate::http::{Payload, Reply, Request};
use crate::index::{Action, Index, Outcome, StoredDocument, VersionCheck, WriteRequest, Written};
use crate::node::{Node, now};
use crate::search::SourceFilter;

const WRITE: [&str; 10] = [
    "refresh",
    "timeout",
    "wait_for_active_shards",
    "version",
    "version_type",
    "if_seq_no",
    "if_primary_term",
    "op_type",
    "require_alias",
    "retry_on_conflict",
];
/// The longest `_id`, in bytes.
const MAX_ID_BYTES: usize = 512;

/// A new id, as short and url-safe as Elasticsearch's.
pub(super) fn new_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = uuid::Uuid::new_v4().as_u128();
    let mut id = String::with_capacity(20);
    for _ in 0..20 {
        let digit = u8::try_from(bits & 63).unwrap_or(0);
        id.push(char::from(ALPHABET[usize::from(digit)]));
        bits >>= 6;
    }
    id
}

pub(super) fn check_id(id: &str) -> ApiResult<()> {
    if id.is_empty() {
        return Err(ApiError::illegal("if _id is specified it must not be empty"));
    }
    if id.len() > MAX_ID_BYTES {
        let reason = format!(
            "Validation Failed: 1: id [{id}] is too long, must be no longer than {MAX_ID_BYTES} bytes but was: {};",
            id.len()
        );
        return Err(ApiError::new(400, "action_request_validation_exception", reason));
    }
    Ok(())
}

/// Reads `version`, `version_type`, `if_seq_no` and `if_primary_term`.
pub(super) fn version_check(
    version: Option<u64>,
    kind: Option<&str>,
    seq_no: Option<u64>,
    term: Option<u64>,
) -> ApiResult<VersionCheck> {
    let invalid = |reason: &str| {
        ApiError::new(400, "action_request_validation_exception", format!("Validation Failed: 1: {reason};"))
    };
    match (kind, version, seq_no, term) {
        (None | Some("internal"), None, None, None) => Ok(VersionCheck::None),
        (None | Some("internal"), None, Some(seq_no), Some(primary_term)) => {
            Ok(VersionCheck::SeqNo { seq_no, primary_term })
        }
        (None | Some("internal"), None, _, _) => Err(invalid("ifSeqNo is unassigned, but primary term is assigned")),
        (None | Some("internal"), Some(_), _, _) => Err(invalid(
            "internal versioning can not be used for optimistic concurrency control. Please use `if_seq_no` and `if_primary_term` instead",
        )),
        (Some("external" | "external_gt"), Some(version), None, None) => Ok(VersionCheck::External(version)),
        (Some("external_gte"), Some(version), None, None) => Ok(VersionCheck::ExternalGte(version)),
        (Some("external" | "external_gt" | "external_gte"), _, _, _) => {
            Err(invalid("illegal version value [-3] for version type [EXTERNAL]"))
        }
        (Some(other), _, _, _) => Err(ApiError::illegal(format!("No version type match [{other}]"))),
    }
}

/// What a write is answered with, in a bulk and alone.
pub(super) fn written_json(index: &Index, id: &str, written: &Written) -> Value {
    let result = match written.outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Deleted => "deleted",
        Outcome::NotFound => "not_found",
        Outcome::Noop => "noop",
    };
    let copies = if written.outcome == Outcome::Noop { 0 } else { index.meta().copies() };
    json!({"_index": index.name, "_id": id, "_version": written.version, "result": result,
        "_shards": {"total": copies, "successful": copies.min(1), "failed": 0}, "_seq_no": written.seq_no, "_primary_term": 1})
}

pub(super) fn status_of(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Created => 201,
        Outcome::NotFound => 404,
        Outcome::Updated | Outcome::Deleted | Outcome::Noop => 200,
    }
}

fn write(node: &Node, request: &Request, name: &str, write: WriteRequest) -> ApiResult<Reply> {
    check_id(&write.id)?;
    let must_exist = matches!(write.action, Action::Delete)
        && !matches!(write.check, VersionCheck::External(_) | VersionCheck::ExternalGte(_));
    if must_exist && node.index(name).is_none() && node.with_alias(name).is_empty() {
        return Err(ApiError::index_not_found(name));
    }
    let index = node.write_target(name, request.flag("require_alias")?.unwrap_or(false))?;
    let id = write.id.clone();
    let mut results = index.write(&[write], node.limits.max_fields, now());
    let written = results.pop().unwrap_or_else(|| Err(ApiError::internal("nothing was written")))?;
    let mut answer = written_json(&index, &id, &written);
    if refresh_after(request.text("refresh"), std::slice::from_ref(&index))? {
        answer["forced_refresh"] = true.into();
    }
    Ok(Reply::json(status_of(written.outcome), answer))
}

fn check_of(request: &Request) -> ApiResult<VersionCheck> {
    version_check(
        request.number("version")?,
        request.text("version_type"),
        request.number("if_seq_no")?,
        request.number("if_primary_term")?,
    )
}

pub(super) fn index(node: &Node, request: &Request, name: &str, id: Option<&str>) -> ApiResult<Reply> {
    request.allow(&WRITE)?;
    let action = match request.text("op_type") {
        Some("create") => Action::Create,
        None | Some("index") => Action::Index,
        Some(other) => return Err(ApiError::illegal(format!("opType must be 'create' or 'index', found: [{other}]"))),
    };
    let fresh_id = id.is_none();
    let id = id.map_or_else(new_id, str::to_owned);
    write(
        node,
        request,
        name,
        WriteRequest { id, action, check: check_of(request)?, source: request.body.to_vec(), fresh_id },
    )
}

pub(super) fn create(node: &Node, request: &Request, name: &str, id: &str) -> ApiResult<Reply> {
    request.allow(&WRITE)?;
    let source = request.body.to_vec();
    write(
        node,
        request,
        name,
        WriteRequest { id: id.to_owned(), action: Action::Create, check: check_of(request)?, source, fresh_id: false },
    )
}

pub(super) fn delete(node: &Node, request: &Request, name: &str, id: &str) -> ApiResult<Reply> {
    request.allow(&WRITE)?;
    let write_request = WriteRequest {
        id: id.to_owned(),
        action: Action::Delete,
        check: check_of(request)?,
        source: Vec::new(),
        fresh_id: false,
    };
    write(node, request, name, write_request)
}

/// Reads the body of an update: the action and the partial document.
pub(super) fn update_body(json: Value) -> ApiResult<(Action, Vec<u8>)> {
    let Value::Object(mut map) = json else {
        return Err(ApiError::parsing("an update must be an object"));
    };
    let doc = map.remove("doc");
    let upsert = match map.remove("upsert") {
        Some(Value::Object(upsert)) => Some(upsert),
        None => None,
        Some(_) => return Err(ApiError::parsing("[UpdateRequest] upsert doesn't support values that are not objects")),
    };
    let flag = |value: Option<Value>| value.and_then(|value| value.as_bool());
    let doc_as_upsert = flag(map.remove("doc_as_upsert")).unwrap_or(false);
    let detect_noop = flag(map.remove("detect_noop")).unwrap_or(true);
    if let Some(key) = map.keys().next() {
        return Err(match key.as_str() {
            "script" | "scripted_upsert" => ApiError::unsupported("[script] in an update"),
            other => {
                ApiError::new(400, "x_content_parse_exception", format!("[UpdateRequest] unknown field [{other}]"))
            }
        });
    }
    let Some(doc @ Value::Object(_)) = doc else {
        return Err(ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: script or doc is missing;",
        ));
    };
    Ok((Action::Update { upsert, doc_as_upsert, detect_noop }, doc.to_string().into_bytes()))
}

pub(super) fn update(node: &Node, request: &Request, name: &str, id: &str) -> ApiResult<Reply> {
    request.allow(&WRITE)?;
    let (action, source) = update_body(request.json()?)?;
    write(
        node,
        request,
        name,
        WriteRequest { id: id.to_owned(), action, check: check_of(request)?, source, fresh_id: false },
    )
}

fn single(node: &Node, name: &str) -> ApiResult<std::sync::Arc<Index>> {
    if let Some(index) = node.index(name) {
        return Ok(index);
    }
    match &node.with_alias(name)[..] {
        [] => Err(ApiError::index_not_found(name)),
        [only] => Ok(only.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|index| index.name.as_str()).collect();
            Err(ApiError::illegal(format!(
                "alias [{name}] has more than one index associated with it [{}], can't execute a single index op",
                names.join(", ")
            )))
        }
    }
}

const READ: [&str; 9] = [
    "_source",
    "_source_includes",
    "_source_excludes",
    "realtime",
    "refresh",
    "preference",
    "routing",
    "version",
    "stored_fields",
];

/// A document's JSON text, filtered if that was asked for.
pub(crate) fn source_text(source: &[u8], filter: &SourceFilter) -> ApiResult<Option<Box<RawValue>>> {
    filter.apply(source)
}

fn found_json(index: &Index, stored: &StoredDocument, filter: &SourceFilter) -> ApiResult<String> {
    let source = match source_text(&stored.source, filter)? {
        Some(raw) => format!(",\"_source\":{}", raw.get()),
        None => String::new(),
    };
    Ok(format!(
        "{{\"_index\":{},\"_id\":{},\"_version\":{},\"_seq_no\":{},\"_primary_term\":1,\"found\":true{source}}}",
        json!(index.name),
        json!(stored.id),
        stored.version,
        stored.seq_no
    ))
}

pub(super) fn get(node: &Node, request: &Request, name: &str, id: &str) -> ApiResult<Reply> {
    request.allow(&READ)?;
    let index = single(node, name)?;
    let filter = SourceFilter::from_params(request)?;
    match index.get(id, now())? {
        Some(stored) => Ok(Reply { status: 200, payload: Payload::Raw(found_json(&index, &stored, &filter)?) }),
        None => Ok(Reply::json(404, json!({"_index": index.name, "_id": id, "found": false}))),
    }
}

pub(super) fn get_source(node: &Node, request: &Request, name: &str, id: &str) -> ApiResult<Reply> {
    request.allow(&READ)?;
    let index = single(node, name)?;
    let filter = SourceFilter::from_params(request)?;
    match index.get(id, now())? {
        Some(stored) => {
            let text =
                source_text(&stored.source, &filter)?.map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
            Ok(Reply { status: 200, payload: Payload::Raw(text) })
        }
        None => Err(ApiError::new(
            404,
            "resource_not_found_exception",
            format!("Document not found [{}]/[{id}]", index.name),
        )),
    }
}

pub(super) fn mget(node: &Node, request: &Request, name: Option<&str>) -> ApiResult<Reply> {
    request.allow(&READ)?;
    let body = request.json()?;
    let filter = SourceFilter::from_params(request)?;
    let mut wanted: Vec<(String, String)> = Vec::new();
    let missing =
        || ApiError::new(400, "action_request_validation_exception", "Validation Failed: 1: no documents to get;");
    for id in body["ids"].as_array().into_iter().flatten() {
        wanted.push((name.ok_or_else(missing)?.to_owned(), crate::document::plain_text(id)));
    }
    for doc in body["docs"].as_array().into_iter().flatten() {
        let map: &Map<String, Value> = doc.as_object().ok_or_else(missing)?;
        if let Some(key) = map.keys().find(|key| *key != "_id" && *key != "_index") {
            return Err(ApiError::unsupported(format!("[{key}] in a document of _mget")));
        }
        let index = map.get("_index").and_then(Value::as_str).or(name).ok_or_else(missing)?;
        wanted.push((index.to_owned(), crate::document::plain_text(map.get("_id").ok_or_else(missing)?)));
    }
    if wanted.is_empty() {
        return Err(missing());
    }
    let mut shown = Vec::with_capacity(wanted.len());
    for (name, id) in wanted {
        let found = single(node, &name).and_then(|index| Ok((index.get(&id, now())?, index)));
        shown.push(match found {
            Ok((Some(stored), index)) => found_json(&index, &stored, &filter)?,
            Ok((None, index)) => json!({"_index": index.name, "_id": id, "found": false}).to_string(),
            Err(error) => json!({"_index": name, "_id": id, "error": error.body()["error"]}).to_string(),
        });
    }
    Ok(Reply { status: 200, payload: Payload::Raw(format!("{{\"docs\":[{}]}}", shown.join(","))) })
}
