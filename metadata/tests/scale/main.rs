//! The service against a real control plane that changes all the time, killed again and again: what the topic holds in
//! the end is what the test's own watch saw.
//!
//! `WEIR_TEST_KUBECONFIG` names the control plane, with fake nodes (kwok), and `WEIR_TEST_KUBE_SCRIPT` a script that
//! understands `stop kube-apiserver`, `compact` and `start`. The size: `WEIR_TEST_NODES`, `WEIR_TEST_PODS`,
//! `WEIR_TEST_KILLS`, `WEIR_TEST_SEED`. The topic is on a real Kafka where `WEIR_TEST_KAFKA` is set. It makes nodes
//! and namespaces `scale-…`; the namespaces are deleted in the end, the nodes stay.
#![allow(clippy::unwrap_used, reason = "tests")]

mod clock;
mod driver;
mod facts;
mod model;
mod objects;
mod others;
mod past;
mod present;
mod service;
mod timeline;
mod topic;
mod watch;

use clock::Clock;
use driver::{Driver, Size};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, Config, ResourceExt, config::KubeConfigOptions, config::Kubeconfig};
use model::{Life, Shared};
use past::Past;
use service::{HowToStart, Killer, Kills};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use topic::Topic;
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_flow::Millis;
use weir_stream::{KafkaSettings, Log};

/// Now, ms since the epoch.
pub(crate) fn now() -> Millis {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// What is wrong, counted, with the first few in words.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    count: usize,
    first: Vec<String>,
}

impl Faults {
    pub(crate) fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < 20 {
            self.first.push(what);
        }
    }

    pub(crate) fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.add(what());
        }
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Plan {
    size: Size,
    kills: usize,
    seed: u64,
}

impl Plan {
    fn read() -> Self {
        let number = |name: &str, otherwise: usize| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
        let size = Size { nodes: number("WEIR_TEST_NODES", 20), pods: number("WEIR_TEST_PODS", 200) };
        let seed = u64::try_from(number("WEIR_TEST_SEED", 1)).unwrap();
        Self { size, kills: number("WEIR_TEST_KILLS", 5), seed }
    }

    /// After which kills the API server is restarted.
    fn restarts(self) -> BTreeSet<usize> {
        (1..=self.kills.div_ceil(20)).map(|n| n * self.kills / (self.kills.div_ceil(20) + 1)).collect()
    }
}

fn kubernetes() -> Option<(OsString, OsString)> {
    let (config, script) = (std::env::var_os("WEIR_TEST_KUBECONFIG"), std::env::var_os("WEIR_TEST_KUBE_SCRIPT"));
    if config.is_none() || script.is_none() {
        eprintln!("skipped: WEIR_TEST_KUBECONFIG and WEIR_TEST_KUBE_SCRIPT are not set");
    }
    config.zip(script)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_what_was_however_often_the_service_is_killed() {
    let Some((kubeconfig, script)) = kubernetes() else { return };
    let plan = Plan::read();
    let config = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let real = std::env::var("WEIR_TEST_KAFKA").ok();
    let broker = match &real {
        Some(_) => None,
        None => Some(
            Broker::start(BrokerSettings::new(folder.path().join("broker"), ([127, 0, 0, 1], 0).into())).await.unwrap(),
        ),
    };
    let kafka = real.unwrap_or_else(|| broker.as_ref().unwrap().address().to_string());
    let log = Log::kafka(&KafkaSettings::at(&kafka)).unwrap();
    let cluster = format!("scale-{}", now());
    let start = HowToStart {
        kubeconfig: kubeconfig.into(),
        kafka,
        cluster: cluster.clone(),
        output: folder.path().join("service.log"),
        appended: broker.as_ref().map(|_| folder.path().join("broker/topics")),
    };

    let (clock, model) = (Clock::default(), Shared::default());
    let ticking = tokio::spawn(clock.clone().run(client.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let watches = model.follow(&client);
    let mut driver = Driver::new(client.clone(), model.clone(), plan.size, plan.seed);
    let begun = Instant::now();
    driver.prepare().await;
    eprintln!("scale {plan:?}: prepared in {} s", begun.elapsed().as_secs());

    let begun = Instant::now();
    let (driver, kills) = kill(plan, start, &log, &script, (driver, &model)).await;
    eprintln!("scale changes in {} s: {:?}, {} refused", begun.elapsed().as_secs(), driver.asked, driver.refused);
    assert_model_is_complete(&client, &model).await;
    ticking.abort();
    drop(watches);

    let faults = check(&plan, &model, &clock, &log, &cluster, &kills).await;
    clean(&client).await;
    drop(broker);
    assert!(faults.count == 0, "{} faults; the first:\n{}", faults.count, faults.first.join("\n"));
}

/// Kills the service as often as planned while the cluster changes, then lets it catch up with what is.
async fn kill(
    plan: Plan,
    start: HowToStart,
    log: &Log,
    script: &OsString,
    (driver, model): (Driver, &Shared),
) -> (Driver, Kills) {
    let (sender, heard) = tokio::sync::watch::channel((0, 0));
    let listening = tokio::spawn(service::listen(log.clone(), start.cluster.clone(), sender));
    let stop = CancellationToken::new();
    let driving = tokio::spawn(driver.run(stop.clone()));
    let mut killer = Killer::new(start, log.clone(), heard, plan.seed);
    let restarts = plan.restarts();
    let mut restarting = None;
    for number in 0..plan.kills {
        if restarts.contains(&number) {
            let script = script.clone();
            restarting = Some(tokio::task::spawn_blocking(move || restart(script.as_ref())));
        }
        let (point, lived) = killer.one().await;
        eprintln!("kill {} of {}: {point}, {lived} ms after the start", number + 1, plan.kills);
    }
    if let Some(restarting) = restarting {
        restarting.await.unwrap();
    }
    stop.cancel();
    let driver = driving.await.unwrap();
    quiet(model).await;
    killer.catch_up().await;
    listening.abort();
    (driver, killer.kills.clone())
}

/// Stops the API server, forgets what a watch could go on from, and starts it again.
fn restart(script: &Path) {
    let done = |arguments: &[&str]| {
        let mut command = std::process::Command::new("bash");
        command.arg(script).args(arguments).stdout(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(done(&["stop", "kube-apiserver"]) && done(&["compact"]));
    // On a busy machine a server with many objects takes longer than the script waits.
    assert!((0..5).any(|_| done(&["start"])), "the API server did not start again");
}

/// Waits until nothing changes any more.
async fn quiet(model: &Shared) {
    for _ in 0..1_200 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let model = model.lock();
        if now() - model.changed > 4_000 && model.unsettled() == 0 {
            return;
        }
    }
    panic!("the cluster did not come to rest in five minutes");
}

/// The model is what a list says.
async fn assert_model_is_complete(client: &Client, model: &Shared) {
    let listed = Api::<Pod>::all(client.clone()).list_metadata(&ListParams::default()).await.unwrap();
    let listed: BTreeSet<String> = listed.items.iter().filter_map(ResourceExt::uid).collect();
    let model = model.lock();
    let live: BTreeSet<String> =
        model.pods.iter().filter(|(_, life)| life.live().is_some()).map(|(uid, _)| uid.clone()).collect();
    assert_eq!(live, listed, "the model misses something");
}

/// Reads the topic and compares it with the model; what is wrong.
async fn check(plan: &Plan, model: &Shared, clock: &Clock, log: &Log, cluster: &str, kills: &Kills) -> Faults {
    let begun = Instant::now();
    let mut faults = Faults::default();
    let topic = Topic::read(log, cluster, &mut faults).await;
    eprintln!("scale history: {} faults", faults.count);
    let model = model.lock();
    present::check(&model, &topic, &mut faults);
    eprintln!("scale now: {} faults with those before", faults.count);
    let questions = (plan.size.pods * 20).clamp(10_000, 200_000);
    let mut past = Past::new(&model, &topic, clock, (&kills.at, plan.seed));
    let by_uid = past.ask_by_uid(questions, &mut faults);
    let by_address = past.ask_by_address(questions, &mut faults);
    let others = others::ask(&model, &topic, clock, questions / 10, &mut faults);

    let live = model.pods.values().filter_map(Life::live).count();
    let hosts = model.pods.values().filter_map(Life::live).filter(|pod| pod.host_network).count();
    let both = model.pods.values().filter_map(Life::live).filter(|pod| pod.addresses.len() == 2).count();
    let revisions: usize = topic.lines.values().map(Vec::len).sum();
    eprintln!(
        "scale pods: {} in all, {live} now, {both} with two addresses, {hosts} on their node's network; {} addresses had by several; listed again {} times",
        model.pods.len(),
        past.shared_addresses(),
        model.lists
    );
    eprintln!(
        "scale topic: {revisions} revisions, written {} times, {} heartbeats, {} transactions that did not end",
        topic.written,
        topic.heartbeats.len(),
        topic.torn
    );
    eprintln!(
        "scale starts: first heartbeat after {:?} ms; ended by itself {} times; at most {} kB",
        kills.first_heartbeats, kills.ended, kills.memory
    );
    eprintln!("scale past by UID: {by_uid:?}");
    eprintln!("scale past by address: {by_address:?}");
    eprintln!("scale past of others: {} certain, {} in doubt", others.0, others.1);
    eprintln!("scale faults: {}; compared in {} s", faults.count, begun.elapsed().as_secs());
    faults
}

/// Deletes the namespaces that were made. Nobody waits for the end of it.
async fn clean(client: &Client) {
    let spaces: Api<Namespace> = Api::all(client.clone());
    for space in spaces.list_metadata(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        if space.name_any().starts_with("scale-") {
            // What is left over costs nothing but its place.
            let _ = spaces.delete(&space.name_any(), &DeleteParams::background()).await;
        }
    }
}
