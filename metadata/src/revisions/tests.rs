use super::*;
use crate::bounds::{always, written};
use crate::observe::{self, Owner};
use k8s_openapi::api::core::v1::Pod as KubePod;
use proptest::prelude::*;
use serde_json::json;
use weir_flow::Address;
use weir_join::{Ask, Table};
use weir_schemas::enriched::{Attribution, Side};
use weir_schemas::metadata::Container;
use weir_schemas::metadata::{Pod, Proof};

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn seen(uid: &str, addresses: &[&str], label: &str) -> Observed {
    let pod = Pod { addresses: addresses.iter().map(|text| address(text)).collect(), ..Pod::default() };
    Observed {
        uid: uid.to_owned(),
        namespace: "shop".to_owned(),
        name: format!("pod-{uid}"),
        labels: vec![format!("app={label}")],
        annotations: Vec::new(),
        object: Object::Pod(pod),
        since: Some(written(1_000, BoundSource::Creation)),
        changed: None,
        owner_known: true,
        about: About::default(),
    }
}

#[test]
fn a_change_closes_and_opens_at_one_bound() {
    let mut history = History::new("c");
    let first = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].revision, first[0].valid_from.earliest), (1, 1_000));
    history.promise(5_000);
    let second = history.observe(seen("a", &["10.0.0.1"], "y"), 7_000);
    let [closed, opened] = &second[..] else { panic!("{second:?}") };
    assert_eq!((closed.revision, opened.revision), (1, 2));
    assert_eq!(closed.valid_to, Some(opened.valid_from));
    assert_eq!(opened.valid_from, Bound { earliest: 5_001, latest: 7_000, source: BoundSource::Arrival });
    assert_eq!(closed.labels, ["app=x"]);
}

#[test]
fn status_alone_writes_nothing_and_rides_along_later() {
    let mut history = History::new("c");
    let _ = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    let mut running = seen("a", &["10.0.0.1"], "x");
    if let Object::Pod(pod) = &mut running.object {
        pod.phase = "Running".to_owned();
        pod.containers = vec![Container { id: "c1".to_owned(), name: "web".to_owned() }];
    }
    assert_eq!(history.observe(running, 2_000), vec![]);
    let closed = history.vanish(Kind::Pod, "a", None, 3_000).unwrap();
    assert!(matches!(closed.object, Object::Pod(pod) if pod.phase == "Running" && pod.containers[0].id == "c1"));
}

#[test]
fn what_is_learnt_after_a_heartbeat_is_clipped_to_after_it() {
    let mut history = History::new("c");
    history.promise(10_000);
    let written = history.observe(seen("a", &["10.0.0.1"], "x"), 12_000);
    assert_eq!(written[0].valid_from, Bound { earliest: 10_001, latest: 10_001, source: BoundSource::Clipped });
    history.promise(20_000);
    let ended = Some(Bound { earliest: 15_000, latest: 22_000, source: BoundSource::Deletion });
    let closed = history.vanish(Kind::Pod, "a", ended, 22_000).unwrap();
    assert_eq!(closed.valid_to, Some(Bound { earliest: 20_001, latest: 22_000, source: BoundSource::Clipped }));
    assert_eq!(history.vanish(Kind::Pod, "a", None, 23_000), None, "only once");
}

#[test]
fn where_nodes_are_believed_what_is_told_happened_after_what_had_been_told() {
    let bound = |earliest, source| Bound { earliest, latest: 20_000, source };
    let told = |uid| Observed { since: Some(bound(5_000, BoundSource::Status)), ..seen(uid, &["10.0.0.1"], "x") };
    let mut history = History::new("c");
    history.believe_nodes(31_000, 30_000);
    history.promise(10_000);
    let waited = history.observe(told("a"), 40_000);
    assert_eq!(waited[0].valid_from, bound(10_001, BoundSource::Clipped), "it was told before, and waited");
    let untold = history.observe(told("b"), 42_000);
    assert_eq!(untold[0].valid_from, bound(11_001, BoundSource::Status));
    let mut unbelieved = History::new("c");
    unbelieved.believe_nodes(2_000, 30_000);
    unbelieved.promise(10_000);
    assert_eq!(unbelieved.observe(told("a"), 42_000)[0].valid_from, bound(10_001, BoundSource::Clipped));
    assert_eq!(unbelieved.settle(12_000), vec![]);
}

#[test]
fn an_earlier_start_that_is_told_later_counts_after_the_heartbeat() {
    let since = |earliest, latest| Some(Bound { earliest, latest, source: BoundSource::Status });
    let told = |held| Observed { since: held, changed: held, ..seen("a", &["10.0.0.1"], "x") };
    let mut history = History::new("c");
    let _ = history.observe(told(since(1_000, 9_000)), 9_500);
    history.promise(5_000);
    let sooner = history.observe(told(since(1_000, 7_000)), 9_700);
    assert_eq!((sooner.len(), sooner[0].revision, Some(sooner[0].valid_from)), (1, 1, since(1_000, 7_000)));
    let sooner = history.observe(told(since(1_000, 4_000)), 9_800);
    assert_eq!(sooner[0].valid_from.latest, 5_001, "up to the heartbeat it may not have begun");
    assert_eq!(history.observe(told(since(1_000, 8_000)), 9_900), vec![]);
}

#[test]
fn addresses_are_held_no_sooner_than_the_revision_before_has_begun() {
    let within = |earliest, latest| Some(Bound { earliest, latest, source: BoundSource::Status });
    let told = |addresses: &[&str], changed| Observed { changed, ..seen("a", addresses, "x") };
    let mut history = History::new("c");
    let _ = history.observe(told(&[], None), 900);
    let on_node = |mut told: Observed| {
        if let Object::Pod(pod) = &mut told.object {
            "node-a".clone_into(&mut pod.node);
        }
        told
    };
    let bound = history.observe(on_node(told(&[], within(1_000, 1_999))), 1_200);
    assert_eq!(bound[1].valid_from, within(1_000, 1_999).unwrap());
    let held = || on_node(told(&["10.0.0.1"], within(1_000, 1_500)));
    assert_eq!(history.observe(held(), 1_500)[1].valid_from.latest, 1_999);
    assert_eq!(history.observe(held(), 1_600), vec![], "its revision before may still begin");
}

#[test]
fn a_sandbox_was_lost_before_the_next_one_was_ready_however_late_that_is_told() {
    let bound = |earliest, latest| Bound { earliest, latest, source: BoundSource::Status };
    let told =
        |addresses: &[&str], held| Observed { since: Some(held), changed: Some(held), ..seen("a", addresses, "x") };
    let next = |passed: Millis| {
        let mut history = History::new("c");
        history.believe_nodes(31_000, 30_000);
        history.promise(10_000);
        let _ = history.observe(told(&["10.0.0.1"], bound(12_000, 13_000)), 42_000);
        let _ = history.observe(told(&[], bound(14_000, 43_000)), 43_000);
        history.promise(passed);
        history.observe(told(&["10.0.0.2"], bound(12_000, 20_000)), passed + 33_000)
    };
    let written = next(11_000);
    let [former, lost, next_one] = &written[..] else { panic!("{written:?}") };
    assert_eq!((former.revision, lost.revision, next_one.revision), (1, 2, 3));
    assert_eq!(former.valid_to, Some(bound(14_000, 20_000)));
    assert_eq!(lost.valid_from, bound(14_000, 20_000));
    assert_eq!((lost.valid_to, next_one.valid_from), (Some(bound(14_000, 20_000)), bound(14_000, 20_000)));
    assert_eq!(next(20_000).len(), 2, "of 20 s it was said that it may still have been the first");
}

#[test]
fn the_history_begins_when_everything_had_been_seen_once() {
    let mut history = History::new("c");
    assert!(!history.may_promise(8_999, 9_000), "labels of then were never seen");
    assert!(history.may_promise(9_000, 9_000));
    history.promise(9_000);
    assert!(!history.may_promise(9_000, 9_000), "said already");
    assert!(history.may_promise(9_001, 20_000), "after a restart what was promised goes on");
}

#[test]
fn what_goes_before_the_first_heartbeat_may_have_gone_since_it_was_seen() {
    let mut history = History::new("c");
    let written = history.observe(seen("a", &["10.0.0.1"], "x"), 9_000);
    let closed = history.vanish(Kind::Pod, "a", None, 12_000).unwrap();
    let from = written[0].valid_from.earliest;
    assert_eq!(closed.valid_to, Some(Bound { earliest: from + 1, latest: 12_000, source: BoundSource::Arrival }));
}

#[test]
fn without_times_it_is_always_valid_unless_a_heartbeat_was_before() {
    let manifest = || Observed { since: Some(always()), ..seen("a", &["10.0.0.1"], "x") };
    let mut history = History::new("c");
    assert_eq!(history.observe(manifest(), 5_000)[0].valid_from, always());
    let mut history = History::new("c");
    history.promise(4_000);
    let later = history.observe(manifest(), 5_000);
    assert_eq!(later[0].valid_from, Bound { earliest: 4_001, latest: 5_000, source: BoundSource::Arrival });
}

#[test]
fn an_owner_that_cannot_be_followed_any_more_does_not_change_the_workload() {
    let mut history = History::new("c");
    let with = |workload: &str, known| {
        let mut seen = seen("a", &["10.0.0.1"], "x");
        if let Object::Pod(pod) = &mut seen.object {
            pod.workload = workload.to_owned();
        }
        Observed { owner_known: known, ..seen }
    };
    let _ = history.observe(with("web", true), 1_500);
    assert_eq!(history.observe(with("web-5f", false), 2_000), vec![]);
    assert_eq!(history.observe(with("other", true), 3_000).len(), 2);
}

#[test]
fn a_restart_writes_nothing_anew_and_closes_what_disappeared() {
    let mut history = History::new("c");
    let mut topic: Vec<Metadata> = Vec::new();
    for uid in ["a", "b"] {
        topic.extend(history.observe(seen(uid, &["10.0.0.1"], "x"), 1_500).into_iter().map(Metadata::Revision));
    }
    topic.push(Metadata::Heartbeat(history.heartbeat_message(5_000, Proof::Probed, true)));
    let mut again = History::new("c");
    topic.iter().for_each(|message| again.restore(message));
    assert_eq!((again.heartbeat(), again.open()), (5_000, 2));
    assert_eq!(again.observe(seen("a", &["10.0.0.1"], "x"), 60_000), vec![]);
    let closed = again.retain(Kind::Pod, &BTreeSet::from(["a".to_owned()]), 60_000);
    assert_eq!(closed.len(), 1);
    assert_eq!(
        (closed[0].uid.as_str(), closed[0].valid_to),
        ("b", Some(Bound { earliest: 5_001, latest: 60_000, source: BoundSource::Arrival }))
    );
}

#[test]
fn ordinals_go_on_when_an_object_comes_back() {
    let mut history = History::new("c");
    let _ = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    history.promise(2_000);
    let _ = history.vanish(Kind::Pod, "a", None, 3_000);
    let back = history.observe(seen("a", &["10.0.0.1"], "x"), 9_000);
    assert_eq!((back[0].revision, back[0].valid_from.earliest, back[0].valid_from.latest), (2, 2_001, 9_000));
}

#[test]
fn an_end_that_is_foreseen_is_possible_from_the_request_on() {
    let mut history = History::new("c");
    let _ = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    history.promise(2_000);
    let asked = Bound { earliest: 3_000, latest: 4_000, source: BoundSource::Deletion };
    let ending = history.foresee_end(Kind::Pod, "a", asked).unwrap();
    assert_eq!(ending.valid_to.map(|to| (to.earliest, to.latest)), Some((3_000, FOR_EVER)));
    assert_eq!(history.foresee_end(Kind::Pod, "a", asked), None, "once");
    let mut again = History::new("c");
    again.restore(&Metadata::Revision(ending));
    assert_eq!(again.open(), 1, "a restart knows that it is still there");
    history.promise(8_000);
    let gone = history.vanish(Kind::Pod, "a", None, 9_000).unwrap();
    assert_eq!(gone.valid_to.map(|to| (to.earliest, to.latest)), Some((3_000, 9_000)));
}

#[test]
fn an_end_that_was_foreseen_may_move_while_no_heartbeat_has_passed_it() {
    let asked = Bound { earliest: 3_000, latest: 4_000, source: BoundSource::Deletion };
    let told = Some(Bound { earliest: 6_000, latest: 8_000, source: BoundSource::Status });
    for (heartbeat, earliest) in [(2_999, 6_000), (3_000, 3_000)] {
        let mut history = History::new("c");
        let _ = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
        let _ = history.foresee_end(Kind::Pod, "a", asked);
        history.promise(heartbeat);
        let gone = history.vanish(Kind::Pod, "a", told, 9_000).unwrap();
        assert_eq!(gone.valid_to.map(|to| (to.earliest, to.latest)), Some((earliest, 8_000)), "after {heartbeat}");
    }
}

#[test]
fn other_clusters_are_not_restored() {
    let mut other = History::new("d");
    let written = other.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    let mut history = History::new("c");
    history.restore(&Metadata::Revision(written[0].clone()));
    history.restore(&Metadata::Heartbeat(other.heartbeat_message(9, Proof::Probed, true)));
    assert_eq!((history.open(), history.heartbeat()), (0, NEVER));
}

/// What may happen to one of a few pods.
#[derive(Clone, Debug)]
enum Step {
    Seen(u8, Vec<u8>, u8),
    Ending(u8),
    Gone(u8),
    Heartbeat,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, prop::collection::vec(0u8..3, 0..2), 0u8..2).prop_map(|(pod, held, label)| Step::Seen(pod, held, label)),
        2 => (0u8..4).prop_map(Step::Gone),
        1 => (0u8..4).prop_map(Step::Ending),
        2 => Just(Step::Heartbeat),
        1 => Just(Step::Restart),
    ]
}

fn sides(table: &Table, until: Millis) -> Vec<Side> {
    let ask = |at: Millis, number: u8, uid: Option<&str>| {
        let address = address(&format!("10.0.0.{number}"));
        table.side(&Ask { pod_uid: uid, ..Ask::address(at, address) })
    };
    let mut sides = Vec::new();
    for at in (1..=until).step_by(500) {
        sides.extend((0..3).map(|number| ask(at, number, None)));
        sides.extend(["0", "1"].map(|uid| ask(at, 0, Some(uid))));
    }
    sides
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_before_a_heartbeat_ever_changes(steps in prop::collection::vec(step(), 1..40), behind in 0i64..4_000) {
        // Nodes are believed in half of the cases.
        let begin = || {
            let mut history = History::new("c");
            history.believe_nodes(behind, 2_000);
            history
        };
        let mut history = begin();
        let mut topic: Vec<Metadata> = Vec::new();
        let mut promised: Vec<(Millis, Vec<Side>)> = Vec::new();
        let table = |topic: &[Metadata]| {
            let mut table = Table::new("c", 1);
            topic.iter().for_each(|message| table.apply(0, message));
            table
        };
        let mut time = 1_000;
        topic.push(Metadata::Heartbeat(history.heartbeat_message(time, Proof::Probed, true)));
        history.promise(time);
        for step in steps {
            time += 700;
            match step {
                Step::Seen(pod, held, label) => {
                    let held: Vec<String> = held.iter().map(|number| format!("10.0.0.{number}")).collect();
                    let held: Vec<&str> = held.iter().map(String::as_str).collect();
                    let seen = seen(&pod.to_string(), &held, &label.to_string());
                    topic.extend(history.observe(seen, time).into_iter().map(Metadata::Revision));
                }
                Step::Ending(pod) => {
                    let asked = Bound { earliest: time - 1_000, latest: time, source: BoundSource::Deletion };
                    topic.extend(history.foresee_end(Kind::Pod, &pod.to_string(), asked).map(Metadata::Revision));
                }
                Step::Gone(pod) => {
                    let ended = Some(Bound { earliest: time - 2_000, latest: time, source: BoundSource::Deletion });
                    let gone = history.vanish(Kind::Pod, &pod.to_string(), ended, time);
                    topic.extend(gone.map(Metadata::Revision));
                }
                Step::Heartbeat => {
                    let time = time - behind;
                    if time <= history.heartbeat() {
                        continue;
                    }
                    topic.extend(history.settle(time).into_iter().map(Metadata::Revision));
                    topic.push(Metadata::Heartbeat(history.heartbeat_message(time, Proof::Probed, true)));
                    history.promise(time);
                    promised.push((time, sides(&table(&topic), time)));
                }
                Step::Restart => {
                    let mut again = begin();
                    topic.iter().for_each(|message| again.restore(message));
                    prop_assert_eq!(again.open(), history.open());
                    history = again;
                }
            }
        }
        let table = table(&topic);
        for (until, then) in promised {
            prop_assert_eq!(sides(&table, until), then);
        }
    }

    /// Pods hold one address one after the other; the API tells with delays, in whole seconds. Whoever is named held it.
    #[test]
    fn nobody_is_misnamed_whatever_the_delays(
        lives in prop::collection::vec((0i64..4_000, 0i64..4_000, 0i64..30_000, 1i64..9_000, 0i64..5_000, 0i64..5_000), 1..6),
        beats in prop::collection::vec(500i64..20_000, 1..20),
        believes in any::<bool>(),
    ) {
        let behind = if believes { 31_000 } else { 0 };
        let truth = lives.iter().fold((100_000, Vec::new()), |(time, mut truth), life| {
            let (gap, setting_up, status_delay, length, notice, aftermath) = *life;
            let created = time + gap;
            let begin = created + setting_up;
            let end = begin + length;
            truth.push((created, begin, begin + status_delay, end, end - notice.min(length), end + aftermath));
            (end, truth)
        }).1;
        let mut events: Vec<(Millis, usize, u8)> = Vec::new();
        for (uid, (created, _, told, _, asked, gone)) in truth.iter().enumerate() {
            events.push((*created, uid, 0));
            if told < gone {
                events.push((*told, uid, 1));
            }
            events.push((*asked, uid, 4));
            events.push((*gone, uid, 2));
        }
        let mut beat = 100_000;
        for gap in beats {
            beat += gap;
            events.push((beat, 0, 3));
        }
        events.sort_unstable();
        let (mut history, mut table) = (History::new("c"), Table::new("c", 1));
        history.believe_nodes(behind, 30_000);
        let first = history.heartbeat_message(0, Proof::Manifests, true);
        table.apply(0, &Metadata::Heartbeat(first));
        for (time, uid, what) in events {
            let (created, begin, _, _, asked, _) = truth[uid];
            let pod = |told: bool| kube_pod(uid, created, told.then_some(begin));
            let revisions = match what {
                0 => history.observe(observe::pod(&pod(false), owner(), time), time),
                1 => history.observe(observe::pod(&pod(true), owner(), time), time),
                2 => {
                    let mut last = pod(true);
                    last.metadata.deletion_timestamp = Some(stamp(asked));
                    last.metadata.deletion_grace_period_seconds = Some(0);
                    history.vanish(Kind::Pod, &uid.to_string(), observe::pod_end(&last, time, true), time).into_iter().collect()
                }
                4 => {
                    let mut ending = pod(truth[uid].2 < time);
                    ending.metadata.deletion_timestamp = Some(stamp(asked));
                    let mut revisions = history.observe(observe::pod(&ending, owner(), time), time);
                    let asked = observe::deleted(&ending.metadata, time).unwrap();
                    revisions.extend(history.foresee_end(Kind::Pod, &uid.to_string(), asked));
                    revisions
                }
                _ => {
                    let to = time - behind;
                    let settled = history.settle(to);
                    let heartbeat = history.heartbeat_message(to, Proof::Probed, true);
                    history.promise(to);
                    settled.iter().for_each(|revision| table.apply(0, &Metadata::Revision(revision.clone())));
                    table.apply(0, &Metadata::Heartbeat(heartbeat));
                    Vec::new()
                }
            };
            revisions.into_iter().for_each(|revision| table.apply(0, &Metadata::Revision(revision)));
        }
        for at in (100_000..250_000).step_by(97) {
            let side = table.side(&Ask::address(at, address("10.0.0.1")));
            if side.attribution == Attribution::Exact {
                let uid: usize = side.pod_uid.unwrap().parse().unwrap();
                let (_, begin, _, end, ..) = truth[uid];
                prop_assert!(begin <= at && at < end, "{at}: {uid} held it from {begin} to {end}");
            }
        }
    }
}

fn owner() -> Owner {
    Owner { kind: String::new(), name: "x".to_owned(), known: true, chain: Vec::new() }
}

fn stamp(time: Millis) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    // Kubernetes rounds down to whole seconds.
    serde_json::from_value(json!(rounded(time))).unwrap()
}

fn rounded(time: Millis) -> String {
    jiff::Timestamp::from_second(time / 1000).unwrap().to_string()
}

fn kube_pod(uid: usize, created: Millis, sandbox: Option<Millis>) -> KubePod {
    let mut conditions =
        vec![json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": rounded(created)})];
    if let Some(sandbox) = sandbox {
        conditions.push(json!({
            "type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": rounded(sandbox)}));
    }
    serde_json::from_value(json!({
        "metadata": {"name": format!("pod-{uid}"), "namespace": "shop", "uid": uid.to_string(),
            "creationTimestamp": rounded(created)},
        "spec": {"nodeName": "n", "containers": []},
        "status": {"conditions": conditions, "podIP": sandbox.map(|_| "10.0.0.1")}
    }))
    .unwrap()
}

#[test]
fn a_policys_change_is_dated_by_what_the_server_noted_but_never_before_the_heartbeat() {
    let policy = |spec: &str, time: Millis| Observed {
        object: Object::Policy(weir_schemas::metadata::Policy { spec: spec.to_owned(), ..Default::default() }),
        changed: Some(written(time, BoundSource::ManagedFields)),
        about: About { changed_by: "kubectl".to_owned(), changed_at: Some(time), labels_dropped: 0 },
        ..seen("p", &[], "x")
    };
    let mut history = History::new("c");
    let _ = history.observe(policy("{}", 1_000), 1_500);
    history.promise(5_000);
    let second = history.observe(policy("{\"a\":1}", 7_000), 60_000);
    let [closed, opened] = &second[..] else { panic!("{second:?}") };
    assert_eq!(opened.valid_from, written(7_000, BoundSource::ManagedFields));
    assert_eq!(closed.valid_to, Some(opened.valid_from));
    assert_eq!((opened.changed_by.as_str(), opened.changed_at), ("kubectl", Some(7_000)));
    history.promise(61_000);
    let third = history.observe(policy("{}", 9_000), 62_000);
    assert_eq!(third[1].valid_from.source, BoundSource::Clipped);
    assert_eq!((third[1].valid_from.earliest, third[1].changed_at), (61_001, Some(9_000)), "the true time is kept");
    assert_eq!(history.observe(policy("{}", 9_500), 63_000), vec![], "another writer of the same content");
}

#[test]
fn an_annotation_that_is_kept_is_identity() {
    let mut history = History::new("c");
    let _ = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    let noted = Observed { annotations: vec!["team=payments".to_owned()], ..seen("a", &["10.0.0.1"], "x") };
    let written = history.observe(noted, 3_000);
    assert_eq!((written.len(), written[1].annotations.clone()), (2, vec!["team=payments".to_owned()]));
}

/// The history after a restart, from what is left on the topic.
fn restored(written: &[Revision], tombstones: &[String]) -> History {
    let mut history = History::new("c");
    written.iter().for_each(|revision| history.restore(&Metadata::Revision(revision.clone())));
    tombstones.iter().for_each(|key| history.restore_tombstone(key));
    history
}

#[test]
fn what_ended_long_ago_is_forgotten_and_nothing_else() {
    let mut history = History::new("c");
    let mut written = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    written.extend(history.observe(seen("a", &["10.0.0.1"], "y"), 5_000));
    written.extend(history.observe(seen("b", &["10.0.0.2"], "x"), 1_500));
    written.extend(history.vanish(Kind::Pod, "b", None, 6_000));
    let mut again = restored(&written, &[]);
    for history in [&mut history, &mut again] {
        assert_eq!(
            history.expire(5_000, 10),
            Vec::<String>::new(),
            "an end at that very time may still be asked about"
        );
        assert_eq!(history.expire(5_001, 10), ["c/Pod/a/1"]);
        assert_eq!(history.expire(5_001, 10), Vec::<String>::new(), "once");
        assert_eq!(history.expire(FOR_EVER, 10), ["c/Pod/b/1"], "what is open stays");
        assert_eq!(history.open(), 1);
    }
    // After another restart the tombstones are known, and the object that is there goes on with its ordinals.
    let mut after = restored(&written, &["c/Pod/a/1".to_owned(), "c/Pod/b/1".to_owned()]);
    assert_eq!(after.expire(FOR_EVER, 10), Vec::<String>::new());
    assert_eq!(after.observe(seen("a", &["10.0.0.1"], "z"), 9_000)[1].revision, 3);
}

#[test]
fn no_more_is_forgotten_at_once_than_asked_for() {
    let mut history = History::new("c");
    for number in 0..5 {
        let uid = number.to_string();
        let _ = history.observe(seen(&uid, &[], "x"), 1_500);
        let _ = history.vanish(Kind::Pod, &uid, None, 2_000);
    }
    let mut keys: Vec<String> = (0..4).flat_map(|_| history.expire(FOR_EVER, 2)).collect();
    keys.sort_unstable();
    assert_eq!(keys.len(), 5);
}

#[test]
fn an_end_that_is_only_foreseen_is_not_forgotten() {
    let mut history = History::new("c");
    let _ = history.observe(seen("a", &["10.0.0.1"], "x"), 1_500);
    let asked = between(2_000, 2_999, BoundSource::Deletion);
    let foreseen = history.foresee_end(Kind::Pod, "a", asked).unwrap();
    assert_eq!(restored(&[foreseen], &[]).expire(Millis::MAX - 1, 10), Vec::<String>::new());
    assert_eq!(history.expire(Millis::MAX - 1, 10), Vec::<String>::new());
}
