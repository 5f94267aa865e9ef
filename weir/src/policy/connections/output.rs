//! Connections as a table, as JSON, and as a graph.

use super::{Connections, PROTOCOLS, Peer, Row, Span, Spans};
use crate::policy::{Form, table};
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use weir_flow::protocol;
use weir_policy::Outcome;
use weir_preview::world::Refused;

/// The rows of what is said, with neighbouring addresses of which the same is said put together.
pub(in crate::policy) fn rows(connections: &Connections) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((source, destination), spans) in merged(connections) {
        rows.extend(of_pair(&title(&source), &title(&destination), &spans));
    }
    rows
}

/// The rows of what is said otherwise.
pub(in crate::policy) fn changed(differences: &[(Peer, Peer, u8, Span, Outcome)]) -> Vec<Row> {
    let mut pairs: BTreeMap<(Before, (Peer, Peer)), Spans> = BTreeMap::new();
    for (source, destination, protocol, span, before) in differences {
        let key = (Before(before.name()), (source.clone(), destination.clone()));
        pairs.entry(key).or_default().entry(*protocol).or_default().push(span.clone());
    }
    let mut by_before: BTreeMap<Before, Connections> = BTreeMap::new();
    for ((before, pair), spans) in pairs {
        by_before.entry(before).or_default().insert(pair, spans);
    }
    let mut rows = Vec::new();
    for (before, connections) in by_before {
        let of = self::rows(&connections).into_iter();
        rows.extend(of.map(|row| Row { before: Some(before.0.to_owned()), ..row }));
    }
    rows.sort_by(|a, b| (&a.src, &a.dst, &a.protocol, &a.ports).cmp(&(&b.src, &b.dst, &b.protocol, &b.ports)));
    rows
}

/// The name of what was said before, in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Before(&'static str);

fn follows(last: IpAddr, first: IpAddr) -> bool {
    match (last, first) {
        (IpAddr::V4(last), IpAddr::V4(first)) => u32::from(last).checked_add(1) == Some(u32::from(first)),
        (IpAddr::V6(last), IpAddr::V6(first)) => u128::from(last).checked_add(1) == Some(u128::from(first)),
        _ => false,
    }
}

/// Pairs in the order of who opens the connection, outside addresses put together.
fn merged(connections: &Connections) -> Vec<((Peer, Peer), Spans)> {
    let mut sorted: Vec<(&(Peer, Peer), &Spans)> = connections.iter().collect();
    // What comes from outside is put beside its destination, so that ranges to be put together are neighbours.
    sorted.sort_by_key(|((source, destination), _)| match source {
        Peer::Workload(_) => (0, source.clone(), destination.clone()),
        Peer::Outside(..) => (1, destination.clone(), source.clone()),
    });
    let mut merged: Vec<((Peer, Peer), Spans)> = Vec::new();
    for (pair, spans) in sorted {
        let joined = merged.last().filter(|(_, before)| before == spans).and_then(|(before, _)| join(before, pair));
        match joined {
            Some(pair) => {
                if let Some(last) = merged.last_mut() {
                    last.0 = pair;
                }
            }
            None => merged.push((pair.clone(), spans.clone())),
        }
    }
    merged
}

fn join(before: &(Peer, Peer), next: &(Peer, Peer)) -> Option<(Peer, Peer)> {
    let range = |a: &Peer, b: &Peer| match (a, b) {
        (Peer::Outside(first, end), Peer::Outside(start, last)) if follows(*end, *start) => {
            Some(Peer::Outside(*first, *last))
        }
        _ => None,
    };
    if before.0 == next.0 {
        return Some((next.0.clone(), range(&before.1, &next.1)?));
    }
    (before.1 == next.1).then_some(())?;
    Some((range(&before.0, &next.0)?, next.1.clone()))
}

fn title(peer: &Peer) -> String {
    match peer {
        Peer::Workload(title) => title.clone(),
        Peer::Outside(first, last) => range(*first, *last),
    }
}

/// A network in CIDR notation where the addresses are one, else the first and the last.
fn range(first: IpAddr, last: IpAddr) -> String {
    let most = if first.is_ipv4() { 32 } else { 128 };
    let nets = (0..=most).filter_map(|length| ipnet::IpNet::new(first, length).ok());
    let mut exact = nets.filter(|net| net.network() == first && net.broadcast() == last);
    exact.next().map_or_else(|| format!("{first}-{last}"), |net| net.to_string())
}

fn of_pair(source: &str, destination: &str, spans: &Spans) -> Vec<Row> {
    let of = |protocol: String, spans: &[Span]| {
        let mut by_verdict: Vec<(Outcome, &str, Vec<String>)> = Vec::new();
        for span in spans {
            let text = ports(span.first, span.last);
            let known = by_verdict.iter_mut().find(|(outcome, why, _)| *outcome == span.outcome && *why == span.why);
            match known {
                Some((_, _, list)) => list.push(text),
                None => by_verdict.push((span.outcome, &span.why, vec![text])),
            }
        }
        by_verdict
            .into_iter()
            .map(|(outcome, why, list)| Row {
                src: source.to_owned(),
                dst: destination.to_owned(),
                protocol: protocol.clone(),
                ports: list.join(","),
                verdict: outcome.name().to_owned(),
                before: None,
                why: why.to_owned(),
            })
            .collect::<Vec<Row>>()
    };
    let mut each = PROTOCOLS.iter().map(|protocol| spans.get(protocol));
    if let Some(Some(first)) = each.next()
        && each.all(|other| other == Some(first))
    {
        return of("any".to_owned(), first);
    }
    spans.iter().flat_map(|(protocol, spans)| of(protocol::name(*protocol), spans)).collect()
}

fn ports(first: u16, last: u16) -> String {
    match (first, last) {
        (1, u16::MAX) => "all".to_owned(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// The text of rows.
pub(super) fn render(form: Form, rows: &[Row], refused: &[Refused], compared: bool) -> Result<String> {
    Ok(match form {
        Form::Json => {
            let invalid: Vec<String> = refused.iter().map(ToString::to_string).collect();
            serde_json::to_string_pretty(&json!({"connections": rows, "invalid": invalid}))? + "\n"
        }
        Form::Table if rows.is_empty() => {
            (if compared { "nothing is opened or closed\n" } else { "nobody may talk to anybody\n" }).to_owned()
        }
        Form::Table => {
            let heading: &[&str] = if compared {
                &["SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "BEFORE", "NOW", "WHY"]
            } else {
                &["SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "VERDICT", "WHY"]
            };
            let cells = rows.iter().map(|row| {
                let mut cells = vec![row.src.clone(), row.dst.clone(), row.protocol.clone(), row.ports.clone()];
                cells.extend(row.before.clone());
                cells.extend([row.verdict.clone(), row.why.clone()]);
                cells
            });
            table(heading, cells)
        }
        Form::Dot => dot(rows),
    })
}

fn dot(rows: &[Row]) -> String {
    let mut text = "digraph connections {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for row in rows {
        let mut label = if row.protocol == "any" && row.ports == "all" {
            "any".to_owned()
        } else {
            format!("{} {}", row.protocol, row.ports)
        };
        if let Some(before) = &row.before {
            let _ = write!(label, " ({before} to {})", row.verdict);
        }
        let style = match row.verdict.as_str() {
            "allow" => "",
            "deny" => ", color=red",
            _ => ", style=dashed",
        };
        // A string of Graphviz escapes as one of JSON does.
        let _ = writeln!(text, "  {:?} -> {:?} [label={label:?}{style}];", row.src, row.dst);
    }
    text + "}\n"
}
