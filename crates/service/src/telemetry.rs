//! Logs on standard error, and traces and metrics over OTLP where an endpoint is set.

mod bridge;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::Serialize;
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::metrics::Metrics;
use crate::settings::parse_duration;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings of logs and telemetry.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetrySettings {
    /// Which log lines are written: a level, or `target=level` items separated by commas.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How log lines are written.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Send traces and metrics to this OTLP endpoint (http/protobuf), such as http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Share of traces that are sent, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = parse_share)]
    pub otlp_sample_share: f64,

    /// How often metrics are sent.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub otlp_interval: Duration,

    /// How long one request to the endpoint, and the last flush at exit, may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub otlp_timeout: Duration,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_sample_share: 1.0,
            otlp_interval: Duration::from_secs(30),
            otlp_timeout: Duration::from_secs(5),
        }
    }
}

impl TelemetrySettings {
    /// Validates what can be validated without IO.
    ///
    /// # Errors
    /// [`TelemetryError::Filter`] or [`TelemetryError::Endpoint`].
    pub fn validate(&self) -> Result<(), TelemetryError> {
        self.filter()?;
        match &self.otlp_endpoint {
            Some(endpoint) if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") => {
                Err(TelemetryError::Endpoint { endpoint: endpoint.clone() })
            }
            _ => Ok(()),
        }
    }

    fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        EnvFilter::try_new(&self.log).map_err(|source| TelemetryError::Filter { filter: self.log.clone(), source })
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is no filter.
    #[error("log filter `{filter}`")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The OTLP endpoint is no HTTP URL.
    #[error("otlp endpoint `{endpoint}` is no http or https url")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// The OTLP exporter cannot be built.
    #[error("otlp exporter")]
    Exporter(#[from] ExporterBuildError),
    /// Another subscriber is in place.
    #[error("log subscriber")]
    Subscriber(#[from] TryInitError),
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1".to_owned()),
    }
}

struct Providers {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

/// Keeps telemetry alive; dropping it sends what is left, within the time-out of the settings.
#[must_use = "telemetry stops when the guard is dropped"]
pub struct TelemetryGuard {
    providers: Option<Providers>,
    timeout: Duration,
}

impl std::fmt::Debug for TelemetryGuard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TelemetryGuard").field("otlp", &self.providers.is_some()).finish_non_exhaustive()
    }
}

impl TelemetryGuard {
    /// Sends everything in this registry over OTLP too, now and later registered.
    pub fn export_metrics(&self, metrics: &Metrics) {
        if let Some(providers) = &self.providers {
            bridge::export(metrics, &providers.metrics);
        }
    }

    /// Sends what is left. Returns whether that finished in time; true if there was nothing to send to.
    pub fn flush(&mut self) -> bool {
        let Some(providers) = self.providers.take() else {
            return true;
        };
        let (done, finished) = mpsc::channel();
        // On a thread of its own, because the exporters wait without a limit that covers both.
        std::thread::spawn(move || {
            let traces = providers.traces.shutdown();
            let metrics = providers.metrics.shutdown();
            let _ = done.send(traces.and(metrics).is_ok());
        });
        finished.recv_timeout(self.timeout).unwrap_or(false)
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if !self.flush() {
            tracing::warn!("telemetry not flushed in time; the last traces and metrics are lost");
        }
    }
}

/// Starts logs and, where an endpoint is set, traces and metrics over OTLP, for the whole process.
///
/// # Errors
/// If a setting is wrong, an exporter cannot be built, or logs were already started.
pub fn init(settings: &TelemetrySettings, service_name: &str) -> Result<TelemetryGuard, TelemetryError> {
    settings.validate()?;
    let filter = settings.filter()?;
    let providers = match &settings.otlp_endpoint {
        Some(endpoint) => Some(providers(settings, endpoint, service_name)?),
        None => None,
    };
    let traces = providers.as_ref().map(|providers| {
        tracing_opentelemetry::layer()
            .with_tracer(providers.traces.tracer(service_name.to_owned()))
            // The exporter's own HTTP client must not trace itself.
            .with_filter(filter_fn(|metadata| {
                !["hyper", "reqwest", "opentelemetry", "h2"].iter().any(|own| metadata.target().starts_with(own))
            }))
    });
    tracing_subscriber::registry().with(filter).with(log_layer(settings.log_format)).with(traces).try_init()?;
    Ok(TelemetryGuard { providers, timeout: settings.otlp_timeout })
}

fn log_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            Box::new(layer.with_ansi(colour))
        }
        LogFormat::Json => Box::new(layer.json().flatten_event(true).with_current_span(true)),
    }
}

fn providers(settings: &TelemetrySettings, endpoint: &str, service_name: &str) -> Result<Providers, TelemetryError> {
    let base = endpoint.trim_end_matches('/');
    let resource = Resource::builder().with_service_name(service_name.to_owned()).build();
    let spans = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(settings.otlp_timeout)
        .build()?;
    let points = opentelemetry_otlp::MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/metrics"))
        .with_timeout(settings.otlp_timeout)
        .build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.otlp_sample_share)));
    Ok(Providers {
        traces: SdkTracerProvider::builder()
            .with_batch_exporter(spans)
            .with_sampler(sampler)
            .with_resource(resource.clone())
            .build(),
        metrics: SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(points).with_interval(settings.otlp_interval).build())
            .with_resource(resource)
            .build(),
    })
}
