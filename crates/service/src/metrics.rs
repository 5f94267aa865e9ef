//! The metrics of a process: a registry over prometheus-client that can be asked for the same metric twice, lists
//! what it holds, and writes `OpenMetrics` text.
//!
//! Several services may share one process, and each may use the same library: a metric that is already registered
//! under the name and with the type asked for is handed out again, so both count in one place.

mod process;
mod samples;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry};
use serde::Serialize;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use samples::Sample;

/// A gauge of a fraction, a ratio or seconds.
pub type FloatGauge = Gauge<f64, AtomicU64>;
/// One label with a value that is known only at run time. A type that derives `EncodeLabelSet` does as well.
pub type Label = [(&'static str, String); 1];
/// Histograms that share their buckets and differ in their labels.
pub type HistogramFamily<L> = Family<L, Histogram, Buckets>;

/// Buckets in seconds for what takes between a millisecond and a minute.
pub const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Upper bounds of the buckets of a [`HistogramFamily`].
#[derive(Debug, Clone)]
pub struct Buckets(Arc<[f64]>);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// A line of the inventory of metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetricInfo {
    /// The name as it is scraped; a counter's ends in `_total`.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it counts.
    pub help: String,
}

struct Entry {
    info: MetricInfo,
    /// A clone of the registered metric, to hand out again.
    metric: Box<dyn Any + Send>,
}

#[derive(Default)]
struct Inner {
    registry: Registry,
    entries: BTreeMap<String, Entry>,
    /// Described by their collectors, encoded on each scrape.
    collected: Vec<MetricInfo>,
    /// Told of every metric.
    observers: Vec<Observer>,
}

type Observer = Arc<dyn Fn(&MetricInfo) + Send + Sync>;

/// The registry of the process; clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

impl Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").field("metrics", &self.lock().entries.len()).finish()
    }
}

impl Metrics {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A registry with what every process shows: `weir_build_info`, the `process_*` metrics and the count of log lines
    /// that were suppressed.
    #[must_use]
    pub fn for_process(service: &str, version: &str) -> Self {
        let metrics = Self::new();
        let build: Family<[(&'static str, String); 2], Gauge> =
            metrics.gauge_family("weir_build_info", "1, with the service and its version");
        build.get_or_create(&[("service", service.to_owned()), ("version", version.to_owned())]).set(1);
        metrics.collector(process::ProcessCollector, &process::inventory());
        metrics
    }

    /// A counter. Its scraped name ends in `_total`, which need not be written here.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.get_or_register(counter_name(name), help, Counter::default)
    }

    /// Counters that differ in their labels.
    #[must_use]
    pub fn counter_family<L>(&self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static,
    {
        self.get_or_register(counter_name(name), help, Family::default)
    }

    /// A gauge of whole numbers.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.get_or_register(name, help, Gauge::default)
    }

    /// Gauges that differ in their labels.
    #[must_use]
    pub fn gauge_family<L>(&self, name: &str, help: &str) -> Family<L, Gauge>
    where
        L: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static,
    {
        self.get_or_register(name, help, Family::default)
    }

    /// A gauge of a real number, such as seconds.
    #[must_use]
    pub fn float_gauge(&self, name: &str, help: &str) -> FloatGauge {
        self.get_or_register(name, help, FloatGauge::default)
    }

    /// A histogram with these upper bounds; see [`SECONDS`].
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: impl IntoIterator<Item = f64>) -> Histogram {
        self.get_or_register(name, help, || Histogram::new(buckets))
    }

    /// Histograms with the same upper bounds that differ in their labels.
    #[must_use]
    pub fn histogram_family<L>(
        &self,
        name: &str,
        help: &str,
        buckets: impl IntoIterator<Item = f64>,
    ) -> HistogramFamily<L>
    where
        L: EncodeLabelSet + Clone + Hash + Eq + Debug + Send + Sync + 'static,
    {
        self.get_or_register(name, help, || Family::new_with_constructor(Buckets(buckets.into_iter().collect())))
    }

    /// Registers what `create` makes, or hands out what is there under this name.
    ///
    /// A name that is taken by a metric of another type is a mistake in the program: the metric returned then works but
    /// is not scraped, and an error is logged.
    pub fn get_or_register<M>(&self, name: &str, help: &str, create: impl FnOnce() -> M) -> M
    where
        M: Metric + TypedMetric + Clone,
    {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get(name) {
            if let Some(metric) = entry.metric.downcast_ref::<M>() {
                return metric.clone();
            }
            tracing::error!(name, "metric registered twice with different types");
            return create();
        }
        let metric = create();
        inner.registry.register(name, help, metric.clone());
        let kind = kind_of(M::TYPE);
        let scraped = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let entry = Entry {
            info: MetricInfo {
                name: scraped,
                kind: kind.to_owned(),
                // prometheus-client ends help with a full stop on its own.
                help: help.trim_end_matches('.').to_owned(),
            },
            metric: Box::new(metric.clone()),
        };
        let info = entry.info.clone();
        inner.entries.insert(name.to_owned(), entry);
        let observers = inner.observers.clone();
        // Observers may ask this registry in turn.
        drop(inner);
        for observer in observers {
            observer(&info);
        }
        metric
    }

    /// Registers what is measured only when it is scraped, with its lines for the inventory.
    pub fn collector(&self, collector: impl Collector, inventory: &[MetricInfo]) {
        let mut inner = self.lock();
        inner.registry.register_collector(Box::new(collector));
        inner.collected.extend(inventory.iter().cloned());
        let observers = inner.observers.clone();
        drop(inner);
        for observer in observers {
            inventory.iter().for_each(|info| observer(info));
        }
    }

    /// Tells of every metric that is registered, and then of each that will be.
    pub fn for_each(&self, observer: impl Fn(&MetricInfo) + Send + Sync + 'static) {
        let observer: Observer = Arc::new(observer);
        let present: Vec<MetricInfo> = {
            let mut inner = self.lock();
            inner.observers.push(Arc::clone(&observer));
            let registered = inner.entries.values().map(|entry| entry.info.clone());
            registered.chain(inner.collected.iter().cloned()).collect()
        };
        present.iter().for_each(|info| observer(info));
    }

    /// Everything registered, by name.
    #[must_use]
    pub fn inventory(&self) -> Vec<MetricInfo> {
        let inner = self.lock();
        let registered = inner.entries.values().map(|entry| entry.info.clone());
        let mut all: Vec<MetricInfo> = registered.chain(inner.collected.iter().cloned()).collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// All metrics as `OpenMetrics` text.
    ///
    /// # Errors
    /// Only what a collector reports.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.lock().registry)?;
        Ok(text)
    }

    /// The current value of every series; histograms as their `_count`, `_sum` and `_bucket` series.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.encode().map(|text| samples::parse(&text)).unwrap_or_default()
    }

    /// The value of the series with this scraped name and these labels, for tests and status pages.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples()
            .into_iter()
            .find(|sample| {
                sample.name == name
                    && labels
                        .iter()
                        .all(|(key, value)| sample.labels.iter().any(|(have, is)| have == key && is == value))
            })
            .map(|sample| sample.value)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counter_name(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

fn kind_of(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Info => "info",
        _ => "unknown",
    }
}
