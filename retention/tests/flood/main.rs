//! Disks of a real engine that fill up: flood stage, the indexer's guard before it, and statistics that are old.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` flood stage is forced there: that changes the engine's watermarks, and deletes its
//! indices of flows. With `WEIR_TEST_SEARCH_SCRIPT`, which names `xtask/engines/search/search.sh`, the other tests start engines of
//! their own (`SEARCH_ENGINE` says which), each on a small disk that nobody else writes to; only root can make one.
#![allow(clippy::unwrap_used, reason = "tests")]

mod disk;
mod forced;
mod guard;
mod stale;
mod world;

#[path = "../../../indexer/tests/support/records.rs"]
#[allow(dead_code, reason = "corrections are of no concern here")]
mod records;
