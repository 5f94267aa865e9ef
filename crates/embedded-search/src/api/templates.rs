//! `_index_template`.

use axum::http::Method;
use serde_json::{Value, json};

use crate::error::{ApiError, ApiResult};
use crate::http::{Reply, Request};
use crate::node::Node;

pub(super) fn put(node: &Node, request: &Request, name: &str) -> ApiResult<Reply> {
    request.allow(&["create", "cause", "master_timeout"])?;
    node.put_template(name, &request.json()?, request.flag("create")?.unwrap_or(false))?;
    Ok(Reply::ok(json!({"acknowledged": true})))
}

fn missing(name: &str) -> ApiError {
    ApiError::new(404, "resource_not_found_exception", format!("index template matching [{name}] not found"))
}

pub(super) fn get(node: &Node, request: &Request, pattern: &str) -> ApiResult<Reply> {
    request.allow(&["flat_settings", "local", "master_timeout", "include_defaults"])?;
    let mut found = Vec::new();
    for part in pattern.split(',') {
        let templates = node.templates(part);
        if templates.is_empty() && !part.contains('*') {
            return if request.method == Method::HEAD { Ok(Reply::empty(404)) } else { Err(missing(part)) };
        }
        found.extend(templates);
    }
    let shown: Vec<Value> = found.iter().map(|(name, template)| template.to_json(name)).collect();
    Ok(Reply::ok(json!({"index_templates": shown})))
}

pub(super) fn delete(node: &Node, request: &Request, pattern: &str) -> ApiResult<Reply> {
    request.allow(&["master_timeout", "timeout"])?;
    for part in pattern.split(',') {
        if node.delete_templates(part)? == 0 && !part.contains('*') {
            return Err(missing(part).reworded(format!("index_template [{part}] missing")));
        }
    }
    Ok(Reply::ok(json!({"acknowledged": true})))
}
