//! What a partition remembers of each producer: its epoch, its last batches and its open transaction. Pure.

use super::AbortedTransaction;
use crate::batch::{BatchHeader, Marker, advance_sequence};
use crate::codes::Code;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Batches remembered per producer: as many as an idempotent producer may have in flight.
const REMEMBERED_BATCHES: usize = 5;

/// How many producers are remembered and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) count: usize,
    /// Milliseconds without a batch after which a producer is forgotten.
    pub(crate) idle_ms: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RecentBatch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    append_time: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    recent: VecDeque<RecentBatch>,
    open_since: Option<i64>,
    /// Time of its last batch, milliseconds.
    seen: i64,
}

/// What is to be done with a producer's batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It is the next one.
    Next,
    /// It is stored already.
    Duplicate { base_offset: i64, append_time: i64 },
}

/// All producers of a partition.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Producers {
    by_id: BTreeMap<i64, Producer>,
    /// Producers with an open transaction, by its first offset.
    open: BTreeMap<i64, i64>,
}

impl Producers {
    /// First offset of the oldest open transaction.
    pub(super) fn first_open_offset(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    pub(super) fn is_open(&self, producer_id: i64) -> bool {
        self.by_id.get(&producer_id).is_some_and(|producer| producer.open_since.is_some())
    }

    pub(super) fn open_producers(&self) -> Vec<(i64, i16)> {
        let with_epoch = |id: &i64| self.by_id.get(id).map(|producer| (*id, producer.epoch));
        self.open.values().filter_map(with_epoch).collect()
    }

    /// Decides about a batch of an idempotent producer. A producer nothing is remembered of may start anywhere: what
    /// it wrote may have been deleted.
    pub(super) fn check(&self, header: &BatchHeader) -> Result<Check, Code> {
        let Some(known) = self.by_id.get(&header.producer_id) else {
            return Ok(Check::Next);
        };
        if header.producer_epoch < known.epoch {
            return Err(Code::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > known.epoch {
            let fresh = header.base_sequence == 0;
            return if fresh { Ok(Check::Next) } else { Err(Code::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        }
        let same = |batch: &&RecentBatch| {
            batch.first_sequence == header.base_sequence && batch.last_sequence == header.last_sequence()
        };
        if let Some(batch) = known.recent.iter().find(same) {
            let RecentBatch { base_offset, append_time, .. } = *batch;
            return Ok(Check::Duplicate { base_offset, append_time });
        }
        let expected = known.recent.back().map_or(0, |last| advance_sequence(last.last_sequence, 1));
        if header.base_sequence == expected { Ok(Check::Next) } else { Err(Code::OUT_OF_ORDER_SEQUENCE_NUMBER) }
    }

    /// Notes a stored batch of a producer. `append_time` is what its producer was told, `now` the time of storing.
    pub(super) fn record(&mut self, header: &BatchHeader, append_time: i64, now: i64, limit: Limit) {
        if header.producer_id < 0 {
            return;
        }
        if !self.by_id.contains_key(&header.producer_id) && self.by_id.len() >= limit.count {
            self.forget_longest_idle();
        }
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            recent: VecDeque::new(),
            open_since: None,
            seen: now,
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        producer.seen = now;
        producer.recent.push_back(RecentBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            append_time,
        });
        if producer.recent.len() > REMEMBERED_BATCHES {
            producer.recent.pop_front();
        }
        if header.is_transactional() && producer.open_since.is_none() {
            producer.open_since = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
    }

    /// Notes a control batch; returns the transaction if that aborted one.
    pub(super) fn end(&mut self, header: &BatchHeader, marker: Marker) -> Option<AbortedTransaction> {
        let producer = self.by_id.get_mut(&header.producer_id)?;
        if header.producer_epoch > producer.epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        let first_offset = producer.open_since.take()?;
        self.open.remove(&first_offset);
        (marker == Marker::Abort).then_some(AbortedTransaction {
            producer_id: header.producer_id,
            first_offset,
            last_offset: header.base_offset,
        })
    }

    pub(super) fn expire(&mut self, limit: Limit, now: i64) {
        self.by_id
            .retain(|_, producer| producer.open_since.is_some() || producer.seen > now.saturating_sub(limit.idle_ms));
    }

    fn forget_longest_idle(&mut self) {
        let idle = self.by_id.iter().filter(|(_, producer)| producer.open_since.is_none());
        if let Some(id) = idle.min_by_key(|(_, producer)| producer.seen).map(|(id, _)| *id) {
            self.by_id.remove(&id);
        }
    }
}
