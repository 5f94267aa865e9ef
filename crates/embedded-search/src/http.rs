//! HTTP: reading requests, limits, writing answers.

mod filter;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use tokio::sync::Semaphore;

pub(crate) use self::request::{Request, parse_json};
use crate::api;
use crate::error::{ApiError, ApiResult};
use crate::node::{Node, count};

/// What a request is answered with.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) payload: Payload,
}

/// The body of an answer.
pub(crate) enum Payload {
    Json(Value),
    /// JSON that is already written out.
    Raw(String),
    Text(String),
    Empty,
}

impl Reply {
    pub(crate) fn ok(json: Value) -> Self {
        Self { status: 200, payload: Payload::Json(json) }
    }

    pub(crate) fn json(status: u16, json: Value) -> Self {
        Self { status, payload: Payload::Json(json) }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, payload: Payload::Empty }
    }
}

struct Gate {
    node: Arc<Node>,
    running: Semaphore,
    waiting: AtomicUsize,
    inflight_bytes: AtomicUsize,
}

/// The server's one route: all paths go to [`api::route`].
pub(crate) fn router(node: Arc<Node>) -> Router {
    let running = Semaphore::new(node.limits.max_concurrent_requests);
    let gate = Gate { node, running, waiting: AtomicUsize::new(0), inflight_bytes: AtomicUsize::new(0) };
    Router::new().fallback(handle).with_state(Arc::new(gate))
}

/// Gives back what a request had taken of a limit, also when its client goes away.
struct Held<'a>(&'a AtomicUsize, usize);

impl<'a> Held<'a> {
    fn take(counter: &'a AtomicUsize, amount: usize, most: usize) -> Option<Self> {
        let before = counter.fetch_add(amount, Ordering::AcqRel);
        let held = Self(counter, amount);
        (before.saturating_add(amount) <= most || before == 0).then_some(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

async fn handle(State(gate): State<Arc<Gate>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let head = parts.method == Method::HEAD;
    let vendor = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("vnd.elasticsearch+json"));
    count(&gate.node.counters.requests);
    let request = Request::new(&parts.method, &parts.uri);
    let answered = match answer(&gate, request, &parts.headers, body).await {
        Ok(reply) => reply,
        Err(error) => {
            count(&gate.node.counters.refused);
            Reply::json(error.status, error.body())
        }
    };
    respond(answered, head, vendor)
}

async fn answer(gate: &Arc<Gate>, request: ApiResult<Request>, headers: &HeaderMap, body: Body) -> ApiResult<Reply> {
    let mut request = request?;
    let limits = &gate.node.limits;
    let overloaded = |what: &str| {
        count(&gate.node.counters.overloaded);
        ApiError::new(429, "es_rejected_execution_exception", format!("rejected execution: {what}"))
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    // A body whose length is not said is charged for as a large one, though not as the largest.
    let unsaid = if headers.contains_key(header::TRANSFER_ENCODING) { limits.max_body_bytes / 8 } else { 0 };
    let _bytes = Held::take(&gate.inflight_bytes, length.unwrap_or(unsaid), limits.max_inflight_bytes)
        .ok_or_else(|| overloaded("too many bytes of requests under way"))?;
    let too_large = || {
        count(&gate.node.counters.bodies_too_large);
        ApiError::new(
            413,
            "content_too_long_exception",
            format!("entity content is too long, more than [{}] bytes", limits.max_body_bytes),
        )
    };
    if length.is_some_and(|length| length > limits.max_body_bytes) {
        return Err(too_large());
    }
    let _waiting = Held::take(&gate.waiting, 1, limits.max_waiting_requests + limits.max_concurrent_requests)
        .ok_or_else(|| overloaded("too many requests under way"))?;
    request.body = axum::body::to_bytes(body, limits.max_body_bytes).await.map_err(|error| {
        let too_long =
            std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("length limit"));
        if too_long { too_large() } else { ApiError::illegal(format!("the body cannot be read: {error}")) }
    })?;
    check_headers(&request, headers)?;
    let compressed = is_gzip(headers);
    let most = limits.max_body_bytes;
    let _permit = gate.running.acquire().await.map_err(ApiError::internal)?;
    let node = gate.node.clone();
    let filter = request.params.get("filter_path").cloned();
    let answered = tokio::task::spawn_blocking(move || {
        if compressed {
            request.body = inflate(&request.body, most)?;
        }
        api::route(&node, &request)
    });
    let reply = answered.await.map_err(|error| {
        tracing::error!(%error, "a request did not finish");
        ApiError::internal("the request did not finish; see the log")
    })??;
    match filter {
        Some(filter) => filter::apply(reply, &filter),
        None => Ok(reply),
    }
}

fn is_gzip(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    matches!(encoding.to_ascii_lowercase().as_str(), "gzip" | "x-gzip")
}

/// Decompresses a body that may not become longer than `most` bytes.
fn inflate(body: &[u8], most: usize) -> ApiResult<bytes::Bytes> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut whole = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(flate2::read::MultiGzDecoder::new(body), limit), &mut whole)
        .map_err(|error| ApiError::illegal(format!("the body is not gzip: {error}")))?;
    if whole.len() > most {
        let reason = format!("entity content is too long, more than [{most}] bytes");
        return Err(ApiError::new(413, "content_too_long_exception", reason));
    }
    Ok(whole.into())
}

fn check_headers(request: &Request, headers: &HeaderMap) -> ApiResult<()> {
    if request.body.is_empty() {
        return Ok(());
    }
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default().to_lowercase();
    let encoding = text(header::CONTENT_ENCODING);
    if !matches!(encoding.as_str(), "" | "identity" | "gzip" | "x-gzip") {
        return Err(ApiError::new(
            415,
            "media_type_header_exception",
            format!(
                "Content-Encoding [{encoding}] is not supported by Weir's embedded search server; send gzip, or the body uncompressed"
            ),
        ));
    }
    let content = text(header::CONTENT_TYPE);
    let media = content.split(';').next().unwrap_or_default().trim();
    match media {
        "application/json"
        | "application/x-ndjson"
        | "application/vnd.elasticsearch+json"
        | "application/vnd.elasticsearch+x-ndjson" => Ok(()),
        _ => Err(ApiError::new(
            406,
            "media_type_header_exception",
            format!("Content-Type header [{content}] is not supported"),
        )),
    }
}

fn respond(reply: Reply, head: bool, vendor: bool) -> Response {
    let json = if vendor { "application/vnd.elasticsearch+json;compatible-with=9" } else { "application/json" };
    let (content, body) = match reply.payload {
        Payload::Json(value) => (json, value.to_string()),
        Payload::Raw(text) => (json, text),
        Payload::Text(text) => ("text/plain; charset=UTF-8", text),
        Payload::Empty => ("", String::new()),
    };
    let body = if head { Body::empty() } else { Body::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("x-elastic-product", HeaderValue::from_static("Elasticsearch"));
    if !content.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    }
    response
}
