//! The connection: requests, fail-over between hosts, and a method for each thing that services ask.

use crate::bulk::{self, Answer, Body};
use crate::error::{Error, ErrorKind};
use crate::inventory::{self, Block, IndexInfo, InventoryError, NodeDisk, ShardCopy};
use crate::settings::{self, ElasticSettings, Host};
use bytes::Bytes;
use elasticsearch::http::headers::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::warn;

pub use elasticsearch::http::Method;

/// Patterns that match nothing are no error.
pub(crate) const LENIENT: [(&str, &str); 2] = [("ignore_unavailable", "true"), ("allow_no_indices", "true")];
/// What of a bulk's answer is asked for: statuses and causes, not a copy of every id.
const BULK_FIELDS: &str =
    "took,errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason";

/// A connection to one cluster. Clones are cheap and share hosts and connections.
#[derive(Clone, Debug)]
pub struct Elastic {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hosts: Vec<Host>,
    /// The host that answered last; every request starts with it.
    current: AtomicUsize,
}

/// Which engine it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// `elasticsearch`, `opensearch` or what else the server calls itself.
    pub distribution: String,
    /// Its version, e.g. `9.1.0`.
    pub version: String,
    /// The cluster's name.
    pub cluster_name: String,
}

/// Whether an index had to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// It was there already; nothing about it was changed.
    Existing,
}

/// Whether an index had to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It was not there.
    Missing,
}

/// A whole answer with a success status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The host that answered.
    pub host: Arc<str>,
    /// HTTP status, 200 to 299.
    pub status: u16,
    /// The answer.
    pub body: Bytes,
}

/// One request.
pub(crate) struct Request<'a> {
    operation: &'static str,
    method: Method,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    body: Option<Bytes>,
    content: &'static str,
    /// Sent to Kibana and OpenSearch Dashboards, which want a header against forged requests.
    for_dashboards: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(operation: &'static str, method: Method, path: &'a str) -> Self {
        Self { operation, method, path, query: &[], body: None, content: "application/json", for_dashboards: false }
    }

    pub(crate) fn for_dashboards(self) -> Self {
        Self { for_dashboards: true, ..self }
    }

    pub(crate) fn query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self { body: Some(Bytes::from(body.to_string())), ..self }
    }
}

impl Elastic {
    /// Prepares a connection: checks the settings and reads the files that they name. Does not touch the network.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn new(settings: &ElasticSettings) -> Result<Self, Error> {
        let hosts = settings::hosts(settings)?;
        Ok(Self { shared: Arc::new(Shared { hosts, current: AtomicUsize::new(0) }) })
    }

    /// The hosts, without credentials.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<str>> {
        self.shared.hosts.iter().map(|h| h.name.clone()).collect()
    }

    /// Any other request; `path` begins with `/`. Every request of this type may be sent twice (fail-over), so it must
    /// be one that may be repeated.
    ///
    /// # Errors
    /// When no host answers with a success.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<Reply, Error> {
        self.send(&Request { body, ..Request::new("request", method, path).query(query) }).await
    }

    /// Which engine it is.
    ///
    /// # Errors
    /// When it does not answer, or is no search engine.
    pub async fn info(&self) -> Result<Info, Error> {
        let reply = self.send(&Request::new("info", Method::Get, "/")).await?;
        let answer: InfoAnswer = parse("info", &reply)?;
        Ok(Info {
            distribution: answer.version.distribution.unwrap_or_else(|| "elasticsearch".to_owned()),
            version: answer.version.number,
            cluster_name: answer.cluster_name,
        })
    }

    /// Creates or replaces a composable index template.
    ///
    /// # Errors
    /// When the engine refuses it or does not answer.
    pub async fn put_index_template(&self, name: &str, template: &Value) -> Result<(), Error> {
        let path = format!("/_index_template/{name}");
        self.send(&Request::new("put index template", Method::Put, &path).json(template)).await.map(drop)
    }

    /// Creates an index; one that exists is left as it is.
    ///
    /// # Errors
    /// When the engine refuses it or does not answer.
    pub async fn create_index(&self, name: &str, body: &Value) -> Result<Created, Error> {
        let path = format!("/{name}");
        match self.send(&Request::new("create index", Method::Put, &path).json(body)).await {
            Ok(_) => Ok(Created::New),
            Err(error) if error.code == "resource_already_exists_exception" => Ok(Created::Existing),
            Err(error) => Err(error),
        }
    }

    /// Deletes one index by its exact name.
    ///
    /// # Errors
    /// When the name is a pattern or a list (kind Invalid), the engine refuses or does not answer.
    pub async fn delete_index(&self, name: &str) -> Result<Deleted, Error> {
        let exact = !name.is_empty()
            && name != "_all"
            && !name.contains(['*', ',', '?', '/', '<', '%'])
            && !name.starts_with(['-', '_', '.']);
        if !exact {
            return Err(Error::settings(
                format!("{name:?} is not the name of one index"),
                "indices are deleted one by one",
            ));
        }
        let path = format!("/{name}");
        match self.send(&Request::new("delete index", Method::Delete, &path)).await {
            Ok(_) => Ok(Deleted::Gone),
            Err(error) if error.is_not_found() => Ok(Deleted::Missing),
            Err(error) => Err(error),
        }
    }

    /// All indices whose names match `pattern`, sorted by name.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn indices(&self, pattern: &str) -> Result<Vec<IndexInfo>, Error> {
        const COLUMNS: &str = "index,docs.count,store.size,creation.date,status";
        let cat_path = format!("/_cat/indices/{pattern}");
        let query = [("format", "json"), ("bytes", "b"), ("h", COLUMNS), ("expand_wildcards", "all")];
        let cat = self.send(&Request::new("list indices", Method::Get, &cat_path).query(&query)).await?;
        let alias_path = format!("/{pattern}/_alias");
        let aliases = self.send(&Request::new("list aliases", Method::Get, &alias_path).query(&LENIENT)).await?;
        inventory::indices(&cat.body, &aliases.body).map_err(|e| misread("list indices", &cat, &e))
    }

    /// Sends a bulk to write aliases only: where none is, a write creates nothing and is refused with status 404. For a delete
    /// engines would make an index of the alias's name, so that name must be none for an index: with a capital in it the delete is
    /// refused with status 400 or 404.
    /// Operations carry external versions, so a bulk may be sent any number of times.
    ///
    /// # Errors
    /// When nothing is known of any operation: no whole answer of exactly one item for each. Single refused operations
    /// are no error; they stand in the answer.
    pub async fn bulk(&self, body: &Body) -> Result<Answer, Error> {
        let query = [("require_alias", "true"), ("filter_path", BULK_FIELDS)];
        let request = Request {
            body: Some(body.bytes()),
            content: "application/x-ndjson",
            ..Request::new("bulk", Method::Post, "/_bulk").query(&query)
        };
        let reply = self.send(&request).await?;
        bulk::response(&reply.body, body.items())
            .map_err(|e| Error::invalid("bulk", &reply.host, Some(reply.status), e.to_string()))
    }

    /// Searches an index, alias or pattern; `body` and answer as the engine documents them.
    ///
    /// # Errors
    /// When the engine refuses the query or does not answer.
    pub async fn search(&self, index: &str, body: &Value) -> Result<Value, Error> {
        let path = format!("/{index}/_search");
        let reply = self.send(&Request::new("search", Method::Post, &path).query(&LENIENT).json(body)).await?;
        parse("search", &reply)
    }

    /// How many documents match `query` (a query clause, e.g. `{"match_all": {}}`).
    ///
    /// # Errors
    /// When the engine refuses the query or does not answer.
    pub async fn count(&self, index: &str, query: &Value) -> Result<u64, Error> {
        let body = serde_json::json!({"size": 0, "track_total_hits": true, "query": query});
        let answer = self.search(index, &body).await?;
        answer["hits"]["total"]["value"]
            .as_u64()
            .ok_or_else(|| Error::invalid("count", &"".into(), None, "the answer holds no hits.total.value"))
    }

    /// Makes what was written visible to searches.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn refresh(&self, pattern: &str) -> Result<(), Error> {
        let path = format!("/{pattern}/_refresh");
        self.send(&Request::new("refresh", Method::Post, &path).query(&LENIENT)).await.map(drop)
    }

    /// Changes settings of indices.
    ///
    /// # Errors
    /// When the engine refuses them or does not answer.
    pub async fn put_settings(&self, index: &str, settings: &Value) -> Result<(), Error> {
        let path = format!("/{index}/_settings");
        self.send(&Request::new("put settings", Method::Put, &path).json(settings)).await.map(drop)
    }

    /// Adds fields to an index's mapping.
    ///
    /// # Errors
    /// When the engine refuses them or does not answer.
    pub async fn put_mapping(&self, index: &str, mapping: &Value) -> Result<(), Error> {
        let path = format!("/{index}/_mapping");
        self.send(&Request::new("put mapping", Method::Put, &path).json(mapping)).await.map(drop)
    }

    /// Gives an index one more alias; one that it has is no error.
    ///
    /// # Errors
    /// When the engine refuses it or does not answer.
    pub async fn put_alias(&self, index: &str, alias: &str) -> Result<(), Error> {
        let path = format!("/{index}/_alias/{alias}");
        self.send(&Request::new("put alias", Method::Put, &path)).await.map(drop)
    }

    /// Where the shards of indices stand, sorted; without those that stand nowhere.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn shards(&self, pattern: &str) -> Result<Vec<ShardCopy>, Error> {
        let path = format!("/_cat/shards/{pattern}");
        let query = [("format", "json"), ("bytes", "b"), ("h", "index,id,store")];
        let reply = self.send(&Request::new("list shards", Method::Get, &path).query(&query)).await?;
        inventory::shards(&reply.body).map_err(|e| misread("list shards", &reply, &e))
    }

    /// The disks of the data nodes. Nodes that hold no ordinary indices (dedicated masters, coordinating and machine
    /// learning nodes, frozen ones) are left out.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn nodes_disk(&self) -> Result<Vec<NodeDisk>, Error> {
        let reply = self.send(&Request::new("read disks", Method::Get, "/_nodes/stats/fs")).await?;
        inventory::disks(&reply.body).map_err(|e| misread("read disks", &reply, &e))
    }

    /// The blocks set on indices, sorted.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn blocks(&self, pattern: &str) -> Result<Vec<Block>, Error> {
        let path = format!("/{pattern}/_settings/index.blocks.*");
        let query = [LENIENT[0], LENIENT[1], ("flat_settings", "true")];
        let reply = self.send(&Request::new("read blocks", Method::Get, &path).query(&query)).await?;
        inventory::blocks(&reply.body).map_err(|e| misread("read blocks", &reply, &e))
    }

    /// Asks the host that answered last, and each other once when one is not available.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Reply, Error> {
        let hosts = &self.shared.hosts;
        let first = self.shared.current.load(Ordering::Relaxed);
        let mut last = None;
        for offset in 0..hosts.len() {
            let position = (first + offset) % hosts.len();
            match send_to(&hosts[position], request).await {
                Err(error) if may_fail_over(&error) => {
                    if hosts.len() > 1 {
                        warn!(%error, "host is not available, trying the next");
                    }
                    last = Some(error);
                }
                answered => {
                    self.shared.current.store(position, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::settings("no host is given", "give --elasticsearch http://host:9200")))
    }
}

/// Another host may do better where this one did not answer, or answered for a cluster that it cannot reach.
fn may_fail_over(error: &Error) -> bool {
    error.kind == ErrorKind::Unavailable && matches!(error.status, None | Some(502..=504))
}

async fn send_to(host: &Host, request: &Request<'_>) -> Result<Reply, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content));
    if request.for_dashboards {
        headers.insert("kbn-xsrf", HeaderValue::from_static("true"));
        headers.insert("osd-xsrf", HeaderValue::from_static("true"));
    }
    let query = (!request.query.is_empty()).then_some(request.query);
    let failed = |e: elasticsearch::Error| Error::transport(request.operation, &host.name, &e);
    let response = host
        .transport
        .send(request.method, request.path, headers, query, request.body.clone(), None)
        .await
        .map_err(failed)?;
    let status = response.status_code();
    let body = response.bytes().await.map_err(failed)?;
    if status.is_success() {
        Ok(Reply { host: host.name.clone(), status: status.as_u16(), body })
    } else {
        Err(Error::answered(request.operation, &host.name, status.as_u16(), &body))
    }
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(operation: &'static str, reply: &'a Reply) -> Result<T, Error> {
    serde_json::from_slice(&reply.body)
        .map_err(|e| Error::invalid(operation, &reply.host, Some(reply.status), e.to_string()))
}

fn misread(operation: &'static str, reply: &Reply, error: &InventoryError) -> Error {
    misread_text(operation, reply, &error.to_string())
}

pub(crate) fn misread_text(operation: &'static str, reply: &Reply, words: &str) -> Error {
    Error::invalid(operation, &reply.host, Some(reply.status), words)
}

#[derive(Deserialize)]
struct InfoAnswer {
    #[serde(default)]
    cluster_name: String,
    version: InfoVersion,
}

#[derive(Deserialize)]
struct InfoVersion {
    number: String,
    distribution: Option<String>,
}
