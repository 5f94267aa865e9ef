//! What was found, for people.

use crate::policy::table;
use weir_flow::{Millis, protocol};
use weir_preview::{Becomes, Tally, shown};

/// A time without what is less than a second.
fn second(time: Millis) -> String {
    shown(time).get(..19).unwrap_or_default().to_owned()
}

/// The first and the last, one a line.
fn examples(first: &str, last: &str) -> String {
    if first == last { last.to_owned() } else { format!("{first}\n{last}") }
}

/// The rows, the sums, and what does not count.
pub(super) fn rows(tally: &Tally, all: bool) -> String {
    let heading = ["BECOMES", "SOURCE", "DESTINATION", "PORT", "CONNS", "BYTES", "FIRST", "LAST", "EXAMPLES", "WHY"];
    let rows = tally.rows(all).map(|row| {
        let name = protocol::name(row.protocol);
        vec![
            row.becomes.words().to_owned(),
            row.source.to_owned(),
            row.destination.to_owned(),
            row.port.map_or_else(|| name.clone(), |port| format!("{name}/{port}")),
            row.connections.to_string(),
            row.bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string()),
            second(row.first.time),
            second(row.last.time),
            examples(&row.first.connection, &row.last.connection),
            row.why.to_owned(),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = if rows.is_empty() { "nothing changes\n".to_owned() } else { table(&heading, rows) };
    for becomes in Becomes::ALL {
        let (connections, bytes) = tally.total(becomes);
        let bytes = bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
        text += &format!("{}: {connections} connections{bytes}\n", becomes.words());
    }
    let notes = [
        (tally.left_out, "records are in no row: there are too many pairs"),
        (tally.corrections, "corrections of a repair were not judged"),
        (tally.undecodable, "records could not be read"),
    ];
    for (count, words) in notes.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!("{count} {words}\n");
    }
    text
}
