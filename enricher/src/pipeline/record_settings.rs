//! The settings that decide records, as far as their topic was read: all of it before anything is processed, and again and
//! again from then on, because a cluster may get others from a generation on.
//!
//! Settings are on their topic [`LEAD`] before their first generation. So a process that has seen the topic's end within half
//! of that knows those of every batch that was published; one that has not for longer waits.

use super::meters::Meters;
use super::places::Databases;
use super::{IDLE, Shared};
use crate::history::SettingsHistory;
use crate::join::Places;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use weir_flow::settings::LEAD;
use weir_schemas::settings::Dated;
use weir_schemas::topics;
use weir_service::HintExt as _;
use weir_stream::{Log, Partitions, Reader, Record, Start};

#[cfg(test)]
mod tests;

/// How long news is awaited before the topic's end is asked for again.
const EVERY: Duration = Duration::from_secs(10);
/// How long what was read is relied upon.
const RELIABLE: Duration = Duration::from_millis(LEAD.unsigned_abs() / 2);

/// The topic, read to its end.
pub(super) struct SettingsTopic {
    cluster: String,
    reader: Reader,
    records: Vec<Record>,
    /// When its end was asked for the last time that it was reached.
    seen: Instant,
}

impl SettingsTopic {
    /// Reads it whole.
    pub(super) async fn read(log: &Log, cluster: &str) -> anyhow::Result<Self> {
        let seen = Instant::now();
        let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
        let records = reader.read_to_end(IDLE).await?;
        Ok(Self { cluster: cluster.to_owned(), reader, records, seen })
    }

    /// Awaits news for a while, and reads to the end in any case.
    async fn read_on(&mut self) -> anyhow::Result<()> {
        let news = self.reader.next(EVERY).await?;
        self.records.extend(news);
        let asked = Instant::now();
        self.records.extend(self.reader.read_to_end(IDLE).await?);
        self.seen = asked;
        Ok(())
    }

    /// What it says of the cluster, and how many records came too late.
    fn dated(&self) -> anyhow::Result<Dated> {
        let values = self.records.iter().filter_map(|record| Some((record.timestamp, record.value.as_deref()?)));
        Dated::of(values, &self.cluster)
            .context(topics::SETTINGS)
            .hint("if it was written by a newer version of weir, upgrade this one")
    }

    /// What it says of the cluster.
    pub(super) fn history(&self) -> anyhow::Result<SettingsHistory> {
        Ok(SettingsHistory::new(&self.cluster, self.dated()?.entries)?)
    }
}

/// What decides records, as it is known now.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) history: Arc<SettingsHistory>,
    pub(super) places: Arc<Places>,
    /// Settings records that came too late to be followed.
    too_late: usize,
    /// Until when it may be relied upon.
    until: Instant,
}

impl Current {
    pub(super) fn of(topic: &SettingsTopic, databases: &mut Databases) -> anyhow::Result<Self> {
        let dated = topic.dated()?;
        let history = SettingsHistory::new(&topic.cluster, dated.entries)?;
        let places = Arc::new(databases.load(&history)?);
        Ok(Self { history: Arc::new(history), places, too_late: dated.too_late, until: topic.seen + RELIABLE })
    }

    /// Says what is followed: once it is, so that who waits for the figure waits for the deed.
    pub(super) fn count(&self, meters: &Meters) {
        meters.settings_too_late.set(i64::try_from(self.too_late).unwrap_or(i64::MAX));
        meters.settings.set(i64::try_from(self.history.entries().count()).unwrap_or(i64::MAX));
    }

    /// Whether nobody can have written settings since that hold for what is there to be processed.
    pub(super) fn is_reliable(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Follows the topic until the token is cancelled. Stages hear of other settings by `sender`, and begin again with them.
///
/// # Errors
/// Settings that cannot be followed: going on without them would make other records than other processes do.
pub(super) async fn follow(
    shared: Arc<Shared>,
    mut topic: SettingsTopic,
    mut databases: Databases,
    sender: watch::Sender<Current>,
) -> anyhow::Result<()> {
    let known = |topic: &SettingsTopic| topic.records.len();
    loop {
        let before = known(&topic);
        let read = tokio::select! {
            () = shared.token.cancelled() => return Ok(()),
            read = topic.read_on() => read,
        };
        if let Err(error) = read {
            weir_service::rate_limited!(warn, error = %format!("{error:#}"), "settings are read again from their start");
            tokio::select! {
                () = shared.token.cancelled() => return Ok(()),
                () = tokio::time::sleep(shared.settings.retry_limit) => {}
            }
            if let Ok(again) = SettingsTopic::read(&shared.log, &topic.cluster).await {
                topic = again;
            } else {
                continue;
            }
        } else if known(&topic) == before {
            sender.send_if_modified(|current| {
                current.until = topic.seen + RELIABLE;
                false
            });
            continue;
        }
        let next = Current::of(&topic, &mut databases)?;
        sender.send_if_modified(|current| {
            let other = next.history != current.history;
            *current = next;
            other
        });
        sender.borrow().count(&shared.meters);
    }
}
