//! A stage's life: make a producer and a consumer, work until something fails, drop both and everything in memory, and
//! begin again from committed positions.

use super::Shared;
use super::metadata::SharedTable;
use super::record_settings::Current;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use weir_stream::{
    Assignor, ErrorKind, GroupConsumer, GroupMetadata, GroupSettings, NewRecord, OffsetAndMetadata, StreamError,
    TopicPartition, TransactionSettings, TransactionalProducer,
};

/// The first wait before a new session; each further one is twice as long, up to the limit in the settings.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// A session that worked for so long was a good one: the waits begin anew.
const LONG: Duration = Duration::from_secs(60);

/// The most events that are handled before what can be written is: a few batches, or all partitions of an assignment.
pub(super) const AT_ONCE: usize = 32;

/// Why a session ended.
pub(super) enum Failure {
    /// A new session may work.
    Again(anyhow::Error),
    /// A new session would fail the same way.
    Final(anyhow::Error),
    /// The settings that decide records are others now, or are not known well enough.
    Settings,
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        if error.kind() == ErrorKind::Invalid { Self::Final(error.into()) } else { Self::Again(error.into()) }
    }
}

/// What decides records in one session.
pub(super) struct Decided {
    pub(super) current: Current,
    changes: watch::Receiver<Current>,
}

impl Decided {
    pub(super) fn now(shared: &Shared) -> Self {
        let mut changes = shared.current.clone();
        let current = changes.borrow_and_update().clone();
        Self { current, changes }
    }

    /// Waits until other settings are known.
    pub(super) async fn changed(&mut self) {
        // Who follows the topic ends with the process or with an error, which ends everything.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether what is there to be processed may be.
    ///
    /// # Errors
    /// [`Failure::Settings`] where others are known by now, or may have been written that this process has not read.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let same = !self.changes.has_changed().unwrap_or(false);
        if same && self.changes.borrow().is_reliable() { Ok(()) } else { Err(Failure::Settings) }
    }
}

/// The clients of one session.
pub(super) struct Clients {
    pub(super) consumer: GroupConsumer,
    pub(super) producer: TransactionalProducer,
}

/// Runs sessions of a stage until the token is cancelled.
pub(super) async fn repeat(shared: Arc<Shared>, stage: u8, table: SharedTable) -> anyhow::Result<()> {
    let mut wait = SHORTEST_WAIT;
    let condition = format!("enricher stage {stage}");
    shared.health.set_ready(&condition, false, "waits for an assignment of partitions");
    loop {
        let begun = std::time::Instant::now();
        let outcome = if stage == 1 {
            super::first::session(&shared, &table).await
        } else {
            super::second::session(&shared).await
        };
        let error = match outcome {
            Ok(()) => return Ok(()),
            Err(Failure::Final(error)) => {
                return Err(error.context(format!("stage {stage} of cluster {}", shared.settings.cluster)));
            }
            Err(Failure::Settings) => {
                if !settled(&shared, stage).await {
                    return Ok(());
                }
                continue;
            }
            Err(Failure::Again(error)) => error,
        };
        if begun.elapsed() > LONG {
            wait = SHORTEST_WAIT;
        }
        shared.meters.rebuilds.get_or_create(&[("stage", stage.to_string())]).inc();
        shared.health.set_ready(&condition, false, format!("{error:#}"));
        weir_service::rate_limited!(warn, stage, error = %format!("{error:#}"), "stage starts again from committed positions");
        tokio::select! {
            () = shared.token.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(shared.settings.retry_limit),
        }
    }
}

/// Waits until the settings that decide records are known again; false when the token is cancelled.
async fn settled(shared: &Shared, stage: u8) -> bool {
    let condition = "enricher settings";
    let reliable = || shared.current.borrow().is_reliable();
    if reliable() {
        let count = shared.current.borrow().history.entries().count();
        tracing::info!(stage, count, "begins again from committed positions with other settings of records");
        return true;
    }
    shared.meters.settings_waits.inc();
    let text = format!("topic {} could not be read to its end for a minute", weir_schemas::topics::SETTINGS);
    tracing::warn!(stage, "waits for the settings of records: {text}");
    shared.health.set_ready(condition, false, text);
    while !reliable() {
        tokio::select! {
            () = shared.token.cancelled() => return false,
            () = tokio::time::sleep(shared.settings.poll) => {}
        }
    }
    shared.health.set_ready(condition, true, "");
    true
}

/// Makes the clients of a session: the producer first, so that a predecessor's open transaction is aborted before
/// positions are fetched.
pub(super) async fn clients(shared: &Shared, stage: u8, topic: &str) -> Result<Clients, Failure> {
    let group = shared.settings.group(stage);
    let mut transaction = TransactionSettings::new(format!("{group}-{}", shared.instance));
    transaction.client_id = format!("weir-enricher-{stage}");
    let producer = shared.log.transactional_producer(&transaction).await?;
    let mut settings = GroupSettings::new(group, [topic]);
    settings.client_id = format!("weir-enricher-{stage}");
    settings.instance_id = Some(shared.instance.clone());
    settings.session_timeout = shared.settings.session_timeout;
    settings.assignor = Assignor::Range;
    settings.max_bytes = usize::try_from(shared.settings.fetch_limit).unwrap_or(usize::MAX);
    let consumer = shared.log.group_consumer(&settings)?;
    Ok(Clients { consumer, producer })
}

/// What is written in one transaction.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) records: Vec<NewRecord>,
    pub(super) positions: Vec<(TopicPartition, OffsetAndMetadata)>,
}

/// Writes records and positions in one transaction. After an error nothing in memory counts any more.
pub(super) async fn transact(
    producer: &mut TransactionalProducer,
    transaction: Transaction,
    group: &GroupMetadata,
) -> Result<(), StreamError> {
    let outcome = attempt(producer, transaction, group).await;
    if let Err(error) = &outcome
        && error.kind() == ErrorKind::Abortable
    {
        producer.abort().await?;
    }
    outcome
}

async fn attempt(
    producer: &mut TransactionalProducer,
    transaction: Transaction,
    group: &GroupMetadata,
) -> Result<(), StreamError> {
    producer.begin().await?;
    for record in transaction.records {
        producer.send(record).await?;
    }
    producer.send_offsets(&transaction.positions, group).await?;
    producer.commit().await
}

/// What to do for a group that has no position on a log whose beginning is gone.
pub(super) fn no_position(shared: &Shared, stage: u8, partition: &TopicPartition, log_start: i64) -> Failure {
    let group = shared.settings.group(stage);
    Failure::Final(anyhow::anyhow!(
        "group {group} has no position for {partition}, and the log begins at offset {log_start}: starting there would \
         lose what is missing without saying so; commit a position for the group with Kafka's own tools if that is what you \
         want (offset {log_start}, empty metadata)"
    ))
}
