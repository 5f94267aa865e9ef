//! How records are added up. Every operation here is commutative and associative, so that the result does not depend on
//! the order in which samples or partial records come: sums that stop at 2^63 − 1 (the largest number on a topic),
//! minima, maxima, unions and intersections, and the smallest members of bounded sets.

use crate::key::scope_number;
use foldhash::HashMap;
use std::sync::Arc;
use weir_flow::Level;
use weir_schemas::enriched::{Attribution, Counters, DropCounter, Report, SharedSide, Side, Sides};
use weir_schemas::partial::{Answer, Judged, Partial};
use weir_schemas::raw::{DropClass, RoundTrip, Totals};

#[cfg(test)]
mod tests;

/// The largest counter that a topic can hold.
pub(crate) const LARGEST: u64 = i64::MAX.unsigned_abs();

/// The most candidates of an ambiguous end.
const CANDIDATES: usize = 8;

/// The most reasons of drops on a report that are listed by name.
const REASONS: usize = 14;

/// The reason that stands for all reasons beyond the limit, one of each class.
pub(crate) const MORE_REASONS: &str = "(more)";

/// A sum that stops at [`LARGEST`].
pub(crate) fn sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(LARGEST)
}

/// A product that stops at [`LARGEST`].
pub(crate) fn product(a: u64, b: u64) -> u64 {
    a.saturating_mul(b).min(LARGEST)
}

pub(crate) fn add_counters(a: &mut Counters, b: &Counters) {
    a.forward_bytes = sum(a.forward_bytes, b.forward_bytes);
    a.forward_packets = sum(a.forward_packets, b.forward_packets);
    a.reverse_bytes = sum(a.reverse_bytes, b.reverse_bytes);
    a.reverse_packets = sum(a.reverse_packets, b.reverse_packets);
    a.started = sum(a.started, b.started);
    a.ended = sum(a.ended, b.ended);
}

pub(crate) fn add_totals(a: &mut Totals, b: &Totals) {
    a.packets = sum(a.packets, b.packets);
    a.bytes = sum(a.bytes, b.bytes);
    a.samples = sum(a.samples, b.samples);
}

pub(crate) fn add_round_trip(a: &mut Option<RoundTrip>, b: Option<&RoundTrip>) {
    match (a.as_mut(), b) {
        (Some(a), Some(b)) => {
            a.sum = sum(a.sum, b.sum);
            a.count = sum(a.count, b.count);
            a.min = a.min.min(b.min);
            a.max = a.max.max(b.max);
        }
        (None, Some(b)) => *a = Some(*b),
        (_, None) => {}
    }
}

/// Adds drops to a list that is sorted by reason and class.
pub(crate) fn add_drops(drops: &mut Vec<DropCounter>, other: &DropCounter) {
    match drops.binary_search_by(|known| (&known.reason, known.class).cmp(&(&other.reason, other.class))) {
        Ok(found) => {
            if let Some(known) = drops.get_mut(found) {
                known.forward_packets = sum(known.forward_packets, other.forward_packets);
                known.forward_bytes = sum(known.forward_bytes, other.forward_bytes);
                known.reverse_packets = sum(known.reverse_packets, other.reverse_packets);
                known.reverse_bytes = sum(known.reverse_bytes, other.reverse_bytes);
            }
        }
        Err(place) => drops.insert(place, other.clone()),
    }
}

/// Folds the reasons beyond the limit into one per class. What was folded before is never unfolded, because the reasons
/// that are kept are the smallest ones of all.
pub(crate) fn fold_drops(drops: &mut Vec<DropCounter>) {
    let (mut more, mut named): (Vec<_>, Vec<_>) = drops.drain(..).partition(|drop| drop.reason == MORE_REASONS);
    for beyond in named.split_off(named.len().min(REASONS)) {
        add_drops(&mut more, &DropCounter { reason: MORE_REASONS.to_owned(), ..beyond });
    }
    named.extend(more);
    named.sort();
    *drops = named;
}

pub(crate) fn empty_report() -> Report {
    Report {
        handshake: None,
        resets: 0,
        zero_windows: 0,
        counters: Counters::default(),
        drops: Vec::new(),
        forward_tcp_flags: 0,
        reverse_tcp_flags: 0,
        retransmits: 0,
        round_trip: None,
        last_forward: None,
        sampling: 1,
    }
}

pub(crate) fn add_report(a: &mut Option<Report>, b: Option<&Report>) {
    let Some(b) = b else { return };
    let a = a.get_or_insert_with(empty_report);
    add_counts(a, b);
    if !a.drops.is_empty() {
        fold_drops(&mut a.drops);
    }
}

/// Adds a report to another, with all reasons of drops.
pub(crate) fn add_counts(a: &mut Report, b: &Report) {
    add_counters(&mut a.counters, &b.counters);
    for drop in &b.drops {
        add_drops(&mut a.drops, drop);
    }
    a.forward_tcp_flags |= b.forward_tcp_flags;
    a.reverse_tcp_flags |= b.reverse_tcp_flags;
    a.retransmits = sum(a.retransmits, b.retransmits);
    a.zero_windows = sum(a.zero_windows, b.zero_windows);
    a.resets = sum(a.resets, b.resets);
    add_round_trip(&mut a.round_trip, b.round_trip.as_ref());
    add_round_trip(&mut a.handshake, b.handshake.as_ref());
    a.last_forward = a.last_forward.max(b.last_forward);
    a.sampling = a.sampling.max(b.sampling);
}

/// Whether all counters of a report are zero. Times are measurements, not counters.
pub(crate) fn is_empty_report(report: &Report) -> bool {
    report.counters == Counters::default()
        && report.retransmits == 0
        && report.zero_windows == 0
        && report.resets == 0
        && report.drops.iter().all(|drop| {
            drop.forward_packets == 0 && drop.forward_bytes == 0 && drop.reverse_packets == 0 && drop.reverse_bytes == 0
        })
}

/// Packets dropped by what a policy does: (initiator to responder, responder to initiator).
pub(crate) fn policy_drops(report: &Report) -> (u64, u64) {
    let policy = report.drops.iter().filter(|drop| drop.class == DropClass::Policy);
    policy.fold((0, 0), |(f, r), drop| (sum(f, drop.forward_packets), sum(r, drop.reverse_packets)))
}

/// The most answers of policies on a partial record that are listed as they are.
const ANSWERS: usize = 16;

/// Adds what policies say of some samples to what they say of others, in no order.
pub(crate) fn add_judged(judgements: &mut Vec<Judged>, other: &Judged) {
    let same = |known: &&mut Judged| Arc::ptr_eq(&known.answer, &other.answer) || known.answer == other.answer;
    match judgements.iter_mut().find(same) {
        Some(known) => {
            known.samples = sum(known.samples, other.samples);
            known.against = sum(known.against, other.against);
            known.otherwise = sum(known.otherwise, other.otherwise);
        }
        None => {
            judgements.push(other.clone());
            if judgements.len() > 4 * ANSWERS {
                fold_judged(judgements);
            }
        }
    }
}

/// Puts answers in order and folds those beyond the limit into one of each verdict. What was folded before is never
/// unfolded, because the answers that are kept are the smallest ones of all.
pub(crate) fn fold_judged(judgements: &mut Vec<Judged>) {
    if judgements.len() > 1 {
        judgements.sort_unstable_by(|a, b| a.answer.cmp(&b.answer));
    }
    if judgements.len() <= ANSWERS {
        return;
    }
    let (mut more, mut named): (Vec<_>, Vec<_>) = judgements.drain(..).partition(is_folded);
    for beyond in named.split_off(named.len().min(ANSWERS)) {
        let verdict = beyond.answer.verdict;
        let answer = Answer {
            verdict,
            reason: MORE_REASONS.to_owned(),
            trace: Vec::new(),
            selecting: Vec::new(),
            pending: None,
        };
        add_judged(&mut more, &Judged { answer: Arc::new(answer), ..beyond });
    }
    named.extend(more);
    named.sort_unstable_by(|a, b| a.answer.cmp(&b.answer));
    *judgements = named;
}

/// Whether it stands for several answers of one verdict.
pub(crate) fn is_folded(judged: &Judged) -> bool {
    judged.answer.reason == MORE_REASONS
}

/// What holds for both: the value where both have the same.
fn common<T: PartialEq>(a: &mut Option<T>, b: Option<&T>) {
    if a.as_ref() != b {
        *a = None;
    }
}

/// What either knows; the smaller where both know something else.
fn either<T: Ord + Clone>(a: &mut Option<T>, b: Option<&T>) {
    match (a.as_ref(), b) {
        (None, Some(b)) => *a = Some(b.clone()),
        (Some(known), Some(b)) if b < known => *a = Some(b.clone()),
        _ => {}
    }
}

/// Merges what two reports know of the same end. Sets of addresses and pods are merged elsewhere.
pub(crate) fn merge_side<T: Ord + Clone>(a: &mut Side<T>, b: &Side<T>) {
    a.attribution = a.attribution.max(b.attribution);
    a.by = a.by.min(b.by);
    either(&mut a.reason, b.reason.as_ref());
    a.candidates.extend_from_slice(&b.candidates);
    a.candidates.sort_unstable();
    a.candidates.dedup();
    a.candidates.truncate(CANDIDATES);
    a.always_valid &= b.always_valid;
    if scope_number(b.scope) < scope_number(a.scope) {
        a.scope = b.scope;
    }
    common(&mut a.address, b.address.as_ref());
    common(&mut a.port, b.port.as_ref());
    common(&mut a.namespace, b.namespace.as_ref());
    common(&mut a.pod, b.pod.as_ref());
    common(&mut a.pod_uid, b.pod_uid.as_ref());
    common(&mut a.workload_kind, b.workload_kind.as_ref());
    common(&mut a.workload, b.workload.as_ref());
    common(&mut a.node, b.node.as_ref());
    common(&mut a.zone, b.zone.as_ref());
    common(&mut a.service_account, b.service_account.as_ref());
    common(&mut a.network_set, b.network_set.as_ref());
    either(&mut a.country, b.country.as_ref());
    either(&mut a.as_number, b.as_number.as_ref());
    either(&mut a.as_organization, b.as_organization.as_ref());
    either(&mut a.service, b.service.as_ref());
    either(&mut a.host, b.host.as_ref());
    either(&mut a.container, b.container.as_ref());
    either(&mut a.process, b.process.as_ref());
    if a.labels != b.labels {
        a.labels.retain(|label| b.labels.binary_search(label).is_ok());
    }
}

/// The most merged sides that are remembered.
const MERGED: usize = 65_536;

/// Memory of a merged side that is remembered, roughly.
const REMEMBERED: usize = 192;

/// Merges sides that share their bytes, and remembers what came of it: where many records have few ends, the same two are
/// merged again and again.
#[derive(Debug, Default)]
pub(crate) struct Merges {
    /// Every side that was made here, once: what merges to the same is one side from then on, and found again.
    pub(crate) sides: Sides,
    /// By where both sides' bytes are; with the sides, so that nothing else gets there.
    known: HashMap<(usize, usize), [SharedSide; 3]>,
}

impl Merges {
    /// [`merge_side`] of sides as they are encoded. What is the same twice stays as it is, unless it names candidates, which
    /// are put in order.
    pub(crate) fn merge(&mut self, a: &mut SharedSide, b: &SharedSide) {
        let port = a.port().filter(|_| a.port() == b.port());
        if a.is(b) && a.attribution() != Attribution::Ambiguous {
            if a.port() != port {
                *a = a.with_port(None);
            }
            return;
        }
        let place = |side: &SharedSide| side.bytes().as_ptr().addr();
        let places = (place(a), place(b));
        if let Some([_, _, merged]) = self.known.get(&places) {
            *a = merged.with_port(port);
            return;
        }
        let mut merged = a.view();
        merge_side(&mut merged, &b.view());
        let merged = self.sides.take_view(&merged).with_port(port);
        if self.known.len() < MERGED {
            self.known.insert(places, [a.clone(), b.clone(), merged.clone()]);
        }
        *a = merged;
    }

    /// Bytes held, roughly.
    pub(crate) fn memory(&self) -> usize {
        self.sides.memory() + self.known.len() * REMEMBERED
    }
}

/// What no merge could keep true piece by piece: an end that is known has neither candidates nor a reason, and is where it is.
pub(crate) fn settle_side<T>(side: &mut Side<T>) {
    if side.attribution != Attribution::Ambiguous {
        side.candidates.clear();
    }
    if side.attribution != Attribution::None {
        side.reason = None;
        side.country = None;
        side.as_number = None;
        side.as_organization = None;
    }
}

/// A side of levels 0 and 1 as it stands on levels 2 and 3: without what tells pods of one workload apart.
pub(crate) fn without_instance<T>(mut side: Side<T>) -> Side<T> {
    side.address = None;
    side.port = None;
    side.pod = None;
    side.pod_uid = None;
    side.container = None;
    side.process = None;
    side
}

/// Adds a partial record of the same key to another: counters, reports and sides, but no sets.
pub(crate) fn merge_record(a: &mut Partial, b: &Partial, merges: &mut Merges) {
    merges.merge(&mut a.initiator, &b.initiator);
    merges.merge(&mut a.responder, &b.responder);
    merge_counts(a, b);
}

/// Adds all but the sides.
pub(crate) fn merge_counts(a: &mut Partial, b: &Partial) {
    a.cluster_known |= b.cluster_known;
    a.orientation_guessed |= b.orientation_guessed;
    a.untranslated |= b.untranslated;
    a.first_seen = a.first_seen.min(b.first_seen);
    a.last_seen = a.last_seen.max(b.last_seen);
    add_counters(&mut a.totals, &b.totals);
    add_report(&mut a.by_initiator, b.by_initiator.as_ref());
    add_report(&mut a.by_responder, b.by_responder.as_ref());
    a.initiator_covered &= b.initiator_covered;
    a.responder_covered &= b.responder_covered;
    a.coarsened |= b.coarsened;
    a.samples = sum(a.samples, b.samples);
    if !b.judgements.is_empty() {
        b.judgements.iter().for_each(|judged| add_judged(&mut a.judgements, judged));
        fold_judged(&mut a.judgements);
    }
}

/// Whether a level's records carry sets of addresses and pods.
pub(crate) fn has_sets(level: Level) -> bool {
    !level.keeps_addresses()
}
