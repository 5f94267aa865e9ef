//! Keeps Weir's indices inside a disk budget and their ages inside their bounds.
//!
//! [`plan::plan`] decides, pure; [`plan_now`], [`apply`] and [`run`] look and act. Only whole indices go, only those
//! whose names are exactly Weir's, one at a time, never by a pattern, and each is announced before.

pub mod amount;
pub mod inventory;
pub mod plan;
pub mod policy;

mod act;
mod apply;
mod booking;
mod settings;
mod snapshot;

pub use amount::Amount;
pub use apply::{Applied, Waiting, apply, foreign_policies, plan_now};
pub use booking::Booked;
pub use plan::{Action, Plan, Reason};
pub use policy::{Keep, Policy};
pub use settings::RetentionSettings;

use crate::apply::Merges;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weir_elastic::Elastic;
use weir_service::metrics::{Counter, Family, Gauge, Label};
use weir_service::{Health, Metrics, rate_limited};
use weir_stream::Log;

/// The condition that says whether the budget is kept.
const CONDITION: &str = "retention";
/// How often policies of other programs are looked for.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(600);

/// What retention counts.
#[derive(Clone, Debug)]
struct RetentionMetrics {
    indices: Gauge,
    bytes: Gauge,
    budget: Gauge,
    over: Gauge,
    deleted: Family<Label, Counter>,
    deleted_bytes: Counter,
    errors: Counter,
    merges: Counter,
    foreign_policies: Gauge,
    foreign_indices: Gauge,
    waiting: Gauge,
    days_to_full: Gauge,
}

impl RetentionMetrics {
    fn new(metrics: &Metrics) -> Self {
        Self {
            indices: metrics.gauge("weir_retention_indices", "indices of all kinds"),
            bytes: metrics.gauge("weir_retention_bytes", "bytes of all indices, replicas included"),
            budget: metrics.gauge("weir_retention_budget_bytes", "bytes that all indices may take"),
            over: metrics.gauge("weir_retention_over_bytes", "bytes too many that may not be deleted"),
            deleted: metrics.counter_family("weir_retention_deleted_indices", "indices deleted, by reason"),
            deleted_bytes: metrics.counter("weir_retention_deleted_bytes", "bytes of deleted indices"),
            errors: metrics.counter("weir_retention_errors", "rounds that failed"),
            merges: metrics.counter("weir_retention_merges", "merges of finished indices begun"),
            foreign_policies: metrics.gauge(
                "weir_retention_foreign_policies",
                "indices that another program's lifecycle policy may delete as well",
            ),
            foreign_indices: metrics.gauge(
                "weir_retention_foreign_indices",
                "indices that have a name of Weir's but not its write alias, and are left alone",
            ),
            waiting: metrics.gauge(
                "weir_retention_waiting_indices",
                "indices that must go but wait, for a snapshot or because the engine refuses",
            ),
            days_to_full: metrics.gauge(
                "weir_retention_days_to_full",
                "days until the budget is used up at the present rate; -1 while that is not known",
            ),
        }
    }

    fn count(&self, done: &[Action]) {
        for action in done {
            self.deleted.get_or_create(&[("reason", action.reason.as_str().to_owned())]).inc();
            self.deleted_bytes.inc_by(action.bytes.unwrap_or(0));
        }
    }

    fn show(&self, plan: &Plan, waiting: &[Waiting]) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.indices.set(number(plan.indices));
        self.foreign_indices.set(number(plan.foreign));
        self.waiting.set(number(waiting.len()));
        self.bytes.set(gauge(plan.bytes));
        self.budget.set(gauge(plan.budget));
        self.days_to_full.set(plan.days_to_full.map_or(-1, gauge));
        self.over.set(gauge(plan.stuck.as_ref().map_or(0, |s| s.over)));
    }
}

/// Looks once an interval and deletes what must go, until it is told to stop.
///
/// # Errors
/// When the settings contradict each other. An engine or a Kafka that does not answer is asked again.
pub async fn run(
    settings: RetentionSettings,
    log: Log,
    elastic: Elastic,
    metrics: &Metrics,
    health: &Health,
    token: CancellationToken,
) -> anyhow::Result<()> {
    settings.validate().map_err(anyhow::Error::msg)?;
    let metrics = RetentionMetrics::new(metrics);
    let mut others = Others::default();
    let mut merges = Merges::default();
    let mut ticks = tokio::time::interval(settings.retention_interval.max(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let mut done = Vec::new();
        let round = tokio::select! {
            () = token.cancelled() => return Ok(()),
            round = apply::round(&elastic, &log, &settings, &mut done) => round,
        };
        metrics.count(&done);
        match round {
            Ok((plan, waiting)) => {
                metrics.show(&plan, &waiting);
                report(&plan, &waiting, health);
            }
            Err(error) => {
                metrics.errors.inc();
                warn!("retention could not look or act, trying again: {error:#}");
                health.set_ready(CONDITION, false, format!("{error:#}"));
                continue;
            }
        }
        others.look(&elastic, &metrics).await;
        if let Some(after) = settings.merge_after {
            match merges.step(&elastic, after).await {
                Ok(begun) => drop(metrics.merges.inc_by(u64::from(begun.is_some()))),
                Err(error) => rate_limited!(warn, "finished indices are not merged: {error}"),
            }
        }
    }
}

fn report(plan: &Plan, waiting: &[Waiting], health: &Health) {
    let stuck = plan.stuck.as_ref().map(|s| s.advice.clone());
    if let Some(advice) = &stuck {
        rate_limited!(warn, per_minute = 1, "the disk budget is exceeded and nothing more may go: {advice}");
    }
    let waits = waiting.iter().find(|w| !w.passing).map(|w| format!("{} must go but stays: {}", w.index, w.why));
    if let Some(why) = &waits {
        rate_limited!(warn, per_minute = 1, "{why}");
    }
    let why: Vec<String> = stuck.into_iter().chain(waits).collect();
    health.set_ready(CONDITION, why.is_empty(), why.join("; "));
}

/// Policies of other programs on the same indices, looked for now and then.
#[derive(Debug, Default)]
struct Others {
    looked: Option<Instant>,
}

impl Others {
    async fn look(&mut self, elastic: &Elastic, metrics: &RetentionMetrics) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_FOR_OTHERS) {
            return;
        }
        match foreign_policies(elastic).await {
            Ok(found) => {
                self.looked = Some(Instant::now());
                metrics.foreign_policies.set(i64::try_from(found.len()).unwrap_or(i64::MAX));
                if let Some((index, policy)) = found.first() {
                    warn!(
                        index,
                        policy,
                        indices = found.len(),
                        "another program's lifecycle policy is on Weir's indices and may delete them too: take it off, or stop retention"
                    );
                }
            }
            Err(error) => rate_limited!(warn, "policies of other programs are not known: {error}"),
        }
    }
}
