//! The service against a real control plane, when `WEIR_TEST_KUBECONFIG` names one with fake nodes (kwok); it makes and
//! deletes a namespace of its own. The truth is an independent list of pods, asked of the API at known times.
#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, networking::v1::NetworkPolicy};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_join::{Ask, Table};
use weir_metadata::MetadataSettings;
use weir_schemas::enriched::{Attribution, IdentifiedBy};
use weir_schemas::metadata::{Metadata, Object, Revision};
use weir_schemas::{decode, topics};
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start};

mod gates;
mod policies;
mod rights;
mod takeover;
mod writers;

const SPACE: &str = "weir-metadata-test";

/// Held by what makes and takes away kinds of the whole cluster, and by what expects that no watch of a kind ends so.
static KINDS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn now() -> Millis {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn object<K: DeserializeOwned>(value: serde_json::Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// The control plane that `WEIR_TEST_KUBECONFIG` names.
async fn control_plane() -> Option<(PathBuf, Client)> {
    let Some(path) = std::env::var_os("WEIR_TEST_KUBECONFIG") else {
        eprintln!("skipped: WEIR_TEST_KUBECONFIG is not set");
        return None;
    };
    let config = Kubeconfig::read_from(&path).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Some((path.into(), Client::try_from(config).unwrap()))
}

async fn table(log: &Log) -> Table {
    let mut table = Table::new("test", 1);
    // The service makes the topic.
    let Ok(mut reader) = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await else { return table };
    for record in reader.read_to_end(Duration::from_secs(5)).await.unwrap() {
        let message: Metadata = decode(&record.value.unwrap()).unwrap();
        table.apply(usize::try_from(record.partition).unwrap(), &message);
    }
    table
}

/// The table once it is complete to a time.
async fn table_at(log: &Log, at: Millis) -> Table {
    for _ in 0..300 {
        let table = table(log).await;
        if table.complete_to() >= at {
            return table;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("metadata did not become complete to {at}");
}

/// The last word on every revision of policies, oldest first.
async fn policies(log: &Log) -> Vec<Revision> {
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
    let mut last = BTreeMap::new();
    for record in reader.read_to_end(Duration::from_secs(5)).await.unwrap() {
        if let Metadata::Revision(revision) = decode(&record.value.unwrap()).unwrap()
            && matches!(revision.object, Object::Policy(_))
            && revision.namespace == SPACE
        {
            last.insert((revision.uid.clone(), revision.revision), revision);
        }
    }
    last.into_values().collect()
}

/// Ready pods of the test's namespace, with their addresses.
async fn ready_pods(pods: &Api<Pod>, wanted: usize) -> Vec<Pod> {
    let ready = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod
                .status
                .as_ref()
                .is_some_and(|status| status.pod_ip.is_some() && status.phase.as_deref() == Some("Running"))
    };
    for _ in 0..600 {
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        if all.len() == wanted && all.iter().all(ready) {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{wanted} pods did not become ready");
}

fn deployment(version: &str) -> Deployment {
    object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": SPACE},
        "spec": {"replicas": 5, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web", "version": version}},
            "spec": {"containers": [{"name": "web", "image": "web"}], "terminationGracePeriodSeconds": 1}}}
    }))
}

async fn prepare(client: &Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=3 {
        let node: Node = object(json!({
            "metadata": {"name": format!("weir-{number}"), "labels": {"type": "kwok",
                "topology.kubernetes.io/zone": format!("zone-{number}")}, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("172.18.9.{number}")}],
                "allocatable": {"cpu": "32", "memory": "256Gi", "pods": "250"},
                "capacity": {"cpu": "32", "memory": "256Gi", "pods": "250"}}}));
        let _ = nodes.create(&PostParams::default(), &node).await;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let _ = namespaces.delete(SPACE, &DeleteParams::default()).await;
    while namespaces.get_opt(SPACE).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": SPACE}}))).await.unwrap();
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), SPACE);
    while accounts.get_opt("default").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Service {
    token: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    metrics: Metrics,
}

impl Service {
    fn start(settings: &MetadataSettings, log: &Log) -> Self {
        let (token, metrics) = (CancellationToken::new(), Metrics::new());
        let (settings, log, given, shared) = (settings.clone(), log.clone(), token.clone(), metrics.clone());
        let task = tokio::spawn(async move { weir_metadata::run(settings, log, &shared, &Health::new(), given).await });
        Self { token, task, metrics }
    }

    async fn stop(self) -> f64 {
        self.token.cancel();
        self.task.await.unwrap().unwrap();
        self.metrics.value("weir_metadata_revisions_written_total", &[]).unwrap_or_default()
    }
}

fn addresses(pod: &Pod) -> Vec<String> {
    let ips = pod.status.as_ref().unwrap().pod_ips.iter().flatten();
    ips.map(|ip| ip.ip.clone()).collect()
}

/// A policy, an edit of it, and its end, each as of then, and by whom.
async fn assert_policies_are_kept(client: &Client, log: &Log) {
    let all: Api<NetworkPolicy> = Api::namespaced(client.clone(), SPACE);
    let deny = json!({"metadata": {"name": "deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    let by = |manager: &str| PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    all.create(&by("author"), &object(deny)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let edit = json!({"spec": {"policyTypes": ["Ingress", "Egress"]}});
    let editor = PatchParams { field_manager: Some("editor".to_owned()), ..PatchParams::default() };
    let edited_from = now();
    all.patch("deny", &editor, &Patch::Merge(edit)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    all.delete("deny", &DeleteParams::default()).await.unwrap();
    table_at(log, now()).await;
    let history = policies(log).await;
    let [first, second] = &history[..] else { panic!("{history:#?}") };
    assert_eq!((first.changed_by.as_str(), second.changed_by.as_str()), ("author", "editor"));
    let spec = |revision: &Revision| match &revision.object {
        Object::Policy(policy) => policy.spec.contains("Egress"),
        _ => false,
    };
    assert!(!spec(first) && spec(second), "{history:#?}");
    assert_eq!(first.valid_to, Some(second.valid_from));
    let edited = second.valid_from;
    assert!(edited.earliest <= edited_from && edited_from <= edited.latest + 1_000, "{edited:?} {edited_from}");
    assert!(second.valid_to.is_some(), "{second:#?}");
}

/// Every pod is found by each of its addresses and by its UID.
fn assert_named(table: &Table, pods: &[Pod], at: Millis, version: &str) {
    for pod in pods {
        let name = pod.metadata.name.clone().unwrap();
        for address in addresses(pod) {
            let side = table.side(&Ask::address(at, address.parse().unwrap()));
            assert_eq!(side.pod.as_deref(), Some(name.as_str()), "{address} at {at}: {side:?}");
            assert_eq!(side.attribution, Attribution::Exact);
            assert_eq!(side.workload_kind.as_deref(), Some("Deployment"));
            assert_eq!(side.workload.as_deref(), Some("web"));
            assert_eq!(side.node, pod.spec.as_ref().unwrap().node_name);
            assert!(side.zone.is_some());
            assert!(side.labels.contains(&format!("version={version}")));
            let ask = Ask { pod_uid: pod.metadata.uid.as_deref(), ..Ask::address(at, address.parse().unwrap()) };
            let by_uid = table.side(&ask);
            assert_eq!((by_uid.pod.as_deref(), by_uid.by), (Some(name.as_str()), IdentifiedBy::Uid));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_named_as_of_then() {
    let Some((path, client)) = control_plane().await else { return };
    prepare(&client).await;
    let log = Log::memory();
    let settings =
        MetadataSettings { cluster: "test".to_owned(), kubeconfig: Some(path), ..MetadataSettings::default() };
    let service = Service::start(&settings, &log);
    let begun = now();
    let table = table_at(&log, begun).await;
    eprintln!("first heartbeat after {} ms", now() - begun);
    assert!(table.cluster_known(weir_flow::time::FOR_EVER));

    let pods: Api<Pod> = Api::namespaced(client.clone(), SPACE);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SPACE);
    deployments.create(&PostParams::default(), &deployment("1")).await.unwrap();
    let first = ready_pods(&pods, 5).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let first_at = now();
    let table = table_at(&log, first_at).await;
    eprintln!("heartbeat {} ms after the time asked for", now() - first_at);
    assert_named(&table, &first, first_at, "1");

    assert_policies_are_kept(&client, &log).await;

    // A rollout: other pods, other addresses, the old ones gone.
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(deployment("2"))).await.unwrap();
    let second = loop {
        let pods = ready_pods(&pods, 5).await;
        let is_new = |pod: &Pod| {
            pod.metadata.labels.as_ref().is_some_and(|labels| labels.get("version").is_some_and(|v| v == "2"))
        };
        if pods.iter().all(is_new) {
            break pods;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second_at = now();
    let table = table_at(&log, second_at).await;
    assert_named(&table, &first, first_at, "1");
    assert_named(&table, &second, second_at, "2");

    // While the service is down, pods come and go.
    let written = service.stop().await;
    assert!(written >= 20.0, "5 pods twice, each with an end: {written}");
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 2}}))).await.unwrap();
    let left = ready_pods(&pods, 2).await;
    let service = Service::start(&settings, &log);
    let third_at = now();
    let table = table_at(&log, third_at).await;
    assert_named(&table, &first, first_at, "1");
    assert_named(&table, &second, second_at, "2");
    assert_named(&table, &left, third_at, "2");
    let left_names: BTreeMap<String, ()> = left.iter().map(|pod| (pod.metadata.name.clone().unwrap(), ())).collect();
    for gone in second.iter().filter(|pod| !left_names.contains_key(pod.metadata.name.as_ref().unwrap())) {
        for address in addresses(gone) {
            let side = table.side(&Ask::address(third_at + 60_000, address.parse().unwrap()));
            assert_eq!(side.pod, None, "{address} was given back while nobody watched");
        }
    }
    let written = service.stop().await;
    assert!(written <= 40.0, "a restart writes what changed only: {written}");

    // Restarted without any change it writes nothing.
    let service = Service::start(&settings, &log);
    table_at(&log, now()).await;
    let written = service.stop().await;
    assert!(written <= 3.0, "a restart without a change writes no revision: {written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_job_gives_its_address_back() {
    let Some((path, client)) = control_plane().await else { return };
    let space = "default";
    let jobs: Api<Job> = Api::namespaced(client.clone(), space);
    let name = format!("weir-{}", now());
    let job: Job = object(json!({"metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "j", "image": "j"}]}}}}));
    let log = Log::memory();
    let settings =
        MetadataSettings { cluster: "test".to_owned(), kubeconfig: Some(path), ..MetadataSettings::default() };
    let service = Service::start(&settings, &log);
    table_at(&log, now()).await;
    jobs.create(&PostParams::default(), &job).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), space);
    let mine = ListParams::default().labels(&format!("job-name={name}"));
    let pod = loop {
        let all = pods.list(&mine).await.unwrap().items;
        let done = |pod: &&Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Succeeded"));
        if let Some(pod) = all.iter().find(done) {
            break pod.clone();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let at = now();
    let table = table_at(&log, at).await;
    for address in addresses(&pod) {
        let side = table.side(&Ask::address(at, address.parse().unwrap()));
        assert_eq!(side.pod, None, "{side:?}");
        let ask = Ask { pod_uid: pod.metadata.uid.as_deref(), ..Ask::address(at, address.parse().unwrap()) };
        let side = table.side(&ask);
        assert_eq!((side.workload_kind.as_deref(), side.workload.as_deref()), (Some("Job"), Some(name.as_str())));
    }
    service.stop().await;
}

/// The last word on every revision of one kind of object, by its name and ordinal.
async fn revisions_of(log: &Log, wanted: fn(&Object) -> bool) -> BTreeMap<(String, u64), Revision> {
    let mut last = BTreeMap::new();
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
    for record in reader.read_to_end(Duration::from_secs(5)).await.unwrap() {
        if let Metadata::Revision(revision) = decode(&record.value.unwrap()).unwrap()
            && wanted(&revision.object)
        {
            last.insert((revision.name.clone(), revision.revision), revision);
        }
    }
    last
}

fn resource(group: &str, version: &str, plural: &str, kind: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: format!("{group}/{version}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: did not come true");
}

/// `WEIR_TEST_KUBE_SCRIPT` is a script that understands `stop kube-apiserver`, `compact` and `start`.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_api_is_waited_for_and_made_up() {
    let (Some(path), Some(script)) =
        (std::env::var_os("WEIR_TEST_KUBECONFIG"), std::env::var_os("WEIR_TEST_KUBE_SCRIPT"))
    else {
        eprintln!("skipped: WEIR_TEST_KUBECONFIG and WEIR_TEST_KUBE_SCRIPT are not set");
        return;
    };
    let script = |args: &[&str]| {
        let status = std::process::Command::new(&script).args(args).stdout(std::process::Stdio::null()).status();
        assert!(status.unwrap().success(), "{args:?}");
    };
    let log = Log::memory();
    let settings =
        MetadataSettings { cluster: "test".to_owned(), kubeconfig: Some(path.into()), ..MetadataSettings::default() };
    let service = Service::start(&settings, &log);
    let up = now();
    table_at(&log, up).await;
    script(&["stop", "kube-apiserver"]);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let during = table(&log).await.complete_to();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(table(&log).await.complete_to(), during, "nothing is promised while the API is away");
    let samples = service.metrics.samples().into_iter();
    let failures: f64 =
        samples.filter(|sample| sample.name == "weir_metadata_api_failures_total").map(|sample| sample.value).sum();
    assert!((1.0..150.0).contains(&failures), "tried again, with pauses: {failures}");
    script(&["compact"]);
    script(&["start"]);
    let back = now();
    table_at(&log, back).await;
    let outdated = service.metrics.samples().into_iter();
    let outdated: f64 = outdated
        .filter(|sample| sample.name == "weir_metadata_watches_outdated_total")
        .map(|sample| sample.value)
        .sum();
    assert!(outdated >= 1.0, "the API server had forgotten the versions of the service's own watches");
    assert_eq!(service.metrics.value("weir_metadata_rebuilds_total", &[]), Some(0.0));
    service.stop().await;
}
