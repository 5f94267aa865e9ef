//! The indexer as a process of its own.

use clap::Parser;
use std::process::ExitCode;
use weir_elastic::{Elastic, ElasticSettings};
use weir_indexer::IndexerSettings;
use weir_service::{Context, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log};

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
        let log = Log::kafka(&context.settings.kafka)?;
        let elastic = Elastic::new(&context.settings.elastic)?;
        weir_indexer::run(context.settings.indexer, log, elastic, &context.metrics, &context.health, context.shutdown)
            .await
    })
}
