//! One partial record in the making.

use super::aggregate::At;
use crate::coarsen::{Member, Shape, leave_out, member, nobody};
use crate::key::Key;
use crate::merge::{
    add_counters, add_drops, add_round_trip, empty_report, fold_drops, has_sets, merge_record, merge_side, product, sum,
};
use crate::observe::{EndFound, Observation};
use crate::sets::BoundedSet;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use weir_flow::{Address, Level, Millis};
use weir_join::Resolution;
use weir_schemas::enriched::{Counters, DropCounter, Report, Side};
use weir_schemas::ledger::Reporter;
use weir_schemas::partial::Partial;
use weir_schemas::raw::RoundTrip;

/// A record of one key, with what stands beside it until it is written.
#[derive(Debug)]
pub(super) struct Record {
    partial: Partial,
    shape: Shape,
    /// How many bytes of the key choose the internal partition.
    routing: usize,
    ends: [End; 2],
}

/// What is kept beside a side while it is added up.
#[derive(Debug, Default)]
struct End {
    /// Levels 0 and 1: what was merged into the side last. The next is nearly always the same.
    last: Option<Last>,
    /// Levels 2 and 3: every address that was merged, with the answers for it.
    known: HashTable<(Option<Address>, Resolution<'static>)>,
    addresses: BoundedSet<Address>,
    pods: BoundedSet<String>,
    labels: BoundedSet<Arc<str>>,
    domains: BoundedSet<Arc<str>>,
}

/// What was merged into a side.
#[derive(Debug)]
struct Last {
    found: Resolution<'static>,
    container: Option<Box<str>>,
    process: Option<Box<str>>,
    without_address: bool,
}

/// The labels that an end certainly had and that records carry: its pod's; where only the workload is known, those that
/// all pods had that it may have been.
pub(super) fn labels(level: Level, end: &EndFound<'_>, keep: &[String]) -> Vec<Arc<str>> {
    let found = &end.found;
    let carried = |label: &&Arc<str>| {
        keep.is_empty() || label.split('=').next().is_some_and(|key| keep.iter().any(|kept| kept == key))
    };
    let mut labels: Vec<Arc<str>> = match (&found.identity, found.candidates.split_first()) {
        (Some(identity), _) => identity.labels.iter().filter(carried).cloned().collect(),
        (None, Some((first, others))) if has_sets(level) && end.shares_workload() => {
            let common = first.labels.iter().filter(|label| others.iter().all(|other| other.labels.contains(label)));
            common.filter(carried).cloned().collect()
        }
        _ => return Vec::new(),
    };
    if !labels.is_sorted() {
        labels.sort_unstable();
    }
    labels
}

pub(super) fn side_at(level: Level, end: &EndFound<'_>, initiator: bool, labels: &[Arc<str>]) -> Side {
    let mut side = end.side(level.keeps_addresses());
    side.labels = labels.iter().map(ToString::to_string).collect();
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

impl Record {
    pub(super) fn new(level: Level, o: &Observation<'_>, at: &At<'_>, shape: Shape, routing: usize) -> Self {
        let keep = &at.settings.labels_keep;
        let side = |end: &EndFound<'_>, initiator| {
            if !shape.keeps(initiator) {
                return nobody(end.ask.address.scope());
            }
            let mut side = side_at(level, end, initiator, &labels(level, end, keep));
            side.port = side.port.filter(|_| shape.keeps_port(initiator));
            side
        };
        let partial = Partial {
            responder_domains: Vec::new(),
            responder_labels: Vec::new(),
            initiator_domains: Vec::new(),
            initiator_labels: Vec::new(),
            judgements: Vec::new(),
            window: at.window,
            level: level.number(),
            origin: at.origin,
            cluster_known: at.cluster_known,
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
            coarsened: shape != Shape::Whole,
            samples: 0,
        };
        Self { partial, shape, routing, ends: Default::default() }
    }

    /// How many bytes of the key choose the internal partition.
    pub(super) fn routing(&self) -> usize {
        self.routing
    }

    /// Merges what an observation knows of the ends; the answer is how many members the sets gained. Doing it again
    /// changes nothing.
    pub(super) fn know(&mut self, level: Level, o: &Observation<'_>, at: &At<'_>) -> usize {
        let mut members = 0;
        let [initiator, responder] = &mut self.ends;
        let keep = &at.settings.labels_keep;
        if self.shape.keeps(true) {
            members += initiator.merge(&mut self.partial.initiator, level, &o.initiator, true, keep);
            members += at.domains.initiator().filter(|name| initiator.domains.insert(Arc::clone(name))).count();
        }
        if self.shape.keeps(false) {
            members += responder.merge(&mut self.partial.responder, level, &o.responder, false, keep);
            members += at.domains.responder().filter(|name| responder.domains.insert(Arc::clone(name))).count();
        }
        members
    }

    /// Counts an observation.
    pub(super) fn count(&mut self, o: &Observation<'_>, at: &At<'_>) {
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
    }

    /// The record as far as coarsening is concerned; nothing when only one end or none is left.
    pub(super) fn member(&self, bytes: &mut Vec<u8>) -> Option<Member> {
        member(&self.partial, bytes)
    }

    /// Leaves out of the record what this shape does not keep.
    pub(super) fn coarsen(&mut self, shape: Shape) {
        let [initiator, responder] = &mut self.ends;
        leave_out(&mut self.partial, shape);
        self.shape = shape;
        if !shape.keeps(true) {
            *initiator = End::default();
        }
        if !shape.keeps(false) {
            *responder = End::default();
        }
    }

    /// The window and the key, as they are now; the record's internal partition goes by the key.
    pub(super) fn write_key(&mut self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&self.partial.window.to_be_bytes());
        self.routing = Key::of(&self.partial).map_or(0, |key| key.write(bytes));
    }

    /// Whether something is left out of its key.
    pub(super) fn is_coarse(&self) -> bool {
        self.shape != Shape::Whole
    }

    /// How many samples were added up.
    pub(super) fn samples(&self) -> u64 {
        self.partial.samples
    }

    /// Adds a record of the same key.
    pub(super) fn merge(&mut self, other: Self) {
        merge_record(&mut self.partial, &other.partial);
        for (mine, theirs) in self.ends.iter_mut().zip(other.ends) {
            mine.addresses.merge(theirs.addresses);
            mine.pods.merge(theirs.pods);
            mine.labels.merge(theirs.labels);
            mine.domains.merge(theirs.domains);
            mine.last = None;
        }
    }

    pub(super) fn finish(self) -> Partial {
        let Self { mut partial, ends: [initiator, responder], .. } = self;
        (partial.initiator_addresses, partial.initiator.addresses_more) = initiator.addresses.into_parts();
        (partial.initiator_pods, partial.initiator.pods_more) = initiator.pods.into_parts();
        (partial.initiator_labels, partial.initiator.labels_more) = texts(initiator.labels);
        (partial.initiator_domains, partial.initiator.domains_more) = texts(initiator.domains);
        (partial.responder_addresses, partial.responder.addresses_more) = responder.addresses.into_parts();
        (partial.responder_pods, partial.responder.pods_more) = responder.pods.into_parts();
        (partial.responder_labels, partial.responder.labels_more) = texts(responder.labels);
        (partial.responder_domains, partial.responder.domains_more) = texts(responder.domains);
        for report in [&mut partial.by_initiator, &mut partial.by_responder].into_iter().flatten() {
            fold_drops(&mut report.drops);
        }
        partial
    }
}

/// A catch-all in which nothing is, made of a coarsened record. What is in no record is never written by stage 2.
pub(super) fn empty_catch_all(coarsened: &Partial) -> Partial {
    let mut empty = Partial {
        initiator_addresses: Vec::new(),
        responder_addresses: Vec::new(),
        initiator_pods: Vec::new(),
        responder_pods: Vec::new(),
        initiator_labels: Vec::new(),
        responder_labels: Vec::new(),
        initiator_domains: Vec::new(),
        responder_domains: Vec::new(),
        judgements: Vec::new(),
        orientation_guessed: false,
        untranslated: false,
        first_seen: Millis::MAX,
        last_seen: Millis::MIN,
        totals: Counters::default(),
        by_initiator: None,
        by_responder: None,
        initiator_covered: true,
        responder_covered: true,
        samples: 0,
        ..coarsened.clone()
    };
    leave_out(&mut empty, Shape::Nobody);
    empty
}

fn texts(set: BoundedSet<Arc<str>>) -> (Vec<String>, u64) {
    let (members, more) = set.into_parts();
    (members.iter().map(ToString::to_string).collect(), more)
}

impl End {
    fn merge(&mut self, side: &mut Side, level: Level, end: &EndFound<'_>, initiator: bool, keep: &[String]) -> usize {
        if !has_sets(level) {
            if !self.last.as_ref().is_some_and(|last| last.is(end)) {
                merge_side(side, &side_at(level, end, initiator, &labels(level, end, keep)));
                self.last = Some(Last::new(end));
            }
            return 0;
        }
        let hash = |address: Option<Address>| FixedState::default().hash_one(address);
        // Nothing where a filter emptied it.
        let address = (!end.without_address).then_some(end.ask.address);
        if self.known.find(hash(address), |(known, found)| *known == address && *found == end.found).is_some() {
            return 0;
        }
        let labels = labels(level, end, keep);
        merge_side(side, &side_at(level, end, initiator, &labels));
        let mut members = 1;
        members += labels.into_iter().filter(|label| self.labels.insert(label.clone())).count();
        members += address.map_or(0, |address| usize::from(self.addresses.insert(address)));
        members += end.pod().map_or(0, |pod| usize::from(self.pods.insert(pod)));
        self.known.insert_unique(hash(address), (address, end.found.keep()), |(address, _)| hash(*address));
        members
    }
}

impl Last {
    fn new(end: &EndFound<'_>) -> Self {
        let (container, process) = (end.ask.container.map(Box::from), end.ask.process.map(Box::from));
        Self { found: end.found.keep(), container, process, without_address: end.without_address }
    }

    fn is(&self, end: &EndFound<'_>) -> bool {
        self.container.as_deref() == end.ask.container
            && self.process.as_deref() == end.ask.process
            && self.without_address == end.without_address
            && self.found == end.found
    }
}

/// A sample's counters, corrected for sampling and turned to the record's directions.
fn counters(o: &Observation<'_>) -> Counters {
    let factor = u64::from(o.sampling);
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
    let factor = u64::from(o.sampling);
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
    report.zero_windows = sum(report.zero_windows, product(sample.zero_windows, factor));
    report.resets = sum(report.resets, product(sample.resets, factor));
    add_round_trip(&mut report.round_trip, weighted(sample.round_trip.as_ref(), factor).as_ref());
    add_round_trip(&mut report.handshake, weighted(sample.handshake.as_ref(), factor).as_ref());
    report.sampling = report.sampling.max(o.sampling);
}

/// Times corrected for sampling: each that was measured stands for as many as were not, so that means of differently
/// sampled flows weigh what they should.
fn weighted(times: Option<&RoundTrip>, factor: u64) -> Option<RoundTrip> {
    times.map(|times| RoundTrip {
        sum: product(times.sum, factor),
        count: product(times.count, factor),
        min: sum(times.min, 0),
        max: sum(times.max, 0),
    })
}
