//! `weir replay`: flows and DNS questions of past windows, made again from the raw topic.

use anyhow::{Result, anyhow};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use weir_elastic::ElasticSettings;
use weir_enricher::replay::{PlanError, Replay, Request};
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Enriched;
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::{KafkaSettings, Log};

mod compare;
mod kind;
mod line;
mod output;
pub(crate) mod progress;
mod report;
#[cfg(test)]
pub(crate) mod samples;
mod standing;

use compare::Comparison;
use kind::Replayed;
use output::Sink;
use progress::ProgressLine;

/// Exit code when windows cannot be replayed: what they need was deleted, or is not complete yet.
const EXIT_CANNOT: u8 = 3;

/// What the long help says at its end.
pub(crate) const HELP: &str = "\
A replay reads raw samples from the last checkpoint before the first window up to the generation with which the last window is
complete, that is the late bound later. It joins them with what Kubernetes knew then, by the settings that held then, and runs the
same code as the enricher, without a consumer group: it disturbs nothing. What it gives is the same to the byte on any day.

Times are RFC 3339 (2026-01-31T12:00:00Z) or ages (90m, 7d). The windows in which they lie are the first and the last.

Examples:
  weir replay --from 26h --to 25h > flows.jsonl            one record a line, by generation and id
  weir replay --from 26h --to 25h --topic flows.replayed   to a topic of its own
  weir replay --from 26h --to 25h --index                  to indices of their own, for Kibana
  weir replay --from 26h --to 25h --compare                are the records of flows.enriched.v1 the same?
  weir replay --from 10m --to 5m --open --compare          the same for windows to which late samples may still come
  weir replay --from 26h --to 25h --repair --yes           correct what differs
  weir replay --from 26h --to 25h --dns > dns.jsonl        DNS questions instead of flows; --compare and --repair too

Exit codes: 0 done, or all the same; 1 records differ, or it failed; 2 wrong usage; 3 the windows cannot be replayed, because what they
need was deleted or is not complete yet.";

/// Settings of `weir replay`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplaySettings {
    /// Cluster whose flows are replayed
    #[arg(long, value_name = "NAME", default_value = weir_schemas::topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Time in the first window: 2026-01-31T12:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Time in the last window, which is replayed too
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Replay windows to which late samples may still come, as far as they have
    #[arg(long)]
    open: bool,
    /// Replay windows of which metadata may have forgotten names
    #[arg(long)]
    before_history: bool,
    /// Replay DNS questions, which stand on dns.enriched.v1, instead of flows
    #[arg(long, conflicts_with = "index")]
    dns: bool,
    /// Databases (MaxMind DB format) of places that the cluster's settings name
    #[arg(long, value_delimiter = ',', value_name = "FILE,..")]
    mmdb: Vec<PathBuf>,
    /// Write the records to this file, one JSON object a line, instead of standard output
    #[arg(long, value_name = "FILE", group = "where", help_heading = "What becomes of the records")]
    file: Option<PathBuf>,
    /// Write the records to this topic, in the form of flows.enriched.v1 or dns.enriched.v1; it is made if it is missing
    #[arg(long, value_name = "NAME", group = "where", help_heading = "What becomes of the records")]
    topic: Option<String>,
    /// Write the records to indices of their own, weir-replay-…, which the alias weir-replay reads
    #[arg(long, group = "where", help_heading = "What becomes of the records")]
    index: bool,
    /// Compare them with what stands on flows.enriched.v1 or dns.enriched.v1, and write nothing; exit code 1 when something differs
    #[arg(long, group = "where", help_heading = "What becomes of the records")]
    compare: bool,
    /// Compare, and write corrections to the same topic: an upsert of what is missing or different, a delete of what is too much
    #[arg(long, group = "where", conflicts_with_all = ["open", "before_history"], help_heading = "What becomes of the records")]
    repair: bool,
    /// Write the corrections; without it --repair only says how many there would be
    #[arg(long, requires = "repair", help_heading = "What becomes of the records")]
    yes: bool,
    /// The most differences that are listed
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    differences: u16,
    /// How to print what was done
    #[arg(long, short, value_enum, default_value_t = crate::flows::Output::Table, value_name = "FORM")]
    output: crate::flows::Output,
    /// Where the topics are
    #[command(flatten)]
    kafka: KafkaSettings,
    /// Where --index writes
    #[command(flatten)]
    elastic: ElasticSettings,
    /// The process
    #[command(flatten)]
    process: ProcessSettings,
}

/// Replays.
pub(crate) fn main(loaded: Loaded<ReplaySettings>) -> ExitCode {
    let process = crate::flows::quiet(&loaded.settings.process);
    weir_service::run_loaded("weir-replay", crate::VERSION, loaded, &process, run)
}

impl ReplaySettings {
    fn request(&self) -> Result<Request> {
        let now = crate::clock::now();
        let from = weir_console::filter::time("--from", &self.from, now)?;
        let to = weir_console::filter::time("--to", &self.to, now)?;
        anyhow::ensure!(from <= to, "--to is before --from");
        Ok(Request {
            cluster: self.cluster.clone(),
            from,
            to,
            open: self.open,
            before_history: self.before_history,
            mmdb: self.mmdb.clone(),
            as_far_as_known: false,
            level: None,
        })
    }

    async fn sink(&self, log: &Log) -> Result<Sink> {
        Sink::open(self.file.as_deref(), self.topic.as_deref(), log).await
    }

    fn compares(&self) -> bool {
        self.compare || self.repair
    }
}

async fn run(context: Context<ReplaySettings>) -> Result<()> {
    let settings = &context.settings;
    let request = settings.request().hint("weir replay --help says how times are written").exit_code(2)?;
    if let Some(topic) = &settings.topic {
        output::check_topic(topic).hint("give it a name of your own, such as flows.replayed").exit_code(2)?;
    }
    let log = crate::kafka::log(&settings.kafka).await?;
    let work = async {
        let mut replay = Replay::prepare(&request, &log, &context.metrics).await?;
        match (settings.compares(), settings.dns) {
            (true, false) => compared::<Enriched>(settings, &log, &mut replay).await,
            (true, true) => compared::<Dns>(settings, &log, &mut replay).await,
            (false, false) => {
                let mut sink = match settings.index {
                    true => Sink::index(&settings.elastic, &log).await?,
                    false => settings.sink(&log).await?,
                };
                each(&mut replay, async |records: Vec<Enriched>| sink.write_flows(&records).await).await?;
                sink.finish()?;
                let records = replay.progress().records;
                report::written::<Enriched>(settings, &mut replay, records)
            }
            (false, true) => {
                let mut sink = settings.sink(&log).await?;
                each(&mut replay, async |records: Vec<Dns>| sink.write(&records).await).await?;
                sink.finish()?;
                let records = replay.progress().dns;
                report::written::<Dns>(settings, &mut replay, records)
            }
        }
    };
    let outcome = tokio::select! {
        () = context.shutdown.cancelled() => Err(anyhow!("stopped before the end: the records are not all there")),
        outcome = work => outcome,
    };
    outcome.or_else(explain)
}

/// What cannot be replayed ends with a hint and a code of its own.
fn explain(error: anyhow::Error) -> Result<()> {
    match error.downcast_ref::<PlanError>().map(PlanError::hint) {
        Some(hint) => Err(error).hint(hint).exit_code(EXIT_CANNOT),
        None => Err(error),
    }
}

/// Gives all records to `take`, with a line of progress for a person who watches.
async fn each<R: Replayed>(replay: &mut Replay, mut take: impl AsyncFnMut(Vec<R>) -> Result<()>) -> Result<()> {
    let mut line = ProgressLine::new();
    while let Some(records) = replay.next().await? {
        line.show(&replay.progress());
        let records = R::of(records);
        if !records.is_empty() {
            take(records).await?;
        }
    }
    Ok(())
}

async fn compared<R: Replayed>(settings: &ReplaySettings, log: &Log, replay: &mut Replay) -> Result<()> {
    let most = usize::from(settings.differences);
    let written = replay.written_by_the_enricher().await?;
    let standing = standing::read::<R>(log, replay, &settings.cluster).await?;
    let mut comparison = Comparison::<R>::new(standing, written, most);
    let mut correct = if settings.yes { Some(output::Corrections::new(log, &settings.cluster).await?) } else { None };
    each(replay, async |records: Vec<R>| {
        let corrections = comparison.judge(records)?;
        match &mut correct {
            Some(correct) => correct.write(corrections).await,
            None => Ok(()),
        }
    })
    .await?;
    let extra = comparison.finish(replay.complete());
    if let Some(correct) = &mut correct {
        correct.delete::<R>(log, &extra).await?;
    }
    report::compared(settings, log, replay, &comparison, &extra).await
}
