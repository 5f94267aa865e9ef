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
    request.allow(&[
        "refresh",
        "timeout",
        "wait_for_active_shards",
        "require_alias",
        "pipeline",
        "include_source_on_error",
    ])?;
    if request.text("pipeline").is_some_and(|pipeline| pipeline != "_none") {
        return Err(ApiError::unsupported("an ingest [pipeline]"));
    }
    let started = std::time::Instant::now();
    let require_alias = request.flag("require_alias")?.unwrap_or(false);
    let items = parse(&request.body, default_index, require_alias)?;
    if items.is_empty() {
        return Err(ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: no requests added;",
        ));
    }
    let (mut answers, touched, failures) = write_all(node, items);
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

/// The items of one index, each with its place in the answer.
struct Group {
    target: ApiResult<Arc<Index>>,
    items: Vec<(usize, Item)>,
}

/// Writes all items, those of each index in order and together. Gives the answers in the order of
/// the items, the indices that were written to, and how many items were refused.
fn write_all(node: &Node, items: Vec<Item>) -> (Vec<Value>, Vec<Arc<Index>>, u64) {
    let mut answers = vec![Value::Null; items.len()];
    let mut groups: Vec<Group> = Vec::new();
    // A name stands for its group; two names of one index share theirs.
    let mut by_name: foldhash::HashMap<(String, bool), usize> = foldhash::HashMap::default();
    for (position, item) in items.into_iter().enumerate() {
        let name = (item.index.clone(), item.require_alias);
        let group = *by_name.entry(name).or_insert_with(|| {
            let target = node.write_target(&item.index, item.require_alias);
            let same =
                |group: &Group| matches!((&group.target, &target), (Ok(known), Ok(index)) if known.name == index.name);
            groups.iter().position(same).unwrap_or_else(|| {
                groups.push(Group { target, items: Vec::new() });
                groups.len() - 1
            })
        });
        groups[group].items.push((position, item));
    }
    let mut failures = 0;
    let mut touched = Vec::new();
    for Group { target, items } in groups {
        failures += write_group(node, &target, items, &mut answers);
        touched.extend(target);
    }
    (answers, touched, failures)
}

fn write_group(node: &Node, target: &ApiResult<Arc<Index>>, items: Vec<(usize, Item)>, answers: &mut [Value]) -> u64 {
    let mut heads = Vec::with_capacity(items.len());
    let mut writes = Vec::with_capacity(items.len());
    for (position, item) in items {
        let checked = check_id(&item.write.id);
        let is_fine = checked.is_ok();
        heads.push((position, item.kind, item.index, item.write.id.clone(), checked));
        if is_fine {
            writes.push(item.write);
        }
    }
    let mut results = match target {
        Ok(index) => index.write(&writes, node.limits.max_fields, now()),
        Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
    }
    .into_iter();
    let mut failures = 0;
    for (position, kind, name, id, checked) in heads {
        let mut next = || results.next().unwrap_or_else(|| Err(ApiError::internal("nothing was written")));
        let name = target.as_ref().map_or(name, |index| index.name.clone());
        let shown = match (target, checked.and_then(|()| next()).as_ref()) {
            (Ok(index), Ok(written)) => {
                let mut shown = written_json(index, &id, written);
                shown["status"] = status_of(written.outcome).into();
                shown
            }
            (Err(error), Ok(_)) | (_, Err(error)) => {
                failures += 1;
                json!({"_index": name, "_id": id, "status": error.status, "error": error.cause(true)})
            }
        };
        let mut answer = Map::new();
        answer.insert(kind.to_owned(), shown);
        if let Some(slot) = answers.get_mut(position) {
            *slot = Value::Object(answer);
        }
    }
    failures
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
            return Err(malformed(format!(
                "Malformed action/metadata line [{line_number}], expected FIELD_NAME but found [END_OBJECT]"
            )));
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
            let (_, source) = lines.next().ok_or_else(|| {
                malformed(format!("Malformed action/metadata line [{line_number}], no source follows"))
            })?;
            source.strip_suffix(b"\r").unwrap_or(source).to_vec()
        };
        items.push(item(kind, meta, source, default_index, require_alias, line_number)?);
    }
    Ok(items)
}

fn item(
    kind: &'static str,
    meta: Value,
    source: Vec<u8>,
    default_index: Option<&str>,
    mut require_alias: bool,
    line: usize,
) -> ApiResult<Item> {
    let Value::Object(meta) = meta else {
        return Err(malformed(format!(
            "Malformed action/metadata line [{line}], expected START_OBJECT but found [VALUE_STRING]"
        )));
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
            "retry_on_conflict" | "dynamic_templates"
                if value.is_u64() || value.as_object().is_some_and(Map::is_empty) => {}
            "_source" if value.is_boolean() => {}
            "pipeline" | "routing" | "_source" | "dynamic_templates" | "list_executed_pipelines" => {
                return Err(ApiError::unsupported(format!("[{key}] in a bulk action")));
            }
            other => {
                return Err(malformed(format!(
                    "Action/metadata line [{line}] contains an unknown parameter [{other}]"
                )));
            }
        }
    }
    let index = index.ok_or_else(|| {
        ApiError::new(400, "action_request_validation_exception", "Validation Failed: 1: index is missing;")
    })?;
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
        _ => update_body(
            serde_json::from_slice(&source).map_err(|error| malformed(format!("line [{}]: {error}", line + 1)))?,
        )?,
    };
    // As the engines have it: a delete with an external version makes its index whatever this says.
    let require_alias = require_alias && kind != "delete";
    let write = WriteRequest { id: id.unwrap_or_else(new_id), action, check, source, fresh_id };
    Ok(Item { kind: if kind == "index" && create { "create" } else { kind }, index, require_alias, write })
}

fn number(value: &Value, key: &str) -> ApiResult<u64> {
    let read = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    read.ok_or_else(|| malformed(format!("Failed to parse parameter [{key}] with value [{value}]")))
}
