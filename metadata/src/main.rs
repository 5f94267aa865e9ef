//! The metadata service.

use anyhow::Context as _;
use std::process::ExitCode;
use weir_metadata::MetadataSettings;
use weir_service::{Context, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log};

/// Write what Kubernetes knew, and when, to a topic
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "weir-metadata", version, about)]
struct Settings {
    #[command(flatten)]
    metadata: MetadataSettings,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn validate(&self) -> anyhow::Result<()> {
        Ok(self.metadata.validate()?)
    }
}

fn main() -> ExitCode {
    weir_service::run("weir-metadata", env!("CARGO_PKG_VERSION"), async |context: Context<Settings>| {
        let Context { settings, metrics, health, shutdown, .. } = context;
        let log = Log::kafka(&settings.kafka).context("kafka settings")?;
        weir_metadata::run(settings.metadata, log, &metrics, &health, shutdown).await
    })
}
