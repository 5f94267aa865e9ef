//! The API: flows from Elasticsearch, live flows as server-sent events, and the status.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use weir_elastic::{Elastic, ErrorKind};
use weir_service::metrics::{Counter, Family};
use weir_service::metrics::{Histogram, Label, SECONDS};
use weir_service::{CancellationToken, Health, Metrics, rate_limited};
use weir_stream::Log;

use crate::filter::{Cursor, Filter, FilterError, LIMIT_MOST, Parameters};
use crate::live::{Event, Hub, Subscription};
use crate::map::{Map, Surveyor};
use crate::preview::Desk;
use crate::row::{self, Row};
use crate::settings::ConsoleSettings;
use crate::status;

/// The alias of all flow indices.
pub(crate) const FLOWS: &str = "weir-flows";
/// Searches that run at once; more wait for [`SEARCH_WAIT`].
const SEARCHES_MOST: usize = 8;
const SEARCH_WAIT: Duration = Duration::from_secs(10);
/// Most pages of [`LIMIT_MOST`] records that one map is made of: the newest.
const MAP_PAGES_MOST: usize = 10;
/// The level that a map is made of unless another is asked for: by workload. Where none of it is stored, it is the page's.
const MAP_LEVEL: u8 = 2;
/// How often an idle stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the handlers share.
pub(crate) struct Shared {
    pub(crate) elastic: Elastic,
    pub(crate) log: Log,
    pub(crate) hub: Arc<Hub>,
    pub(crate) health: Health,
    pub(crate) level: u8,
    pub(crate) token: CancellationToken,
    pub(crate) status: status::Cache,
    pub(crate) desk: Desk,
    searches: Semaphore,
    numbers: Numbers,
}

struct Numbers {
    search_seconds: Histogram,
    search_errors: Family<Label, Counter>,
    unreadable: Counter,
}

impl Shared {
    pub(crate) fn new(
        elastic: Elastic,
        log: Log,
        hub: Arc<Hub>,
        health: Health,
        settings: &ConsoleSettings,
        metrics: &Metrics,
        token: CancellationToken,
    ) -> Self {
        Self {
            elastic,
            log,
            hub,
            health,
            level: settings.console_level,
            token,
            status: status::Cache::default(),
            desk: Desk::new(Duration::from_secs(settings.console_preview_seconds.into()), metrics),
            searches: Semaphore::new(SEARCHES_MOST),
            numbers: Numbers {
                search_seconds: metrics.histogram("weir_console_search_seconds", "Time that a search took", SECONDS),
                search_errors: metrics
                    .counter_family("weir_console_search_errors", "Searches without an answer, by kind of error"),
                unreadable: metrics.counter("weir_console_unreadable", "Documents found that are no flows"),
            },
        }
    }

    fn count_unreadable(&self, documents: usize) {
        self.numbers.unreadable.inc_by(u64::try_from(documents).unwrap_or(u64::MAX));
    }

    /// Searches the flows; a missing alias is an answer without hits.
    pub(crate) async fn search(&self, body: &Value) -> Result<Value, Problem> {
        let Ok(permit) = timeout(SEARCH_WAIT, self.searches.acquire()).await else {
            self.numbers.search_errors.get_or_create(&[("kind", "busy".to_owned())]).inc();
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many searches at once", "try again"));
        };
        let started = Instant::now();
        let answer = self.elastic.search(FLOWS, body).await;
        drop(permit);
        self.numbers.search_seconds.observe(started.elapsed().as_secs_f64());
        match answer {
            Err(error) if error.is_not_found() => Ok(json!({"hits": {"hits": []}})),
            Err(error) => {
                self.numbers.search_errors.get_or_create(&[("kind", error.kind.as_str().to_owned())]).inc();
                rate_limited!(warn, %error, "search without an answer");
                Err(Problem::from(error))
            }
            Ok(answer) => Ok(answer),
        }
    }
}

/// An answer that is an error, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parameter: &'static str,
    /// What is wrong in a text, with its lines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<weir_preview::Fault>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, hint: &'static str) -> Self {
        Self { status, error: error.into(), hint, parameter: "", faults: Vec::new() }
    }

    pub(crate) fn of(self, parameter: &'static str) -> Self {
        Self { parameter, ..self }
    }

    pub(crate) fn with_faults(self, faults: Vec<weir_preview::Fault>) -> Self {
        Self { faults, ..self }
    }

    pub(crate) fn error(&self) -> &str {
        &self.error
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Self {
        Self { parameter: error.parameter, ..Self::new(StatusCode::BAD_REQUEST, error.problem, "") }
    }
}

impl From<QueryRejection> for Problem {
    fn from(error: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.body_text(), "")
    }
}

impl From<weir_elastic::Error> for Problem {
    fn from(error: weir_elastic::Error) -> Self {
        let status = match error.kind {
            ErrorKind::Rejected | ErrorKind::Invalid => StatusCode::BAD_GATEWAY,
            ErrorKind::Retriable | ErrorKind::Unavailable | ErrorKind::Auth => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = format!("{}: {}", error.operation, error.cause);
        Self::new(status, text, error.hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

type Asked = Result<Query<Parameters>, QueryRejection>;

fn filter(shared: &Shared, asked: Asked) -> Result<Filter, Problem> {
    let Query(parameters) = asked?;
    Ok(Filter::parse(&parameters, shared.level, Timestamp::now().as_millisecond())?)
}

/// An answer of `/api/flows`.
#[derive(Serialize)]
struct Page {
    rows: Vec<Row>,
    /// The cursor of the next answer; absent when this was the last.
    next: Option<String>,
    /// Documents that are no flows.
    unreadable: usize,
}

/// `GET /api/flows`.
pub(crate) async fn flows(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Response, Problem> {
    let filter = filter(&shared, asked)?;
    let answer = shared.search(&filter.query()).await?;
    let page = page(&answer, &filter);
    shared.count_unreadable(page.unreadable);
    Ok(Json(page).into_response())
}

/// Reads the engine's answer.
fn page(answer: &Value, filter: &Filter) -> Page {
    let hits = answer["hits"]["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (hits, next) = filter.page(hits);
    let rows: Vec<Row> = hits.iter().filter_map(|hit| row::from_document(hit).ok()).collect();
    Page { unreadable: hits.len() - rows.len(), rows, next: next.map(Cursor::encode) }
}

/// An answer of `/api/map`.
#[derive(Serialize)]
struct Survey {
    #[serde(flatten)]
    map: Map,
    /// The level that it is made of.
    level: u8,
    /// Whether there are older records that fit, beyond the most that are read.
    more: bool,
}

/// `GET /api/map`: the parameters of `/api/flows` but those of pages.
pub(crate) async fn map(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Response, Problem> {
    let Query(parameters) = asked?;
    for (parameter, value) in [("limit", &parameters.limit), ("cursor", &parameters.cursor)] {
        if value.is_some() {
            let problem = format!(
                "a map has no pages: it is made of the newest {} records that fit",
                MAP_PAGES_MOST * LIMIT_MOST
            );
            return Err(FilterError { parameter, problem }.into());
        }
    }
    let survey = match parameters.level {
        Some(_) => survey(&shared, parameters, shared.level).await?,
        None => {
            let first = survey(&shared, parameters.clone(), MAP_LEVEL).await?;
            let other = first.map.records == 0 && shared.level != MAP_LEVEL;
            if other { survey(&shared, parameters, shared.level).await? } else { first }
        }
    };
    Ok(Json(survey).into_response())
}

/// Reads page after page, so that no engine has to hold many rows at once.
async fn survey(shared: &Shared, mut parameters: Parameters, level: u8) -> Result<Survey, Problem> {
    parameters.limit = Some(LIMIT_MOST.to_string());
    let now = Timestamp::now().as_millisecond();
    let mut surveyor = Surveyor::default();
    let mut level_of_answer = level;
    for _ in 0..MAP_PAGES_MOST {
        let filter = Filter::parse(&parameters, level, now)?;
        level_of_answer = filter.level();
        let page = page(&shared.search(&filter.query()).await?, &filter);
        page.rows.iter().for_each(|row| surveyor.take(row));
        shared.count_unreadable(page.unreadable);
        parameters.cursor = page.next;
        if parameters.cursor.is_none() {
            break;
        }
    }
    Ok(Survey { map: surveyor.finish(), level: level_of_answer, more: parameters.cursor.is_some() })
}

/// `GET /api/flows/stream`.
pub(crate) async fn stream(State(shared): State<Arc<Shared>>, asked: Asked) -> Result<Response, Problem> {
    let filter = filter(&shared, asked)?;
    let subscription = shared.hub.subscribe(filter).map_err(|error| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "close a page, or raise --console-streams")
    })?;
    let events = Sse::new(events(subscription, shared.token.clone())).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies must not hold events back.
    Ok(([(header::HeaderName::from_static("x-accel-buffering"), "no")], events).into_response())
}

/// The events of a stream, until the console stops.
fn events(
    mut subscription: Subscription,
    token: CancellationToken,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    async_stream::stream! {
        // Sent at once, so that the reader knows that it is connected before the first flow.
        yield Ok(sse::Event::default().event("open").data("{}"));
        loop {
            let event = tokio::select! {
                () = token.cancelled() => break,
                event = subscription.next() => event,
            };
            let Some(event) = event else { break };
            yield Ok(match event {
                Event::Flow(json) => sse::Event::default().event("flow").data(&*json),
                Event::Delete(id) => sse::Event::default().event("delete").data(json!({"id": &*id}).to_string()),
                Event::Dropped(count) => {
                    sse::Event::default().event("dropped").data(json!({"dropped": count}).to_string())
                }
            });
        }
    }
}

/// `GET /api/status`.
pub(crate) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    Json(status::status(&shared).await).into_response()
}
