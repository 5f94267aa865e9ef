//! Flows as a table for people.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use weir_console::row::{End, Policy, Row};
use weir_schemas::enriched::{Judgement, Verdict};

#[cfg(test)]
mod tests;

const HEADING: [&str; 9] = ["TIME", "SOURCE", "DESTINATION", "PORT", "ACTION", "SENT", "RECEIVED", "CONNS", "NOTES"];

/// The table of some rows.
pub(super) fn render(rows: &[Row], heading: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if heading {
        table.set_header(HEADING);
    }
    for row in rows {
        table.add_row([
            time(row),
            end(&row.source),
            end(&row.destination),
            port(row),
            row.action.clone(),
            size(row.totals.forward_bytes),
            size(row.totals.reverse_bytes),
            row.totals.started.to_string(),
            notes(row),
        ]);
    }
    for column in [5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What stands below a list.
pub(super) fn footer(rows: usize, next: Option<&str>) -> String {
    match (rows, next) {
        (0, _) => "no flows match. Records appear a few seconds after their window ends; \
                   `weir flows` without filters shows whether there are any."
            .to_owned(),
        (_, Some(cursor)) => format!("{rows} flows; there may be more: add --cursor {cursor}"),
        _ => format!("{rows} flows"),
    }
}

fn time(row: &Row) -> String {
    row.time.get(11..19).unwrap_or(&row.time).to_owned()
}

fn end(end: &End) -> String {
    match &end.namespace {
        Some(namespace) => format!("{namespace}/{}", end.name.trim_start_matches(&format!("{namespace}/"))),
        None => end.name.clone(),
    }
}

fn port(row: &Row) -> String {
    row.destination.port.map_or_else(|| row.protocol.clone(), |port| format!("{port}/{}", row.protocol))
}

fn notes(row: &Row) -> String {
    let mut notes = Vec::new();
    if row.origin != "ebpf" {
        notes.push(row.origin.clone());
    }
    for (name, end) in [("source", &row.source), ("destination", &row.destination)] {
        match end.attribution.as_str() {
            "ambiguous" => notes.push(format!("{name} ambiguous: {}", end.candidates.join(" or "))),
            "none" if row.cluster_known => {
                notes.push(format!("{name} {}", end.reason.as_deref().unwrap_or("unknown").replace('_', " ")));
            }
            _ => {}
        }
    }
    if row.arrival == "never" {
        notes.push("never arrived".to_owned());
    }
    notes.extend(row.policy.iter().flat_map(said));
    if !row.drop_reasons.is_empty() {
        notes.push(row.drop_reasons.join(", "));
    }
    notes.join("; ")
}

/// What there is to note of what policies said.
fn said(policy: &Policy) -> Vec<String> {
    let mut notes = Vec::new();
    let denied = policy.answers.iter().filter(|answer| answer.verdict == Verdict::Deny);
    let denying = denied.flat_map(Judgement::deciding).filter(|(.., action)| *action == "deny");
    let mut by: Vec<&str> = denying.map(|(_, policy, _)| policy).collect();
    by.sort_unstable();
    by.dedup();
    if !by.is_empty() {
        notes.push(format!("denied by {}", by.join(", ")));
    }
    if policy.explanation == "mismatch" {
        notes.push("mismatch: not as policies say".to_owned());
    }
    notes
}

/// Bytes with a decimal unit, as network people write them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            return format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
        }
    }
    format!("{bytes} B")
}
