//! `_bulk`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::admin::refresh_after;
use super::documents::{check_id, new_id, status_of, update_body, version_check, written_json};
use crate::error::{ApiError, ApiResult};
use crate::http::{Payload, Reply, Request};
use crate::index::{Action, Index, WriteRequest};
use crate::node::{Node, now};

/// One line pair of a bulk.
struct Item {
    /// `index`, `create`, `update` or `delete`.
    kind: &'static str,
    index: String,
    require_alias: bool,
    write: WriteRequest,
}

pub(super) fn bulk(node: &Node, request: &Request, default_index: Option<&str>) -> ApiResult<Reply> {
    request.allow(&["refresh", "timeout", "wait_for_active_shards", "require_alias", "pipeline", "include_source_on_error"])?;
    if request.text("pipeline").is_some_and(|pipeline| pipeline != "_none") {
        return Err(ApiError::unsupported("an ingest [pipeline]"));
    }
    let started = std::time::Instant::now();
    let require_alias = request.flag("require_alias")?.unwrap_or(false);
    let items = parse(&request.body, default_index, require_alias)?;
    if items.is_empty() {
        return Err(ApiError::new(400, "action_request_validation_exception", "Validation Failed: 1: no requests added;"));
    }
    let mut answers: Vec<Value> = Vec::with_capacity(items.len());
    let mut touched: Vec<Arc<Index>> = Vec::new();
    let mut failures = 0_u64;
    let mut rest = items.into_iter().peekable();
    while let Some(first) = rest.next() {
        // Consecutive items of one index are written together.
        let mut run = vec![first];
        while let Some(next) = rest.next_if(|next| next.index == run[0].index && next.require_alias == run[0].require_alias) {
            run.push(next);
        }
        write_run(node, run, &mut answers, &mut touched, &mut failures);
    }
    let forced = refresh_after(request.text("refresh"), &touched)?;
    if forced {
        for answer in &mut answers {
            for item in answer.as_object_mut().into_iter().flat_map(Map::values_mut) {
                if item.get("error").is_none() {
                    item["forced_refresh"] = true.into();
                }
            }
        }
    }
    node.counters.item_failures.fetch_add(failures, std::sync::atomic::Ordering::Relaxed);
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let answer = json!({"errors": failures > 0, "took": took, "items": answers});
    Ok(Reply { status: 200, payload: Payload::Raw(answer.to_string()) })
}

fn write_run(node: &Node, run: Vec<Item>, answers: &mut Vec<Value>, touched: &mut Vec<Arc<Index>>, failures: &mut u64) {
    let target = node.write_target(&run[0].index, run[0].require_alias);
    let name = run[0].index.clone();
    let mut heads: Vec<(&'static str, String, ApiResult<()>)> = Vec::with_capacity(run.len());
    let mut writes = Vec::with_capacity(run.len());
    for item in run {
        let checked = check_id(&item.write.id);
        heads.push((item.kind, item.write.id.clone(), checked.clone()));
        if checked.is_ok() {
            writes.push(item.write);
        }
    }
    let mut results = match &target {
        Ok(index) => index.write(&writes, node.limits.max_fields, now()),
        Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
    }
    .into_iter();
    for (kind, id, checked) in heads {
        let result = checked.and_then(|()| results.next().unwrap_or_else(|| Err(ApiError::internal("nothing was written"))));
        let shown = match (&target, result) {
            (Ok(index), Ok(written)) => {
                let mut shown = written_json(index, &id, &written);
                shown["status"] = status_of(written.outcome).into();
                shown
            }
            (target, Err(error)) => {
                *failures += 1;
                let index = target.as_ref().map_or(name.as_str(), |index| index.name.as_str());
                json!({"_index": index, "_id": id, "status": error.status, "error": error.cause(true)})
            }
            (Err(_), Ok(_)) => continue,
        };
        let mut answer = Map::new();
        answer.insert(kind.to_owned(), shown);
        answers.push(Value::Object(answer));
    }
    if let Ok(index) = target
        && !touched.iter().any(|known| known.name == index.name)
    {
        touched.push(index);
    }
}

fn malformed(reason: impl Into<String>) -> ApiError {
    ApiError::illegal(reason)
}

fn parse(body: &[u8], default_index: Option<&str>, require_alias: bool) -> ApiResult<Vec<Item>> {
    let mut items = Vec::new();
    if body.last().is_some_and(|last| *last != b'\n') {
        return Err(malformed("The bulk request must be terminated by a newline [\\n]"));
    }
    let mut lines = body.split(|byte| *byte == b'\n').enumerate();
    while let Some((number, line)) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line_number = number + 1;
        let action: Map<String, Value> = serde_json::from_slice(line).map_err(|_| {
            malformed(format!("Malformed action/metadata line [{line_number}], expected START_OBJECT or END_OBJECT but found [VALUE_STRING]"))
        })?;
        let mut entries = action.into_iter();
        let (Some((kind, meta)), None) = (entries.next(), entries.next()) else {
            return Err(malformed(format!("Malformed action/metadata line [{line_number}], expected FIELD_NAME but found [END_OBJECT]")));
        };
        let kind = match kind.as_str() {
            "index" => "index",
            "create" => "create",
            "update" => "update",
            "delete" => "delete",
            other => {
                return Err(malformed(format!(
                    "Malformed action/metadata line [{line_number}], expected field [create], [delete], [index] or [update] but found [{other}]"
                )));
            }
        };
        let source = if kind == "delete" {
            Vec::new()
        } else {
            let (_, source) = lines.next().ok_or_else(|| malformed(format!("Malformed action/metadata line [{line_number}], no source follows")))?;
            source.strip_suffix(b"\r").unwrap_or(source).to_vec()
        };
        items.push(item(kind, meta, source, default_index, require_alias, line_number)?);
    }
    Ok(items)
}

fn item(kind: &'static str, meta: Value, source: Vec<u8>, default_index: Option<&str>, mut require_alias: bool, line: usize) -> ApiResult<Item> {
    let Value::Object(meta) = meta else {
        return Err(malformed(format!("Malformed action/metadata line [{line}], expected START_OBJECT but found [VALUE_STRING]")));
    };
    let (mut index, mut id) = (default_index.map(str::to_owned), None);
    let (mut version, mut version_type, mut seq_no, mut term) = (None, None, None, None);
    let mut create = false;
    for (key, value) in &meta {
        match key.as_str() {
            "_index" => index = value.as_str().map(str::to_owned),
            "_id" if value.is_null() => {}
            "_id" => id = Some(crate::document::plain_text(value)),
            "version" => version = Some(number(value, key)?),
            "version_type" => version_type = value.as_str(),
            "if_seq_no" => seq_no = Some(number(value, key)?),
            "if_primary_term" => term = Some(number(value, key)?),
            "require_alias" => require_alias = value.as_bool().unwrap_or(require_alias),
            "op_type" => create = value == "create",
            "retry_on_conflict" | "dynamic_templates" if value.is_u64() || value.as_object().is_some_and(Map::is_empty) => {}
            "_source" if value.is_boolean() => {}
            "pipeline" | "routing" | "_source" | "dynamic_templates" | "list_executed_pipelines" => {
                return Err(ApiError::unsupported(format!("[{key}] in a bulk action")));
            }
            other => return Err(malformed(format!("Action/metadata line [{line}] contains an unknown parameter [{other}]"))),
        }
    }
    let index = index.ok_or_else(|| ApiError::new(400, "action_request_validation_exception", "Validation Failed: 1: index is missing;"))?;
    let check = version_check(version, version_type, seq_no, term)?;
    let fresh_id = id.is_none();
    if fresh_id && matches!(kind, "update" | "delete") {
        return Err(ApiError::new(400, "action_request_validation_exception", "Validation Failed: 1: id is missing;"));
    }
    let (action, source) = match kind {
        "create" => (Action::Create, source),
        "index" if create => (Action::Create, source),
        "index" => (Action::Index, source),
        "delete" => (Action::Delete, source),
        _ => update_body(serde_json::from_slice(&source).map_err(|error| malformed(format!("line [{}]: {error}", line + 1)))?)?,
    };
    let write = WriteRequest { id: id.unwrap_or_else(new_id), action, check, source, fresh_id };
    Ok(Item { kind: if kind == "index" && create { "create" } else { kind }, index, require_alias, write })
}

fn number(value: &Value, key: &str) -> ApiResult<u64> {
    let read = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    read.ok_or_else(|| malformed(format!("Failed to parse parameter [{key}] with value [{value}]")))
}
