//! The index templates: settings, strict mapping and read alias by kind. Pure; the files are part of the program.

use crate::index::IndexKind;
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// The alias by which flows are read, those of capture files among them.
pub const FLOWS_ALIAS: &str = "weir-flows";
/// The template of flows: settings, strict mapping and read alias.
pub const FLOWS: &str = include_str!("../templates/weir-flows.json");
/// The template of DNS questions.
pub const DNS: &str = include_str!("../templates/weir-dns.json");
/// The template of the ledger.
pub const LEDGER: &str = include_str!("../templates/weir-ledger.json");
/// The template of the audit.
pub const AUDIT: &str = include_str!("../templates/weir-audit.json");

/// The alias by which the indices of a kind are read. Replayed flows have one of their own, since they would be counted
/// twice among the others.
#[must_use]
pub fn read_alias(kind: IndexKind) -> &'static str {
    match kind {
        IndexKind::Flows | IndexKind::Capture => FLOWS_ALIAS,
        IndexKind::Replay => "weir-replay",
        IndexKind::Dns => "weir-dns",
        IndexKind::Ledger => "weir-ledger",
        IndexKind::Audit => "weir-audit",
    }
}

/// The template that the indices of a kind follow.
///
/// # Errors
/// Never: the files are part of the program, and a test parses them.
pub fn of(kind: IndexKind) -> Result<Value, serde_json::Error> {
    let text = match kind {
        IndexKind::Flows | IndexKind::Capture | IndexKind::Replay => FLOWS,
        IndexKind::Dns => DNS,
        IndexKind::Ledger => LEDGER,
        IndexKind::Audit => AUDIT,
    };
    let mut template: Value = serde_json::from_str(text)?;
    if kind == IndexKind::Replay {
        template["index_patterns"] = json!(["weir-replay-l*"]);
        template["template"]["aliases"] = json!({ read_alias(kind): {} });
    }
    Ok(template)
}

/// The templates to put, by name: one for all kinds with the same read alias.
///
/// # Errors
/// Never, as [`of`].
pub fn all() -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
    let kinds = IndexKind::ALL.into_iter().filter(|kind| *kind != IndexKind::Capture);
    kinds.map(|kind| Ok((read_alias(kind), of(kind)?))).collect()
}

/// The version of a mapping, as [`of`] writes it into `_meta`; 0 when it says none.
#[must_use]
pub fn version(mapping: &Value) -> u64 {
    mapping["_meta"]["version"].as_u64().unwrap_or(0)
}
