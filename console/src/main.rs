//! The console as a process of its own.

use std::process::ExitCode;

use anyhow::Context as _;
use weir_console::{Console, Parts, Settings};
use weir_elastic::Elastic;
use weir_service::Context;
use weir_stream::Log;

fn main() -> ExitCode {
    weir_service::run("weir-console", env!("CARGO_PKG_VERSION"), async |context: Context<Settings>| {
        let parts = Parts {
            elastic: Elastic::new(&context.settings.elastic)?,
            log: Log::kafka(&context.settings.kafka).context("kafka")?,
            metrics: context.metrics,
            health: context.health,
        };
        let console = Console::start(&context.settings.console, parts, context.shutdown).await?;
        console.join().await
    })
}
