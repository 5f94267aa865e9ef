//! The admin port: metrics, liveness, readiness, state and settings over HTTP.

mod health;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

pub use health::{Condition, Health, HealthReport};

/// The media type of `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the index page lists.
const PAGES: [(&str, &str); 6] = [
    ("/metrics", "metrics as OpenMetrics text"),
    ("/inventory", "every metric with its type and meaning, as JSON"),
    ("/live", "200 while the process runs"),
    ("/ready", "200 if ready, else 503, with every condition as JSON"),
    ("/state", "what the components say of themselves, as JSON"),
    ("/config", "the settings in force as TOML, without secrets"),
];

#[derive(Debug, Clone)]
struct Shared {
    metrics: Metrics,
    health: Health,
    config: String,
}

/// The HTTP server of the admin port. It has no authentication: it belongs on an address that only operators reach.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    shared: Shared,
    extra: Router,
}

impl AdminServer {
    /// Takes the port; requests are answered once [`AdminServer::serve`] runs.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, metrics: Metrics, health: Health) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            shared: Shared { metrics, health, config: String::new() },
            extra: Router::new(),
        })
    }

    /// Sets the text of `/config`, which must hold no secrets.
    #[must_use]
    pub fn with_config(mut self, config: String) -> Self {
        self.shared.config = config;
        self
    }

    /// Adds routes of the service's own.
    #[must_use]
    pub fn merge(mut self, routes: Router) -> Self {
        self.extra = self.extra.merge(routes);
        self
    }

    /// The address that was bound, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// If the socket cannot tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the token is cancelled.
    ///
    /// # Errors
    /// If accepting connections ends in an error.
    pub async fn serve(self, token: CancellationToken) -> std::io::Result<()> {
        let app = router(self.shared).merge(self.extra);
        axum::serve(self.listener, app).with_graceful_shutdown(token.cancelled_owned()).await
    }

    /// [`AdminServer::serve`] as a task.
    pub fn spawn(self, token: CancellationToken) -> JoinHandle<std::io::Result<()>> {
        tokio::spawn(self.serve(token))
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/inventory", get(inventory))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(ready))
        .route("/state", get(state))
        .route("/config", get(config))
        .with_state(shared)
}

async fn index() -> Html<String> {
    let lines: String =
        PAGES.iter().map(|(path, what)| format!("<li><a href=\"{path}\">{path}</a> {what}</li>")).collect();
    Html(format!(
        "<!doctype html><html lang=\"en\"><title>Weir admin</title><h1>Weir admin</h1><ul>{lines}</ul></html>"
    ))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written\n").into_response(),
    }
}

async fn inventory(State(shared): State<Shared>) -> Response {
    Json(shared.metrics.inventory()).into_response()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let report = shared.health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn state(State(shared): State<Shared>) -> Response {
    Json(shared.health.state()).into_response()
}

async fn config(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "application/toml; charset=utf-8")], shared.config).into_response()
}
