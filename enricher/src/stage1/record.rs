//! One partial record in the making.

use super::aggregate::At;
use super::counts::Counts;
use super::ends::KnownEnd;
use crate::coarsen::{Member, Shape, leave_out, member, nobody};
use crate::key::Key;
use crate::merge::{Merges, fold_drops, fold_judged, has_sets, merge_record};
use crate::observe::{EndFound, Observation};
use std::borrow::Cow;
use std::sync::Arc;
use weir_flow::{Level, Millis};
use weir_schemas::enriched::{Attribution, Counters, Report, SharedSide, Side};
use weir_schemas::partial::{Behind, Partial};

mod behind;

use behind::End;

/// A record of one key, with what stands beside it until it is written.
#[derive(Debug)]
pub(super) struct Record {
    partial: Partial,
    shape: Shape,
    /// How many bytes of the key choose the internal partition.
    routing: usize,
    ends: [End; 2],
    /// Whether it was made of the observation that it is told of next.
    fresh: bool,
}

/// The labels that an end certainly had and that records carry: its pod's; where only the workload is known, those that
/// all pods had that it may have been.
pub(super) fn labels<'e>(level: Level, end: &'e EndFound<'_>, keep: &[String]) -> Vec<&'e Arc<str>> {
    let found = &end.found;
    let carried = |label: &&Arc<str>| {
        keep.is_empty() || label.split('=').next().is_some_and(|key| keep.iter().any(|kept| kept == key))
    };
    let mut labels: Vec<&Arc<str>> = match (&found.identity, found.candidates.split_first()) {
        (Some(identity), _) => identity.labels.iter().filter(carried).collect(),
        (None, Some((first, others))) if has_sets(level) && end.shares_workload() => {
            let common = first.labels.iter().filter(|label| others.iter().all(|other| other.labels.contains(label)));
            common.filter(carried).collect()
        }
        _ => return Vec::new(),
    };
    if !labels.is_sorted() {
        labels.sort_unstable();
    }
    labels
}

/// What records of a level say of an end.
pub(super) fn side_at<'e>(
    level: Level,
    end: &'e EndFound<'e>,
    initiator: bool,
    labels: &[&'e Arc<str>],
) -> Side<Cow<'e, str>> {
    let mut side = side_of(level, end, labels);
    side.port = side.port.filter(|_| says_port(level, initiator));
    side
}

/// What records of a level say of an end, and its port.
pub(super) fn side_of<'e>(level: Level, end: &'e EndFound<'e>, labels: &[&'e Arc<str>]) -> Side<Cow<'e, str>> {
    let mut side = end.side(level.keeps_addresses());
    side.labels = labels.iter().map(|label| Cow::Borrowed(&***label)).collect();
    side
}

/// Whether records of a level say the port of the initiator or of the responder.
fn says_port(level: Level, initiator: bool) -> bool {
    match level {
        Level::Zero => true,
        Level::One | Level::Two => !initiator,
        Level::Three => false,
    }
}

impl Record {
    pub(super) fn new(
        (level, shape): (Level, Shape),
        o: &Observation<'_, '_>,
        [initiator, responder]: &[KnownEnd<'_>; 2],
        at: &At<'_>,
        routing: usize,
    ) -> Self {
        let side = |of: &KnownEnd<'_>, initiator| {
            if !shape.keeps(initiator) {
                return SharedSide::from(nobody(of.end.ask.address.scope()));
            }
            of.said.at(level).side.with_port(port(of, level, initiator).filter(|_| shape.keeps_port(initiator)))
        };
        let partial = Partial {
            behind: Behind::default(),
            judgements: Vec::new(),
            window: at.window,
            level: level.number(),
            origin: at.origin,
            cluster_known: at.cluster_known,
            initiator: side(initiator, true),
            responder: side(responder, false),
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
        Self { partial, shape, routing, ends: Default::default(), fresh: true }
    }

    /// How many bytes of the key choose the internal partition.
    pub(super) fn routing(&self) -> usize {
        self.routing
    }

    /// Merges what an observation knows of the ends; the answer is how many members the sets gained. Doing it again
    /// changes nothing.
    pub(super) fn know(&mut self, level: Level, ends: &[KnownEnd<'_>; 2], at: &At<'_>, merges: &mut Merges) -> usize {
        let mut members = 0;
        let [initiator, responder] = &mut self.ends;
        let mut how = How { level, fresh: std::mem::take(&mut self.fresh), merges };
        if self.shape.keeps(true) {
            members += initiator.merge(&mut self.partial.initiator, &ends[0], true, &mut how);
            members += initiator.name(at.domains.initiator());
        }
        if self.shape.keeps(false) {
            members += responder.merge(&mut self.partial.responder, &ends[1], false, &mut how);
            members += responder.name(at.domains.responder());
        }
        members
    }

    /// Reads from what is written when samples are added.
    pub(super) fn touch(&self) -> u64 {
        let report = |report: &Option<Report>| {
            report
                .as_ref()
                .map_or(0, |report| report.counters.forward_bytes ^ report.retransmits ^ u64::from(report.sampling))
        };
        let Partial { totals, by_initiator, by_responder, samples, judgements, .. } = &self.partial;
        let judgements = u64::from(judgements.is_empty());
        totals.ended ^ report(by_initiator) ^ report(by_responder) ^ samples ^ judgements
    }

    /// The same of what stands apart.
    pub(super) fn touch_judgements(&self) -> u64 {
        self.partial.judgements.first().map_or(0, |judged| judged.samples)
    }

    /// Reads from what is said of the ends behind it.
    pub(super) fn touch_behind(&self) -> usize {
        self.ends.iter().fold(0, |all, end| all ^ end.touch())
    }

    /// The same of what stands apart.
    pub(super) fn touch_behind_apart(&self) -> usize {
        self.ends.iter().fold(0, |all, end| all ^ end.touch_apart())
    }

    /// Adds what samples count.
    pub(super) fn add(&mut self, counts: &Counts) {
        counts.add_to(&mut self.partial);
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
        self.routing = Key::with(&self.partial, |key| key.write(bytes)).unwrap_or_default();
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
        merge_record(&mut self.partial, &other.partial, &mut Merges::default());
        for (mine, theirs) in self.ends.iter_mut().zip(other.ends) {
            mine.add(theirs);
        }
    }

    pub(super) fn finish(self) -> Partial {
        let Self { mut partial, ends, .. } = self;
        let (behind, [initiator, responder]) = behind::encode(ends);
        partial.behind = behind;
        note_more(&mut partial.initiator, initiator);
        note_more(&mut partial.responder, responder);
        for report in [&mut partial.by_initiator, &mut partial.by_responder].into_iter().flatten() {
            fold_drops(&mut report.drops);
        }
        fold_judged(&mut partial.judgements);
        partial
    }
}

/// A catch-all in which nothing is, made of a coarsened record. What is in no record is never written by stage 2.
pub(super) fn empty_catch_all(coarsened: &Partial) -> Partial {
    let mut empty = Partial {
        behind: Behind::default(),
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

/// Notes how many addresses, pods, labels and names there were beyond what a partial carries; nearly always none.
fn note_more(side: &mut SharedSide, more: [u64; 4]) {
    if more != [0; 4] {
        side.change(|side| [side.addresses_more, side.pods_more, side.labels_more, side.domains_more] = more);
    }
}

/// The port of an end as records of a level say it.
fn port(of: &KnownEnd<'_>, level: Level, initiator: bool) -> Option<u16> {
    of.end.ask.port.filter(|_| says_port(level, initiator))
}

/// How an end is merged into a side.
struct How<'k> {
    level: Level,
    /// Whether the side was made of the end.
    fresh: bool,
    merges: &'k mut Merges,
}

impl End {
    /// Merges an end into a side; the answer is how many members the sets gained.
    fn merge(&mut self, side: &mut SharedSide, of: &KnownEnd<'_>, initiator: bool, how: &mut How<'_>) -> usize {
        if !has_sets(how.level) {
            if self.replace_last(of.number) {
                how.merge(side, of, initiator);
            }
            return 0;
        }
        let members = self.take(of);
        if members > 0 {
            how.merge(side, of, initiator);
        }
        members
    }
}

impl How<'_> {
    fn merge(&mut self, side: &mut SharedSide, of: &KnownEnd<'_>, initiator: bool) {
        // Merging what it was made of would change no more than the order of candidates.
        if self.fresh && of.end.found.attribution != Attribution::Ambiguous {
            return;
        }
        self.merges.merge(side, &of.said.at(self.level).side.with_port(port(of, self.level, initiator)));
    }
}
