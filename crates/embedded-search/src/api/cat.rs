//! `_cat`: tables.

use serde_json::{Map, Value};

use super::{LENIENCE, lenience, names};
use crate::error::ApiResult;
use crate::http::{Payload, Reply, Request};
use crate::index::Index;
use crate::node::{Lenience, Node, now};

/// A table: the columns with what they are also called, and the rows.
struct Table {
    columns: Vec<(&'static str, &'static [&'static str], bool)>,
    rows: Vec<Vec<Option<String>>>,
}

pub(super) fn route(node: &Node, request: &Request, path: &[&str]) -> ApiResult<Reply> {
    match path {
        ["indices"] => indices(node, request, ""),
        ["indices", expression] => indices(node, request, expression),
        ["shards"] => shards(node, request, ""),
        ["shards", expression] => shards(node, request, expression),
        ["aliases"] => aliases(node, request),
        ["health"] => health(node, request),
        ["nodes"] => nodes(node, request),
        ["count"] => count(node, request, ""),
        ["count", expression] => count(node, request, expression),
        _ => Err(super::no_handler(request)),
    }
}

/// Prints bytes as Elasticsearch does for people, or in the unit asked for.
fn bytes(size: u64, unit: Option<&str>) -> String {
    let divisor = match unit {
        Some("b") => 1,
        Some("kb" | "k") => 1 << 10,
        Some("mb" | "m") => 1 << 20,
        Some("gb" | "g") => 1 << 30,
        Some("tb" | "t") => 1_u64 << 40,
        _ => return human(size),
    };
    (size / divisor).to_string()
}

fn human(size: u64) -> String {
    for (name, unit) in [("tb", 1_u64 << 40), ("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)] {
        if size >= unit {
            let tenths = size.saturating_mul(10) / unit;
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if tenth == 0 { format!("{whole}{name}") } else { format!("{whole}.{tenth}{name}") };
        }
    }
    format!("{size}b")
}

const FORM: [&str; 7] = ["v", "h", "s", "bytes", "time", "help", "local"];

fn indices(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&FORM, &LENIENCE, &["pri", "health", "include_unloaded_segments", "master_timeout"]]))?;
    let unit = request.text("bytes");
    let mut rows = Vec::new();
    for index in node.resolve(expression, lenience(request, Lenience::default())?)? {
        let meta = index.meta();
        let searcher = index.snapshot();
        let deleted: u64 = searcher.segment_readers().iter().map(|segment| u64::from(segment.num_deleted_docs())).sum();
        let size = bytes(index.size(), unit);
        let replicas = (meta.copies() - 1).to_string();
        let created = (meta.created.to_string(), crate::dates::print_iso(meta.created));
        rows.push(vec![
            Some("green".into()),
            Some("open".into()),
            Some(index.name.clone()),
            Some(meta.uuid.clone()),
            Some("1".into()),
            Some(replicas),
            Some(searcher.num_docs().to_string()),
            Some(deleted.to_string()),
            Some(size.clone()),
            Some(size.clone()),
            Some(size),
            Some(created.0),
            Some(created.1),
        ]);
    }
    let columns: Vec<(&'static str, &'static [&'static str], bool)> = vec![
        ("health", &["h"], true),
        ("status", &["s"], true),
        ("index", &["i", "idx"], true),
        ("uuid", &["id"], true),
        ("pri", &["p", "shards.primary"], true),
        ("rep", &["r", "shards.replica"], true),
        ("docs.count", &["dc", "docsCount"], true),
        ("docs.deleted", &["dd", "docsDeleted"], true),
        ("store.size", &["ss", "storeSize"], true),
        ("pri.store.size", &[], true),
        ("dataset.size", &[], true),
        ("creation.date", &["cd"], false),
        ("creation.date.string", &["cds"], false),
    ];
    show(request, Table { columns, rows })
}

fn shards(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[&FORM, &LENIENCE, &["master_timeout"]]))?;
    let unit = request.text("bytes");
    let row = |index: &Index| {
        [
            index.name.clone(),
            "0".into(),
            "p".into(),
            "STARTED".into(),
            index.snapshot().num_docs().to_string(),
            bytes(index.size(), unit),
            node.address.ip().to_string(),
            crate::NODE_ID.into(),
            crate::NODE_NAME.into(),
        ]
        .map(Some)
        .to_vec()
    };
    let found = node.resolve(expression, lenience(request, Lenience::default())?)?;
    let rows = found.iter().map(|index| row(index)).collect();
    let columns: Vec<(&'static str, &'static [&'static str], bool)> = vec![
        ("index", &["i", "idx"], true),
        ("shard", &["s", "sh"], true),
        ("prirep", &["p", "pr", "primaryOrReplica"], true),
        ("state", &["st"], true),
        ("docs", &["d", "dc"], true),
        ("store", &["sto"], true),
        ("ip", &[], true),
        ("id", &[], false),
        ("node", &["n"], true),
    ];
    show(request, Table { columns, rows })
}

fn aliases(node: &Node, request: &Request) -> ApiResult<Reply> {
    request.allow(&names(&[&FORM, &LENIENCE]))?;
    let mut rows = Vec::new();
    for index in node.all() {
        for (alias, properties) in &index.meta().aliases {
            let write = properties.get("is_write_index").map_or_else(|| "-".to_owned(), Value::to_string);
            let dash = || Some("-".to_owned());
            rows.push(vec![Some(alias.clone()), Some(index.name.clone()), dash(), dash(), dash(), Some(write)]);
        }
    }
    let columns: Vec<(&'static str, &'static [&'static str], bool)> = vec![
        ("alias", &["a"], true),
        ("index", &["i", "idx"], true),
        ("filter", &["f", "fi"], true),
        ("routing.index", &["ri"], true),
        ("routing.search", &["rs"], true),
        ("is_write_index", &["w"], true),
    ];
    show(request, Table { columns, rows })
}

fn health(node: &Node, request: &Request) -> ApiResult<Reply> {
    request.allow(&names(&[&FORM, &["ts"]]))?;
    let shards = Some(node.all().len().to_string());
    let zero = || Some("0".to_owned());
    let seconds = now() / 1_000;
    let clock = crate::dates::print_iso(now()).chars().skip(11).take(8).collect();
    let rows = vec![vec![
        Some(seconds.to_string()),
        Some(clock),
        Some(crate::CLUSTER_NAME.into()),
        Some("green".into()),
        Some("1".into()),
        Some("1".into()),
        shards.clone(),
        shards,
        zero(),
        zero(),
        zero(),
        zero(),
        zero(),
        Some("-".into()),
        Some("100.0%".into()),
    ]];
    let columns: Vec<(&'static str, &'static [&'static str], bool)> = vec![
        ("epoch", &["t", "time"], true),
        ("timestamp", &["ts"], true),
        ("cluster", &["cl"], true),
        ("status", &["st"], true),
        ("node.total", &["nt"], true),
        ("node.data", &["nd"], true),
        ("shards", &["sh"], true),
        ("pri", &["p"], true),
        ("relo", &["r"], true),
        ("init", &["i"], true),
        ("unassign", &["u"], true),
        ("unassign.pri", &["up"], true),
        ("pending_tasks", &["pt"], true),
        ("max_task_wait_time", &["mtwt"], true),
        ("active_shards_percent", &["asp"], true),
    ];
    show(request, Table { columns, rows })
}

fn nodes(node: &Node, request: &Request) -> ApiResult<Reply> {
    request.allow(&names(&[&FORM, &["full_id"]]))?;
    let rows = vec![vec![
        Some(node.address.ip().to_string()),
        Some("dim".into()),
        Some("*".into()),
        Some(crate::NODE_NAME.into()),
        Some(crate::VERSION.into()),
    ]];
    let columns: Vec<(&'static str, &'static [&'static str], bool)> = vec![
        ("ip", &["i"], true),
        ("node.role", &["r", "role"], true),
        ("master", &["m"], true),
        ("name", &["n"], true),
        ("version", &["v"], false),
    ];
    show(request, Table { columns, rows })
}

fn count(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&FORM)?;
    let found = node.resolve(expression, Lenience::default())?;
    let docs: u64 = found.iter().map(|index| index.snapshot().num_docs()).sum();
    let clock = crate::dates::print_iso(now()).chars().skip(11).take(8).collect();
    let rows = vec![vec![Some((now() / 1_000).to_string()), Some(clock), Some(docs.to_string())]];
    let columns: Vec<(&'static str, &'static [&'static str], bool)> =
        vec![("epoch", &["t", "time"], true), ("timestamp", &["ts"], true), ("count", &["dc"], true)];
    show(request, Table { columns, rows })
}

fn show(request: &Request, mut table: Table) -> ApiResult<Reply> {
    let find = |name: &str, table: &Table| {
        table.columns.iter().position(|(column, others, _)| *column == name || others.contains(&name))
    };
    let chosen: Vec<usize> = match request.text("h") {
        Some(wanted) => wanted.split(',').filter_map(|name| find(name.trim(), &table)).collect(),
        None => (0..table.columns.len()).filter(|at| table.columns[*at].2).collect(),
    };
    for key in request.text("s").unwrap_or_default().split(',').rev().filter(|key| !key.is_empty()) {
        let (name, descending) =
            key.strip_suffix(":desc").map_or((key.strip_suffix(":asc").unwrap_or(key), false), |name| (name, true));
        let Some(at) = find(name, &table) else {
            return Err(crate::error::ApiError::new(
                400,
                "unsupported_operation_exception",
                format!("Unable to sort by unknown sort key `{name}`"),
            ));
        };
        table.rows.sort_by(|left, right| {
            let number = |row: &Vec<Option<String>>| row[at].as_deref().and_then(|text| text.parse::<u64>().ok());
            let order = match (number(left), number(right)) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left[at].cmp(&right[at]),
            };
            if descending { order.reverse() } else { order }
        });
    }
    if request.text("format") == Some("json") {
        let rows = table.rows.iter().map(|row| {
            let cells = chosen
                .iter()
                .map(|at| (table.columns[*at].0.to_owned(), row[*at].clone().map_or(Value::Null, Value::String)));
            Value::Object(cells.collect::<Map<String, Value>>())
        });
        return Ok(Reply::ok(rows.collect()));
    }
    Ok(Reply { status: 200, payload: Payload::Text(text(&table, &chosen, request.flag("v")?.unwrap_or(false))) })
}

fn text(table: &Table, chosen: &[usize], with_heads: bool) -> String {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    if with_heads {
        lines.push(chosen.iter().map(|at| table.columns[*at].0).collect());
    }
    for row in &table.rows {
        lines.push(chosen.iter().map(|at| row[*at].as_deref().unwrap_or("")).collect());
    }
    let widths: Vec<usize> =
        (0..chosen.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        for (position, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let last = position + 1 == line.len();
            // The last column is not padded; numbers and sizes are on the right.
            let right = cell.starts_with(|c: char| c.is_ascii_digit()) && !last;
            out.push_str(&if last {
                (*cell).to_owned()
            } else if right {
                format!("{cell:>width$} ")
            } else {
                format!("{cell:<width$} ")
            });
        }
        out.push('\n');
    }
    out
}
