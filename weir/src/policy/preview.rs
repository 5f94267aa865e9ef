//! `weir policy preview`: what an edit would have done to the connections of the past.

use super::source::{self, now, shown, time};
use super::{Cni, Process, manifests, print};
use crate::flows::Output;
use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use raw::{Cost, Raw};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use weir_flow::Millis;
use weir_preview::edit::put;
use weir_preview::{Edit, Preview, kept, parse_id, read};
use weir_schemas::topics;
use weir_service::{HintExt as _, Metrics};
use weir_stream::{KafkaSettings, Log};

mod raw;
mod table;

#[cfg(test)]
mod tests;

/// Settings of `weir policy preview`.
#[derive(Debug, Clone, Args)]
pub(super) struct PreviewSettings {
    /// Manifests of policies to add, or to put in the place of those with the same name; folders are read whole
    #[arg(value_name = "FILE", required_unless_present = "delete")]
    files: Vec<PathBuf>,
    /// A policy to delete, as kind/namespace/name or kind/name; may be given several times
    #[arg(long, value_name = "POLICY")]
    delete: Vec<String>,
    /// Windows that start at this time or later: 2026-01-31T12:00:00Z, or an age such as 7d
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    /// What is judged: records of level 1, or raw samples, from which the same records are made again
    #[arg(long, value_enum, default_value_t = Wanted::Auto, value_name = "SOURCE")]
    from: Wanted,
    /// Read raw samples without asking, whatever that costs
    #[arg(long)]
    yes: bool,
    /// List connections that stay as they are, too
    #[arg(long)]
    all: bool,
    /// Cluster whose connections are judged
    #[arg(long, value_name = "NAME", default_value = topics::DEFAULT_CLUSTER)]
    cluster: String,
    /// Whose answers count where Kubernetes leaves a question to the network plugin
    #[arg(long, value_enum, default_value_t = Cni::None, value_name = "PLUGIN")]
    cni: Cni,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    /// Where the topics are
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    pub(super) process: Process,
}

/// Where connections are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Level 1, or the raw topic where level 1 does not reach back and the raw topic does
    Auto,
    /// Records of level 1, as far back as they go
    Level1,
    /// Raw samples, which takes long
    Raw,
}

/// What connections are made of, once that is decided.
enum Source {
    /// Records of level 1, all of them from this window on.
    Stored { kept_from: Millis },
    /// Raw samples.
    Raw(Box<Raw>),
}

fn edits(settings: &PreviewSettings) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for path in &settings.files {
        let world = manifests::read(path)?;
        if world.policies.is_empty() {
            bail!("{}: there is no policy in it", path.display());
        }
        for source in &world.policies {
            let edit = put(source).map_err(|error| anyhow!("{} ({}): {error}", source.title(), source.file));
            edits.push(edit.hint("weir policy check says what is wrong with policies")?);
        }
    }
    for text in &settings.delete {
        edits.push(Edit::Delete(parse_id(text).exit_code(2)?));
    }
    Ok(edits)
}

/// Previews.
pub(super) async fn run(settings: &PreviewSettings, metrics: &Metrics) -> Result<()> {
    let edits = edits(settings)?;
    let since =
        time("--since", &settings.since).hint("write 2026-01-31T12:00:00Z, or an age such as 7d").exit_code(2)?;
    let log = source::log(&settings.kafka).await?;
    let source = choose(settings, &log, since, metrics).await?;
    let history = source::history(&log, &settings.cluster).await?;
    let mut preview = Preview::new(&history, &settings.cluster, settings.cni.profile(), edits, since);
    let begun = Instant::now();
    let read = match source {
        Source::Stored { kept_from } => {
            read::stored(&log, &mut preview, since).await?;
            Read::Stored { kept_from, took: begun.elapsed() }
        }
        Source::Raw(raw) => {
            let kept_from = raw.kept_from();
            let cost = raw.judge(&mut preview).await?;
            Read::Raw { kept_from, cost }
        }
    };
    let missing = preview.missing();
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        return Err(anyhow!("there was no {} since {}", names.join(", "), shown(since)))
            .hint("weir policy connections --at 0s shows what holds now");
    }
    match settings.output {
        Output::Json => {
            let mut document = preview.tally.json(settings.all, usize::MAX);
            if let (Value::Object(document), Value::Object(more)) = (&mut document, read.json(since)) {
                document.extend(more);
            }
            print(&(serde_json::to_string_pretty(&document)? + "\n"))
        }
        Output::Table => {
            print(&table::rows(&preview.tally, settings.all))?;
            let tally = &preview.tally;
            let (first, last) = (tally.first.unwrap_or(since), tally.last.unwrap_or_else(now));
            print(&read.words(tally.records, (first, last), since))
        }
    }
}

/// What was read, and how long that took.
enum Read {
    Stored { kept_from: Millis, took: Duration },
    Raw { kept_from: Option<Millis>, cost: Cost },
}

impl Read {
    /// From when on connections are all there, if that is later than what was asked for.
    fn later(&self, since: Millis) -> Option<Millis> {
        match self {
            Self::Stored { kept_from, .. } => Some(*kept_from).filter(|from| *from > since),
            Self::Raw { kept_from, .. } => *kept_from,
        }
    }

    fn json(&self, since: Millis) -> Value {
        let later = self.later(since).and_then(|from| kept(from, since));
        match self {
            Self::Stored { took, .. } => {
                json!({"source": "level1", "kept_from": later, "seconds": took.as_secs_f64()})
            }
            Self::Raw { cost, .. } => json!({
                "source": "raw", "kept_from": later, "seconds": cost.time.as_secs_f64(),
                "raw_messages": cost.messages, "raw_bytes": cost.bytes,
            }),
        }
    }

    fn words(&self, records: u64, (first, last): (Millis, Millis), since: Millis) -> String {
        let (first, last) = (shown(first), shown(last));
        let (mut text, topic) = match self {
            Self::Stored { took, .. } => {
                let took = took.as_secs_f64();
                (format!("{records} records of level 1 from {first} to {last}, in {took:.1} s\n"), "records of level 1")
            }
            Self::Raw { cost, .. } => (
                format!("{records} records from {first} to {last}, made again from {}\n", cost.done()),
                "the raw topic",
            ),
        };
        if let Some(later) = self.later(since) {
            text += &match later {
                Millis::MAX => format!("{topic} may not be all that there was: some are gone, or were never kept\n"),
                later => format!("{topic} may not be all there before {}\n", shown(later)),
            };
        }
        text
    }
}

/// Decides what is read, with a person's consent to what is dear.
async fn choose(settings: &PreviewSettings, log: &Log, since: Millis, metrics: &Metrics) -> Result<Source> {
    let kept_from = read::kept_from(log, &settings.cluster).await?;
    let stored = Source::Stored { kept_from };
    if settings.from == Wanted::Level1 || (settings.from == Wanted::Auto && kept_from <= since) {
        return Ok(stored);
    }
    let raw = Raw::prepare(log, &settings.cluster, since, metrics).await;
    let raw = match (settings.from, raw) {
        (Wanted::Raw, raw) => raw?,
        (_, Ok(raw)) if raw.kept_from().is_none_or(|from| from < kept_from) => raw,
        // It reaches no farther, or cannot be replayed: what is there is judged, and the end says from when on it is all.
        (_, Ok(_) | Err(_)) => return Ok(stored),
    };
    let cost = raw.cost.to_come();
    let question = match settings.from {
        Wanted::Auto => format!("records of level 1 {}; the raw topic has {cost}", level_one_begins(kept_from)),
        Wanted::Level1 | Wanted::Raw => format!("the raw topic has {cost}"),
    };
    if settings.yes {
        eprint(&format!("{question}\n"));
        return Ok(Source::Raw(Box::new(raw)));
    }
    match (confirm(&question)?, settings.from) {
        (Some(true), _) => Ok(Source::Raw(Box::new(raw))),
        (Some(false), Wanted::Auto | Wanted::Level1) => Ok(stored),
        (Some(false), Wanted::Raw) => bail!("nothing was read"),
        (None, _) => Err(anyhow!("{question}")).hint(
            "nothing was read: --yes reads it, --from level1 judges the records of level 1 that are there, --since reads less",
        ),
    }
}

fn level_one_begins(kept_from: Millis) -> String {
    match kept_from {
        Millis::MAX => "are gone or not kept".to_owned(),
        from => format!("may not be all there before {}", shown(from)),
    }
}

/// Says it to a person, and not to a program that reads the result.
fn eprint(text: &str) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A person's answer; nothing where nobody is there to ask.
fn confirm(question: &str) -> Result<Option<bool>> {
    use std::io::IsTerminal as _;
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(None);
    }
    eprint(&format!("{question}\nread it? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
}
