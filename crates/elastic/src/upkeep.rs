//! What keeps indices in order: mappings by version, watermarks, snapshots, merges, and other programs' policies.

use crate::client::{Elastic, LENIENT, Method, Request, misread_text, parse};
use crate::error::{Error, ErrorKind};
use crate::watermarks::{self, Watermarks};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What of an index decides whether it is ours and up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct IndexState {
    /// Its aliases.
    #[serde(default)]
    pub aliases: BTreeMap<String, Value>,
    /// Its mapping, of which only `_meta` is asked for.
    #[serde(default)]
    pub mappings: Value,
}

/// How far a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// There is none of that name.
    Missing,
    /// It is being made.
    InProgress,
    /// It holds everything.
    Done,
    /// It does not, in the engine's words.
    Failed(String),
}

#[derive(Deserialize)]
struct Snapshots {
    #[serde(default)]
    snapshots: Vec<SnapshotAnswer>,
}

#[derive(Deserialize)]
struct SnapshotAnswer {
    state: String,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    indices: BTreeMap<String, IndexStats>,
}

#[derive(Deserialize)]
struct IndexStats {
    primaries: Primaries,
}

#[derive(Deserialize)]
struct Primaries {
    segments: Segments,
}

#[derive(Deserialize)]
struct Segments {
    count: u64,
}

#[derive(Deserialize)]
struct ShardStats {
    #[serde(default)]
    indices: BTreeMap<String, IndexShards>,
}

#[derive(Deserialize)]
struct IndexShards {
    #[serde(default)]
    shards: BTreeMap<String, Vec<ShardCopyStats>>,
}

#[derive(Deserialize)]
struct ShardCopyStats {
    routing: Routing,
    seq_no: SequenceNumbers,
}

#[derive(Deserialize)]
struct Routing {
    primary: bool,
}

#[derive(Deserialize)]
struct SequenceNumbers {
    max_seq_no: i64,
}

impl Elastic {
    /// How many operations an index has taken, of all its shards together; while it is the same, nothing was written. Absent where
    /// the engine does not say.
    ///
    /// # Errors
    /// When the engine refuses or does not answer, or not as documented.
    pub async fn operations(&self, index: &str) -> Result<Option<u64>, Error> {
        let path = format!("/{index}/_stats");
        let query =
            [("level", "shards"), ("filter_path", "indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no")];
        let reply = self.send(&Request::new("count operations", Method::Get, &path).query(&query)).await?;
        let mut stats: ShardStats = parse("count operations", &reply)?;
        let Some(found) = stats.indices.remove(index) else { return Ok(None) };
        let primaries = found.shards.values().flatten().filter(|copy| copy.routing.primary);
        // The first operation has the number 0, and a shard without any says -1.
        let counts = primaries.map(|copy| u64::try_from(copy.seq_no.max_seq_no.saturating_add(1)).ok());
        let counts: Option<Vec<u64>> = counts.collect();
        Ok(counts.filter(|counts| !counts.is_empty()).map(|counts| counts.into_iter().fold(0, u64::saturating_add)))
    }

    /// Aliases and the mapping's `_meta` of the open indices of a pattern.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn states(&self, pattern: &str) -> Result<BTreeMap<String, IndexState>, Error> {
        let path = format!("/{pattern}");
        let query = [LENIENT[0], LENIENT[1], ("filter_path", "*.aliases,*.mappings._meta")];
        let reply = self.send(&Request::new("read indices", Method::Get, &path).query(&query)).await?;
        parse("read indices", &reply)
    }

    /// The whole mapping of an index; nothing where there is no such index.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn mapping(&self, index: &str) -> Result<Option<Value>, Error> {
        let path = format!("/{index}");
        let query = [LENIENT[0], LENIENT[1], ("filter_path", "*.mappings")];
        let reply = self.send(&Request::new("read mapping", Method::Get, &path).query(&query)).await?;
        let mut states: BTreeMap<String, IndexState> = parse("read mapping", &reply)?;
        Ok(states.remove(index).map(|state| state.mappings))
    }

    /// The engine's disk watermarks; nothing where it has none or does not heed them.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn watermarks(&self) -> Result<Option<Watermarks>, Error> {
        let query = [("include_defaults", "true"), ("flat_settings", "true")];
        let request = Request::new("read watermarks", Method::Get, "/_cluster/settings").query(&query);
        let reply = self.send(&request).await?;
        watermarks::read(&reply.body).map_err(|e| misread_text("read watermarks", &reply, &e.to_string()))
    }

    /// Indices that another program's policy may delete (index lifecycle or index state management), with its name.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn lifecycles(&self, pattern: &str) -> Result<Vec<(String, String)>, Error> {
        const POLICIES: [&str; 3] = [
            "/index/lifecycle/name",
            "/index/plugins/index_state_management/policy_id",
            "/index/opendistro/index_state_management/policy_id",
        ];
        #[derive(Deserialize)]
        struct Settings {
            #[serde(default)]
            settings: Value,
        }
        let path = format!("/{pattern}/_settings");
        let reply = self.send(&Request::new("read policies", Method::Get, &path).query(&LENIENT)).await?;
        let answer: BTreeMap<String, Settings> = parse("read policies", &reply)?;
        let policy = |settings: &Value| {
            let named = POLICIES.iter().find_map(|key| settings.pointer(key)?.as_str());
            named.filter(|name| !name.is_empty()).map(str::to_owned)
        };
        Ok(answer.into_iter().filter_map(|(index, s)| Some((index, policy(&s.settings)?))).collect())
    }

    /// Segments of the primaries of each index.
    ///
    /// # Errors
    /// When the engine does not answer, or not as documented.
    pub async fn segments(&self, pattern: &str) -> Result<BTreeMap<String, u64>, Error> {
        let path = format!("/{pattern}/_stats/segments");
        let query = [LENIENT[0], LENIENT[1], ("filter_path", "indices.*.primaries.segments.count")];
        let reply = self.send(&Request::new("count segments", Method::Get, &path).query(&query)).await?;
        let stats: Stats = parse("count segments", &reply)?;
        Ok(stats.indices.into_iter().map(|(name, stats)| (name, stats.primaries.segments.count)).collect())
    }

    /// Begins to merge an index into one segment; does not wait for the end.
    ///
    /// # Errors
    /// When the engine refuses or does not answer.
    pub async fn force_merge(&self, index: &str) -> Result<(), Error> {
        let path = format!("/{index}/_forcemerge");
        let query = [("max_num_segments", "1"), ("wait_for_completion", "false")];
        self.send(&Request::new("force merge", Method::Post, &path).query(&query)).await.map(drop)
    }

    /// Begins a snapshot of one index; one of that name that is there already is no error.
    ///
    /// # Errors
    /// When there is no such repository, or the engine refuses or does not answer.
    pub async fn begin_snapshot(&self, repository: &str, name: &str, index: &str) -> Result<(), Error> {
        let path = format!("/_snapshot/{repository}/{name}");
        let body = json!({"indices": index, "include_global_state": false});
        let query = [("wait_for_completion", "false")];
        let request = Request::new("begin snapshot", Method::Put, &path).query(&query).json(&body);
        match self.send(&request).await {
            Err(error) if error.code == "invalid_snapshot_name_exception" => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// How far a snapshot is.
    ///
    /// # Errors
    /// When there is no such repository, or the engine does not answer.
    pub async fn snapshot(&self, repository: &str, name: &str) -> Result<Snapshot, Error> {
        let path = format!("/_snapshot/{repository}/{name}");
        let reply = match self.send(&Request::new("read snapshot", Method::Get, &path)).await {
            Err(error) if error.code == "snapshot_missing_exception" => return Ok(Snapshot::Missing),
            reply => reply?,
        };
        let answer: Snapshots = parse("read snapshot", &reply)?;
        let Some(found) = answer.snapshots.into_iter().next() else { return Ok(Snapshot::Missing) };
        Ok(match found.state.as_str() {
            "SUCCESS" => Snapshot::Done,
            "IN_PROGRESS" | "STARTED" => Snapshot::InProgress,
            state => Snapshot::Failed(format!("{state}: {}", found.reason.unwrap_or_default())),
        })
    }

    /// Creates or replaces a data view of Kibana or an index pattern of OpenSearch Dashboards, of which this must be a
    /// connection's host.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn put_data_view(&self, name: &str, title: &str) -> Result<(), Error> {
        let kibana = json!({"override": true, "data_view":
            {"id": name, "title": name, "name": title, "timeFieldName": "@timestamp"}});
        let request =
            Request::new("put data view", Method::Post, "/api/data_views/data_view").for_dashboards().json(&kibana);
        match self.send(&request).await {
            Err(error) if error.kind == ErrorKind::Rejected && error.status == Some(404) => {}
            sent => return sent.map(drop),
        }
        let path = format!("/api/saved_objects/index-pattern/{name}");
        let pattern = json!({"attributes": {"title": name, "timeFieldName": "@timestamp"}});
        let query = [("overwrite", "true")];
        let request = Request::new("put index pattern", Method::Post, &path).for_dashboards();
        self.send(&request.query(&query).json(&pattern)).await.map(drop)
    }
}
