//! `weir flows --source pcap:FILE`: flows of capture files, made in this process by what makes them everywhere.

use super::{FlowsSettings, Output, matching, print, say, table};
use anyhow::{Context as _, Result, anyhow};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use weir_console::filter::Filter;
use weir_console::row::Row;
use weir_enricher::alone::Alone;
use weir_flow::{Level, RecordSettings};
use weir_service::{HintExt as _, Metrics};

/// Where flows are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A capture file.
    Pcap(PathBuf),
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("pcap", file)) if !file.is_empty() => Ok(Self::Pcap(file.into())),
            _ => Err("write pcap:FILE, for a pcap or pcapng file".to_owned()),
        }
    }
}

/// Prints the flows of capture files as their windows end.
pub(super) fn run(
    settings: &FlowsSettings,
    filter: &Filter,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<()> {
    let files: Vec<&PathBuf> = settings.source.iter().map(|Source::Pcap(file)| file).collect();
    let small = RecordSettings { live: false, ..RecordSettings::small("capture") };
    let capture = weir_agent::pcap::read(&files, &small).hint("give readable pcap or pcapng files with --source")?;
    let metadata = weir_metadata::capture_metadata(&capture.cluster, settings.manifests.as_deref())
        .hint("give a folder of valid manifests with --manifests")?;
    let records = RecordSettings { cluster: capture.cluster.clone(), ..small };
    let mut enricher = Alone::new(records, level(filter)?, &metadata, metrics)?;
    let (most, mut printed) = (settings.limit.as_ref().map_or(usize::MAX, |_| filter.limit()), 0);
    for batch in capture.batches() {
        if stop.is_cancelled() || printed >= most {
            break;
        }
        let batch = batch
            .context("what is printed is of before")
            .hint("the file ends in the middle of a packet, or is damaged")?;
        let flows = enricher.read(&batch)?.flows;
        let rows: Vec<Row> = flows.iter().filter_map(|flow| matching(filter, flow)).collect();
        let rows = rows.get(..rows.len().min(most - printed)).unwrap_or_default();
        if !rows.is_empty() {
            print(settings.output, rows, printed == 0)?;
            printed += rows.len();
        }
    }
    if settings.output == Output::Table {
        let empty = || "no flow of the capture matches; without filters all are shown".to_owned();
        say(&if printed == 0 { empty() } else { table::footer(printed, None) });
    }
    Ok(())
}

fn level(filter: &Filter) -> Result<Level> {
    Level::from_number(filter.level().into()).ok_or_else(|| anyhow!("level {}", filter.level()))
}
