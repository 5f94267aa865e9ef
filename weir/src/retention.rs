//! `weir retention plan|apply`: what the disk budget asks for.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::Write as _;
use std::process::ExitCode;
use weir_elastic::{Elastic, ElasticSettings};
use weir_retention::RetentionSettings;
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::{KafkaSettings, Log};

/// `weir retention`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RetentionCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Show what would be deleted now, and why; changes nothing
    Plan(Box<Options>),
    /// Delete it
    Apply(Box<Options>),
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// How to print
    #[arg(long, short, value_enum, default_value_t = crate::flows::Output::Table, value_name = "FORM")]
    output: crate::flows::Output,
    #[command(flatten)]
    retention: RetentionSettings,
    /// Where a deletion is announced before it is done; a plan without it does not know what was deleted lately
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    elastic: ElasticSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

/// Plans or applies.
pub(crate) fn main(loaded: Loaded<RetentionCommand>) -> ExitCode {
    let process = match &loaded.settings.verb {
        Verb::Plan(options) | Verb::Apply(options) => crate::flows::quiet(&options.process),
    };
    weir_service::run_loaded("weir-retention", crate::VERSION, loaded, &process, run)
}

async fn run(context: Context<RetentionCommand>) -> Result<()> {
    let (options, apply) = match &context.settings.verb {
        Verb::Plan(options) => (options, false),
        Verb::Apply(options) => (options, true),
    };
    options.retention.validate().map_err(anyhow::Error::msg).exit_code(2)?;
    let elastic = Elastic::new(&options.elastic)?;
    // A plan is worth having even where this cannot be asked.
    if let Some((index, policy)) = weir_retention::foreign_policies(&elastic).await.unwrap_or_default().first() {
        tracing::warn!(
            index,
            policy,
            "another program's lifecycle policy is on Weir's indices and may delete them too"
        );
    }
    let hint = "is `weir up` running? give the addresses with --elasticsearch URL and --kafka BROKERS";
    if apply {
        let log = Log::kafka(&options.kafka)?;
        let applied = weir_retention::apply(&elastic, &log, &options.retention).await;
        let weir_retention::Applied { done, waiting, plan } = &applied.context("retention").hint(hint)?;
        match options.output {
            crate::flows::Output::Json => print(&serde_json::to_string_pretty(&Applied { done, waiting, plan })?),
            crate::flows::Output::Table => {
                let waiting: String = waiting.iter().map(|w| format!("{} stays: {}\n", w.index, w.why)).collect();
                print(&format!("{} indices deleted\n{waiting}{plan}", done.len()));
            }
        }
    } else {
        let log = Log::kafka(&options.kafka)?;
        let plan =
            weir_retention::plan_now(&elastic, Some(&log), &options.retention).await.context("retention").hint(hint)?;
        match options.output {
            crate::flows::Output::Json => print(&serde_json::to_string_pretty(&plan)?),
            crate::flows::Output::Table => print(&plan.to_string()),
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Applied<'a> {
    done: &'a [weir_retention::Action],
    waiting: &'a [weir_retention::Waiting],
    plan: &'a weir_retention::Plan,
}

fn print(text: &str) {
    // A closed standard output is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
}
