//! Keeps Weir's indices inside a disk budget and their ages inside their bounds.
//!
//! [`plan::plan`] decides, pure; [`plan_now`], [`apply`] and [`run`] look and act. Only whole indices go, only those
//! whose names are exactly Weir's, one at a time, never by a pattern.

pub mod amount;
pub mod inventory;
pub mod plan;

mod apply;
mod settings;

pub use amount::Amount;
pub use apply::{apply, plan_now};
pub use plan::{Action, Plan, Policy, Reason};
pub use settings::RetentionSettings;

use crate::apply::Booked;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weir_elastic::Elastic;
use weir_service::metrics::{Counter, Family, Gauge, Label};
use weir_service::{Health, Metrics, rate_limited};

/// The condition that says whether the budget is kept.
const CONDITION: &str = "retention";

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
}

impl RetentionMetrics {
    fn new(metrics: &Metrics) -> Self {
        Self {
            indices: metrics.gauge("weir_retention_indices", "flow indices"),
            bytes: metrics.gauge("weir_retention_bytes", "bytes of all flow indices, replicas included"),
            budget: metrics.gauge("weir_retention_budget_bytes", "bytes that flow indices may take"),
            over: metrics.gauge("weir_retention_over_bytes", "bytes too many that may not be deleted"),
            deleted: metrics.counter_family("weir_retention_deleted_indices", "indices deleted, by reason"),
            deleted_bytes: metrics.counter("weir_retention_deleted_bytes", "bytes of deleted indices"),
            errors: metrics.counter("weir_retention_errors", "rounds that failed"),
        }
    }

    fn show(&self, done: &[Action], plan: &Plan) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.indices.set(i64::try_from(plan.indices).unwrap_or(i64::MAX));
        self.bytes.set(gauge(plan.bytes));
        self.budget.set(gauge(plan.budget));
        self.over.set(gauge(plan.stuck.as_ref().map_or(0, |s| s.over)));
        for action in done {
            self.deleted.get_or_create(&[("reason", action.reason.as_str().to_owned())]).inc();
            self.deleted_bytes.inc_by(action.bytes.unwrap_or(0));
        }
    }
}

/// Looks once an interval and deletes what must go, until it is told to stop.
///
/// # Errors
/// When the settings contradict each other. An engine that does not answer is asked again.
pub async fn run(
    settings: RetentionSettings,
    elastic: Elastic,
    metrics: &Metrics,
    health: &Health,
    token: CancellationToken,
) -> anyhow::Result<()> {
    settings.validate().map_err(anyhow::Error::msg)?;
    let metrics = RetentionMetrics::new(metrics);
    let mut booked = Booked::default();
    let mut ticks = tokio::time::interval(settings.retention_interval.max(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let round = tokio::select! {
            () = token.cancelled() => return Ok(()),
            round = booked.round(&elastic, &settings) => round,
        };
        match round {
            Ok((done, plan)) => {
                metrics.show(&done, &plan);
                let advice = plan.stuck.as_ref().map(|s| s.advice.clone());
                if let Some(advice) = &advice {
                    rate_limited!(
                        warn,
                        per_minute = 1,
                        "the disk budget is exceeded and nothing more may go: {advice}"
                    );
                }
                health.set_ready(CONDITION, advice.is_none(), advice.unwrap_or_default());
            }
            Err(error) => {
                metrics.errors.inc();
                warn!(%error, "retention could not look or act, trying again");
                health.set_ready(CONDITION, false, error.to_string());
            }
        }
    }
}
