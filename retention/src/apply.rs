//! Carries plans out: looks, deletes one index, looks again.

use crate::inventory::{Inventory, PATTERN};
use crate::plan::{Action, Plan, plan};
use crate::settings::RetentionSettings;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;
use weir_elastic::{Elastic, Error};

/// How long an engine may go on reporting the disk as it was before a deletion.
const STATISTICS_LAG: Duration = Duration::from_secs(60);
/// The most indices that one round deletes; the next round goes on.
const ROUND_LIMIT: usize = 500;

/// What would be done now.
///
/// # Errors
/// When the engine does not answer.
pub async fn plan_now(elastic: &Elastic, settings: &RetentionSettings) -> Result<Plan, Error> {
    Booked::default().plan(elastic, settings).await
}

/// Does what is to be done now, and says what was done.
///
/// # Errors
/// When the engine does not answer or refuses; what was deleted before that is logged.
pub async fn apply(elastic: &Elastic, settings: &RetentionSettings) -> Result<(Vec<Action>, Plan), Error> {
    Booked::default().round(elastic, settings).await
}

/// Bytes that were freed and that the engine's disk statistics may not show yet, so that nothing is deleted for a
/// shortage that is over.
#[derive(Debug, Default)]
pub(crate) struct Booked(VecDeque<(Instant, u64)>);

impl Booked {
    async fn plan(&mut self, elastic: &Elastic, settings: &RetentionSettings) -> Result<Plan, Error> {
        let mut disks = elastic.nodes_disk().await?;
        while self.0.front().is_some_and(|(when, _)| when.elapsed() >= STATISTICS_LAG) {
            self.0.pop_front();
        }
        let booked = self.0.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
        for disk in &mut disks {
            disk.available = disk.available.saturating_add(booked).min(disk.total);
        }
        let listed = elastic.indices(PATTERN).await?;
        Ok(plan(&Inventory::of(&listed, disks), &settings.policy(), Timestamp::now().as_millisecond()))
    }

    /// Deletes one index at a time, with a fresh look after each; hands back what was deleted and the last plan.
    pub(crate) async fn round(
        &mut self,
        elastic: &Elastic,
        settings: &RetentionSettings,
    ) -> Result<(Vec<Action>, Plan), Error> {
        let mut done = Vec::new();
        loop {
            let plan = self.plan(elastic, settings).await?;
            let Some(action) = plan.actions.first().copied().filter(|_| done.len() < ROUND_LIMIT) else {
                return Ok((done, plan));
            };
            let name = action.index.to_string();
            elastic.delete_index(&name).await?;
            info!(index = name, bytes = action.bytes, reason = action.reason.as_str(), "index deleted");
            self.0.push_back((Instant::now(), action.bytes.unwrap_or(0)));
            done.push(action);
        }
    }
}
