//! Partial records in the making: samples added up by level and key.

use super::generation::Of;
use super::record::Record;
use crate::join::Join;
use crate::key::{Key, internal_partition};
use crate::observe::Observation;
use foldhash::HashMap;
use std::collections::BTreeMap;
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::partial::{Partial, PartialBatch};
use weir_schemas::raw::Origin;

/// Partials in one message; the edge splits messages that are too large all the same.
const PARTIALS_PER_MESSAGE: usize = 500;

/// Memory of a record without its sets, roughly.
const RECORD: usize = 1_500;
/// Memory of a member of a set, roughly.
const MEMBER: usize = 64;

/// Where an observation is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) settings: &'a RecordSettings,
    pub(super) cluster_known: bool,
    pub(super) window: Millis,
    pub(super) origin: Origin,
    /// First and last millisecond that the batch may speak of.
    pub(super) times: (Millis, Millis),
}

/// All records of one generation.
#[derive(Debug, Default)]
pub(super) struct Aggregate {
    levels: BTreeMap<Level, Records>,
    members: usize,
    bytes: Vec<u8>,
}

/// The records of one level; a key begins with its window.
#[derive(Debug, Default)]
struct Records {
    records: HashMap<Box<[u8]>, Record>,
    /// Keys that are not catch-alls.
    regular: u32,
}

/// The levels of a sample: those of allowed flows, and those of denied ones too when a policy dropped some of it.
fn levels(settings: &RecordSettings, policy_drops: bool) -> impl Iterator<Item = Level> + '_ {
    let denied =
        settings.levels_denied.iter().filter(move |level| policy_drops && !settings.levels_allowed.contains(level));
    let mut taken = [false; 4];
    settings.levels_allowed.iter().chain(denied).copied().filter(move |level| {
        let flag = taken.get_mut(usize::from(level.number()));
        flag.is_some_and(|flag| !std::mem::replace(flag, true))
    })
}

impl Aggregate {
    /// Adds an observation at each of its levels. The answer is at how many of them it went to the catch-all.
    pub(super) fn add(&mut self, observation: &Observation<'_>, at: &At<'_>) -> u64 {
        let mut coarsened = 0;
        for level in levels(at.settings, observation.policy_drops) {
            coarsened += u64::from(self.add_at(level, observation, at));
        }
        coarsened
    }

    fn add_at(&mut self, level: Level, o: &Observation<'_>, at: &At<'_>) -> bool {
        let instance = level.keeps_addresses();
        let mut key = Key {
            level,
            origin: at.origin,
            protocol: o.sample.protocol,
            initiator: o.initiator.key(instance),
            responder: o.responder.key(instance),
            coarsened: false,
        };
        let mut routing = write_key(&mut self.bytes, at.window, &key);
        let records = self.levels.entry(level).or_default();
        if !records.records.contains_key(&*self.bytes) {
            if records.regular >= at.settings.keys_limit {
                key.coarsened = true;
                routing = write_key(&mut self.bytes, at.window, &key);
            } else {
                records.regular += 1;
            }
            if !records.records.contains_key(&*self.bytes) {
                let record = Record::new(level, o, at, key.coarsened, routing);
                records.records.insert(self.bytes.as_slice().into(), record);
            }
        }
        if let Some(record) = records.records.get_mut(&*self.bytes) {
            self.members += record.add(level, o, at);
        }
        key.coarsened
    }

    pub(super) fn close(
        self,
        of: &Of<'_>,
        settings: &RecordSettings,
        join: &impl Join,
        batches: &mut Vec<(i32, PartialBatch)>,
    ) {
        let mut by_internal: BTreeMap<i32, Vec<Partial>> = BTreeMap::new();
        for (_, level) in self.levels {
            let mut records: Vec<(Box<[u8]>, Record)> = level.records.into_iter().collect();
            records.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (bytes, record) in records {
                let key = bytes.get(8..).unwrap_or_default();
                let routing = key.get(..record.routing()).unwrap_or(key);
                let internal = internal_partition(routing, settings.internal_partitions);
                let mut partial = record.finish();
                join.place(settings, &mut partial.initiator);
                join.place(settings, &mut partial.responder);
                by_internal.entry(internal).or_default().push(partial);
            }
        }
        for (internal, mut partials) in by_internal {
            while !partials.is_empty() {
                let rest = partials.split_off(partials.len().min(PARTIALS_PER_MESSAGE));
                let batch = PartialBatch {
                    cluster: of.cluster.to_owned(),
                    partition: of.partition,
                    generation: of.generation,
                    partials: std::mem::replace(&mut partials, rest),
                };
                batches.push((internal, batch));
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.levels.values().map(|level| level.records.len()).sum::<usize>() * RECORD + self.members * MEMBER
    }
}

/// Writes window and key; the answer is how many of the key's bytes choose the internal partition.
fn write_key(bytes: &mut Vec<u8>, window: Millis, key: &Key<'_>) -> usize {
    bytes.clear();
    bytes.extend_from_slice(&window.to_be_bytes());
    key.write(bytes)
}
