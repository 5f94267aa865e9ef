//! Partial records in the making: samples added up by level and key.

use super::conversations::Conversations;
use super::generation::Of;
use super::record::{Counts, Record};
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
    /// By the level's number.
    levels: [Records; 4],
    members: usize,
    bytes: Vec<u8>,
}

/// The records of one level; a key begins with its window.
#[derive(Debug, Default)]
struct Records {
    /// Places in the list.
    numbers: HashMap<Box<[u8]>, u32>,
    list: Vec<Record>,
    counts: Vec<Counts>,
    /// Keys that are not catch-alls.
    regular: u32,
}

/// Where an observation is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Its record at each level that it is written at.
    pub(super) records: [Option<u32>; 4],
    /// At how many levels that is the catch-all.
    pub(super) coarsened: u64,
}

/// The levels of a sample: those of allowed flows, and those of denied ones too when a policy dropped some of it.
pub(super) fn levels(settings: &RecordSettings, policy_drops: bool) -> impl Iterator<Item = Level> + '_ {
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
    pub(super) fn add<'a>(
        &mut self,
        observation: &Observation<'a>,
        at: &At<'_>,
        conversations: &mut Conversations<'a>,
    ) -> u64 {
        let places = conversations
            .places(observation, || Places::find(observation, at, |level| self.place(level, observation, at)));
        for (records, number) in self.levels.iter_mut().zip(places.records) {
            let counts = number.and_then(|number| records.counts.get_mut(usize::try_from(number).ok()?));
            if let Some(counts) = counts {
                counts.add(observation, at.times);
            }
        }
        places.coarsened
    }

    /// The record of an observation at a level, which then knows its ends, and whether it is a catch-all.
    fn place(&mut self, level: Level, o: &Observation<'_>, at: &At<'_>) -> (u32, bool) {
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
        let [zero, one, two, three] = &mut self.levels;
        let records = match level {
            Level::Zero => zero,
            Level::One => one,
            Level::Two => two,
            Level::Three => three,
        };
        let mut found = records.numbers.get(&*self.bytes).copied();
        if found.is_none() {
            if records.regular >= at.settings.keys_limit {
                key.coarsened = true;
                routing = write_key(&mut self.bytes, at.window, &key);
                found = records.numbers.get(&*self.bytes).copied();
            } else {
                records.regular += 1;
            }
        }
        let number = found.unwrap_or_else(|| {
            let number = u32::try_from(records.list.len()).unwrap_or(u32::MAX);
            records.list.push(Record::new(level, o, at, key.coarsened, routing));
            records.counts.push(Counts::default());
            records.numbers.insert(self.bytes.as_slice().into(), number);
            number
        });
        let record = usize::try_from(number).ok().and_then(|number| records.list.get_mut(number));
        self.members += record.map_or(0, |record| record.merge(level, o, at));
        (number, key.coarsened)
    }

    pub(super) fn close(
        self,
        of: &Of<'_>,
        settings: &RecordSettings,
        join: &impl Join,
        batches: &mut Vec<(i32, PartialBatch)>,
    ) {
        let mut by_internal: BTreeMap<i32, Vec<Partial>> = BTreeMap::new();
        for level in self.levels {
            let mut numbers: Vec<(Box<[u8]>, u32)> = level.numbers.into_iter().collect();
            numbers.sort_unstable();
            let mut records: Vec<Option<(Record, Counts)>> =
                level.list.into_iter().zip(level.counts).map(Some).collect();
            for (bytes, number) in numbers {
                let record = usize::try_from(number).ok().and_then(|number| records.get_mut(number)?.take());
                let Some((record, counts)) = record else { continue };
                let key = bytes.get(8..).unwrap_or_default();
                let routing = key.get(..record.routing()).unwrap_or(key);
                let internal = internal_partition(routing, settings.internal_partitions);
                let mut partial = record.finish(counts);
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
        self.levels.iter().map(|level| level.list.len()).sum::<usize>() * RECORD + self.members * MEMBER
    }
}

/// Writes window and key; the answer is how many of the key's bytes choose the internal partition.
fn write_key(bytes: &mut Vec<u8>, window: Millis, key: &Key<'_>) -> usize {
    bytes.clear();
    bytes.extend_from_slice(&window.to_be_bytes());
    key.write(bytes)
}
