//! The topic: read whole at the start, then written in transactions, each with its heartbeat.

use crate::revisions::{History, key};
use bytes::Bytes;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::metadata::{
    Heartbeat, Metadata, Proof, Revision, first_heartbeat_key, gap_key, is_of_cluster, is_source_key, parse_gap_key,
    source_key,
};
use weir_schemas::{DecodeError, EncodeError, decode, encode, topics};
use weir_stream::{
    ErrorKind, Log, NewRecord, Partitions, Start, StreamError, TopicSpec, TransactionSettings, TransactionalProducer,
};

#[cfg(test)]
mod tests;

/// About the most revisions in one transaction, so that it ends well within its time-out.
const TRANSACTION: usize = 5_000;
/// How long the topic may be silent while it is read.
const IDLE: Duration = Duration::from_secs(30);
/// Pause before a write is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// The metadata topic in the log's own words.
const TOPIC: &str = topics::METADATA;

/// Why the topic cannot be written or read.
#[derive(Debug, Error)]
pub enum WriterError {
    /// The log.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The topic holds something else.
    #[error(
        "topic {TOPIC}, partition {partition}, offset {offset}: {cause}; a newer version wrote it, or another program did"
    )]
    Decode {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What is wrong with it.
        cause: DecodeError,
    },
    /// A value does not fit the schema.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Another process writes this cluster's metadata now.
    #[error("lease {0} is held by {1}")]
    Lease(String, String),
    /// Stopped.
    #[error("stopped while writing")]
    Stopped,
}

impl WriterError {
    /// Whether to begin anew, from what the topic holds.
    #[must_use]
    pub fn needs_rebuild(&self) -> bool {
        match self {
            Self::Stream(error) => !matches!(error.kind(), ErrorKind::Invalid),
            Self::Lease(..) => true,
            Self::Decode { .. } | Self::Encode(_) | Self::Stopped => false,
        }
    }
}

/// The one writer of a cluster's metadata: opening it fences an earlier one.
#[derive(Debug)]
pub struct Writer {
    producer: TransactionalProducer,
    cluster: String,
    partitions: i32,
    /// Whether the topic tells where the history begins.
    begun: bool,
    heartbeat: Millis,
}

impl Writer {
    /// Fences an earlier writer, then reads what the topic holds.
    ///
    /// # Errors
    /// When the log cannot be reached or holds what cannot be read.
    pub async fn open(log: &Log, cluster: &str) -> Result<(Self, History), WriterError> {
        ensure_topic(log, cluster).await?;
        let partitions = log.partition_count(TOPIC).await?;
        let settings = TransactionSettings::new(format!("weir-metadata-{cluster}"));
        let producer = log.transactional_producer(&settings).await?;
        let mut writer = Self { producer, cluster: cluster.to_owned(), partitions, begun: false, heartbeat: NEVER };
        let mut history = History::new(cluster);
        let mut reader = log.reader(TOPIC, Partitions::All, Start::Beginning).await?;
        let first = writer.first_key();
        while let Some(records) = reader.next_before_end(IDLE).await? {
            for record in records {
                let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
                if !is_of_cluster(key, cluster) {
                    continue;
                }
                let Some(value) = &record.value else {
                    history.restore_tombstone(key);
                    continue;
                };
                let message: Metadata = decode(value).map_err(|cause| WriterError::Decode {
                    partition: record.partition,
                    offset: record.offset,
                    cause,
                })?;
                writer.begun |= key == first;
                match &message {
                    Metadata::Heartbeat(source) if is_source_key(key, cluster) => history.restore_source(source),
                    // The heartbeats that stand with it say the same.
                    Metadata::Heartbeat(_) if parse_gap_key(key, cluster).is_some() => {}
                    message => history.restore(message),
                }
            }
        }
        writer.heartbeat = history.heartbeat();
        Ok((writer, history))
    }

    /// The last heartbeat written.
    #[must_use]
    pub fn heartbeat(&self) -> Millis {
        self.heartbeat
    }

    /// Writes revisions, in order, and then the heartbeat, which stands on every partition in the same transaction as
    /// the last of them. Passing errors are retried until `token` is cancelled.
    ///
    /// # Errors
    /// Errors after which the writer must be opened anew.
    pub async fn write(
        &mut self,
        revisions: &[Revision],
        heartbeat: Option<&Heartbeat>,
        token: &CancellationToken,
    ) -> Result<(), WriterError> {
        let mut records = Vec::with_capacity(revisions.len().saturating_add(2));
        for revision in revisions {
            let value = encode(&Metadata::Revision(revision.clone()))?;
            records.push(NewRecord::new(TOPIC, Bytes::from(key(revision)), Bytes::from(value)));
        }
        let mut begins = false;
        if let Some(heartbeat) = heartbeat {
            let value = Bytes::from(encode(&Metadata::Heartbeat(heartbeat.clone()))?);
            if !self.begun && matches!(heartbeat.proof, Proof::Probed | Proof::Assumed) {
                let first = NewRecord::new(TOPIC, Bytes::from(self.first_key()), value.clone());
                records.push(first.to_partition(0));
                begins = true;
            }
            records.extend(self.on_every_partition(&value));
        }
        // The heartbeat comes with the last part, and nothing is promised before.
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (part, after) = rest.split_at(first_part(rest, TRANSACTION));
            self.commit(part, token).await?;
            rest = after;
        }
        self.begun |= begins;
        if let Some(heartbeat) = heartbeat {
            self.heartbeat = self.heartbeat.max(heartbeat.complete_to);
        }
        Ok(())
    }

    /// Writes what the source was after which times, and that the former one holds up to the last of them, at once. Passing
    /// errors are retried until `token` is cancelled.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn change_source(
        &mut self,
        sources: &[Heartbeat],
        former: &Heartbeat,
        token: &CancellationToken,
    ) -> Result<(), WriterError> {
        let mut records = Vec::with_capacity(sources.len().saturating_add(1));
        for source in sources {
            let key = source_key(&self.cluster, source.complete_to);
            let value = Bytes::from(encode(&Metadata::Heartbeat(source.clone()))?);
            records.push(NewRecord::new(TOPIC, Bytes::from(key), value).to_partition(0));
        }
        let value = Bytes::from(encode(&Metadata::Heartbeat(former.clone()))?);
        records.extend(self.on_every_partition(&value));
        self.commit(&records, token).await?;
        self.heartbeat = former.complete_to;
        Ok(())
    }

    /// Writes that of the times after `after` up to the heartbeat's nothing is known, and the heartbeat, at once. Passing errors
    /// are retried until `token` is cancelled.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn leave_gap(
        &mut self,
        after: Millis,
        heartbeat: &Heartbeat,
        token: &CancellationToken,
    ) -> Result<(), WriterError> {
        let value = Bytes::from(encode(&Metadata::Heartbeat(heartbeat.clone()))?);
        let key = gap_key(&self.cluster, after);
        let mut records = vec![NewRecord::new(TOPIC, Bytes::from(key), value.clone()).to_partition(0)];
        records.extend(self.on_every_partition(&value));
        self.commit(&records, token).await?;
        self.heartbeat = self.heartbeat.max(heartbeat.complete_to);
        Ok(())
    }

    /// A heartbeat for each partition of the topic.
    fn on_every_partition(&self, value: &Bytes) -> impl Iterator<Item = NewRecord> {
        (0..self.partitions).map(move |partition| {
            let key = format!("{}/heartbeat/{partition}", self.cluster);
            NewRecord::new(TOPIC, Bytes::from(key), value.clone()).to_partition(partition)
        })
    }

    /// Writes tombstones, and before them from when on the history is whole, where the topic tells where it begins. Passing
    /// errors are retried until `token` is cancelled.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn bury(
        &mut self,
        keys: &[String],
        whole_from: Heartbeat,
        token: &CancellationToken,
    ) -> Result<(), WriterError> {
        let mut records = Vec::with_capacity(keys.len().saturating_add(1));
        if self.begun {
            let value = Bytes::from(encode(&Metadata::Heartbeat(whole_from))?);
            records.push(NewRecord::new(TOPIC, Bytes::from(self.first_key()), value).to_partition(0));
        }
        records.extend(keys.iter().map(|key| NewRecord::tombstone(TOPIC, Bytes::from(key.clone()))));
        for part in records.chunks(TRANSACTION) {
            self.commit(part, token).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, records: &[NewRecord], token: &CancellationToken) -> Result<(), WriterError> {
        loop {
            let error = match self.attempt(records).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !matches!(error.kind(), ErrorKind::Retriable | ErrorKind::Abortable | ErrorKind::QueueFull) {
                return Err(error.into());
            }
            weir_service::rate_limited!(warn, error = %error, "writing metadata: trying again");
            self.producer.abort().await?;
            tokio::select! {
                () = token.cancelled() => return Err(WriterError::Stopped),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn attempt(&mut self, records: &[NewRecord]) -> Result<(), StreamError> {
        self.producer.begin().await?;
        for record in records {
            self.producer.send(record.clone()).await?;
        }
        self.producer.commit().await
    }

    /// The key of the first heartbeat of all, which stays: the history begins with it.
    fn first_key(&self) -> String {
        first_heartbeat_key(&self.cluster)
    }
}

/// How many of the records make the first transaction: about `most`, but never the end of a revision without the
/// beginning of the next, because the death of the service between the two would leave the object with neither.
fn first_part(records: &[NewRecord], most: usize) -> usize {
    let one_object = |place: usize| {
        let object = |place: usize| records.get(place).and_then(|record| object_of(record.key.as_deref()?));
        object(place).is_some() && object(place) == object(place.saturating_sub(1))
    };
    (most..records.len()).find(|place| !one_object(*place)).unwrap_or(records.len())
}

/// A revision's key without the revision.
fn object_of(key: &[u8]) -> Option<&[u8]> {
    key.iter().rposition(|byte| *byte == b'/').and_then(|end| key.get(..end))
}

/// Creates the topic where it is missing, as the schemas say.
async fn ensure_topic(log: &Log, cluster: &str) -> Result<(), StreamError> {
    let spec = topics::of(cluster, 1, 1, 1).into_iter().find(|topic| topic.name == TOPIC);
    let Some(spec) = spec else { return Ok(()) };
    match log.partition_count(TOPIC).await {
        Ok(_) => Ok(()),
        Err(StreamError::UnknownTopic(_)) => {
            let spec = TopicSpec { name: spec.name, partitions: spec.partitions, configs: spec.configs };
            log.ensure_topics(&[spec]).await
        }
        Err(error) => Err(error),
    }
}
