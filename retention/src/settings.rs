//! What is to be kept, and how often to look.

use crate::amount::Amount;
use crate::policy::{Keep, Policy};
use std::time::Duration;
use weir_service::settings::parse_duration;

/// Settings of retention.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RetentionSettings {
    /// The most that all flow indices may take, as a size (10GB) or a share of all disks (70%)
    #[arg(long, value_name = "SIZE", default_value = "70%")]
    pub budget: Amount,
    /// What is to stay free on each data node's disk, as a size or a share; below it the oldest indices go
    #[arg(long, value_name = "SIZE", default_value = "10%")]
    pub disk_reserve: Amount,
    /// Delete indices older than this, whatever their size
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_age: Option<Duration>,
    /// Never delete indices younger than this, even when the disk fills up (a legal floor)
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub min_age: Duration,
    /// What holds for a kind of indices, or one level of it, alone, as KIND[/LEVEL]:budget=SIZE,max-age=DURATION,min-age=DURATION
    /// (flows, dns, capture, replay, ledger, audit); can be given several times
    #[arg(long, value_name = "RULE")]
    pub keep: Vec<Keep>,
    /// Take a snapshot into this repository of the engine's before an index is deleted; what has none stays
    #[arg(long, value_name = "NAME")]
    pub snapshot_repository: Option<String>,
    /// Merge indices whose period is over for so long into one segment, which makes them smaller and faster to read
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub merge_after: Option<Duration>,
    /// Who is named in the audit
    #[arg(long, value_name = "NAME", default_value = "weir-retention")]
    pub retention_instance: String,
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub retention_interval: Duration,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            budget: Amount::Percent(70),
            disk_reserve: Amount::Percent(10),
            max_age: None,
            min_age: Duration::ZERO,
            keep: Vec::new(),
            snapshot_repository: None,
            merge_after: None,
            retention_instance: "weir-retention".to_owned(),
            retention_interval: Duration::from_secs(60),
        }
    }
}

impl RetentionSettings {
    /// The part that decides.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            budget: self.budget,
            reserve: self.disk_reserve,
            max_age: self.max_age,
            min_age: self.min_age,
            keeps: self.keep.clone(),
        }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// When no index could ever go by age.
    pub fn validate(&self) -> Result<(), String> {
        let ages = |keep: &Keep| (keep.subject(), keep.max_age.or(self.max_age), keep.min_age.unwrap_or(self.min_age));
        let all = std::iter::once(("all".to_owned(), self.max_age, self.min_age)).chain(self.keep.iter().map(ages));
        for (subject, max_age, least) in all {
            if let Some(most) = max_age.filter(|most| *most < least) {
                return Err(format!(
                    "{subject}: --max-age {} is less than --min-age {}: an index would have to go and to stay",
                    humantime::format_duration(most),
                    humantime::format_duration(least)
                ));
            }
        }
        Ok(())
    }
}
