//! `weir reference`: the reference pages that are made from the programs themselves.

use clap::{Args, Command, CommandFactory as _};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use weir_agent::AgentSettings;
use weir_console::ConsoleSettings;
use weir_elastic::ElasticSettings;
use weir_enricher::EnricherSettings;
use weir_indexer::IndexerSettings;
use weir_metadata::MetadataSettings;
use weir_retention::RetentionSettings;
use weir_service::ProcessSettings;
use weir_stream::KafkaSettings;

/// Settings of `weir reference`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReferenceSettings {
    /// Compare with docs/reference-settings.md of this folder and exit 1 when it differs
    #[arg(long)]
    stale: bool,
}

/// Prints the page, or compares it.
pub(crate) fn main(settings: &ReferenceSettings) -> ExitCode {
    let page = settings_page();
    if !settings.stale {
        let _ = std::io::stdout().write_all(page.as_bytes());
        return ExitCode::SUCCESS;
    }
    match std::fs::read_to_string(Path::new("docs/reference-settings.md")) {
        Ok(committed) if committed == page => ExitCode::SUCCESS,
        Ok(_) => fail("docs/reference-settings.md is stale; run `weir reference > docs/reference-settings.md`"),
        Err(error) => fail(&format!("docs/reference-settings.md: {error}")),
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::FAILURE
}

fn settings_page() -> String {
    let mut page = String::from(
        "# Settings\n\nMade by `weir reference`. Every flag `--a-b` is the environment variable `WEIR_A_B` and the key `a-b` of the \
         TOML file given with `--config`; a flag goes before the environment, the environment before the file. Each service's own \
         program takes the flags of its part, and those of Kafka, Elasticsearch and every process; `--help` lists them.\n",
    );
    for command in crate::CommandLine::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        section(command, &format!("weir {}", command.get_name()), &mut page);
    }
    for part in parts() {
        section(&part, part.get_name(), &mut page);
    }
    page
}

/// What the services' own programs take, by part.
fn parts() -> [Command; 9] {
    [
        AgentSettings::augment_args(Command::new("weir-agent")).about("Counts every connection of its node"),
        MetadataSettings::augment_args(Command::new("weir-metadata")).about("Writes what Kubernetes knew, and when"),
        EnricherSettings::augment_args(Command::new("weir-enricher"))
            .about("Joins samples with metadata and aggregates them"),
        IndexerSettings::augment_args(Command::new("weir-indexer"))
            .about("Writes records to Elasticsearch or OpenSearch"),
        RetentionSettings::augment_args(Command::new("weir-retention")).about("Keeps the indices inside a disk budget"),
        ConsoleSettings::augment_args(Command::new("weir-console")).about("Serves the page of live flows"),
        KafkaSettings::augment_args(Command::new("Kafka")).about("Of every program that speaks to Kafka"),
        ElasticSettings::augment_args(Command::new("Elasticsearch"))
            .about("Of every program that speaks to Elasticsearch or OpenSearch"),
        ProcessSettings::augment_args(Command::new("Process")).about("Of every program"),
    ]
}

fn section(command: &Command, name: &str, page: &mut String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n## `{name}`\n\n{about}.\n");
    let mut flags: Vec<_> = command.get_arguments().filter(|a| a.get_long().is_some() && !a.is_hide_set()).collect();
    flags.sort_by_key(|a| a.get_long());
    if !flags.is_empty() {
        page.push_str("\n| flag | default | meaning |\n|---|---|---|\n");
    }
    for flag in flags {
        let Some(long) = flag.get_long().filter(|l| *l != "help") else { continue };
        let defaults: Vec<_> = flag.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
        let default = match (flag.get_action().takes_values(), defaults.is_empty()) {
            (true, false) => format!("`{}`", defaults.join(",")),
            _ => String::new(),
        };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "| `--{long}` | {default} | {} |", help.replace('|', "\\|").replace('\n', " "));
    }
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        section(sub, &format!("{name} {}", sub.get_name()), page);
    }
}
