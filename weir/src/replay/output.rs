//! Where replayed records go: standard output, a file, a topic, or as corrections onto the topic that the enricher writes.

use super::kind::Replayed;
use super::standing::{Standing, read_one};
use crate::audit::Act;
use crate::clock::text as time;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_elastic::{Elastic, ElasticSettings};
use weir_flow::RecordSettings;
use weir_indexer::direct::Direct;
use weir_indexer::document::prepare_as;
use weir_indexer::index::IndexKind;
use weir_indexer::periods::Periods;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::settings::Settings;
use weir_schemas::{encode, topics};
use weir_service::{HintExt as _, Metrics};
use weir_stream::{
    Log, NewRecord, Partitions, Producer, ProducerSettings, Start, StreamError, TopicSpec, TransactionSettings,
    TransactionalProducer,
};

#[cfg(test)]
mod tests;

/// How many records may wait for their acknowledgement.
const WAITING: usize = 1_000;

/// How long an answer of the log is awaited.
const IDLE: Duration = Duration::from_secs(10);

/// Topics that begin so are Weir's own.
const OWN: [&str; 7] =
    ["flows.raw.", "flows.partial.", "flows.enriched.", "dns.enriched.", "k8s.metadata.", "weir.", "__"];

/// Refuses topics that others write.
pub(super) fn check_topic(topic: &str) -> Result<()> {
    if OWN.iter().any(|own| topic.starts_with(own)) || topic.is_empty() {
        bail!("--topic {topic}: this topic is written by others");
    }
    Ok(())
}

/// Where records go.
pub(super) enum Sink {
    Output,
    /// The file appears when it is whole.
    File {
        writer: BufWriter<File>,
        part: PathBuf,
        path: PathBuf,
    },
    Topic {
        producer: Producer,
        topic: String,
    },
    Index {
        direct: Box<Direct>,
        periods: Periods,
    },
}

impl Sink {
    pub(super) async fn open(file: Option<&Path>, topic: Option<&str>, log: &Log) -> Result<Self> {
        if let Some(path) = file {
            let mut part = path.as_os_str().to_owned();
            part.push(".part");
            let part = PathBuf::from(part);
            let opened = File::create(&part).with_context(|| format!("--file {}", part.display()))?;
            return Ok(Self::File { writer: BufWriter::new(opened), part, path: path.to_owned() });
        }
        let Some(topic) = topic else { return Ok(Self::Output) };
        if let Err(StreamError::UnknownTopic(_)) = log.partition_count(topic).await {
            let partitions = log.partition_count(topics::ENRICHED).await?;
            log.ensure_topics(&[TopicSpec::new(topic, partitions)]).await?;
        }
        let producer = log.producer(&ProducerSettings::new("weir-replay"))?;
        Ok(Self::Topic { producer, topic: topic.to_owned() })
    }

    /// Indices of their own; their periods are those of the settings that held then.
    pub(super) async fn index(settings: &ElasticSettings, log: &Log) -> Result<Self> {
        let elastic = Elastic::new(settings)?;
        elastic
            .info()
            .await
            .context("elasticsearch")
            .hint("is `weir up` running? give the address of your Elasticsearch with --elasticsearch URL")?;
        let mut periods = Periods::default();
        let mut reader = log.reader(topics::SETTINGS, Partitions::All, Start::Beginning).await?;
        for record in reader.read_to_end(IDLE).await? {
            let settings = record.value.as_deref().map(weir_schemas::decode::<Settings>).transpose()?;
            if let Some(settings) = settings {
                let settings = RecordSettings::try_from(settings)?;
                if settings.in_time(record.timestamp) {
                    periods.apply(&settings);
                }
            }
        }
        let began = jiff::Timestamp::now().as_millisecond();
        let direct = Box::new(Direct::start(log, elastic, &Metrics::new(), began).await?);
        Ok(Self::Index { direct, periods })
    }

    pub(super) async fn write<R: Replayed>(&mut self, records: &[R]) -> Result<()> {
        match self {
            Self::Output => {
                for record in records {
                    write_line(&mut std::io::stdout().lock(), record)?;
                }
                Ok(())
            }
            Self::File { writer, part, .. } => records
                .iter()
                .try_for_each(|record| write_line(writer, record))
                .with_context(|| format!("--file {}", part.display())),
            Self::Topic { producer, topic } => send(producer, topic, records).await,
            Self::Index { .. } => bail!("only flows have indices of their own"),
        }
    }

    /// Flows go everywhere.
    pub(super) async fn write_flows(&mut self, records: &[Enriched]) -> Result<()> {
        let Self::Index { direct, periods } = self else { return self.write(records).await };
        for some in records.chunks(WAITING) {
            let prepared = some.iter().map(|record| prepare_as(IndexKind::Replay, record, periods));
            direct.write(&prepared.collect::<Result<Vec<_>, _>>()?).await?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<()> {
        let Self::File { mut writer, part, path } = self else { return Ok(()) };
        writer
            .flush()
            .and_then(|()| std::fs::rename(&part, &path))
            .with_context(|| format!("--file {}", path.display()))
    }
}

fn write_line(writer: &mut impl std::io::Write, record: &impl Replayed) -> Result<()> {
    let mut text = serde_json::to_string(&record.object()?)?;
    text.push('\n');
    match writer.write_all(text.as_bytes()) {
        // `| head` has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

async fn send(producer: &Producer, topic: &str, records: &[impl Replayed]) -> Result<()> {
    let mut waiting = Vec::new();
    for record in records {
        let message = NewRecord::new(topic, record.id().to_owned(), encode(record)?);
        loop {
            match producer.send(message.clone()) {
                Ok(delivery) => break waiting.push(delivery),
                Err(StreamError::QueueFull { .. }) if !waiting.is_empty() => settle(&mut waiting).await?,
                Err(error) => return Err(error.into()),
            }
        }
        if waiting.len() >= WAITING {
            settle(&mut waiting).await?;
        }
    }
    settle(&mut waiting).await
}

async fn settle(waiting: &mut Vec<weir_stream::DeliveryFuture>) -> Result<()> {
    for delivery in waiting.drain(..) {
        delivery.await?;
    }
    Ok(())
}

/// Writes corrections, in transactions: a second repair at the same time is fenced or fences.
pub(super) struct Corrections {
    producer: TransactionalProducer,
    cluster: String,
}

impl Corrections {
    pub(super) async fn new(log: &Log, cluster: &str) -> Result<Self> {
        let settings = TransactionSettings::new(format!("weir-repair-{cluster}"));
        Ok(Self { producer: log.transactional_producer(&settings).await?, cluster: cluster.to_owned() })
    }

    /// Writes upserts.
    pub(super) async fn write<R: Replayed>(&mut self, records: Vec<R>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut messages = Vec::with_capacity(records.len() + 1);
        for record in &records {
            messages.push(NewRecord::new(R::TOPIC, record.id().to_owned(), encode(record)?));
        }
        messages.push(self.audited(&records, &messages)?);
        self.producer.begin().await?;
        for message in messages {
            self.producer.send(message).await?;
        }
        Ok(self.producer.commit().await?)
    }

    /// The entry that goes with corrections, in the same transaction.
    fn audited<R: Replayed>(&self, records: &[R], messages: &[NewRecord]) -> Result<NewRecord> {
        let windows = || records.iter().map(Replayed::window);
        let (first, last) = (windows().min().unwrap_or_default(), windows().max().unwrap_or_default());
        let count = |kind| records.iter().filter(|record| record.correction().0 == kind).count();
        let (upserts, deletes) = (count(Kind::Upsert), count(Kind::Delete));
        let bytes: usize = messages.iter().filter_map(|message| message.value.as_ref()).map(|value| value.len()).sum();
        let act = Act {
            command: "weir replay --repair",
            action: "correct_records",
            target: format!("{} of cluster {}, windows {} to {}", R::TOPIC, self.cluster, time(first), time(last)),
            reason: format!("not what the raw topic gives: {upserts} written, {deletes} deleted"),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            documents: u64::try_from(records.len()).unwrap_or(u64::MAX),
        };
        Ok(act.message()?)
    }

    /// Writes a delete of each record, which is the record itself, marked.
    pub(super) async fn delete<R: Replayed>(&mut self, log: &Log, extra: &[Standing]) -> Result<()> {
        for some in extra.chunks(WAITING) {
            let mut deletes = Vec::with_capacity(some.len());
            for standing in some {
                let record: R = read_one(log, standing).await?;
                deletes.push(record.corrected(Kind::Delete, standing.correction.saturating_add(1)));
            }
            self.write(deletes).await?;
        }
        Ok(())
    }
}
