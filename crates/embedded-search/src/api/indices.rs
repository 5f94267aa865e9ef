//! Creating, showing and deleting indices, their mappings and settings.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{LENIENCE, lenience, names};
use crate::error::{ApiError, ApiResult};
use crate::http::{Reply, Request};
use crate::index::{Index, flatten_settings};
use crate::mapping::Mapping;
use crate::node::{Lenience, Node, glob_matches};

const TIMEOUTS: [&str; 4] = ["timeout", "master_timeout", "wait_for_active_shards", "local"];

pub(super) fn create(node: &Node, request: &Request, name: &str) -> ApiResult<Reply> {
    request.allow(&TIMEOUTS)?;
    let index = node.create(name, &request.json()?)?;
    Ok(Reply::ok(json!({"acknowledged": true, "shards_acknowledged": true, "index": index.name})))
}

pub(super) fn delete(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&TIMEOUTS, &LENIENCE]))?;
    let lenience = lenience(request, Lenience { aliases: false, ..Lenience::default() })?;
    if expression.contains('*') || expression.split(',').any(|part| part == "_all") {
        // As Elasticsearch's action.destructive_requires_name, which is on by default.
        return Err(ApiError::illegal("Wildcard expressions or all indices are not allowed"));
    }
    let found = node.resolve(expression, lenience)?;
    node.delete(&found)?;
    Ok(Reply::ok(json!({"acknowledged": true})))
}

pub(super) fn exists(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&TIMEOUTS, &LENIENCE, &["flat_settings", "include_defaults"]]))?;
    let lenience = lenience(request, Lenience::default())?;
    match node.resolve(expression, lenience) {
        Ok(_) => Ok(Reply::empty(200)),
        Err(error) if error.status == 404 => Ok(Reply::empty(404)),
        Err(error) => Err(error),
    }
}

fn each(node: &Node, request: &Request, expression: &str, show: impl Fn(&Index) -> Value) -> ApiResult<Reply> {
    request.allow(&names(&[&TIMEOUTS, &LENIENCE, &["flat_settings", "include_defaults", "features"]]))?;
    let found = node.resolve(expression, lenience(request, Lenience::default())?)?;
    let shown: Map<String, Value> = found.iter().map(|index| (index.name.clone(), show(index))).collect();
    Ok(Reply::ok(Value::Object(shown)))
}

pub(super) fn get(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    each(node, request, expression, |index| {
        let meta = index.meta();
        json!({"aliases": meta.aliases, "mappings": meta.mapping.to_json(), "settings": meta.settings_json()})
    })
}

pub(super) fn get_mapping(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    each(node, request, expression, |index| json!({"mappings": index.meta().mapping.to_json()}))
}

pub(super) fn get_settings(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    each(node, request, expression, |index| json!({"settings": index.meta().settings_json()}))
}

pub(super) fn put_mapping(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&TIMEOUTS, &LENIENCE, &["write_index_only"]]))?;
    let found =
        node.resolve(expression, lenience(request, Lenience { allow_no_indices: false, ..Lenience::default() })?)?;
    node.put_mapping(&found, &Mapping::parse(&request.json()?)?)?;
    Ok(Reply::ok(json!({"acknowledged": true})))
}

pub(super) fn put_settings(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    const CHANGEABLE: [&str; 8] = [
        "refresh_interval",
        "number_of_replicas",
        "max_result_window",
        "lifecycle.",
        "priority",
        "translog.",
        "auto_expand_replicas",
        "mapping.total_fields.limit",
    ];
    request.allow(&names(&[&TIMEOUTS, &LENIENCE, &["preserve_existing", "flat_settings"]]))?;
    let found =
        node.resolve(expression, lenience(request, Lenience { allow_no_indices: false, ..Lenience::default() })?)?;
    let body = request.json()?;
    let body = body.get("settings").unwrap_or(&body);
    let mut changes = std::collections::BTreeMap::new();
    flatten_settings(body, &mut changes);
    let allowed = |name: &String| {
        CHANGEABLE.iter().any(|known| name == known || (known.ends_with('.') && name.starts_with(known)))
    };
    if let Some(name) = changes.keys().find(|name| !allowed(name)) {
        return Err(ApiError::illegal(format!(
            "Can't update non dynamic settings [[index.{name}]] for open indices, or it is not supported"
        )));
    }
    for index in &found {
        index.change_meta(|meta| {
            meta.settings.extend(changes.clone());
            Ok(())
        })?;
    }
    Ok(Reply::ok(json!({"acknowledged": true})))
}

pub(super) fn resolve(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&LENIENCE)?;
    let found: Vec<Arc<Index>> = node.resolve(expression, lenience(request, Lenience::default())?)?;
    let mut aliases: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    let mut indices = Vec::new();
    for index in node.all() {
        for alias in
            index.meta().aliases.keys().filter(|alias| expression.split(',').any(|part| glob_matches(part, alias)))
        {
            aliases.entry(alias.clone()).or_default().push(index.name.clone());
        }
    }
    for index in
        found.iter().filter(|index| expression.split(',').any(|part| part == "_all" || glob_matches(part, &index.name)))
    {
        let mut shown = json!({"name": index.name, "attributes": ["open"]});
        let meta = index.meta();
        if !meta.aliases.is_empty() {
            shown["aliases"] = meta.aliases.keys().cloned().collect();
        }
        indices.push(shown);
    }
    let aliases: Vec<Value> =
        aliases.into_iter().map(|(name, indices)| json!({"name": name, "indices": indices})).collect();
    Ok(Reply::ok(json!({"indices": indices, "aliases": aliases, "data_streams": []})))
}
