//! Writes the simulated cluster's metadata and raw batches as time passes.

use super::{CLUSTER, Demo};
use crate::clock::now;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::warn;
use weir_flow::{Millis, RecordSettings, time};
use weir_schemas::metadata::{Bound, BoundSource, Metadata, Revision};
use weir_schemas::raw::RawBatch;
use weir_schemas::topics;
use weir_service::CancellationToken;
use weir_stream::{Log, NewRecord, Partitions, Producer, ProducerSettings, Start};

/// Publishes tick after tick until cancelled. The clock only decides when a tick is due; what is in it depends on the
/// seed and its number alone.
///
/// # Errors
/// When the log refuses a record for good.
pub(crate) async fn run(log: &Log, settings: &RecordSettings, seed: u64, token: CancellationToken) -> Result<()> {
    let producer = log.producer(&ProducerSettings::new("weir-demo"))?;
    let earlier = Earlier::read(log).await?;
    // What an earlier start said up to its last heartbeat stays true: this one begins after it.
    let begin = now().max(earlier.complete_to.saturating_add(settings.tick));
    let mut at = time::floor_to(begin, settings.tick);
    let mut demo = Demo::new(seed, at, settings.tick);
    send_metadata(&producer, earlier.closed(at)).await?;
    send_metadata(&producer, demo.initial_metadata()).await?;
    loop {
        let due = u64::try_from(at + settings.tick - now()).unwrap_or(0);
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(due)) => {}
        }
        let tick = demo.tick(at);
        send_metadata(&producer, tick.metadata).await?;
        for (node, batch) in (0i32..).zip(tick.batches) {
            send_batch(&producer, &batch, node % settings.raw_partitions).await?;
        }
        at += settings.tick;
        if now() - at > settings.late_bound / 2 {
            warn!("the demo fell {} ms behind; it goes on from now", now() - at);
            at = time::floor_to(now(), settings.tick);
        }
    }
}

/// What earlier starts of the demo left on the metadata topic.
#[derive(Default)]
struct Earlier {
    open: BTreeMap<String, Revision>,
    complete_to: Millis,
}

impl Earlier {
    async fn read(log: &Log) -> Result<Self> {
        let mut earlier = Self::default();
        let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await?;
        while let Some(records) = reader.next_before_end(Duration::from_secs(10)).await? {
            for value in records.iter().filter_map(|r| r.value.as_ref()) {
                earlier.take(weir_schemas::decode(value)?);
            }
        }
        Ok(earlier)
    }

    fn take(&mut self, message: Metadata) {
        let key = message.key(0);
        match message {
            Metadata::Revision(r) if r.cluster == CLUSTER && r.valid_to.is_none() => {
                self.open.insert(key, r);
            }
            Metadata::Revision(_) => {
                self.open.remove(&key);
            }
            Metadata::Heartbeat(h) if h.cluster == CLUSTER => self.complete_to = self.complete_to.max(h.complete_to),
            Metadata::Heartbeat(_) => {}
        }
    }

    /// The revisions that were left open, closed at `at`: that cluster ended when its process did.
    fn closed(self, at: Millis) -> Vec<Metadata> {
        let end = Bound { earliest: at, latest: at, source: BoundSource::Arrival };
        self.open.into_values().map(|r| Metadata::Revision(Revision { valid_to: Some(end), ..r })).collect()
    }
}

async fn send_metadata(producer: &Producer, messages: Vec<Metadata>) -> Result<()> {
    let mut deliveries = Vec::with_capacity(messages.len());
    for message in messages {
        let record = NewRecord::new(topics::METADATA, message.key(0), weir_schemas::encode(&message)?).to_partition(0);
        deliveries.push(producer.send(record)?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(())
}

async fn send_batch(producer: &Producer, batch: &RawBatch, partition: i32) -> Result<()> {
    let record = NewRecord::new(topics::raw(CLUSTER), batch.node.clone(), weir_schemas::encode(batch)?);
    producer.send(record.to_partition(partition))?.await?;
    Ok(())
}
