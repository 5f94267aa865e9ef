//! The one Kafka edge, and an in-memory log of the same contract.
//!
//! Nothing here knows what a flow is: it moves bytes, headers and positions. A [`Log`] is a cloneable
//! handle on either a real Kafka cluster (through librdkafka) or a deterministic log in memory, and
//! hands out everything else:
//!
//! * [`Producer`]: idempotent, bounded in bytes;
//! * [`TransactionalProducer`]: records and consumer positions in one transaction;
//! * [`GroupConsumer`]: a member of a consumer group that tells its owner when partitions come and go;
//! * [`Reader`]: partitions read without a group, from a chosen start.
//!
//! Everything that reads sees committed records only.

mod error;
mod group;
mod kafka;
mod log;
pub mod memory;
pub mod position;
mod producer;
mod reader;
mod record;
mod settings;

pub use error::{ErrorKind, StreamError};
pub use group::{AssignedPartition, Assignor, Event, GroupConsumer, GroupMetadata, GroupSettings, RevokeAck};
pub use kafka::KafkaLog;
pub use log::{Clients, Log, Metric, MetricKind, TopicSpec};
pub use memory::MemoryLog;
pub use producer::{
    Compression, Delivery, DeliveryFuture, Producer, ProducerSettings, TransactionSettings, TransactionalProducer,
};
pub use reader::{Partitions, Reader, Start};
pub use record::{NewRecord, OffsetAndMetadata, Record, TopicPartition};
pub use settings::{KafkaSecurity, KafkaSettings};

/// What every call of this crate answers with.
pub type Result<T, E = StreamError> = std::result::Result<T, E>;
