//! Closing a generation: partials of one key become one record.

use super::arrival::{action, arrival};
use super::sets::{MoreOf, Piece, Unions, union};
use super::slots::Slots;
use super::{Closed, Enriched, Held};
use crate::coarsen::{Shape, leave_out};
use crate::key::record_id;
use crate::merge::{Merges, add_totals, is_empty_report, merge_counts, merge_record, settle_side, sum};
use crate::sets::halve;
use std::collections::{BTreeMap, BTreeSet};
use weir_flow::community_id::{Ends, community_id};
use weir_flow::{Level, Millis, RecordSettings};
use weir_schemas::enriched::{Attribution, Counters, Kind, Report, SharedSide};
use weir_schemas::ledger::{Ledger, Reporter, Stored};
use weir_schemas::partial::Partial;
use weir_schemas::raw::Totals;

/// The most bytes of a record's ends: with all else that is on it a message stays below what brokers take, 1 MiB.
const ENDS: usize = 800_000;

/// Which generation of which internal partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of<'a> {
    pub(super) cluster: &'a str,
    pub(super) partition: i32,
    pub(super) generation: Millis,
    pub(super) settings: &'a RecordSettings,
    /// Whether filters decide both reports of a connection alike.
    pub(super) reports: Option<weir_filter::Sameness>,
}

/// The records of a generation by window (8 bytes, big-endian) and key, with the length of the key's tuple.
pub(super) type Records<'p> = BTreeMap<Box<[u8]>, (usize, Merged<'p>)>;

/// A record with all its partials merged.
pub(super) struct Merged<'p> {
    /// The first of them, to which the others were added.
    pub(super) partial: &'p mut Partial,
    /// What stands behind the ends, as each partial has it: of levels 2 and 3, and where there are names.
    sets: Vec<Piece>,
}

/// What is known of the reports that a generation lacks.
#[derive(Default)]
pub(super) struct Heard {
    /// Ticks that were missing of each node that reported in the generation's window; absent = the node did not.
    pub(super) missing: BTreeMap<String, u32>,
    /// Levels at which stage 1 has coarsened keys: a report that is not in a record may be in a coarsened one.
    pub(super) coarsened: BTreeSet<u8>,
}

pub(super) fn close(mut held: Held, of: &Of<'_>, merges: &mut Merges, closed: &mut Closed) {
    closed.generations += 1;
    closed.partials += held.dns.values().map(|twins| u64::try_from(twins.len()).unwrap_or(u64::MAX)).sum::<u64>();
    super::dns::close(held.dns, of, closed);
    let mut heard = Heard::default();
    for node in held.missing.into_values().flatten() {
        // A node whose key moved to another partition within the window has ticks in both; the fewer are missing.
        let ticks = heard.missing.entry(node.node).or_insert(node.ticks);
        *ticks = (*ticks).min(node.ticks);
    }
    closed.partials += u64::try_from(held.slots.len()).unwrap_or(u64::MAX);
    heard.coarsened.extend(held.slots.partials().filter(|partial| partial.coarsened).map(|partial| partial.level));
    closed.records.reserve(held.slots.keys());
    let mut stored: BTreeMap<(u8, bool), Totals> = BTreeMap::new();
    let mut write = |key: &[u8], merged: Merged<'_>, closed: &mut Closed| {
        if let Some((mut record, inexact)) = merged.finish(key.get(8..).unwrap_or_default(), of, &heard) {
            closed.shortened += u64::from(shorten(&mut record));
            closed.inexact += u64::from(inexact);
            book(&record, &mut stored);
            closed.records.push(record);
        }
    };
    // Where there may be too many keys they must all be known before the first is written.
    if held.slots.keys() > usize::try_from(of.settings.keys_limit).unwrap_or(usize::MAX) {
        let mut records = Records::new();
        by_tuple(&mut held.slots, merges, |key, routing, merged| {
            records.insert(key.into(), (routing, merged));
        });
        closed.coarsened += super::limit::coarsen(&mut records, of, merges);
        records.into_iter().for_each(|(key, (_, merged))| write(&key, merged, closed));
    } else {
        by_tuple(&mut held.slots, merges, |key, _, merged| write(key, merged, closed));
    }
    for ((level, is_responder), totals) in stored {
        closed.ledger.push(Ledger::Stored(Stored {
            cluster: of.cluster.to_owned(),
            partition: of.partition,
            generation: of.generation,
            level,
            reporter: if is_responder { Reporter::Responder } else { Reporter::Initiator },
            stored: totals,
            filtered: Totals::default(),
            outside: Totals::default(),
        }));
    }
}

/// Adds a record to the ledger. Packets and bytes are each reporter's own; the samples of a record stand with the
/// initiator's report where there is one, so that a level's samples are counted once.
fn book(record: &Enriched, stored: &mut BTreeMap<(u8, bool), Totals>) {
    let mut samples = record.samples;
    let reports = [(false, &record.by_initiator), (true, &record.by_responder)];
    for (is_responder, report) in reports {
        let Some(report) = report else { continue };
        let c = &report.counters;
        let totals = Totals {
            packets: sum(c.forward_packets, c.reverse_packets),
            bytes: sum(c.forward_bytes, c.reverse_bytes),
            samples: std::mem::take(&mut samples),
        };
        add_totals(stored.entry((record.level, is_responder)).or_default(), &totals);
    }
}

/// A merged record, with its key and how many of the key's bytes are the tuple.
struct Keyed<'p> {
    key: Box<[u8]>,
    routing: usize,
    merged: Merged<'p>,
}

/// Merges what raw partitions know of each record, and gives the records in the order of their keys.
fn by_tuple<'p>(slots: &'p mut Slots, merges: &mut Merges, mut take: impl FnMut(&[u8], usize, Merged<'p>)) {
    // The records of one tuple follow each other.
    let mut same: Vec<Keyed<'p>> = Vec::new();
    let mut more = MoreOf::default();
    slots.in_order(|key, routing, partials| {
        let merged = partials.map(|partial| Merged::new(partial, &mut more)).reduce(|a, b| a.merge(b, merges));
        let Some(merged) = merged else { return };
        let tuple = same.first().map_or(&[][..], |first| first.key.get(..8 + first.routing).unwrap_or(&first.key));
        if !same.is_empty() && !key.starts_with(tuple) {
            flush(&mut same, &mut take);
        }
        same.push(Keyed { key: key.into(), routing, merged });
    });
    flush(&mut same, &mut take);
}

fn flush<'p>(same: &mut Vec<Keyed<'p>>, take: &mut impl FnMut(&[u8], usize, Merged<'p>)) {
    if same.len() > 1 {
        join_ambiguous(same);
    }
    same.drain(..).for_each(|Keyed { key, routing, merged }| take(&key, routing, merged));
}

/// At levels 0 and 1 a record that knows an end by address only, with several pods possible, joins the one record of
/// the same tuple that knows the pod, if it is one of the possible ones and the only such record. These are the records of
/// one tuple.
fn join_ambiguous(records: &mut Vec<Keyed<'_>>) {
    let mut moves: Vec<(usize, usize)> = Vec::new();
    for (from, Keyed { merged, .. }) in records.iter().enumerate() {
        let ambiguous = is_open(&merged.partial.initiator) || is_open(&merged.partial.responder);
        let by_tuple = Level::from_number(i64::from(merged.partial.level)).is_some_and(Level::keeps_addresses);
        if !ambiguous || !by_tuple || merged.partial.coarsened {
            continue;
        }
        let mut possible = records.iter().enumerate().filter(|(to, Keyed { merged: target, .. })| {
            *to != from
                && allows(&merged.partial.initiator, &target.partial.initiator)
                && allows(&merged.partial.responder, &target.partial.responder)
        });
        if let (Some((to, _)), None) = (possible.next(), possible.next()) {
            moves.push((from, to));
        }
    }
    let mut left: Vec<Option<Keyed<'_>>> = std::mem::take(records).into_iter().map(Some).collect();
    for (from, to) in moves {
        let Some(Keyed { merged, .. }) = left.get_mut(from).and_then(Option::take) else { continue };
        if let Some(Keyed { merged: target, .. }) = left.get_mut(to).and_then(Option::as_mut) {
            merge_counts(target.partial, merged.partial);
            target.sets.extend(merged.sets);
        }
    }
    records.extend(left.into_iter().flatten());
}

/// Whether several pods may be behind this end.
fn is_open(side: &SharedSide) -> bool {
    side.attribution() == Attribution::Ambiguous && side.view().pod_uid.is_none()
}

/// Whether a report that sees `side` may be one of the record that sees `target`.
fn allows(side: &SharedSide, target: &SharedSide) -> bool {
    let (known, possible) = (target.view(), side.view());
    if !is_open(side) {
        return possible.pod_uid == known.pod_uid && !is_open(target);
    }
    let (Some(_), Some(pod)) = (known.pod_uid, known.pod) else { return false };
    let name = known.namespace.map_or_else(|| pod.to_owned(), |namespace| format!("{namespace}/{pod}"));
    possible.candidates.contains(&name.as_str())
}

impl<'p> Merged<'p> {
    fn new(partial: &'p mut Partial, more: &mut MoreOf) -> Self {
        let sets = Piece::take(partial, more).into_iter().collect();
        Self { partial, sets }
    }

    /// Leaves out what this shape does not keep.
    pub(super) fn leave_out(&mut self, shape: Shape) {
        leave_out(self.partial, shape);
        self.sets.iter_mut().for_each(|piece| piece.leave_out(shape));
    }

    pub(super) fn merge(mut self, other: Self, merges: &mut Merges) -> Self {
        merge_record(self.partial, other.partial, merges);
        self.sets.extend(other.sets);
        self
    }

    /// The record, and whether a count of what it does not list is a lower bound; nothing when all its counters are zero.
    fn finish(self, key: &[u8], of: &Of<'_>, heard: &Heard) -> Option<(Enriched, bool)> {
        let Self { partial, sets } = self;
        let [initiator_sets, responder_sets] = union(&sets);
        let says = |report: &Option<Report>| report.as_ref().is_some_and(|report| !is_empty_report(report));
        if partial.totals == Counters::default() && !says(&partial.by_initiator) && !says(&partial.by_responder) {
            return None;
        }
        let arrival = arrival(partial, of.generation, of.settings.window, heard);
        let (arrival, reason) = crate::filter::doubted(arrival, of.reports, partial);
        let (arrival, reason) = super::explain::doubted((arrival, reason), partial.level, of.settings);
        let said = super::explain::said(std::mem::take(&mut partial.judgements));
        let action = action(partial);
        let limit = usize::try_from(of.settings.set_limit).unwrap_or(usize::MAX);
        let (mut initiator, mut responder) = (partial.initiator.clone(), partial.responder.clone());
        let bounds = said.at_least
            | finish_side(&mut initiator, initiator_sets, limit)
            | finish_side(&mut responder, responder_sets, limit);
        let community_id = community_id_of(&initiator, &responder, partial.protocol);
        let record = Enriched {
            judgements: said.judgements,
            judgements_more: said.more,
            explanation: said.explanation,
            community_id,
            id: record_id(of.cluster, partial.window, of.generation, partial.level, key),
            correction: 0,
            kind: Kind::Upsert,
            origin: partial.origin,
            cluster: of.cluster.to_owned(),
            cluster_known: partial.cluster_known,
            level: partial.level,
            window: partial.window,
            window_length: of.settings.window,
            generation: of.generation,
            semantics: u32::try_from(of.settings.semantics).unwrap_or(0),
            initiator,
            responder,
            protocol: partial.protocol,
            orientation_guessed: partial.orientation_guessed,
            untranslated: partial.untranslated,
            first_seen: partial.first_seen,
            last_seen: partial.last_seen,
            totals: partial.totals,
            by_initiator: partial.by_initiator.take(),
            by_responder: partial.by_responder.take(),
            arrival,
            arrival_reason: reason.to_owned(),
            action,
            coarsened: partial.coarsened || bounds,
            samples: partial.samples,
        };
        Some((record, bounds))
    }
}

/// The side as it stands on the record; whether a count of what it does not list is a lower bound only. An end that is known
/// for certain was so in every report: nothing is on it that could have to be settled.
fn finish_side(side: &mut SharedSide, sets: Unions<'_>, limit: usize) -> bool {
    if sets.is_empty() && side.attribution() == Attribution::Exact {
        return false;
    }
    let mut finished = side.to_change();
    let bounds = sets.put(&mut finished, limit);
    settle_side(&mut finished);
    let finished = SharedSide::from(&finished);
    *side = finished;
    bounds
}

/// Leaves out the second halves of the lists of a record's ends while they are too long for a message, and counts them on the
/// record. Whether any was left out.
fn shorten(record: &mut Enriched) -> bool {
    let mut shortened = false;
    while record.initiator.bytes().len() + record.responder.bytes().len() > ENDS {
        let mut fewer = false;
        for side in [&mut record.initiator, &mut record.responder] {
            side.change(|side| {
                fewer |= halve(&mut side.addresses, &mut side.addresses_more);
                fewer |= halve(&mut side.pods, &mut side.pods_more);
                fewer |= halve(&mut side.labels_some, &mut side.labels_more);
                fewer |= halve(&mut side.domains, &mut side.domains_more);
            });
        }
        if !fewer {
            break;
        }
        shortened = true;
    }
    shortened
}

/// The connection's Community ID, where a record is of one connection and has what it takes.
fn community_id_of(initiator: &SharedSide, responder: &SharedSide, protocol: u8) -> Option<String> {
    let address = |side: &SharedSide| side.head().2;
    community_id(&Ends {
        source: address(initiator)?,
        destination: address(responder)?,
        protocol,
        source_port: initiator.port(),
        destination_port: responder.port(),
    })
}
