//! The dated settings, as far as their topic was read.

use crate::following::Followed;
use crate::periods::Periods;
use std::sync::{Arc, PoisonError, RwLock};
use weir_flow::RecordSettings;
use weir_schemas::settings::Settings;
use weir_schemas::topics;
use weir_service::rate_limited;
use weir_stream::Record;

/// The periods, as far as the settings topic was read; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Dated {
    periods: Arc<RwLock<Periods>>,
}

impl Dated {
    /// The periods as they are known now.
    #[must_use]
    pub fn now(&self) -> Periods {
        self.periods.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Followed for Dated {
    const TOPIC: &'static str = topics::SETTINGS;

    fn apply(&self, records: &[Record]) {
        let mut periods = self.periods.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let Some(value) = &record.value else { continue };
            let settings = weir_schemas::decode::<Settings>(value)
                .map_err(|e| e.to_string())
                .and_then(|s| RecordSettings::try_from(s).map_err(|e| e.to_string()));
            match settings {
                Ok(settings) if settings.in_time(record.timestamp) => periods.apply(&settings),
                Ok(settings) => {
                    let (cluster, valid_from) = (settings.cluster, settings.valid_from);
                    rate_limited!(warn, cluster, valid_from, "settings came too late to be followed");
                }
                Err(cause) => {
                    rate_limited!(error, offset = record.offset, "settings record cannot be used: {cause}");
                }
            }
        }
    }
}
