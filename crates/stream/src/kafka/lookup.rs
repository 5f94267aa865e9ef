//! Questions about topics, offsets and groups.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::REQUEST_TIMEOUT;
use super::config::Connection;
use super::convert;
use super::edge::{Edge, Registry};
use crate::{OffsetAndMetadata, Result, Start, StreamError, TopicPartition};

/// How long positions held by an open transaction are waited for: the longest transaction timeout in
/// use, and the broker's sweep.
const STABLE_TIMEOUT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(100);

impl ConsumerContext for Edge {}

/// One client that asks. Cloning shares it.
#[derive(Clone)]
pub(super) struct Lookup {
    client: Arc<BaseConsumer<Edge>>,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Lookup")
    }
}

impl Lookup {
    pub(super) fn new(connection: &Connection, registry: &Registry) -> Result<Self> {
        const NAME: &str = "weir-lookup";
        let mut config = connection.client(NAME);
        config.set("isolation.level", "read_committed");
        config.set("allow.auto.create.topics", "false");
        let client = create(&config, Edge::new(registry, NAME))?;
        let client = Arc::new(client);
        drain_events(Arc::downgrade(&client))?;
        Ok(Self { client })
    }

    pub(super) fn check(&self, timeout: Duration) -> Result<()> {
        let answer = self.client.client().fetch_metadata(Some("weir-check"), timeout);
        answer.map(drop).map_err(|error| match convert::code(&error) {
            Some(code) if convert::is_refusal(code) => convert::question("brokers", &error),
            _ => match self.client.client().context().refusal() {
                Some(reason) => StreamError::Refused(reason),
                None => StreamError::Timeout {
                    what: format!("the first answer of a broker ({error})"),
                    milliseconds: timeout.as_millis(),
                },
            },
        })
    }

    pub(super) fn partition_count(&self, topic: &str) -> Result<i32> {
        let client = self.client.client();
        let metadata =
            client.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(|error| convert::question(topic, &error))?;
        let unknown = || StreamError::UnknownTopic(topic.to_owned());
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.ok_or_else(unknown)?;
        if let Some(error) = found.error() {
            return Err(convert::question(topic, &KafkaError::MetadataFetch(error.into())));
        }
        match found.partitions().len() {
            0 => Err(unknown()),
            count => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
        }
    }

    /// The lowest offset, and the end for committed readers.
    pub(super) fn watermarks(&self, partition: &TopicPartition) -> Result<(i64, i64)> {
        watermarks(&self.client, partition)
    }

    pub(super) fn offset_for_time(&self, partition: &TopicPartition, timestamp: i64) -> Result<Option<i64>> {
        let times = convert::offsets([(partition, timestamp)])?;
        let answer = self
            .client
            .offsets_for_times(times, REQUEST_TIMEOUT)
            .map_err(|error| convert::question(partition, &error))?;
        let Some(element) = answer.find_partition(&partition.topic, partition.partition) else {
            return Err(StreamError::UnknownTopic(partition.to_string()));
        };
        element.error().map_err(|error| convert::question(partition, &error))?;
        match element.offset() {
            Offset::Offset(offset) => Ok(Some(offset)),
            _ => Ok(None),
        }
    }

    pub(super) fn resolve(&self, partition: &TopicPartition, from: &Start) -> Result<i64> {
        let (start, end) = self.watermarks(partition)?;
        let at_time = match from {
            Start::Time(timestamp) => self.offset_for_time(partition, *timestamp)?,
            _ => None,
        };
        Ok(from.resolve(partition.partition, start, end, |_| at_time))
    }
}

pub(super) fn watermarks<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partition: &TopicPartition,
) -> Result<(i64, i64)> {
    client
        .fetch_watermarks(&partition.topic, partition.partition, REQUEST_TIMEOUT)
        .map_err(|error| convert::question(partition, &error))
}

pub(super) fn create<C: ConsumerContext>(config: &rdkafka::ClientConfig, context: C) -> Result<BaseConsumer<C>> {
    BaseConsumer::from_config_and_context(config, context)
        .map_err(|error| StreamError::Configuration(format!("kafka client: {error}")))
}

/// The library queues its log and statistics for whoever polls; this thread does, as long as the client lives.
fn drain_events(client: Weak<BaseConsumer<Edge>>) -> Result<()> {
    std::thread::Builder::new()
        .name("kafka-lookup".into())
        .spawn(move || {
            while let Some(client) = client.upgrade() {
                // Without partitions nothing but events can come.
                let _ = client.poll(PAUSE);
                drop(client);
                std::thread::sleep(PAUSE);
            }
        })
        .map(drop)
        .map_err(|error| StreamError::Fatal(format!("thread kafka-lookup: {error}")))
}

/// What a group has committed, asked without joining it, until stable.
pub(super) fn committed(
    connection: &Connection,
    registry: &Registry,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>> {
    const NAME: &str = "weir-committed";
    let config = connection.lone_consumer(NAME, group);
    let client = create(&config, Edge::new(registry, NAME))?;
    let started = Instant::now();
    loop {
        let answer = client
            .committed_offsets(convert::list(partitions), REQUEST_TIMEOUT)
            .map_err(|error| convert::question(format!("positions of group {group}"), &error))
            .and_then(|list| convert::committed(&list));
        match answer {
            Err(error) if error.kind() == crate::ErrorKind::Retriable && started.elapsed() < STABLE_TIMEOUT => {
                std::thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
}
