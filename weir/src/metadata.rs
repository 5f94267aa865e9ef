//! `weir metadata give-up`: windows that wait for metadata that nobody will write.

use crate::audit::Act;
use crate::clock::text as time;
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;
use weir_metadata::gap::{self, Gap};
use weir_schemas::topics;
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::{KafkaSettings, Log, ProducerSettings};

pub(crate) const HELP: &str = "\
Windows are written once metadata is complete to their end. Where the metadata service or its API server is gone for good, a
person may give up on what it would have told: flows between the last heartbeat and --to are then written without names
(not_yet_reported), for ever. It is refused while heartbeats are written, and cannot be taken back.

Examples:
  weir metadata give-up --to 10m            what would be given up
  weir metadata give-up --to 10m --yes      give it up, and say so in the audit";

/// `weir metadata`.
#[derive(Debug, Clone, Args)]
pub(crate) struct MetadataCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Let windows that wait for metadata be written without names
    GiveUp(Box<GiveUp>),
}

#[derive(Debug, Clone, Args)]
struct GiveUp {
    /// Id of the cluster
    #[arg(long, default_value = topics::DEFAULT_CLUSTER, value_name = "NAME")]
    cluster: String,
    /// Up to when, as a time such as 2026-07-01T12:00:00Z or an age such as 10m; down to a whole minute
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Do it; without it only what would be done is said
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

/// Gives up.
pub(crate) fn main(loaded: Loaded<MetadataCommand>) -> ExitCode {
    let Verb::GiveUp(options) = &loaded.settings.verb;
    let process = crate::flows::quiet(&options.process);
    weir_service::run_loaded("weir-metadata-command", crate::VERSION, loaded, &process, run)
}

async fn run(context: Context<MetadataCommand>) -> Result<()> {
    let Verb::GiveUp(options) = &context.settings.verb;
    let log = crate::kafka::log(&options.kafka).await?;
    let now = crate::clock::now();
    let to = weir_console::filter::time("--to", &options.to, now)?;
    let cluster = options.cluster.as_str();
    let hint = "nothing was given up";
    let gap = if options.yes {
        let gap = gap::give_up(&log, cluster, to, now).await.hint(hint)?;
        note(&log, cluster, gap).await.context("the gap is written, but the audit does not say so")?;
        gap
    } else {
        gap::decide(cluster, gap::standing(&log, cluster).await.hint(hint)?, to, now).hint(hint)?
    };
    let mut out = std::io::stdout().lock();
    // A closed standard output is no error.
    let _ = writeln!(out, "{}", words(cluster, gap, options.yes));
    Ok(())
}

fn words(cluster: &str, Gap { after, to }: Gap, done: bool) -> String {
    let seconds = to.saturating_sub(after) / 1_000;
    let what = format!("{seconds} s of cluster {cluster}, after {} up to {}", time(after), time(to));
    if done {
        format!("given up: {what}; flows of then have no names")
    } else {
        format!("would give up {what}: flows of then would never have names; nothing was done, --yes does it")
    }
}

async fn note(log: &Log, cluster: &str, gap: Gap) -> Result<()> {
    let act = Act {
        command: "weir metadata give-up",
        action: "give_up_metadata",
        target: format!("{}/{cluster}", topics::METADATA),
        reason: format!("metadata stood still: nothing is known after {} up to {}", time(gap.after), time(gap.to)),
        bytes: 0,
        documents: 0,
    };
    log.producer(&ProducerSettings::new("weir-metadata-command"))?.send(act.message()?)?.await?;
    Ok(())
}
