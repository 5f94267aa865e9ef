//! The table against a model that searches everything it was ever told.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::enriched::Attribution;
use weir_schemas::metadata::{Bound, BoundSource, Pod, Revision};

/// A pod's history: steps of (time to the next change, width of its bound, addresses held, whether a gap follows).
type Steps = Vec<(i64, i64, BTreeSet<u8>, bool)>;

fn steps() -> impl Strategy<Value = Steps> {
    prop::collection::vec((1i64..12, 0i64..8, prop::collection::btree_set(0u8..3, 0..3), any::<bool>()), 1..6)
}

fn held(number: u8) -> Address {
    format!("10.0.0.{number}").parse().unwrap()
}

fn bound(at: i64, width: i64) -> Bound {
    Bound { earliest: at, latest: at + width, source: BoundSource::Arrival }
}

/// The messages of one pod in order: every revision open, then closed, if it ever is.
fn messages(uid: usize, steps: &Steps) -> Vec<Revision> {
    let mut messages: Vec<Revision> = Vec::new();
    let mut time = 0;
    let mut next = bound(0, 0);
    for (index, (length, width, addresses, gap)) in steps.iter().enumerate() {
        let open = Revision {
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_at: None,
            changed_by: String::new(),
            cluster: "c".to_owned(),
            uid: format!("uid-{uid}"),
            revision: u64::try_from(index).unwrap() + 1,
            namespace: "shop".to_owned(),
            name: format!("pod-{uid}"),
            labels: vec![format!("step={index}")],
            valid_from: next,
            valid_to: None,
            object: Object::Pod(Pod { addresses: addresses.iter().map(|n| held(*n)).collect(), ..Pod::default() }),
        };
        messages.push(open.clone());
        if index + 1 < steps.len() {
            time += length + 8;
            let end = bound(time, *width);
            messages.push(Revision { valid_to: Some(end), ..open });
            next = if *gap { bound(time + 3, *width) } else { end };
        }
    }
    messages
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
    match by_uid.len() {
        0 => Answer::Nobody,
        1 if by_uid.values().all(certain) => Answer::Exact(by_uid.keys().map(ToString::to_string).collect()),
        _ => Answer::Several(by_uid.keys().map(|uid| uid.replace("uid", "shop/pod")).collect()),
    }
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
    let mut queues: Vec<std::collections::VecDeque<Revision>> =
        pods.iter().enumerate().map(|(uid, steps)| messages(uid, steps).into()).collect();
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
                for at in (0..120).step_by(7) {
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
            for at in 0..120 {
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
        for message in interleave(&pods, &picks).into_iter().map(Metadata::Revision) {
            owned.apply(0, &message);
            borrowed.apply(0, &weir_schemas::decode_metadata(&weir_schemas::encode(&message).unwrap()).unwrap());
        }
        let by_address = (0..120).flat_map(|at| (0..3).map(move |number| Ask::address(at, held(number))));
        let by_uid = (0..120).map(|at| Ask { pod_uid: Some("uid-0"), ..Ask::address(at, held(0)) });
        let asks: Vec<Ask<'_>> = by_address.chain(by_uid).collect();
        let mut answers = Vec::new();
        borrowed.resolve_all(&asks, &mut answers);
        let expected: Vec<_> = asks.iter().map(|ask| owned.resolve(ask)).collect();
        prop_assert_eq!(answers, expected);
    }

    #[test]
    fn the_uid_beats_the_address_and_there_are_never_two_names(
        pods in prop::collection::vec(steps(), 2..5),
        at in 0i64..120,
        number in 0u8..3,
    ) {
        let mut table = empty();
        interleave(&pods, &[0]).into_iter().for_each(|message| table.apply(0, &Metadata::Revision(message)));
        for uid in 0..pods.len() {
            let uid = format!("uid-{uid}");
            let side = table.side(&Ask { pod_uid: Some(&uid), ..Ask::address(at, held(number)) });
            prop_assert_eq!(side.pod_uid.as_deref(), Some(uid.as_str()));
        }
        let side = table.side(&Ask::address(at, held(number)));
        prop_assert_eq!(side.pod.is_some(), side.attribution == Attribution::Exact);
        prop_assert_eq!(side.candidates.is_empty(), side.attribution != Attribution::Ambiguous);
        prop_assert_eq!(side.reason.is_some(), side.attribution == Attribution::None);
    }
}
