//! Sequence numbers and cumulative counters of one start of the agent: seen = published + lost, by construction.

use crate::tick::{Tick, add, losses, totals};
use std::collections::BTreeMap;
use weir_flow::Millis;
use weir_schemas::raw::{DnsSample, Origin, RawBatch, Sample, Totals};
use weir_schemas::{EncodeError, encode};

#[cfg(test)]
mod tests;

/// A message value larger than this is split.
pub const MESSAGE_LIMIT: usize = 900_000;

/// The name of what was seen and is neither published nor lost by a name.
const UNACCOUNTED: &str = "unaccounted";

/// Who writes, and since when.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's id.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// This start of the process.
    pub boot: String,
    /// Length of a tick, ms.
    pub tick_length: Millis,
    /// What produced the samples.
    pub origin: Origin,
}

/// Makes batches of ticks, in order.
#[derive(Clone, Debug)]
pub struct Accounting {
    identity: Identity,
    sequence: u64,
    /// Batches of the running tick that are made already: it came in parts.
    begun: u32,
    published: Totals,
    lost: BTreeMap<String, Totals>,
}

impl Accounting {
    /// Begins at sequence 0 with nothing seen.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self { identity, sequence: 0, begun: 0, published: Totals::default(), lost: BTreeMap::new() }
    }

    /// All that was put into batches so far.
    #[must_use]
    pub fn published(&self) -> Totals {
        self.published
    }

    /// The batches of one tick, or of a part of one: one, or as many as keep each encoded value within `limit` bytes. Each
    /// part's `seen` and `published` include the parts up to itself, so that the sum holds in every batch; the last part's
    /// are the tick's. How many parts there are is certain in the last; those before say that at least one more follows.
    ///
    /// # Errors
    /// When a batch cannot be encoded. Nothing is counted then. The tick's samples are moved while it is encoded, since they
    /// are many, and are back afterwards.
    pub fn batches(&mut self, tick: &mut Tick, limit: usize) -> Result<Vec<Encoded>, EncodeError> {
        let mut count = 1;
        loop {
            let (after, encoded) = self.split(tick, count)?;
            let largest = encoded.iter().map(|part| part.value.len()).max().unwrap_or(0);
            // A single sample is far below any limit; if it were not, it must go all the same.
            let most = tick.samples.len().max(tick.dns.len()).max(1);
            if largest <= limit || count >= most {
                *self = after;
                return Ok(encoded);
            }
            let wanted = largest.saturating_mul(count).div_ceil(limit.max(1));
            count = wanted.max(count + 1).min(most);
        }
    }

    /// As [`Accounting::batches`], without encoding: one batch.
    #[must_use]
    pub fn batch(&mut self, tick: &Tick) -> RawBatch {
        self.take_losses(tick);
        let parts = self.begun.saturating_add(1).saturating_add(u32::from(tick.more));
        let batch = self.part(tick, tick.samples.clone(), tick.dns.clone(), parts);
        self.end(tick);
        batch
    }

    fn split(&self, tick: &mut Tick, count: usize) -> Result<(Self, Vec<Encoded>), EncodeError> {
        let mut after = self.clone();
        after.take_losses(tick);
        let size = |all: usize| all.div_ceil(count.max(1)).max(1);
        let (each, questions) = (size(tick.samples.len()), size(tick.dns.len()));
        let here = tick.samples.len().div_ceil(each).max(tick.dns.len().div_ceil(questions)).max(1);
        let parts = u32::try_from(here).unwrap_or(u32::MAX);
        let parts = after.begun.saturating_add(parts).saturating_add(u32::from(tick.more));
        let (mut samples, mut dns) = (std::mem::take(&mut tick.samples), std::mem::take(&mut tick.dns));
        let mut encoded = Ok(Vec::with_capacity(here));
        for _ in 0..here {
            let later = (samples.split_off(each.min(samples.len())), dns.split_off(questions.min(dns.len())));
            let batch = after.part(tick, samples, dns, parts);
            if let Ok(all) = &mut encoded {
                match encode(&batch) {
                    Ok(value) => all.push(Encoded { value, sequence: batch.sequence }),
                    Err(error) => encoded = Err(error),
                }
            }
            (samples, dns) = later;
            give_back(&mut tick.samples, batch.samples);
            give_back(&mut tick.dns, batch.dns);
        }
        after.end(tick);
        encoded.map(|encoded| (after, encoded))
    }

    fn end(&mut self, tick: &Tick) {
        if !tick.more {
            self.begun = 0;
        }
    }

    fn take_losses(&mut self, tick: &Tick) {
        for (reason, lost) in &tick.lost {
            add(self.lost.entry(reason.clone()).or_default(), *lost);
        }
        if tick.unaccounted != Totals::default() || self.lost.contains_key(UNACCOUNTED) {
            self.lost.insert(UNACCOUNTED.to_owned(), tick.unaccounted);
        }
    }

    fn part(&mut self, tick: &Tick, samples: Vec<Sample>, dns: Vec<DnsSample>, parts: u32) -> RawBatch {
        add(&mut self.published, totals(&samples));
        let mut seen = self.published;
        for lost in self.lost.values() {
            add(&mut seen, *lost);
        }
        let (sequence, part) = (self.sequence, self.begun);
        self.sequence += 1;
        self.begun = self.begun.saturating_add(1);
        RawBatch {
            dns,
            cluster: self.identity.cluster.clone(),
            node: self.identity.node.clone(),
            boot: self.identity.boot.clone(),
            sequence,
            tick: tick.start,
            tick_length: self.identity.tick_length,
            ticks: tick.ticks.max(1),
            part,
            parts,
            origin: self.identity.origin,
            seen,
            published: self.published,
            lost: losses(&self.lost),
            samples,
        }
    }
}

/// A batch as it goes to the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The message value.
    pub value: Vec<u8>,
    /// The batch's sequence number.
    pub sequence: u64,
}

/// Appends what was taken; nothing is copied where it is all that there is.
fn give_back<T>(to: &mut Vec<T>, mut taken: Vec<T>) {
    if to.is_empty() {
        *to = taken;
    } else {
        to.append(&mut taken);
    }
}
