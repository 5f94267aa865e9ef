//! Partial records in the making: samples added up by level and key.

use super::generation::Of;
use crate::join::Join;
use crate::key::{Key, internal_partition};
use crate::merge::{
    BoundedSet, add_counters, add_drops, add_round_trip, empty_report, fold_drops, has_sets, merge_side, product, sum,
};
use crate::observe::{EndFound, Observation};
use foldhash::HashMap;
use std::collections::BTreeMap;
use weir_flow::{Address, Level, Millis, RecordSettings};
use weir_join::Resolution;
use weir_schemas::enriched::{Counters, DropCounter, Report, Side};
use weir_schemas::ledger::Reporter;
use weir_schemas::partial::{Partial, PartialBatch};
use weir_schemas::raw::{Origin, RoundTrip};

/// Partials in one message; the edge splits messages that are too large all the same.
const PARTIALS_PER_MESSAGE: usize = 500;

/// Memory of a record without its sets, roughly.
const RECORD: usize = 1_500;
/// Memory of a member of a set, roughly.
const MEMBER: usize = 64;

/// Where an observation is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
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

#[derive(Debug)]
struct Record {
    partial: Partial,
    /// How many bytes of the key choose the internal partition.
    routing: usize,
    ends: [End; 2],
}

/// What is kept beside a side while it is added up.
#[derive(Debug, Default)]
struct End {
    /// The last answer that was merged into the side: the next one is nearly always the same.
    last: Option<Resolution<'static>>,
    addresses: BoundedSet<Address>,
    pods: BoundedSet<String>,
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
    pub(super) fn add(
        &mut self,
        observation: &Observation<'_>,
        at: &At,
        settings: &RecordSettings,
        cluster_known: bool,
    ) -> u64 {
        let mut coarsened = 0;
        for level in levels(settings, observation.policy_drops) {
            coarsened += u64::from(self.add_at(level, observation, at, settings.keys_limit, cluster_known));
        }
        coarsened
    }

    fn add_at(&mut self, level: Level, o: &Observation<'_>, at: &At, limit: u32, cluster_known: bool) -> bool {
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
            if records.regular >= limit {
                key.coarsened = true;
                routing = write_key(&mut self.bytes, at.window, &key);
            } else {
                records.regular += 1;
            }
            if !records.records.contains_key(&*self.bytes) {
                let record = Record::new(level, o, at, cluster_known, key.coarsened, routing);
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
                let routing = key.get(..record.routing).unwrap_or(key);
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

fn side_at(level: Level, end: &EndFound<'_>, initiator: bool) -> Side {
    let mut side = end.side(level.keeps_addresses());
    let port = match level {
        Level::Zero => true,
        Level::One | Level::Two => !initiator,
        Level::Three => false,
    };
    if !port {
        side.port = None;
    }
    side
}

/// The side of a catch-all: nothing but where its addresses belong.
fn nobody(end: &EndFound<'_>) -> Side {
    let mut side = Resolution::none(None).to_side(&weir_join::Ask::address(0, end.ask.address));
    side.address = None;
    side
}

impl Record {
    fn new(level: Level, o: &Observation<'_>, at: &At, cluster_known: bool, coarsened: bool, routing: usize) -> Self {
        let side = |end, initiator| if coarsened { nobody(end) } else { side_at(level, end, initiator) };
        let partial = Partial {
            responder_domains: Vec::new(),
            responder_labels: Vec::new(),
            initiator_domains: Vec::new(),
            initiator_labels: Vec::new(),
            judgements: Vec::new(),
            window: at.window,
            level: level.number(),
            origin: at.origin,
            cluster_known,
            initiator: side(&o.initiator, true),
            responder: side(&o.responder, false),
            initiator_addresses: Vec::new(),
            responder_addresses: Vec::new(),
            initiator_pods: Vec::new(),
            responder_pods: Vec::new(),
            protocol: o.sample.protocol,
            orientation_guessed: false,
            untranslated: false,
            first_seen: Millis::MAX,
            last_seen: Millis::MIN,
            totals: Counters::default(),
            by_initiator: None,
            by_responder: None,
            initiator_covered: true,
            responder_covered: true,
            coarsened,
            samples: 0,
        };
        Self { partial, routing, ends: Default::default() }
    }

    /// Adds an observation; the answer is how many members the sets may have gained.
    fn add(&mut self, level: Level, o: &Observation<'_>, at: &At) -> usize {
        let mut members = 0;
        if !self.partial.coarsened {
            let [initiator, responder] = &mut self.ends;
            members += initiator.merge(&mut self.partial.initiator, level, &o.initiator, true);
            members += responder.merge(&mut self.partial.responder, level, &o.responder, false);
        }
        let partial = &mut self.partial;
        let clamp = |time: Millis| time.clamp(at.times.0, at.times.1);
        partial.orientation_guessed |= o.guessed;
        partial.untranslated |= o.untranslated;
        partial.first_seen = partial.first_seen.min(clamp(o.sample.first_seen));
        partial.last_seen = partial.last_seen.max(clamp(o.sample.last_seen));
        partial.initiator_covered &= o.initiator.covered;
        partial.responder_covered &= o.responder.covered;
        partial.samples = sum(partial.samples, 1);
        let counters = counters(o);
        if o.authority {
            add_counters(&mut partial.totals, &counters);
        }
        let report = match o.reporter {
            Reporter::Initiator => &mut partial.by_initiator,
            Reporter::Responder => &mut partial.by_responder,
        };
        add_sample(report.get_or_insert_with(empty_report), o, &counters, clamp(o.sample.last_seen));
        members
    }

    fn finish(self) -> Partial {
        let Self { mut partial, ends: [initiator, responder], .. } = self;
        (partial.initiator_addresses, partial.initiator.addresses_more) = initiator.addresses.into_parts();
        (partial.initiator_pods, partial.initiator.pods_more) = initiator.pods.into_parts();
        (partial.responder_addresses, partial.responder.addresses_more) = responder.addresses.into_parts();
        (partial.responder_pods, partial.responder.pods_more) = responder.pods.into_parts();
        for report in [&mut partial.by_initiator, &mut partial.by_responder].into_iter().flatten() {
            fold_drops(&mut report.drops);
        }
        partial
    }
}

impl End {
    fn merge(&mut self, side: &mut Side, level: Level, end: &EndFound<'_>, initiator: bool) -> usize {
        let mut members = 0;
        let known = self.last.as_ref() == Some(&end.found);
        let instance = level.keeps_addresses();
        if !known || instance && (end.ask.container.is_some() || end.ask.process.is_some()) {
            merge_side(side, &side_at(level, end, initiator));
        }
        if has_sets(level) {
            if !end.without_address {
                self.addresses.insert(end.ask.address);
            }
            members += usize::from(!known);
            if let Some(pod) = end.pod().filter(|_| !known) {
                self.pods.insert(pod);
                members += 1;
            }
        }
        if !known {
            self.last = Some(end.found.keep());
        }
        members
    }
}

/// A sample's counters, corrected for sampling and turned to the record's directions.
fn counters(o: &Observation<'_>) -> Counters {
    let factor = u64::from(o.sample.sampling.max(1));
    let (bytes, packets) = (product(o.sample.bytes, factor), product(o.sample.packets, factor));
    let (started, ended) = (product(o.sample.started, factor), product(o.sample.ended, factor));
    let mut counters = Counters { started, ended, ..Counters::default() };
    if o.forward {
        (counters.forward_bytes, counters.forward_packets) = (bytes, packets);
    } else {
        (counters.reverse_bytes, counters.reverse_packets) = (bytes, packets);
    }
    counters
}

fn add_sample(report: &mut Report, o: &Observation<'_>, counters: &Counters, last_seen: Millis) {
    let sample = o.sample;
    let factor = u64::from(sample.sampling.max(1));
    add_counters(&mut report.counters, counters);
    for drop in &sample.drops {
        let (packets, bytes) = (product(drop.packets, factor), product(drop.bytes, factor));
        let (forward, reverse) = if o.forward { ((packets, bytes), (0, 0)) } else { ((0, 0), (packets, bytes)) };
        let counter = DropCounter {
            reason: drop.reason.clone(),
            class: drop.class,
            forward_packets: forward.0,
            forward_bytes: forward.1,
            reverse_packets: reverse.0,
            reverse_bytes: reverse.1,
        };
        add_drops(&mut report.drops, &counter);
    }
    if o.forward {
        report.forward_tcp_flags |= sample.tcp_flags;
        if sample.packets > 0 {
            report.last_forward = report.last_forward.max(Some(last_seen));
        }
    } else {
        report.reverse_tcp_flags |= sample.tcp_flags;
    }
    report.retransmits = sum(report.retransmits, product(sample.retransmits, factor));
    let bounded = sample.round_trip.map(|r| RoundTrip {
        sum: sum(r.sum, 0),
        count: sum(r.count, 0),
        min: sum(r.min, 0),
        max: sum(r.max, 0),
    });
    add_round_trip(&mut report.round_trip, bounded.as_ref());
    report.sampling = report.sampling.max(sample.sampling.max(1));
}
