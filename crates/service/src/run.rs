//! The life of a process, from the command line to the exit code.
//!
//! Settings (`--check` and `--print-config` stop here), telemetry, the admin port, one line that says what runs and
//! where, the service itself; on a signal: not ready, cancel, drain; then the exit code by kind of error.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminServer, Health};
use crate::hint::{EXIT_TELEMETRY, EXIT_USAGE, HintExt as _, exit_code_of, report};
use crate::metrics::Metrics;
use crate::settings::{self, Loaded, Mode, SettingsError, parse_duration};
use crate::shutdown::{Shutdown, drain};
use crate::telemetry::{self, TelemetryGuard, TelemetrySettings};

/// The condition that makes a process not ready while it stops.
const STOPPING: &str = "running";

/// Settings that every service has; flatten them into the service's own.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProcessSettings {
    /// Serve metrics, health and state on this address. It has no authentication: keep it off public networks.
    #[arg(long, value_name = "ADDRESS", help_heading = "Process")]
    pub admin_listen: Option<SocketAddr>,

    /// How long the service may take to finish what it has begun when it is told to stop.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_duration, help_heading = "Process")]
    pub shutdown_grace: Duration,

    /// Logs and telemetry.
    #[command(flatten)]
    #[serde(flatten)]
    pub telemetry: TelemetrySettings,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self { admin_listen: None, shutdown_grace: Duration::from_secs(20), telemetry: TelemetrySettings::default() }
    }
}

/// Settings of a service that [`run`] can run.
pub trait ServiceSettings: Parser {
    /// The settings of the process shell.
    fn process(&self) -> &ProcessSettings;

    /// Validates what the command line parser cannot, without any IO.
    ///
    /// # Errors
    /// What is wrong; the process ends with exit code 2.
    fn validate(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What a running service has.
#[derive(Debug, Clone)]
pub struct Context<T> {
    /// The settings.
    pub settings: T,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// Where components say whether they are ready.
    pub health: Health,
    /// Cancelled when the service shall stop; it then has the grace of the settings to return.
    pub shutdown: CancellationToken,
    /// The address of the admin port, if there is one.
    pub admin: Option<SocketAddr>,
}

/// Runs a service with the command line, environment and files of this process.
pub fn run<T, F>(name: &'static str, version: &'static str, service: F) -> ExitCode
where
    T: ServiceSettings,
    F: AsyncFnOnce(Context<T>) -> anyhow::Result<()>,
{
    let loaded = match load::<T>(std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(error) = validate(&loaded.settings) {
        return fail(&error);
    }
    let process = loaded.settings.process().clone();
    run_loaded(name, version, loaded, &process, service)
}

/// Loads settings and prints what is wrong with them, or the help text that was asked for.
///
/// # Errors
/// The exit code of the process, after everything has been printed.
pub fn load<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<Loaded<T>, ExitCode> {
    match settings::load::<T>(args) {
        Ok(loaded) => Ok(loaded),
        // Clap knows which stream and which code its texts want, and colours them.
        Err(SettingsError::CommandLine(error)) => {
            let _ = error.print();
            Err(if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS })
        }
        Err(error) => Err(fail(&error.into())),
    }
}

/// Prints an error and its hint; returns its exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    // Standard error may be closed; there is nowhere left to say so.
    let _ = writeln!(std::io::stderr(), "{}", report(error));
    ExitCode::from(exit_code_of(error))
}

fn validate<T: ServiceSettings>(settings: &T) -> anyhow::Result<()> {
    settings.process().telemetry.validate().exit_code(EXIT_TELEMETRY)?;
    settings.validate().exit_code(EXIT_USAGE)
}

/// Runs a service whose settings are loaded: what [`run`] does after parsing. For programs with subcommands, which load
/// first and then choose.
pub fn run_loaded<T, F>(
    name: &'static str,
    version: &'static str,
    loaded: Loaded<T>,
    process: &ProcessSettings,
    service: F,
) -> ExitCode
where
    F: AsyncFnOnce(Context<T>) -> anyhow::Result<()>,
{
    if stop_here(&loaded) {
        return ExitCode::SUCCESS;
    }
    let guard = match telemetry::init(&process.telemetry, name) {
        Ok(guard) => guard,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", report(&error.into()));
            return ExitCode::from(EXIT_TELEMETRY);
        }
    };
    log_panics();
    let result = in_runtime(name, version, loaded, process, &guard, service);
    drop(guard);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Does what `--check` and `--print-config` ask; whether one of them was given.
pub fn stop_here<T>(loaded: &Loaded<T>) -> bool {
    let text = match loaded.mode {
        Mode::Run => return false,
        Mode::Check => "ok\n".to_owned(),
        Mode::Print => loaded.effective_toml(),
    };
    // A closed pipe (`| head`) is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    true
}

fn in_runtime<T, F>(
    name: &'static str,
    version: &'static str,
    loaded: Loaded<T>,
    process: &ProcessSettings,
    guard: &TelemetryGuard,
    service: F,
) -> anyhow::Result<()>
where
    F: AsyncFnOnce(Context<T>) -> anyhow::Result<()>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("tokio runtime")?;
    let result = runtime.block_on(async {
        let shutdown = Shutdown::new().context("signal handlers")?;
        let metrics = Metrics::for_process(name, version);
        guard.export_metrics(&metrics);
        supervise(name, version, loaded, process, metrics, &shutdown, service).await
    });
    // A blocking task that hangs must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Runs the service until it returns, or until its grace after the shutdown has passed.
async fn supervise<T, F>(
    name: &'static str,
    version: &'static str,
    loaded: Loaded<T>,
    process: &ProcessSettings,
    metrics: Metrics,
    shutdown: &Shutdown,
    service: F,
) -> anyhow::Result<()>
where
    F: AsyncFnOnce(Context<T>) -> anyhow::Result<()>,
{
    let health = Health::new();
    let config = loaded.effective_toml();
    // The admin port stays up while the service drains, so that it can be watched.
    let admin_token = CancellationToken::new();
    let _stop_admin = admin_token.clone().drop_guard();
    let admin = match process.admin_listen {
        Some(address) => {
            let server = AdminServer::bind(address, metrics.clone(), health.clone())
                .await
                .with_context(|| format!("admin port {address}"))
                .hint("choose another address with --admin-listen")?
                .with_config(config);
            let bound = server.local_addr().context("admin port")?;
            server.spawn(admin_token);
            Some(bound)
        }
        None => None,
    };
    let admin_text = admin.map_or_else(|| "none".to_owned(), |address| address.to_string());
    tracing::info!(service = name, version, admin = admin_text, "starting");
    let token = shutdown.token();
    let context =
        Context { settings: loaded.settings, metrics, health: health.clone(), shutdown: token.clone(), admin };
    let mut running = std::pin::pin!(service(context));
    tokio::select! {
        result = &mut running => return result,
        () = token.cancelled() => {}
    }
    health.set_ready(STOPPING, false, "stopping");
    drain(process.shutdown_grace, running).await.context(name).hint("give it more time with --shutdown-grace")?
}

/// Logs panics like every other event, before the default report.
fn log_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panic");
        default(panic);
    }));
}
