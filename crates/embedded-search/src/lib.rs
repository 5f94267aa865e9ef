//! An Elasticsearch-protocol search server for one machine.
//!
//! It answers what Weir, `curl` and the official clients ask an Elasticsearch, with the same answers,
//! and refuses in Elasticsearch's own error form what it does not support. Documents are kept in
//! tantivy columns under one data folder; what is acknowledged survives the death of the process.

mod agg;
mod api;
mod dates;
mod document;
mod error;
mod http;
mod index;
mod mapping;
mod node;
mod numbers;
mod search;
mod server;
mod translog;

pub use error::SearchError;
pub use server::{Limits, SearchServer, SearchSettings};

/// The format of the data folder that this program writes.
const FORMAT: u64 = 1;
/// The Elasticsearch version whose answers are given.
const VERSION: &str = "9.1.0";
/// What `index.version.created` says.
const INDEX_VERSION: &str = "9033000";
/// The id of the one node.
const NODE_ID: &str = "weir-embedded-node-0";
/// The name of the one node.
const NODE_NAME: &str = "weir-embedded";
/// The name of the cluster.
const CLUSTER_NAME: &str = "weir-embedded";
