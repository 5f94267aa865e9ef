//! What the kernel says about this process, read from `/proc` on each scrape.

use std::fmt::Error;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::MetricInfo;

/// Ticks a second in `/proc/self/stat`: fixed at 100 in Linux's interface to user space on every architecture that
/// Weir is built for, whatever the kernel uses inside.
const TICKS_PER_SECOND: f64 = 100.0;

const CPU: (&str, &str) = ("process_cpu_seconds", "User and system CPU time used");
const RESIDENT: (&str, &str) = ("process_resident_memory_bytes", "Resident memory");
const THREADS: (&str, &str) = ("process_threads", "Threads");
const OPEN_FILES: (&str, &str) = ("process_open_fds", "Open file descriptors");
const MOST_FILES: (&str, &str) = ("process_max_fds", "Most file descriptors allowed");
const SUPPRESSED: (&str, &str) = (
    "weir_log_lines_suppressed",
    "Log lines that were not written because their place in the program logged too often",
);

/// Reads `/proc/self`; what cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            counter(&mut encoder, CPU, &ConstCounter::new(seconds))?;
        }
        if let Some(bytes) = resident_bytes(&status) {
            gauge(&mut encoder, RESIDENT, bytes)?;
        }
        if let Some(threads) = status_number(&status, "Threads:") {
            gauge(&mut encoder, THREADS, threads)?;
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one descriptor open.
            let open = entries.count().saturating_sub(1);
            gauge(&mut encoder, OPEN_FILES, i64::try_from(open).unwrap_or(i64::MAX))?;
        }
        if let Some(most) = most_files(&limits) {
            gauge(&mut encoder, MOST_FILES, most)?;
        }
        counter(&mut encoder, SUPPRESSED, &ConstCounter::new(crate::rate_limit::suppressed_total()))
    }
}

fn gauge(encoder: &mut DescriptorEncoder, (name, help): (&str, &str), value: i64) -> Result<(), Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    metric: &impl EncodeMetric,
) -> Result<(), Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// The inventory lines of [`ProcessCollector`].
pub(super) fn inventory() -> Vec<MetricInfo> {
    let line = |(name, help): (&str, &str), kind: &str| MetricInfo {
        name: if kind == "counter" { format!("{name}_total") } else { name.to_owned() },
        kind: kind.to_owned(),
        help: help.to_owned(),
    };
    vec![
        line(CPU, "counter"),
        line(RESIDENT, "gauge"),
        line(THREADS, "gauge"),
        line(OPEN_FILES, "gauge"),
        line(MOST_FILES, "gauge"),
        line(SUPPRESSED, "counter"),
    ]
}

/// User and system time from `/proc/self/stat`.
pub(super) fn cpu_seconds(stat: &str) -> Option<f64> {
    // The command's name stands in parentheses and may hold anything, so fields are counted from its end.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

/// Resident memory from `/proc/self/status`.
pub(super) fn resident_bytes(status: &str) -> Option<i64> {
    status_number(status, "VmRSS:").map(|kibibytes| kibibytes * 1024)
}

fn status_number(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The soft limit of open files from `/proc/self/limits`.
pub(super) fn most_files(limits: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
