//! Refresh, flush, merge and aliases.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{LENIENCE, lenience, names};
use crate::error::{ApiError, ApiResult};
use crate::http::{Reply, Request};
use crate::index::Index;
use crate::node::{AliasAction, Lenience, Node, glob_matches, now};

/// Refreshes what a write touched, if the request asks for it. Says whether it was forced.
pub(super) fn refresh_after(wanted: Option<&str>, touched: &[Arc<Index>]) -> ApiResult<bool> {
    let forced = match wanted {
        None | Some("false") => return Ok(false),
        Some("" | "true") => true,
        Some("wait_for") => false,
        Some(other) => return Err(ApiError::illegal(format!("Unknown value for refresh: [{other}]."))),
    };
    for index in touched {
        index.refresh(now())?;
    }
    Ok(forced)
}

fn on_each(
    node: &Node,
    request: &Request,
    expression: &str,
    params: &[&str],
    act: impl Fn(&Index) -> ApiResult<()>,
) -> ApiResult<Reply> {
    request.allow(&names(&[&LENIENCE, params]))?;
    let found = node.resolve(expression, lenience(request, Lenience::default())?)?;
    let mut copies = 0;
    for index in &found {
        act(index)?;
        copies += index.meta().copies();
    }
    Ok(Reply::ok(json!({"_shards": {"total": copies, "successful": found.len(), "failed": 0}})))
}

pub(super) fn refresh(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    on_each(node, request, expression, &["force"], |index| index.refresh(now()))
}

pub(super) fn flush(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    on_each(node, request, expression, &["force", "wait_if_ongoing"], |index| index.refresh(now()))
}

pub(super) fn force_merge(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    let params = ["max_num_segments", "only_expunge_deletes", "flush", "wait_for_completion"];
    on_each(node, request, expression, &params, |index| index.force_merge(now()))
}

pub(super) fn get_aliases(node: &Node, request: &Request, expression: &str, alias: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&LENIENCE, &["local", "master_timeout"]]))?;
    let found = node.resolve(expression, lenience(request, Lenience::default())?)?;
    let patterns: Vec<&str> = alias.split(',').map(|part| if part == "_all" { "*" } else { part }).collect();
    let mut shown = Map::new();
    let mut missing: Vec<&str> = patterns.iter().copied().filter(|pattern| !pattern.contains('*')).collect();
    for index in found {
        let meta = index.meta();
        let aliases: BTreeMap<_, _> = meta
            .aliases
            .iter()
            .filter(|(name, _)| patterns.iter().any(|pattern| glob_matches(pattern, name)))
            .collect();
        missing.retain(|name| !aliases.keys().any(|alias| alias == name));
        if !aliases.is_empty()
            || (alias == "*" && expression != "*" && request.path.last().is_some_and(|last| last.starts_with("_alias")))
        {
            shown.insert(index.name.clone(), json!({"aliases": aliases}));
        }
    }
    if missing.is_empty() {
        return Ok(if request.method == Method::HEAD { Reply::empty(200) } else { Reply::ok(Value::Object(shown)) });
    }
    if request.method == Method::HEAD {
        return Ok(Reply::empty(404));
    }
    let plural = if missing.len() > 1 { "aliases" } else { "alias" };
    shown.insert("error".into(), format!("{plural} [{}] missing", missing.join(",")).into());
    shown.insert("status".into(), 404.into());
    Ok(Reply::json(404, Value::Object(shown)))
}

pub(super) fn put_alias(node: &Node, request: &Request, expression: &str, alias: &str) -> ApiResult<Reply> {
    request.allow(&["timeout", "master_timeout"])?;
    let found =
        node.resolve(expression, Lenience { aliases: false, allow_no_indices: false, ..Lenience::default() })?;
    let properties = request.json()?.as_object().cloned().unwrap_or_default();
    let actions: Vec<AliasAction> = found
        .into_iter()
        .map(|index| AliasAction::Add { index, alias: alias.to_owned(), properties: properties.clone() })
        .collect();
    node.change_aliases(&actions)?;
    Ok(Reply::ok(json!({"acknowledged": true})))
}

pub(super) fn delete_alias(node: &Node, request: &Request, expression: &str, alias: &str) -> ApiResult<Reply> {
    request.allow(&["timeout", "master_timeout"])?;
    let found = node.resolve(expression, Lenience { aliases: false, ..Lenience::default() })?;
    remove_checked(&found, alias)?;
    let actions: Vec<AliasAction> =
        found.into_iter().map(|index| AliasAction::Remove { index, alias: alias.to_owned() }).collect();
    node.change_aliases(&actions)?;
    Ok(Reply::ok(json!({"acknowledged": true, "errors": false})))
}

fn remove_checked(indices: &[Arc<Index>], alias: &str) -> ApiResult<()> {
    let present = |index: &Arc<Index>| index.meta().aliases.keys().any(|name| glob_matches(alias, name));
    if indices.iter().any(present) {
        return Ok(());
    }
    Err(ApiError::new(404, "aliases_not_found_exception", format!("aliases [{alias}] missing"))
        .with("resource.type", "aliases")
        .with("resource.id", alias))
}

pub(super) fn change_aliases(node: &Node, request: &Request) -> ApiResult<Reply> {
    request.allow(&["timeout", "master_timeout"])?;
    let body = request.json()?;
    let mut changes = Vec::new();
    let mut removed: Vec<Arc<Index>> = Vec::new();
    let actions = body["actions"].as_array().ok_or_else(|| {
        ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: Must specify at least one alias action;",
        )
    })?;
    for action in actions {
        let Some((kind, details)) = action.as_object().and_then(|action| action.iter().next()) else {
            return Err(ApiError::parsing("an alias action must be an object with one key"));
        };
        let texts = |one: &str, many: &str| -> Vec<String> {
            let values = [details.get(one), details.get(many)].into_iter().flatten();
            values
                .flat_map(|value| match value {
                    Value::Array(values) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                    Value::String(text) => vec![text.clone()],
                    _ => Vec::new(),
                })
                .collect()
        };
        let lenience = Lenience { aliases: false, allow_no_indices: false, ..Lenience::default() };
        let indices = node.resolve(&texts("index", "indices").join(","), lenience)?;
        let mut properties = details.as_object().cloned().unwrap_or_default();
        for key in ["index", "indices", "alias", "aliases", "must_exist"] {
            properties.remove(key);
        }
        for alias in texts("alias", "aliases") {
            match kind.as_str() {
                "add" => changes.extend(indices.iter().map(|index| AliasAction::Add {
                    index: index.clone(),
                    alias: alias.clone(),
                    properties: properties.clone(),
                })),
                "remove" => {
                    remove_checked(&indices, &alias)?;
                    changes.extend(
                        indices.iter().map(|index| AliasAction::Remove { index: index.clone(), alias: alias.clone() }),
                    );
                }
                other => return Err(ApiError::parsing(format!("[alias_action] unknown field [{other}]"))),
            }
        }
        if kind == "remove_index" {
            removed.extend(indices);
        }
    }
    node.change_aliases(&changes)?;
    node.delete(&removed)?;
    Ok(Reply::ok(json!({"acknowledged": true, "errors": false})))
}
