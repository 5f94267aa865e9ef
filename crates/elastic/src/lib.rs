//! The one edge to Elasticsearch and OpenSearch: requests, bulk bodies and answers, errors sorted by what to do next.
//!
//! Nothing here knows what a document means. [`Elastic`] is the IO; [`bulk`] and [`inventory`] are pure and read the
//! engine's answers, which are bytes from outside: they are checked, never trusted.

pub mod bulk;
pub mod inventory;

mod client;
mod error;
mod settings;
mod upkeep;
mod watermarks;

pub use client::{Created, Deleted, Elastic, Info, Method, Reply};
pub use error::{Error, ErrorKind};
pub use inventory::{Block, IndexInfo, NodeDisk, ShardCopy};
pub use settings::ElasticSettings;
pub use upkeep::{IndexState, Snapshot};
pub use watermarks::{Mark, Watermarks};
