//! Acts of retention, each announced before it is done: a horizon, so that the indexer makes no deleted index anew, and an
//! audit entry, both in one transaction.
//!
//! Transactions are the lease, too. Whoever begins to act makes the producer anew, by which another's is fenced: that one can
//! announce nothing more, and so delete nothing more. What it had announced before is on the audit topic, and is counted as
//! gone by whoever comes after it, whether it has been deleted by then or not.

use crate::inventory::Name;
use crate::plan::Action;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::time::Duration;
use weir_flow::Millis;
use weir_schemas::audit::Audit;
use weir_schemas::horizon::Horizon;
use weir_schemas::{encode, topics};
use weir_stream::{
    Log, NewRecord, Partitions, Start, StreamError, TopicSpec, TransactionSettings, TransactionalProducer,
};

/// The transactional id: one for everybody who deletes.
const LEASE: &str = "weir-retention";
/// What an announced deletion is called in the audit.
pub(crate) const DELETE: &str = "delete_index";
/// What a deletion is called that did not happen after all.
pub(crate) const FAILED: &str = "delete_index_failed";
/// How long the log may be silent while it is read.
const IDLE: Duration = Duration::from_secs(20);
/// How long one who only looks waits for Kafka.
const ANSWERS: Duration = Duration::from_secs(5);

/// A deletion that was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) at: Millis,
    pub(crate) index: String,
    pub(crate) bytes: u64,
    /// What of it stood where, bytes by the node's id; absent where another process announced it.
    pub(crate) on: Option<BTreeMap<String, u64>>,
}

impl Claim {
    /// What a disk has of it, bytes: all of it where that is not known, so that none goes in its stead.
    pub(crate) fn on(&self, node: &str) -> u64 {
        self.on.as_ref().map_or(self.bytes, |nodes| nodes.get(node).copied().unwrap_or(0))
    }
}

/// The right to act, until somebody else takes it.
pub(crate) struct Lease {
    producer: TransactionalProducer,
    by: String,
    /// The horizons that stand, by their keys on the topic.
    standing: BTreeMap<String, Millis>,
}

impl Lease {
    /// Takes the right to act, and hands back what was announced since `since`, ms since the epoch.
    pub(crate) async fn take(log: &Log, by: &str, since: Millis) -> anyhow::Result<(Self, Vec<Claim>)> {
        ensure_topics(log).await?;
        let producer = log.transactional_producer(&TransactionSettings::new(LEASE)).await?;
        // Read only now: whoever was fenced by this has announced its last.
        let claims = claims(log, since).await?;
        let standing = standing(log).await?;
        Ok((Self { producer, by: by.to_owned(), standing }, claims))
    }

    /// Announces a deletion. Only when this is done may the index go.
    pub(crate) async fn announce(&mut self, action: &Action, documents: u64, now: Millis) -> anyhow::Result<Claim> {
        let mut horizon = horizon(&action.index, now);
        let key = horizon.key();
        // What was deleted before stays deleted: an older index that comes after a younger one, or a clock that was set
        // back, moves no horizon back.
        horizon.before = horizon.before.max(self.standing.get(&key).copied().unwrap_or(horizon.before));
        let bytes = action.bytes.unwrap_or(0);
        let entry = Audit {
            at: now,
            action: DELETE.to_owned(),
            target: action.index.to_string(),
            reason: action.reason.as_str().to_owned(),
            bytes,
            documents,
            by: self.by.clone(),
        };
        let records = vec![
            NewRecord::new(topics::AUDIT, entry.target.clone(), encode(&entry)?),
            NewRecord::new(topics::HORIZON, key.clone(), encode(&horizon)?),
        ];
        self.write(records).await?;
        self.standing.insert(key, horizon.before);
        Ok(Claim { at: now, index: entry.target, bytes, on: None })
    }

    /// Says that an announced deletion did not happen.
    pub(crate) async fn take_back(&mut self, claim: &Claim, reason: &str, now: Millis) -> anyhow::Result<()> {
        let entry = Audit {
            at: now,
            action: FAILED.to_owned(),
            target: claim.index.clone(),
            reason: reason.to_owned(),
            bytes: claim.bytes,
            documents: 0,
            by: self.by.clone(),
        };
        let record = NewRecord::new(topics::AUDIT, entry.target.clone(), encode(&entry)?);
        Ok(self.write(vec![record]).await?)
    }

    async fn write(&mut self, records: Vec<NewRecord>) -> Result<(), StreamError> {
        self.producer.begin().await?;
        for record in records {
            self.producer.send(record).await?;
        }
        self.producer.commit().await
    }
}

/// Below what records are refused when an index has gone: windows of its period and before; of a kind that holds windows of any
/// time, what was written into this index until now. A capture that is published again later makes its index anew.
fn horizon(name: &Name, now: Millis) -> Horizon {
    let any_time = name.kind.ages_from_creation();
    Horizon {
        kind: name.kind.as_str().to_owned(),
        level: name.level,
        cluster: String::new(),
        before: if any_time { now } else { name.end },
        index: any_time.then(|| name.to_string()),
    }
}

async fn ensure_topics(log: &Log) -> Result<(), StreamError> {
    let needed = topics::of(topics::DEFAULT_CLUSTER, 1, 1, 1)
        .into_iter()
        .filter(|topic| topic.name == topics::AUDIT || topic.name == topics::HORIZON)
        .map(|topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs });
    log.ensure_topics(&needed.collect::<Vec<_>>()).await
}

/// What was announced since `since`, ms since the epoch, for one who deletes nothing; nothing where nobody ever deleted.
///
/// # Errors
/// When Kafka does not answer.
pub(crate) async fn announced(log: &Log, since: Millis) -> Result<Vec<Claim>, StreamError> {
    log.check(ANSWERS).await?;
    match claims(log, since).await {
        Err(StreamError::UnknownTopic(_)) => Ok(Vec::new()),
        claims => claims,
    }
}

async fn claims(log: &Log, since: Millis) -> Result<Vec<Claim>, StreamError> {
    let mut reader = log.reader(topics::AUDIT, Partitions::All, Start::Time(since)).await?;
    let mut claims: Vec<Claim> = Vec::new();
    while let Some(records) = reader.next_before_end(IDLE).await? {
        let entries = records.iter().filter_map(|r| weir_schemas::decode::<Audit>(r.value.as_deref()?).ok());
        for entry in entries.filter(|entry| entry.at >= since) {
            match entry.action.as_str() {
                DELETE => claims.push(Claim { at: entry.at, index: entry.target, bytes: entry.bytes, on: None }),
                FAILED => claims.retain(|claim| claim.index != entry.target),
                _ => {}
            }
        }
    }
    Ok(claims)
}

/// The horizons that stand. A tombstone takes one back.
async fn standing(log: &Log) -> anyhow::Result<BTreeMap<String, Millis>> {
    let mut reader = log.reader(topics::HORIZON, Partitions::All, Start::Beginning).await?;
    let mut standing = BTreeMap::new();
    while let Some(records) = reader.next_before_end(IDLE).await? {
        for record in records {
            let Some(key) = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else { continue };
            match record.value.as_deref() {
                Some(value) => {
                    // One that cannot be read might be moved back unseen.
                    let horizon: Horizon = weir_schemas::decode(value).with_context(|| format!("horizon {key}"))?;
                    standing.insert(key.to_owned(), horizon.before);
                }
                None => drop(standing.remove(key)),
            }
        }
    }
    Ok(standing)
}
