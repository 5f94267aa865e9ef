//! Writing to the log in memory.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Fault, Shared};
use crate::group::GroupMetadataInner;
use crate::{
    DeliveryFuture, GroupMetadata, NewRecord, OffsetAndMetadata, ProducerSettings, Result, StreamError, TopicPartition,
    TransactionSettings,
};

/// The partition of a key: murmur2 with Kafka's seed, like the clients choose it.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = murmur2(key) & 0x7fff_ffff;
    let partitions = u32::try_from(partitions).unwrap_or(1).max(1);
    i32::try_from(hash % partitions).unwrap_or(0)
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash: u32 = 0x9747_b28c ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let bytes = word.iter().rev().fold(0_u32, |n, b| (n << 8) | u32::from(*b));
        let mut k = bytes.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0_u32, |n, b| (n << 8) | u32::from(*b));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

fn check_size(record: &NewRecord, limit: usize) -> Result<()> {
    if record.size() > limit {
        return Err(StreamError::TooLarge { topic: record.topic.to_string(), size: record.size(), limit });
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryProducer {
    shared: Arc<Shared>,
    max_record_bytes: usize,
    queue_bytes: usize,
}

impl MemoryProducer {
    pub(super) fn new(shared: Arc<Shared>, settings: &ProducerSettings) -> Self {
        Self { shared, max_record_bytes: settings.max_record_bytes, queue_bytes: settings.queue_bytes }
    }

    pub(crate) fn send(&self, record: NewRecord) -> Result<DeliveryFuture> {
        check_size(&record, self.max_record_bytes)?;
        let (answer, delivery) = oneshot::channel();
        let outcome = self.shared.change(|state| {
            if state.fault(|fault| *fault == Fault::QueueFull).is_some() {
                return Err(StreamError::QueueFull { limit_bytes: self.queue_bytes });
            }
            let fault = state.fault(|fault| matches!(fault, Fault::DeliveryUnknown { .. }));
            let Some(Fault::DeliveryUnknown { written }) = fault else {
                return Ok(state.append(record, None));
            };
            let topic = record.topic.to_string();
            if written {
                state.append(record, None)?;
            }
            Ok(Err(StreamError::Delivery { topic, message: "injected fault".into(), outcome_unknown: true }))
        })?;
        // Nobody may be waiting for it.
        let _ = answer.send(outcome);
        Ok(DeliveryFuture(delivery))
    }

    pub(crate) fn flush(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    Open,
    /// Open, and to be aborted.
    MustAbort,
    Dead,
}

#[derive(Debug)]
pub(crate) struct MemoryTransactionalProducer {
    shared: Arc<Shared>,
    id: Arc<str>,
    epoch: u32,
    phase: Phase,
    max_record_bytes: usize,
}

impl MemoryTransactionalProducer {
    pub(super) fn initialize(shared: Arc<Shared>, settings: &TransactionSettings) -> Self {
        let epoch = shared.change(|state| state.fence(&settings.transactional_id));
        Self {
            shared,
            id: Arc::from(settings.transactional_id.as_str()),
            epoch,
            phase: Phase::Ready,
            max_record_bytes: settings.max_record_bytes,
        }
    }

    /// Refuses a producer that was fenced, and calls out of order.
    fn check(&mut self, wanted: Phase) -> Result<()> {
        if self.phase == Phase::Dead || self.shared.read().epoch(&self.id) != self.epoch {
            self.phase = Phase::Dead;
            return Err(StreamError::Fenced(format!(
                "a newer producer of {} exists, or its transaction expired",
                self.id
            )));
        }
        match (self.phase, wanted) {
            (phase, wanted) if phase == wanted => Ok(()),
            (Phase::MustAbort, _) => {
                Err(StreamError::Abortable(format!("an earlier error in this transaction of {}", self.id)))
            }
            _ => Err(StreamError::Misuse(format!(
                "transaction of {} is {:?} where it must be {wanted:?}",
                self.id, self.phase
            ))),
        }
    }

    pub(crate) fn begin(&mut self) -> Result<()> {
        self.check(Phase::Ready)?;
        self.phase = Phase::Open;
        Ok(())
    }

    pub(crate) fn send(&mut self, record: NewRecord) -> Result<()> {
        self.check(Phase::Open)?;
        check_size(&record, self.max_record_bytes)?;
        let id = Arc::clone(&self.id);
        match self.shared.change(|state| state.append(record, Some(&id))) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.phase = Phase::MustAbort;
                Err(StreamError::Abortable(error.to_string()))
            }
        }
    }

    pub(crate) fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        self.check(Phase::Open)?;
        let GroupMetadataInner::Memory(membership) = &group.0 else {
            return Err(StreamError::Misuse("group metadata is of another log".into()));
        };
        let outcome = self.shared.change(|state| {
            let fault = state.fault(|fault| *fault == Fault::SendOffsetsAbortable);
            if fault.is_some() {
                return Err("injected fault".to_owned());
            }
            state.group(&membership.group).check(membership)?;
            state.add_offsets(&self.id, &membership.group, offsets);
            Ok(())
        });
        outcome.map_err(|reason| {
            self.phase = Phase::MustAbort;
            StreamError::Abortable(reason)
        })
    }

    pub(crate) fn commit(&mut self) -> Result<()> {
        self.check(Phase::Open)?;
        let is_commit_fault = |fault: &Fault| matches!(fault, Fault::CommitUnknown { .. } | Fault::CommitAbortable);
        let fault = self.shared.change(|state| {
            let fault = state.fault(is_commit_fault);
            if matches!(fault, None | Some(Fault::CommitUnknown { applied: true })) {
                state.end_transaction(&self.id, true);
            }
            fault
        });
        match fault {
            None => {
                self.phase = Phase::Ready;
                Ok(())
            }
            Some(Fault::CommitAbortable) => {
                self.phase = Phase::MustAbort;
                Err(StreamError::Abortable("injected fault".into()))
            }
            Some(_) => {
                self.phase = Phase::Dead;
                Err(StreamError::Fenced(format!("the outcome of a commit of {} is unknown", self.id)))
            }
        }
    }

    pub(crate) fn abort(&mut self) -> Result<()> {
        if self.phase == Phase::Ready {
            return Ok(());
        }
        if self.phase == Phase::MustAbort {
            self.phase = Phase::Open;
        }
        self.check(Phase::Open)?;
        self.shared.change(|state| state.end_transaction(&self.id, false));
        self.phase = Phase::Ready;
        Ok(())
    }
}
