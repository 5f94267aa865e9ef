//! Replay: records of past windows, made again from the raw topic by the very stages that made them first.
//!
//! It differs from live processing in three things: it reads from checkpoints without a group, up to the generation with
//! which the windows are complete; what stage 1 writes goes straight to stage 2; and records go to the caller. Raw log,
//! settings and metadata as of then decide what is in them, so that they are the same to the byte on any day.

use super::meters::Meters;
use super::places::Databases;
use super::record_settings::SettingsTopic;
use super::{IDLE, check_partitions, metadata};
use crate::history::SettingsHistory;
use crate::join::{Joined, Places};
use crate::judge::Judge;
use crate::position::Stage2Position;
use crate::settings::group;
use anyhow::Context as _;
use std::path::PathBuf;
use std::sync::Arc;
use weir_flow::time::{FOR_EVER, Frontier, NEVER, floor_to, metadata_needed};
use weir_flow::{Level, Millis, RecordSettings};
use weir_join::Table;
use weir_schemas::checkpoint::Checkpoint;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Enriched;
use weir_schemas::{decode, topics};
use weir_service::{HintExt as _, Metrics};
use weir_stream::{Log, Partitions, Start, TopicPartition};

pub(super) mod lockstep;
mod plan;
mod source;

#[cfg(test)]
mod tests;

use lockstep::Lockstep;
use plan::Checkpoints;
pub use plan::{PlanError, Windows};
use source::Source;

/// What is replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The cluster.
    pub cluster: String,
    /// A time within the first window, ms since the epoch.
    pub from: Millis,
    /// A time within the last window, ms since the epoch.
    pub to: Millis,
    /// Replay windows to which late samples may still come, as far as they have.
    pub open: bool,
    /// Replay windows of which metadata may have forgotten names.
    pub before_history: bool,
    /// The databases of places that the cluster's settings name.
    pub mmdb: Vec<PathBuf>,
    /// Replay as far as metadata and the raw log go, if `to` is later than that, and with it as far as late samples have come.
    pub as_far_as_known: bool,
    /// Make records of this level only, whether or not the settings keep it, and without places: for who judges them, and keeps none.
    pub level: Option<Level>,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Raw messages read.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Flow records given.
    pub records: u64,
    /// DNS records given.
    pub dns: u64,
    /// Share of the event time that has been read, 0 to 1000.
    pub permille: u16,
    /// Bytes of samples and records that wait, roughly.
    pub memory: usize,
}

/// Records of the generations that a step has closed, each kind in the order of generation and id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Flows, as on `flows.enriched.v1`.
    pub flows: Vec<Enriched>,
    /// DNS questions, as on `dns.enriched.v1`.
    pub dns: Vec<Dns>,
}

/// When the windows are complete enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    /// With the last generation that may hold a late sample of them.
    Late,
    /// With the last window itself.
    OnTime,
    /// With whatever there is.
    AsFarAsKnown,
}

/// A replay under way: [`Replay::next`] until there is nothing more.
pub struct Replay {
    log: Log,
    history: Arc<SettingsHistory>,
    known: metadata::Known,
    judge: Judge,
    places: Places,
    windows: Windows,
    until: Millis,
    completeness: Completeness,
    source: Source,
    lockstep: Lockstep,
    first_append: Option<Millis>,
    begun_at: Option<Millis>,
    to_read: u64,
    messages: u64,
    bytes: u64,
    records: u64,
    dns: u64,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("windows", &self.windows).field("until", &self.until).finish_non_exhaustive()
    }
}

impl Replay {
    /// Finds out from where to read, reads the metadata, and opens the raw topic.
    ///
    /// # Errors
    /// [`PlanError`], when raw data, checkpoints or metadata of the time are gone or not there yet; a cluster without
    /// settings; databases of places that are not given; a log that cannot be read.
    pub async fn prepare(request: &Request, log: &Log, metrics: &Metrics) -> anyhow::Result<Self> {
        let cluster = request.cluster.as_str();
        let mut history = SettingsTopic::read(log, cluster).await?.history()?;
        check_partitions(log, cluster, &history).await?;
        if let Some(level) = request.level {
            history = history.only(level);
        }
        let history = Arc::new(history);
        let places = Databases::new(&request.mmdb).load(&history)?;
        let window = history.latest().window;
        let mut windows = Windows { first: floor_to(request.from, window), last: floor_to(request.to, window) };
        let mut until = plan::last_generation(windows.last, &history);
        let raw = topics::raw(cluster);
        let completeness = match (request.as_far_as_known, request.open || !history.latest().live) {
            (true, _) => Completeness::AsFarAsKnown,
            (false, true) => Completeness::OnTime,
            (false, false) => Completeness::Late,
        };
        // As many as were in force for the last of the generations; none is ever taken away.
        let partitions = history.at(until).raw_partitions;
        if history.latest().live && completeness == Completeness::Late {
            refuse_what_may_grow(log, &raw, partitions, windows, until, &history).await?;
        }
        let starts = starts(log, cluster, &raw, partitions, windows.first, window).await?;
        let (known, _) = metadata::read_whole(log, cluster).await?;
        if completeness == Completeness::AsFarAsKnown {
            // What metadata does not reach would wait in memory for it.
            let complete = last_known(&known.table, history.latest());
            windows.last = windows.last.min(complete);
            until = until.min(complete);
        }
        check_metadata(&known.table, request, windows, until, &history)?;
        let mut source = Source::open(log, &raw, &starts).await?;
        let to_read = source.messages().await?;
        let first_append = source.first_append_time().await?;
        let lockstep = Lockstep::new(cluster, &history, &Meters::new(metrics), windows, until, &starts);
        Ok(Self {
            log: log.clone(),
            history,
            known,
            judge: Judge::default(),
            places,
            windows,
            until,
            completeness,
            source,
            lockstep,
            first_append,
            begun_at: None,
            to_read,
            messages: 0,
            bytes: 0,
            records: 0,
            dns: 0,
        })
    }

    /// Records of the next generations that are closed; none when more has to be read first, and nothing once the windows are
    /// complete. Cancel-safe only between calls.
    ///
    /// # Errors
    /// [`PlanError`], when the raw log ends before the windows are complete or was deleted while it was read.
    pub async fn next(&mut self) -> anyhow::Result<Option<Records>> {
        let Some(partition) = self.lockstep.wanted() else {
            return self.check_complete().map(|()| None);
        };
        match self.source.next(partition, self.windows.first).await? {
            Some(batch) => {
                for record in &batch {
                    self.lockstep.read(record);
                    self.messages += 1;
                    let bytes = record.value.as_ref().map_or(0, |value| value.len());
                    self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                }
            }
            None => self.lockstep.end(partition),
        }
        let policies = (&self.known.policies, &self.judge);
        let join = Joined { table: &self.known.table, places: &self.places, policies };
        let closed = self.lockstep.close(&join)?;
        self.source.close(|number| self.lockstep.reads(number));
        self.records += u64::try_from(closed.flows.len()).unwrap_or(u64::MAX);
        self.dns += u64::try_from(closed.dns.len()).unwrap_or(u64::MAX);
        Ok(Some(Records { flows: closed.flows.into_iter().map(Enriched::from).collect(), dns: closed.dns }))
    }

    fn check_complete(&self) -> anyhow::Result<()> {
        let complete = self.lockstep.complete();
        // Nobody is late where nothing is appended any more: a capture is complete at its end.
        let needed = match self.completeness {
            Completeness::Late => self.until,
            Completeness::OnTime => self.windows.last,
            Completeness::AsFarAsKnown => return Ok(()),
        };
        if complete >= needed {
            return Ok(());
        }
        Err(plan::incomplete(self.windows, needed, complete, &self.history).into())
    }

    /// The windows that are replayed.
    #[must_use]
    pub fn windows(&self) -> Windows {
        self.windows
    }

    /// How many raw messages there are from where they are read on, roughly: fewer are read when the windows end earlier.
    #[must_use]
    pub fn messages_to_read(&self) -> u64 {
        self.to_read
    }

    /// The settings that came into force last.
    #[must_use]
    pub fn settings(&self) -> &RecordSettings {
        self.history.latest()
    }

    /// When the first of the raw messages that are read was appended, ms since the epoch: no record of the windows was
    /// written earlier. Nothing when there are no messages.
    #[must_use]
    pub fn first_append_time(&self) -> Option<Millis> {
        self.first_append
    }

    /// The last generation whose records have all been given, once [`Replay::next`] gives nothing more.
    #[must_use]
    pub fn complete(&self) -> Millis {
        self.lockstep.complete().min(self.until)
    }

    /// The last generation that may hold records of the windows.
    #[must_use]
    pub fn until(&self) -> Millis {
        self.until
    }

    /// [`written`] of the replayed cluster.
    ///
    /// # Errors
    /// As there.
    pub async fn written_by_the_enricher(&self) -> anyhow::Result<Option<Millis>> {
        written(&self.log, self.history.latest()).await
    }

    /// How far it is.
    pub fn progress(&mut self) -> Progress {
        let watermark = self.lockstep.watermark();
        let end = metadata_needed(self.until, self.history.latest());
        let mut permille = 0;
        if watermark != NEVER {
            let begun = *self.begun_at.get_or_insert(watermark.min(end));
            let (done, all) = (watermark.min(end).saturating_sub(begun), end.saturating_sub(begun).max(1));
            permille = u16::try_from(done.saturating_mul(1_000) / all).unwrap_or(1_000).min(1_000);
        }
        let memory = self.lockstep.memory();
        Progress { messages: self.messages, bytes: self.bytes, records: self.records, dns: self.dns, permille, memory }
    }
}

/// The last generation that the enricher says to have written for every internal partition of a cluster; nothing where its
/// group has no positions, or none any more.
///
/// # Errors
/// When no broker answers, or positions are of another version.
pub async fn written(log: &Log, settings: &RecordSettings) -> anyhow::Result<Option<Millis>> {
    let topic = topics::partial(&settings.cluster);
    let partitions: Vec<_> =
        (0..settings.internal_partitions).map(|number| TopicPartition::new(topic.as_str(), number)).collect();
    let mut lowest: Option<Millis> = None;
    for (partition, committed) in log.committed(&group(2, &settings.cluster), &partitions).await? {
        let Some(committed) = committed else { return Ok(None) };
        let position =
            Stage2Position::parse(committed.offset, &committed.metadata).with_context(|| partition.to_string())?;
        lowest = Some(lowest.map_or(position.written, |lowest| lowest.min(position.written)));
    }
    Ok(lowest)
}

/// Refuses windows to which late samples may still come, before anything is read: the newest append times bound how far
/// the frontiers can be.
async fn refuse_what_may_grow(
    log: &Log,
    raw: &str,
    partitions: i32,
    windows: Windows,
    until: Millis,
    history: &SettingsHistory,
) -> anyhow::Result<()> {
    let all = Partitions::Some((0..partitions).collect());
    let mut reader = log.reader(raw, all, Start::BeforeEnd(1)).await?;
    let mut lowest = Millis::MAX;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in batch {
            lowest = lowest.min(plan::at_most_complete(record.timestamp, history.latest()));
        }
    }
    if lowest < until {
        return Err(plan::incomplete(windows, until, lowest, history).into());
    }
    Ok(())
}

/// Where each raw partition is read from.
async fn starts(
    log: &Log,
    cluster: &str,
    raw: &str,
    partitions: i32,
    first: Millis,
    window: Millis,
) -> anyhow::Result<Vec<crate::position::Stage1Position>> {
    let mut log_starts = Vec::new();
    for number in 0..partitions {
        log_starts.push(log.log_start(&TopicPartition::new(raw, number)).await?);
    }
    let mut checkpoints = Checkpoints::new(first, log_starts);
    let topic = topics::checkpoint(cluster);
    let mut reader = log.reader(&topic, Partitions::All, Start::Beginning).await?;
    while let Some(batch) = reader.next_before_end(IDLE).await? {
        for record in &batch {
            let Some(value) = &record.value else { continue };
            let checkpoint: Checkpoint = decode(value)
                .with_context(|| format!("topic {topic} offset {}", record.offset))
                .hint("it was written by a newer version of weir; upgrade this one")?;
            if checkpoint.cluster == cluster {
                checkpoints.take(&checkpoint);
            }
        }
    }
    Ok(checkpoints.starts(raw, window)?)
}

/// The last window for which metadata is complete.
fn last_known(table: &Table, settings: &RecordSettings) -> Millis {
    match table.complete_to() {
        FOR_EVER => FOR_EVER,
        time => Frontier::at(time).last_complete_window(settings),
    }
}

/// Refuses windows that metadata does not reach, at either end.
fn check_metadata(
    table: &Table,
    request: &Request,
    windows: Windows,
    until: Millis,
    history: &SettingsHistory,
) -> anyhow::Result<()> {
    let (complete_to, settings) = (table.complete_to(), history.latest());
    let needed_for = if request.open || request.as_far_as_known || !settings.live { windows.last } else { until };
    // Even what is replayed as far as it is known must begin before that.
    let needed_for = needed_for.max(windows.first);
    if last_known(table, settings) < needed_for {
        let needed = metadata_needed(needed_for, settings);
        return Err(PlanError::MetadataBehind { complete_to, last: windows.last, needed }.into());
    }
    let whole_from = table.history_start();
    if windows.first < whole_from && !request.before_history {
        return Err(PlanError::BeforeHistory { whole_from }.into());
    }
    Ok(())
}
