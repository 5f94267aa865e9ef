//! The enricher as a process of its own.

use std::process::ExitCode;
use weir_enricher::EnricherSettings;
use weir_service::{Context, ProcessSettings, ServiceSettings};
use weir_stream::{KafkaSettings, Log};

/// Records are made of many small allocations that live for a window: the system's allocator takes a third of all time
/// for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Joins raw samples with what Kubernetes knew at the time, and writes flow records, exactly once
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "weir-enricher", version, about)]
struct Settings {
    #[command(flatten)]
    enricher: EnricherSettings,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }
}

fn main() -> ExitCode {
    weir_service::run("weir-enricher", env!("CARGO_PKG_VERSION"), async |context: Context<Settings>| {
        let log = Log::kafka(&context.settings.kafka)?;
        weir_enricher::run(context.settings.enricher, log, &context.metrics, &context.health, context.shutdown).await
    })
}
