use super::*;
use serde_json::json;
use weir_schemas::metadata::Object;

fn event(watched: Watched, version: u64, change: Change) -> Event {
    Event { watched, arrival: i64::try_from(version).unwrap() * 1_000, version, change }
}

fn pod_of(name: &str, version: u64, more: &serde_json::Value) -> Item {
    let mut pod = json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version.to_string(),
        "creationTimestamp": "1970-01-01T00:00:01Z", "ownerReferences": [{"apiVersion": "apps/v1",
        "kind": "ReplicaSet", "name": "web-5f", "uid": "r", "controller": true}]}, "spec": {"nodeName": "n", "containers": []}});
    for (key, value) in more.as_object().unwrap() {
        pod[key] = value.clone();
    }
    Item::Pod(Box::new(serde_json::from_value(pod).unwrap()))
}

fn pod(name: &str, version: u64) -> Item {
    pod_of(name, version, &json!({}))
}

fn set() -> Item {
    Item::ReplicaSet(Box::new(
        serde_json::from_value(
            json!({"name": "web-5f", "namespace": "shop", "ownerReferences": [{"apiVersion": "apps/v1",
            "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]}),
        )
        .unwrap(),
    ))
}

/// A cluster in which everything was listed, and was empty, at version 1.
fn listed(agents: Vec<Observed>) -> (Cluster, History, Vec<Revision>) {
    let (mut cluster, mut history) = (Cluster::new(agents, Keep::default()), History::new("c"));
    let mut revisions = Vec::new();
    for watched in Watched::all() {
        revisions.extend(cluster.take(event(watched, 1, Change::Listed(vec![])), &mut history));
    }
    (cluster, history, revisions)
}

fn workloads(revisions: &[Revision]) -> Vec<(String, String)> {
    let of = |revision: &Revision| match &revision.object {
        Object::Pod(pod) => Some((pod.workload_kind.clone(), pod.workload.clone())),
        _ => None,
    };
    revisions.iter().filter_map(of).collect()
}

fn web() -> Vec<(String, String)> {
    vec![("Deployment".to_owned(), "web".to_owned())]
}

#[test]
fn nothing_enters_before_every_kind_is_listed() {
    let (mut cluster, mut history) = (Cluster::default(), History::new("c"));
    assert_eq!(cluster.take(event(Watched::Pod, 5, Change::Listed(vec![pod("a", 4)])), &mut history), vec![]);
    for watched in Watched::all().filter(|kind| !matches!(kind, Watched::Pod | Watched::ReplicaSet)) {
        assert_eq!(cluster.take(event(watched, 5, Change::Listed(vec![])), &mut history), vec![]);
    }
    let revisions = cluster.take(event(Watched::ReplicaSet, 5, Change::Listed(vec![set()])), &mut history);
    assert!(cluster.is_listed());
    assert_eq!(cluster.listed_at(), Some(5_000), "the arrival of the last list");
    assert_eq!(workloads(&revisions), web());
}

#[test]
fn a_pod_waits_for_its_replica_set() {
    let (mut cluster, mut history, _) = listed(vec![]);
    assert_eq!(cluster.take(event(Watched::Pod, 9, Change::Applied(pod("a", 9))), &mut history), vec![]);
    assert_eq!(cluster.waiting(), 1);
    let revisions = cluster.take(event(Watched::ReplicaSet, 8, Change::Applied(set())), &mut history);
    assert_eq!((workloads(&revisions), cluster.waiting()), (web(), 0));
}

#[test]
fn a_pod_does_not_wait_for_one_that_is_gone() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let _ = cluster.take(event(Watched::Pod, 9, Change::Applied(pod("a", 9))), &mut history);
    assert_eq!(cluster.take(event(Watched::ReplicaSet, 8, Change::Passed), &mut history), vec![]);
    let revisions = cluster.take(event(Watched::ReplicaSet, 9, Change::Passed), &mut history);
    assert_eq!(workloads(&revisions), [("ReplicaSet".to_owned(), "web-5f".to_owned())]);
}

#[test]
fn a_pod_that_ends_while_it_waits_is_opened_and_closed() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let _ = cluster.take(event(Watched::Pod, 9, Change::Applied(pod("a", 9))), &mut history);
    let revisions = cluster.take(event(Watched::Pod, 10, Change::Deleted(pod("a", 10))), &mut history);
    assert_eq!(revisions.len(), 2);
    assert!(revisions[1].valid_to.is_some());
    assert_eq!((cluster.waiting(), history.open()), (0, 0));
}

#[test]
fn a_new_list_closes_what_went_unseen() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let _ = cluster.take(event(Watched::ReplicaSet, 2, Change::Applied(set())), &mut history);
    for name in ["a", "b"] {
        let _ = cluster.take(event(Watched::Pod, 3, Change::Applied(pod(name, 3))), &mut history);
    }
    history.promise(4_000);
    let revisions = cluster.take(event(Watched::Pod, 9, Change::Listed(vec![pod("a", 3)])), &mut history);
    assert_eq!(revisions.len(), 1);
    let end = revisions[0].valid_to.unwrap();
    assert_eq!((revisions[0].name.as_str(), end.earliest, end.latest), ("b", 4_001, 9_000));
}

#[test]
fn a_pod_that_waits_and_is_in_no_new_list_does_not_come_back() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let _ = cluster.take(event(Watched::Pod, 9, Change::Applied(pod("a", 9))), &mut history);
    assert_eq!(cluster.waiting(), 1);
    let revisions = cluster.take(event(Watched::Pod, 12, Change::Listed(vec![])), &mut history);
    let closed = revisions.last().is_some_and(|last| last.valid_to.is_some());
    assert!(revisions.len() == 2 && closed, "{revisions:?}");
    let _ = cluster.take(event(Watched::ReplicaSet, 13, Change::Passed), &mut history);
    assert_eq!((cluster.waiting(), history.open()), (0, 0));
}

#[test]
fn an_agent_is_one_while_its_pod_is_ready() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let agent = |ready: &str, version| {
        let meta = json!({"name": "g", "namespace": "weir", "uid": "g", "creationTimestamp": "1970-01-01T00:00:01Z",
            "labels": {"app.kubernetes.io/name": "weir-agent"}});
        let status =
            json!({"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:00:03Z"}]});
        pod_of("g", version, &json!({"metadata": meta, "status": status}))
    };
    let kinds = |revisions: &[Revision]| -> Vec<(Kind, bool)> {
        revisions.iter().map(|r| (Kind::of(&r.object), r.valid_to.is_some())).collect()
    };
    let ready = cluster.take(event(Watched::Pod, 4, Change::Applied(agent("True", 4))), &mut history);
    assert_eq!(kinds(&ready), [(Kind::Pod, false), (Kind::Agent, false)]);
    let unready = cluster.take(event(Watched::Pod, 5, Change::Applied(agent("False", 5))), &mut history);
    assert_eq!(kinds(&unready), [(Kind::Agent, true)]);
    let again = cluster.take(event(Watched::Pod, 6, Change::Applied(agent("True", 6))), &mut history);
    assert_eq!((kinds(&again), again[0].revision), (vec![(Kind::Agent, false)], 2));
    let gone = cluster.take(event(Watched::Pod, 7, Change::Deleted(agent("True", 7))), &mut history);
    assert_eq!(kinds(&gone), [(Kind::Agent, true), (Kind::Pod, true)]);
}

#[test]
fn a_pod_of_another_namespace_is_no_agent_whatever_its_labels_say() {
    let pod = |namespace: &str| {
        let meta = json!({"name": "g", "namespace": namespace, "uid": namespace, "creationTimestamp": "1970-01-01T00:00:01Z",
            "labels": {"app.kubernetes.io/name": "weir-agent"}});
        let status =
            json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:03Z"}]});
        pod_of("g", 4, &json!({"metadata": meta, "status": status}))
    };
    let agents = |history: &History| -> Vec<String> {
        history.open_of(Kind::Agent).map(|agent| agent.namespace.clone()).collect()
    };
    for (agents_in, all) in [("weir", ["shop", "weir"]), ("shop", ["weir", "shop"])] {
        let (cluster, mut history, _) = listed(vec![]);
        let mut cluster = cluster.with_agents_in(agents_in);
        for namespace in all {
            let _ = cluster.take(event(Watched::Pod, 4, Change::Applied(pod(namespace))), &mut history);
        }
        assert_eq!(agents(&history), [agents_in]);
        let again = all.into_iter().map(pod).collect();
        let _ = cluster.take(event(Watched::Pod, 5, Change::Listed(again)), &mut history);
        assert_eq!(agents(&history), [agents_in], "nor by a list");
    }
}

#[test]
fn nothing_is_promised_past_a_pod_that_waits_for_its_owner() {
    use crate::freshness::Freshness;
    use weir_join::{Ask, Table};
    use weir_schemas::metadata::{Metadata, Proof};
    let (mut cluster, mut history, _) = listed(vec![]);
    let mut freshness: Freshness<{ crate::watched::WATCHED }> = Freshness::new(1_000);
    let mut topic = vec![Metadata::Heartbeat(history.heartbeat_message(8_000, Proof::Probed, true))];
    history.promise(8_000);
    let mut take = |event: Event, cluster: &mut Cluster, history: &mut History| {
        let (number, version, arrival) = (event.watched.number(), event.version, event.arrival);
        let revisions = cluster.take(event, history);
        Watched::all().for_each(|watched| freshness.reached(watched.number(), 0, arrival));
        freshness.reached(number, version, arrival);
        // The API server held the pod of version 9 when this probe began, and not when the one before did.
        for (started, found) in [(8_500, 8), (9_500, 9)] {
            let mut versions = [0; crate::watched::WATCHED];
            versions[Watched::Pod.number()] = found;
            freshness.probed(started, versions, arrival);
        }
        (revisions, freshness.proven(arrival, 1_000, cluster.held()))
    };
    let status = json!({"podIP": "10.0.0.1", "conditions": [
        {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "1970-01-01T00:00:08Z"}]});
    let pod = pod_of("a", 9, &json!({"status": status}));
    let (written, proven) = take(event(Watched::Pod, 9, Change::Applied(pod)), &mut cluster, &mut history);
    assert_eq!((written, proven), (vec![], Some((8_500, Proof::Probed))), "as far as it cannot have been there");
    let (written, proven) = take(event(Watched::ReplicaSet, 9, Change::Applied(set())), &mut cluster, &mut history);
    assert_eq!(proven, Some((9_500, Proof::Probed)), "it waits no longer");
    topic.extend(written.into_iter().map(Metadata::Revision));
    topic.push(Metadata::Heartbeat(history.heartbeat_message(9_500, Proof::Probed, true)));
    let mut table = Table::new("c", 1);
    topic.iter().for_each(|message| table.apply(0, message));
    assert_eq!(table.side(&Ask::address(9_400, "10.0.0.1".parse().unwrap())).workload.as_deref(), Some("web"));
}

#[test]
fn a_pod_that_is_deleted_without_time_to_end_may_go_on() {
    for (grace, latest) in [(30, 9_000), (0, 39_000)] {
        let (mut cluster, mut history, _) = listed(vec![]);
        let _ = cluster.take(event(Watched::ReplicaSet, 2, Change::Applied(set())), &mut history);
        let _ = cluster.take(event(Watched::Pod, 3, Change::Applied(pod("a", 3))), &mut history);
        let asked = |version, grace: i64| {
            let meta = json!({"name": "a", "namespace": "shop", "uid": "a", "creationTimestamp": "1970-01-01T00:00:01Z",
                "deletionTimestamp": format!("1970-01-01T00:00:{:02}Z", 5 + grace), "deletionGracePeriodSeconds": grace});
            pod_of("a", version, &json!({"metadata": meta}))
        };
        let _ = cluster.take(event(Watched::Pod, 8, Change::Applied(asked(8, grace))), &mut history);
        let gone = cluster.take(event(Watched::Pod, 9, Change::Deleted(asked(9, 0))), &mut history);
        assert_eq!(gone[0].valid_to.map(|to| to.latest), Some(latest), "with {grace} s");
    }
}

/// Where the heartbeat waits for what nodes have to tell, a request alone puts nothing in doubt.
#[test]
fn a_pod_that_is_asked_to_end_is_in_doubt_as_soon_as_its_end_may_be_untold() {
    let terminated = json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0, "finishedAt": "1970-01-01T00:00:08Z"}}}]});
    let running = json!({"phase": "Running"});
    let cases = [
        (2_000, &running, Some(5_000)),
        (NODES_TELL_WITHIN, &running, None),
        (NODES_TELL_WITHIN, &terminated, Some(8_000)),
    ];
    for (node_delay, status, in_doubt_since) in cases {
        let (cluster, mut history, _) = listed(vec![]);
        let mut cluster = cluster.with_node_delay(node_delay);
        let meta = json!({"name": "a", "namespace": "shop", "uid": "a", "creationTimestamp": "1970-01-01T00:00:01Z",
            "deletionTimestamp": "1970-01-01T00:00:35Z", "deletionGracePeriodSeconds": 30});
        let asked = pod_of("a", 9, &json!({"metadata": meta, "status": status}));
        let written = cluster.take(event(Watched::Pod, 9, Change::Applied(asked)), &mut history);
        let ends: Vec<_> = written.iter().filter_map(|revision| revision.valid_to).map(|to| to.earliest).collect();
        assert_eq!(ends.first().copied(), in_doubt_since, "with {node_delay} ms and {status}");
    }
}

#[test]
fn a_pod_that_is_first_shown_when_it_has_ended_held_its_address_until_then_and_once() {
    let ended = json!({"metadata": {"name": "a", "namespace": "shop", "uid": "a", "creationTimestamp": "1970-01-01T00:00:01Z"},
        "status": {"phase": "Succeeded", "podIP": "10.0.0.1", "containerStatuses": [{"name": "c", "image": "",
        "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0,
        "startedAt": "1970-01-01T00:00:03Z", "finishedAt": "1970-01-01T00:00:08Z"}}}]}});
    for (heartbeat, holds) in [(2_000, 1), (8_000, 0)] {
        let (mut cluster, mut history, _) = listed(vec![]);
        history.promise(heartbeat);
        let mut topic = cluster.take(event(Watched::Pod, 9, Change::Applied(pod_of("a", 9, &ended))), &mut history);
        topic.extend(cluster.take(event(Watched::Pod, 10, Change::Applied(pod_of("a", 10, &ended))), &mut history));
        topic
            .extend(cluster.take(event(Watched::Pod, 11, Change::Listed(vec![pod_of("a", 10, &ended)])), &mut history));
        let held =
            topic.iter().filter(|revision| matches!(&revision.object, Object::Pod(pod) if !pod.addresses.is_empty()));
        let held: Vec<_> = held.filter_map(|revision| revision.valid_to).map(|to| (to.earliest, to.latest)).collect();
        assert_eq!(held, vec![(8_000, 9_000); holds], "after a heartbeat of {heartbeat}");
    }
}

#[test]
fn agents_of_a_setting_are_in_no_list_and_stay() {
    let (mut cluster, mut history, first) = listed(vec![crate::host::agent("n", &[])]);
    assert_eq!(first.len(), 1);
    assert_eq!(cluster.take(event(Watched::Pod, 9, Change::Listed(vec![])), &mut history), vec![]);
    assert_eq!(history.open(), 1);
}

#[test]
fn policies_and_slices_have_a_history_and_vanish_with_a_list() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let meta = json!({"name": "x", "namespace": "shop", "uid": "x", "creationTimestamp": "1970-01-01T00:00:01Z"});
    let policy = json!({"metadata": meta, "spec": {"podSelector": {}}});
    let slice = json!({"metadata": meta, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]});
    let kept = [
        (Watched::NetworkPolicy, Item::NetworkPolicy(Box::new(serde_json::from_value(policy).unwrap())), Kind::Policy),
        (
            Watched::EndpointSlice,
            Item::EndpointSlice(Box::new(serde_json::from_value(slice).unwrap())),
            Kind::EndpointSlice,
        ),
    ];
    for (watched, item, kind) in kept {
        let opened = cluster.take(event(watched, 4, Change::Applied(item)), &mut history);
        assert_eq!((opened.len(), Kind::of(&opened[0].object), opened[0].valid_to), (1, kind, None));
        let closed = cluster.take(event(watched, 6, Change::Listed(vec![])), &mut history);
        assert!(closed.len() == 1 && closed[0].valid_to.is_some(), "{closed:?}");
    }
}

fn other_policy(name: &str, kind: PolicyKind) -> Item {
    let metadata = serde_json::from_value(json!({"name": name, "uid": name})).unwrap();
    let fields = json!({"spec": {}});
    let version = format!("{}/{}", kind.places[0].0, kind.places[0].1);
    Item::OtherPolicy(Box::new(OtherPolicy::of(kind, version, metadata, fields)))
}

#[test]
fn a_list_of_one_kind_of_policy_closes_none_of_another() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let [admin, cilium] = [crate::watched::POLICY_KINDS[0], crate::watched::POLICY_KINDS[8]];
    let policy = json!({"metadata": {"name": "x", "namespace": "shop", "uid": "x"}, "spec": {"podSelector": {}}});
    let policy = Item::NetworkPolicy(Box::new(serde_json::from_value(policy).unwrap()));
    let _ = cluster.take(event(Watched::NetworkPolicy, 2, Change::Applied(policy)), &mut history);
    for (kind, name) in [(admin, "guard"), (cilium, "web")] {
        let item = other_policy(name, kind);
        let opened = cluster.take(event(Watched::OtherPolicy(kind), 3, Change::Applied(item)), &mut history);
        assert_eq!(opened.len(), 1);
    }
    let closed =
        |revisions: &[Revision]| -> Vec<String> { revisions.iter().map(|revision| revision.name.clone()).collect() };
    let gone = cluster.take(event(Watched::OtherPolicy(admin), 0, Change::Listed(vec![])), &mut history);
    assert_eq!(closed(&gone), ["guard"], "its definition was deleted");
    let gone = cluster.take(event(Watched::NetworkPolicy, 5, Change::Listed(vec![])), &mut history);
    assert_eq!(closed(&gone), ["x"]);
    let stays = vec![other_policy("web", cilium)];
    assert_eq!(cluster.take(event(Watched::OtherPolicy(cilium), 6, Change::Listed(stays)), &mut history), vec![]);
    assert_eq!(history.open(), 1);
}

#[test]
fn when_too_many_wait_the_first_goes_without_its_owner_and_is_counted() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let of = |number: usize| pod(&format!("pod-{number}"), u64::try_from(number + 10).unwrap());
    let arrive = |number: usize, cluster: &mut Cluster, history: &mut History| {
        let event = Event { arrival: 2_000, ..event(Watched::Pod, 9_999, Change::Applied(of(number))) };
        cluster.take(event, history)
    };
    for number in 0..WAITING {
        assert_eq!(arrive(number, &mut cluster, &mut history), vec![]);
    }
    assert_eq!((cluster.waiting(), cluster.without_owner()), (WAITING, WithoutOwner::default()));
    let revisions = arrive(WAITING, &mut cluster, &mut history);
    assert_eq!(revisions.iter().map(|revision| revision.name.as_str()).collect::<Vec<_>>(), ["pod-0"]);
    assert_eq!(workloads(&revisions), [("ReplicaSet".to_owned(), "web-5f".to_owned())]);
    let count = WithoutOwner { late: 0, limit: 1 };
    assert_eq!((cluster.waiting(), cluster.without_owner()), (WAITING, count));
    // Once its owner is known, what is told of it names the workload as before.
    let owner = Event { arrival: 3_000, ..event(Watched::ReplicaSet, 9_998, Change::Applied(set())) };
    let revisions = cluster.take(owner, &mut history);
    assert_eq!((revisions.len(), cluster.waiting()), (WAITING, 0));
    assert!(workloads(&revisions).iter().all(|workload| *workload == web()[0]));
    assert_eq!(workloads(&arrive(0, &mut cluster, &mut history)).last(), Some(&web()[0]));
    assert_eq!(cluster.without_owner(), WithoutOwner::default());
}

#[test]
fn a_pod_whose_owner_is_waited_for_too_long_is_counted() {
    let (mut cluster, mut history, _) = listed(vec![]);
    let _ = cluster.take(event(Watched::Pod, 9, Change::Applied(pod("a", 9))), &mut history);
    let passed = Event { arrival: 19_000, ..event(Watched::Node, 2, Change::Passed) };
    assert_eq!(workloads(&cluster.take(passed, &mut history)), [("ReplicaSet".to_owned(), "web-5f".to_owned())]);
    assert_eq!(cluster.without_owner(), WithoutOwner { late: 1, limit: 0 });
}

/// A pod that may be a node's mirror of one from a file, on node `n`.
fn mirror(namespace: &str, name: &str, uid: &str) -> Item {
    let pod = json!({"metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": "1970-01-01T00:00:01Z",
        "annotations": {"kubernetes.io/config.mirror": "0123456789abcdef0123456789abcdef"}, "ownerReferences": [
        {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "node", "controller": true}]},
        "spec": {"nodeName": "n", "containers": []}});
    Item::Pod(Box::new(serde_json::from_value(pod).unwrap()))
}

#[test]
fn nobody_takes_the_uid_of_a_nodes_own_pod() {
    let hash = "0123456789abcdef0123456789abcdef";
    let (mut cluster, mut history, _) = listed(vec![]);
    let uids = |revisions: &[Revision]| revisions.iter().map(|of| of.uid.clone()).collect::<Vec<_>>();
    let (real, forged) = (mirror("kube-system", "etcd-n", "real"), mirror("attack", "etcd-n", "forged"));
    assert_eq!(uids(&cluster.take(event(Watched::Pod, 9, Change::Applied(real)), &mut history)), [hash]);
    let told = cluster.take(event(Watched::Pod, 10, Change::Applied(forged.clone())), &mut history);
    assert_eq!((uids(&told), cluster.claims_refused()), (vec!["forged".to_owned()], 1));
    // Nor when this service begins anew and meets the other one first.
    let mut anew = History::new("c");
    history.open_of(Kind::Pod).for_each(|open| anew.restore(&weir_schemas::metadata::Metadata::Revision(open.clone())));
    let (mut again, ..) = listed(vec![]);
    assert_eq!(again.take(event(Watched::Pod, 11, Change::Applied(forged.clone())), &mut anew), vec![]);
    assert_eq!(again.claims_refused(), 1);
    // Its end ends nothing but itself, and the node's pod may be made anew.
    let gone = cluster.take(event(Watched::Pod, 12, Change::Deleted(forged)), &mut history);
    assert_eq!(uids(&gone), ["forged"]);
    assert!(history.open_one(Kind::Pod, hash).is_some_and(|open| open.namespace == "kube-system"));
    let anew = mirror("kube-system", "etcd-n", "real-2");
    let _ = cluster.take(event(Watched::Pod, 13, Change::Applied(anew)), &mut history);
    assert_eq!(cluster.claims_refused(), 0);
}
