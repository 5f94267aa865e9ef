//! What a broker is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How to run a [`Broker`](crate::Broker).
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Folder that holds everything the broker keeps; created if absent.
    pub data: PathBuf,
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Host name told to clients; by default the address listened on (loopback if that is a wildcard).
    pub advertised_host: Option<String>,
    /// Partitions of a topic that is created without saying how many.
    pub default_partitions: i32,
    /// Whether asking for an unknown topic creates it, if the client allows that too.
    pub auto_create_topics: bool,
    /// Bounds on what clients may take.
    pub limits: Limits,
}

impl BrokerSettings {
    /// Settings for one data folder and address, all else at its default: one partition, no automatic topics.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            data: data.into(),
            listen,
            advertised_host: None,
            default_partitions: 1,
            auto_create_topics: false,
            limits: Limits::default(),
        }
    }
}

/// Bounds on what clients may take. Whatever is refused because of one is counted in the metrics.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at a time.
    pub connections: usize,
    /// Bytes of one request.
    pub request_bytes: usize,
    /// Bytes of all requests being read or handled at a time.
    pub in_flight_bytes: usize,
    /// Elements of all arrays of one request.
    pub request_elements: usize,
    /// Bytes of one record batch; a topic's `max.message.bytes` may only be lower.
    pub batch_bytes: usize,
    /// Bytes of records in one fetch response (a single larger batch is still returned).
    pub fetch_bytes: usize,
    /// Partitions of all topics.
    pub partitions: usize,
    /// Consumer groups with members or committed offsets.
    pub groups: usize,
    /// Members of one consumer group, those that were only given an id included.
    pub group_members: usize,
    /// Committed offsets of one group.
    pub offsets_per_group: usize,
    /// Transactional ids remembered.
    pub transactional_ids: usize,
    /// Producers remembered per partition; the one idle longest is forgotten first.
    pub producers_per_partition: usize,
    /// Longest transaction time-out a producer may ask for.
    pub transaction_timeout: Duration,
    /// Longest time a client may take to send one request or to take one response.
    pub transfer_timeout: Duration,
    /// Longest time a connection may be silent.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            request_bytes: 100 << 20,
            in_flight_bytes: 512 << 20,
            request_elements: 200_000,
            batch_bytes: 16 << 20,
            fetch_bytes: 32 << 20,
            partitions: 2_000,
            groups: 1_000,
            group_members: 500,
            offsets_per_group: 20_000,
            transactional_ids: 10_000,
            producers_per_partition: 10_000,
            transaction_timeout: Duration::from_secs(15 * 60),
            transfer_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(10 * 60),
        }
    }
}
