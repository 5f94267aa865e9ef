use super::*;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use weir_flow::time::NEVER;

const CREATED: &str = "2026-01-01T00:00:00Z";
/// [`CREATED`] in milliseconds.
const T: Millis = 1_767_225_600_000;

fn seen(status: &serde_json::Value) -> Observed {
    let pod: Pod = pod_of(status, &json!({}));
    super::pod(
        &pod,
        Owner { kind: "Deployment".to_owned(), name: "web".to_owned(), known: true, chain: Vec::new() },
        T + 90_000,
    )
}

fn pod_of(status: &serde_json::Value, more: &serde_json::Value) -> Pod {
    let mut meta = json!({"name": "web-1", "namespace": "shop", "uid": "u", "creationTimestamp": CREATED,
        "labels": {"b": "2", "a": "1"}});
    for (key, value) in more.as_object().unwrap() {
        meta[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": meta, "status": status,
        "spec": {"nodeName": "n", "serviceAccountName": "sa", "containers": []}}))
    .unwrap()
}

fn object(seen: &Observed) -> &metadata::Pod {
    let Object::Pod(pod) = &seen.object else { panic!() };
    pod
}

#[test]
fn a_pod_without_an_address_exists_from_its_creation() {
    let seen = seen(&json!({"phase": "Pending"}));
    assert_eq!(seen.since, Some(Bound { earliest: T, latest: T + 999, source: BoundSource::Creation }));
    let pod = object(&seen);
    assert_eq!((pod.node.as_str(), pod.service_account.as_str(), pod.workload.as_str()), ("n", "sa", "web"));
}

#[test]
fn addresses_are_held_from_scheduling_to_the_sandbox() {
    let seen =
        seen(&json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:03Z"},
            {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "2026-01-01T00:00:07Z"}]}));
    let held = Bound { earliest: T + 3_000, latest: T + 7_999, source: BoundSource::Status };
    assert_eq!((seen.since, seen.changed), (Some(held), Some(held)));
    assert_eq!(object(&seen).addresses.len(), 2);
}

#[test]
fn without_that_condition_the_first_start_counts_and_else_the_arrival() {
    let started =
        seen(&json!({"podIP": "10.0.0.1", "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1,
        "image": "i", "imageID": "", "containerID": "containerd://abc",
        "lastState": {"terminated": {"exitCode": 1, "startedAt": "2026-01-01T00:00:05Z"}},
        "state": {"running": {"startedAt": "2026-01-01T00:01:00Z"}}}]}));
    assert_eq!(started.since, Some(Bound { earliest: T, latest: T + 5_999, source: BoundSource::Status }));
    let containers = &object(&started).containers;
    assert_eq!(containers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["abc"]);
    let arrived = seen(&json!({"podIP": "10.0.0.1"}));
    assert_eq!(arrived.since, Some(Bound { earliest: T, latest: T + 90_000, source: BoundSource::Arrival }));
}

#[test]
fn a_container_that_started_before_the_kubelet_noticed_the_sandbox_dates_the_address() {
    let started = |restarts: u32| {
        seen(&json!({"podIP": "10.0.0.1", "conditions": [{"type": "PodReadyToStartContainers", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:07Z"}], "containerStatuses": [{"name": "a", "ready": true,
            "restartCount": restarts, "image": "i", "imageID": "",
            "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]}))
    };
    assert_eq!(started(0).since.map(|since| since.latest), Some(T + 5_999));
    assert_eq!(started(1).since.map(|since| since.latest), Some(T + 7_999), "maybe in another sandbox");
}

#[test]
fn a_pod_that_is_first_shown_when_it_has_ended_held_its_address_before() {
    let owner = Owner { kind: String::new(), name: "web-1".to_owned(), known: true, chain: Vec::new() };
    let former = |status: &serde_json::Value| former_pod(&pod_of(status, &json!({})), &owner, T + 90_000);
    let mut shown = ended();
    assert_eq!(former(&shown), None, "nobody told when it began");
    shown["containerStatuses"][0]["state"]["terminated"]["startedAt"] = json!("2026-01-01T00:00:05Z");
    let (before, ended) = former(&shown).unwrap();
    assert_eq!((object(&before).addresses.len(), ended), (1, T + 30_000));
    assert_eq!(before.since, Some(Bound { earliest: T, latest: T + 5_999, source: BoundSource::Status }));
    shown["containerStatuses"][0]["restartCount"] = json!(1);
    assert_eq!(former(&shown), None, "maybe in another sandbox");
    shown["phase"] = json!("Running");
    assert_eq!(former(&shown), None, "it has it still");
}

#[test]
fn containers_that_run_again_have_not_ended() {
    let restarted = |state: serde_json::Value| {
        let status = json!({"containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "image": "i",
            "imageID": "", "state": state}]});
        containers_ended(&pod_of(&status, &json!({})), T)
    };
    assert_eq!(restarted(json!({"running": {"startedAt": "2026-01-01T00:01:00Z"}})), None);
    assert!(restarted(json!({"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:01:00Z"}})).is_some());
}

fn ended() -> serde_json::Value {
    json!({"phase": "Succeeded", "podIP": "10.0.0.1", "containerStatuses": [{"name": "a", "ready": false,
        "restartCount": 0, "image": "i", "imageID": "", "state": {"terminated": {"exitCode": 0,
        "finishedAt": "2026-01-01T00:00:30Z"}}}]})
}

#[test]
fn a_completed_pod_gives_its_address_back() {
    let seen = seen(&ended());
    assert_eq!(object(&seen).addresses, vec![]);
    let end = Bound { earliest: T + 30_000, latest: T + 90_000, source: BoundSource::Status };
    assert_eq!(seen.changed, Some(end));
    assert_eq!(pod_end(&pod_of(&ended(), &json!({})), T + 90_000, false), Some(end));
}

#[test]
fn a_pod_whose_sandbox_is_gone_holds_no_address_though_its_status_shows_it() {
    let with = |ready: &str| {
        seen(&json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "PodReadyToStartContainers",
            "status": ready, "lastTransitionTime": "2026-01-01T00:00:07Z"}]}))
    };
    assert_eq!(object(&with("True")).addresses.len(), 1);
    assert_eq!((object(&with("False")).addresses.len(), with("False").changed), (0, None));
}

#[test]
fn a_restarted_container_does_not_tell_how_long_an_address_was_held() {
    let mut restarted = ended();
    restarted["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 1}});
    let unknown = Some(Bound { earliest: NEVER, latest: T + 90_000, source: BoundSource::Status });
    assert_eq!(seen(&restarted).changed, unknown);
    assert_eq!(pod_end(&pod_of(&restarted, &json!({})), T + 90_000, true), unknown);
}

#[test]
fn a_deleted_pod_whose_end_was_not_told_ends_at_an_unknown_time_before_the_arrival_or_soon_after() {
    let more = json!({"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30});
    let mut pod = pod_of(&json!({"podIP": "10.0.0.1"}), &more);
    let end = |earliest, latest| Some(Bound { earliest, latest, source: BoundSource::Deletion });
    assert_eq!(pod_end(&pod, T + 50_000, true), end(NEVER, T + 50_000));
    assert_eq!(pod_end(&pod, T + 50_000, false), end(NEVER, T + 80_000), "nobody waited for its containers");
    pod.spec.as_mut().unwrap().node_name = None;
    assert_eq!(pod_end(&pod, T + 50_000, false), end(T + 30_000, T + 50_000), "it was on no node");
    assert_eq!(pod_end(&pod_of(&json!({}), &json!({})), T, false), None);
}

#[test]
fn only_a_pod_that_a_node_may_have_made_has_the_uid_that_the_node_knows() {
    let hash = "0123456789abcdef0123456789abcdef";
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "node", "controller": true});
    let made = |uid: &str, owners: &serde_json::Value| {
        let meta = json!({"annotations": {"kubernetes.io/config.mirror": uid}, "ownerReferences": owners});
        pod_uid(&pod_of(&json!({}), &meta))
    };
    assert_eq!(made(hash, &json!([owner])), hash);
    let own = pod_uid(&pod_of(&json!({}), &json!({})));
    for (key, value) in [("kind", json!("ReplicaSet")), ("name", json!("other")), ("controller", json!(false))] {
        let mut other = owner.clone();
        other[key] = value;
        assert_eq!(made(hash, &json!([other])), own, "{other}");
    }
    assert_eq!(made(hash, &json!([])), own, "anybody may write an annotation");
    assert_eq!(made(hash, &json!([owner, owner])), own);
    let of_another = "6e1f2b3c-0000-4000-8000-0123456789ab";
    assert_eq!(made(of_another, &json!([owner])), own, "the API server gives such UIDs to other pods");
    assert_eq!(made("0123456789ABCDEF0123456789ABCDEF", &json!([owner])), own);
}

#[test]
fn ready_agents_cover_their_node() {
    let status = |ready: &str| json!({"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:09Z"}]});
    let labels = json!({"labels": {"app.kubernetes.io/name": "weir-agent"}});
    let bound = Bound { earliest: T + 9_000, latest: T + 9_999, source: BoundSource::Status };
    let ready = agent(&pod_of(&status("True"), &labels)).unwrap();
    assert_eq!(ready.since, Some(bound));
    assert!(matches!(ready.object, Object::Agent(agent) if agent.node == "n" && !agent.one_observer));
    let unready = pod_of(&status("False"), &labels);
    assert_eq!((agent(&unready), agent_end(&unready)), (None, Some(bound)));
    assert_eq!(agent(&pod_of(&status("True"), &json!({}))), None, "any other pod is no agent");
}

#[test]
fn nodes_and_services_give_their_addresses() {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n", "uid": "u", "creationTimestamp": CREATED,
        "labels": {"topology.kubernetes.io/zone": "z"}}, "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.1"}, {"type": "Hostname", "address": "n"}]}}))
    .unwrap();
    let Object::Node(node) = super::node(&node).object else { panic!() };
    assert_eq!((node.addresses.len(), node.pod_networks.len(), node.zone.as_str()), (1, 2, "z"));
    let service: Service = serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "shop"}, "spec": {
        "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00:96::1"], "externalIPs": ["192.0.2.1"],
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}, {"port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "x"}]}}}))
    .unwrap();
    let seen = super::service(&service);
    assert_eq!(seen.since, Some(crate::bounds::always()));
    let Object::Service(service) = seen.object else { panic!() };
    assert_eq!((service.addresses.len(), service.selector.as_slice()), (4, &["app=web".to_owned()][..]));
    let ports: Vec<(u16, u8, u16, &str)> =
        service.ports.iter().map(|p| (p.port, p.protocol, p.target, p.target_name.as_str())).collect();
    assert_eq!(ports, [(80, 6, 0, "http"), (53, 17, 53, "")]);
    let headless: Service =
        serde_json::from_value(json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None"}})).unwrap();
    assert!(matches!(super::service(&headless).object, Object::Service(service) if service.addresses.is_empty()));
}

#[test]
fn uids_of_manifests_are_made_of_their_names() {
    assert_eq!(made_uid("pod", "a", "b"), made_uid("pod", "a", "b"));
    assert_ne!(made_uid("pod", "a", "b"), made_uid("pod", "b", "a"));
    assert_ne!(made_uid("pod", "a", "b"), made_uid("service", "a", "b"));
}

#[test]
fn ports_are_those_of_containers_that_run_on() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "a", "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]}],
        "initContainers": [
            {"name": "proxy", "restartPolicy": "Always", "ports": [{"containerPort": 15001}]},
            {"name": "once", "ports": [{"containerPort": 9}]}]}}))
    .unwrap();
    let owner = Owner { kind: String::new(), name: "web".to_owned(), known: true, chain: Vec::new() };
    let seen = super::pod(&pod, owner, T);
    let ports: Vec<_> = object(&seen).ports.iter().map(|p| (p.name.as_str(), p.port, p.protocol)).collect();
    assert_eq!(ports, [("", 53, 17), ("", 15001, 6), ("http", 8080, 6)]);
}
