//! What an edit of policies would have done: the policies of a text against the records of level 1 that the topic holds.
//!
//! It reads two topics, so that only one runs at a time, and each is bounded in the size of its question, in what it holds, in rows
//! and in time. Raw samples are not read here: that takes minutes, and is the command line's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use weir_policy::Profile;
use weir_preview::world::Spec;
use weir_preview::{Change, Preview, edits, kept, parse_id, read, shown};
use weir_schemas::topics;
use weir_service::metrics::{Counter, Family, Histogram, Label, SECONDS};
use weir_service::{Metrics, hint, rate_limited};

use crate::api::{Problem, Shared};
use crate::filter::time;

/// The most bytes of a question.
pub(crate) const BODY_MOST: usize = 512 << 10;
/// The most policies that are deleted by one question.
const DELETES_MOST: usize = 1_000;
/// The most rows of an answer; the others are counted.
const ROWS_MOST: usize = 5_000;
/// The most revisions of pods, policies and the like that are held.
const REVISIONS_MOST: usize = 2_000_000;
/// The most policies that are listed.
const POLICIES_MOST: usize = 2_000;

/// Who may preview now, and what was previewed.
pub(crate) struct Desk {
    /// How long one may take; zero turns previews off.
    limit: Duration,
    one: Semaphore,
    asked: Family<Label, Counter>,
    seconds: Histogram,
    records: Counter,
}

impl Desk {
    pub(crate) fn new(limit: Duration, metrics: &Metrics) -> Self {
        Self {
            limit,
            one: Semaphore::new(1),
            asked: metrics
                .counter_family("weir_console_previews", "Previews of policies that were asked for, by outcome"),
            seconds: metrics.histogram("weir_console_preview_seconds", "Time that a preview took", SECONDS),
            records: metrics.counter("weir_console_preview_records", "Records that previews judged"),
        }
    }

    fn count(&self, outcome: &'static str) {
        self.asked.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// The right to read topics, which one has at a time.
    fn enter(&self) -> Result<SemaphorePermit<'_>, Problem> {
        if self.limit.is_zero() {
            self.count("off");
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "previews are turned off",
                "--console-preview-seconds allows them",
            ));
        }
        self.one.try_acquire().map_err(|_| {
            self.count("busy");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "another preview is running", "try again when it has ended")
        })
    }

    /// Runs it, for as long as one may take.
    async fn run(&self, work: impl Future<Output = anyhow::Result<Value>>) -> Result<Value, Problem> {
        let begun = Instant::now();
        let outcome = timeout(self.limit, work).await;
        self.seconds.observe(begun.elapsed().as_secs_f64());
        match outcome {
            Ok(Ok(mut answer)) => {
                self.count("done");
                answer["seconds"] = json!(begun.elapsed().as_secs_f64());
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.count("failed");
                rate_limited!(warn, error = %format!("{error:#}"), "preview without an answer");
                let text = match hint::hint_of(&error) {
                    Some(hint) => format!("{error:#} ({hint})"),
                    None => format!("{error:#}"),
                };
                Err(Problem::new(StatusCode::BAD_GATEWAY, text, ""))
            }
            Err(_) => {
                self.count("too_long");
                let text = format!("it takes longer than {} s", self.limit.as_secs());
                let hint = "ask for a shorter time, or use weir policy preview, which takes as long as it needs";
                Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, text, hint))
            }
        }
    }
}

/// A question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Policies to add or to put in the place of those of their names: YAML or JSON.
    #[serde(default)]
    policies: String,
    /// Policies to delete: `networkpolicy/NAMESPACE/NAME` or `clusternetworkpolicy/NAME`.
    #[serde(default)]
    delete: Vec<String>,
    /// From which time or age on.
    since: String,
    #[serde(default)]
    cluster: Option<String>,
    /// Whose answers count where Kubernetes leaves a question to the network plugin: `none`, `calico` or `cilium`.
    #[serde(default)]
    cni: Option<String>,
    /// Whether connections that stay as they are are listed, too.
    #[serde(default)]
    all: bool,
}

impl From<JsonRejection> for Problem {
    fn from(error: JsonRejection) -> Self {
        Self::new(error.status(), error.body_text(), "")
    }
}

fn wrong(parameter: &'static str, problem: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, problem, "").of(parameter)
}

/// What is to be previewed, once it is understood.
struct Asked {
    edits: Vec<weir_preview::Edit>,
    since: i64,
    cluster: String,
    profile: Profile,
    all: bool,
}

impl Question {
    fn understood(self, now: i64) -> Result<Asked, Problem> {
        let since = time("since", &self.since, now)?;
        let name = self.cni.as_deref().unwrap_or("none");
        let profile = Profile::named(name).ok_or_else(|| wrong("cni", format!("there is no CNI profile {name:?}")))?;
        if self.delete.len() > DELETES_MOST {
            return Err(wrong("delete", format!("more than {DELETES_MOST} policies")));
        }
        let mut all = Vec::new();
        // Nothing but deletes is a question, too.
        if !self.policies.trim().is_empty() || self.delete.is_empty() {
            let faults = |faults: Vec<weir_preview::Fault>| {
                let first = faults.first().map(ToString::to_string).unwrap_or_default();
                wrong("policies", first).with_faults(faults)
            };
            all.extend(edits(&self.policies).map_err(faults)?);
        }
        for text in &self.delete {
            all.push(weir_preview::Edit::Delete(parse_id(text).map_err(|error| wrong("delete", error.to_string()))?));
        }
        let cluster = self.cluster.filter(|name| !name.is_empty());
        let cluster = cluster.unwrap_or_else(|| topics::DEFAULT_CLUSTER.to_owned());
        Ok(Asked { edits: all, since, cluster, profile, all: self.all })
    }
}

/// `POST /api/preview`.
pub(crate) async fn preview(
    State(shared): State<Arc<Shared>>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Response, Problem> {
    let desk = &shared.desk;
    let refused = |problem: Problem| {
        desk.count("refused");
        problem
    };
    let Json(question) = question.map_err(|error| refused(Problem::from(error)))?;
    let asked = question.understood(Timestamp::now().as_millisecond()).map_err(refused)?;
    let _permit = desk.enter()?;
    let answer = desk.run(judged(&shared, asked)).await?;
    Ok(Json(answer).into_response())
}

async fn judged(shared: &Shared, asked: Asked) -> anyhow::Result<Value> {
    let Asked { edits, since, cluster, profile, all } = asked;
    let kept_from = read::kept_from(&shared.log, &cluster).await.context("level 1")?;
    let history = read::history(&shared.log, &cluster, REVISIONS_MOST).await.context("metadata")?;
    let mut preview = Preview::new(&history, &cluster, profile, edits, since);
    read::stored(&shared.log, &mut preview, since).await.context("level 1")?;
    shared.desk.records.inc_by(preview.tally.records);
    let mut answer = preview.tally.json(all, ROWS_MOST);
    answer["cluster"] = json!(cluster);
    answer["since"] = json!(shown(since));
    answer["kept_from"] = json!(kept(kept_from, since));
    let missing: Vec<String> = preview.missing().iter().map(ToString::to_string).collect();
    answer["missing"] = json!(missing);
    Ok(answer)
}

/// Which policies are listed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    #[serde(default)]
    cluster: Option<String>,
}

/// `GET /api/policies`: those that hold now, as manifests.
pub(crate) async fn policies(
    State(shared): State<Arc<Shared>>,
    listed: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(listed) = listed?;
    let cluster = listed.cluster.filter(|name| !name.is_empty()).unwrap_or_else(|| topics::DEFAULT_CLUSTER.to_owned());
    let _permit = shared.desk.enter()?;
    let answer = shared.desk.run(in_force(&shared, &cluster)).await?;
    Ok(Json(answer).into_response())
}

async fn in_force(shared: &Shared, cluster: &str) -> anyhow::Result<Value> {
    let history = read::history(&shared.log, cluster, REVISIONS_MOST).await.context("metadata")?;
    let now = Timestamp::now().as_millisecond().min(history.complete_to());
    let mut policies = Vec::new();
    let all = history.policies(now, Change::Late);
    for source in all.iter().take(POLICIES_MOST) {
        let Spec::Served(spec) = &source.spec else { continue };
        let spec: Value = serde_json::from_str(spec).unwrap_or(Value::Null);
        let mut metadata = json!({"name": source.name});
        if !source.namespace.is_empty() {
            metadata["namespace"] = json!(source.namespace);
        }
        policies.push(json!({
            "apiVersion": source.api_version, "kind": source.kind, "metadata": metadata, "spec": spec,
            "staged": source.staged,
        }));
    }
    Ok(json!({"policies": policies, "more": all.len().saturating_sub(POLICIES_MOST), "as_of": shown(now)}))
}
