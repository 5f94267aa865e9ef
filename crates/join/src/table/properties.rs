//! The table against a model that searches everything it was ever told.

use super::*;
use crate::identities::Identities;
use crate::identity::Identity;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::enriched::Attribution;
use weir_schemas::metadata::{Agent, Bound, BoundSource, Node, Pod, Revision};

/// A pod's history: steps of (time to the next change, width of its bound, addresses held, what follows).
type Steps = Vec<(i64, i64, BTreeSet<u8>, Next)>;

/// How the next revision begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Where,
    AfterAGap,
    /// It was learnt late.
    Clipped,
}

fn steps() -> impl Strategy<Value = Steps> {
    let next = prop_oneof![2 => Just(Next::Where), 2 => Just(Next::AfterAGap), 1 => Just(Next::Clipped)];
    prop::collection::vec((1i64..12, 0i64..8, prop::collection::btree_set(0u8..3, 0..3), next), 1..6)
}

fn held(number: u8) -> Address {
    format!("10.0.0.{number}").parse().unwrap()
}

fn bound(at: i64, width: i64) -> Bound {
    Bound { earliest: at, latest: at + width, source: BoundSource::Arrival }
}

/// What counts as one in the steps, ms: not quite what times are rounded to where who holds something now is noted.
const UNIT: Millis = 700;

/// A revision with bounds in ms instead of units.
fn in_units(revision: Revision) -> Revision {
    let scale = |at: Millis| if at == FOR_EVER { at } else { at * UNIT };
    let scaled = |bound: Bound| Bound { earliest: scale(bound.earliest), latest: scale(bound.latest), ..bound };
    let (valid_from, valid_to) = (scaled(revision.valid_from), revision.valid_to.map(scaled));
    Revision { valid_from, valid_to, ..revision }
}

/// Times from 0 on, a unit and some more apart.
fn times(units: i64, step: usize) -> impl Iterator<Item = Millis> + Clone {
    (0..units).step_by(step).map(|unit| unit * UNIT + unit % 3)
}

fn uid_of(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn number_of(uid: &str) -> usize {
    uid.rsplit('-').next().unwrap().parse().unwrap()
}

/// The messages of one pod in order: every revision open, then closed, if it ever is.
fn messages(uid: usize, steps: &Steps) -> Vec<Revision> {
    let mut messages: Vec<Revision> = Vec::new();
    let mut time = i64::try_from(uid).unwrap() * 11;
    let mut next = bound(i64::try_from(uid).unwrap() * 11, 0);
    for (index, (length, width, addresses, then)) in steps.iter().enumerate() {
        let open = Revision {
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_at: None,
            changed_by: String::new(),
            cluster: "c".to_owned(),
            uid: uid_of(uid),
            revision: u64::try_from(index).unwrap() + 1,
            namespace: "shop".to_owned(),
            name: format!("pod-{uid}"),
            labels: vec![format!("step={index}")],
            valid_from: next,
            valid_to: None,
            object: Object::Pod(Pod {
                addresses: addresses.iter().map(|n| held(*n)).collect(),
                node: format!("node-{}", index % 2),
                ..Pod::default()
            }),
        };
        messages.push(open.clone());
        if index + 1 < steps.len() {
            time += length + 8;
            let mut end = bound(time, *width);
            if *then == Next::Clipped {
                end.source = BoundSource::Clipped;
            }
            messages.push(Revision { valid_to: Some(end), ..open });
            next = if *then == Next::AfterAGap { bound(time + 3, *width) } else { end };
        }
    }
    messages.into_iter().map(in_units).collect()
}

/// The same of nodes and agents, which by turns have the same names, and zones or none.
fn around(number: usize, steps: &Steps) -> Vec<Revision> {
    let other = |revision: Revision| {
        let name = format!("node-{}", number % 2);
        let zone = ["", "zone-a", "zone-b"][usize::try_from(revision.revision).unwrap() / 2 % 3].to_owned();
        let object = if number / 2 == 0 {
            Object::Node(Node { addresses: vec![held(2)], zone, ..Node::default() })
        } else {
            Object::Agent(Agent { node: name.clone(), ..Agent::default() })
        };
        Revision { uid: uid_of(100 + number), namespace: String::new(), name, object, ..revision }
    };
    messages(number, steps).into_iter().map(other).collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Nobody,
    Exact(String),
    Several(Vec<String>),
}

/// The last emission of every revision, searched in full.
fn model(known: &BTreeMap<(String, u64), Revision>, address: Address, at: Millis) -> Answer {
    let holds = |revision: &&Revision| matches!(&revision.object, Object::Pod(pod) if pod.addresses.contains(&address));
    let until = |revision: &Revision| revision.valid_to.map_or((FOR_EVER, FOR_EVER), |to| (to.earliest, to.latest));
    let mut by_uid: BTreeMap<&str, Vec<&Revision>> = BTreeMap::new();
    for revision in known.values().filter(holds) {
        if revision.valid_from.earliest <= at && at < until(revision).1 {
            by_uid.entry(&revision.uid).or_default().push(revision);
        }
    }
    let certain = |list: &Vec<&Revision>| {
        // The pod held it wherever the bounds are: no place of a bound leaves a moment without a revision at `at`.
        let (Some(first), Some(last)) = (list.first(), list.last()) else { return false };
        let whole = list.windows(2).all(|pair| match pair {
            [a, b] => a.revision + 1 == b.revision && a.valid_to == Some(b.valid_from),
            _ => false,
        });
        let single = list.iter().any(|revision| revision.valid_from.latest <= at && at < until(revision).0);
        single || (whole && first.valid_from.latest <= at && at < until(last).0)
    };
    let sure: Vec<&str> = by_uid.iter().filter(|(_, list)| certain(list)).map(|(uid, _)| *uid).collect();
    if let [sure] = sure.as_slice() {
        by_uid.retain(|uid, list| uid == sure || !list.iter().all(|held| surely_before(known, address, held, sure)));
    }
    match by_uid.len() {
        0 => Answer::Nobody,
        1 if by_uid.values().all(certain) => Answer::Exact(by_uid.keys().map(ToString::to_string).collect()),
        _ => Answer::Several(by_uid.keys().map(|uid| format!("shop/pod-{}", number_of(uid))).collect()),
    }
}

/// Whether a revision's holding of an address surely began before a pod can have had the address for the first time.
fn surely_before(known: &BTreeMap<(String, u64), Revision>, address: Address, held: &Revision, holder: &str) -> bool {
    let holds = |revision: &Revision| matches!(&revision.object, Object::Pod(pod) if pod.addresses.contains(&address));
    let own = known.values().filter(|revision| revision.uid == holder && holds(revision));
    let Some(begin) = own.clone().map(|revision| revision.valid_from.earliest).min() else { return false };
    let mut at_begin = own.filter(|revision| revision.valid_from.earliest == begin);
    if at_begin.any(|revision| revision.valid_from.source == BoundSource::Clipped) {
        return false;
    }
    held.valid_from.latest < begin
}

fn answer(table: &Table, address: Address, at: Millis) -> Answer {
    let side = table.side(&Ask::address(at, address));
    match side.attribution {
        Attribution::None => Answer::Nobody,
        Attribution::Exact => Answer::Exact(side.pod_uid.unwrap()),
        Attribution::Ambiguous => Answer::Several(side.candidates),
    }
}

fn empty() -> Table {
    let mut table = Table::new("c", 1);
    let heartbeat = Heartbeat { cluster: "c".to_owned(), complete_to: 0, proof: Proof::Manifests, cluster_known: true };
    table.apply(0, &Metadata::Heartbeat(heartbeat));
    table
}

/// The pods' messages, interleaved by the picks.
fn interleave(pods: &[Steps], picks: &[usize]) -> Vec<Revision> {
    interleave_all(pods, &[], picks)
}

/// The same with nodes and agents.
fn interleave_all(pods: &[Steps], others: &[Steps], picks: &[usize]) -> Vec<Revision> {
    let pods = pods.iter().enumerate().map(|(uid, steps)| messages(uid, steps).into());
    let others = others.iter().enumerate().map(|(number, steps)| around(number, steps).into());
    let mut queues: Vec<std::collections::VecDeque<Revision>> = pods.chain(others).collect();
    let mut all = Vec::new();
    let mut picks = picks.iter().cycle();
    while queues.iter().any(|queue| !queue.is_empty()) {
        let pick = *picks.next().unwrap() % queues.len();
        queues.rotate_left(pick);
        all.extend(queues.iter_mut().find_map(std::collections::VecDeque::pop_front));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_table_answers_as_the_model_after_every_message(
        pods in prop::collection::vec(steps(), 1..5),
        picks in prop::collection::vec(0usize..5, 1..20),
    ) {
        let mut table = empty();
        let mut known = BTreeMap::new();
        for message in interleave(&pods, &picks) {
            known.insert((message.uid.clone(), message.revision), message.clone());
            table.apply(0, &Metadata::Revision(message));
            for number in 0..3 {
                for at in times(120, 7) {
                    prop_assert_eq!(answer(&table, held(number), at), model(&known, held(number), at));
                }
            }
        }
    }

    #[test]
    fn compaction_and_order_change_nothing(
        pods in prop::collection::vec(steps(), 1..5),
        picks in prop::collection::vec(0usize..5, 1..20),
        keep in prop::collection::vec(any::<bool>(), 1..20),
        other in prop::collection::vec(0usize..5, 1..20),
    ) {
        let all = interleave(&pods, &picks);
        let mut whole = empty();
        all.iter().for_each(|message| whole.apply(0, &Metadata::Revision(message.clone())));
        // Another order of the pods, and of every message that a later one replaces only some are left.
        let again = interleave(&pods, &other);
        let mut compacted = empty();
        for (index, message) in again.iter().enumerate() {
            let replaced = again.iter().skip(index + 1)
                .any(|later| later.uid == message.uid && later.revision == message.revision);
            if !replaced || keep[index % keep.len()] {
                compacted.apply(0, &Metadata::Revision(message.clone()));
            }
        }
        for number in 0..3 {
            for at in times(120, 1) {
                let ask = Ask::address(at, held(number));
                prop_assert_eq!(whole.side(&ask), compacted.side(&ask));
            }
        }
    }

    #[test]
    fn many_at_once_and_from_bytes_are_answered_as_one_by_one(
        pods in prop::collection::vec(steps(), 1..5),
        picks in prop::collection::vec(0usize..5, 1..20),
    ) {
        let (mut owned, mut borrowed) = (empty(), empty());
        let messages: Vec<Metadata> = interleave(&pods, &picks).into_iter().map(Metadata::Revision).collect();
        messages.iter().for_each(|message| owned.apply(0, message));
        let bytes: Vec<Vec<u8>> = messages.iter().map(|message| weir_schemas::encode(message).unwrap()).collect();
        let read: Vec<_> = bytes.iter().map(|bytes| (0, weir_schemas::decode_metadata(bytes).unwrap())).collect();
        borrowed.apply_all(&read);
        let by_address = times(120, 1).flat_map(|at| (0..3).map(move |number| Ask::address(at, held(number))));
        let uid = uid_of(0);
        let by_uid = times(120, 1).map(|at| Ask { pod_uid: Some(&uid), ..Ask::address(at, held(0)) });
        let asks: Vec<Ask<'_>> = by_address.chain(by_uid).collect();
        let mut answers = Vec::new();
        borrowed.resolve_all(&asks, &mut answers);
        let expected: Vec<_> = asks.iter().map(|ask| owned.resolve(ask)).collect();
        prop_assert_eq!(answers, expected);
    }

    #[test]
    fn the_uid_beats_the_address_and_there_are_never_two_names(
        pods in prop::collection::vec(steps(), 2..5),
        at in 60i64..160,
        number in 0u8..3,
    ) {
        let mut table = empty();
        interleave(&pods, &[0]).into_iter().for_each(|message| table.apply(0, &Metadata::Revision(message)));
        for uid in 0..pods.len() {
            let uid = uid_of(uid);
            let side = table.side(&Ask { pod_uid: Some(&uid), ..Ask::address(at * UNIT, held(number)) });
            prop_assert_eq!(side.pod_uid.as_deref(), Some(uid.as_str()));
        }
        let side = table.side(&Ask::address(at * UNIT, held(number)));
        prop_assert_eq!(side.pod.is_some(), side.attribution == Attribution::Exact);
        prop_assert_eq!(side.candidates.is_empty(), side.attribution != Attribution::Ambiguous);
        prop_assert_eq!(side.reason.is_some(), side.attribution == Attribution::None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// After every message and tombstone, which come in any order: what is noted beside an address, a UID and a node's
    /// name says of every time what their histories say.
    #[test]
    fn what_is_noted_of_now_is_what_the_history_says(
        pods in prop::collection::vec(steps(), 1..4),
        around in prop::collection::vec(steps(), 0..4),
        picks in prop::collection::vec(0usize..9, 1..20),
        forgotten in prop::collection::vec((any::<bool>(), 0usize..60), 1..20),
    ) {
        let mut table = empty();
        let all = interleave_all(&pods, &around, &picks);
        for (index, message) in all.iter().enumerate() {
            table.apply(0, &Metadata::Revision(message.clone()));
            let (forgets, which) = forgotten[index % forgotten.len()];
            if forgets {
                let Revision { uid, revision, object, .. } = &all[which % all.len()];
                let kind = ["Pod", "Node", "", "", "Agent"][kind_of(object)];
                table.forget(&format!("c/{kind}/{uid}/{revision}"));
            }
            for at in times(130, 5) {
                for number in 0..3 {
                    let ask = Ask::address(at, held(number));
                    prop_assert_eq!(table.resolve(&ask), table.by_address(&ask, table.ends.place(held(number))));
                }
                for uid in (0..pods.len()).map(uid_of) {
                    let known = table.by_uid[0].get(UidKey::of(&uid));
                    let expected = table.by_pod_uid(table.revisions_of(known), at);
                    prop_assert_eq!(table.resolve(&Ask { pod_uid: Some(&uid), ..Ask::address(at, held(0)) }), expected);
                }
                for (node, named) in (0..).zip(&table.named_nodes) {
                    let zone = table.zone(node, at);
                    prop_assert_eq!(zone.as_deref(), named.history.zone(at));
                    let identity = Identity { node_number: node, ..Identities::default().get(0).clone() };
                    prop_assert_eq!(table.agent_on(&identity, at), named.history.has_agent(at));
                }
            }
        }
    }
}

/// What is true of one address: pods hold it one after the other, each from a time to a time, and none twice.
#[derive(Clone, Debug)]
struct Hold {
    begin: i64,
    end: i64,
    /// How far the bounds of the beginning reach before and after it, and those of the end.
    doubt: [i64; 4],
    /// Nobody tells of the end: it stays open, or open above from when it was asked for.
    untold: Option<bool>,
    /// Its labels change once, after so long.
    change: Option<i64>,
    /// Learnt so late after it began that the beginning was moved to after a heartbeat.
    late: Option<i64>,
}

fn truth() -> impl Strategy<Value = Vec<Hold>> {
    let hold = (0i64..6, 1i64..20, prop::array::uniform4(0i64..12), prop::option::of(any::<bool>()));
    let rest = (prop::option::of(1i64..20), prop::option::weighted(0.2, 1i64..15));
    prop::collection::vec((hold, rest), 1..7).prop_map(|steps| {
        let mut time = 20;
        let hold = |((gap, length, doubt, untold), (change, late)): ((i64, i64, _, _), _)| {
            let begin = time + gap;
            time = begin + length;
            Hold { begin, end: time, doubt, untold, change, late }
        };
        steps.into_iter().map(hold).collect()
    })
}

/// The revisions by which the holds are told, with bounds that are true of those that are not late.
fn told(holds: &[Hold]) -> Vec<Revision> {
    let mut all = Vec::new();
    let base = messages(0, &vec![(1, 0, BTreeSet::from([0]), Next::Where)]).pop().unwrap();
    for (number, hold) in holds.iter().enumerate() {
        let between = |from: i64, to: i64| Bound { earliest: from, latest: to.max(from), source: BoundSource::Status };
        let [before, after, early, late] = hold.doubt;
        let mut from = between(hold.begin - before, hold.begin + after);
        if let Some(late) = hold.late {
            from = Bound { source: BoundSource::Clipped, ..between(from.latest + late, from.latest + late + after) };
        }
        let mut to = match hold.untold {
            Some(true) => None,
            Some(false) => Some(Bound { latest: FOR_EVER, ..between(hold.end - early, hold.end) }),
            None => Some(between(hold.end - early, hold.end + late)),
        };
        if let Some(to) = &mut to {
            *to = Bound { earliest: to.earliest.max(from.earliest), latest: to.latest.max(from.latest), ..*to };
        }
        let first = Revision {
            uid: uid_of(number),
            name: format!("pod-{number}"),
            valid_from: from,
            valid_to: to,
            ..base.clone()
        };
        let change = hold.change.map(|after| between(from.latest + after, from.latest + after));
        match change.filter(|change| to.is_none_or(|to| change.latest < to.earliest)) {
            Some(change) => {
                all.push(Revision { valid_to: Some(change), ..first.clone() });
                all.push(Revision { revision: 2, labels: Vec::new(), valid_from: change, ..first });
            }
            None => all.push(first),
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A pod whose end nobody told may be named for as long as it alone is known, but never for a time at which
    /// another's bounds say that it had the address.
    #[test]
    fn an_address_that_one_pod_has_at_a_time_is_never_named_after_another(holds in truth(), turn in 0usize..7) {
        let mut table = empty();
        let mut told = told(&holds);
        let turn = turn % told.len();
        told.rotate_left(turn);
        told.into_iter().for_each(|revision| table.apply(0, &Metadata::Revision(in_units(revision))));
        for at in 0..200 {
            let side = table.side(&Ask::address(at * UNIT, held(0)));
            let Some(named) = side.pod_uid else { continue };
            let named = number_of(&named);
            let holder = holds.iter().position(|hold| hold.begin <= at && at < hold.end);
            if let Some(holder) = holder.filter(|holder| holds[*holder].late.is_none()) {
                let known = at >= holds[holder].begin + holds[holder].doubt[1];
                let stale = holds[named].untold == Some(true) && named < holder && !known;
                prop_assert!(named == holder || stale, "at {} it was {}, named {}", at, holder, named);
            }
        }
    }
}
