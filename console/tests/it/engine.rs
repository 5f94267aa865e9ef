//! An Elasticsearch that holds documents in memory and knows the queries that the console sends; any other is refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

#[derive(Default)]
struct Inner {
    hits: Vec<Value>,
    asked: Vec<Value>,
    /// What to answer instead.
    fault: Option<(StatusCode, Value)>,
}

#[derive(Clone)]
pub(crate) struct Engine {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl Engine {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = Self { address: listener.local_addr().unwrap(), inner: Arc::default() };
        let app = Router::new()
            .route("/", get(async || Json(json!({"cluster_name": "c", "version": {"number": "9.1.0"}, "tagline": ""}))))
            .route("/weir-flows/_search", post(search))
            .layer(axum::middleware::map_response(async |mut response: axum::response::Response| {
                response.headers_mut().insert("x-elastic-product", "Elasticsearch".parse().unwrap());
                response
            }))
            .with_state(Arc::clone(&engine.inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        engine
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds these hits (`_id`, `_source`).
    pub(crate) fn hold(&self, hits: Vec<Value>) {
        self.inner.lock().unwrap().hits = hits;
    }

    pub(crate) fn fail(&self, fault: Option<(StatusCode, Value)>) {
        self.inner.lock().unwrap().fault = fault;
    }

    /// The bodies of all searches.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.inner.lock().unwrap().asked.clone()
    }
}

async fn search(State(inner): State<Arc<Mutex<Inner>>>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let mut inner = inner.lock().unwrap();
    inner.asked.push(body.clone());
    match &inner.fault {
        Some((status, answer)) => (*status, Json(answer.clone())),
        None => (StatusCode::OK, Json(answer(&inner.hits, &body))),
    }
}

fn sort_values(hit: &Value) -> (i64, i64) {
    let time: jiff::Timestamp = hit["_source"]["@timestamp"].as_str().unwrap().parse().unwrap();
    (time.as_millisecond(), hit["_source"]["weir"]["tiebreak"].as_i64().unwrap_or_default())
}

fn answer(hits: &[Value], body: &Value) -> Value {
    let mut found: Vec<&Value> = hits.iter().filter(|hit| holds(&body["query"], &hit["_source"])).collect();
    found.sort_by_key(|hit| std::cmp::Reverse(sort_values(hit)));
    let aggregations: serde_json::Map<String, Value> = body["aggs"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, aggregation)| (name.clone(), terms(&found, aggregation["terms"]["field"].as_str().unwrap())))
        .collect();
    if let Some(after) = body["search_after"].as_array() {
        let after = (after[0].as_i64().unwrap(), after[1].as_i64().unwrap());
        found.retain(|hit| sort_values(hit) < after);
    }
    let size = usize::try_from(body["size"].as_u64().unwrap()).unwrap();
    let page: Vec<Value> = found
        .iter()
        .take(size)
        .map(|hit| {
            let (time, tiebreak) = sort_values(hit);
            json!({"_id": hit["_id"], "_source": hit["_source"], "sort": [time, tiebreak]})
        })
        .collect();
    json!({"hits": {"hits": page}, "aggregations": aggregations})
}

fn terms(hits: &[&Value], field: &str) -> Value {
    let mut keys: Vec<Value> = hits.iter().flat_map(|hit| values(&hit["_source"], field)).collect();
    keys.sort_by_key(ToString::to_string);
    keys.dedup();
    json!({"buckets": keys.iter().map(|key| json!({"key": key, "doc_count": 1})).collect::<Vec<_>>()})
}

/// The values of a field, of which a document may hold several.
fn values(document: &Value, field: &str) -> Vec<Value> {
    match field.split('.').fold(document, |at, name| &at[name]) {
        Value::Null => Vec::new(),
        Value::Array(items) => items.clone(),
        single => vec![single.clone()],
    }
}

/// Whether a document matches a query.
pub(crate) fn holds(query: &Value, document: &Value) -> bool {
    let (kind, body) = query.as_object().unwrap().iter().next().unwrap();
    let single = || body.as_object().unwrap().iter().next().unwrap();
    let any = |test: &dyn Fn(&Value) -> bool| values(document, single().0).iter().any(test);
    match kind.as_str() {
        "bool" => {
            let clauses = |name: &str| body[name].as_array().cloned().unwrap_or_default();
            let filter = clauses("filter").iter().all(|clause| holds(clause, document));
            let should = clauses("should").iter().any(|clause| holds(clause, document));
            let not = clauses("must_not").iter().any(|clause| holds(clause, document));
            filter && !not && (should || body["minimum_should_match"].is_null())
        }
        "term" if single().0 == "related.ip" => {
            any(&|value| inside(value.as_str().unwrap(), single().1.as_str().unwrap()))
        }
        "term" => any(&|value| value == single().1),
        "exists" => values(document, body["field"].as_str().unwrap()).iter().any(|value| !value.is_null()),
        "terms" => any(&|value| single().1.as_array().unwrap().contains(value)),
        "prefix" => any(&|value| value.as_str().unwrap().starts_with(single().1.as_str().unwrap())),
        "wildcard" => any(&|value| fits(value.as_str().unwrap(), single().1["value"].as_str().unwrap())),
        "range" => {
            let (time, bounds) = (sort_values(&json!({"_source": document})).0, single().1);
            assert_eq!(bounds["format"], "epoch_millis");
            bounds["gte"].as_i64().is_none_or(|gte| time >= gte) && bounds["lt"].as_i64().is_none_or(|lt| time < lt)
        }
        other => panic!("query {other} is not known"),
    }
}

/// `*` at either end only.
fn fits(text: &str, pattern: &str) -> bool {
    let pattern = pattern.strip_prefix('*').unwrap();
    match pattern.strip_suffix('*') {
        Some(inside) => text.contains(inside),
        None => text.ends_with(pattern),
    }
}

fn inside(address: &str, block: &str) -> bool {
    let (net, prefix) = block.split_once('/').unwrap_or((block, ""));
    let bits = |text: &str| match text.parse().unwrap() {
        IpAddr::V4(address) => format!("4{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("6{:0128b}", address.to_bits()),
    };
    let (net, address) = (bits(net), bits(address));
    let length = prefix.parse::<usize>().map_or(net.len(), |prefix| prefix + 1);
    address.starts_with(&net[..length])
}
