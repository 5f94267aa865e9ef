//! Reads the dated settings and goes on reading them.

use crate::periods::Periods;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use weir_flow::RecordSettings;
use weir_schemas::settings::Settings;
use weir_schemas::topics;
use weir_service::rate_limited;
use weir_stream::{Log, Partitions, Reader, Record, Start, StreamError};

/// How long the log may be silent while what is there is read.
const IDLE: Duration = Duration::from_secs(30);
/// How long to wait before reading anew after an error.
const AGAIN: Duration = Duration::from_secs(1);

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

    /// Reads all settings that are there, so that no record is written by less, and hands back where reading goes on.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn read(&self, log: &Log) -> Result<Reader, StreamError> {
        let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
        while let Some(records) = reader.next_before_end(IDLE).await? {
            self.apply(&records);
        }
        Ok(reader)
    }

    /// Takes new settings into account until it is told to stop.
    pub async fn follow(self, log: Log, mut reader: Reader, token: CancellationToken) {
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                batch = reader.next(IDLE) => match batch {
                    Ok(records) => self.apply(&records),
                    Err(error) => {
                        rate_limited!(warn, "settings topic: {error}");
                        tokio::time::sleep(AGAIN).await;
                        if let Ok(again) = self.read(&log).await {
                            reader = again;
                        }
                    }
                }
            }
        }
    }

    fn apply(&self, records: &[Record]) {
        let mut periods = self.periods.write().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            let Some(value) = &record.value else { continue };
            let settings = weir_schemas::decode::<Settings>(value)
                .map_err(|e| e.to_string())
                .and_then(|s| RecordSettings::try_from(s).map_err(|e| e.to_string()));
            match settings {
                Ok(settings) => periods.apply(&settings),
                Err(cause) => {
                    rate_limited!(error, offset = record.offset, "settings record cannot be used: {cause}");
                }
            }
        }
    }
}
