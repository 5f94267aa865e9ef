//! What comes of an edit, by pair of workloads and port.

use super::judges::Verdicts;
use crate::policy::source::shown;
use crate::policy::table;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use weir_flow::{Millis, protocol};
use weir_policy::Outcome;
use weir_schemas::enriched::{Enriched, Side};

/// The most rows that are kept; what would be one more is counted.
const ROWS: usize = 100_000;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Becomes {
    /// It was allowed, and would be denied.
    NewlyDenied,
    /// It was denied, and would be allowed.
    NewlyAllowed,
    /// One of the verdicts is not known.
    Unknown,
    /// The same.
    Unchanged,
}

impl Becomes {
    pub(super) fn of(verdicts: &Verdicts) -> Self {
        match (verdicts.now, verdicts.then) {
            (Outcome::Unknown, _) | (_, Outcome::Unknown) => Self::Unknown,
            (Outcome::Allow, Outcome::Deny) => Self::NewlyDenied,
            (Outcome::Deny, Outcome::Allow) => Self::NewlyAllowed,
            _ => Self::Unchanged,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NewlyDenied => "newly denied",
            Self::NewlyAllowed => "newly allowed",
            Self::Unknown => "unknown",
            Self::Unchanged => "unchanged",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    becomes: Becomes,
    source: String,
    destination: String,
    protocol: u8,
    port: Option<u16>,
    why: String,
}

#[derive(Clone, Debug)]
struct Sums {
    connections: u64,
    bytes: u64,
    records: u64,
    first: (Millis, String),
    last: (Millis, String),
}

/// Everything that was judged.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: BTreeMap<Key, Sums>,
    /// Records whose rows would have been too many.
    left_out: u64,
    pub(super) records: u64,
    /// Records that a repair corrected or deleted; their originals were judged.
    pub(super) corrections: u64,
    pub(super) undecodable: u64,
    pub(super) first: Option<Millis>,
    pub(super) last: Option<Millis>,
}

/// `namespace/workload`, a node, or what is known of an address outside.
fn title(side: &Side) -> String {
    match (&side.namespace, &side.workload) {
        (Some(namespace), Some(workload)) => format!("{namespace}/{workload}"),
        _ => {
            let named = side.service.as_ref().or(side.network_set.as_ref()).or(side.node.as_ref());
            let address = || side.address.map_or_else(|| "(unknown)".to_owned(), |address| address.to_string());
            named.cloned().unwrap_or_else(address)
        }
    }
}

/// One connection, as an example: pods where they are known, else addresses.
fn example(flow: &Enriched) -> String {
    let name = |side: &Side| {
        let pod = side.namespace.as_ref().zip(side.pod.as_ref()).map(|(namespace, pod)| format!("{namespace}/{pod}"));
        pod.unwrap_or_else(|| side.address.map_or_else(|| "?".to_owned(), |address| address.to_string()))
    };
    format!("{} -> {}", name(&flow.initiator), name(&flow.responder))
}

impl Tally {
    pub(super) fn add(&mut self, flow: &Enriched, verdicts: &Verdicts) {
        self.records += 1;
        self.first = Some(self.first.map_or(flow.window, |first| first.min(flow.window)));
        self.last = Some(self.last.map_or(flow.window, |last| last.max(flow.window)));
        let becomes = Becomes::of(verdicts);
        let key = Key {
            becomes,
            source: title(&flow.initiator),
            destination: title(&flow.responder),
            protocol: flow.protocol,
            port: flow.responder.port,
            why: if becomes == Becomes::Unknown { verdicts.why.clone() } else { String::new() },
        };
        let full = self.rows.len() >= ROWS;
        let example = (flow.first_seen, example(flow));
        let bytes = flow.totals.forward_bytes.saturating_add(flow.totals.reverse_bytes);
        match self.rows.get_mut(&key) {
            Some(sums) => {
                sums.connections = sums.connections.saturating_add(flow.totals.started);
                sums.bytes = sums.bytes.saturating_add(bytes);
                sums.records += 1;
                if example < sums.first {
                    sums.first = example.clone();
                }
                if example > sums.last {
                    sums.last = example;
                }
            }
            None if full => self.left_out += 1,
            None => {
                let (first, last) = (example.clone(), example);
                let sums = Sums { connections: flow.totals.started, bytes, records: 1, first, last };
                self.rows.insert(key, sums);
            }
        }
    }

    fn listed(&self, all: bool) -> impl Iterator<Item = (&Key, &Sums)> {
        self.rows.iter().filter(move |(key, _)| all || key.becomes != Becomes::Unchanged)
    }

    fn total(&self, becomes: Becomes) -> (u64, u64) {
        let rows = self.rows.iter().filter(|(key, _)| key.becomes == becomes);
        rows.fold((0, 0), |(connections, bytes), (_, sums)| {
            (connections.saturating_add(sums.connections), bytes.saturating_add(sums.bytes))
        })
    }

    /// What was found, as JSON.
    pub(super) fn json(&self, all: bool) -> Value {
        let rows = self.listed(all).map(|(key, sums)| {
            json!({
                "becomes": key.becomes, "src": key.source, "dst": key.destination,
                "protocol": protocol::name(key.protocol), "port": key.port, "why": key.why,
                "connections": sums.connections, "bytes": bytes(key, sums), "records": sums.records,
                "first": {"time": shown(sums.first.0), "connection": sums.first.1},
                "last": {"time": shown(sums.last.0), "connection": sums.last.1},
            })
        });
        let rows: Vec<Value> = rows.collect();
        json!({
            "rows": rows, "rows_left_out": self.left_out, "records": self.records, "corrections": self.corrections,
            "undecodable": self.undecodable, "from": self.first.map(shown), "to": self.last.map(shown),
        })
    }

    /// What was found, for people.
    pub(super) fn table(&self, all: bool) -> String {
        let heading = ["BECOMES", "SOURCE", "DESTINATION", "PORT", "CONNS", "BYTES", "LAST", "EXAMPLE", "WHY"];
        let rows = self.listed(all).map(|(key, sums)| {
            let name = protocol::name(key.protocol);
            vec![
                key.becomes.words().to_owned(),
                key.source.clone(),
                key.destination.clone(),
                key.port.map_or_else(|| name.clone(), |port| format!("{name}/{port}")),
                sums.connections.to_string(),
                bytes(key, sums).map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string()),
                shown(sums.last.0).get(..19).unwrap_or_default().to_owned(),
                sums.last.1.clone(),
                key.why.clone(),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let mut text = if rows.is_empty() { "nothing changes\n".to_owned() } else { table(&heading, rows) };
        for becomes in [Becomes::NewlyDenied, Becomes::NewlyAllowed, Becomes::Unknown, Becomes::Unchanged] {
            let (connections, bytes) = self.total(becomes);
            let bytes = if becomes == Becomes::NewlyAllowed { String::new() } else { format!(", {bytes} bytes") };
            text += &format!("{}: {connections} connections{bytes}\n", becomes.words());
        }
        let notes = [
            (self.left_out, "records are in no row: there are too many pairs"),
            (self.corrections, "corrections of a repair were not judged"),
            (self.undecodable, "records could not be read"),
        ];
        for (count, words) in notes.into_iter().filter(|(count, _)| *count > 0) {
            text += &format!("{count} {words}\n");
        }
        text
    }
}

/// The bytes of a row; not known of what was denied so far: an attempt has none.
fn bytes(key: &Key, sums: &Sums) -> Option<u64> {
    (key.becomes != Becomes::NewlyAllowed).then_some(sums.bytes)
}
