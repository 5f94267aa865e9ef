//! Network namespaces as pods, and an agent that watches them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_agent::{AgentSettings, Published};
use weir_flow::RecordSettings;
use weir_schemas::raw::{DnsSample, RawBatch, Sample};
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start, TopicSpec};

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

pub(crate) fn is_root() -> bool {
    let root = std::fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t0");
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// Runs a script; panics with what it said when it fails.
pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("bash").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One world at a time: forwarding, connection tracking and the list of interfaces are the host's, and so all worlds'.
static ALONE: Mutex<()> = Mutex::new(());

/// Two namespaces, `NAME-a` at 10.NET.1.2 behind `NAME-va` and `NAME-b` at 10.NET.2.2 behind `NAME-vb`, routed by the
/// host. Removed again however the test ends.
pub(crate) struct World {
    name: &'static str,
    /// What else is removed at the end: a script.
    cleanup: String,
    forward: String,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    pub(crate) fn new(name: &'static str, net: u8, cleanup: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let forward = std::fs::read_to_string(FORWARD).unwrap();
        let world = Self { name, cleanup: cleanup.to_owned(), forward, _alone: alone };
        world.remove();
        sh(&format!(
            "for p in 'a 1' 'b 2'; do set -- $p
               n={name}-$1; v={name}-v$1; e={name}-p$1
               ip netns add $n
               ip link add $v address 02:00:00:{net:02x}:0$2:01 type veth peer name $e address 02:00:00:{net:02x}:0$2:02 netns $n
               echo 1 >/proc/sys/net/ipv6/conf/$v/disable_ipv6
               nsenter --net=/run/netns/$n sysctl -qw net.ipv6.conf.$e.disable_ipv6=1
               ip addr add 10.{net}.$2.1/24 dev $v; ip link set $v up
               ip -n $n addr add 10.{net}.$2.2/24 dev $e; ip -n $n link set $e up; ip -n $n link set lo up
               ip neigh replace 10.{net}.$2.2 lladdr 02:00:00:{net:02x}:0$2:02 dev $v nud permanent
               ip -n $n neigh replace 10.{net}.$2.1 lladdr 02:00:00:{net:02x}:0$2:01 dev $e nud permanent
               ip -n $n route add default via 10.{net}.$2.1
             done
             echo 1 >/proc/sys/net/ipv4/ip_forward"
        ));
        world
    }

    fn remove(&self) {
        let script = format!(
            "{0}\nip netns del {1}-a; ip netns del {1}-b; ip link del {1}-va; ip link del {1}-vb; true",
            self.cleanup, self.name
        );
        let _ = Command::new("bash").args(["-c", &script]).output();
    }

    /// The test `role` of this very program in one of the namespaces.
    pub(crate) fn within(&self, end: &str, role: &str) -> Child {
        within_of(self.name, end, role)
    }
}

/// As [`World::within`], of the world of this name.
pub(crate) fn within_of(name: &str, end: &str, role: &str) -> Child {
    // Whatever becomes of the test, nothing of it stays.
    Command::new("timeout")
        .args(["600", "nsenter"])
        .arg(format!("--net=/run/netns/{name}-{end}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "traffic", "--ignored", "--nocapture"])
        .env("WEIR_TEST_ROLE", role)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        self.remove();
        let _ = std::fs::write(FORWARD, &self.forward);
    }
}

/// Packets or bytes by an interface's own statistics.
pub(crate) fn counter(interface: &str, name: &str) -> u64 {
    let path = Path::new("/sys/class/net").join(interface).join("statistics").join(name);
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

/// A whole agent in this process.
pub(crate) struct Agent {
    log: Log,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<Published>>,
    pub(crate) metrics: Metrics,
}

impl Agent {
    pub(crate) async fn start(settings: AgentSettings) -> Self {
        let log = Log::memory();
        log.ensure_topics(&[TopicSpec::new("flows.raw.v1", 1)]).await.unwrap();
        let (stop, metrics, health) = (CancellationToken::new(), Metrics::new(), Health::default());
        let (its_log, its_stop, its_metrics, its_health) = (log.clone(), stop.clone(), metrics.clone(), health.clone());
        let running = tokio::spawn(async move {
            let record = RecordSettings::small("local");
            weir_agent::run(&settings, "local", &record, &its_log, &its_metrics, &its_health, its_stop).await
        });
        for waited in 0.. {
            assert!(waited < 300 && !running.is_finished(), "the agent did not become ready");
            if health.is_ready() && metrics.value("weir_agent_interfaces", &[]).is_some_and(|n| n > 0.0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { log, stop, running, metrics }
    }

    /// Waits for the last packets, ends the agent and gives all that it published.
    pub(crate) async fn stop(self) -> Seen {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        let mut reader = self.log.reader("flows.raw.v1", Partitions::All, Start::Beginning).await.unwrap();
        let records = reader.read_to_end(Duration::from_secs(1)).await.unwrap();
        let batches: Vec<RawBatch> =
            records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap()).collect();
        for (number, batch) in (0..).zip(&batches) {
            assert_eq!(batch.sequence, number);
            let mut seen = batch.published;
            for loss in &batch.lost {
                seen.packets += loss.lost.packets;
                seen.bytes += loss.lost.bytes;
            }
            assert_eq!((batch.seen.packets, batch.seen.bytes), (seen.packets, seen.bytes));
        }
        Seen { batches }
    }
}

/// What an agent published.
pub(crate) struct Seen {
    pub(crate) batches: Vec<RawBatch>,
}

impl Seen {
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.batches.iter().flat_map(|batch| &batch.samples)
    }

    pub(crate) fn questions(&self) -> impl Iterator<Item = &DnsSample> {
        self.batches.iter().flat_map(|batch| &batch.dns)
    }

    /// Packets lost for a reason, as of the last batch.
    pub(crate) fn lost(&self, reason: &str) -> u64 {
        let last = self.batches.last().map(|batch| batch.lost.as_slice()).unwrap_or_default();
        last.iter().find(|loss| loss.reason == reason).map_or(0, |loss| loss.lost.packets)
    }
}
