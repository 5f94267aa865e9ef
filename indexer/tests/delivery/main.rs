//! Records from a log to an engine through a proxy that breaks bulks. The promise: every record is one document, with
//! the bytes of its highest correction, and the position is committed only behind that.
//!
//! With `WEIR_TEST_ELASTICSEARCH=http://host:port` the scenarios also run against that engine, with `WEIR_TEST_KAFKA_SCRIPT` those in
//! which the broker fails against a real Kafka.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/records.rs"]
mod records;

mod broker;
mod corrections;
mod datasets;
mod faults;
mod hosts;
mod kafka;
mod periods;
mod program;
mod refusals;
mod versions;
mod world;
