//! The scraped metrics, sent over OTLP as well: one observable instrument for each, which reads the registry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use crate::metrics::{MetricInfo, Metrics, Sample};

/// All instruments of one collection share one reading of the registry.
const FRESH: Duration = Duration::from_millis(500);

struct Reading {
    metrics: Metrics,
    last: Mutex<Option<(Instant, Arc<Vec<Sample>>)>>,
}

impl Reading {
    fn samples(&self) -> Arc<Vec<Sample>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((at, samples)) if at.elapsed() < FRESH => Arc::clone(samples),
            _ => {
                let samples = Arc::new(self.metrics.samples());
                *last = Some((Instant::now(), Arc::clone(&samples)));
                samples
            }
        }
    }

    fn observe(&self, name: &str, instrument: &dyn AsyncInstrument<f64>) {
        for sample in self.samples().iter().filter(|sample| sample.name == name) {
            let labels: Vec<KeyValue> =
                sample.labels.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
            instrument.observe(sample.value, &labels);
        }
    }
}

/// Sends every metric of the registry through the provider, now and later registered.
pub(super) fn export(metrics: &Metrics, provider: &SdkMeterProvider) {
    let meter = provider.meter("weir");
    let reading = Arc::new(Reading { metrics: metrics.clone(), last: Mutex::new(None) });
    metrics.for_each(move |info| instrument(&meter, &reading, info));
}

fn instrument(meter: &Meter, reading: &Arc<Reading>, info: &MetricInfo) {
    let counter = |name: String| {
        let reading = Arc::clone(reading);
        let scraped = name.clone();
        meter
            .f64_observable_counter(name)
            .with_description(info.help.clone())
            .with_callback(move |instrument| reading.observe(&scraped, instrument))
            .build();
    };
    match info.kind.as_str() {
        "counter" => counter(info.name.clone()),
        // OTLP has no observable histogram; its rate and its mean are what dashboards ask for.
        "histogram" => {
            counter(format!("{}_count", info.name));
            counter(format!("{}_sum", info.name));
        }
        _ => {
            let reading = Arc::clone(reading);
            let scraped = info.name.clone();
            meter
                .f64_observable_gauge(info.name.clone())
                .with_description(info.help.clone())
                .with_callback(move |instrument| reading.observe(&scraped, instrument))
                .build();
        }
    }
}
