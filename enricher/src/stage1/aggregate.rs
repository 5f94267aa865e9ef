//! Partial records in the making: samples added up by level and key.

use super::counts::Counts;
use super::ends::Ends;
use super::generation::Of;
use super::names::{Domains, Names};
use super::record::empty_catch_all;
use super::routes::{Room, Routes};
use crate::join::Join;
use crate::judge::Judged;
use crate::key::{Key, internal_partition};
use crate::observe::{EndFound, Group, Observation};
use std::collections::BTreeMap;
use std::hint::black_box;
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::enriched::{Attribution, SharedSide, Verdict};
use weir_schemas::partial::{Partial, PartialBatch};
use weir_schemas::raw::Origin;

mod batch;
mod records;

pub(super) use batch::Batch;
use batch::{Fetched, Known};
use records::{Records, limit, write_key};

/// Partials in one message; the edge splits messages that are too large all the same.
const PARTIALS_PER_MESSAGE: usize = 500;

/// Memory of a record without its ends and sets, roughly.
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

/// All records of one generation.
#[derive(Debug, Default)]
pub(super) struct Aggregate {
    /// By the level's number.
    levels: [Records; 4],
    routes: Routes,
    members: usize,
    bytes: Vec<u8>,
}

/// Where an observation is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Its record at each level that it is written at.
    pub(super) records: [Option<u32>; 4],
    /// At how many levels that is a coarsened one.
    pub(super) coarse: u64,
}

/// How many records are read side by side before they are added to or taken.
const SIDE_BY_SIDE: usize = 16;

/// The number of a level, as an index.
fn index(level: Level) -> usize {
    usize::from(level.number())
}

/// The levels of a sample: those of what policies say of it, and those of denied flows too when a policy dropped some of
/// it. What is not known to be denied is taken for allowed.
fn levels(settings: &RecordSettings, denied: bool, policy_drops: bool) -> impl Iterator<Item = Level> + '_ {
    let allowed = settings.levels_allowed.iter().filter(move |_| !denied);
    let dropped = settings.levels_denied.iter().filter(move |_| denied || policy_drops);
    let mut taken = [false; 4];
    allowed.chain(dropped).copied().filter(move |level| {
        let flag = taken.get_mut(usize::from(level.number()));
        flag.is_some_and(|flag| !std::mem::replace(flag, true))
    })
}

impl Aggregate {
    pub(super) fn with_room(room: Room) -> Self {
        let levels = room.keys.map(Records::with_room);
        Self { levels, routes: Routes::with_room(room.routes), ..Self::default() }
    }

    /// How much it holds.
    pub(super) fn room(&self) -> Room {
        let mut keys = [0; 4];
        keys.iter_mut().zip(&self.levels).for_each(|(keys, level)| *keys = level.numbers.len());
        Room { keys, routes: self.routes.len() }
    }

    /// Counts an observation; [`Aggregate::flush`] adds what was counted to the records of each of its levels. The answer is
    /// how many samples became coarse. `batch` is what is known of the batch's conversations.
    pub(super) fn add(
        &mut self,
        observation: &Observation<'_, '_>,
        at: &At<'_>,
        names: &Names,
        batch: &mut Batch,
        ends: &mut Ends,
        judged: Option<&Judged>,
    ) -> u64 {
        if let Some(known) = batch.get_mut(observation) {
            known.counts.count(observation, at, judged);
            return known.places.coarse;
        }
        let rounds = self.rounds();
        let known = batch.fetched(observation, rounds).map(|places| (places, 0));
        let (places, coarsened) = known.unwrap_or_else(|| {
            let domains = Domains::of(observation, names);
            self.place(observation, &At { domains, ..*at }, batch, ends, judged)
        });
        if rounds != self.rounds() {
            batch.clear();
        }
        let mut counts = Counts::of(observation, judged);
        counts.count(observation, at, judged);
        let known = Known { places, counts };
        match batch.note(observation, known) {
            None => coarsened + places.coarse,
            Some(known) => {
                self.add_known(&known);
                coarsened + places.coarse
            }
        }
    }

    /// Finds where conversations are counted that are new in the batch, as far as the routes know it. Each step is taken for all
    /// of them side by side, so that they wait for memory together. `denied` is whether policies denied a conversation.
    pub(super) fn fetch(
        &self,
        (heard, denied): (Group<'_, '_>, impl Fn(Option<usize>) -> bool),
        at: &At<'_>,
        names: &Names,
        batch: &mut Batch,
        ends: &Ends,
    ) {
        let new: Vec<Observation<'_, '_>> = heard.first_of_each(batch.fetched_to).collect();
        let asked: Vec<&EndFound<'_>> = new.iter().flat_map(|o| [&*o.initiator, &*o.responder]).collect();
        let known = ends.find_all(&asked);
        let rounds = self.rounds();
        batch.fetched.clear();
        batch.fetched_from = batch.fetched_to;
        let mut met = Vec::new();
        for (observation, ends) in new.iter().zip(known.chunks_exact(2)) {
            let places = match *ends {
                [Some(initiator), Some(responder)] => {
                    let at = At { domains: Domains::of(observation, names), ..*at };
                    let denied = denied(observation.conversation);
                    let between = [initiator.number(), responder.number()];
                    self.routes.get(&Routes::between(between, observation, &at, denied))
                }
                _ => None,
            };
            if places.is_none() {
                met.extend(ends.iter().flatten());
            }
            let policy_drops = observation.policy_drops;
            batch.fetched.push(places.map(|places| Fetched { places, policy_drops, rounds }));
        }
        batch.fetched_to = batch.fetched_from + new.len();
        Ends::touch(&met);
    }

    /// Adds what was counted of a batch to the records.
    pub(super) fn flush(&mut self, batch: &mut Batch) {
        for group in batch.known.chunks_mut(SIDE_BY_SIDE) {
            self.read(group);
            for known in group.iter_mut().filter(|known| !known.counts.is_empty()) {
                self.add_known(known);
                known.counts.clear();
            }
        }
    }

    /// Reads from the records that are added to next, so that they are waited for together.
    fn read(&self, group: &[Known]) {
        let places = || group.iter().filter(|known| !known.counts.is_empty()).map(|known| known.places.records);
        let records = || {
            let each = places().flat_map(|places| self.levels.iter().zip(places));
            each.filter_map(|(records, number)| records.get(number?))
        };
        black_box(records().fold(0, |all, record| all ^ record.touch()));
        black_box(records().fold(0, |all, record| all ^ record.touch_judgements()));
    }

    fn add_known(&mut self, known: &Known) {
        for (records, number) in self.levels.iter_mut().zip(known.places.records) {
            if let Some(record) = number.and_then(|number| records.get_mut(number)) {
                record.add(&known.counts);
            }
        }
    }

    /// How often keys of any level were coarsened.
    fn rounds(&self) -> u32 {
        self.levels.iter().map(|records| records.rounds).fold(0, u32::wrapping_add)
    }

    /// Where an observation is counted, by what was found out about one like it; and how many samples became coarse by that.
    fn place(
        &mut self,
        o: &Observation<'_, '_>,
        at: &At<'_>,
        batch: &mut Batch,
        ends: &mut Ends,
        judged: Option<&Judged>,
    ) -> (Places, u64) {
        let denied = judged.is_some_and(|judged| judged.answer.verdict == Verdict::Deny);
        let route = self.routes.route(o, at, ends, denied);
        if let Some(places) = self.routes.get(&route) {
            return (places, 0);
        }
        // What is coarsened depends on what was counted before.
        if self.levels.iter().any(|records| records.counted >= limit(at.settings)) {
            self.flush(batch);
        }
        let rounds = self.rounds();
        let (places, coarsened) = self.find(o, at, ends, denied);
        if rounds != self.rounds() {
            self.routes.forget();
        }
        self.routes.remember(route, places);
        (places, coarsened)
    }

    /// The records of an observation, which then know its ends; and how many samples became coarse by that.
    fn find(&mut self, o: &Observation<'_, '_>, at: &At<'_>, known: &mut Ends, denied: bool) -> (Places, u64) {
        let (mut places, mut coarsened) = (Places::default(), 0);
        let ends = [&*o.initiator, &*o.responder].map(|end| known.known(end));
        for level in levels(at.settings, denied, o.policy_drops) {
            let Self { levels, bytes, members, .. } = self;
            let Some(records) = levels.get_mut(index(level)) else { continue };
            let (number, coarse, samples) = records.find(level, o, &ends, at, bytes);
            let record = records.get_mut(number);
            *members += record.map_or(0, |record| record.know(level, &ends, at, &mut known.merges));
            coarsened += samples;
            places.coarse += u64::from(coarse);
            if let Some(place) = places.records.get_mut(index(level)) {
                *place = Some(number);
            }
        }
        (places, coarsened)
    }

    pub(super) fn close(
        self,
        of: &Of<'_>,
        settings: &RecordSettings,
        join: &impl Join,
        batches: &mut Vec<(i32, PartialBatch)>,
    ) {
        let mut by_internal: BTreeMap<i32, Messages> = BTreeMap::new();
        let partitions = usize::try_from(settings.internal_partitions).unwrap_or(1).max(1);
        for (number, mut level) in self.levels.into_iter().enumerate() {
            let room = level.numbers.len() / partitions + 16;
            let order = std::mem::take(&mut level.numbers).into_order();
            for group in order.groups(SIDE_BY_SIDE) {
                let records = || group.clone().filter_map(|(_, number)| level.get(number));
                black_box(records().fold(0, |all, record| all ^ record.touch()));
                black_box(records().fold(0, |all, record| all ^ record.touch_behind()));
                black_box(records().fold(0, |all, record| all ^ record.touch_behind_apart()));
                for (bytes, number) in group {
                    let Some(record) = level.take(number) else { continue };
                    let key = bytes.get(8..).unwrap_or_default();
                    let routing = key.get(..record.routing()).unwrap_or(key);
                    let internal = internal_partition(routing, settings.internal_partitions);
                    let mut partial = record.finish();
                    debug_assert!(is_key_of(&partial, bytes), "stage 2 would take {partial:?} for another record");
                    place(&mut partial.initiator, settings, join);
                    place(&mut partial.responder, settings, join);
                    by_internal.entry(internal).or_default().push(partial, room);
                }
            }
            announce(settings.internal_partitions, &mut by_internal, number);
        }
        for (internal, Messages(messages)) in by_internal {
            batches.extend(messages.into_iter().map(|partials| {
                let batch = PartialBatch {
                    cluster: of.cluster.to_owned(),
                    partition: of.partition,
                    generation: of.generation,
                    partials,
                };
                (internal, batch)
            }));
        }
    }

    pub(super) fn memory(&self) -> usize {
        let records = self.levels.iter().map(|level| level.numbers.len()).sum::<usize>();
        records * RECORD + self.members * MEMBER + self.routes.memory()
    }
}

/// The partial records for one internal partition, by message.
#[derive(Debug, Default)]
struct Messages(Vec<Vec<Partial>>);

impl Messages {
    /// Appends a partial record; about so many are to come.
    fn push(&mut self, partial: Partial, room: usize) {
        if let Some(last) = self.0.last_mut().filter(|last| last.len() < PARTIALS_PER_MESSAGE) {
            last.push(partial);
            return;
        }
        let mut message = Vec::with_capacity(room.clamp(1, PARTIALS_PER_MESSAGE));
        message.push(partial);
        self.0.push(message);
    }

    fn iter(&self) -> impl Iterator<Item = &Partial> {
        self.0.iter().flatten()
    }
}

/// Whether stage 2 will find this key, which begins with its window, in the record's fields.
fn is_key_of(partial: &Partial, key: &[u8]) -> bool {
    let mut bytes = Vec::new();
    Key::with(partial, |found| write_key(&mut bytes, partial.window, found)).is_some() && bytes == key
}

/// Fills in where a side's public address is, if the settings name a database that may know.
fn place(side: &mut SharedSide, settings: &RecordSettings, join: &impl Join) {
    if !settings.geography.is_empty() && side.attribution() == Attribution::None {
        side.change(|side| join.place(settings, side));
    }
}

/// Tells every internal partition that keys of a level were coarsened, by an empty catch-all where there is no other
/// coarsened record: a record there that lacks a report must not conclude that nothing arrived.
fn announce(internal_partitions: i32, by_internal: &mut BTreeMap<i32, Messages>, level: usize) {
    let coarse = |partial: &&Partial| partial.coarsened && usize::from(partial.level) == level;
    let Some(empty) = by_internal.values().flat_map(Messages::iter).find(coarse).map(empty_catch_all) else { return };
    for internal in 0..internal_partitions {
        let messages = by_internal.entry(internal).or_default();
        if !messages.iter().any(|partial| coarse(&partial)) {
            messages.push(empty.clone(), 1);
        }
    }
}
