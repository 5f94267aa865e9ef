//! One partial record in the making.

use super::aggregate::At;
use crate::merge::{
    add_counters, add_drops, add_round_trip, empty_report, fold_drops, has_sets, merge_side, product, sum,
};
use crate::observe::{EndFound, Observation};
use crate::sets::BoundedSet;
use std::sync::Arc;
use weir_flow::{Address, Level, Millis};
use weir_join::Resolution;
use weir_schemas::enriched::{Attribution, Counters, DropCounter, IdentifiedBy, Report, Side};
use weir_schemas::ledger::Reporter;
use weir_schemas::partial::Partial;
use weir_schemas::raw::RoundTrip;

/// A record of one key, with what stands beside it until it is written.
#[derive(Debug)]
pub(super) struct Record {
    partial: Partial,
    /// How many bytes of the key choose the internal partition.
    routing: usize,
    ends: [End; 2],
}

/// What every sample adds to a record, side by side in memory and apart from what is known of its ends.
#[derive(Debug)]
pub(super) struct Counts {
    first_seen: Millis,
    last_seen: Millis,
    samples: u64,
    orientation_guessed: bool,
    untranslated: bool,
    initiator_covered: bool,
    responder_covered: bool,
    totals: Counters,
    by_initiator: Option<Report>,
    by_responder: Option<Report>,
}

/// What is kept beside a side while it is added up.
#[derive(Debug, Default)]
struct End {
    /// The last answer that was merged into the side: the next one is nearly always the same.
    last: Option<Resolution>,
    addresses: BoundedSet<Address>,
    pods: BoundedSet<String>,
    labels: BoundedSet<Arc<str>>,
}

/// The labels that an end certainly had and that records carry: its pod's; where only the workload is known, those that
/// all pods had that it may have been.
fn labels(level: Level, end: &EndFound<'_>, keep: &[String]) -> Vec<Arc<str>> {
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

fn side_at(level: Level, end: &EndFound<'_>, initiator: bool, labels: &[Arc<str>]) -> Side {
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

/// The side of a catch-all: nothing but where its addresses belong.
fn nobody(end: &EndFound<'_>) -> Side {
    let mut side = Resolution {
        attribution: Attribution::None,
        by: IdentifiedBy::Nothing,
        reason: None,
        identity: None,
        candidates: Vec::new(),
        zone: None,
        service: None,
        host: None,
        network_set: None,
    }
    .to_side(&weir_join::Ask::address(0, end.ask.address));
    side.address = None;
    side
}

impl Record {
    pub(super) fn new(level: Level, o: &Observation<'_>, at: &At<'_>, coarsened: bool, routing: usize) -> Self {
        let keep = &at.settings.labels_keep;
        let side = |end, initiator| {
            if coarsened { nobody(end) } else { side_at(level, end, initiator, &labels(level, end, keep)) }
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
            coarsened,
            samples: 0,
        };
        Self { partial, routing, ends: Default::default() }
    }

    /// How many bytes of the key choose the internal partition.
    pub(super) fn routing(&self) -> usize {
        self.routing
    }

    /// Merges what an observation knows of the ends; the answer is how many members the sets gained. Doing it again changes
    /// nothing.
    pub(super) fn merge(&mut self, level: Level, o: &Observation<'_>, at: &At<'_>) -> usize {
        if self.partial.coarsened {
            return 0;
        }
        let [initiator, responder] = &mut self.ends;
        let keep = &at.settings.labels_keep;
        initiator.merge(&mut self.partial.initiator, level, &o.initiator, true, keep)
            + responder.merge(&mut self.partial.responder, level, &o.responder, false, keep)
    }

    pub(super) fn finish(self, counts: Counts) -> Partial {
        let Self { mut partial, ends: [initiator, responder], .. } = self;
        (partial.initiator_addresses, partial.initiator.addresses_more) = initiator.addresses.into_parts();
        (partial.initiator_pods, partial.initiator.pods_more) = initiator.pods.into_parts();
        (partial.initiator_labels, partial.initiator.labels_more) = texts(initiator.labels);
        (partial.responder_addresses, partial.responder.addresses_more) = responder.addresses.into_parts();
        (partial.responder_pods, partial.responder.pods_more) = responder.pods.into_parts();
        (partial.responder_labels, partial.responder.labels_more) = texts(responder.labels);
        counts.put(&mut partial);
        for report in [&mut partial.by_initiator, &mut partial.by_responder].into_iter().flatten() {
            fold_drops(&mut report.drops);
        }
        partial
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            first_seen: Millis::MAX,
            last_seen: Millis::MIN,
            samples: 0,
            orientation_guessed: false,
            untranslated: false,
            initiator_covered: true,
            responder_covered: true,
            totals: Counters::default(),
            by_initiator: None,
            by_responder: None,
        }
    }
}

impl Counts {
    /// Counts an observation, whose times are brought between the first and the last millisecond of its batch.
    pub(super) fn add(&mut self, o: &Observation<'_>, (first, last): (Millis, Millis)) {
        let last_seen = o.sample.last_seen.clamp(first, last);
        self.orientation_guessed |= o.guessed;
        self.untranslated |= o.untranslated;
        self.first_seen = self.first_seen.min(o.sample.first_seen.clamp(first, last));
        self.last_seen = self.last_seen.max(last_seen);
        self.initiator_covered &= o.initiator.covered;
        self.responder_covered &= o.responder.covered;
        self.samples = sum(self.samples, 1);
        let counters = counters(o);
        if o.authority {
            add_counters(&mut self.totals, &counters);
        }
        let report = match o.reporter {
            Reporter::Initiator => &mut self.by_initiator,
            Reporter::Responder => &mut self.by_responder,
        };
        add_sample(report.get_or_insert_with(empty_report), o, &counters, last_seen);
    }

    fn put(self, partial: &mut Partial) {
        partial.orientation_guessed = self.orientation_guessed;
        partial.untranslated = self.untranslated;
        partial.first_seen = self.first_seen;
        partial.last_seen = self.last_seen;
        partial.initiator_covered = self.initiator_covered;
        partial.responder_covered = self.responder_covered;
        partial.samples = self.samples;
        partial.totals = self.totals;
        partial.by_initiator = self.by_initiator;
        partial.by_responder = self.by_responder;
    }
}

fn texts(set: BoundedSet<Arc<str>>) -> (Vec<String>, u64) {
    let (members, more) = set.into_parts();
    (members.iter().map(ToString::to_string).collect(), more)
}

impl End {
    fn merge(&mut self, side: &mut Side, level: Level, end: &EndFound<'_>, initiator: bool, keep: &[String]) -> usize {
        let mut members = 0;
        let known = self.last.as_ref() == Some(&end.found);
        let instance = level.keeps_addresses();
        if !known || instance && (end.ask.container.is_some() || end.ask.process.is_some()) {
            let labels = labels(level, end, keep);
            merge_side(side, &side_at(level, end, initiator, &labels));
            if has_sets(level) {
                members += labels.into_iter().filter(|label| self.labels.insert(label.clone())).count();
            }
        }
        if has_sets(level) {
            members += usize::from(self.addresses.insert(end.ask.address));
            if let Some(pod) = end.pod().filter(|_| !known) {
                members += usize::from(self.pods.insert(pod));
            }
        }
        if !known {
            self.last = Some(end.found.clone());
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
    report.zero_windows = sum(report.zero_windows, product(sample.zero_windows, factor));
    report.resets = sum(report.resets, product(sample.resets, factor));
    add_round_trip(&mut report.round_trip, weighted(sample.round_trip.as_ref(), factor).as_ref());
    add_round_trip(&mut report.handshake, weighted(sample.handshake.as_ref(), factor).as_ref());
    report.sampling = report.sampling.max(sample.sampling.max(1));
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
