//! Carries plans out: looks, announces, deletes one index, looks again.

use crate::act::{Claim, Lease};
use crate::inventory::{Inventory, Name, PATTERN};
use crate::plan::{Action, Plan, plan};
use crate::settings::RetentionSettings;
use anyhow::Context as _;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};
use weir_elastic::{Elastic, Error, Snapshot};
use weir_flow::Millis;
use weir_stream::Log;

/// How long an engine may go on reporting the disk as it was before a deletion, ms.
const STATISTICS_LAG: Millis = 60_000;
/// The most indices that one round deletes; the next round goes on.
const ROUND_LIMIT: usize = 500;
/// How long a merge that was begun may take before it is begun again.
const MERGE_AGAIN: Duration = Duration::from_secs(6 * 3_600);

/// What would be done now.
///
/// # Errors
/// When the engine does not answer.
pub async fn plan_now(elastic: &Elastic, settings: &RetentionSettings) -> Result<Plan, Error> {
    Ok(look(elastic, settings, &[]).await?.0)
}

/// Does what is to be done now, and says what was done.
///
/// # Errors
/// When the engine or Kafka does not answer or refuses; what was deleted before that is logged and audited.
pub async fn apply(elastic: &Elastic, log: &Log, settings: &RetentionSettings) -> anyhow::Result<(Vec<Action>, Plan)> {
    round(elastic, log, settings).await
}

/// Indices that another program's policy may delete under retention's hands, with the policy's name.
///
/// # Errors
/// When the engine does not answer.
pub async fn foreign_policies(elastic: &Elastic) -> Result<Vec<(String, String)>, Error> {
    let found = elastic.lifecycles(PATTERN).await?;
    Ok(found.into_iter().filter(|(index, _)| Name::parse(index).is_some()).collect())
}

fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

/// Looks, with what was announced lately counted as gone: its bytes may still be in the engine's statistics, and deleting it
/// may be under way.
async fn look(
    elastic: &Elastic,
    settings: &RetentionSettings,
    claims: &[Claim],
) -> Result<(Plan, BTreeMap<String, u64>), Error> {
    let now = now();
    let claims: Vec<&Claim> = claims.iter().filter(|claim| claim.at >= now - STATISTICS_LAG).collect();
    let booked = claims.iter().map(|claim| claim.bytes).fold(0, u64::saturating_add);
    let mut disks = elastic.nodes_disk().await?;
    for disk in &mut disks {
        disk.available = disk.available.saturating_add(booked).min(disk.total);
    }
    let mut listed = elastic.indices(PATTERN).await?;
    listed.retain(|index| !claims.iter().any(|claim| claim.index == index.name));
    let documents = listed.iter().filter_map(|index| Some((index.name.clone(), index.docs?))).collect();
    let shards = elastic.shards(PATTERN).await?;
    let inventory = Inventory::of(&listed, &shards, disks, elastic.watermarks().await?);
    Ok((plan(&inventory, &settings.policy(), now), documents))
}

/// Deletes one index at a time, with a fresh look after each; hands back what was deleted and the last plan.
pub(crate) async fn round(
    elastic: &Elastic,
    log: &Log,
    settings: &RetentionSettings,
) -> anyhow::Result<(Vec<Action>, Plan)> {
    let (first, _) = look(elastic, settings, &[]).await?;
    if first.actions.is_empty() {
        return Ok((Vec::new(), first));
    }
    let taken = Lease::take(log, &settings.retention_instance, now() - STATISTICS_LAG).await;
    let (mut lease, mut claims) = taken.context("the right to delete")?;
    let mut done = Vec::new();
    loop {
        let (plan, documents) = look(elastic, settings, &claims).await?;
        let Some(action) = plan.actions.first().copied().filter(|_| done.len() < ROUND_LIMIT) else {
            return Ok((done, plan));
        };
        let name = action.index.to_string();
        if let Some(repository) = &settings.snapshot_repository
            && !is_kept(elastic, repository, &name).await?
        {
            return Ok((done, plan));
        }
        let documents = documents.get(&name).copied().unwrap_or(0);
        let claim =
            lease.announce(&action, documents, now()).await.context("another process deletes now, or Kafka is away")?;
        claims.push(claim.clone());
        if let Err(error) = elastic.delete_index(&name).await {
            lease.take_back(&claim, &error.to_string(), now()).await.context("audit of a deletion that failed")?;
            return Err(error.into());
        }
        info!(index = name, bytes = action.bytes, reason = action.reason.as_str(), "index deleted");
        done.push(action);
    }
}

/// Whether a snapshot holds the index; begins one otherwise, for a later round.
async fn is_kept(elastic: &Elastic, repository: &str, index: &str) -> anyhow::Result<bool> {
    match elastic.snapshot(repository, index).await? {
        Snapshot::Done => Ok(true),
        Snapshot::InProgress => Ok(false),
        Snapshot::Missing => {
            elastic.begin_snapshot(repository, index, index).await?;
            info!(index, repository, "snapshot begun");
            Ok(false)
        }
        Snapshot::Failed(why) => anyhow::bail!(
            "snapshot {index} in {repository} is not whole ({why}), so the index stays: delete that snapshot to have it made anew"
        ),
    }
}

/// Merges of finished indices, one a round.
#[derive(Debug, Default)]
pub(crate) struct Merges(BTreeMap<String, Instant>);

impl Merges {
    /// Begins to merge the oldest finished index that has more than one segment.
    pub(crate) async fn step(&mut self, elastic: &Elastic, after: Duration) -> Result<Option<String>, Error> {
        let due = now().saturating_sub(Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX));
        self.0.retain(|_, begun| begun.elapsed() < MERGE_AGAIN);
        let segments = elastic.segments(PATTERN).await?;
        let mut finished: Vec<Name> = segments
            .iter()
            .filter(|(name, count)| **count > 1 && !self.0.contains_key(*name))
            .filter_map(|(name, _)| Name::parse(name))
            .filter(|name| !name.kind.ages_from_creation() && name.end <= due)
            .collect();
        finished.sort_unstable_by_key(|name| (name.end, *name));
        let Some(name) = finished.first().map(ToString::to_string) else { return Ok(None) };
        match elastic.force_merge(&name).await {
            Ok(()) => info!(index = name, "merging into one segment"),
            // A read-only index cannot be merged; that is no reason to stop deleting.
            Err(error) => warn!(%error, index = name, "index is not merged"),
        }
        self.0.insert(name.clone(), Instant::now());
        Ok(Some(name))
    }
}
