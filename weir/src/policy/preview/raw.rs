//! Connections from raw samples: what the enricher would have said of them, made again by its own code and not kept.

use crate::policy::source::{now, shown};
use crate::replay::progress::ProgressLine;
use anyhow::{Result, anyhow};
use bytesize::ByteSize;
use std::time::{Duration, Instant};
use weir_enricher::replay::{PlanError, Replay, Request};
use weir_flow::{Level, Millis};
use weir_preview::Preview;
use weir_schemas::enriched::Enriched;
use weir_service::{HintExt as _, Metrics};
use weir_stream::Log;

/// How long the beginning is read to tell how long the whole takes.
const TRIAL: Duration = Duration::from_secs(1);

/// What a replay costs, about or in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Raw messages.
    pub(super) messages: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// How long they take.
    pub(super) time: Duration,
}

impl Cost {
    /// The whole's, when so much of it has been read in this time.
    pub(super) fn of_whole(messages: u64, read: (u64, u64), took: Duration) -> Self {
        let (read_messages, read_bytes) = read;
        let per_message = |amount: u128| amount * u128::from(messages) / u128::from(read_messages.max(1));
        let bytes = u64::try_from(per_message(u128::from(read_bytes))).unwrap_or(u64::MAX);
        let millis = u64::try_from(per_message(took.as_millis())).unwrap_or(u64::MAX);
        Self { messages, bytes, time: Duration::from_millis(millis) }
    }

    fn amount(self) -> String {
        format!("{} messages, {}", self.messages, ByteSize(self.bytes))
    }

    /// `about 120000 messages, 1.2 GiB, which takes about 3 min`.
    pub(super) fn to_come(self) -> String {
        format!("about {}, which takes about {}", self.amount(), long(self.time))
    }

    /// `120000 messages, 1.2 GiB, in 171.3 s`.
    pub(super) fn done(self) -> String {
        format!("{}, in {:.1} s", self.amount(), self.time.as_secs_f64())
    }
}

/// A time as people say it.
fn long(time: Duration) -> String {
    match time.as_secs() {
        0..=1 => "a second".to_owned(),
        seconds @ 2..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// A replay of which the beginning has been read.
pub(super) struct Raw {
    replay: Replay,
    /// What the beginning gave.
    waiting: Vec<Enriched>,
    took: Duration,
    ended: bool,
    kept_from: Option<Millis>,
    pub(super) cost: Cost,
}

impl Raw {
    /// Finds out from where to read, and reads for a second to tell the cost. Where the raw topic does not reach back to `since`
    /// it begins as early as it can.
    pub(super) async fn prepare(log: &Log, cluster: &str, since: Millis, metrics: &Metrics) -> Result<Self> {
        let request = |from| Request {
            cluster: cluster.to_owned(),
            from,
            to: now(),
            open: true,
            // What metadata has forgotten is judged as unknown, and says why.
            before_history: true,
            mmdb: Vec::new(),
            as_far_as_known: true,
            level: Some(Level::One),
        };
        let mut kept_from = None;
        let replay = match Replay::prepare(&request(since), log, metrics).await {
            Err(error) => {
                kept_from = error.downcast_ref().and_then(earliest);
                let from = kept_from.ok_or(error).or_else(explain)?;
                Replay::prepare(&request(from), log, metrics).await.or_else(explain)?
            }
            Ok(replay) => replay,
        };
        let messages = replay.messages_to_read();
        let nothing = Cost { messages, bytes: 0, time: Duration::ZERO };
        let mut raw =
            Self { replay, waiting: Vec::new(), took: Duration::ZERO, ended: false, kept_from, cost: nothing };
        raw.try_out().await?;
        Ok(raw)
    }

    async fn try_out(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < TRIAL && !self.ended {
            match self.replay.next().await.or_else(explain)? {
                Some(records) => self.waiting.extend(records.flows),
                None => self.ended = true,
            }
        }
        self.took = begun.elapsed();
        let progress = self.replay.progress();
        let messages = if self.ended { progress.messages } else { self.cost.messages.max(progress.messages) };
        self.cost = Cost::of_whole(messages, (progress.messages, progress.bytes), self.took);
        Ok(())
    }

    /// From which window on there are raw samples, if that is later than what was asked for.
    pub(super) fn kept_from(&self) -> Option<Millis> {
        self.kept_from
    }

    /// Judges all of it, and says what it took.
    pub(super) async fn judge(mut self, preview: &mut Preview<'_>) -> Result<Cost> {
        let begun = Instant::now();
        let mut line = ProgressLine::new();
        self.waiting.drain(..).for_each(|flow| preview.take(&flow));
        while !self.ended {
            match self.replay.next().await.or_else(explain)? {
                Some(records) => records.flows.iter().for_each(|flow| preview.take(flow)),
                None => self.ended = true,
            }
            let mut progress = self.replay.progress();
            let done = progress.messages.saturating_mul(1_000) / self.cost.messages.max(1);
            progress.permille = u16::try_from(done.min(1_000)).unwrap_or(1_000);
            line.show(&progress);
        }
        let progress = self.replay.progress();
        Ok(Cost { messages: progress.messages, bytes: progress.bytes, time: self.took + begun.elapsed() })
    }
}

/// The first window that the raw topic still gives, where that is why a replay is refused.
fn earliest(error: &PlanError) -> Option<Millis> {
    match error {
        PlanError::Expired { earliest, .. } | PlanError::NoCheckpoint { earliest, .. } => *earliest,
        PlanError::Incomplete { .. } | PlanError::MetadataBehind { .. } | PlanError::BeforeHistory { .. } => None,
    }
}

/// What cannot be replayed ends with a hint.
fn explain<T>(error: anyhow::Error) -> Result<T> {
    match error.downcast_ref::<PlanError>() {
        Some(PlanError::MetadataBehind { complete_to, .. }) => {
            let text =
                format!("metadata is complete up to {} only, which is before what is asked for", shown(*complete_to));
            Err(anyhow!(text)).hint("is the metadata service running?")
        }
        Some(plan) => {
            let hint = plan.hint();
            Err(error).hint(hint)
        }
        None => Err(error),
    }
}
