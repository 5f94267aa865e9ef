//! Address truth from the network itself: pods are network namespaces whose addresses this test adds and removes, the
//! API server shows them as a kubelet would, but late, and each pod's datagrams say who really sent them.
//!
//! Wants root and `WEIR_TEST_KUBECONFIG`. `WEIR_TEST_ADDRESS_SWITCHES` is how often an address goes to the next pod (100),
//! `WEIR_TEST_STATUS_LATE` how late a status may be, in seconds (6).
#![allow(clippy::unwrap_used, reason = "tests")]

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_join::{Ask, Table};
use weir_metadata::MetadataSettings;
use weir_schemas::enriched::Attribution;
use weir_schemas::metadata::Metadata;
use weir_schemas::{decode, topics};
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start};

const NODE: &str = "weir-addresses";
const BRIDGE: &str = "weir-addr0";
/// The collector outside of all pods; pods have the addresses from [`FIRST_POD`] on.
const COLLECTOR: &str = "10.231.0.1";
const FIRST_POD: usize = 10;
const PORT: u16 = 9_231;
const SENDER: &str = "WEIR_TEST_ADDRESS_SENDER";
/// Time between two datagrams of a pod, and what a call of the API may add to a status's delay.
const EVERY: Duration = Duration::from_millis(40);
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

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Not a test of its own: what runs in a pod's namespace, and sends who it is until it is killed.
#[test]
fn sender() {
    let Ok(text) = std::env::var(SENDER) else { return };
    let (source, uid) = text.split_once(' ').unwrap();
    let socket = UdpSocket::bind((source.parse::<IpAddr>().unwrap(), 0)).unwrap();
    loop {
        let _ = socket.send_to(format!("{} {uid}", now()).as_bytes(), (COLLECTOR, PORT));
        std::thread::sleep(EVERY);
    }
}

/// A namespace for each pod that may run at a time, all on one bridge; gone when it is dropped.
struct Network {
    namespaces: usize,
    free: Mutex<Vec<usize>>,
}

impl Network {
    fn new(namespaces: usize) -> Self {
        let network = Self { namespaces, free: Mutex::new((0..namespaces).collect()) };
        network.remove();
        ip(&format!("link add {BRIDGE} type bridge"));
        ip(&format!("addr add {COLLECTOR}/16 dev {BRIDGE}"));
        ip(&format!("link set {BRIDGE} up"));
        for number in 0..namespaces {
            let name = Self::name(number);
            ip(&format!("netns add {name}"));
            ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
            ip(&format!("link set {name} master {BRIDGE} up"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        network
    }

    fn name(number: usize) -> String {
        format!("weir-addr-{number}")
    }

    fn remove(&self) {
        for number in 0..self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", &Self::name(number)]).output();
            let _ = Command::new("ip").args(["link", "del", &Self::name(number)]).output();
        }
        let _ = Command::new("ip").args(["link", "del", BRIDGE]).output();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A datagram: when it was sent, from which address, by which pod.
type Heard = (Millis, IpAddr, String);

fn collect(stop: &CancellationToken) -> std::thread::JoinHandle<Vec<Heard>> {
    let socket = UdpSocket::bind((COLLECTOR, PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let stop = stop.clone();
    std::thread::spawn(move || {
        let (mut heard, mut buffer) = (Vec::new(), [0; 512]);
        while !stop.is_cancelled() {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let (time, uid) = text.split_once(' ').unwrap();
            heard.push((time.parse().unwrap(), from.ip(), uid.to_owned()));
        }
        heard
    })
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
    address: String,
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
        ip(&format!("-n {namespace} addr add {}/16 dev eth0", plan.address));
        let mut container = Command::new("ip")
            .args(["netns", "exec", &namespace])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "sender", "--nocapture"])
            .env(SENDER, format!("{} {uid}", plan.address))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (started, end) = (now(), begin + plan.holds);
        let telling = tokio::spawn(self.clone().tell(
            plan.name.clone(),
            plan.address.clone(),
            begin,
            scheduled,
            started,
            plan.late.0,
        ));
        if plan.ending != Ending::Completed {
            until(end - plan.asked).await;
            self.delete(&plan.name, if plan.ending == Ending::Deleted { 30 } else { 0 }).await;
        }
        until(end).await;
        container.kill().unwrap();
        container.wait().unwrap();
        let finished = now();
        ip(&format!("-n {namespace} addr del {}/16 dev eth0", plan.address));
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
                world.patch(&plan.name, &plan.address, scheduled, started, phase, &ended).await;
                world.told(finished);
                tokio::time::sleep(Duration::from_millis(500)).await;
                world.delete(&plan.name, 0).await;
            }
        })
    }

    /// The status of a pod that runs.
    async fn tell(
        self: Arc<Self>,
        name: String,
        address: String,
        begin: Millis,
        scheduled: Millis,
        started: Millis,
        late: i64,
    ) {
        until(begin + late).await;
        let running = json!({"running": {"startedAt": second(started)}});
        self.patch(&name, &address, scheduled, started, "Running", &running).await;
        self.told(begin);
    }

    fn told(&self, fact: Millis) {
        let mut latest = self.latest.lock().unwrap();
        *latest = latest.max(now() - fact);
    }

    async fn patch(
        &self,
        name: &str,
        address: &str,
        scheduled: Millis,
        started: Millis,
        phase: &str,
        state: &serde_json::Value,
    ) {
        let condition = |kind: &str, at| json!({"type": kind, "status": "True", "lastTransitionTime": second(at)});
        let status = json!({"status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [condition("PodScheduled", scheduled), condition("PodReadyToStartContainers", started)],
            "containerStatuses": [{"name": "c", "image": "c", "imageID": "", "ready": phase == "Running", "restartCount": 0,
                "containerID": "containerd://c", "state": state}]}});
        // A pod that was deleted without waiting for it is not there any more.
        let _ = self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
    }

    async fn delete(&self, name: &str, grace: u32) {
        let _ = self
            .pods
            .delete(name, &DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() })
            .await;
    }
}

/// One address after the other pod's, so often.
async fn slot(world: Arc<World>, slot: usize, switches: usize, late: i64) {
    let mut random = Random(u64::try_from(slot).unwrap() + 1);
    let mut telling = Vec::new();
    for turn in 0..=switches {
        let holds = 500 + random.below(5_500);
        let plan = Plan {
            name: format!("pod-{slot}-{turn}"),
            address: format!("10.231.{}.{}", slot / 200, slot % 200 + FIRST_POD),
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
    let world = Arc::new(World { pods, network: Network::new(slots + 2), latest: Mutex::new(0) });
    let stop = CancellationToken::new();
    let collector = collect(&stop);
    let log = Log::memory();
    let settings = MetadataSettings {
        cluster: "test".to_owned(),
        kubeconfig: Some(path),
        node_delay: Duration::from_millis(u64::try_from(late + SLACK).unwrap()),
        ..MetadataSettings::default()
    };
    let token = CancellationToken::new();
    let service = tokio::spawn({
        let (log, token) = (log.clone(), token.clone());
        async move { weir_metadata::run(settings, log, &Metrics::new(), &Health::new(), token).await }
    });
    let begun = now();
    // What is asked lies after the begin of the history.
    table_at(&log, begun - late - SLACK).await;
    let tasks: Vec<_> =
        (0..slots).map(|number| tokio::spawn(slot(world.clone(), number, switches / slots, late))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    stop.cancel();
    let heard = collector.join().unwrap();
    let last = heard.iter().map(|(time, ..)| *time).max().unwrap();
    let table = table_at(&log, last).await;
    token.cancel();
    service.await.unwrap().unwrap();
    let latest = *world.latest.lock().unwrap();
    assert!(latest < late + SLACK, "this machine is too slow: a status was told {latest} ms late");
    judge(&table, &heard, switches);
}

fn judge(table: &Table, heard: &[Heard], switches: usize) {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (time, address, uid) in heard {
        let side = table.side(&Ask::address(*time, address.to_string().parse().unwrap()));
        let what = match (side.attribution, side.pod_uid.as_deref()) {
            (Attribution::Exact, Some(named)) if named == uid => "right",
            (Attribution::Exact, _) => {
                wrong.push(format!("{address} at {time} was {uid}: {side:?}"));
                "wrong"
            }
            (Attribution::Ambiguous, _) => "ambiguous",
            (Attribution::None, _) => "none",
        };
        *counts.entry(what).or_default() += 1;
        let by_uid =
            table.side(&Ask { pod_uid: Some(uid), ..Ask::address(*time, address.to_string().parse().unwrap()) });
        assert_eq!(by_uid.pod_uid.as_deref(), Some(uid.as_str()), "by UID at {time}: {by_uid:?}");
    }
    eprintln!("{switches} switches, {} datagrams: {counts:?}", heard.len());
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert!(counts.get("right").is_some_and(|right| *right > 0) && heard.len() > switches * 10, "{counts:?}");
}
