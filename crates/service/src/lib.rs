//! The process shell that every Weir service wears: settings, telemetry, metrics, the admin port,
//! shutdown and the exit code. It knows nothing of what the service does.
//!
//! A service's `main` is a settings type and one call:
//!
//! ```no_run
//! use clap::Parser;
//! use weir_service::{Context, ProcessSettings, ServiceSettings};
//!
//! #[derive(Debug, Parser)]
//! struct Settings {
//!     /// How many partitions the raw topic has.
//!     #[arg(long, default_value_t = 12)]
//!     raw_partitions: u32,
//!     #[command(flatten)]
//!     process: ProcessSettings,
//! }
//!
//! impl ServiceSettings for Settings {
//!     fn process(&self) -> &ProcessSettings {
//!         &self.process
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     weir_service::run("weir-example", env!("CARGO_PKG_VERSION"), async |context: Context<Settings>| {
//!         context.health.set_ready("example", true, "");
//!         context.shutdown.cancelled().await;
//!         Ok(())
//!     })
//! }
//! ```
#![forbid(unsafe_code)]

pub mod admin;
pub mod hint;
pub mod metrics;
pub mod rate_limit;
pub mod run;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use admin::{AdminServer, Health};
pub use hint::HintExt;
pub use metrics::Metrics;
pub use run::{Context, ProcessSettings, ServiceSettings, run, run_loaded};
pub use shutdown::Shutdown;
pub use telemetry::{TelemetryGuard, TelemetrySettings};
/// The cancellation token that [`Shutdown`] cancels and that services wait for.
pub use tokio_util::sync::CancellationToken;

#[doc(hidden)]
pub mod macro_support {
    //! What the macros of this crate expand to; not for direct use.
    pub use tracing;
}
