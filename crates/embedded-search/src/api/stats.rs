//! Health, statistics and nodes.

use serde_json::{Map, Value, json};

use super::{LENIENCE, lenience, names};
use crate::error::ApiResult;
use crate::http::{Reply, Request};
use crate::index::Index;
use crate::node::{Lenience, Node, now};
use crate::numbers::to_u64;

pub(super) fn health(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[
        &LENIENCE,
        &[
            "wait_for_status",
            "timeout",
            "level",
            "local",
            "master_timeout",
            "wait_for_active_shards",
            "wait_for_no_relocating_shards",
            "wait_for_nodes",
            "wait_for_events",
            "wait_for_no_initializing_shards",
        ],
    ]))?;
    let shards = node.resolve(expression, lenience(request, Lenience::default())?)?.len();
    Ok(Reply::ok(json!({
        "cluster_name": crate::CLUSTER_NAME, "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1,
        "active_primary_shards": shards, "active_shards": shards, "relocating_shards": 0, "initializing_shards": 0,
        "unassigned_shards": 0, "unassigned_primary_shards": 0, "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0, "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 100.0
    })))
}

pub(super) fn cluster_settings(request: &Request) -> ApiResult<Reply> {
    request.allow(&["flat_settings", "include_defaults", "local", "master_timeout", "timeout"])?;
    let mut answer = json!({"persistent": {}, "transient": {}});
    if request.flag("include_defaults")?.unwrap_or(false) {
        answer["defaults"] = json!({});
    }
    Ok(Reply::ok(answer))
}

fn index_stats(index: &Index) -> Value {
    let searcher = index.snapshot();
    let deleted: u64 = searcher.segment_readers().iter().map(|segment| u64::from(segment.num_deleted_docs())).sum();
    let size = index.size();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    json!({
        "docs": {"count": searcher.num_docs(), "deleted": deleted, "total_size_in_bytes": size},
        "shard_stats": {"total_count": 1},
        "store": {"size_in_bytes": size, "total_data_set_size_in_bytes": size, "reserved_in_bytes": 0},
        "indexing": {"index_total": read(&index.indexed)},
        "search": {"query_total": read(&index.searched)},
        "segments": {"count": searcher.segment_readers().len()}
    })
}

/// Adds the numbers of `other` to those of `sum`.
fn add_up(sum: &mut Value, other: &Value) {
    match (sum, other) {
        (Value::Object(sum), Value::Object(other)) => {
            for (key, value) in other {
                match sum.get_mut(key) {
                    Some(present) => add_up(present, value),
                    None => {
                        sum.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (sum, other) => {
            if let (Some(left), Some(right)) = (sum.as_u64(), other.as_u64()) {
                *sum = left.saturating_add(right).into();
            }
        }
    }
}

pub(super) fn indices(node: &Node, request: &Request, expression: &str) -> ApiResult<Reply> {
    request.allow(&names(&[
        &LENIENCE,
        &["level", "metric", "human", "forbid_closed_indices", "include_segment_file_sizes"],
    ]))?;
    let found = node.resolve(expression, lenience(request, Lenience::default())?)?;
    let mut total = json!({});
    let mut copies = 0;
    let mut shown = Map::new();
    for index in &found {
        let stats = index_stats(index);
        add_up(&mut total, &stats);
        copies += index.meta().copies();
        shown.insert(
            index.name.clone(),
            json!({"uuid": index.meta().uuid, "health": "green", "status": "open", "primaries": stats, "total": stats}),
        );
    }
    let mut answer = json!({"_shards": {"total": copies, "successful": found.len(), "failed": 0}, "_all": {"primaries": total, "total": total}});
    if request.text("level") != Some("cluster") {
        answer["indices"] = Value::Object(shown);
    }
    Ok(Reply::ok(answer))
}

/// Total, free and available bytes of the disk that holds the data folder.
fn disk(node: &Node) -> ApiResult<(u64, u64, u64)> {
    let stat = rustix::fs::statvfs(&node.data).map_err(std::io::Error::from)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok((bytes(stat.f_blocks), bytes(stat.f_bfree), bytes(stat.f_bavail)))
}

pub(super) fn nodes(node: &Node, request: &Request, path: &[&str]) -> ApiResult<Reply> {
    request.allow(&["timeout", "level", "flat_settings", "master_timeout"])?;
    let address = node.address.to_string();
    let mut shown = json!({"name": crate::NODE_NAME, "transport_address": address, "host": node.address.ip().to_string(), "ip": address,
        "roles": ["data", "ingest", "master"], "attributes": {}});
    if path.contains(&"stats") {
        let (total, free, available) = disk(node)?;
        let sizes = json!({"total_in_bytes": total, "free_in_bytes": free, "available_in_bytes": available});
        let mut folder = sizes.clone();
        folder["path"] = node.data.display().to_string().into();
        shown["timestamp"] = now().into();
        shown["fs"] = json!({"timestamp": now(), "total": sizes, "data": [folder]});
        let mut sum = json!({});
        for index in node.all() {
            add_up(&mut sum, &index_stats(&index));
        }
        shown["indices"] = sum;
        shown["process"] = json!({"timestamp": now()});
    } else {
        shown["version"] = crate::VERSION.into();
        shown["build_flavor"] = "weir-embedded".into();
        shown["build_type"] = "weir".into();
        shown["build_hash"] = env!("CARGO_PKG_VERSION").into();
        shown["total_indices"] = to_u64(node.all().len()).into();
        shown["http"] = json!({"publish_address": address, "bound_address": [address]});
        shown["jvm"] = json!({"start_time_in_millis": node.started});
    }
    Ok(Reply::ok(
        json!({"_nodes": {"total": 1, "successful": 1, "failed": 0}, "cluster_name": crate::CLUSTER_NAME, "nodes": {crate::NODE_ID: shown}}),
    ))
}
