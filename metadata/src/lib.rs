//! Writes what Kubernetes knew, and when, to the compacted topic `k8s.metadata.v1`.
//!
//! Sources ([`Source`]): the Kubernetes API, a folder of manifests, or this host alone; and for a capture a one-time
//! writing ([`write_capture`]). Pure: [`observe`], [`keep`] and [`manifests`] (objects to what is kept of them), [`revisions`] (what
//! is written when something changes), [`cluster`] (the order in which watches' events may enter) and [`freshness`] (what
//! a heartbeat may promise). At the edge: `api`, [`manifests::Folder`], [`host`] and [`writer`]; [`run`] ties them.

mod api;
pub mod bounds;
pub mod cluster;
pub mod freshness;
pub mod gap;
pub mod host;
pub mod keep;
pub mod lease;
pub mod manifests;
pub mod observe;
pub mod owners;
pub mod revisions;
mod service;
pub mod settings;
pub mod watched;
pub mod writer;

pub use api::KubeError;
pub use service::{capture_metadata, run, write_capture};
pub use settings::{MetadataSettings, Source};

/// Now, ms since the epoch.
fn now() -> weir_flow::Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    weir_flow::Millis::try_from(since.as_millis()).unwrap_or(weir_flow::Millis::MAX)
}
