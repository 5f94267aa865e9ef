//! What was observed between two ends, beside what policies say of them.

use super::source::{now, shown};
use super::table;
use crate::flows;
use anyhow::{Result, bail};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use weir_console::filter::{Filter, Parameters};
use weir_console::row::Row;
use weir_elastic::ElasticSettings;
use weir_flow::{Address, Millis};

#[cfg(test)]
mod tests;

/// The most records that are added up.
const RECORDS: usize = 1_000;

/// Everything of one port with one outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// The port; nothing for a protocol without.
    port: Option<u64>,
    /// `allow`, `deny` or `mixed`: what the packets showed.
    action: String,
    /// What policies said then, and how it fits: `allow`, `deny`, `unknown`; `mismatch`, `unexplained`.
    policies: BTreeSet<String>,
    /// Connections started.
    connections: u64,
    /// Bytes of both directions.
    bytes: u64,
    /// First packet, ISO 8601.
    first_seen: String,
    /// Last packet, ISO 8601.
    last_seen: String,
    records: u64,
}

/// What was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Traffic {
    /// From when on, ISO 8601.
    since: String,
    /// Until when, ISO 8601.
    until: String,
    /// Whether there was more than what is added up here, which is the newest.
    more: bool,
    pub(super) lines: Vec<Line>,
}

/// The records of an end, in the language of filters.
fn end(side: &str, name: &str) -> String {
    if let Ok(address) = name.parse::<Address>() {
        return format!("{side}.address == {address}");
    }
    match name.split_once('/') {
        Some(("node", node)) => format!("{side}.node == {node:?} and not has({side}.workload)"),
        Some((namespace, name)) => {
            format!("{side}.namespace == {namespace:?} and ({side}.workload == {name:?} or {side}.pod == {name:?})")
        }
        None => format!("{side}.workload == {name:?}"),
    }
}

/// The question for what was observed between two ends.
pub(super) fn filter(
    (source, destination): (&str, &str),
    (number, port): (u8, Option<u16>),
    (since, until): (Millis, Millis),
) -> Result<Filter> {
    let mut expression = format!("{} and {} and protocol == {number}", end("src", source), end("dst", destination));
    if let Some(port) = port {
        expression += &format!(" and dst.port == {port}");
    }
    let parameters = Parameters {
        filter: Some(expression),
        since: Some(shown(since)),
        until: Some(shown(until)),
        level: Some("1".to_owned()),
        limit: Some(RECORDS.to_string()),
        ..Parameters::default()
    };
    Ok(Filter::parse(&parameters, 1, now())?)
}

/// Asks the search engine.
pub(super) async fn observed(
    settings: &ElasticSettings,
    ends: (&str, &str),
    port: (u8, Option<u16>),
    (since, until): (Millis, Millis),
) -> Result<Traffic> {
    if since >= until {
        bail!("--traffic {} is not before {}", shown(since), shown(until));
    }
    let filter = filter(ends, port, (since, until))?;
    let (rows, next) = flows::stored(settings, &filter).await?;
    Ok(Traffic { since: shown(since), until: shown(until), more: next.is_some(), lines: added(&rows) })
}

/// Rows added up by port and by what the packets showed, most connections first.
pub(super) fn added(rows: &[Row]) -> Vec<Line> {
    let mut lines: BTreeMap<(Option<u64>, &str), Line> = BTreeMap::new();
    for row in rows {
        let port = row.destination.port;
        let line = lines.entry((port, &row.action)).or_insert_with(|| Line {
            port,
            action: row.action.clone(),
            first_seen: row.first_seen.clone(),
            ..Line::default()
        });
        if let Some(policy) = &row.policy {
            line.policies.extend(policy.verdict.iter().cloned());
            if matches!(policy.explanation.as_str(), "mismatch" | "unexplained") {
                line.policies.insert(policy.explanation.clone());
            }
        }
        line.connections = line.connections.saturating_add(row.totals.started);
        let bytes = row.totals.forward_bytes.saturating_add(row.totals.reverse_bytes);
        line.bytes = line.bytes.saturating_add(bytes);
        line.records = line.records.saturating_add(1);
        // Both in the same form, so that texts are in the order of times.
        line.first_seen = line.first_seen.clone().min(row.first_seen.clone());
        line.last_seen = line.last_seen.clone().max(row.last_seen.clone());
    }
    let mut lines: Vec<Line> = lines.into_values().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.connections));
    lines
}

/// For people.
pub(super) fn words(traffic: &Traffic) -> String {
    let Traffic { since, until, .. } = traffic;
    if traffic.lines.is_empty() {
        return format!("observed from {since} to {until}: nothing\n");
    }
    let more = if traffic.more { format!(", the newest {RECORDS} records") } else { String::new() };
    let rows = traffic.lines.iter().map(|line| {
        let policies = line.policies.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        vec![
            line.port.map(|port| port.to_string()).unwrap_or_default(),
            line.action.clone(),
            if policies.is_empty() { "not judged".to_owned() } else { policies },
            line.connections.to_string(),
            line.bytes.to_string(),
            line.first_seen.clone(),
            line.last_seen.clone(),
        ]
    });
    let heading = ["PORT", "PACKETS SHOWED", "POLICIES SAID", "CONNS", "BYTES", "FIRST", "LAST"];
    format!("observed from {since} to {until}{more}:\n{}", table(&heading, rows))
}
