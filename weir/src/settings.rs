//! `weir settings show|set`: what decides a cluster's records, and other values from a time on.

use crate::clock::now;
use crate::flows::Output;
use crate::init::{Period, fingerprints, levels};
use crate::policy::{Cni, print};
use crate::record_settings::{self, fields};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_enricher::history::SettingsHistory;
use weir_flow::settings::{FilterRule, LEAD, SEMANTICS};
use weir_flow::time::{NEVER, floor_to};
use weir_flow::{Millis, RecordSettings};
use weir_schemas::settings::{Dated, Settings};
use weir_service::settings::{Loaded, parse_duration};
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::KafkaSettings;

#[cfg(test)]
mod tests;

/// What the long help says at its end.
pub(crate) const HELP: &str = "\
Settings that decide records are records on weir.settings.v1: each holds from a window on and is never changed afterwards, so that a
replay finds what was in force. Running services follow new ones by themselves; nothing is restarted. New settings must be there two
minutes before their first window. Tick, window, grace, tolerance and numbers of partitions stay the same for a cluster's life.

Examples:
  weir settings show                                          what holds now, and what will
  weir settings set --filter 'drop: dst.namespace == \"kube-system\"' --dry-run
  weir settings set --cni calico --semantics 3                verdicts, and filters of DNS questions, from a window on
  weir settings set --levels 2 --levels-denied 0,2 --at 2027-01-01T00:00:00Z

Exit codes: 0 done, or nothing to change; 1 it failed; 2 wrong usage.";

/// Time for the record to reach its topic, beyond the lead.
const SLACK: Millis = 15_000;

/// `weir settings`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Show the cluster's settings, by the time from which they hold
    Show(Box<ShowSettings>),
    /// Give the cluster other settings from a time on; what is not named stays as it is
    Set(Box<SetSettings>),
}

#[derive(Debug, Clone, Args)]
struct ShowSettings {
    /// Id of the cluster
    #[arg(long, value_name = "NAME", default_value = weir_schemas::topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

#[derive(Debug, Clone, Args)]
struct SetSettings {
    /// Id of the cluster
    #[arg(long, value_name = "NAME", default_value = weir_schemas::topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// From when on: 2027-01-01T00:00:00Z; the first window that begins then or later. As soon as can be without it
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Millis>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    changes: Changes,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

/// What is to be otherwise.
#[derive(Debug, Clone, Default, PartialEq, Args)]
struct Changes {
    /// Levels of detail that are kept, 0 to 3
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=3))]
    levels: Option<Vec<u8>>,
    /// Levels that are kept of what policies deny; those of --levels without it
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=3))]
    levels_denied: Option<Vec<u8>>,
    /// How late a sample may be; what is later is a counted loss
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    late_bound: Option<Duration>,
    /// The most keys of a raw partition, window and level; the noisiest are coarsened beyond it
    #[arg(long, value_name = "COUNT")]
    keys_limit: Option<u32>,
    /// The most addresses and pods listed on a record of levels 2 and 3
    #[arg(long, value_name = "COUNT")]
    set_limit: Option<u32>,
    /// How much event time one index holds
    #[arg(long, value_enum, value_name = "PERIOD")]
    index_period: Option<Period>,
    /// Version of the meaning of records: from 2 on they say what policies said, from 3 on filters are asked of DNS questions
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i32).range(1..=i64::from(SEMANTICS)))]
    semantics: Option<i32>,
    /// Whose answers count where Kubernetes leaves a question of policies to the network plugin
    #[arg(long, value_enum, value_name = "PLUGIN")]
    cni: Option<Cni>,
    /// How long policies and labels must have been as they are before attempts that go otherwise count against them
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    policy_settle: Option<Duration>,
    /// Keys of the labels that records carry
    #[arg(long, value_name = "KEY,..", value_delimiter = ',', conflicts_with = "all_labels")]
    labels: Option<Vec<String>>,
    /// Records carry all labels
    #[arg(long)]
    all_labels: bool,
    /// Databases (MaxMind DB format) of places, instead of those so far; enrichers need these and the earlier ones
    #[arg(long, value_name = "FILE,..", value_delimiter = ',')]
    mmdb: Option<Vec<PathBuf>>,
    /// What becomes of flows before they are added up, instead of the rules so far (docs/filters.md); can be given several times
    #[arg(long = "filter", value_name = "RULE", value_parser = weir_filter::parse_rule, conflicts_with = "no_filter")]
    filters: Option<Vec<FilterRule>>,
    /// No filters any more
    #[arg(long)]
    no_filter: bool,
}

fn parse_time(text: &str) -> Result<Millis, String> {
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|error| error.to_string())
}

/// Shows or sets.
pub(crate) fn main(loaded: Loaded<SettingsCommand>) -> ExitCode {
    let process = crate::flows::quiet(match &loaded.settings.verb {
        Verb::Show(settings) => &settings.process,
        Verb::Set(settings) => &settings.process,
    });
    weir_service::run_loaded("weir-settings", crate::VERSION, loaded, &process, run)
}

async fn run(context: Context<SettingsCommand>) -> Result<()> {
    match &context.settings.verb {
        Verb::Show(settings) => show(settings).await,
        Verb::Set(settings) => set(settings).await,
    }
}

async fn show(settings: &ShowSettings) -> Result<()> {
    let (_, dated) = record_settings::read(&settings.kafka, &settings.cluster).await?;
    print(&match settings.output {
        Output::Json => in_json(&dated, now())?,
        Output::Table => in_words(&dated, now()),
    })
}

fn in_json(dated: &Dated, now: Millis) -> Result<String> {
    let in_force = dated.at(now).map(|entry| entry.valid_from);
    let entries = dated.entries.iter().map(|entry| {
        let mut value = serde_json::to_value(Settings::from(entry))?;
        value["in_force"] = json!(Some(entry.valid_from) == in_force);
        Ok(value)
    });
    let entries: Vec<Value> = entries.collect::<Result<_>>()?;
    Ok(serde_json::to_string_pretty(&json!({ "settings": entries, "too_late": dated.too_late }))? + "\n")
}

/// The settings in force, whole; then what changed before and what will.
fn in_words(dated: &Dated, now: Millis) -> String {
    let mut text = String::new();
    let Some(in_force) = dated.at(now) else { return text };
    let _ = writeln!(text, "cluster {}: settings in force since {}", in_force.cluster, since(in_force.valid_from));
    for (name, value) in fields(in_force) {
        let _ = writeln!(text, "  {name:<24} {value}");
    }
    for (before, after) in dated.entries.iter().zip(dated.entries.iter().skip(1)) {
        let verb = if after.valid_from <= now { "changed at" } else { "will change at" };
        let _ = writeln!(text, "{verb} {}", since(after.valid_from));
        text.push_str(&changes(before, after));
    }
    if dated.too_late > 0 {
        let _ = writeln!(text, "{} more came too late and are followed by nobody", dated.too_late);
    }
    text
}

/// What is otherwise, one value a line.
fn changes(before: &RecordSettings, after: &RecordSettings) -> String {
    let pairs = fields(before).into_iter().zip(fields(after)).filter(|(before, after)| before != after);
    pairs.map(|((name, before), (_, after))| format!("  {name:<24} {before} -> {after}\n")).collect()
}

fn since(valid_from: Millis) -> String {
    match valid_from {
        NEVER => "the beginning".to_owned(),
        time => jiff::Timestamp::from_millisecond(time).map_or_else(|_| time.to_string(), |time| time.to_string()),
    }
}

async fn set(settings: &SetSettings) -> Result<()> {
    if settings.changes == Changes::default() {
        return Err(anyhow!("no setting is named"))
            .hint("name what is to be otherwise, such as --levels 2; --help lists what may change")
            .exit_code(2);
    }
    let (log, dated) = record_settings::read(&settings.kafka, &settings.cluster).await?;
    let next = next(&dated, &settings.changes, settings.at, now())
        .hint("weir settings set --help says what may change")
        .exit_code(2)?;
    let before = dated.at(next.valid_from).context("a cluster without settings")?;
    let changed = changes(before, &next);
    if changed.is_empty() {
        return print(&match settings.output {
            Output::Json => json!({ "changed": false }).to_string() + "\n",
            Output::Table => "nothing changes: these are the settings already\n".to_owned(),
        });
    }
    if !settings.dry_run {
        record_settings::write(&log, &next).await?;
        // The broker's clock decides; this one may be wrong.
        let written = record_settings::dated(&log, &settings.cluster).await?;
        if written.at(next.valid_from) != Some(&next) {
            return Err(anyhow!(
                "the record came later than {} s before its first window and is followed by nobody",
                LEAD / 1_000
            ))
            .hint("compare this machine's clock with the broker's, or give a later time with --at");
        }
    }
    print(&match settings.output {
        Output::Json => {
            let value = json!({ "changed": !settings.dry_run, "settings": Settings::from(&next) });
            serde_json::to_string_pretty(&value)? + "\n"
        }
        Output::Table => {
            let verb = if settings.dry_run { "would change" } else { "changes" };
            let mut text = format!("cluster {} {verb} at {}\n{changed}", settings.cluster, since(next.valid_from));
            if let Some(later) = dated.entries.iter().find(|entry| entry.valid_from > next.valid_from) {
                let _ = writeln!(text, "until {}, when what was set before holds again", since(later.valid_from));
            }
            text
        }
    })
}

/// The settings with these changes, from the first window on that begins at a time, or as soon as can be.
///
/// # Errors
/// A time that is too soon, a cluster whose samples have times of their own, or values that do not fit together.
fn next(dated: &Dated, changes: &Changes, at: Option<Millis>, now: Millis) -> Result<RecordSettings> {
    let window = dated.entries.first().context("a cluster without settings")?.window;
    let soonest = ceil_to(now.saturating_add(LEAD + SLACK), window);
    let valid_from = at.map_or(soonest, |at| ceil_to(at, window));
    if valid_from < soonest {
        bail!("{} is too soon: the first window that can have other settings is {}", since(valid_from), since(soonest));
    }
    let before = dated.at(valid_from).context("a cluster without settings")?;
    if !before.live {
        bail!(
            "cluster {} has samples of captures, whose times are not the clock's: begin another cluster",
            before.cluster
        );
    }
    let next = RecordSettings { valid_from, ..changes.applied(before)? };
    next.validate()?;
    let mut entries: Vec<_> = dated.entries.iter().filter(|entry| entry.valid_from != valid_from).cloned().collect();
    entries.push(next.clone());
    SettingsHistory::new(&next.cluster, entries)?;
    Ok(next)
}

/// The first multiple at or after a time.
fn ceil_to(time: Millis, length: Millis) -> Millis {
    floor_to(time.saturating_add(length - 1), length)
}

impl Changes {
    fn applied(&self, before: &RecordSettings) -> Result<RecordSettings> {
        let mut next = before.clone();
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).context("a duration that is too long");
        if let Some(numbers) = &self.levels {
            next.levels_allowed = levels(numbers);
            next.levels_denied = levels(numbers);
        }
        if let Some(numbers) = &self.levels_denied {
            next.levels_denied = levels(numbers);
        }
        if let Some(bound) = self.late_bound {
            next.late_bound = millis(bound)?;
        }
        next.keys_limit = self.keys_limit.unwrap_or(next.keys_limit);
        next.set_limit = self.set_limit.unwrap_or(next.set_limit);
        next.index_period = self.index_period.map_or(next.index_period, Period::setting);
        next.semantics = self.semantics.unwrap_or(next.semantics);
        next.cni_profile = self.cni.map_or(next.cni_profile, Cni::setting);
        if let Some(settle) = self.policy_settle {
            next.policy_settle = millis(settle)?;
        }
        if self.all_labels {
            next.labels_keep = Vec::new();
        } else if let Some(labels) = &self.labels {
            next.labels_keep.clone_from(labels);
        }
        if let Some(files) = &self.mmdb {
            next.geography = fingerprints(files)?;
        }
        if self.no_filter {
            next.filters = Vec::new();
        } else if let Some(filters) = &self.filters {
            next.filters.clone_from(filters);
        }
        if next.semantics < before.semantics {
            bail!(
                "semantics {} cannot go back to {}: readers know what was written since",
                before.semantics,
                next.semantics
            );
        }
        Ok(next)
    }
}
