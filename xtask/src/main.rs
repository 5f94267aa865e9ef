//! The project's own chores: `cargo xtask --help`.

mod borders;
mod engines;
mod schema_reference;
mod soak;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Weir's own chores", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Starts and stops real engines for tests: Kafka, Elasticsearch, OpenSearch, a Kubernetes control plane
    Engines(engines::Arguments),
    /// Checks that crates depend on each other only as docs/design.md says
    Borders,
    /// Runs the long suites whole and appends what happened to docs/soak.log
    Soak {
        /// Only suites whose name contains this
        only: Option<String>,
    },
    /// Writes docs/reference-schemas.md from the Avro schemas; with --check only compares
    Schemas {
        /// Compare with the committed file and exit 1 when it differs
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::Engines(arguments) => engines::run(&arguments),
        Chore::Borders => borders::run(),
        Chore::Soak { only } => soak::run(only.as_deref()),
        Chore::Schemas { check } => schema_reference::run(check),
    }
}

/// The workspace's root folder.
fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| ".".into(), std::path::Path::to_path_buf)
}
