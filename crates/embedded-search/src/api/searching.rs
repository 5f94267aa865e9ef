//! `_search`, `_msearch`, `_count` and points in time.

use std::sync::PoisonError;
use std::time::Instant;

use serde_json::{Value, json};

use super::{LENIENCE, lenience, names};
use crate::error::{ApiError, ApiResult};
use crate::http::{Payload, Reply, Request};
use crate::node::{Lenience, Node, now};
use crate::search::request::{PARAMS, SearchRequest, keep_alive};
use crate::search::{self, Searched, query};

fn searched(node: &Node, expression: &str, lenience: Lenience) -> ApiResult<Vec<Searched>> {
    let found = node.resolve(expression, lenience)?;
    found
        .into_iter()
        .map(|index| Ok(Searched { meta: index.meta(), searcher: index.searcher(now())?, index }))
        .collect()
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn run(
    node: &Node,
    expression: &str,
    lenience: Lenience,
    request: &SearchRequest,
    as_number: bool,
) -> ApiResult<String> {
    let started = Instant::now();
    let (indices, pit) = match &request.pit {
        None => (searched(node, expression, lenience)?, None),
        Some(_) if !expression.is_empty() => {
            let reason = "Validation Failed: 1: [indices] cannot be used with point in time. Do not specify any index with point in time.;";
            return Err(ApiError::new(400, "action_request_validation_exception", reason));
        }
        Some((id, keep_alive)) => {
            let pit = node.pits.lock().unwrap_or_else(PoisonError::into_inner).get(id, *keep_alive, now())?;
            let open = pit.indices.into_iter();
            (
                open.map(|(index, searcher)| Searched { meta: index.meta(), searcher, index }).collect(),
                Some(id.as_str()),
            )
        }
    };
    let found = search::run(&indices, request, &node.limits, now()).inspect_err(|error| {
        if error.kind == "too_many_buckets_exception" || error.kind == "circuit_breaking_exception" {
            crate::node::count(&node.counters.buckets_refused);
        }
    })?;
    Ok(search::print(found, millis(started), pit, as_number))
}

pub(super) fn search(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&LENIENCE, &PARAMS]))?;
    let mut wanted = SearchRequest::parse(&request.json()?, &node.limits)?;
    wanted.take_params(request, &node.limits)?;
    let as_number = request.flag("rest_total_hits_as_int")?.unwrap_or(false);
    let text = run(node, expression, lenience(request, Lenience::default())?, &wanted, as_number)?;
    Ok(Reply { status: 200, payload: Payload::Raw(text) })
}

pub(super) fn msearch(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    const MOST: usize = 1_000;
    request.allow(&["max_concurrent_searches", "rest_total_hits_as_int", "search_type", "pre_filter_shard_size"])?;
    let started = Instant::now();
    let as_number = request.flag("rest_total_hits_as_int")?.unwrap_or(false);
    let mut answers = Vec::new();
    let mut lines = request.body.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace));
    while let Some(head) = lines.next() {
        let body = lines
            .next()
            .ok_or_else(|| ApiError::illegal("The msearch request must be terminated by a newline [\\n]"))?;
        if answers.len() >= MOST {
            return Err(ApiError::illegal(format!("more than [{MOST}] searches in one _msearch")));
        }
        let one = || -> ApiResult<String> {
            let head = crate::http::parse_json(head)?;
            let mut lenience = Lenience::default();
            let mut target = expression.to_owned();
            for (key, value) in head.as_object().into_iter().flatten() {
                match key.as_str() {
                    "index" | "indices" => {
                        target = match value {
                            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                            other => crate::document::plain_text(other),
                        }
                    }
                    "ignore_unavailable" => lenience.ignore_unavailable = value.as_bool().unwrap_or(false),
                    "allow_no_indices" => lenience.allow_no_indices = value.as_bool().unwrap_or(true),
                    "preference" | "search_type" | "request_cache" => {}
                    other => return Err(ApiError::unsupported(format!("[{other}] in the head of a search"))),
                }
            }
            run(
                node,
                &target,
                lenience,
                &SearchRequest::parse(&crate::http::parse_json(body)?, &node.limits)?,
                as_number,
            )
        };
        answers.push(match one() {
            Ok(text) => format!("{},\"status\":200}}", text.strip_suffix('}').unwrap_or(&text)),
            Err(error) => error.body().to_string(),
        });
    }
    let text = format!("{{\"took\":{},\"responses\":[{}]}}", millis(started), answers.join(","));
    Ok(Reply { status: 200, payload: Payload::Raw(text) })
}

pub(super) fn count(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&LENIENCE, &["preference"]]))?;
    let body = request.json()?;
    let map = body.as_object().ok_or_else(|| ApiError::parsing("the body must be an object"))?;
    if let Some(key) = map.keys().find(|key| *key != "query") {
        return Err(ApiError::parsing(format!("request does not support [{key}]")));
    }
    let query = map.get("query").map_or(Ok(query::Query::All), |json| query::parse(json, &node.limits))?;
    let indices = searched(node, expression, lenience(request, Lenience::default())?)?;
    let count = search::count(&indices, &query, now())?;
    Ok(Reply::ok(
        json!({"count": count, "_shards": {"total": indices.len(), "successful": indices.len(), "skipped": 0, "failed": 0}}),
    ))
}

pub(super) fn open_pit(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&LENIENCE, &["keep_alive", "preference", "routing", "allow_partial_search_results"]]))?;
    let wanted = request.text("keep_alive").ok_or_else(|| {
        ApiError::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: [keep_alive] is not specified;",
        )
    })?;
    let keep_alive = keep_alive(wanted)?;
    let indices = searched(node, expression, lenience(request, Lenience::default())?)?;
    let shards = indices.len();
    let open = indices.into_iter().map(|searched| (searched.index, searched.searcher)).collect();
    let id =
        node.pits.lock().unwrap_or_else(PoisonError::into_inner).open(open, keep_alive, now(), node.limits.max_pits)?;
    Ok(Reply::ok(json!({"id": id, "_shards": {"total": shards, "successful": shards, "skipped": 0, "failed": 0}})))
}

pub(super) fn close_pit(node: &Node, request: &Request) -> ApiResult<Reply> {
    request.allow(&[])?;
    let body = request.json()?;
    let ids: Vec<String> = match &body["id"] {
        Value::String(id) => vec![id.clone()],
        Value::Array(ids) => ids.iter().map(crate::document::plain_text).collect(),
        _ => return Err(ApiError::illegal("Required [id]")),
    };
    let mut pits = node.pits.lock().unwrap_or_else(PoisonError::into_inner);
    let freed = ids.iter().filter(|id| pits.close(id)).count();
    let status = if freed == 0 { 404 } else { 200 };
    Ok(Reply::json(status, json!({"succeeded": true, "num_freed": freed})))
}
