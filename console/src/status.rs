//! What runs, what the data is, and how far behind the page is.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;
use weir_schemas::topics;
use weir_service::admin::Condition;
use weir_stream::TopicPartition;

use crate::api::Shared;
use crate::live::Following;
use crate::row::iso;

/// Pages ask every few seconds; the engine is asked at most this often.
const FRESH: Duration = Duration::from_secs(5);
/// How far back origins and clusters are looked for.
const LOOK_BACK_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// How long a broker or an engine may take before the status says that it does not know.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the engine said last.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Option<(Instant, Arc<Search>)>>);

/// What the documents say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Search {
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Start of the newest window of the last day, ISO 8601.
    newest: Option<String>,
    #[serde(skip)]
    origins: BTreeSet<String>,
    #[serde(skip)]
    clusters: BTreeSet<String>,
    #[serde(skip)]
    known: Option<bool>,
    /// Aggregation levels of the last day's flows.
    levels: BTreeSet<u64>,
}

#[derive(Debug, Serialize)]
struct Live {
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    records: u64,
    undecodable: u64,
    streams: usize,
    /// End of the newest window, ISO 8601.
    newest: Option<String>,
    /// Time since the end of the newest window, seconds.
    age_seconds: Option<i64>,
    /// Records of the topic that were not read yet; absent when the broker does not say.
    lag_records: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Cluster {
    /// Whether Kubernetes names are to be had; absent before the first flow.
    known: Option<bool>,
    names: BTreeSet<String>,
}

/// What `/api/status` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    now: String,
    ready: bool,
    conditions: Vec<Condition>,
    /// `demo` or `capture` when the data is not, or not only, what nodes saw; several joined by ` and `.
    label: Option<String>,
    cluster: Cluster,
    level: u8,
    search: Search,
    live: Live,
}

pub(crate) async fn status(shared: &Shared) -> Status {
    let now = Timestamp::now().as_millisecond();
    let (search, lag) = tokio::join!(search(shared, now), lag(shared));
    let following = shared.hub.following().clone();
    let report = shared.health.report();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        now: iso(now),
        ready: report.ready,
        conditions: report.conditions,
        label: label(search.origins.union(&following.origins)),
        cluster: Cluster {
            known: following.cluster_known.or(search.known),
            names: search.clusters.union(&following.clusters).cloned().collect(),
        },
        level: shared.level,
        live: live(&following, shared.hub.streams(), lag, now),
        search: Search::clone(&search),
    }
}

/// The label of data that no node saw.
fn label<'a>(origins: impl Iterator<Item = &'a String>) -> Option<String> {
    let labels: Vec<&str> = origins.map(String::as_str).filter(|origin| ["demo", "capture"].contains(origin)).collect();
    (!labels.is_empty()).then(|| labels.join(" and "))
}

fn live(following: &Following, streams: usize, lag_records: Option<i64>, now: i64) -> Live {
    Live {
        connected: following.connected,
        error: following.error.clone(),
        records: following.records,
        undecodable: following.undecodable,
        streams,
        newest: following.newest.map(iso),
        age_seconds: following.newest.map(|newest| now.saturating_sub(newest).max(0) / 1000),
        lag_records,
    }
}

/// Records behind the end of the topic.
async fn lag(shared: &Shared) -> Option<i64> {
    let positions = shared.hub.following().positions.clone();
    if positions.is_empty() {
        return None;
    }
    let ends = async {
        let mut behind = 0_i64;
        for (partition, position) in positions {
            let end = shared.log.log_end(&TopicPartition::new(topics::ENRICHED, partition)).await.ok()?;
            behind = behind.saturating_add(end.saturating_sub(position).max(0));
        }
        Some(behind)
    };
    timeout(PATIENCE, ends).await.ok().flatten()
}

/// What the documents say, not older than [`FRESH`].
async fn search(shared: &Shared, now: i64) -> Arc<Search> {
    let mut cache = shared.status.0.lock().await;
    if let Some((_, search)) = cache.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
        return Arc::clone(search);
    }
    let asked = timeout(PATIENCE, async {
        let engine = shared.elastic.info().await.ok().map(|info| format!("{} {}", info.distribution, info.version));
        (engine, shared.search(&question(now)).await)
    });
    let found = match asked.await {
        Ok((engine, Ok(answer))) => Search { engine, ..read(&answer) },
        Ok((engine, Err(problem))) => Search { engine, error: Some(problem.error().to_owned()), ..Search::default() },
        Err(_) => Search { error: Some("no answer in time".to_owned()), ..Search::default() },
    };
    let found = Arc::new(found);
    *cache = Some((Instant::now(), Arc::clone(&found)));
    found
}

/// The search for what the last day's flows are.
fn question(now: i64) -> Value {
    let terms = |field: &str| json!({"terms": {"field": field, "size": 16}});
    json!({
        "size": 1,
        "track_total_hits": false,
        "query": {"range": {"@timestamp": {"gte": now.saturating_sub(LOOK_BACK_MILLIS), "format": "epoch_millis"}}},
        "sort": [{"@timestamp": "desc"}],
        "aggs": {
            "origins": terms("weir.origin"),
            "clusters": terms("orchestrator.cluster.name"),
            "levels": terms("weir.level"),
        },
    })
}

/// Reads the answer to [`question`].
fn read(answer: &Value) -> Search {
    let buckets = |name: &str| {
        let buckets = answer["aggregations"][name]["buckets"].as_array();
        buckets.map(Vec::as_slice).unwrap_or_default()
    };
    let words =
        |name: &str| buckets(name).iter().filter_map(|bucket| bucket["key"].as_str()).map(str::to_owned).collect();
    let newest = &answer["hits"]["hits"][0]["_source"];
    Search {
        reachable: true,
        newest: newest["@timestamp"].as_str().map(str::to_owned),
        known: newest["weir"]["cluster_known"].as_bool(),
        origins: words("origins"),
        clusters: words("clusters"),
        levels: buckets("levels").iter().filter_map(|bucket| bucket["key"].as_u64()).collect(),
        ..Search::default()
    }
}
