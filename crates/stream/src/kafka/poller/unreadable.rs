//! Batches that the client library cannot unpack.
//!
//! The library says that a batch is broken, or larger unpacked than it may be, but neither of which partition nor how many
//! records it holds, and asks for the same batch for ever. So a second client, which has no group, is put on the positions in
//! question, one offset after the other: what it can read there is whole, what it cannot is such a record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::super::edge::{self, Edge};
use super::super::{convert, lookup};
use super::{Ended, Poller};
use crate::record::UNREADABLE;
use crate::{ErrorKind, Event, Record, Result, StreamError, TopicPartition};

/// How long one offset may take.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// The most offsets that are asked for at once, so that the group is polled between.
const AT_ONCE: i64 = 64;

/// Whether an error says that a batch cannot be unpacked.
pub(super) fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::BadCompression | RDKafkaErrorCode::NotImplemented)
}

/// A client that finds out which records cannot be read.
struct Probe(BaseConsumer<Edge>);

impl Probe {
    fn new(config: &ClientConfig, edge: Edge) -> Result<Self> {
        Ok(Self(lookup::create(config, edge)?))
    }

    /// The records from an offset on that cannot be read, in order and without a gap; 64 at most.
    fn from(&self, partition: &TopicPartition, offset: i64) -> Result<Vec<Record>> {
        let mut found = Vec::new();
        for offset in offset..offset.saturating_add(AT_ONCE) {
            let Some(cause) = self.at(partition, offset)? else { break };
            found.push(Record {
                topic: Arc::clone(&partition.topic),
                partition: partition.partition,
                offset,
                timestamp: -1,
                key: None,
                value: None,
                headers: vec![(UNREADABLE.to_owned(), Bytes::from(cause))],
            });
        }
        Ok(found)
    }

    /// Why what stands at an offset cannot be read; none where it can, or where the log ends.
    fn at(&self, partition: &TopicPartition, offset: i64) -> Result<Option<String>> {
        let list = convert::offsets([(partition, offset)])?;
        self.0.assign(&list).map_err(|error| StreamError::Retriable(format!("{partition} at {offset}: {error}")))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.0.poll(POLL) {
                Some(Ok(_)) | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) if convert::code(&error).is_some_and(is_unreadable) => {
                    return Ok(Some(format!("a batch that cannot be unpacked: {error}")));
                }
                // The library repeats what passes.
                Some(Err(_)) | None => {}
            }
        }
        Err(StreamError::Timeout { what: format!("{partition} at {offset}"), milliseconds: PATIENCE.as_millis() })
    }
}

impl Poller {
    /// Tells the owner of the records that cannot be read, and goes on behind them.
    pub(super) fn pass_unreadable(&mut self) -> Result<(), Ended> {
        // What is not found is said again: the library asks for the same batch until it is told otherwise.
        self.state.unreadable = false;
        match self.find_unreadable() {
            Ok(found) => found.into_iter().try_for_each(|records| self.pass(records)),
            Err(error) if error.kind() == ErrorKind::Retriable => {
                edge::add(&self.consumer.context().edge.numbers.retries, 1);
                tracing::warn!(%error, "a batch cannot be unpacked, and which one is not known yet");
                Ok(())
            }
            Err(error) => Err(self.fatal(error)),
        }
    }

    fn find_unreadable(&self) -> Result<Vec<Vec<Record>>> {
        let probe = Probe::new(&self.probe, self.consumer.context().edge.clone())?;
        let positions = self.state.positions.iter().filter(|(partition, _)| !self.state.stalled.contains(*partition));
        let mut found = Vec::new();
        for (partition, position) in positions {
            let records = probe.from(partition, *position)?;
            if !records.is_empty() {
                found.push(records);
            }
        }
        Ok(found)
    }

    /// Tells of records of one partition, and goes on behind the last.
    fn pass(&mut self, records: Vec<Record>) -> Result<(), Ended> {
        let Some(last) = records.last() else { return Ok(()) };
        let (partition, next) = (last.topic_partition(), last.offset.saturating_add(1));
        tracing::error!(%partition, count = records.len(), next, "a batch cannot be unpacked: passed over");
        edge::add(&self.consumer.context().edge.numbers.unreadable, records.len());
        self.tell_event(Event::Records(records))?;
        self.seek(&partition, next).map_err(|error| self.fatal(error))
    }
}
