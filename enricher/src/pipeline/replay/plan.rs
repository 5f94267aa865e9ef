//! From where each raw partition is read, and up to which generation: functions of checkpoints and settings, without IO.

use crate::history::SettingsHistory;
use crate::position::Stage1Position;
use thiserror::Error;
use weir_flow::time::{Frontier, NEVER, floor_to, metadata_needed, placed_tick};
use weir_flow::{Millis, RecordSettings};
use weir_schemas::checkpoint::Checkpoint;
use weir_stream::TopicPartition;

#[cfg(test)]
mod tests;

/// Windows from `first` to `last`, both included, each named by its start (ms since the epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Start of the first window.
    pub first: Millis,
    /// Start of the last window.
    pub last: Millis,
}

impl Windows {
    /// Whether a window is one of them.
    #[must_use]
    pub fn contains(&self, window: Millis) -> bool {
        (self.first..=self.last).contains(&window)
    }
}

/// Why windows cannot be replayed, with what was lost or is not there yet.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// Raw messages that the windows need were deleted.
    #[error(
        "raw messages are gone: offsets {from} to {} of {partition} were deleted, and windows from {} on need them; {}",
        to.saturating_sub(1), Time(*.first), EarliestText(*.earliest)
    )]
    Expired {
        /// The raw partition.
        partition: TopicPartition,
        /// The first offset that is needed.
        from: i64,
        /// The first offset that is still there.
        to: i64,
        /// The first window that was asked for.
        first: Millis,
        /// The earliest window that can be replayed.
        earliest: Option<Millis>,
    },
    /// No checkpoint is old enough, and the beginning of the log is gone.
    #[error(
        "no checkpoint of {partition} is older than {}, and its log begins at offset {log_start}, not at 0, so that where to begin is not known; {}",
        Time(*.first), EarliestText(*.earliest)
    )]
    NoCheckpoint {
        /// The raw partition.
        partition: TopicPartition,
        /// The first offset that is still there.
        log_start: i64,
        /// The first window that was asked for.
        first: Millis,
        /// The earliest window that can be replayed.
        earliest: Option<Millis>,
    },
    /// Late samples may still come.
    #[error(
        "windows up to {} are not complete before {}, because late samples may come until then; {}",
        Time(*.last), Time(*.complete_at), LatestText(*.latest)
    )]
    Incomplete {
        /// The last window that was asked for.
        last: Millis,
        /// The watermark that every raw partition must have reached, ms since the epoch.
        complete_at: Millis,
        /// The last window that is complete already.
        latest: Option<Millis>,
    },
    /// Metadata does not reach far enough.
    #[error("metadata is complete up to {} only, and windows up to {} need it up to {}", Time(*.complete_to), Time(*.last), Time(*.needed))]
    MetadataBehind {
        /// H.
        complete_to: Millis,
        /// The last window that was asked for.
        last: Millis,
        /// The H that is needed.
        needed: Millis,
    },
    /// What was known of the time before has been forgotten, or was never seen.
    #[error("metadata is whole from {} on only: names of earlier windows would be missing, also where they were known once", Time(*.whole_from))]
    BeforeHistory {
        /// From when the history is whole.
        whole_from: Millis,
    },
}

impl PlanError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => {
                "raw samples are kept as long as retention.ms of their topic says: replay later windows, and raise it if that is too short"
            }
            Self::NoCheckpoint { .. } => {
                "replay later windows; retention.ms of the checkpoint topic must not be shorter than that of the raw topic"
            }
            Self::Incomplete { .. } => {
                "replay earlier windows, wait, or give --open to replay without the late samples that may still come"
            }
            Self::MetadataBehind { .. } => "is the metadata service running? replay earlier windows, or wait for it",
            Self::BeforeHistory { .. } => {
                "replay later windows, or give --before-history to replay with the names that are still known"
            }
        }
    }
}

/// A time as people write it.
pub(crate) struct Time(pub(crate) Millis);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) if self.0 == NEVER => f.write_str("never"),
            Err(_) => write!(f, "{} ms since the epoch", self.0),
        }
    }
}

struct EarliestText(Option<Millis>);

impl std::fmt::Display for EarliestText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(window) => write!(f, "the earliest window that can be replayed is {}", Time(window)),
            None => f.write_str("no checkpoint tells of a later window that can be replayed"),
        }
    }
}

struct LatestText(Option<Millis>);

impl std::fmt::Display for LatestText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(window) => write!(f, "the last window that is complete is {}", Time(window)),
            None => f.write_str("no window is complete yet"),
        }
    }
}

/// How far behind a window the last generation is that may hold a late sample of it.
///
/// A sample of tick t is taken while M ≤ t + late bound, and then its generation is at most floor(M − grace).
fn late_generations(history: &SettingsHistory) -> Millis {
    let settings = history.latest();
    // Tick, window and grace are the same for a cluster's life, the late bound is not.
    let late = history.entries().map(|entry| entry.late_bound).max().unwrap_or(0);
    let last_tick = settings.window.saturating_sub(settings.tick);
    floor_to(last_tick.saturating_add(late).saturating_sub(settings.grace), settings.window).max(0)
}

/// The last generation that may hold a sample of a window up to `last`.
pub(super) fn last_generation(last: Millis, history: &SettingsHistory) -> Millis {
    last.saturating_add(late_generations(history))
}

/// The refusal of windows that are complete up to generation `complete` only.
pub(super) fn incomplete(windows: Windows, until: Millis, complete: Millis, history: &SettingsHistory) -> PlanError {
    let latest = (complete != NEVER).then(|| complete.saturating_sub(late_generations(history)));
    PlanError::Incomplete { last: windows.last, complete_at: metadata_needed(until, history.latest()), latest }
}

/// The last generation that can be complete in a live partition whose newest message was appended at `newest`.
pub(super) fn at_most_complete(newest: Millis, settings: &RecordSettings) -> Millis {
    let (tick, _) = placed_tick(Millis::MAX, newest, settings);
    let mut frontier = Frontier::default();
    frontier.observe(tick, settings);
    frontier.last_complete_window(settings)
}

/// What the checkpoints of one raw partition allow.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// The last one with T before the first window.
    before: Option<Stage1Position>,
    /// The lowest T from which everything is still there.
    earliest: Option<Millis>,
}

/// Gathers what matters of the checkpoint topic, in memory that does not grow with it.
#[derive(Debug)]
pub(super) struct Checkpoints {
    first: Millis,
    /// The first offset that is still there, by raw partition.
    log_starts: Vec<i64>,
    found: Vec<Found>,
}

impl Checkpoints {
    /// Looks for where to begin so that every generation from window `first` on is whole.
    pub(super) fn new(first: Millis, log_starts: Vec<i64>) -> Self {
        let found = vec![Found::default(); log_starts.len()];
        Self { first, log_starts, found }
    }

    /// Takes a checkpoint of this cluster; of a partition that is not read it is ignored.
    pub(super) fn take(&mut self, checkpoint: &Checkpoint) {
        let Ok(number) = usize::try_from(checkpoint.partition) else { return };
        let (Some(found), Some(log_start)) = (self.found.get_mut(number), self.log_starts.get(number)) else { return };
        let position = Stage1Position {
            offset: checkpoint.offset,
            written: checkpoint.generation,
            watermark: checkpoint.watermark,
        };
        if position.offset >= *log_start && found.earliest.is_none_or(|earliest| position.written < earliest) {
            found.earliest = Some(position.written);
        }
        let later = |before: Stage1Position| (position.written, position.offset) > (before.written, before.offset);
        if position.written < self.first && found.before.is_none_or(later) {
            found.before = Some(position);
        }
    }

    /// Where each partition is read from, in order of their numbers.
    ///
    /// # Errors
    /// When what is needed was deleted, or when it is not known where to begin.
    pub(super) fn starts(&self, topic: &str, window: Millis) -> Result<Vec<Stage1Position>, PlanError> {
        let partitions = self.found.iter().zip(&self.log_starts).enumerate();
        partitions.map(|(number, (found, log_start))| self.start(topic, number, found, *log_start, window)).collect()
    }

    fn start(
        &self,
        topic: &str,
        number: usize,
        found: &Found,
        log_start: i64,
        window: Millis,
    ) -> Result<Stage1Position, PlanError> {
        let partition = TopicPartition::new(topic, i32::try_from(number).unwrap_or(i32::MAX));
        let first = self.first;
        match found.before {
            Some(position) if position.offset >= log_start => Ok(position),
            // Without a checkpoint, only a log that is whole tells where generations begin.
            _ if log_start == 0 => Ok(Stage1Position::START),
            Some(position) => Err(PlanError::Expired {
                partition,
                from: position.offset,
                to: log_start,
                first,
                earliest: self.earliest(window),
            }),
            None => Err(PlanError::NoCheckpoint { partition, log_start, first, earliest: self.earliest(window) }),
        }
    }

    /// The earliest window that all partitions can give.
    fn earliest(&self, window: Millis) -> Option<Millis> {
        let from = self.found.iter().zip(&self.log_starts).map(|(found, log_start)| match found.earliest {
            _ if *log_start == 0 => Some(NEVER),
            earliest => earliest.map(|written| written.saturating_add(window)),
        });
        from.collect::<Option<Vec<_>>>()?.into_iter().max().filter(|earliest| *earliest != NEVER)
    }
}
