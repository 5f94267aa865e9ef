//! The map: who talks to whom, added up from rows, and when. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::row::{End, Row, iso};

#[cfg(test)]
mod tests;

/// Most ends on a map; the rest is counted.
pub const NODES_MOST: usize = 120;
/// Most connections between ends; the rest is counted.
pub const EDGES_MOST: usize = 400;
/// Most ports that are listed of a connection; the rest is counted.
const PORTS_MOST: usize = 8;
/// Most slots of time.
const SLOTS_MOST: i64 = 60;

/// Who talked to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Map {
    /// The ends, by number.
    pub nodes: Vec<Node>,
    /// Who opened connections to whom, denied ones first, then by bytes.
    pub edges: Vec<Edge>,
    /// When, oldest first, without gaps.
    pub slots: Vec<Slot>,
    /// Length of a slot, ms.
    pub slot_length: i64,
    /// How many records it is made of.
    pub records: u64,
    /// Start of the oldest window, ISO 8601.
    pub from: Option<String>,
    /// End of the newest window, ISO 8601.
    pub to: Option<String>,
    /// Ends that are left out.
    pub nodes_more: usize,
    /// Connections between ends that are left out.
    pub edges_more: usize,
}

/// An end: a workload where one is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Node {
    /// What it is: `workload`, `pod`, `service`, `process`, `host`, `network_set`, `namespace`, `ambiguous` or `scope`.
    pub kind: &'static str,
    /// The cluster's id.
    pub cluster: String,
    /// Namespace; empty where there is none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `source` or `destination` where nobody is known for it, so that the internet that calls and the internet that is called
    /// are two; else empty.
    pub role: &'static str,
    /// The fields of an end, in the language of filters, by which its flows are found.
    pub terms: Vec<Term>,
}

/// A field of an end and the value that it has, as it stands in an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Term {
    /// The field, without `src.` and `dst.`.
    pub field: &'static str,
    /// The value, quoted if it is a text; nothing where the field has none.
    pub value: Option<String>,
}

/// The connections that one end opened to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// Number of the end that opened them.
    pub source: usize,
    /// Number of the other end.
    pub destination: usize,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Protocols and ports, most bytes first.
    pub ports: Vec<Port>,
    /// Ports that are not listed.
    pub ports_more: usize,
}

/// A port and what went to and from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// `tcp`, `udp` … or the protocol's number.
    pub protocol: String,
    /// The port, where the protocol and the level have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u64>,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A slot of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Its start, ISO 8601.
    pub time: String,
    /// What was counted in it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What is added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Bytes from source to destination.
    pub forward_bytes: u64,
    /// Bytes from destination to source.
    pub reverse_bytes: u64,
    /// Packets both ways.
    pub packets: u64,
    /// Connections opened.
    pub connections: u64,
    /// Records of flows that passed.
    pub allow: u64,
    /// Records of flows that were dropped by policy.
    pub deny: u64,
    /// Records of which some passed and some were dropped.
    pub mixed: u64,
}

impl Counts {
    fn of(row: &Row) -> Self {
        let totals = row.totals;
        let is = |action: &str| u64::from(row.action == action);
        Self {
            forward_bytes: totals.forward_bytes,
            reverse_bytes: totals.reverse_bytes,
            packets: totals.forward_packets.saturating_add(totals.reverse_packets),
            connections: totals.started,
            allow: is("allow"),
            deny: is("deny"),
            mixed: is("mixed"),
        }
    }

    fn add(&mut self, other: &Self) {
        let own = [
            (&mut self.forward_bytes, other.forward_bytes),
            (&mut self.reverse_bytes, other.reverse_bytes),
            (&mut self.packets, other.packets),
            (&mut self.connections, other.connections),
            (&mut self.allow, other.allow),
            (&mut self.deny, other.deny),
            (&mut self.mixed, other.mixed),
        ];
        for (own, more) in own {
            *own = own.saturating_add(more);
        }
    }

    fn bytes(&self) -> u64 {
        self.forward_bytes.saturating_add(self.reverse_bytes)
    }

    fn dropped(&self) -> u64 {
        self.deny.saturating_add(self.mixed)
    }
}

/// Counts by protocol and port.
type Ports = BTreeMap<(String, Option<u64>), Counts>;

/// Adds rows up to a [`Map`].
#[derive(Debug, Default)]
pub struct Surveyor {
    numbers: HashMap<Node, usize>,
    nodes: Vec<Node>,
    edges: BTreeMap<(usize, usize), Ports>,
    windows: BTreeMap<i64, Counts>,
    /// Length of the longest window, ms.
    window: i64,
    records: u64,
}

impl Surveyor {
    /// Takes a row.
    pub fn take(&mut self, row: &Row) {
        let counts = Counts::of(row);
        let ends = (self.number(row, &row.source, "source"), self.number(row, &row.destination, "destination"));
        let ports = self.edges.entry(ends).or_default();
        ports.entry((row.protocol.clone(), row.destination.port)).or_default().add(&counts);
        self.windows.entry(row.window).or_default().add(&counts);
        self.window = self.window.max(row.window_length);
        self.records = self.records.saturating_add(1);
    }

    fn number(&mut self, row: &Row, end: &End, role: &'static str) -> usize {
        let mut node = node(&row.cluster, end);
        if matches!(node.kind, "scope" | "ambiguous") {
            node.role = role;
        }
        if let Some(number) = self.numbers.get(&node) {
            return *number;
        }
        let number = self.nodes.len();
        self.nodes.push(node.clone());
        self.numbers.insert(node, number);
        number
    }

    /// The map of what was taken.
    #[must_use]
    pub fn finish(self) -> Map {
        let (slots, slot_length) = slots(&self.windows, self.window);
        let newest = self.windows.keys().next_back().map(|last| last.saturating_add(self.window));
        let mut edges: Vec<Edge> = self.edges.into_iter().map(|(ends, ports)| edge(ends, ports)).collect();
        edges.sort_by_key(|edge| std::cmp::Reverse((edge.counts.dropped() > 0, edge.counts.bytes())));
        let all = (self.nodes.len(), edges.len());
        let mut kept: HashSet<usize> = HashSet::new();
        edges.retain(|edge| {
            let new: HashSet<usize> =
                [edge.source, edge.destination].into_iter().filter(|n| !kept.contains(n)).collect();
            let fits = kept.len().saturating_add(new.len()) <= NODES_MOST;
            if fits {
                kept.extend(new);
            }
            fits
        });
        edges.truncate(EDGES_MOST);
        let shown: HashSet<usize> = edges.iter().flat_map(|edge| [edge.source, edge.destination]).collect();
        let mut renumbered: HashMap<usize, usize> = HashMap::new();
        let mut nodes = Vec::with_capacity(shown.len());
        for (number, node) in self.nodes.into_iter().enumerate().filter(|(number, _)| shown.contains(number)) {
            renumbered.insert(number, nodes.len());
            nodes.push(node);
        }
        for edge in &mut edges {
            for end in [&mut edge.source, &mut edge.destination] {
                *end = renumbered.get(end).copied().unwrap_or(*end);
            }
        }
        Map {
            nodes_more: all.0.saturating_sub(nodes.len()),
            edges_more: all.1.saturating_sub(edges.len()),
            slots,
            slot_length,
            records: self.records,
            from: self.windows.keys().next().map(|first| iso(*first)),
            to: newest.map(iso),
            nodes,
            edges,
        }
    }
}

fn edge((source, destination): (usize, usize), ports: Ports) -> Edge {
    let mut edge = Edge { source, destination, ..Edge::default() };
    edge.ports = ports.into_iter().map(|((protocol, port), counts)| Port { protocol, port, counts }).collect();
    edge.ports.iter().for_each(|port| edge.counts.add(&port.counts));
    edge.ports.sort_by_key(|port| std::cmp::Reverse((port.counts.dropped() > 0, port.counts.bytes())));
    edge.ports_more = edge.ports.len().saturating_sub(PORTS_MOST);
    edge.ports.truncate(PORTS_MOST);
    edge
}

/// Windows as at most [`SLOTS_MOST`] slots of whole windows, without gaps.
fn slots(windows: &BTreeMap<i64, Counts>, window: i64) -> (Vec<Slot>, i64) {
    let (Some((first, _)), Some((last, _))) = (windows.first_key_value(), windows.last_key_value()) else {
        return (Vec::new(), 0);
    };
    let window = window.max(1);
    let count = last.saturating_sub(*first) / window + 1;
    let length = window.saturating_mul((count + SLOTS_MOST - 1) / SLOTS_MOST);
    let place = |at: i64| at.saturating_sub(*first) / length;
    let mut slots: Vec<Slot> = (0..=place(*last))
        .map(|number| Slot { time: iso(first.saturating_add(number * length)), counts: Counts::default() })
        .collect();
    for (at, counts) in windows {
        if let Some(slot) = usize::try_from(place(*at)).ok().and_then(|place| slots.get_mut(place)) {
            slot.counts.add(counts);
        }
    }
    (slots, length)
}

/// What an end is on the map: the workload of a pod, and addresses that nobody is known for by where they belong.
fn node(cluster: &str, end: &End) -> Node {
    let text = |field: &'static str, value: &str| Term { field, value: Some(quoted(value)) };
    let word = |field: &'static str, value: &str| Term { field, value: Some(value.to_owned()) };
    let without = |field: &'static str| Term { field, value: None };
    let space = end.namespace.as_deref().unwrap_or_default();
    let in_space = |first: Term| -> Vec<Term> {
        std::iter::once(first).chain((!space.is_empty()).then(|| text("namespace", space))).collect()
    };
    let named = |kind: &'static str, namespace: &str, name: &str, terms: Vec<Term>| Node {
        kind,
        cluster: cluster.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        role: "",
        terms,
    };
    if let Some(workload) = &end.workload {
        return named("workload", space, workload, in_space(text("workload", workload)));
    }
    if let Some(pod) = &end.pod {
        return named("pod", space, pod, in_space(text("pod", pod)));
    }
    if end.attribution == "ambiguous" {
        return named("ambiguous", "", "ambiguous", vec![word("attribution", "ambiguous")]);
    }
    if let Some(service) = end.service.as_ref().filter(|_| end.attribution == "exact") {
        let (space, name) = service.split_once('/').unwrap_or(("", service));
        return named("service", space, name, vec![text("service", service)]);
    }
    if let Some(process) = end.process.as_ref().or(end.container.as_ref()) {
        let host = end.host.as_deref().map(|host| text("host", host));
        let host = host.or_else(|| end.node.as_deref().map(|node| text("node", node)));
        let name = end.host.as_deref().or(end.node.as_deref()).unwrap_or_default();
        let field = if end.process.is_some() { "process" } else { "container" };
        return named("process", name, process, std::iter::once(text(field, process)).chain(host).collect());
    }
    if let Some(host) = &end.host {
        return named("host", "", host, vec![text("host", host)]);
    }
    if let Some(node) = &end.node {
        return named("host", "", node, vec![text("node", node)]);
    }
    if let Some(set) = &end.network_set {
        return named("network_set", "", set, vec![text("network_set", set)]);
    }
    if !space.is_empty() {
        return named("namespace", "", space, vec![text("namespace", space)]);
    }
    let scope = if end.scope.is_empty() { "private" } else { &end.scope };
    let name = match scope {
        "public" => "internet",
        "private" => "private network",
        "link_local" => "link-local",
        other => other,
    };
    let nobody = ["process", "container", "host", "network_set"].map(without);
    let terms = [word("scope", scope), word("attribution", "none")].into_iter().chain(nobody).collect();
    named("scope", "", name, terms)
}

/// A text as it stands in an expression.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
