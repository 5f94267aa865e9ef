//! Stage 2: one internal partition, from partial records of all raw partitions to enriched records.
//!
//! An [`InternalPartition`] is a state machine without IO and without a clock. A generation closes when every raw
//! partition in force for it has said, by a marker, that it has written it; neither watermark nor grace is needed.

use crate::history::SettingsHistory;
use crate::merge::Merges;
use crate::position::Stage2Position;
use foldhash::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_flow::Millis;
use weir_flow::time::NEVER;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::{SharedSide, Sides};
use weir_schemas::ledger::Ledger;
use weir_schemas::partial::{DnsBatch, MissingTicks, Partial, PartialBatch, PartialMessage};

mod arrival;
mod close;
mod dns;
mod explain;
mod limit;
mod sets;
mod slots;

#[cfg(test)]
mod tests;

/// A record as it is made: its ends are shared with others.
pub type Enriched = weir_schemas::enriched::Enriched<SharedSide>;

/// Memory of a partial record without its ends and sets, roughly.
const PARTIAL: usize = 1_100;
/// Memory of a partial DNS record without its answers, roughly.
const DNS: usize = 1_200;

/// The most bytes of ends that are kept from generation to generation, roughly. Beyond, all are forgotten.
const ENDS: usize = 64 << 20;

/// How many ends of partial records are looked up side by side.
const SIDE_BY_SIDE: usize = 64;

/// What is written when generations are closed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closed {
    /// The records, in the order of generation, window, level and key.
    pub records: Vec<Enriched>,
    /// The DNS records, in the same order.
    pub dns: Vec<Dns>,
    /// Lines of the ledger.
    pub ledger: Vec<Ledger>,
    /// How many records were coarsened because a level had too many keys.
    pub coarsened: u64,
    /// On how many records a count of what is not listed is a lower bound only.
    pub inexact: u64,
    /// Of how many records the lists were shortened, because no message would hold them.
    pub shortened: u64,
    /// How many partial records were merged.
    pub partials: u64,
    /// How many generations held something.
    pub generations: u64,
}

/// Counters of an internal partition since it was assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Partial records read.
    pub partials: u64,
    /// Markers read.
    pub markers: u64,
    /// Partial records of generations that were closed or marked already.
    pub repeated: u64,
    /// Partial records that could not be placed: of a level that does not exist or of another cluster.
    pub refused: u64,
}

/// One generation that is not closed.
#[derive(Debug)]
pub(crate) struct Held {
    first_offset: i64,
    slots: slots::Slots,
    dns: dns::Slots,
    /// Ticks that were missing by node, by raw partition.
    pub(crate) missing: BTreeMap<i32, Vec<MissingTicks>>,
    memory: usize,
}

/// One internal partition in memory.
#[derive(Debug)]
pub struct InternalPartition {
    cluster: Arc<str>,
    partition: i32,
    settings: Arc<SettingsHistory>,
    next_offset: i64,
    written: Millis,
    held: BTreeMap<Millis, Held>,
    markers: BTreeMap<i32, Millis>,
    ends: Ends,
    counts: Counts,
}

/// The ends of all records, from generation to generation: the next window's are the last one's. Nothing depends on what is
/// kept.
#[derive(Debug, Default)]
struct Ends {
    merges: Merges,
    of_keys: slots::Ends,
}

impl Ends {
    fn memory(&self) -> usize {
        self.merges.memory() + self.of_keys.memory()
    }
}

impl InternalPartition {
    /// An internal partition as a new owner takes it over: it reads on from the position's offset.
    #[must_use]
    pub fn new(cluster: &str, partition: i32, settings: Arc<SettingsHistory>, position: Stage2Position) -> Self {
        Self {
            cluster: Arc::from(cluster),
            partition,
            settings,
            next_offset: position.offset,
            written: position.written,
            held: BTreeMap::new(),
            markers: BTreeMap::new(),
            ends: Ends::default(),
            counts: Counts::default(),
        }
    }

    /// Takes the next message of the log. Messages come in the order of their offsets.
    pub fn read(&mut self, offset: i64, message: PartialMessage) {
        self.next_offset = offset.saturating_add(1);
        match message {
            PartialMessage::Partials(batch) => self.read_partials(offset, batch),
            PartialMessage::Dns(batch) => self.read_dns(offset, batch),
            PartialMessage::Marker(marker) => {
                self.counts.markers += 1;
                if marker.generation <= self.written || *marker.cluster != *self.cluster {
                    return;
                }
                let held = self.hold(marker.generation, offset);
                held.memory += marker.missing.len() * 64 + 64;
                held.missing.insert(marker.partition, marker.missing);
                let last = self.markers.entry(marker.partition).or_insert(NEVER);
                *last = (*last).max(marker.generation);
            }
        }
    }

    /// Whether a message of `count` partial records is to be held: of this cluster, and neither written nor marked.
    fn is_new(&mut self, cluster: &str, partition: i32, generation: Millis, count: usize) -> bool {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.counts.partials += count;
        if *cluster != *self.cluster {
            self.counts.refused += count;
            return false;
        }
        let marked = self.markers.get(&partition).copied().unwrap_or(NEVER);
        let repeated = generation <= self.written || generation <= marked;
        self.counts.repeated += if repeated { count } else { 0 };
        !repeated
    }

    fn read_partials(&mut self, offset: i64, batch: PartialBatch) {
        if !self.is_new(&batch.cluster, batch.partition, batch.generation, batch.partials.len()) {
            return;
        }
        if self.ends.memory() > ENDS {
            self.forget();
        }
        let mut ends = std::mem::take(&mut self.ends);
        let mut refused = 0;
        let held = self.hold(batch.generation, offset);
        let mut partials = batch.partials;
        share(&mut partials, &mut ends.merges.sides);
        let memory: Vec<usize> = partials.iter().map(memory_of).collect();
        let taken = held.slots.insert_all(batch.partition, partials, &mut ends.of_keys);
        for (taken, memory) in taken.into_iter().zip(memory) {
            held.memory += if taken { memory } else { 0 };
            refused += u64::from(!taken);
        }
        self.ends = ends;
        self.counts.refused += refused;
    }

    fn read_dns(&mut self, offset: i64, batch: DnsBatch) {
        if !self.is_new(&batch.cluster, batch.partition, batch.generation, batch.dns.len()) {
            return;
        }
        let held = self.hold(batch.generation, offset);
        for partial in batch.dns {
            held.memory += DNS + partial.answers.len() * 64;
            held.dns.entry(dns::key_bytes(&partial)).or_default().insert(batch.partition, partial);
        }
    }

    fn hold(&mut self, generation: Millis, offset: i64) -> &mut Held {
        self.held.entry(generation).or_insert_with(|| Held {
            first_offset: offset,
            slots: slots::Slots::default(),
            dns: dns::Slots::new(),
            missing: BTreeMap::new(),
            memory: 256,
        })
    }

    /// The last generation that may be written now; nothing when that is already written. At most `most` generations
    /// that hold something are closed at once.
    #[must_use]
    pub fn ready(&self, most: usize) -> Option<Millis> {
        let mut last = self.settings.complete(|p| self.markers.get(&p).copied().unwrap_or(NEVER));
        if let Some((generation, _)) = self.held.range(..=last).nth(most.max(1)) {
            last = generation.saturating_sub(self.settings.at(*generation).window);
        }
        (last > self.written).then_some(last)
    }

    /// Closes all generations up to `last`, which [`InternalPartition::ready`] has named.
    pub fn close(&mut self, last: Millis) -> Closed {
        let mut closed = Closed::default();
        while let Some(entry) = self.held.first_entry().filter(|entry| *entry.key() <= last) {
            let (generation, held) = entry.remove_entry();
            let of = close::Of {
                cluster: &self.cluster,
                partition: self.partition,
                generation,
                settings: self.settings.at(generation),
                reports: self.settings.rules_at(generation).reports(),
            };
            close::close(held, &of, &mut self.ends.merges, &mut closed);
        }
        self.written = last;
        closed
    }

    /// Where a new owner would start: O and T.
    #[must_use]
    pub fn position(&self) -> Stage2Position {
        let offset = self.held.values().map(|held| held.first_offset).min().unwrap_or(self.next_offset);
        Stage2Position { offset, written: self.written }
    }

    /// The next offset to read.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// T: the last generation written.
    #[must_use]
    pub fn written(&self) -> Millis {
        self.written
    }

    /// The last generation that each raw partition is known to have written, for those that are ahead of T.
    #[must_use]
    pub fn markers(&self) -> &BTreeMap<i32, Millis> {
        &self.markers
    }

    /// How many generations are open.
    #[must_use]
    pub fn open_generations(&self) -> usize {
        self.held.len()
    }

    /// Bytes held, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.held.values().map(|held| held.memory).sum::<usize>() + self.ends.memory()
    }

    /// Forgets what is kept from generation to generation only to be quicker; it is found out anew.
    pub fn forget(&mut self) {
        self.ends = Ends::default();
    }

    /// What was counted since the partition was assigned.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Puts ends that are known already in the place of those of a message, which has each of its ends once.
fn share(partials: &mut [Partial], sides: &mut Sides) {
    let mut places: HashMap<usize, usize> = HashMap::default();
    let mut ends: Vec<SharedSide> = Vec::new();
    let mut numbers = Vec::with_capacity(partials.len());
    for partial in &*partials {
        numbers.push([&partial.initiator, &partial.responder].map(|side| {
            *places.entry(side.bytes().as_ptr().addr()).or_insert_with(|| {
                ends.push(side.with_port(None));
                ends.len() - 1
            })
        }));
    }
    for some in ends.chunks_mut(SIDE_BY_SIDE) {
        sides.fetch(some);
        some.iter_mut().for_each(|side| *side = sides.share(side));
    }
    for (partial, [initiator, responder]) in partials.iter_mut().zip(numbers) {
        for (side, number) in [(&mut partial.initiator, initiator), (&mut partial.responder, responder)] {
            if let Some(known) = ends.get(number) {
                *side = known.with_port(side.port());
            }
        }
    }
}

fn memory_of(partial: &Partial) -> usize {
    PARTIAL + partial.behind.memory()
}
