//! The edge: both stages as consumer groups with transactions, and the metadata that stage 1 joins with.

use crate::history::SettingsHistory;
use crate::settings::EnricherSettings;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use weir_schemas::topics;
use weir_service::{CancellationToken, Health, HintExt as _, Metrics};
use weir_stream::Log;

pub mod alone;
mod encode;
mod first;
mod heartbeat;
mod metadata;
mod meters;
mod pace;
mod places;
mod record_settings;
pub mod replay;
mod second;
mod session;
mod stages;

#[cfg(test)]
mod tests;

use meters::Meters;
use pace::Pace;
use places::Databases;
use record_settings::{Current, SettingsTopic};

/// How long a small topic may take to read to its end.
const IDLE: Duration = Duration::from_secs(30);

/// What both stages need.
struct Shared {
    settings: EnricherSettings,
    instance: String,
    /// What decides records, as it is known now.
    current: watch::Receiver<Current>,
    log: Log,
    meters: Meters,
    pace: Pace,
    health: Health,
    token: CancellationToken,
}

/// Runs both stages for one cluster until `token` is cancelled, then finishes the transaction in flight and leaves its
/// groups.
///
/// # Errors
/// What repeating cannot cure: no or unfit settings on the settings topic, topics with other partition counts, a group
/// without positions on a log whose beginning is gone, positions of another version, unreadable metadata.
pub async fn run(
    settings: EnricherSettings,
    log: Log,
    metrics: &Metrics,
    health: &Health,
    token: CancellationToken,
) -> anyhow::Result<()> {
    let meters = Meters::new(metrics);
    let topic = SettingsTopic::read(&log, &settings.cluster).await?;
    let mut databases = Databases::new(&settings.mmdb);
    let current = Current::of(&topic, &mut databases)?;
    current.count(&meters);
    check_partitions(&log, &settings.cluster, &current.history).await?;
    let (sender, current) = watch::channel(current);
    // One stage's failure ends the other and the follower of metadata, without ending the caller's other services.
    let token = token.child_token();
    let _end = token.clone().drop_guard();
    let followed = metadata::load(&log, &settings.cluster, &meters, health).await?;
    let instance = settings.instance_name();
    let shared = Arc::new(Shared {
        settings,
        instance,
        current,
        log,
        meters,
        pace: Pace::default(),
        health: health.clone(),
        token: token.clone(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    let table = followed.table();
    tasks.spawn(metadata::follow(shared.clone(), followed));
    tasks.spawn(record_settings::follow(shared.clone(), topic, databases, sender));
    tasks.spawn(session::repeat(shared.clone(), 1, table.clone()));
    tasks.spawn(session::repeat(shared, 2, table));
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        token.cancel();
        let ended = ended.context("a task of the enricher ended by a panic").and_then(|result| result);
        if outcome.is_ok() {
            outcome = ended;
        }
    }
    outcome
}

/// Refuses topics whose partition counts are not those of the settings: keys would go elsewhere than markers say.
async fn check_partitions(log: &Log, cluster: &str, history: &SettingsHistory) -> anyhow::Result<()> {
    let latest = history.latest();
    let expected = [
        (topics::raw(cluster), latest.raw_partitions, "raw partitions (P)"),
        (topics::partial(cluster), latest.internal_partitions, "internal partitions (R)"),
    ];
    for (topic, count, name) in expected {
        let found = log.partition_count(&topic).await?;
        if found != count {
            return Err(anyhow::anyhow!(
                "topic {topic} has {found} partitions, the settings of cluster {cluster} say {count} {name}"
            ))
            .hint(
                "a partition count is a setting from a generation on: add a settings record before adding partitions",
            );
        }
    }
    Ok(())
}
