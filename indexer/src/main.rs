//! The indexer as a process of its own.

use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;
use weir_elastic::{Elastic, ElasticSettings};
use weir_indexer::{IndexerSettings, setup};
use weir_service::{Context, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log};

/// A document is made of dozens of short-lived texts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes enriched flows to Elasticsearch or OpenSearch, each exactly once
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-indexer", version, about)]
struct Settings {
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    elastic: ElasticSettings,
    #[command(flatten)]
    indexer: IndexerSettings,
    /// Kibana or OpenSearch Dashboards, in which data views are put, with the same credentials as for --elasticsearch
    #[arg(long, value_name = "URL")]
    kibana: Option<String>,
    /// Print the index templates with their aliases and the data views that would be put, and end
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }
}

fn main() -> ExitCode {
    weir_service::run("weir-indexer", env!("CARGO_PKG_VERSION"), async |context: Context<Settings>| {
        if context.settings.dry_run {
            return print(&setup::describe()?);
        }
        let log = Log::kafka(&context.settings.kafka)?;
        let elastic = Elastic::new(&context.settings.elastic)?;
        if let Some(url) = &context.settings.kibana {
            let settings = ElasticSettings { elasticsearch: vec![url.clone()], ..context.settings.elastic.clone() };
            tokio::spawn(setup::put_data_views(Elastic::new(&settings)?, context.shutdown.clone()));
        }
        weir_indexer::run(context.settings.indexer, log, elastic, &context.metrics, &context.health, context.shutdown)
            .await
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    // A closed standard output is no error.
    let _ = write!(std::io::stdout(), "{text}");
    Ok(())
}
