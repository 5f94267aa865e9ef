//! What the engine says of its indices, disks and blocks, pure.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use thiserror::Error;

#[cfg(test)]
mod tests;

/// One index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    /// Its name.
    pub name: String,
    /// Documents in primary shards; absent while the engine does not know (closed or just created).
    pub docs: Option<u64>,
    /// Bytes on disk, replicas included; absent while the engine does not know.
    pub bytes: Option<u64>,
    /// When it was created, ms since the epoch.
    pub created: i64,
    /// Whether it is open.
    pub open: bool,
    /// Aliases that lead to it, sorted.
    pub aliases: Vec<String>,
}

/// The disk of a data node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDisk {
    /// The node's name.
    pub node: String,
    /// Size, bytes.
    pub total: u64,
    /// Free for the engine, bytes.
    pub available: u64,
}

/// A block on an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// The index.
    pub index: String,
    /// The block's name, e.g. `read_only_allow_delete`.
    pub name: String,
}

/// Why an answer cannot be used.
#[derive(Debug, Error)]
pub enum InventoryError {
    /// Not the JSON that was expected.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A number is none.
    #[error("index {index}: {field} is {value:?}, not a number")]
    Number {
        /// The index.
        index: String,
        /// The column.
        field: &'static str,
        /// What stood there.
        value: String,
    },
}

/// A row of `_cat/indices?format=json`; engines write numbers as text.
#[derive(Deserialize)]
struct Row {
    index: String,
    #[serde(rename = "docs.count")]
    docs: Option<String>,
    #[serde(rename = "store.size")]
    bytes: Option<String>,
    #[serde(rename = "creation.date")]
    created: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct IndexAliases {
    #[serde(default)]
    aliases: BTreeMap<String, Value>,
}

/// Joins `_cat/indices` and `_alias`, sorted by name.
///
/// # Errors
/// When either is not what the engine documents.
pub fn indices(cat: &[u8], aliases: &[u8]) -> Result<Vec<IndexInfo>, InventoryError> {
    let rows: Vec<Row> = serde_json::from_slice(cat)?;
    let mut aliases: BTreeMap<String, IndexAliases> = serde_json::from_slice(aliases)?;
    let mut found = rows
        .into_iter()
        .map(|row| {
            let aliases = aliases.remove(&row.index).map(|a| a.aliases.into_keys().collect()).unwrap_or_default();
            Ok(IndexInfo {
                docs: row.docs.as_deref().map(|v| number(&row.index, "docs.count", v)).transpose()?,
                bytes: row.bytes.as_deref().map(|v| number(&row.index, "store.size", v)).transpose()?,
                created: number(&row.index, "creation.date", &row.created)?,
                open: row.status != "close",
                name: row.index,
                aliases,
            })
        })
        .collect::<Result<Vec<_>, InventoryError>>()?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn number<T: std::str::FromStr>(index: &str, field: &'static str, value: &str) -> Result<T, InventoryError> {
    value.parse().map_err(|_| InventoryError::Number { index: index.to_owned(), field, value: value.to_owned() })
}

#[derive(Deserialize)]
struct NodesAnswer {
    nodes: BTreeMap<String, NodeAnswer>,
}

#[derive(Deserialize)]
struct NodeAnswer {
    #[serde(default)]
    name: String,
    fs: Option<FileSystems>,
}

#[derive(Deserialize)]
struct FileSystems {
    total: FileSystem,
}

#[derive(Deserialize)]
struct FileSystem {
    total_in_bytes: u64,
    available_in_bytes: u64,
}

/// Reads `_nodes/stats/fs`.
///
/// # Errors
/// When it is not what the engine documents.
pub fn disks(body: &[u8]) -> Result<Vec<NodeDisk>, InventoryError> {
    let answer: NodesAnswer = serde_json::from_slice(body)?;
    let disk = |(id, node): (String, NodeAnswer)| {
        let fs = node.fs?.total;
        let name = if node.name.is_empty() { id } else { node.name };
        Some(NodeDisk { node: name, total: fs.total_in_bytes, available: fs.available_in_bytes })
    };
    Ok(answer.nodes.into_iter().filter_map(disk).collect())
}

#[derive(Deserialize)]
struct IndexSettings {
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

/// Reads `_settings/index.blocks.*?flat_settings=true`: the blocks that are set.
///
/// # Errors
/// When it is not what the engine documents.
pub fn blocks(body: &[u8]) -> Result<Vec<Block>, InventoryError> {
    let answer: BTreeMap<String, IndexSettings> = serde_json::from_slice(body)?;
    let mut found = Vec::new();
    for (index, settings) in answer {
        for (key, value) in settings.settings {
            let set = value == Value::Bool(true) || value.as_str() == Some("true");
            if let (Some(name), true) = (key.strip_prefix("index.blocks."), set) {
                found.push(Block { index: index.clone(), name: name.to_owned() });
            }
        }
    }
    Ok(found)
}
