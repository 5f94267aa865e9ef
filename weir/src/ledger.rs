//! `weir ledger`: where everything that agents saw has gone.

use crate::flows::Output;
use crate::record_settings;
use anyhow::{Result, anyhow};
use clap::Args;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;
use weir_flow::Millis;
use weir_schemas::ledger::Ledger;
use weir_schemas::settings::Dated;
use weir_schemas::topics;
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _, ProcessSettings, rate_limited};
use weir_stream::{KafkaSettings, Log, Partitions, Start};

mod account;
mod report;
#[cfg(test)]
mod tests;

use account::{Account, Lines};

/// What the long help says at its end.
pub(crate) const HELP: &str = "\
The enricher writes a line for each node and window of what it received, and one for each level of what it stored; agents say in every
batch what they have seen and lost since they began. This command adds both up and compares them, packet by packet:

  seen by agents = lost by agents + missing (batches that never arrived) + not taken (too late, filtered, outside totals) + received
  received       = in records, at each level that is kept of all flows (of sampled ones as many as they stand for)

A loss has a name and is no error. Windows of which the enricher has not written every record yet are left out and said to be open.

Examples:
  weir ledger                              the last hour
  weir ledger --since 26h --until 25h      an hour of yesterday
  weir ledger --node worker-3 -o json      one node's, for a program

Exit codes: 0 it adds up, or there is nothing yet; 1 it failed; 2 wrong usage; 3 it does not add up.";

/// Exit code when records are not what was received.
const EXIT_WRONG: u8 = 3;

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(20);

/// How far the clocks of the brokers and of agents may differ, ms.
const CLOCKS: Millis = 60_000;

/// The most lines that one command takes in hand: a day of 600 nodes, some 500 MB.
const MOST: usize = 1_000_000;

/// Settings of `weir ledger`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LedgerSettings {
    /// Id of the cluster
    #[arg(long, value_name = "NAME", default_value = topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Windows that start at this time or later: 2026-01-31T12:00:00Z, or an age such as 15m
    #[arg(long, value_name = "TIME", default_value = "1h")]
    since: String,
    /// Windows that start before this time; up to now without it
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// List this node alone; what is compared is the cluster
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The most agents to list, those first that lost most
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    /// Where the topics are
    #[command(flatten)]
    kafka: KafkaSettings,
    /// The process
    #[command(flatten)]
    process: ProcessSettings,
}

/// Adds up.
pub(crate) fn main(loaded: Loaded<LedgerSettings>) -> ExitCode {
    let process = crate::flows::quiet(&loaded.settings.process);
    weir_service::run_loaded("weir-ledger", crate::VERSION, loaded, &process, run)
}

impl LedgerSettings {
    fn generations(&self) -> Result<Range<Millis>> {
        let now = crate::clock::now();
        let since = weir_console::filter::time("--since", &self.since, now)?;
        let until = self.until.as_ref().map(|until| weir_console::filter::time("--until", until, now)).transpose()?;
        let until = until.unwrap_or(Millis::MAX);
        anyhow::ensure!(since < until, "--until is not after --since");
        Ok(since..until)
    }
}

async fn run(context: Context<LedgerSettings>) -> Result<()> {
    let settings = &context.settings;
    let generations = settings.generations().hint("weir ledger --help says how times are written").exit_code(2)?;
    let (log, dated) = record_settings::read(&settings.kafka, &settings.cluster).await?;
    let work = async {
        // First, so that every line that it promises is there when the topic is read.
        let written = written(&log, &dated).await?;
        let lines = read(&log, &settings.cluster, generations).await?;
        Ok(lines.account(&dated, written))
    };
    let account = tokio::select! {
        () = context.shutdown.cancelled() => Err(anyhow!("stopped before the end of the ledger")),
        account = work => account,
    }?;
    crate::policy::print(&report::text(settings, &account)?)?;
    verdict(&account)
}

fn verdict(account: &Account) -> Result<()> {
    if account.adds_up() {
        return Ok(());
    }
    Err(anyhow!("the ledger does not add up"))
        .hint("make the same windows again from the raw topic with `weir replay --compare`: it lists the records that differ")
        .exit_code(EXIT_WRONG)
}

async fn written(log: &Log, dated: &Dated) -> Result<Option<Millis>> {
    match dated.entries.last() {
        Some(settings) => weir_enricher::replay::written(log, settings).await,
        None => Ok(None),
    }
}

/// The lines of some generations, and those by which their first one begins.
async fn read(log: &Log, cluster: &str, generations: Range<Millis>) -> Result<Lines> {
    // A line is appended after its generation has ended.
    let from = Start::Time(generations.start.saturating_sub(CLOCKS));
    let mut lines = Lines::new(cluster.to_owned(), generations);
    let mut reader = log.reader(topics::LEDGER, Partitions::All, from).await?;
    while let Some(records) = reader.next_before_end(IDLE).await? {
        for record in records {
            let Some(value) = record.value.as_deref() else { continue };
            match weir_schemas::decode::<Ledger>(value) {
                Ok(line) => lines.take(line),
                Err(error) => rate_limited!(warn, "topic {} offset {}: {error}", topics::LEDGER, record.offset),
            }
        }
        if lines.len() > MOST {
            return Err(anyhow!("more than {MOST} lines")).hint("choose a shorter time with --since and --until");
        }
    }
    Ok(lines)
}
