//! Closing a generation: partials of one key become one record.

use super::arrival::{action, arrival};
use super::{Closed, Held, Slot};
use crate::coarsen::{Shape, leave_out};
use crate::key::record_id;
use crate::merge::{add_totals, is_empty_report, merge_counts, merge_record, settle_side, sum};
use crate::sets::{Listed, Union};
use std::collections::{BTreeMap, BTreeSet};
use weir_flow::community_id::{Ends, community_id};
use weir_flow::{Address, Level, Millis, RecordSettings};
use weir_schemas::enriched::{Attribution, Counters, Enriched, Kind, Report, Side};
use weir_schemas::ledger::{Ledger, Reporter, Stored};
use weir_schemas::partial::Partial;
use weir_schemas::raw::Totals;

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
pub(super) type Records = BTreeMap<Box<[u8]>, (usize, Box<Merged>)>;

/// A record with all its partials merged.
pub(super) struct Merged {
    pub(super) partial: Partial,
    sets: [Sets; 2],
}

/// What stands behind one end, whole.
#[derive(Default)]
struct Sets {
    addresses: Union<Address>,
    pods: Union<String>,
    labels: Union<String>,
    domains: Union<String>,
}

/// What is known of the reports that a generation lacks.
#[derive(Default)]
pub(super) struct Heard {
    /// Ticks that were missing of each node that reported in the generation's window; absent = the node did not.
    pub(super) missing: BTreeMap<String, u32>,
    /// Levels at which stage 1 has coarsened keys: a report that is not in a record may be in a coarsened one.
    pub(super) coarsened: BTreeSet<u8>,
}

pub(super) fn close(held: Held, of: &Of<'_>, closed: &mut Closed) {
    closed.generations += 1;
    closed.partials += held.dns.values().map(|twins| u64::try_from(twins.len()).unwrap_or(u64::MAX)).sum::<u64>();
    super::dns::close(held.dns, of, closed);
    let mut heard = Heard::default();
    for node in held.missing.into_values().flatten() {
        // A node whose key moved to another partition within the window has ticks in both; the fewer are missing.
        let ticks = heard.missing.entry(node.node).or_insert(node.ticks);
        *ticks = (*ticks).min(node.ticks);
    }
    let mut records = Records::new();
    for (key, Slot { routing, twins }) in held.slots {
        closed.partials += u64::try_from(twins.len()).unwrap_or(u64::MAX);
        heard.coarsened.extend(twins.values().filter(|partial| partial.coarsened).map(|partial| partial.level));
        if let Some(merged) = twins.into_values().map(Merged::new).reduce(Merged::merge) {
            records.insert(key, (routing, Box::new(merged)));
        }
    }
    join_ambiguous(&mut records);
    closed.coarsened += super::limit::coarsen(&mut records, of);
    let mut stored: BTreeMap<(u8, bool), Totals> = BTreeMap::new();
    for (key, (_, merged)) in records {
        let key = key.get(8..).unwrap_or_default();
        if let Some((record, inexact)) = merged.finish(key, of, &heard) {
            closed.inexact += u64::from(inexact);
            book(&record, &mut stored);
            closed.records.push(record);
        }
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

/// At levels 0 and 1 a record that knows an end by address only, with several pods possible, joins the one record of
/// the same tuple that knows the pod, if it is one of the possible ones and the only such record.
fn join_ambiguous(records: &mut Records) {
    let (mut from_keys, mut to_keys) = (Vec::new(), Vec::new());
    for (key, (routing, merged)) in records.iter() {
        let ambiguous = is_open(&merged.partial.initiator) || is_open(&merged.partial.responder);
        let by_tuple = Level::from_number(i64::from(merged.partial.level)).is_some_and(Level::keeps_addresses);
        if !ambiguous || !by_tuple || merged.partial.coarsened {
            continue;
        }
        let tuple = key.get(..8 + routing).unwrap_or(key);
        let same_tuple = records.range(Box::from(tuple)..).take_while(|(other, _)| other.starts_with(tuple));
        let mut possible = same_tuple.filter(|(other, (_, target))| {
            *other != key
                && allows(&merged.partial.initiator, &target.partial.initiator)
                && allows(&merged.partial.responder, &target.partial.responder)
        });
        if let (Some((target, _)), None) = (possible.next(), possible.next()) {
            from_keys.push(key.clone());
            to_keys.push(target.clone());
        }
    }
    for (from, to) in from_keys.into_iter().zip(to_keys) {
        if let Some((_, merged)) = records.remove(&from)
            && let Some((_, target)) = records.get_mut(&to)
        {
            merge_counts(&mut target.partial, &merged.partial);
            for (mine, theirs) in target.sets.iter_mut().zip(merged.sets) {
                mine.merge(theirs);
            }
        }
    }
}

/// Whether several pods may be behind this end.
fn is_open(side: &Side) -> bool {
    side.pod_uid.is_none() && side.attribution == Attribution::Ambiguous
}

/// Whether a report that sees `side` may be one of the record that sees `target`.
fn allows(side: &Side, target: &Side) -> bool {
    if !is_open(side) {
        return side.pod_uid == target.pod_uid && !is_open(target);
    }
    let (Some(_), Some(pod)) = (&target.pod_uid, &target.pod) else { return false };
    let name = target.namespace.as_ref().map_or_else(|| pod.clone(), |namespace| format!("{namespace}/{pod}"));
    side.candidates.contains(&name)
}

impl Sets {
    fn merge(&mut self, other: Self) {
        self.addresses.merge(other.addresses);
        self.pods.merge(other.pods);
        self.labels.merge(other.labels);
        self.domains.merge(other.domains);
    }

    /// Puts what a record lists on its side; whether a count of what is not listed is a lower bound only.
    fn put(self, side: &mut Side, limit: usize) -> bool {
        let addresses = self.addresses.list(limit, &[]);
        let pods = self.pods.list(limit, &[]);
        let labels = self.labels.list(limit, &side.labels);
        let domains = self.domains.list(limit, &[]);
        let bounds = addresses.at_least || pods.at_least || labels.at_least || domains.at_least;
        Listed { members: side.addresses, more: side.addresses_more, .. } = addresses;
        Listed { members: side.pods, more: side.pods_more, .. } = pods;
        Listed { members: side.labels_some, more: side.labels_more, .. } = labels;
        Listed { members: side.domains, more: side.domains_more, .. } = domains;
        bounds
    }
}

impl Merged {
    fn new(partial: Box<Partial>) -> Self {
        let mut partial = *partial;
        use std::mem::take;
        let (initiator, responder) = (&mut partial.initiator, &mut partial.responder);
        let sets = [
            Sets {
                addresses: Union::new(take(&mut partial.initiator_addresses), take(&mut initiator.addresses_more)),
                pods: Union::new(take(&mut partial.initiator_pods), take(&mut initiator.pods_more)),
                labels: Union::new(take(&mut partial.initiator_labels), take(&mut initiator.labels_more)),
                domains: Union::new(take(&mut partial.initiator_domains), take(&mut initiator.domains_more)),
            },
            Sets {
                addresses: Union::new(take(&mut partial.responder_addresses), take(&mut responder.addresses_more)),
                pods: Union::new(take(&mut partial.responder_pods), take(&mut responder.pods_more)),
                labels: Union::new(take(&mut partial.responder_labels), take(&mut responder.labels_more)),
                domains: Union::new(take(&mut partial.responder_domains), take(&mut responder.domains_more)),
            },
        ];
        Self { partial, sets }
    }

    /// Leaves out what this shape does not keep.
    pub(super) fn leave_out(&mut self, shape: Shape) {
        leave_out(&mut self.partial, shape);
        for (sets, initiator) in self.sets.iter_mut().zip([true, false]) {
            if !shape.keeps(initiator) {
                *sets = Sets::default();
            }
        }
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        merge_record(&mut self.partial, &other.partial);
        for (mine, theirs) in self.sets.iter_mut().zip(other.sets) {
            mine.merge(theirs);
        }
        self
    }

    /// The record, and whether a count of what it does not list is a lower bound; nothing when all its counters are zero.
    fn finish(self, key: &[u8], of: &Of<'_>, heard: &Heard) -> Option<(Enriched, bool)> {
        let Self { partial, sets: [initiator_sets, responder_sets] } = self;
        let says = |report: &Option<Report>| report.as_ref().is_some_and(|report| !is_empty_report(report));
        if partial.totals == Counters::default() && !says(&partial.by_initiator) && !says(&partial.by_responder) {
            return None;
        }
        let arrival = arrival(&partial, of.generation, of.settings.window, heard);
        let (arrival, reason) = crate::filter::doubted(arrival, of.reports, &partial);
        let action = action(&partial);
        let limit = usize::try_from(of.settings.set_limit).unwrap_or(usize::MAX);
        let (mut initiator, mut responder) = (partial.initiator, partial.responder);
        let bounds = initiator_sets.put(&mut initiator, limit) | responder_sets.put(&mut responder, limit);
        settle_side(&mut initiator);
        settle_side(&mut responder);
        let community_id = community_id_of(&initiator, &responder, partial.protocol);
        let record = Enriched {
            judgements_more: 0,
            community_id,
            explanation: weir_schemas::enriched::Explanation::NotJudged,
            judgements: Vec::new(),
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
            by_initiator: partial.by_initiator,
            by_responder: partial.by_responder,
            arrival,
            arrival_reason: reason.to_owned(),
            action,
            coarsened: partial.coarsened || bounds,
            samples: partial.samples,
        };
        Some((record, bounds))
    }
}

/// The connection's Community ID, where a record is of one connection and has what it takes.
fn community_id_of(initiator: &Side, responder: &Side, protocol: u8) -> Option<String> {
    community_id(&Ends {
        source: initiator.address?,
        destination: responder.address?,
        protocol,
        source_port: initiator.port,
        destination_port: responder.port,
    })
}
