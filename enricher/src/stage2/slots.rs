//! The partial records of a generation by key, as they come and in the order of their keys.

use crate::key::{EndBytes, EndKey, Key, Part as _, head, write_whole};
use crate::pages::Pages;
use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::ops::Range;
use weir_flow::Level;
use weir_schemas::enriched::{Report, SharedSide};
use weir_schemas::partial::Partial;

#[cfg(test)]
mod tests;

/// Memory of an end whose part of keys is known, roughly.
const KNOWN: usize = 112;

/// How many keys are read side by side when a generation is closed.
const SIDE_BY_SIDE: usize = 8;

/// How many partial records are looked up side by side.
const READ_TOGETHER: usize = 64;

/// No number.
const NONE: u32 = u32::MAX;

/// What raw partitions know of the records of one generation. Keys stand in one list of bytes and partial records in
/// another, because there are many and each is looked at once.
#[derive(Debug, Default)]
pub(super) struct Slots {
    numbers: HashTable<u32>,
    slots: Pages<Slot>,
    keys: Vec<u8>,
    twins: Pages<Twin>,
    /// The partial records of each message, where they were read: they are large.
    messages: Vec<Vec<Partial>>,
    bytes: Vec<u8>,
    hasher: RandomState,
}

/// What ends are of keys, for each once: it is read from what is said of an end, and many records have few ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// By where a side's bytes are and whether the level keeps addresses; with the side, so that nothing else gets there.
    known: HashMap<(usize, bool), (SharedSide, Written)>,
    bytes: Vec<u8>,
}

/// Where an end's address and name stand.
#[derive(Clone, Copy, Debug)]
struct Written {
    address: usize,
    name: usize,
    end: usize,
}

impl Ends {
    fn write(&mut self, side: &SharedSide, keeps_addresses: bool) -> Written {
        let Self { known, bytes } = self;
        let entry = known.entry((side.bytes().as_ptr().addr(), keeps_addresses));
        let (_, written) = entry.or_insert_with(|| {
            let view = side.view();
            let end = EndKey::of(&view);
            let address = bytes.len();
            end.push_address(bytes);
            let name = bytes.len();
            end.push_name(keeps_addresses, bytes);
            (side.with_port(None), Written { address, name, end: bytes.len() })
        });
        *written
    }

    fn end(&self, written: Written, port: Option<u16>) -> EndBytes<'_> {
        let read = |from, to| self.bytes.get(from..to).unwrap_or_default();
        EndBytes { address: read(written.address, written.name), name: read(written.name, written.end), port }
    }

    /// Bytes held, roughly.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.known.len() * KNOWN
    }

    /// Appends the key of a record; nothing where its level does not exist.
    fn write_key(&mut self, partial: &Partial, key: &mut Vec<u8>) -> Option<usize> {
        if partial.coarsened {
            return Key::with(partial, |found| found.write(key));
        }
        let level = Level::from_number(i64::from(partial.level))?;
        let [initiator, responder] =
            [&partial.initiator, &partial.responder].map(|side| self.write(side, level.keeps_addresses()));
        let (initiator, responder) =
            (self.end(initiator, partial.initiator.port()), self.end(responder, partial.responder.port()));
        Some(write_whole(key, (level, partial.origin, partial.protocol), &initiator, &responder))
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    /// Where window (8 bytes, big-endian) and key stand.
    start: usize,
    length: usize,
    /// How many bytes of the key are the tuple.
    routing: usize,
    first: u32,
}

/// The key of a partial record that is looked up.
#[derive(Debug)]
struct Found {
    /// Where it stands.
    key: Range<usize>,
    hash: u64,
    routing: usize,
}

/// What one raw partition knows of a record; a repeat replaces it.
#[derive(Clone, Copy, Debug)]
struct Twin {
    partition: i32,
    next: u32,
    partial: Place,
}

/// Where a partial record is: of which message, and which of it.
#[derive(Clone, Copy, Debug)]
struct Place {
    message: u32,
    place: u32,
}

impl Place {
    fn of<P>(self, messages: &[Vec<P>]) -> Option<&P> {
        messages.get(usize::try_from(self.message).ok()?)?.get(usize::try_from(self.place).ok()?)
    }

    fn take<'p>(self, messages: &mut [Vec<Option<&'p mut Partial>>]) -> Option<&'p mut Partial> {
        messages.get_mut(usize::try_from(self.message).ok()?)?.get_mut(usize::try_from(self.place).ok()?)?.take()
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(NONE)
}

impl Slot {
    fn key<'k>(&self, keys: &'k [u8]) -> &'k [u8] {
        keys.get(self.start..self.start.saturating_add(self.length)).unwrap_or_default()
    }
}

impl Slots {
    /// Takes what a raw partition knows of records; for each whether its level exists. Records are looked up side by side, so
    /// that they wait for memory together.
    pub(super) fn insert_all(&mut self, partition: i32, partials: Vec<Partial>, ends: &mut Ends) -> Vec<bool> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let message = number(self.messages.len());
        let mut taken = Vec::with_capacity(partials.len());
        let mut found: Vec<Option<Found>> = Vec::with_capacity(READ_TOGETHER);
        for some in partials.chunks(READ_TOGETHER) {
            bytes.clear();
            for partial in some {
                let start = bytes.len();
                bytes.extend_from_slice(&partial.window.to_be_bytes());
                let routing = ends.write_key(partial, &mut bytes);
                let key = start..bytes.len();
                let hash = self.hasher.hash_one(bytes.get(key.clone()).unwrap_or_default());
                found.push(routing.map(|routing| Found { key, hash, routing }));
            }
            self.read(found.iter().flatten());
            for found in found.drain(..) {
                let place = number(taken.len());
                taken.push(found.is_some());
                if let Some(Found { key, hash, routing }) = found {
                    let key = bytes.get(key).unwrap_or_default();
                    self.put((hash, key), routing, partition, Place { message, place });
                }
            }
        }
        self.messages.push(partials);
        self.bytes = bytes;
        taken
    }

    /// Reads what records are compared with.
    fn read<'f>(&self, found: impl Iterator<Item = &'f Found> + Clone) {
        let numbers = found.filter_map(|found| {
            let of = |slot: &&u32| self.slots.get(**slot).is_some_and(|slot| slot.hash == found.hash);
            self.numbers.find(found.hash, |slot| of(&slot))
        });
        let slots: Vec<&Slot> = numbers.filter_map(|number| self.slots.get(*number)).collect();
        let keys = slots.iter().map(|slot| slot.key(&self.keys));
        let read = keys.map(|key| key.first().copied().unwrap_or_default() ^ key.last().copied().unwrap_or_default());
        black_box(read.fold(0, |all, one| all ^ one));
        let twins = slots.iter().filter_map(|slot| self.twins.get(slot.first));
        black_box(twins.fold(0, |all, twin| all ^ twin.partition));
    }

    fn put(&mut self, (hash, key): (u64, &[u8]), routing: usize, partition: i32, partial: Place) {
        let Self { numbers, slots, keys, twins, .. } = self;
        let same = |slot: &u32| slots.get(*slot).is_some_and(|slot| slot.hash == hash && slot.key(keys) == key);
        let found = numbers.find(hash, same).copied();
        let slot = found.unwrap_or_else(|| {
            let slot = Slot { hash, start: keys.len(), length: key.len(), routing, first: NONE };
            keys.extend_from_slice(key);
            slots.push(slot);
            let new = number(slots.len() - 1);
            numbers.insert_unique(hash, new, |slot| slots.get(*slot).map_or(0, |slot| slot.hash));
            new
        });
        let Some(slot) = slots.get_mut(slot) else { return };
        let mut at = slot.first;
        while let Some(twin) = twins.get_mut(at) {
            if twin.partition == partition {
                twin.partial = partial;
                return;
            }
            at = twin.next;
        }
        twins.push(Twin { partition, next: slot.first, partial });
        slot.first = number(twins.len() - 1);
    }

    /// How many partial records there are.
    pub(super) fn len(&self) -> usize {
        self.twins.len()
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.slots.len()
    }

    /// The partial records.
    pub(super) fn partials(&self) -> impl Iterator<Item = &Partial> {
        self.twins.iter().filter_map(|twin| twin.partial.of(&self.messages))
    }

    /// Gives the keys in order, each with how many of its bytes are the tuple and with its partial records in the order of
    /// their raw partitions.
    pub(super) fn in_order<'p>(
        &'p mut self,
        mut take: impl FnMut(&[u8], usize, &mut dyn Iterator<Item = &'p mut Partial>),
    ) {
        let Self { slots, keys, twins, messages, .. } = self;
        let mut partials: Vec<Vec<Option<&mut Partial>>> =
            messages.iter_mut().map(|message| message.iter_mut().map(Some).collect()).collect();
        let mut order: Vec<((u64, u128), u32)> =
            (0..number(slots.len())).zip(slots.iter()).map(|(at, slot)| (head(slot.key(keys)), at)).collect();
        let key = |at: u32| slots.get(at).map_or(&[][..], |slot| slot.key(keys));
        order.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| key(*x).cmp(key(*y))));
        let mut found: Vec<(i32, &mut Partial)> = Vec::new();
        for group in order.chunks(SIDE_BY_SIDE) {
            read_twins(group.iter().filter_map(|(_, at)| slots.get(*at)), twins, &partials);
            for (_, at) in group {
                let Some(slot) = slots.get(*at) else { continue };
                let mut next = slot.first;
                while let Some(twin) = twins.get(next) {
                    found.extend(twin.partial.take(&mut partials).map(|partial| (twin.partition, partial)));
                    next = twin.next;
                }
                found.sort_by_key(|(partition, _)| *partition);
                take(slot.key(keys), slot.routing, &mut found.drain(..).map(|(_, partial)| partial));
            }
        }
    }
}

/// Reads from the partial records of some keys, so that they are waited for together.
fn read_twins<'s>(slots: impl Iterator<Item = &'s Slot>, twins: &Pages<Twin>, messages: &[Vec<Option<&mut Partial>>]) {
    let mut partials: Vec<&Partial> = Vec::with_capacity(2 * SIDE_BY_SIDE);
    for slot in slots {
        let mut next = slot.first;
        while let Some(twin) = twins.get(next) {
            partials.extend(twin.partial.of(messages).and_then(Option::as_deref));
            next = twin.next;
        }
    }
    let report = |report: &Option<Report>| report.as_ref().map_or(0, |report| report.counters.ended ^ report.resets);
    let read = partials.iter().map(|partial| {
        let Partial { by_initiator, by_responder, totals, samples, judgements, behind, .. } = partial;
        let lists = u64::from(judgements.is_empty()) ^ u64::from(behind.is_empty());
        report(by_initiator) ^ report(by_responder) ^ totals.ended ^ samples ^ lists
    });
    black_box(read.fold(0, |all, one| all ^ one));
}
