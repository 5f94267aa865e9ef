//! The paths of Elasticsearch's REST interface.

mod admin;
mod bulk;
mod cat;
mod documents;
mod indices;
mod root;
mod searching;
mod stats;
mod templates;

use axum::http::Method;

use crate::error::{ApiError, ApiResult};
use crate::http::{Reply, Request};
use crate::node::{Lenience, Node};

/// Answers a request.
pub(crate) fn route(node: &Node, request: &Request) -> ApiResult<Reply> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match path.first() {
        None => root::info(node, request),
        Some(first) if first.starts_with('_') && *first != "_all" => cluster_level(node, request, &path),
        Some(_) => index_level(node, request, &path),
    }
}

fn cluster_level(node: &Node, request: &Request, path: &[&str]) -> ApiResult<Reply> {
    let (get, post, put, delete, head) = methods(request);
    match path {
        ["_bulk"] if post || put => bulk::bulk(node, request, None),
        ["_search"] if get || post => searching::search(node, request, ""),
        ["_msearch"] if get || post => searching::msearch(node, request, ""),
        ["_count"] if get || post => searching::count(node, request, ""),
        ["_mget"] if get || post => documents::mget(node, request, None),
        ["_refresh"] if get || post => admin::refresh(node, request, ""),
        ["_flush"] if get || post => admin::flush(node, request, ""),
        ["_forcemerge"] if post => admin::force_merge(node, request, ""),
        ["_stats" | "_stats,_all"] | ["_stats", _] if get => stats::indices(node, request, ""),
        ["_aliases"] if post => admin::change_aliases(node, request),
        ["_alias" | "_aliases"] if get => admin::get_aliases(node, request, "", "*"),
        ["_alias", alias] if get || head => admin::get_aliases(node, request, "", alias),
        ["_mapping" | "_mappings"] if get => indices::get_mapping(node, request, ""),
        ["_settings"] if get => indices::get_settings(node, request, ""),
        ["_index_template"] if get => templates::get(node, request, "*"),
        ["_index_template", name] if put || post => templates::put(node, request, name),
        ["_index_template", name] if get || head => templates::get(node, request, name),
        ["_index_template", name] if delete => templates::delete(node, request, name),
        ["_resolve", "index", expression] if get => indices::resolve(node, request, expression),
        ["_pit"] if delete => searching::close_pit(node, request),
        ["_cat", rest @ ..] if get => cat::route(node, request, rest),
        ["_cluster", "health", rest @ ..] if get => stats::health(node, request, rest.first().copied().unwrap_or("")),
        ["_cluster", "settings"] if get => stats::cluster_settings(request),
        ["_nodes", ..] if get => stats::nodes(node, request, &path[1..]),
        _ => Err(no_handler(request)),
    }
}

fn index_level(node: &Node, request: &Request, path: &[&str]) -> ApiResult<Reply> {
    let (get, post, put, delete, head) = methods(request);
    match path {
        [name] if put => indices::create(node, request, name),
        [name] if delete => indices::delete(node, request, name),
        [name] if head => indices::exists(node, request, name),
        [name] if get => indices::get(node, request, name),
        [name, "_doc", id] if put || post => documents::index(node, request, name, Some(id)),
        [name, "_doc"] if post => documents::index(node, request, name, None),
        [name, "_create", id] if put || post => documents::create(node, request, name, id),
        [name, "_doc", id] if get || head => documents::get(node, request, name, id),
        [name, "_source", id] if get || head => documents::get_source(node, request, name, id),
        [name, "_doc", id] if delete => documents::delete(node, request, name, id),
        [name, "_update", id] if post => documents::update(node, request, name, id),
        [name, "_bulk"] if post || put => bulk::bulk(node, request, Some(name)),
        [name, "_mget"] if get || post => documents::mget(node, request, Some(name)),
        [name, "_search"] if get || post => searching::search(node, request, name),
        [name, "_msearch"] if get || post => searching::msearch(node, request, name),
        [name, "_count"] if get || post => searching::count(node, request, name),
        [name, "_pit"] if post => searching::open_pit(node, request, name),
        [name, "_refresh"] if get || post => admin::refresh(node, request, name),
        [name, "_flush"] if get || post => admin::flush(node, request, name),
        [name, "_forcemerge"] if post => admin::force_merge(node, request, name),
        [name, "_stats"] | [name, "_stats", _] if get => stats::indices(node, request, name),
        [name, "_mapping" | "_mappings"] if get => indices::get_mapping(node, request, name),
        [name, "_mapping" | "_mappings"] if put || post => indices::put_mapping(node, request, name),
        [name, "_settings"] | [name, "_settings", _] if get => indices::get_settings(node, request, name),
        [name, "_settings"] if put => indices::put_settings(node, request, name),
        [name, "_alias" | "_aliases"] if get => admin::get_aliases(node, request, name, "*"),
        [name, "_alias" | "_aliases", alias] if get || head => admin::get_aliases(node, request, name, alias),
        [name, "_alias" | "_aliases", alias] if put || post => admin::put_alias(node, request, name, alias),
        [name, "_alias" | "_aliases", alias] if delete => admin::delete_alias(node, request, name, alias),
        _ => Err(no_handler(request)),
    }
}

fn methods(request: &Request) -> (bool, bool, bool, bool, bool) {
    let is = |method: Method| request.method == method;
    (is(Method::GET), is(Method::POST), is(Method::PUT), is(Method::DELETE), is(Method::HEAD))
}

fn no_handler(request: &Request) -> ApiError {
    ApiError::illegal(format!(
        "no handler found for uri [{}] and method [{}] in Weir's embedded search server, which serves a part of Elasticsearch's interface",
        request.uri, request.method
    ))
}

/// Parameters that say what to do about names that mean nothing.
const LENIENCE: [&str; 3] = ["ignore_unavailable", "allow_no_indices", "expand_wildcards"];

fn lenience(request: &Request, default: Lenience) -> ApiResult<Lenience> {
    let mut lenience = default;
    if let Some(value) = request.flag("ignore_unavailable")? {
        lenience.ignore_unavailable = value;
    }
    if let Some(value) = request.flag("allow_no_indices")? {
        lenience.allow_no_indices = value;
    }
    if let Some(value) = request.text("expand_wildcards") {
        lenience.expand_wildcards = value.split(',').any(|word| word == "open" || word == "all");
    }
    Ok(lenience)
}

/// Joins lists of parameter names.
fn names<'a>(lists: &[&[&'a str]]) -> Vec<&'a str> {
    lists.concat()
}
