//! The index templates: settings, strict mapping and read alias by kind. Pure; the files are part of the program.

use crate::index::IndexKind;
use serde_json::{Map, Value, json};
use weir_elastic::Info;

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

/// The first version of Elasticsearch that knows [`compact_settings`].
pub const COMPACT_SINCE: (u64, u64) = (9, 1);

/// The member of `_meta` that says how many bits of a record's id its document's id has; absent in older indices, whose
/// documents have the whole id.
const ID_BITS: &str = "id_bits";
/// How many bits of a record's id a document's id has.
const DOCUMENT_ID_BITS: u64 = 96;

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

/// Index settings that only some engines know. They save disk, and no answer depends on them: nobody looks for documents by
/// the numbers that an engine gives its operations.
#[must_use]
pub fn compact_settings() -> Value {
    json!({"seq_no": {"index_options": "doc_values_only"}})
}

/// A template, or the body of an index, with the settings that this engine knows besides; nothing where it knows none.
#[must_use]
pub fn compact(content: &Value, engine: &Info) -> Option<Value> {
    if engine.distribution != "elasticsearch" || release(&engine.version) < Some(COMPACT_SINCE) {
        return None;
    }
    let mut fitted = content.clone();
    let inner = if content.get("template").is_some() { &mut fitted["template"] } else { &mut fitted };
    for (name, setting) in compact_settings().as_object().into_iter().flatten() {
        inner["settings"]["index"][name] = setting.clone();
    }
    Some(fitted)
}

/// Major and minor version.
fn release(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The templates to put, by name: one for all kinds with the same read alias.
///
/// # Errors
/// Never, as [`of`].
pub fn all() -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
    let kinds = IndexKind::ALL.into_iter().filter(|kind| *kind != IndexKind::Capture);
    kinds.map(|kind| Ok((read_alias(kind), of(kind)?))).collect()
}

/// What a mapping of an older version lacks of this one, to be put onto it. Fields that both have stay as they were made,
/// because no engine changes how they are kept; so does how documents get their ids.
#[must_use]
pub fn additions(theirs: &Value, ours: &Value) -> Value {
    let mut added = ours.clone();
    let (mine, theirs_too) = (added["properties"].as_object_mut(), theirs["properties"].as_object());
    if let (Some(mine), Some(theirs)) = (mine, theirs_too) {
        keep_lacking(mine, theirs);
    }
    if let Some(meta) = added["_meta"].as_object_mut() {
        match theirs["_meta"].get(ID_BITS) {
            Some(bits) => meta.insert(ID_BITS.to_owned(), bits.clone()),
            None => meta.remove(ID_BITS),
        };
    }
    added
}

fn keep_lacking(ours: &mut Map<String, Value>, theirs: &Map<String, Value>) {
    ours.retain(|name, field| {
        let Some(there) = theirs.get(name) else { return true };
        match (field.get_mut("properties"), there.get("properties")) {
            (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
                keep_lacking(ours, theirs);
                !ours.is_empty()
            }
            _ => false,
        }
    });
}

/// Whether documents of an index with this mapping have the ids of their records, whole: it is of before version 4.
#[must_use]
pub fn has_whole_ids(mapping: &Value) -> bool {
    mapping["_meta"][ID_BITS].is_null()
}

/// Whether documents of an index with this mapping have ids that this version does not know how to make.
#[must_use]
pub fn has_other_ids(mapping: &Value) -> bool {
    !has_whole_ids(mapping) && mapping["_meta"][ID_BITS] != DOCUMENT_ID_BITS
}

/// The version of a mapping, as [`of`] writes it into `_meta`; 0 when it says none.
#[must_use]
pub fn version(mapping: &Value) -> u64 {
    mapping["_meta"]["version"].as_u64().unwrap_or(0)
}
