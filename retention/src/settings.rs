//! What is to be kept, and how often to look.

use crate::amount::Amount;
use crate::plan::Policy;
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
            retention_interval: Duration::from_secs(60),
        }
    }
}

impl RetentionSettings {
    /// The part that decides.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy { budget: self.budget, reserve: self.disk_reserve, max_age: self.max_age, min_age: self.min_age }
    }

    /// Checks that the values fit together.
    ///
    /// # Errors
    /// When no index could ever go by age.
    pub fn validate(&self) -> Result<(), String> {
        match self.max_age {
            Some(most) if most < self.min_age => Err(format!(
                "--max-age {} is less than --min-age {}: an index would have to go and to stay",
                humantime::format_duration(most),
                humantime::format_duration(self.min_age)
            )),
            _ => Ok(()),
        }
    }
}
