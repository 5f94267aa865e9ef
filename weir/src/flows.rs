//! `weir flows`: named flows in the terminal.

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use weir_console::filter::{Cursor, Filter, Parameters};
use weir_console::row::{self, Row};
use weir_elastic::{Elastic, ElasticSettings};
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::topics;
use weir_service::settings::Loaded;
use weir_service::{Context, HintExt as _, ProcessSettings, TelemetrySettings, rate_limited};
use weir_stream::{KafkaSettings, Log, Partitions, Start};

mod source;
mod table;

use source::Source;
pub(crate) use table::size;

/// The alias that reads every index of flows.
const INDEX: &str = "weir-flows";

/// Settings of `weir flows`.
#[derive(Debug, Clone, Args)]
pub(crate) struct FlowsSettings {
    /// Only flows for which this holds, in the language of docs/filters.md, such as
    /// `src.namespace == "shop" and dst.port in [80, 443]`
    #[arg(value_name = "EXPRESSION")]
    expression: Option<String>,
    /// Go on with new flows as they are enriched, until Ctrl-C; reads the Kafka topic
    #[arg(long, short)]
    follow: bool,
    /// Make the flows of a capture file (pcap, pcapng) in this process and list all of them, without Kafka and Elasticsearch;
    /// given several times, the files are one capture
    #[arg(long, value_name = "pcap:FILE", conflicts_with_all = ["follow", "cursor"])]
    source: Vec<Source>,
    /// With --source: name pods, nodes and services from the manifests of a folder
    #[arg(long, value_name = "DIR", requires = "source")]
    manifests: Option<PathBuf>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Table, value_name = "FORM")]
    output: Output,
    /// Namespace of either end
    #[arg(long, short, value_name = "NAME", help_heading = "Filters")]
    namespace: Option<String>,
    /// Pod or workload of either end; `*` at the end stands for anything
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pod: Option<String>,
    /// Address or CIDR block of either end
    #[arg(long, value_name = "ADDRESS", help_heading = "Filters")]
    address: Option<String>,
    /// Port of either end
    #[arg(long, value_name = "PORT", help_heading = "Filters")]
    port: Option<String>,
    /// allow, deny or mixed; several separated by commas
    #[arg(long, value_name = "ACTION", help_heading = "Filters")]
    action: Option<String>,
    /// What policies said: allow, deny, unknown, pending:allow, pending:deny, mismatch or unexplained (docs/policy.md)
    #[arg(long, value_name = "WHAT", help_heading = "Filters")]
    policy: Option<String>,
    /// Windows that start at this time or later: 2026-01-31T12:00:00Z, or an age such as 15m
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    since: Option<String>,
    /// Windows that start before this time
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    until: Option<String>,
    /// Aggregation level: 0 with all ports, 1 with addresses and pods, 2 by workload; 1 without it, and 0 of a capture file
    #[arg(long, value_name = "0-3", help_heading = "Filters")]
    level: Option<String>,
    /// The most flows to list; 50 without it, and all of a capture file
    #[arg(long, value_name = "NUMBER")]
    limit: Option<String>,
    /// Go on after an earlier list: the cursor that it ended with
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Where flows are kept
    #[command(flatten)]
    elastic: ElasticSettings,
    /// Where flows pass
    #[command(flatten)]
    kafka: KafkaSettings,
    /// The process
    #[command(flatten)]
    process: ProcessSettings,
}

/// How flows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A table for people
    Table,
    /// One JSON document a line
    #[value(alias = "jsonl")]
    Json,
}

/// Lists or follows flows.
pub(crate) fn main(loaded: Loaded<FlowsSettings>) -> ExitCode {
    let process = quiet(&loaded.settings.process);
    weir_service::run_loaded("weir-flows", crate::VERSION, loaded, &process, run)
}

/// A command's own progress is what it prints: below a warning nothing is logged unless asked for.
pub(crate) fn quiet(process: &ProcessSettings) -> ProcessSettings {
    let mut process = process.clone();
    if process.telemetry.log == TelemetrySettings::default().log {
        "warn".clone_into(&mut process.telemetry.log);
    }
    process
}

async fn run(context: Context<FlowsSettings>) -> Result<()> {
    let settings = &context.settings;
    let filter = settings.filter()?;
    if !settings.source.is_empty() {
        let (settings, metrics, stop) = (settings.clone(), context.metrics.clone(), context.shutdown.clone());
        return tokio::task::spawn_blocking(move || source::run(&settings, &filter, &metrics, &stop)).await?;
    }
    if settings.follow {
        tokio::select! {
            () = context.shutdown.cancelled() => Ok(()),
            followed = follow(settings, &filter) => followed,
        }
    } else {
        list(settings, &filter).await
    }
}

impl FlowsSettings {
    fn filter(&self) -> Result<Filter> {
        let parameters = Parameters {
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            address: self.address.clone(),
            port: self.port.clone(),
            action: self.action.clone(),
            policy: self.policy.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            filter: self.expression.clone(),
            level: self.level.clone(),
            limit: self.limit.clone(),
            cursor: self.cursor.clone(),
        };
        let now = crate::clock::now();
        let (of_records, level) = (self.follow || !self.source.is_empty(), u8::from(self.source.is_empty()));
        let filter = if of_records {
            Filter::parse_live(&parameters, level, now)
        } else {
            Filter::parse(&parameters, level, now)
        };
        filter.hint("weir flows --help lists the filters").exit_code(2)
    }
}

async fn list(settings: &FlowsSettings, filter: &Filter) -> Result<()> {
    let (rows, next) = stored(&settings.elastic, filter).await?;
    print(settings.output, &rows, true)?;
    if settings.output == Output::Table {
        say(&table::footer(rows.len(), next.map(Cursor::encode).as_deref()));
    }
    Ok(())
}

/// A page of stored flows, and where the next one begins.
pub(crate) async fn stored(elastic: &ElasticSettings, filter: &Filter) -> Result<(Vec<Row>, Option<Cursor>)> {
    let elastic = Elastic::new(elastic)?;
    let answer = elastic
        .search(INDEX, &filter.query())
        .await
        .context("flows")
        .hint("is `weir up` running? give the address of your Elasticsearch with --elasticsearch URL")?;
    let hits = answer["hits"]["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (hits, next) = filter.page(hits);
    Ok((hits.iter().map(row::from_document).collect::<Result<_, _>>()?, next))
}

async fn follow(settings: &FlowsSettings, filter: &Filter) -> Result<()> {
    let log = Log::kafka(&settings.kafka)?;
    let mut reader = log
        .reader(topics::ENRICHED, Partitions::All, Start::End)
        .await
        .with_context(|| format!("kafka at {}", settings.kafka.kafka))
        .hint("is `weir up` running? give the address of your Kafka with --kafka BROKERS")?;
    let mut heading = true;
    loop {
        let mut rows = Vec::new();
        for record in reader.next(Duration::from_secs(1)).await? {
            let Some(value) = &record.value else { continue };
            match weir_schemas::decode::<Enriched>(value) {
                Ok(flow) if flow.kind == Kind::Upsert => rows.extend(matching(filter, &flow)),
                Ok(_) => {}
                Err(error) => {
                    rate_limited!(warn, "topic {} offset {}: {error}", topics::ENRICHED, record.offset);
                }
            }
        }
        if !rows.is_empty() {
            print(settings.output, &rows, heading)?;
            heading = false;
        }
    }
}

/// The row of a record that is asked for.
fn matching(filter: &Filter, flow: &Enriched) -> Option<Row> {
    Some(row::from_record(flow)).filter(|row| filter.matches(row, flow))
}

fn print(output: Output, rows: &[Row], heading: bool) -> Result<()> {
    let text = match output {
        Output::Table => table::render(rows, heading),
        Output::Json => {
            let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
            lines.into_iter().map(|line| line + "\n").collect()
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // `| head` has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// Tells a person something that is no part of the list.
fn say(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}
