//! Address truth from the network itself: pods are network namespaces whose addresses this test adds and removes, the
//! API server shows them as a kubelet would, but late, and each pod's datagrams say who really sent them.
//!
//! Every second address comes with an IPv6 address beside it. What is open in the end is compared with what the API's facts force
//! to be open, by when each of them was there.
//!
//! Wants root and `WEIR_TEST_KUBECONFIG`. `WEIR_TEST_ADDRESS_SWITCHES` is how often an address goes to the next pod (100),
//! `WEIR_TEST_STATUS_LATE` how late a status may be, in seconds (6).
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../addresses/decide.rs"]
mod decide;
mod judge;
mod network;

use judge::{Call, Fact, Judge, TELL_WITHIN, judge, known};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use network::{COLLECTOR, Heard, Network, SENDER, collect, ip, on_link};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_join::Table;
use weir_metadata::MetadataSettings;
use weir_schemas::metadata::Metadata;
use weir_schemas::{decode, topics};
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start};

const NODE: &str = "weir-addresses";
/// The last part of the first pod's address.
const FIRST_POD: usize = 10;
/// What a call of the API may add to a status's delay.
const SLACK: Millis = 4_000;

fn now() -> Millis {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn object<K: DeserializeOwned>(value: serde_json::Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A Kubernetes time: whole seconds, rounded down.
fn second(time: Millis) -> String {
    Timestamp::from_second(time.div_euclid(1_000)).unwrap().to_string()
}

/// Random numbers of a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % u64::try_from(limit).unwrap()).unwrap()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Asked to end, and told when it has.
    Deleted,
    /// By itself.
    Completed,
    /// Deleted at the API while it runs.
    Forced,
}

/// What happens to one pod, decided before it does; times in ms.
struct Plan {
    name: String,
    slot: usize,
    addresses: Vec<String>,
    holds: i64,
    ending: Ending,
    /// How long before its end somebody asks for it.
    asked: i64,
    /// How late the statuses of its begin and of its end are told.
    late: (i64, i64),
}

struct World {
    pods: Api<Pod>,
    network: Network,
    /// How late a status was really told, at most.
    latest: Mutex<Millis>,
    /// Every pod: its slot, its UID, whether it has both addresses, and what its node told when.
    facts: Mutex<Vec<Fact>>,
}

async fn until(time: Millis) {
    let wait = u64::try_from(time.saturating_sub(now())).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

impl World {
    /// Runs a pod; returns when its address is free again. What its node tells later goes on in a task.
    async fn run(self: &Arc<Self>, plan: Plan) -> tokio::task::JoinHandle<()> {
        let pod: Pod =
            object(json!({"metadata": {"name": plan.name}, "spec": {"nodeName": NODE, "restartPolicy": "Never",
            "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "c"}]}}));
        let created = self.pods.create(&PostParams::default(), &pod).await.unwrap();
        let (uid, scheduled) = (created.metadata.uid.unwrap(), now());
        let place = self.network.free.lock().unwrap().pop().unwrap();
        let namespace = Network::name(place);
        let begin = now();
        for address in &plan.addresses {
            ip(&format!("-n {namespace} addr add {} dev eth0", on_link(address)));
        }
        let mut container = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "network::sender", "--nocapture"])
            .env(SENDER, format!("{uid} {}", plan.addresses.join(",")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (started, end) = (now(), begin + plan.holds);
        let fact = self.begin(&plan, uid, scheduled, started);
        let plan = Arc::new(plan);
        let telling = tokio::spawn(self.clone().tell(plan.clone(), fact, begin));
        if plan.ending != Ending::Completed {
            until(end - plan.asked).await;
            let gone = self.delete(&plan.name, if plan.ending == Ending::Deleted { 30 } else { 0 }).await;
            if plan.ending == Ending::Forced {
                self.note(fact, |fact| fact.gone = gone);
            }
        }
        until(end).await;
        container.kill().unwrap();
        container.wait().unwrap();
        let finished = now();
        for address in &plan.addresses {
            let place = on_link(address);
            ip(&format!("-n {namespace} addr del {} dev eth0", place.trim_end_matches(" nodad")));
        }
        self.network.free.lock().unwrap().push(place);
        let world = self.clone();
        tokio::spawn(async move {
            until(finished + plan.late.1).await;
            // What was not told by then is overtaken.
            telling.abort();
            let _ = telling.await;
            if plan.ending != Ending::Forced {
                let phase = if plan.ending == Ending::Completed { "Succeeded" } else { "Failed" };
                let ended = json!({"terminated": {"exitCode": 0, "startedAt": second(started), "finishedAt": second(finished)}});
                let ended = world.patch(&plan, scheduled, started, phase, &ended).await;
                world.told(finished);
                world.note(fact, |fact| (fact.finished, fact.ended) = (finished, ended));
                tokio::time::sleep(Duration::from_millis(500)).await;
                let gone = world.delete(&plan.name, 0).await;
                world.note(fact, |fact| fact.gone = gone);
            }
        })
    }

    /// Notes that a pod has begun: its number among the facts.
    fn begin(&self, plan: &Plan, uid: String, scheduled: Millis, started: Millis) -> usize {
        let fact = Fact {
            slot: plan.slot,
            uid,
            dual: plan.addresses.len() > 1,
            scheduled,
            started,
            finished: Millis::MAX,
            running: None,
            ended: None,
            gone: None,
            forced: plan.ending == Ending::Forced,
        };
        let mut facts = self.facts.lock().unwrap();
        facts.push(fact);
        facts.len() - 1
    }

    fn note(&self, fact: usize, what: impl FnOnce(&mut Fact)) {
        what(&mut self.facts.lock().unwrap()[fact]);
    }

    /// The status of a pod that runs.
    async fn tell(self: Arc<Self>, plan: Arc<Plan>, fact: usize, begin: Millis) {
        until(begin + plan.late.0).await;
        let (scheduled, started) = {
            let facts = self.facts.lock().unwrap();
            (facts[fact].scheduled, facts[fact].started)
        };
        let running = json!({"running": {"startedAt": second(started)}});
        let told = self.patch(&plan, scheduled, started, "Running", &running).await;
        self.note(fact, |fact| fact.running = told);
        self.told(begin);
    }

    fn told(&self, fact: Millis) {
        let mut latest = self.latest.lock().unwrap();
        *latest = latest.max(now() - fact);
    }

    /// Writes a status; from when until when that took, if there was a pod to write it of.
    async fn patch(
        &self,
        plan: &Plan,
        scheduled: Millis,
        started: Millis,
        phase: &str,
        state: &serde_json::Value,
    ) -> Option<Call> {
        let condition = |kind: &str, at| json!({"type": kind, "status": "True", "lastTransitionTime": second(at)});
        let addresses: Vec<_> = plan.addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let status = json!({"status": {"phase": phase, "podIP": plan.addresses[0], "podIPs": addresses,
            "conditions": [condition("PodScheduled", scheduled), condition("PodReadyToStartContainers", started)],
            "containerStatuses": [{"name": "c", "image": "c", "imageID": "", "ready": phase == "Running", "restartCount": 0,
                "containerID": "containerd://c", "state": state}]}});
        let asked = now();
        // A pod that was deleted without waiting for it is not there any more.
        let patched = self.pods.patch_status(&plan.name, &PatchParams::default(), &Patch::Merge(status)).await;
        patched.ok().map(|_| (asked, now()))
    }

    /// Deletes a pod; from when until when that took, if there was one.
    async fn delete(&self, name: &str, grace: u32) -> Option<Call> {
        let how = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        let asked = now();
        self.pods.delete(name, &how).await.ok().map(|_| (asked, now()))
    }
}

/// The addresses of a slot; every second one has one of IPv6, too.
fn addresses(slot: usize) -> Vec<String> {
    let mut all = vec![format!("10.231.{}.{}", slot / 200, slot % 200 + FIRST_POD)];
    all.extend(slot.is_multiple_of(2).then(|| format!("fd00:231::{:x}", slot + FIRST_POD)));
    all
}

/// One address after the other pod's, so often.
async fn slot(world: Arc<World>, slot: usize, switches: usize, late: i64) {
    let mut random = Random(u64::try_from(slot).unwrap() + 1);
    let mut telling = Vec::new();
    for turn in 0..=switches {
        let holds = 500 + random.below(5_500);
        let plan = Plan {
            name: format!("pod-{slot}-{turn}"),
            slot,
            addresses: addresses(slot),
            holds,
            ending: [Ending::Deleted, Ending::Deleted, Ending::Completed, Ending::Forced]
                [usize::try_from(random.below(4)).unwrap()],
            asked: random.below(holds),
            late: (random.below(late), random.below(late)),
        };
        telling.push(world.run(plan).await);
        let gap = [0, 1_000, 5_000][usize::try_from(random.below(3)).unwrap()];
        tokio::time::sleep(Duration::from_millis(gap)).await;
    }
    for task in telling {
        task.await.unwrap();
    }
}

async fn prepare(client: &Client, space: &str) -> Api<Pod> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = object(json!({"metadata": {"name": NODE},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.231.1"}]}}));
    let _ = nodes.create(&PostParams::default(), &node).await;
    let spaces: Api<Namespace> = Api::all(client.clone());
    spaces.create(&PostParams::default(), &object(json!({"metadata": {"name": space}}))).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), space);
    while accounts.get_opt("default").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Api::namespaced(client.clone(), space)
}

async fn table(log: &Log) -> Table {
    let mut table = Table::new("test", 1);
    let Ok(mut reader) = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await else { return table };
    for record in reader.read_to_end(Duration::from_secs(5)).await.unwrap() {
        let message: Metadata = decode(&record.value.unwrap()).unwrap();
        table.apply(0, &message);
    }
    table
}

async fn table_at(log: &Log, at: Millis) -> Table {
    for _ in 0..600 {
        let table = table(log).await;
        if table.complete_to() >= at {
            return table;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("metadata did not become complete to {at}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_datagram_is_named_after_another_pod_than_its_sender() {
    let Some(path) = std::env::var_os("WEIR_TEST_KUBECONFIG") else {
        eprintln!("skipped: WEIR_TEST_KUBECONFIG is not set");
        return;
    };
    if !Command::new("ip").args(["netns", "list"]).output().is_ok_and(|output| output.status.success())
        || std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) != 0)
    {
        eprintln!("skipped: no root, or no ip command");
        return;
    }
    let config = Kubeconfig::read_from(&path).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    // In a task, so that what the test made is taken away also when it fails. No kubelet ends pods here.
    let space = format!("weir-addresses-{}", now());
    let outcome = tokio::spawn(run(client.clone(), space.clone(), path.into())).await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &space);
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    let _ = pods.delete_collection(&now, &ListParams::default()).await;
    let spaces: Api<Namespace> = Api::all(client.clone());
    let _ = spaces.delete(&space, &DeleteParams::default()).await;
    let _ = Api::<Node>::all(client).delete(NODE, &DeleteParams::default()).await;
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn run(client: Client, space: String, path: std::path::PathBuf) {
    let switches = number("WEIR_TEST_ADDRESS_SWITCHES", 100);
    let late = i64::try_from(number("WEIR_TEST_STATUS_LATE", 6)).unwrap() * 1_000;
    let slots = if switches < 1_000 { 12 } else { 48 };
    let pods = prepare(&client, &space).await;
    let (latest, facts) = (Mutex::new(0), Mutex::new(Vec::new()));
    let world = Arc::new(World { pods, network: Network::new(slots + 2), latest, facts });
    let stop = CancellationToken::new();
    let collectors = COLLECTOR.map(|address| collect(&stop, address));
    let log = Log::memory();
    // From half a minute on nodes are believed.
    let behind = (late + SLACK).max(TELL_WITHIN);
    let settings = MetadataSettings {
        cluster: "test".to_owned(),
        kubeconfig: Some(path),
        node_delay: Duration::from_millis(u64::try_from(behind).unwrap()),
        ..MetadataSettings::default()
    };
    let token = CancellationToken::new();
    let service = tokio::spawn({
        let (log, token) = (log.clone(), token.clone());
        async move { weir_metadata::run(settings, log, &Metrics::new(), &Health::new(), token).await }
    });
    let begun = now();
    // What is asked lies after the begin of the history.
    table_at(&log, begun - behind).await;
    let tasks: Vec<_> =
        (0..slots).map(|number| tokio::spawn(slot(world.clone(), number, switches / slots, late))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    stop.cancel();
    let heard: Vec<Heard> = collectors.into_iter().flat_map(|collector| collector.join().unwrap()).collect();
    let last = heard.iter().map(|(time, ..)| *time).max().unwrap();
    let table = table_at(&log, last).await;
    token.cancel();
    service.await.unwrap().unwrap();
    let latest = *world.latest.lock().unwrap();
    assert!(latest < behind, "this machine is too slow: a status was told {latest} ms late");
    let known = known(&log, behind).await;
    let facts = world.facts.lock().unwrap();
    for six in [false, true] {
        let heard = heard.iter().filter(|(_, address, _)| address.is_ipv6() == six).cloned().collect::<Vec<_>>();
        judge(&table, &heard, &Judge { facts: &facts, known: &known, behind, switches, six });
    }
}
