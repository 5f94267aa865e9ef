//! Joins, aggregates and merges raw samples into flow records, exactly once.
//!
//! Two stages, each a consumer group of its own, both in every enricher process:
//!
//! * [`stage1`] reads a raw partition, joins every sample with what Kubernetes knew at its tick, and writes partial
//!   records of whole generations to the internal topic;
//! * [`stage2`] merges the partial records of all raw partitions into one record per level, key, window and generation.
//!
//! Both are state machines without IO and without a clock: what they write is a function of the log, of the metadata as
//! of event time and of the settings as of the generation. [`pipeline`] moves bytes between them and Kafka, in
//! transactions.
#![forbid(unsafe_code)]

mod coarsen;
mod dns;
#[cfg(test)]
mod exactness;
mod filter;
#[cfg(test)]
mod fixtures;
pub mod history;
pub mod join;
pub mod judge;
mod key;
mod merge;
mod observe;
mod pages;
pub mod pipeline;
pub mod policies;
pub mod position;
mod sets;
pub mod settings;
pub mod stage1;
pub mod stage2;

pub use pipeline::{alone, replay, run};
pub use settings::EnricherSettings;
