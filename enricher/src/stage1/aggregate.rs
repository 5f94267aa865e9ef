//! Partial records in the making: samples added up by level and key.

use super::generation::Of;
use super::names::Names;
use super::record::{Record, empty_catch_all};
use crate::coarsen::{Coarse, Member, Shape, noisiest, shape_of};
use crate::join::Join;
use crate::key::{Key, internal_partition};
use crate::observe::Observation;
use foldhash::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::ledger::Reporter;
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
    pub(super) domains: Domains<'a>,
}

/// The names by which the end that made the report had asked for the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Domains<'a> {
    of_initiator: bool,
    /// By the address behind a service and by the address that was asked for: they may be the same.
    names: [&'a [Arc<str>]; 2],
}

impl<'a> Domains<'a> {
    /// The names that a sample's reporter knew.
    pub(super) fn of(o: &Observation<'_>, names: &'a Names) -> Self {
        let of_initiator = o.reporter == Reporter::Responder;
        let (local, far) = if of_initiator { (&o.responder, &o.initiator) } else { (&o.initiator, &o.responder) };
        let seen = if o.forward == of_initiator { o.sample.source } else { o.sample.destination };
        let real = far.ask.address;
        let seen = if seen == real { &[] } else { names.of(local.ask.address, seen) };
        Self { of_initiator, names: [names.of(local.ask.address, real), seen] }
    }

    pub(super) fn initiator(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.names.into_iter().flatten().filter(|_| self.of_initiator)
    }

    pub(super) fn responder(&self) -> impl Iterator<Item = &'a Arc<str>> {
        self.names.into_iter().flatten().filter(|_| !self.of_initiator)
    }
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
    /// How many of them are no catch-alls.
    counted: usize,
    coarse: Coarse,
    /// Whether nothing more is worth coarsening: what exceeds the limit goes to the catch-alls.
    exhausted: bool,
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
    /// Adds an observation at each of its levels. The answer is how many samples became coarse.
    pub(super) fn add(&mut self, observation: &Observation<'_>, at: &At<'_>) -> u64 {
        let mut coarsened = 0;
        for level in levels(at.settings, observation.policy_drops) {
            let records = self.levels.entry(level).or_default();
            let (samples, members) = records.add(level, observation, at, &mut self.bytes);
            coarsened += samples;
            self.members += members;
        }
        coarsened
    }

    pub(super) fn close(
        self,
        of: &Of<'_>,
        settings: &RecordSettings,
        join: &impl Join,
        batches: &mut Vec<(i32, PartialBatch)>,
    ) {
        let mut by_internal: BTreeMap<i32, Vec<Partial>> = BTreeMap::new();
        for (number, level) in self.levels {
            let mut records: Vec<(Box<[u8]>, Record)> = level.records.into_iter().collect();
            records.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (bytes, record) in records {
                let key = bytes.get(8..).unwrap_or_default();
                let routing = key.get(..record.routing()).unwrap_or(key);
                let internal = internal_partition(routing, settings.internal_partitions);
                let mut partial = record.finish();
                debug_assert!(is_key_of(&partial, &bytes), "stage 2 would take {partial:?} for another record");
                join.place(settings, &mut partial.initiator);
                join.place(settings, &mut partial.responder);
                by_internal.entry(internal).or_default().push(partial);
            }
            announce(settings.internal_partitions, &mut by_internal, number);
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

/// Whether stage 2 will find this key, which begins with its window, in the record's fields.
fn is_key_of(partial: &Partial, key: &[u8]) -> bool {
    let mut bytes = Vec::new();
    Key::of(partial).is_some_and(|found| {
        write_key(&mut bytes, partial.window, &found);
        bytes == key
    })
}

/// Tells every internal partition that keys of a level were coarsened, by an empty catch-all where there is no other
/// coarsened record: a record there that lacks a report must not conclude that nothing arrived.
fn announce(internal_partitions: i32, by_internal: &mut BTreeMap<i32, Vec<Partial>>, level: Level) {
    let coarse = |partial: &&Partial| partial.coarsened && partial.level == level.number();
    let Some(empty) = by_internal.values().flatten().find(coarse).map(empty_catch_all) else { return };
    for internal in 0..internal_partitions {
        let partials = by_internal.entry(internal).or_default();
        if !partials.iter().any(|partial| coarse(&partial)) {
            partials.push(empty.clone());
        }
    }
}

impl Records {
    /// Adds an observation. The answers are how many samples became coarse, and how many members sets gained.
    fn add(&mut self, level: Level, o: &Observation<'_>, at: &At<'_>, bytes: &mut Vec<u8>) -> (u64, usize) {
        let instance = level.keeps_addresses();
        let key = Key {
            level,
            origin: at.origin,
            protocol: o.sample.protocol,
            initiator: o.initiator.key(instance),
            responder: o.responder.key(instance),
            shape: Shape::Whole,
        };
        write_key(bytes, at.window, &key);
        let mut coarsened = 0;
        if !self.records.contains_key(&**bytes) {
            let limit = usize::try_from(at.settings.keys_limit).unwrap_or(usize::MAX);
            let shape;
            (shape, coarsened) = self.make_place(&key, at.window, limit, bytes);
            let routing = write_key(bytes, at.window, &key.coarsened(shape));
            coarsened += u64::from(shape != Shape::Whole);
            if !self.records.contains_key(&**bytes) {
                self.counted += usize::from(shape != Shape::Nobody);
                self.records.insert(bytes.as_slice().into(), Record::new(level, o, at, shape, routing));
            }
        }
        (coarsened, self.records.get_mut(&**bytes).map_or(0, |record| record.add(level, o, at)))
    }

    /// What is left of a key that has no record: as much as there is place for, after the noisiest keys were coarsened
    /// if they had to be. And how many samples became coarse by that.
    fn make_place(&mut self, key: &Key<'_>, window: Millis, limit: usize, bytes: &mut Vec<u8>) -> (Shape, u64) {
        let full = self.counted >= limit;
        if !full && self.coarse.is_empty() {
            return (Shape::Whole, 0);
        }
        let groups = key.groups(window, bytes);
        let mut coarsened = 0;
        loop {
            let shape = shape_of(&self.coarse, groups.initiator, groups.responder);
            write_key(bytes, window, &key.coarsened(shape));
            if self.counted < limit || self.records.contains_key(&**bytes) {
                return (shape, coarsened);
            }
            if self.exhausted {
                return (Shape::Nobody, coarsened);
            }
            coarsened += self.coarsen(limit, bytes);
        }
    }

    /// Coarsens the noisiest keys. An eighth of the limit or nothing at all is freed, so that looking for them is rare.
    fn coarsen(&mut self, limit: usize, bytes: &mut Vec<u8>) -> u64 {
        let goal = (limit / 8).max(1);
        let members: Vec<Member> = self.records.values().filter_map(|record| record.member(bytes)).collect();
        let found = noisiest(&members, &self.coarse, goal);
        self.exhausted = found.freed < goal;
        self.coarse.extend(found.groups);
        let coarse = &self.coarse;
        let shape = |record: &Record, bytes: &mut Vec<u8>| {
            let member = record.member(bytes)?;
            let shape = shape_of(coarse, member.initiator, member.responder);
            (shape != Shape::Whole && !(shape == Shape::Pair && member.is_pair)).then_some(shape)
        };
        let taken: Vec<(Record, Shape)> = {
            let shapes: Vec<(Box<[u8]>, Shape)> =
                self.records.iter().filter_map(|(key, record)| Some((key.clone(), shape(record, bytes)?))).collect();
            shapes.into_iter().filter_map(|(key, shape)| Some((self.records.remove(&key)?, shape))).collect()
        };
        let mut coarsened = 0;
        for (mut record, shape) in taken {
            coarsened += if record.is_coarse() { 0 } else { record.samples() };
            record.coarsen(shape);
            record.write_key(bytes);
            match self.records.get_mut(&**bytes) {
                Some(known) => {
                    known.merge(record);
                    self.counted -= 1;
                }
                None => {
                    self.records.insert(bytes.as_slice().into(), record);
                }
            }
        }
        coarsened
    }
}

/// Writes window and key; the answer is how many of the key's bytes choose the internal partition.
fn write_key(bytes: &mut Vec<u8>, window: Millis, key: &Key<'_>) -> usize {
    bytes.clear();
    bytes.extend_from_slice(&window.to_be_bytes());
    key.write(bytes)
}
