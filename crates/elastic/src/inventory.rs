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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeDisk {
    /// The node's id, which is its alone; names need not be.
    pub id: String,
    /// The node's name.
    pub node: String,
    /// Size, bytes.
    pub total: u64,
    /// Free for the engine, bytes.
    pub available: u64,
    /// When that was measured, ms since the epoch by the node's clock; absent where the engine does not say.
    pub measured: Option<i64>,
}

/// A copy of a shard, on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardCopy {
    /// The index.
    pub index: String,
    /// The id of the node that holds it.
    pub node: String,
    /// Bytes on that node's disk.
    pub bytes: u64,
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
    roles: Option<Vec<String>>,
    fs: Option<FileSystems>,
}

impl NodeAnswer {
    /// Whether shards of ordinary indices may stand on it. A frozen node (`OpenSearch`: warm alone) has only a cache of snapshots on its disk; an
    /// engine that names no roles has no others.
    fn holds_data(&self) -> bool {
        let Some(roles) = &self.roles else { return true };
        roles.iter().any(|role| DATA_ROLES.contains(&role.as_str()))
    }
}

/// The roles of nodes on which shards of ordinary indices stand.
const DATA_ROLES: [&str; 5] = ["data", "data_content", "data_hot", "data_warm", "data_cold"];

#[derive(Deserialize)]
struct FileSystems {
    timestamp: Option<i64>,
    total: FileSystem,
}

#[derive(Deserialize)]
struct FileSystem {
    total_in_bytes: u64,
    available_in_bytes: u64,
}

/// Reads `_nodes/stats/fs`: the disks of the nodes that hold data.
///
/// # Errors
/// When it is not what the engine documents.
pub fn disks(body: &[u8]) -> Result<Vec<NodeDisk>, InventoryError> {
    let answer: NodesAnswer = serde_json::from_slice(body)?;
    let disk = |(id, node): (String, NodeAnswer)| {
        let fs = node.fs?;
        let name = if node.name.is_empty() { id.clone() } else { node.name };
        let (total, available) = (fs.total.total_in_bytes, fs.total.available_in_bytes);
        Some(NodeDisk { id, node: name, total, available, measured: fs.timestamp })
    };
    Ok(answer.nodes.into_iter().filter(|(_, node)| node.holds_data()).filter_map(disk).collect())
}

/// A row of `_cat/shards?format=json&h=index,id,store`; a copy that stands nowhere, or whose size is not known yet, has no node or no size.
#[derive(Deserialize)]
struct ShardRow {
    index: String,
    id: Option<String>,
    store: Option<String>,
}

/// Reads `_cat/shards`: the copies that stand on a node, sorted.
///
/// # Errors
/// When it is not what the engine documents.
pub fn shards(body: &[u8]) -> Result<Vec<ShardCopy>, InventoryError> {
    let rows: Vec<ShardRow> = serde_json::from_slice(body)?;
    let copy = |row: ShardRow| {
        let (node, store) = (row.id?, row.store?);
        Some(number(&row.index, "store", &store).map(|bytes| ShardCopy { index: row.index, node, bytes }))
    };
    let mut found = rows.into_iter().filter_map(copy).collect::<Result<Vec<_>, _>>()?;
    found.sort();
    Ok(found)
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
