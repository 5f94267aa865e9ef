//! Network sets: as of a time, by the longest prefix, and never a guess.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use weir_schemas::enriched::{Attribution, NoneReason};
use weir_schemas::metadata::{Bound, BoundSource, NetworkSet, Pod, Revision};

fn bound(earliest: Millis, latest: Millis) -> Bound {
    Bound { earliest, latest, source: BoundSource::Arrival }
}

fn revision(name: &str, number: u64, from: Bound, to: Option<Bound>, object: Object) -> Revision {
    let (namespace, plain) = name.split_once('/').unwrap_or(("", name));
    Revision {
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        cluster: "c".to_owned(),
        uid: format!("uid-{name}"),
        revision: number,
        namespace: namespace.to_owned(),
        name: plain.to_owned(),
        labels: Vec::new(),
        valid_from: from,
        valid_to: to,
        object,
    }
}

fn set(name: &str, number: u64, from: Bound, to: Option<Bound>, networks: &[&str]) -> Revision {
    let networks = networks.iter().map(ToString::to_string).collect();
    revision(name, number, from, to, Object::NetworkSet(NetworkSet { networks, domains: Vec::new() }))
}

/// A table of a cluster, or of a host without one, with these revisions.
fn table(cluster_known: bool, revisions: &[Revision]) -> Table {
    let mut table = Table::new("c", 1);
    let heartbeat = Heartbeat { cluster: "c".to_owned(), complete_to: 0, proof: Proof::Manifests, cluster_known };
    table.apply(0, &Metadata::Heartbeat(heartbeat));
    revisions.iter().for_each(|revision| table.apply(0, &Metadata::Revision(revision.clone())));
    table
}

fn named(table: &Table, at: Millis, address: &str) -> Option<String> {
    table.side(&Ask::address(at, address.parse().unwrap())).network_set
}

#[test]
fn the_longest_prefix_names_the_address_as_of_then() {
    let always = bound(0, 0);
    let table = table(
        true,
        &[
            set("office", 1, always, None, &["203.0.113.0/24", "2001:db8::/32"]),
            set("shop/partners", 1, always, Some(bound(100, 110)), &["203.0.113.128/25", "0.0.0.0/0"]),
        ],
    );
    assert_eq!(named(&table, 50, "203.0.113.7").as_deref(), Some("office"));
    assert_eq!(named(&table, 50, "203.0.113.200").as_deref(), Some("shop/partners"));
    assert_eq!(named(&table, 105, "203.0.113.200"), None, "perhaps no longer the partners'");
    assert_eq!(named(&table, 110, "203.0.113.200").as_deref(), Some("office"));
    assert_eq!(named(&table, 50, "::ffff:203.0.113.7").as_deref(), Some("office"), "a mapped address is IPv4");
    assert_eq!(named(&table, 50, "2001:db8::1").as_deref(), Some("office"));
    assert_eq!(named(&table, 50, "2001:db9::1"), None, "no IPv6 address is in 0.0.0.0/0");
    let side = table.side(&Ask::address(50, "203.0.113.7".parse().unwrap()));
    assert_eq!((side.attribution, side.reason), (Attribution::None, Some(NoneReason::Outside)));
}

#[test]
fn two_sets_with_the_longest_prefix_are_none() {
    let always = bound(0, 0);
    let sets = [
        set("b", 1, always, None, &["10.0.0.0/8"]),
        set("a", 1, always, Some(bound(50, 50)), &["10.0.0.5/8"]),
        set("wide", 1, always, None, &["0.0.0.0/0"]),
    ];
    let table = table(true, &sets);
    assert_eq!(named(&table, 20, "10.1.1.1"), None, "neither is the first by name, nor is the next wider one");
    assert_eq!(named(&table, 60, "10.1.1.1").as_deref(), Some("b"));
}

#[test]
fn a_change_of_a_sets_networks_leaves_no_doubt_about_its_name() {
    let sets = [
        set("a", 1, bound(0, 0), Some(bound(50, 60)), &["10.1.0.0/16", "10.2.0.0/16"]),
        set("a", 2, bound(50, 60), None, &["10.0.0.0/12"]),
    ];
    let table = table(true, &sets);
    assert_eq!(named(&table, 55, "10.1.1.1").as_deref(), Some("a"));
    assert_eq!(named(&table, 55, "10.9.1.1"), None, "only the second revision has it");
    assert_eq!(named(&table, 60, "10.9.1.1").as_deref(), Some("a"));
}

#[test]
fn who_is_known_has_no_network_set() {
    let always = bound(0, 0);
    let pod = Object::Pod(Pod { addresses: vec!["10.0.0.1".parse().unwrap()], ..Pod::default() });
    let revisions = [
        revision("shop/web", 1, always, Some(bound(50, 60)), pod),
        set("a", 1, always, None, &["10.0.0.0/8", "127.0.0.0/8"]),
    ];
    let with = table(true, &revisions);
    assert_eq!(named(&with, 20, "10.0.0.1"), None);
    assert_eq!(named(&with, 55, "10.0.0.1"), None, "an ambiguous end has candidates");
    assert_eq!(named(&with, 70, "10.0.0.1").as_deref(), Some("a"));
    let by_uid = with.side(&Ask { pod_uid: Some("other"), ..Ask::address(70, "10.0.0.1".parse().unwrap()) });
    assert_eq!((by_uid.reason, by_uid.network_set), (Some(NoneReason::NotYetReported), None));
    assert_eq!(named(&table(false, &revisions), 20, "127.0.0.1").as_deref(), Some("a"), "without a cluster too");
}

#[test]
fn what_is_no_network_is_counted_and_the_rest_stays() {
    let table = table(true, &[set("a", 1, bound(0, 0), None, &["10.0.0.0/8", "10.0.0.0", "ten"])]);
    assert_eq!((table.malformed(), named(&table, 1, "10.0.0.9").as_deref()), (2, Some("a")));
}

#[test]
fn a_forgotten_set_names_nothing() {
    let mut table = table(true, &[set("a", 1, bound(0, 0), None, &["10.0.0.0/8"])]);
    table.forget("c/NetworkSet/uid-a/1");
    assert_eq!((named(&table, 1, "10.0.0.9"), table.revisions()), (None, 0));
}

/// A set's history: steps of (time to the next change, width of its bound, networks, whether a gap follows).
type Steps = Vec<(i64, i64, BTreeSet<usize>, bool)>;

/// Nested networks in four lengths and both spellings of one of them.
const NETWORKS: [&str; 6] =
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::ffff:10.1.0.0/112", "10.1.2.0/24", "10.2.0.0/16"];

fn steps() -> impl Strategy<Value = Steps> {
    let networks = prop::collection::btree_set(0..NETWORKS.len(), 0..4);
    prop::collection::vec((1i64..12, 0i64..8, networks, any::<bool>()), 1..4)
}

/// The messages of one set in order: every revision open, then closed, if it ever is.
fn messages(name: &str, steps: &Steps) -> Vec<Revision> {
    let mut messages = Vec::new();
    let (mut time, mut next) = (0, bound(0, 0));
    for (index, (length, width, networks, gap)) in steps.iter().enumerate() {
        let networks: Vec<&str> = networks.iter().map(|n| NETWORKS[*n]).collect();
        let number = u64::try_from(index).unwrap() + 1;
        let open = set(name, number, next, None, &networks);
        messages.push(open.clone());
        if index + 1 < steps.len() {
            time += length + 8;
            let end = bound(time, time + width);
            messages.push(Revision { valid_to: Some(end), ..open });
            next = if *gap { bound(time + 3, time + 3 + width) } else { end };
        }
    }
    messages
}

/// How long a prefix of one of a revision's networks contains an address.
fn longest(revision: &Revision, address: Address) -> Option<u8> {
    let Object::NetworkSet(set) = &revision.object else { return None };
    let networks = set.networks.iter().map(|text| crate::networks::canonical(text.parse().unwrap()));
    networks.filter(|network| network.contains(&address.ip())).map(|network| network.prefix_len()).max()
}

/// What every world says: each set has one of its possible revisions in force, or none if it is possible that it had
/// none; in each world the longest prefix wins, and a tie has no winner.
fn model(known: &BTreeMap<(String, u64), Revision>, address: Address, at: Millis) -> Option<String> {
    let until = |r: &Revision| r.valid_to.map_or((FOR_EVER, FOR_EVER), |to| (to.earliest, to.latest));
    let mut options: BTreeMap<&str, Vec<&Revision>> = BTreeMap::new();
    for revision in known.values().filter(|r| r.valid_from.earliest <= at && at < until(r).1) {
        options.entry(&revision.name).or_default().push(revision);
    }
    let mut worlds: Vec<Vec<(u8, &str)>> = vec![Vec::new()];
    for (name, revisions) in &options {
        let (first, last) = (revisions.first().unwrap(), revisions.last().unwrap());
        let chained = revisions.windows(2).all(|pair| match pair {
            [a, b] => a.revision + 1 == b.revision && a.valid_to == Some(b.valid_from),
            _ => false,
        });
        let certain = chained && first.valid_from.latest <= at && at < until(last).0;
        let mut choices: Vec<Option<u8>> = revisions.iter().map(|revision| longest(revision, address)).collect();
        choices.extend((!certain).then_some(None));
        let extended = worlds.iter().flat_map(|world| {
            choices.iter().map(move |choice| {
                let mut world = world.clone();
                world.extend(choice.map(|length| (length, *name)));
                world
            })
        });
        worlds = extended.collect();
    }
    let winner = |world: &Vec<(u8, &str)>| {
        let best = world.iter().max()?;
        let ties = world.iter().filter(|(length, _)| *length == best.0).count();
        (ties == 1).then(|| best.1.to_owned())
    };
    let winners: BTreeSet<Option<String>> = worlds.iter().map(winner).collect();
    if winners.len() == 1 { winners.into_iter().next().flatten() } else { None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_table_names_the_set_that_every_world_names_in_any_order_and_compaction(
        sets in prop::collection::vec(steps(), 1..4),
        picks in prop::collection::vec(0usize..4, 1..20),
        keep in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let mut queues: Vec<std::collections::VecDeque<Revision>> =
            sets.iter().enumerate().map(|(n, steps)| messages(&format!("set-{n}"), steps).into()).collect();
        let mut all = Vec::new();
        for pick in picks.iter().cycle() {
            let count = queues.len();
            queues.rotate_left(pick % count);
            match queues.iter_mut().find_map(std::collections::VecDeque::pop_front) {
                Some(message) => all.push(message),
                None => break,
            }
        }
        let mut whole = table(true, &[]);
        let mut compacted = table(true, &[]);
        let mut known = BTreeMap::new();
        for (index, message) in all.iter().enumerate() {
            known.insert((message.uid.clone(), message.revision), message.clone());
            whole.apply(0, &Metadata::Revision(message.clone()));
            let replaced = all.iter().skip(index + 1).any(|l| (&l.uid, l.revision) == (&message.uid, message.revision));
            if !replaced || keep[index % keep.len()] {
                compacted.apply(0, &Metadata::Revision(message.clone()));
            }
        }
        for address in ["10.1.2.3", "10.1.9.9", "10.2.0.1", "10.9.9.9", "8.8.8.8", "::1"] {
            for at in 0..70 {
                let expected = model(&known, address.parse().unwrap(), at);
                prop_assert_eq!(named(&whole, at, address), expected.clone(), "{} at {}", address, at);
                prop_assert_eq!(named(&compacted, at, address), expected);
            }
        }
    }
}
