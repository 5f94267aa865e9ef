//! From ticks to the raw topic.

use crate::accounting::{Accounting, Encoded, Identity, MESSAGE_LIMIT};
use crate::buffer::Buffer;
use crate::stats::Stats;
use crate::tick::{Mark, Tick, add, totals};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use weir_flow::{Millis, RecordSettings};
use weir_schemas::raw::Totals;
use weir_schemas::topics;
use weir_service::Health;
use weir_stream::{ErrorKind, Log, NewRecord, Producer, ProducerSettings, StreamError};
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// How long to wait before a delivery is begun again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the next tick, or part of one, is left with its source while one is on its way: not for long, since the source has more to
/// do, but a part that is made meanwhile takes memory, and Kafka usually answers within that.
const BRIEF: Duration = Duration::from_millis(20);
/// While Kafka is away batches stay with the client, in order, for as long as it takes.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Where and how to publish.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who writes.
    pub identity: Identity,
    /// P: number of partitions of the raw topic.
    pub partitions: i32,
    /// Length of a window, ms: ticks are merged within one only.
    pub window: Millis,
    /// The most bytes of ticks that wait for Kafka.
    pub buffer: usize,
    /// How long the last batches may take once no more ticks come.
    pub drain: Duration,
    /// Whether to take a tick only when the one before is written, for sources that can wait.
    pub lossless: bool,
    /// How many batches of this very boot are on the topic already, so that only those after them are sent. Only a source
    /// that makes the same batches every time can say so.
    pub already: u64,
}

impl Settings {
    /// For one node, after the record settings in force.
    #[must_use]
    pub fn new(identity: Identity, record: &RecordSettings, buffer: usize, drain: Duration) -> Self {
        Self {
            identity,
            partitions: record.raw_partitions,
            window: record.window,
            buffer,
            drain,
            lossless: false,
            already: 0,
        }
    }
}

/// Who remembers beyond this process which ticks are on the topic.
pub trait Ledger: Send {
    /// The tick with this mark is about to be sent.
    fn begun(&mut self, mark: &Mark);
    /// It, and all that came before it, is on the topic or a loss that is.
    fn settled(&mut self, mark: &Mark);
}

/// What was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Batches acknowledged.
    pub batches: u64,
    /// What they held.
    pub totals: Totals,
    /// What was put into batches that were not acknowledged, or could not be made: 0 when all went well.
    pub unacknowledged: Totals,
}

/// The partition of a node: the same for every start and version, so that a node's batches stay in order.
#[must_use]
pub fn partition(node: &str, partitions: i32) -> i32 {
    let count = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(xxh3_64(node.as_bytes()) % count).unwrap_or(0)
}

/// What became of one tick's batches.
#[derive(Default)]
struct Outcome {
    delivered: u64,
    undelivered: u64,
}

type Delivery = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A tick on its way.
struct Sending {
    delivery: Delivery,
    contents: Totals,
    /// The tick's mark, with its last part, if the parts before are on the topic.
    mark: Option<Mark>,
}

/// Publishes ticks until the channel closes and everything is acknowledged, or `settings.drain` has passed after that.
///
/// # Errors
/// When there can be no producer.
pub async fn publish(
    log: &Log,
    settings: Settings,
    mut ticks: Receiver<Tick>,
    mut ledger: Option<Box<dyn Ledger>>,
    stats: &Stats,
    health: &Health,
) -> anyhow::Result<Published> {
    let mut producer_settings = ProducerSettings::new(format!("weir-agent-{}", settings.identity.node));
    producer_settings.delivery_timeout = DELIVERY_TIMEOUT;
    // Each batch is sent once the one before is written: there is no company to wait for.
    producer_settings.linger = Duration::ZERO;
    let producer = log.producer(&producer_settings)?;
    let target = Target {
        topic: topics::raw(&settings.identity.cluster).into(),
        partition: partition(&settings.identity.node, settings.partitions),
        key: settings.identity.node.clone(),
        already: settings.already,
    };
    let mut buffer = Buffer::new(settings.buffer, settings.window);
    let mut accounting = Accounting::new(settings.identity.clone());
    let mut published = Published::default();
    let mut current: Option<Sending> = None;
    let mut deadline: Option<Instant> = None;
    let mut begun = Instant::now();
    loop {
        if current.is_none() {
            match buffer.pop() {
                Some(tick) => {
                    if let (Some(ledger), Some(mark)) = (&mut ledger, &tick.mark) {
                        ledger.begun(mark);
                    }
                    current = begin(&mut accounting, tick, &target, &producer, stats);
                    begun = Instant::now();
                }
                None if deadline.is_some() => break,
                None => {}
            }
        }
        stats.buffered.set(i64::try_from(buffer.weight()).unwrap_or(i64::MAX));
        stats.merged.set(i64::try_from(buffer.merged()).unwrap_or(i64::MAX));
        let is_late = begun.elapsed() >= BRIEF;
        let waits = current.is_some() && (settings.lossless || !is_late);
        tokio::select! {
            tick = ticks.recv(), if deadline.is_none() && !waits => match tick {
                Some(tick) => buffer.push(tick),
                None => deadline = Some(Instant::now() + settings.drain),
            },
            outcome = wait(current.as_mut().map(|sending| &mut sending.delivery)) => {
                let (contents, mark) = current.take().map(|sent| (sent.contents, sent.mark)).unwrap_or_default();
                published.batches += outcome.delivered;
                let all = if outcome.undelivered == 0 { &mut published.totals } else { &mut published.unacknowledged };
                add(all, contents);
                if let (Some(ledger), Some(mark), 0) = (&mut ledger, &mark, outcome.undelivered) {
                    ledger.settled(mark);
                }
                health.set_ready("kafka", outcome.undelivered == 0, "the last batch was not written");
            }
            () = tokio::time::sleep_until(begun + BRIEF), if current.is_some() && !is_late => {}
            () = until(deadline) => {
                tracing::warn!("stopping with ticks that Kafka has not acknowledged");
                break;
            }
        }
    }
    if let Some(sending) = current {
        add(&mut published.unacknowledged, sending.contents);
    }
    while let Some(tick) = buffer.pop() {
        add(&mut published.unacknowledged, totals(&tick.samples));
    }
    Ok(published)
}

/// Where batches go.
#[derive(Clone)]
struct Target {
    topic: Arc<str>,
    partition: i32,
    key: String,
    already: u64,
}

/// Makes the batches of a tick and begins to send them. A tick that cannot be encoded is a named loss of the next one.
fn begin(
    accounting: &mut Accounting,
    mut tick: Tick,
    target: &Target,
    producer: &Producer,
    stats: &Stats,
) -> Option<Sending> {
    let contents = totals(&tick.samples);
    // Until then something of the tick is still to come.
    let mark = tick.mark.filter(|_| !tick.more);
    let encoded = accounting.batches(&mut tick, MESSAGE_LIMIT).or_else(|error| {
        tracing::error!(%error, "samples of a tick cannot be encoded: counted as lost");
        (tick.samples, tick.dns) = (Vec::new(), Vec::new());
        add(tick.lost.entry("encode".to_owned()).or_default(), contents);
        accounting.batches(&mut tick, MESSAGE_LIMIT)
    });
    match encoded {
        Ok(encoded) => {
            let delivery = deliver(producer.clone(), target.clone(), encoded, stats.clone());
            Some(Sending { delivery: Box::pin(delivery), contents, mark })
        }
        Err(error) => {
            tracing::error!(%error, "a heartbeat cannot be encoded");
            None
        }
    }
}

/// Sends batches in order and waits for them all.
async fn deliver(producer: Producer, target: Target, batches: Vec<Encoded>, stats: Stats) -> Outcome {
    let mut outcome = Outcome::default();
    for batch in batches.into_iter().filter(|batch| batch.sequence >= target.already) {
        let size = u64::try_from(batch.value.len()).unwrap_or(0);
        let record =
            NewRecord::new(Arc::clone(&target.topic), target.key.clone(), batch.value).to_partition(target.partition);
        if send(&producer, record, batch.sequence, &stats).await {
            outcome.delivered += 1;
            stats.batches.inc();
            stats.batch_bytes.inc_by(size);
        } else {
            outcome.undelivered += 1;
        }
    }
    outcome
}

/// Sends one record until it is written, or until nothing more can be done; whether it is written.
async fn send(producer: &Producer, record: NewRecord, sequence: u64, stats: &Stats) -> bool {
    loop {
        let answer = match producer.send(record.clone()) {
            Ok(delivery) => delivery.await,
            Err(error) => Err(error),
        };
        let error = match answer {
            Ok(_) => return true,
            Err(error) => error,
        };
        match &error {
            // It may be there: a second one would count twice. The sequence shows what is missing, if it is.
            StreamError::Delivery { outcome_unknown: true, .. } => {
                stats.unknown_outcomes.inc();
                tracing::error!(%error, sequence, "it is not known whether a batch was written");
                return false;
            }
            _ if error.kind() == ErrorKind::Invalid => {
                stats.refused.inc();
                tracing::error!(%error, sequence, "a batch cannot be written");
                return false;
            }
            _ => {
                stats.retries.inc();
                weir_service::rate_limited!(warn, error = %error, "batch not written yet, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn wait(delivery: Option<&mut Delivery>) -> Outcome {
    match delivery {
        Some(delivery) => delivery.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
