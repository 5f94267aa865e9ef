//! Writes enriched flows, DNS records, the ledger and the audit to Elasticsearch, each exactly once.
//!
//! The way of a record: [`pipeline`] reads and batches it, its [`dataset`] makes a [`document`] of it and says which [`index`]
//! it belongs to, [`sender`] sends it as [`delivery`] decides, and its position is committed when it is stored.
//! Index and id are functions of the record, so a retry, a crash and a replay overwrite the same document.

pub mod congestion;
pub mod dataset;
pub mod delivery;
pub mod direct;
pub mod document;
pub mod guard;
pub mod horizons;
pub mod index;
pub mod periods;
pub mod pipeline;
pub mod sender;
pub mod setup;
pub mod template;

mod ahead;
mod calendar;
mod dated;
mod following;
mod indices;
mod metrics;
mod settings;

pub use metrics::IndexerMetrics;
pub use settings::IndexerSettings;

use crate::congestion::Allowance;
use crate::dataset::Dataset;
use crate::dated::Dated;
use crate::delivery::Patience;
use crate::following::Followed as _;
use crate::guard::Guard;
use crate::horizons::Horizons;
use crate::indices::Indices;
use crate::pipeline::Pipeline;
use crate::sender::{Bounds, Sender};
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weir_elastic::{Elastic, ErrorKind};
use weir_schemas::topics;
use weir_service::{Health, HintExt as _, Metrics};
use weir_stream::{Log, ProducerSettings, Reader, TopicSpec};

/// Longest wait before Kafka or the engine is asked again while the indexer starts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Indexes all data sets until it is told to stop.
///
/// # Errors
/// When settings cannot work, or records would be missing without anybody having said so. What may pass (Kafka or the
/// engine being away) is waited for.
pub async fn run(
    settings: IndexerSettings,
    log: Log,
    elastic: Elastic,
    metrics: &Metrics,
    health: &Health,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = IndexerMetrics::new(metrics);
    health.set_ready(sender::CONDITION, false, "not asked yet");
    for dataset in Dataset::ALL {
        health.set_ready(pipeline::condition(dataset), false, "no partitions are assigned yet");
    }
    let indices = Arc::new(Indices::new(elastic.clone(), metrics.clone()).context("index templates")?);
    let (dated, horizons, guard) = (Dated::default(), Horizons::default(), Guard::default());
    let started = async {
        let readers = start_log(&log, &dated, &horizons, health).await?;
        start_engine(&elastic, &indices, health).await?;
        anyhow::Ok(readers)
    };
    let (settings_reader, horizon_reader) = tokio::select! {
        () = token.cancelled() => return Ok(()),
        readers = started => readers?,
    };
    let stop = token.child_token();
    let mut followers = JoinSet::new();
    followers.spawn(dated.clone().follow(log.clone(), settings_reader, stop.clone()));
    followers.spawn(horizons.clone().follow(log.clone(), horizon_reader, stop.clone()));
    if !settings.indexer_ignore_watermarks {
        followers.spawn(guard.clone().watch(elastic.clone(), stop.clone()));
    }
    let dead_letters = log.producer(&ProducerSettings::new("weir-indexer")).context("dead-letter producer")?;
    let ended = run_all(&log, &token, |dataset| {
        // Each data set has its own guard against refusals.
        let sender = Sender::new(
            elastic.clone(),
            indices.clone(),
            Bounds {
                horizons: horizons.clone(),
                log: log.clone(),
                guard: guard.clone(),
                most: Allowance { operations: pipeline::BULK_OPERATIONS, bulks: settings.indexer_concurrency },
            },
            dead_letters.clone(),
            Patience::default(),
            metrics.clone(),
            health.clone(),
        );
        Pipeline::new(dataset, settings.clone(), sender, dated.clone(), metrics.clone(), health.clone())
    })
    .await;
    stop.cancel();
    while followers.join_next().await.is_some() {}
    ended
}

/// Runs the data sets side by side; the first that fails stops the others.
async fn run_all(log: &Log, token: &CancellationToken, pipeline: impl Fn(Dataset) -> Pipeline) -> anyhow::Result<()> {
    let token = token.child_token();
    let mut running = JoinSet::new();
    for dataset in Dataset::ALL {
        let (pipeline, log, token) = (pipeline(dataset), log.clone(), token.clone());
        running.spawn(async move { pipeline.run(&log, &token).await.with_context(|| dataset.topic()) });
    }
    let mut result = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.context("pipeline").and_then(|ended| ended);
        if ended.is_err() && result.is_ok() {
            result = ended;
            token.cancel();
        }
    }
    result
}

/// Makes sure of the topics that the indexer needs besides its input, and reads the dated settings and the horizons.
async fn start_log(log: &Log, dated: &Dated, horizons: &Horizons, health: &Health) -> anyhow::Result<(Reader, Reader)> {
    let mut wait = Duration::from_millis(250);
    loop {
        let attempt = async {
            log.ensure_topics(&topics_needed()).await?;
            Ok::<_, weir_stream::StreamError>((dated.read(log).await?, horizons.read(log).await?))
        };
        match attempt.await {
            Ok(reader) => return Ok(reader),
            Err(error) if error.kind() == weir_stream::ErrorKind::Invalid => {
                return Err(error).context("topics of the indexer");
            }
            Err(error) => {
                health.set_ready(pipeline::CONDITION, false, error.to_string());
                warn!(%error, "kafka is not ready, waiting");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

fn topics_needed() -> Vec<TopicSpec> {
    let mut needed: Vec<String> = Dataset::ALL.into_iter().map(|d| topics::dead_letter(d.topic())).collect();
    needed.extend([topics::SETTINGS, topics::HORIZON, topics::AUDIT, topics::LEDGER].map(str::to_owned));
    topics::of(topics::DEFAULT_CLUSTER, 1, 1, 1)
        .into_iter()
        .filter(|topic| needed.contains(&topic.name))
        .map(|topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs })
        .collect()
}

/// Waits for the engine and puts the index templates, where that is allowed.
async fn start_engine(elastic: &Elastic, indices: &Indices, health: &Health) -> anyhow::Result<()> {
    let mut wait = Duration::from_millis(250);
    loop {
        let attempt = async {
            let engine = elastic.info().await?;
            info!(engine = engine.distribution, version = engine.version, "connected");
            indices.put_templates().await?;
            indices.update_open().await.map(drop)
        };
        match attempt.await {
            Ok(()) => break,
            Err(error) if error.kind == ErrorKind::Auth && error.status == Some(403) => {
                warn!(%error, "templates or mappings are not put; indices are made without templates");
                break;
            }
            Err(error) if error.kind == ErrorKind::Rejected => {
                return Err(error).context("index templates").hint("is this version of the engine supported?");
            }
            Err(error) => {
                health.set_ready(sender::CONDITION, false, error.to_string());
                warn!(%error, "elasticsearch is not ready, waiting");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
    health.set_ready(sender::CONDITION, true, "");
    Ok(())
}
