//! `GET /`: who answers.

use serde_json::json;

use crate::error::ApiResult;
use crate::http::{Reply, Request};
use crate::node::Node;

pub(super) fn info(node: &Node, request: &Request) -> ApiResult<Reply> {
    request.allow(&[])?;
    Ok(Reply::ok(json!({
        "name": crate::NODE_NAME,
        "cluster_name": crate::CLUSTER_NAME,
        "cluster_uuid": node.cluster_uuid,
        "version": {
            "number": crate::VERSION,
            "build_flavor": "weir-embedded",
            "build_type": "weir",
            "build_hash": env!("CARGO_PKG_VERSION"),
            "build_date": "1970-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "10.2.2",
            "minimum_wire_compatibility_version": "8.19.0",
            "minimum_index_compatibility_version": "8.0.0"
        },
        "tagline": "You Know, for Search"
    })))
}
