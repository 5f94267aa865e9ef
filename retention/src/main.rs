//! Retention as a process of its own.

use clap::Parser;
use std::process::ExitCode;
use weir_elastic::{Elastic, ElasticSettings};
use weir_retention::RetentionSettings;
use weir_service::{Context, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log};

/// Keeps the indices inside a disk budget: the oldest whole index goes first
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-retention", version, about)]
struct Settings {
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    elastic: ElasticSettings,
    #[command(flatten)]
    retention: RetentionSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn validate(&self) -> anyhow::Result<()> {
        self.retention.validate().map_err(anyhow::Error::msg)
    }
}

fn main() -> ExitCode {
    weir_service::run("weir-retention", env!("CARGO_PKG_VERSION"), async |context: Context<Settings>| {
        let log = Log::kafka(&context.settings.kafka)?;
        let elastic = Elastic::new(&context.settings.elastic)?;
        weir_retention::run(
            context.settings.retention,
            log,
            elastic,
            &context.metrics,
            &context.health,
            context.shutdown,
        )
        .await
    })
}
