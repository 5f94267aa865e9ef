//! A Kafka-protocol broker for one machine, in the process that uses it.
//!
//! Clients speak to it exactly as to a real broker: produce (idempotent and transactional), fetch (with
//! `read_committed`), consumer groups of the classic protocol with static membership, committed offsets (also inside
//! transactions), look-up by time, topic settings, retention. See [`Broker`].
//!
//! # What survives
//! * The end of the process by any means (`kill -9` included): everything acknowledged - records, topics, committed
//!   offsets, producer ids and epochs, transactions - because it was written before it was acknowledged. A transaction
//!   whose end was not acknowledged is either completed at the next start (its outcome had been decided) or goes on until
//!   its producer ends it, its successor aborts it or its time-out does.
//! * A loss of power: what is older than about a second; files are synced in the background every second, when a segment
//!   is closed, and at a clean shutdown. A log that was torn ends before the first batch whose checksum is wrong.
//! * Members of groups do not survive: they join again.
//!
//! # What it does not do
//! One broker, no replication, no access control, no encryption. `cleanup.policy=compact` is accepted, but nothing is
//! compacted: a topic that is only compacted keeps all its records. Fetch sessions, the `consumer` group protocol and
//! share groups are not offered; clients agree on what is.
//!
//! # Locks
//! Every partition and every group has its own mutex, held for at most one `write`; the coordinator's journal has one
//! too. Whoever needs several takes them in this order: group, transactional id, partition, journal. No mutex is held
//! over an `await`, nor over an `fsync` but for three rare cases: records deleted on request or by retention (the
//! partition's), topics changed (theirs), and the journal rewritten (its own). Requests that touch files run on the
//! blocking pool.
//!
//! # The data folder
//! * `format`: the format's number and the name of this data; `lock`: held while a broker runs.
//! * `topics.json`: the topics with their settings; `topics/<id>/<partition>/`: segments `<first offset>.log` as Kafka
//!   lays out its batches, for each closed one a `.summary` (index, producers), and `log-start` once records were deleted.
//! * `coordinator.journal`: offsets, producer ids and transactions, one entry per change with its checksum.

#![forbid(unsafe_code)]

mod api;
mod batch;
mod broker;
mod clock;
mod codes;
mod coordinator;
mod error;
mod files;
mod groups;
mod locks;
mod log;
mod metrics;
mod server;
mod settings;
mod storage;
mod topics;
mod wire;

pub use broker::Broker;
pub use error::BrokerError;
pub use settings::{BrokerSettings, Limits};
