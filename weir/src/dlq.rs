//! `weir dlq list|retry`: messages that could not be processed, and processing them again.

use crate::audit::Act;
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::topics;
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _, ProcessSettings};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start};

mod retry;
#[cfg(test)]
mod tests;

use retry::{Fate, Identity, judge};

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(20);
/// The most letters that one command takes in hand.
const MOST: usize = 100_000;

/// `weir dlq`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DlqCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// List what could not be processed, and why
    List(Box<Options>),
    /// Put messages back on their topic, so that they are processed again; never one of which a higher correction is there
    Retry(Box<RetryOptions>),
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// Topic that the messages were read from
    #[arg(long, value_name = "NAME", default_value = topics::ENRICHED)]
    topic: String,
    /// Only messages whose cause contains this
    #[arg(long, value_name = "TEXT")]
    cause: Option<String>,
    /// Only the letters at these offsets of the dead-letter topic
    #[arg(long, value_name = "OFFSET,..", value_delimiter = ',')]
    offset: Vec<i64>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = crate::flows::Output::Table, value_name = "FORM")]
    output: crate::flows::Output,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

#[derive(Debug, Clone, Args)]
struct RetryOptions {
    #[command(flatten)]
    letters: Options,
    /// Do it; without it only what would be done is said
    #[arg(long)]
    yes: bool,
}

/// A letter and where it lies.
#[derive(Debug)]
struct Letter {
    offset: i64,
    letter: DeadLetter,
}

impl Options {
    fn selects(&self, offset: i64, letter: &DeadLetter) -> bool {
        let cause = self.cause.as_ref().is_none_or(|text| letter.cause.contains(text.as_str()));
        cause && (self.offset.is_empty() || self.offset.contains(&offset))
    }
}

/// Lists or retries.
pub(crate) fn main(loaded: Loaded<DlqCommand>) -> ExitCode {
    let process = match &loaded.settings.verb {
        Verb::List(options) => crate::flows::quiet(&options.process),
        Verb::Retry(options) => crate::flows::quiet(&options.letters.process),
    };
    weir_service::run_loaded("weir-dlq", crate::VERSION, loaded, &process, run)
}

async fn run(context: Context<DlqCommand>) -> Result<()> {
    let options = match &context.settings.verb {
        Verb::List(options) => options,
        Verb::Retry(options) => &options.letters,
    };
    let log = crate::kafka::log(&options.kafka).await?;
    let letters = letters(&log, options).await?;
    match &context.settings.verb {
        Verb::List(_) => list(options, &letters),
        Verb::Retry(retry) => again(&log, options, &letters, retry.yes).await,
    }
}

async fn letters(log: &Log, options: &Options) -> Result<Vec<Letter>> {
    let topic = topics::dead_letter(&options.topic);
    let hint = "give the topic that the messages were read from with --topic, such as dns.enriched.v1";
    let mut reader = log.reader(&topic, Partitions::All, Start::Beginning).await.context("dead letters").hint(hint)?;
    let mut found = Vec::new();
    while let Some(records) = reader.next_before_end(IDLE).await? {
        for record in records {
            let Some(letter) = record.value.as_deref().and_then(|v| weir_schemas::decode::<DeadLetter>(v).ok()) else {
                continue;
            };
            if options.selects(record.offset, &letter) {
                found.push(Letter { offset: record.offset, letter });
            }
        }
        if found.len() > MOST {
            bail!("more than {MOST} letters: choose some with --cause or --offset");
        }
    }
    Ok(found)
}

fn list(options: &Options, letters: &[Letter]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if matches!(options.output, crate::flows::Output::Json) {
        for Letter { offset, letter } in letters {
            let origin = json!({"topic": letter.topic, "partition": letter.partition, "offset": letter.offset});
            let line = json!({"offset": offset, "time": time(letter.timestamp), "cause": letter.cause, "origin": origin,
                "bytes": letter.length, "whole": is_whole(letter)});
            // A closed standard output is no error.
            let _ = writeln!(out, "{line}");
        }
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(["OFFSET", "TIME", "FROM", "BYTES", "CAUSE"]);
    for Letter { offset, letter } in letters {
        let origin = format!("{}/{}@{}", letter.topic, letter.partition, letter.offset);
        let cause: String = letter.cause.chars().take(120).collect();
        table.add_row([offset.to_string(), time(letter.timestamp), origin, letter.length.to_string(), cause]);
    }
    let _ = writeln!(out, "{table}\n{} letters", letters.len());
    Ok(())
}

fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| time.to_string())
}

/// Whether the letter holds the whole message.
fn is_whole(letter: &DeadLetter) -> bool {
    let kept = letter.value.as_ref().map_or(0, Vec::len);
    letter.value.is_some() && u64::try_from(kept).is_ok_and(|kept| kept == letter.length)
}

async fn again(log: &Log, options: &Options, letters: &[Letter], yes: bool) -> Result<()> {
    let mut wanted: BTreeMap<Identity, u32> = BTreeMap::new();
    for letter in letters {
        if let Some((identity, correction)) = retry::identity(&letter.letter) {
            let highest = wanted.entry(identity).or_insert(correction);
            *highest = correction.max(*highest);
        }
    }
    let standing = standing(log, &options.topic, &wanted).await?;
    let judged: Vec<(&Letter, Fate)> =
        letters.iter().map(|l| (l, judge(&l.letter, is_whole(&l.letter), &standing))).collect();
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (letter, fate) in &judged {
        if yes && *fate == Fate::Again {
            put_back(log, &letter.letter).await?;
        }
        *counts.entry(fate.as_str()).or_default() += 1;
    }
    let mut out = std::io::stdout().lock();
    let _ = match options.output {
        crate::flows::Output::Json => writeln!(out, "{}", json!({"done": yes, "letters": counts})),
        crate::flows::Output::Table => {
            let words: Vec<String> = counts.iter().map(|(fate, count)| format!("{count} {fate}")).collect();
            let none = if words.is_empty() { "no letters".to_owned() } else { words.join(", ") };
            writeln!(out, "{none}{}", if yes { "" } else { "; nothing was done, --yes does it" })
        }
    };
    Ok(())
}

/// The highest correction of each record wanted that stands on the topic.
async fn standing(log: &Log, topic: &str, wanted: &BTreeMap<Identity, u32>) -> Result<BTreeMap<Identity, u32>> {
    let mut standing = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(standing);
    }
    let mut reader = log.reader(topic, Partitions::All, Start::Beginning).await?;
    while let Some(records) = reader.next_before_end(IDLE).await? {
        let found = records.iter().filter_map(|r| retry::read(topic, r.value.as_deref()?));
        for (identity, correction) in found.filter(|(identity, _)| wanted.contains_key(identity)) {
            let highest = standing.entry(identity).or_insert(correction);
            *highest = correction.max(*highest);
        }
    }
    Ok(standing)
}

/// Sends a message to where it came from, and says so in the audit.
async fn put_back(log: &Log, letter: &DeadLetter) -> Result<()> {
    let producer = log.producer(&ProducerSettings::new("weir-dlq"))?;
    let value = letter.value.clone().unwrap_or_default();
    let message = NewRecord {
        key: letter.key.clone().map(Into::into),
        ..NewRecord::new(letter.topic.clone(), Vec::new(), value)
    };
    producer.send(message.to_partition(letter.partition))?.await?;
    let act = Act {
        command: "weir dlq retry",
        action: "retry_dead_letter",
        target: format!("{}/{}@{}", letter.topic, letter.partition, letter.offset),
        reason: letter.cause.clone(),
        bytes: letter.length,
        documents: 1,
    };
    producer.send(act.message()?)?.await?;
    Ok(())
}
