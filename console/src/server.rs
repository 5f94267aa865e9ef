//! The console as a running thing: a port, and a task that follows the topic.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_elastic::Elastic;
use weir_schemas::topics;
use weir_service::{CancellationToken, Health, HintExt as _, Metrics};
use weir_stream::Log;

use crate::api::{self, Shared};
use crate::guard::{Hosts, guard};
use crate::live::{Hub, follow};
use crate::page;
use crate::preview;
use crate::settings::ConsoleSettings;

/// What the console stands on.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where flows are found.
    pub elastic: Elastic,
    /// Where live flows come from.
    pub log: Log,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The health of the process, which the status shows.
    pub health: Health,
}

/// A running console.
#[derive(Debug)]
pub struct Console {
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    follower: JoinHandle<()>,
}

impl Console {
    /// Takes the port and starts to answer; the token stops it. Elasticsearch and Kafka may come later.
    ///
    /// # Errors
    /// If the settings are not safe or the address cannot be bound.
    pub async fn start(settings: &ConsoleSettings, parts: Parts, token: CancellationToken) -> anyhow::Result<Self> {
        settings.validate()?;
        let wanted = settings.console_listen;
        let listener = TcpListener::bind(wanted)
            .await
            .with_context(|| format!("console port {wanted}"))
            .hint("choose another address with --console-listen")?;
        let address = listener.local_addr().context("console port")?;
        let queue = usize::try_from(settings.console_stream_queue).unwrap_or(usize::MAX);
        let hub = Arc::new(Hub::new(settings.console_streams, queue, &parts.metrics));
        let follower =
            tokio::spawn(follow(parts.log.clone(), topics::ENRICHED.to_owned(), Arc::clone(&hub), token.clone()));
        // No condition of readiness: without Kafka the console still shows what is stored.
        let watched = Arc::clone(&hub);
        parts.health.set_state("console-live", move || watched.following().state());
        let shared = Arc::new(Shared::new(
            parts.elastic,
            parts.log,
            hub,
            parts.health.clone(),
            settings,
            &parts.metrics,
            token.clone(),
        ));
        let app = router(shared, Hosts::new(&settings.console_host));
        let server =
            tokio::spawn(
                async move { axum::serve(listener, app).with_graceful_shutdown(token.cancelled_owned()).await },
            );
        parts.health.set_ready("console", true, format!("listening on {address}"));
        tracing::info!(url = format!("http://{address}/"), "console");
        Ok(Self { address, server, follower })
    }

    /// The address that was bound, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the console has stopped.
    ///
    /// # Errors
    /// If it stopped for another reason than its token.
    pub async fn join(self) -> anyhow::Result<()> {
        self.server.await.context("console")?.context("console")?;
        self.follower.await.context("live flows")
    }
}

fn router(shared: Arc<Shared>, hosts: Hosts) -> Router {
    let mut scripts = Router::new();
    for (path, content) in page::SCRIPTS {
        scripts = scripts.route(path, get(async || page::script(content)));
    }
    scripts
        .route("/", get(page::index))
        .route("/console.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/api/flows", get(api::flows))
        .route("/api/flows/stream", get(api::stream))
        .route("/api/map", get(api::map))
        .route("/api/status", get(api::status))
        .route("/api/policies", get(preview::policies))
        .route("/api/preview", post(preview::preview).layer(DefaultBodyLimit::max(preview::BODY_MOST)))
        .with_state(shared)
        .layer(from_fn_with_state(hosts, guard))
}
