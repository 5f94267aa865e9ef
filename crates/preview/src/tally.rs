//! What comes of an edit, by pair of workloads and port.

use crate::judges::Verdicts;
use crate::shown;
use serde::{Serialize, Serializer};
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
pub enum Becomes {
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
    /// All, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::NewlyDenied, Self::NewlyAllowed, Self::Unknown, Self::Unchanged];

    /// What two verdicts come to.
    #[must_use]
    pub fn of(verdicts: &Verdicts) -> Self {
        match (verdicts.now, verdicts.then) {
            (Outcome::Unknown, _) | (_, Outcome::Unknown) => Self::Unknown,
            (Outcome::Allow, Outcome::Deny) => Self::NewlyDenied,
            (Outcome::Deny, Outcome::Allow) => Self::NewlyAllowed,
            _ => Self::Unchanged,
        }
    }

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NewlyDenied => "newly denied",
            Self::NewlyAllowed => "newly allowed",
            Self::Unknown => "unknown",
            Self::Unchanged => "unchanged",
        }
    }

    /// The bytes of what became so; not known of what was denied so far: an attempt has none.
    fn bytes(self, bytes: u64) -> Option<u64> {
        (self != Self::NewlyAllowed).then_some(bytes)
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

/// One end of an example: a pod if it is known, and the address if there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ExampleEnd {
    /// Namespace of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// One record, as an example.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    /// Its first packet, ms since the epoch.
    #[serde(serialize_with = "time")]
    pub time: Millis,
    /// Start of its window, ms since the epoch.
    #[serde(serialize_with = "time")]
    pub window: Millis,
    /// Length of its window, ms.
    pub window_length: Millis,
    /// Both ends, in words.
    pub connection: String,
    /// Who opened it.
    pub source: ExampleEnd,
    /// The other.
    pub destination: ExampleEnd,
}

fn time<S: Serializer>(time: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown(*time))
}

#[derive(Clone, Debug)]
struct Sums {
    connections: u64,
    bytes: u64,
    records: u64,
    first: Example,
    last: Example,
}

/// What becomes of the connections between two workloads at a port.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row<'a> {
    /// What becomes of them.
    pub becomes: Becomes,
    /// Who opened them: `namespace/workload`, or what is known of an address.
    #[serde(rename = "src")]
    pub source: &'a str,
    /// To whom.
    #[serde(rename = "dst")]
    pub destination: &'a str,
    /// IANA number of the protocol; by its name in JSON.
    #[serde(serialize_with = "protocol_name")]
    pub protocol: u8,
    /// The port; nothing for a protocol without.
    pub port: Option<u16>,
    /// Why it is unknown, if it is.
    pub why: &'a str,
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes of both directions; not known of what was denied so far.
    pub bytes: Option<u64>,
    /// Records that they were counted in.
    pub records: u64,
    /// The first of the records.
    pub first: &'a Example,
    /// The last.
    pub last: &'a Example,
}

fn protocol_name<S: Serializer>(number: &u8, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&protocol::name(*number))
}

/// Everything that was judged.
#[derive(Debug, Default)]
pub struct Tally {
    rows: BTreeMap<Key, Sums>,
    /// Records whose rows would have been too many.
    pub left_out: u64,
    /// Records that were judged.
    pub records: u64,
    /// Records that a repair corrected or deleted; their originals were judged.
    pub corrections: u64,
    /// Messages that are no records.
    pub undecodable: u64,
    /// The first window, ms since the epoch.
    pub first: Option<Millis>,
    /// The last window, ms since the epoch.
    pub last: Option<Millis>,
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

fn example_end(side: &Side) -> ExampleEnd {
    let pod = side.namespace.clone().zip(side.pod.clone());
    let (namespace, pod) = pod.map_or((None, None), |(namespace, pod)| (Some(namespace), Some(pod)));
    ExampleEnd { namespace, pod, address: side.address.map(|address| address.to_string()) }
}

/// A record as an example: pods where they are known, else addresses.
fn example(flow: &Enriched) -> Example {
    let (source, destination) = (example_end(&flow.initiator), example_end(&flow.responder));
    let name = |end: &ExampleEnd| match (&end.namespace, &end.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod}"),
        _ => end.address.clone().unwrap_or_else(|| "?".to_owned()),
    };
    Example {
        time: flow.first_seen,
        window: flow.window,
        window_length: flow.window_length,
        connection: format!("{} -> {}", name(&source), name(&destination)),
        source,
        destination,
    }
}

impl Tally {
    /// Takes a record and what is said of it.
    pub fn add(&mut self, flow: &Enriched, verdicts: &Verdicts) {
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
        let bytes = flow.totals.forward_bytes.saturating_add(flow.totals.reverse_bytes);
        match self.rows.get_mut(&key) {
            Some(sums) => {
                sums.connections = sums.connections.saturating_add(flow.totals.started);
                sums.bytes = sums.bytes.saturating_add(bytes);
                sums.records += 1;
                if flow.first_seen <= sums.first.time || flow.first_seen >= sums.last.time {
                    let example = example(flow);
                    if example < sums.first {
                        sums.first = example.clone();
                    }
                    if example > sums.last {
                        sums.last = example;
                    }
                }
            }
            None if full => self.left_out += 1,
            None => {
                let first = example(flow);
                let (connections, last) = (flow.totals.started, first.clone());
                self.rows.insert(key, Sums { connections, bytes, records: 1, first, last });
            }
        }
    }

    /// The rows, by what becomes of them; what stays as it is only when all are asked for.
    pub fn rows(&self, all: bool) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().filter(move |(key, _)| all || key.becomes != Becomes::Unchanged).map(|(key, sums)| Row {
            becomes: key.becomes,
            source: &key.source,
            destination: &key.destination,
            protocol: key.protocol,
            port: key.port,
            why: &key.why,
            connections: sums.connections,
            bytes: key.becomes.bytes(sums.bytes),
            records: sums.records,
            first: &sums.first,
            last: &sums.last,
        })
    }

    /// Connections and bytes of all that became so.
    #[must_use]
    pub fn total(&self, becomes: Becomes) -> (u64, Option<u64>) {
        let rows = self.rows.iter().filter(|(key, _)| key.becomes == becomes);
        let (connections, bytes) = rows.fold((0_u64, 0_u64), |(connections, bytes), (_, sums)| {
            (connections.saturating_add(sums.connections), bytes.saturating_add(sums.bytes))
        });
        (connections, becomes.bytes(bytes))
    }

    /// What was found, as JSON, with at most so many rows.
    #[must_use]
    pub fn json(&self, all: bool, most: usize) -> Value {
        let rows: Vec<Row<'_>> = self.rows(all).take(most).collect();
        let more = self.rows(all).count() - rows.len();
        let totals: serde_json::Map<String, Value> = Becomes::ALL
            .into_iter()
            .map(|becomes| {
                let (connections, bytes) = self.total(becomes);
                (becomes.words().replace(' ', "_"), json!({"connections": connections, "bytes": bytes}))
            })
            .collect();
        json!({
            "rows": rows, "rows_more": more, "rows_left_out": self.left_out, "records": self.records,
            "corrections": self.corrections, "undecodable": self.undecodable, "totals": totals,
            "from": self.first.map(shown), "to": self.last.map(shown),
        })
    }
}
