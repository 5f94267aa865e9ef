//! Carries plans out: looks, announces, deletes one index, looks again.

use crate::act::{self, Claim, Lease};
use crate::booking::{self, LONGEST};
use crate::inventory::{self, Inventory, Name};
use crate::plan::{Action, Plan, plan};
use crate::settings::RetentionSettings;
use crate::snapshot;
use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};
use weir_elastic::{Elastic, Error, ErrorKind, IndexInfo};
use weir_flow::Millis;
use weir_schemas::indices::PATTERN;
use weir_stream::Log;

/// The most indices that one round deletes; the next round goes on.
const ROUND_LIMIT: usize = 500;
/// How often, and how long apart, an index is looked for whose deletion was not answered.
const LOOKS_AFTER_SILENCE: usize = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a merge that was begun may take before it is begun again.
const MERGE_AGAIN: Duration = Duration::from_secs(6 * 3_600);

/// What would be done now. With a log, what was announced there lately counts as gone, as it does for whoever deletes; without one,
/// or where it does not answer, the plan says that this is not known ([`Plan::booked`]).
///
/// # Errors
/// When the engine does not answer.
pub async fn plan_now(elastic: &Elastic, log: Option<&Log>, settings: &RetentionSettings) -> Result<Plan, Error> {
    let claims = match log {
        None => None,
        Some(log) => match act::announced(log, now().saturating_sub(LONGEST)).await {
            Ok(claims) => Some(claims),
            Err(error) => {
                warn!("what was deleted lately is not known: {error}");
                None
            }
        },
    };
    Ok(look(elastic, settings, claims.as_deref()).await?.plan)
}

/// What one round did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What was deleted.
    pub done: Vec<Action>,
    /// What would go but must not yet.
    pub waiting: Vec<Waiting>,
    /// What is to be done then.
    pub plan: Plan,
}

/// An index that would go but must not yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The index.
    pub index: String,
    /// Why it stays, and what a person can do.
    pub why: String,
    /// Whether it goes by itself after a while.
    pub passing: bool,
}

/// Does what is to be done now, and says what was done.
///
/// # Errors
/// When the engine or Kafka does not answer or refuses; what was deleted before that is logged and audited.
pub async fn apply(elastic: &Elastic, log: &Log, settings: &RetentionSettings) -> anyhow::Result<Applied> {
    let mut done = Vec::new();
    let (plan, waiting) = round(elastic, log, settings, &mut done).await?;
    Ok(Applied { done, waiting, plan })
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

/// What was found, and the plan for it.
struct Look {
    plan: Plan,
    listed: BTreeMap<String, IndexInfo>,
    /// What of each index stands where, bytes by the node's id.
    placement: BTreeMap<Name, BTreeMap<String, u64>>,
}

/// Looks, with what was announced lately counted as gone: its bytes may still be in the engine's statistics, and deleting it
/// may be under way. Absent where nobody has asked what that is.
async fn look(elastic: &Elastic, settings: &RetentionSettings, claims: Option<&[Claim]>) -> Result<Look, Error> {
    let mut disks = elastic.nodes_disk().await?;
    let mut listed = elastic.indices(PATTERN).await?;
    let shards = elastic.shards(PATTERN).await?;
    let now = now();
    let booked = claims.map(|claims| booking::settle(&mut listed, &mut disks, claims, now));
    let inventory = Inventory { booked, ..Inventory::of(&listed, &shards, disks, elastic.watermarks().await?) };
    let plan = plan(&inventory, &settings.policy(), now);
    let listed = listed.into_iter().map(|index| (index.name.clone(), index)).collect();
    Ok(Look { plan, listed, placement: inventory.placement })
}

/// Deletes one index at a time, with a fresh look after each, and adds each to `done`; hands back the last plan and what waits.
pub(crate) async fn round(
    elastic: &Elastic,
    log: &Log,
    settings: &RetentionSettings,
    done: &mut Vec<Action>,
) -> anyhow::Result<(Plan, Vec<Waiting>)> {
    // What was announced only makes a plan shorter: where nothing is due without it, nobody is fenced to know it.
    let first = look(elastic, settings, None).await?.plan;
    if first.actions.is_empty() {
        return Ok((first, Vec::new()));
    }
    let taken = Lease::take(log, &settings.retention_instance, now().saturating_sub(LONGEST)).await;
    let (mut lease, mut claims) = taken.context("the right to delete")?;
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let found = look(elastic, settings, Some(&claims)).await?;
        let stays = |action: &&Action| waiting.iter().any(|w| w.index == action.index.to_string());
        let next = found.plan.actions.iter().find(|action| !stays(action)).copied();
        let Some(action) = next.filter(|_| done.len() < ROUND_LIMIT) else {
            return Ok((found.plan, waiting));
        };
        let name = action.index.to_string();
        let Some(info) = found.listed.get(&name) else { anyhow::bail!("{name} is planned but not listed") };
        if let Some(repository) = &settings.snapshot_repository {
            let others = waiting.iter().any(|w| w.passing);
            if let Some(stays) = snapshot::missing(elastic, repository, info, others).await? {
                waiting.push(stays);
                continue;
            }
        }
        let announced = lease.announce(&action, info.docs.unwrap_or(0), now()).await;
        let mut claim = announced.context("another process deletes now, or Kafka is away")?;
        claim.on = found.placement.get(&action.index).cloned();
        claims.push(claim.clone());
        match delete(elastic, info).await {
            Outcome::Gone => {
                info!(index = name, bytes = action.bytes, reason = action.reason.as_str(), "index deleted");
                done.push(action);
            }
            // It may yet go, so that the claim stands.
            Outcome::Unknown(error) => return Err(error.into()),
            Outcome::Refused(error) => {
                let why = error.to_string();
                lease.take_back(&claim, &why, now()).await.context("audit of a deletion that failed")?;
                claims.retain(|other| other != &claim);
                waiting.push(Waiting { index: name, why, passing: false });
            }
        }
    }
}

/// How a deletion ended.
enum Outcome {
    Gone,
    /// The engine understood and refused: nothing will come of it.
    Refused(Error),
    /// Nobody knows.
    Unknown(Error),
}

/// Deletes an index. An answer that did not come says nothing of the deletion, so that it is looked for then.
async fn delete(elastic: &Elastic, index: &IndexInfo) -> Outcome {
    let error = match elastic.delete_index(&index.name).await {
        Ok(_) => return Outcome::Gone,
        Err(error) if matches!(error.kind, ErrorKind::Rejected | ErrorKind::Auth) => return Outcome::Refused(error),
        Err(error) => error,
    };
    // It may be under way, too.
    for _ in 0..LOOKS_AFTER_SILENCE {
        match elastic.indices(PATTERN).await {
            Ok(listed) if !listed.iter().any(|l| l.name == index.name && l.created == index.created) => {
                warn!(index = index.name, %error, "the index is gone, though the engine did not say so");
                return Outcome::Gone;
            }
            Ok(_) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(_) => break,
        }
    }
    Outcome::Unknown(error)
}

/// Merges of finished indices, one a round.
#[derive(Debug, Default)]
pub(crate) struct Merges(BTreeMap<String, Instant>);

impl Merges {
    /// Begins to merge the oldest finished index that has more than one segment.
    pub(crate) async fn step(&mut self, elastic: &Elastic, after: Duration) -> Result<Option<String>, Error> {
        let due = now().saturating_sub(Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX));
        self.0.retain(|_, begun| begun.elapsed() < MERGE_AGAIN);
        let listed = elastic.indices(PATTERN).await?;
        let ours: BTreeSet<Name> = listed.iter().filter_map(inventory::ours).collect();
        let segments = elastic.segments(PATTERN).await?;
        let mut finished: Vec<Name> = segments
            .iter()
            .filter(|(name, count)| **count > 1 && !self.0.contains_key(*name))
            .filter_map(|(name, _)| Name::parse(name))
            .filter(|name| ours.contains(name) && !name.kind.ages_from_creation() && name.end <= due)
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
