//! The records of one level by key, and what becomes of keys when there are too many.

use super::At;
use crate::coarsen::{Coarse, Member, Shape, noisiest, shape_of};
use crate::key::Key;
use crate::observe::Observation;
use crate::pages::Pages;
use crate::stage1::ends::KnownEnd;
use crate::stage1::numbers::Numbers;
use crate::stage1::record::Record;
use weir_flow::{Level, Millis, RecordSettings};

/// The records of one level; a key begins with its window.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Places in the list by key.
    pub(super) numbers: Numbers,
    /// Nothing stands where a record was that has become part of another.
    pub(super) list: Pages<Option<Record>>,
    /// How many of them are no catch-alls.
    pub(super) counted: usize,
    coarse: Coarse,
    /// Whether nothing more is worth coarsening: what exceeds the limit goes to the catch-alls.
    exhausted: bool,
    /// How often keys were coarsened, so that records are elsewhere than before.
    pub(super) rounds: u32,
}

/// The most keys of a level.
pub(super) fn limit(settings: &RecordSettings) -> usize {
    usize::try_from(settings.keys_limit).unwrap_or(usize::MAX)
}

impl Records {
    /// With room for so many keys.
    pub(super) fn with_room(keys: usize) -> Self {
        Self { numbers: Numbers::with_room(keys), ..Self::default() }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Record> {
        self.list.get(number)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Record> {
        self.list.get_mut(number)?.as_mut()
    }

    pub(super) fn take(&mut self, number: u32) -> Option<Record> {
        self.list.get_mut(number)?.take()
    }

    fn insert(&mut self, key: &[u8], record: Record) -> u32 {
        let hash = self.numbers.hash(key);
        self.insert_hashed((hash, key), record)
    }

    fn insert_hashed(&mut self, key: (u64, &[u8]), record: Record) -> u32 {
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(Some(record));
        self.numbers.insert(key, number);
        number
    }

    /// The record of an observation and whether it is coarse. And how many samples before became coarse.
    pub(super) fn find(
        &mut self,
        level: Level,
        o: &Observation<'_, '_>,
        ends: &[KnownEnd<'_>; 2],
        at: &At<'_>,
        bytes: &mut Vec<u8>,
    ) -> (u32, bool, u64) {
        let instance = level.keeps_addresses();
        let key = Key {
            level,
            origin: at.origin,
            protocol: o.sample.protocol,
            initiator: o.initiator.key(instance),
            responder: o.responder.key(instance),
            shape: Shape::Whole,
        };
        let routing = write_key(bytes, at.window, &key);
        let hash = self.numbers.hash(bytes);
        if let Some(number) = self.numbers.get_hashed(hash, bytes) {
            return (number, false, 0);
        }
        let limit = limit(at.settings);
        if self.counted < limit && self.coarse.is_empty() {
            self.counted += 1;
            let record = Record::new((level, Shape::Whole), o, ends, at, routing);
            return (self.insert_hashed((hash, bytes), record), false, 0);
        }
        let (shape, coarsened) = self.make_place(&key, at.window, limit, bytes);
        let routing = write_key(bytes, at.window, &key.coarsened(shape));
        let known = self.numbers.get(bytes);
        let number = known.unwrap_or_else(|| {
            self.counted += usize::from(shape != Shape::Nobody);
            self.insert(bytes, Record::new((level, shape), o, ends, at, routing))
        });
        (number, shape != Shape::Whole, coarsened)
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
            if self.counted < limit || self.numbers.get(bytes).is_some() {
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
        let members: Vec<Member> = self.list.iter().flatten().filter_map(|record| record.member(bytes)).collect();
        let found = noisiest(&members, &self.coarse, goal);
        self.exhausted = found.freed < goal;
        self.rounds = self.rounds.wrapping_add(1);
        self.coarse.extend(found.groups);
        let coarse = &self.coarse;
        let shape = |record: &Record, bytes: &mut Vec<u8>| {
            let member = record.member(bytes)?;
            let shape = shape_of(coarse, member.initiator, member.responder);
            (shape != Shape::Whole && !(shape == Shape::Pair && member.is_pair)).then_some(shape)
        };
        let list = &self.list;
        let of = |number: u32| list.get(number)?.as_ref();
        let shapes: Vec<(Box<[u8]>, u32, Shape)> = self
            .numbers
            .iter()
            .filter_map(|(key, number)| Some((key.into(), number, shape(of(number)?, bytes)?)))
            .collect();
        // All are taken out before the first is put back, because it may get the key of one that is still to be.
        let mut taken = Vec::with_capacity(shapes.len());
        for (key, number, shape) in shapes {
            self.numbers.remove(&key);
            taken.extend(self.take(number).map(|record| (record, shape)));
        }
        let mut coarsened = 0;
        for (mut record, shape) in taken {
            coarsened += if record.is_coarse() { 0 } else { record.samples() };
            record.coarsen(shape);
            record.write_key(bytes);
            let known = self.numbers.get(bytes);
            match known.and_then(|number| self.get_mut(number)) {
                Some(known) => {
                    known.merge(record);
                    self.counted -= 1;
                }
                None => {
                    self.insert(bytes, record);
                }
            }
        }
        coarsened
    }
}

/// Writes window and key; the answer is how many of the key's bytes choose the internal partition.
pub(super) fn write_key(bytes: &mut Vec<u8>, window: Millis, key: &Key<'_>) -> usize {
    bytes.clear();
    bytes.extend_from_slice(&window.to_be_bytes());
    key.write(bytes)
}
