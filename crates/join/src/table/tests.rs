use super::*;
use crate::since::Moment;
use weir_flow::protocol::TCP;
use weir_schemas::enriched::{Attribution, IdentifiedBy, NoneReason};
use weir_schemas::metadata::{Agent, Bound, BoundSource, Node, Pod, Revision, Service, ServicePort};

fn bound(earliest: Millis, latest: Millis) -> Bound {
    Bound { earliest, latest, source: BoundSource::Status }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub(super) fn revision(
    uid: &str,
    number: u64,
    from: (Millis, Millis),
    to: Option<(Millis, Millis)>,
    object: Object,
) -> Metadata {
    Metadata::Revision(Revision {
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        cluster: "c".to_owned(),
        uid: uid.to_owned(),
        revision: number,
        namespace: if matches!(object, Object::Node(_) | Object::Agent(_)) { String::new() } else { "shop".to_owned() },
        name: format!("name-{uid}"),
        labels: vec!["app=a".to_owned(), format!("revision={number}")],
        valid_from: bound(from.0, from.1),
        valid_to: to.map(|(earliest, latest)| bound(earliest, latest)),
        object,
    })
}

pub(super) fn pod(addresses: &[&str], node: &str) -> Object {
    Object::Pod(Pod {
        addresses: addresses.iter().map(|text| address(text)).collect(),
        node: node.to_owned(),
        workload_kind: "Deployment".to_owned(),
        workload: "web".to_owned(),
        ..Pod::default()
    })
}

pub(super) fn node(addresses: &[&str], networks: &[&str], zone: &str) -> Object {
    Object::Node(Node {
        addresses: addresses.iter().map(|text| address(text)).collect(),
        pod_networks: networks.iter().map(ToString::to_string).collect(),
        zone: zone.to_owned(),
    })
}

fn heartbeat(complete_to: Millis, proof: Proof, cluster_known: bool) -> Metadata {
    Metadata::Heartbeat(Heartbeat { cluster: "c".to_owned(), complete_to, proof, cluster_known })
}

/// A table of a cluster whose history begins at 10, with these messages.
pub(super) fn table(messages: &[Metadata]) -> Table {
    let mut table = Table::new("c", 1);
    table.apply(0, &heartbeat(10, Proof::Probed, true));
    messages.iter().for_each(|message| table.apply(0, message));
    table
}

pub(super) fn at(time: Millis, text: &str) -> Ask<'_> {
    Ask::address(time, address(text))
}

#[test]
fn an_address_is_named_after_who_held_it_then() {
    let table = table(&[
        revision("a", 1, (100, 110), Some((200, 210)), pod(&["10.0.0.1"], "n")),
        revision("b", 1, (230, 240), None, pod(&["10.0.0.1", "fd00::1"], "n")),
    ]);
    let name = |time: Millis, text: &str| table.side(&at(time, text)).pod;
    assert_eq!(name(150, "10.0.0.1").as_deref(), Some("name-a"));
    assert_eq!(name(250, "10.0.0.1").as_deref(), Some("name-b"));
    assert_eq!(name(250, "fd00::1").as_deref(), Some("name-b"));
    assert_eq!(name(220, "10.0.0.1"), None, "between the two nobody held it");
    let side = table.side(&at(150, "10.0.0.1"));
    assert_eq!((side.attribution, side.by), (Attribution::Exact, IdentifiedBy::Address));
    assert_eq!(side.labels, ["app=a", "revision=1"]);
    assert_eq!((side.workload_kind.as_deref(), side.workload.as_deref()), (Some("Deployment"), Some("web")));
}

#[test]
fn where_a_bound_is_in_doubt_the_candidates_are_named() {
    let table = table(&[
        revision("b", 1, (205, 240), None, pod(&["10.0.0.1"], "n")),
        revision("a", 1, (100, 110), Some((200, 210)), pod(&["10.0.0.1"], "n")),
    ]);
    let side = table.side(&at(105, "10.0.0.1"));
    assert_eq!((side.attribution, side.candidates), (Attribution::Ambiguous, vec!["shop/name-a".to_owned()]));
    let side = table.side(&at(207, "10.0.0.1"));
    assert_eq!(side.attribution, Attribution::Ambiguous);
    assert_eq!(side.candidates, ["shop/name-a", "shop/name-b"]);
    assert_eq!((side.pod, side.namespace), (None, None));
    assert_eq!(table.side(&at(199, "10.0.0.1")).pod.as_deref(), Some("name-a"));
}

#[test]
fn candidates_are_at_most_eight() {
    let messages: Vec<Metadata> =
        (0..20).map(|i| revision(&format!("p{i:02}"), 1, (100, 200), None, pod(&["10.0.0.1"], "n"))).collect();
    let side = table(&messages).side(&at(150, "10.0.0.1"));
    assert_eq!(side.candidates.len(), 8);
    assert_eq!(side.candidates.first().map(String::as_str), Some("shop/name-p00"));
}

#[test]
fn the_uid_decides_alone() {
    let table = table(&[
        revision("a", 1, (100, 110), Some((200, 210)), pod(&["10.0.0.1"], "n")),
        revision("b", 1, (230, 240), None, pod(&["10.0.0.1"], "n")),
    ]);
    let side = |time, uid| table.side(&Ask { pod_uid: Some(uid), ..at(time, "10.0.0.1") });
    assert_eq!(side(250, "a").pod.as_deref(), Some("name-a"), "still sending after its end");
    assert_eq!(side(250, "a").by, IdentifiedBy::Uid);
    assert_eq!(side(105, "a").attribution, Attribution::Exact, "a bound in doubt does not matter for a UID");
    let unknown = side(250, "z");
    assert_eq!((unknown.attribution, unknown.reason), (Attribution::None, Some(NoneReason::NotYetReported)));
    assert_eq!(side(150, "b").reason, Some(NoneReason::NotYetReported), "reported only from 230 on");
    assert_eq!(side(5, "b").reason, Some(NoneReason::BeforeHistory));
}

#[test]
fn a_change_of_labels_is_in_force_as_of_then() {
    let table = table(&[
        revision("a", 1, (100, 110), Some((200, 210)), pod(&["10.0.0.1"], "n")),
        revision("a", 2, (200, 210), None, pod(&["10.0.0.1"], "n")),
    ]);
    let labels = |time| table.side(&at(time, "10.0.0.1")).labels;
    assert_eq!(labels(150), ["app=a", "revision=1"]);
    assert_eq!(labels(250), ["app=a", "revision=2"]);
    assert_eq!(labels(205), ["app=a"], "while either may hold, what both have");
    assert_eq!(table.side(&at(205, "10.0.0.1")).attribution, Attribution::Exact, "one pod held it throughout");
}

#[test]
fn host_network_pods_do_not_take_their_nodes_address() {
    let host_network = Object::Pod(Pod {
        addresses: vec![address("172.18.0.1")],
        host_network: true,
        node: "name-n1".to_owned(),
        ..Pod::default()
    });
    let table = table(&[
        revision("n1", 1, (0, 0), None, node(&["172.18.0.1"], &["10.0.1.0/24"], "zone-1")),
        revision("h", 1, (100, 100), None, host_network),
    ]);
    let side = table.side(&at(150, "172.18.0.1"));
    assert_eq!(
        (side.pod.as_deref(), side.node.as_deref(), side.zone.as_deref()),
        (None, Some("name-n1"), Some("zone-1"))
    );
    let by_uid = table.side(&Ask { pod_uid: Some("h"), ..at(150, "172.18.0.1") });
    assert_eq!((by_uid.pod.as_deref(), by_uid.zone.as_deref()), (Some("name-h"), Some("zone-1")));
    let local = table.side(&Ask { local_host: Some("name-n1"), ..at(150, "127.0.0.1") });
    assert_eq!((local.node.as_deref(), local.attribution), (Some("name-n1"), Attribution::Exact));
}

#[test]
fn nobody_has_its_reason() {
    let mut table = table(&[revision("n1", 1, (0, 0), None, node(&[], &["10.0.1.0/24", "fd00:1::/64"], ""))]);
    let reason = |table: &Table, time, text| table.side(&at(time, text)).reason;
    assert_eq!(reason(&table, 100, "10.0.1.7"), Some(NoneReason::UnknownPodAddress));
    assert_eq!(reason(&table, 100, "fd00:1::7"), Some(NoneReason::UnknownPodAddress));
    assert_eq!(reason(&table, 100, "10.0.2.7"), Some(NoneReason::Outside));
    assert_eq!(reason(&table, 9, "10.0.2.7"), Some(NoneReason::BeforeHistory));
    table = Table::new("c", 1);
    table.apply(0, &heartbeat(FOR_EVER, Proof::Closed, false));
    assert_eq!(reason(&table, 100, "10.0.2.7"), Some(NoneReason::NoCluster));
    assert!(!table.cluster_known(0));
}

#[test]
fn names_are_had_while_there_is_a_source_of_them() {
    let mut table = table(&[
        revision("a", 1, (51, 51), None, pod(&["10.0.0.1"], "n")),
        revision("n1", 1, (0, 0), None, node(&["10.0.0.2"], &[], "")),
    ]);
    let source = |after, known| match heartbeat(after, Proof::Closed, known) {
        Metadata::Heartbeat(heartbeat) => heartbeat,
        Metadata::Revision(_) => unreachable!(),
    };
    // In whatever order they stand: compaction and partitions change it.
    for (after, known) in [(50, true), (NEVER, false), (90, false)] {
        table.change_source(&source(after, known));
    }
    table.change_source(&Heartbeat { cluster: "other".to_owned(), ..source(10, true) });
    for (time, known) in [(0, false), (50, false), (51, true), (90, true), (91, false), (1_000_000, false)] {
        assert_eq!(table.cluster_known(time), known, "{time}");
        let asks = [at(time, "10.0.0.1"), at(time, "10.0.0.2")];
        let mut together = Vec::new();
        table.resolve_all(&asks, &mut together);
        assert_eq!(together, asks.map(|ask| table.resolve(&ask)));
        assert_eq!(together[0].identity.is_some(), known, "a pod at {time}");
        assert_eq!(together[0].reason, (!known).then_some(NoneReason::NoCluster));
        assert_eq!(together[1].host.is_some(), !known, "where there is no cluster a node is a host");
    }
}

#[test]
fn a_service_is_named_for_the_responder_at_its_port_only() {
    let service = Object::Service(Service {
        addresses: vec![address("10.96.0.10")],
        ports: vec![ServicePort { port: 80, protocol: TCP, target: 8080, ..ServicePort::default() }],
        selector: vec!["app=a".to_owned()],
    });
    let table = table(&[
        revision("s", 1, (100, 100), Some((300, 300)), service),
        revision("a", 1, (100, 100), None, pod(&["10.0.0.1"], "n")),
    ]);
    let ask = |port, responder, text| Ask { port: Some(port), protocol: TCP, responder, ..at(150, text) };
    let side = table.side(&ask(80, true, "10.96.0.10"));
    assert_eq!((side.service.as_deref(), side.namespace.as_deref()), (Some("shop/name-s"), Some("shop")));
    assert_eq!((side.attribution, side.pod), (Attribution::Exact, None));
    assert_eq!(table.side(&ask(81, true, "10.96.0.10")).service, None);
    assert_eq!(table.side(&ask(80, false, "10.96.0.10")).attribution, Attribution::None);
    assert_eq!(table.side(&ask(8080, true, "10.0.0.1")).service, None, "a pod's services are not guessed");
    assert_eq!(table.service(350, address("10.96.0.10"), 80, TCP), None);
}

#[test]
fn ends_are_covered_by_ready_agents() {
    let on_node = |name: &str| Object::Agent(Agent { node: name.to_owned(), ..Agent::default() });
    let networks = Agent { networks: vec!["192.168.0.0/16".to_owned()], ..Agent::default() };
    let table = table(&[
        revision("a", 1, (100, 100), None, pod(&["10.0.0.1"], "n1")),
        revision("b", 1, (100, 100), Some((150, 160)), pod(&["10.0.0.2"], "n1")),
        revision("c", 1, (150, 160), None, pod(&["10.0.0.2"], "n2")),
        revision("g", 1, (110, 120), Some((200, 210)), on_node("n1")),
        revision("h", 1, (0, 0), None, Object::Agent(networks)),
    ]);
    let covered = |time, text| {
        let ask = at(time, text);
        table.covered(&table.resolve(&ask), ask.address, time)
    };
    assert!(covered(130, "10.0.0.1"));
    assert!(!covered(115, "10.0.0.1"), "not certainly ready yet");
    assert!(!covered(205, "10.0.0.1"), "perhaps no longer ready");
    assert!(covered(140, "10.0.0.2"));
    assert!(!covered(155, "10.0.0.2"), "one of the candidates is on a node without an agent");
    assert!(covered(5, "192.168.7.7"));
    assert!(!covered(130, "8.8.8.8"));
    assert!(!table.one_observer(130));
}

#[test]
fn a_capture_has_one_observer_for_everything() {
    let networks = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let mut table = Table::new("c", 1);
    let agent = Object::Agent(Agent { node: String::new(), networks, one_observer: true });
    table.apply(0, &revision("x", 1, (NEVER, NEVER), None, agent));
    table.apply(0, &heartbeat(FOR_EVER, Proof::Closed, false));
    assert_eq!(table.complete_to(), FOR_EVER);
    assert!(table.one_observer(0) && table.one_observer(NEVER));
    for text in ["8.8.8.8", "2001:db8::1", "127.0.0.1"] {
        let ask = at(0, text);
        assert!(table.covered(&table.resolve(&ask), ask.address, 0));
    }
}

#[test]
fn a_host_without_a_cluster_is_named() {
    let mut table = Table::new("c", 1);
    table.apply(0, &revision("n", 1, (NEVER, NEVER), None, node(&["192.168.0.5"], &[], "")));
    table.apply(0, &heartbeat(FOR_EVER, Proof::Closed, false));
    let side = table.side(&at(7, "192.168.0.5"));
    assert_eq!((side.host.as_deref(), side.node.as_deref()), (Some("name-n"), Some("name-n")));
    assert_eq!(side.attribution, Attribution::Exact);
    let local = table.side(&Ask { local_host: Some("name-n"), ..at(7, "127.0.0.1") });
    assert_eq!(local.host.as_deref(), Some("name-n"));
    let other = table.side(&at(7, "192.168.0.6"));
    assert_eq!((other.host, other.reason), (None, Some(NoneReason::NoCluster)));
}

#[test]
fn the_heartbeat_is_the_lowest_of_the_partitions() {
    let mut table = Table::new("c", 2);
    assert_eq!(table.complete_to(), NEVER);
    table.apply(1, &heartbeat(50, Proof::Probed, true));
    assert_eq!(table.complete_to(), NEVER, "the other partition has said nothing yet");
    table.apply(0, &heartbeat(40, Proof::Probed, true));
    assert_eq!(table.complete_to(), 40);
    table.apply(0, &heartbeat(30, Proof::Probed, true));
    assert_eq!(table.complete_to(), 40, "never lowered");
    table.apply(0, &heartbeat(60, Proof::Probed, true));
    assert_eq!(table.complete_to(), 50);
}

#[test]
fn for_ever_ends_when_a_source_is_given_that_can_change() {
    let mut table = table(&[heartbeat(FOR_EVER, Proof::Closed, false)]);
    assert_eq!(table.complete_to(), FOR_EVER);
    table.apply(0, &heartbeat(70, Proof::Probed, true));
    assert_eq!(table.complete_to(), 70);
}

#[test]
fn other_clusters_are_ignored_and_counted() {
    let Metadata::Revision(mut other) = revision("a", 1, (0, 0), None, pod(&["10.0.0.1"], "n")) else { return };
    other.cluster = "d".to_owned();
    let table = table(&[Metadata::Revision(other)]);
    assert_eq!((table.foreign(), table.revisions()), (1, 0));
    assert_eq!(table.side(&at(100, "10.0.0.1")).attribution, Attribution::None);
}

#[test]
fn tombstones_forget() {
    let mut table = table(&[revision("a", 1, (100, 110), None, pod(&["10.0.0.1"], "n"))]);
    table.forget("c/Pod/a/2");
    table.forget("d/Pod/a/1");
    table.forget("nonsense");
    assert_eq!(table.revisions(), 1);
    // The key is the very one under which the revision stands on the topic.
    table.forget("c/Pod/a/1");
    assert_eq!(table.revisions(), 0);
    assert_eq!(table.side(&at(150, "10.0.0.1")).attribution, Attribution::None);
}

#[test]
fn what_is_always_valid_says_so() {
    let Metadata::Revision(mut always) = revision("a", 1, (NEVER, NEVER), None, pod(&["10.0.0.1"], "n")) else {
        return;
    };
    always.valid_from.source = BoundSource::Always;
    let mut table = Table::new("c", 1);
    table.apply(0, &heartbeat(100, Proof::Manifests, true));
    table.apply(0, &Metadata::Revision(always));
    let side = table.side(&at(-5_000_000_000, "10.0.0.1"));
    assert!(side.always_valid);
    assert_eq!(side.attribution, Attribution::Exact);
    assert_eq!(table.side(&at(1, "10.0.0.2")).reason, Some(NoneReason::Outside), "manifests have no beginning");
}

#[test]
fn revisions_whose_times_go_back_are_all_searched() {
    let table = table(&[
        revision("a", 1, (300, 300), None, pod(&["10.0.0.1"], "n")),
        revision("a", 2, (100, 100), Some((200, 200)), pod(&["10.0.0.1"], "n")),
    ]);
    let labels = |time| table.side(&Ask { pod_uid: Some("a"), ..at(time, "10.0.0.1") }).labels;
    assert_eq!(labels(150), ["app=a", "revision=2"]);
    assert_eq!(labels(350), ["app=a", "revision=1"]);
    assert_eq!(labels(250), ["app=a", "revision=2"], "its last one before");
    assert_eq!(table.side(&at(150, "10.0.0.1")).labels, ["app=a", "revision=2"]);
}

#[test]
fn who_held_longer_than_a_later_one_is_found() {
    let table = table(&[
        revision("a", 1, (100, 100), Some((200, 200)), pod(&["10.0.0.1"], "n")),
        revision("b", 1, (120, 120), Some((130, 130)), pod(&["10.0.0.1"], "n")),
        revision("c", 1, (140, 140), Some((150, 150)), pod(&["10.0.0.1"], "n")),
    ]);
    assert_eq!(table.side(&at(160, "10.0.0.1")).pod.as_deref(), Some("name-a"));
    assert_eq!(table.side(&at(145, "10.0.0.1")).candidates, ["shop/name-a", "shop/name-c"]);
}

#[test]
fn what_is_forgotten_makes_room_for_another() {
    let mut table = table(&[revision("a", 1, (100, 100), None, pod(&["10.0.0.1"], "n"))]);
    table.forget("c/Pod/a/1");
    table.apply(0, &revision("b", 1, (100, 100), None, pod(&["10.0.0.2"], "n")));
    table.apply(0, &revision("a", 2, (100, 100), None, pod(&["10.0.0.3"], "n")));
    let name = |text| table.side(&at(150, text)).pod;
    assert_eq!((name("10.0.0.1"), name("10.0.0.2").as_deref()), (None, Some("name-b")));
    assert_eq!(name("10.0.0.3").as_deref(), Some("name-a"));
    assert_eq!(table.side(&Ask { pod_uid: Some("b"), ..at(150, "10.0.0.9") }).pod.as_deref(), Some("name-b"));
}

#[test]
fn who_holds_something_for_long_is_noted_beside_it() {
    const HOUR: Millis = 3_600_000;
    let uid = "01234567-89ab-cdef-0123-456789abcdef";
    let mut table = table(&[
        revision("a", 1, (HOUR, HOUR + 900), Some((2 * HOUR, 2 * HOUR)), pod(&["10.0.0.1"], "n")),
        revision(uid, 1, (3 * HOUR, 3 * HOUR + 900), Some((4 * HOUR, 4 * HOUR)), pod(&["10.0.0.1", "fd00::1"], "n")),
        revision(uid, 2, (4 * HOUR, 4 * HOUR), None, pod(&["10.0.0.1", "fd00::1"], "n")),
    ]);
    let noted = |table: &Table, at| {
        let moment = Moment::of(at);
        let by_address = ["10.0.0.1", "fd00::1"]
            .map(|text| table.ends.place(address(text)).and_then(|place| place.latest(moment)).is_some());
        let known = table.by_uid[0].get(UidKey::of(uid));
        (by_address, known.and_then(|known| known.latest.at(moment)).is_some())
    };
    assert_eq!(noted(&table, 4 * HOUR - 1), ([false; 2], false));
    assert_eq!(noted(&table, 4 * HOUR + 2_048), ([true; 2], true));
    table.apply(0, &revision("b", 1, (5 * HOUR, 5 * HOUR), None, pod(&["10.0.0.1"], "n")));
    assert_eq!(noted(&table, 6 * HOUR), ([false, true], true), "two have it");
    table.apply(0, &revision(uid, 2, (4 * HOUR, 4 * HOUR), Some((5 * HOUR, 5 * HOUR)), pod(&["10.0.0.1"], "n")));
    assert_eq!(noted(&table, 6 * HOUR), ([true, false], true), "the one has ended, and it is the same pod still");
    let service =
        Service { addresses: vec![address("10.0.0.1")], ports: vec![ServicePort::default()], selector: Vec::new() };
    table.apply(0, &revision("s", 1, (0, 0), None, Object::Service(service)));
    assert_eq!(noted(&table, 6 * HOUR).0, [false; 2], "a service has it, too");
    table.forget("c/Service/s/1");
    assert_eq!(noted(&table, 6 * HOUR).0, [true, false]);
    let asks = [at(6 * HOUR, "10.0.0.1"), Ask { pod_uid: Some(uid), ..at(6 * HOUR, "10.0.0.9") }];
    assert_eq!(asks.map(|ask| table.side(&ask).pod.unwrap()), ["name-b".to_owned(), format!("name-{uid}")]);
}
