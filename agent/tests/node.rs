//! The whole agent between two network namespaces joined by the host. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use weir_agent::AgentSettings;
use weir_flow::RecordSettings;
use weir_schemas::raw::{DropClass, End, OpenedBy, Point, RawBatch, Sample, Totals};
use weir_service::{Health, Metrics};
use weir_stream::{Log, Partitions, Start, TopicSpec};

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

fn sh(script: &str) {
    let output = Command::new("bash").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Two namespaces as pods, removed again however the test ends.
struct World {
    forward: String,
}

impl World {
    fn new() -> Self {
        let world = Self { forward: std::fs::read_to_string(FORWARD).unwrap() };
        Self::remove();
        sh("for p in 'a 1' 'b 2'; do set -- $p
              ip netns add wa-$1
              ip link add wa-v$1 address 02:00:00:00:0$2:01 type veth peer name wa-p$1 address 02:00:00:00:0$2:02 netns wa-$1
              ip link set wa-v$1 gso_max_segs 1; ip -n wa-$1 link set wa-p$1 gso_max_segs 1
              echo 1 >/proc/sys/net/ipv6/conf/wa-v$1/disable_ipv6
              nsenter --net=/run/netns/wa-$1 sysctl -qw net.ipv6.conf.wa-p$1.disable_ipv6=1
              ip addr add 10.231.$2.1/24 dev wa-v$1; ip link set wa-v$1 up
              ip -n wa-$1 addr add 10.231.$2.2/24 dev wa-p$1; ip -n wa-$1 link set wa-p$1 up; ip -n wa-$1 link set lo up
              ip neigh replace 10.231.$2.2 lladdr 02:00:00:00:0$2:02 dev wa-v$1 nud permanent
              ip -n wa-$1 neigh replace 10.231.$2.1 lladdr 02:00:00:00:0$2:01 dev wa-p$1 nud permanent
              ip -n wa-$1 route add default via 10.231.$2.1
            done
            ip link add wa-h0 type veth peer name wa-h1
            for i in wa-h0 wa-h1; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; ip link set $i up; done
            ip addr add 10.231.9.1/24 dev wa-h0
            ip neigh replace 10.231.9.9 lladdr 02:00:00:00:09:09 dev wa-h0 nud permanent
            echo 1 >/proc/sys/net/ipv4/ip_forward
            nft 'table ip wa-nat { chain post { type nat hook postrouting priority 100; oifname wa-h0 masquerade; }; }'
            nft 'table ip wa-test { chain forward { type filter hook forward priority 0; tcp dport 7777 drop; }; }'");
        world
    }

    fn remove() {
        let _ = Command::new("bash")
            .args(["-c", "ip netns del wa-a; ip netns del wa-b; nft delete table ip wa-test; nft delete table ip wa-nat; ip link del wa-h0; ip link del wa-va; ip link del wa-vb; true"])
            .output();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        Self::remove();
        let _ = std::fs::write(FORWARD, &self.forward);
    }
}

/// This very program in a namespace, doing `role`.
fn within(namespace: &str, role: &str) -> Child {
    Command::new("nsenter")
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "traffic", "--ignored", "--nocapture"])
        .env("WA_ROLE", role)
        .spawn()
        .unwrap()
}

/// What the processes in the namespaces do. Not a test of its own.
#[test]
#[ignore = "started by the test below"]
fn traffic() {
    let Ok(role) = std::env::var("WA_ROLE") else { return };
    match role.as_str() {
        "server" => {
            let udp = UdpSocket::bind("0.0.0.0:7000").unwrap();
            let tcp = TcpListener::bind("0.0.0.0:7000").unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 2000];
                while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    udp.send_to(&buffer[..length], from).unwrap();
                }
            });
            serve(&tcp, 2);
        }
        "client" => {
            for port in 20_000..20_010 {
                let udp = UdpSocket::bind(("0.0.0.0", port)).unwrap();
                udp.send_to(&[7; 100], "10.231.2.2:7000").unwrap();
                udp.recv_from(&mut [0; 200]).unwrap();
            }
            let outside = UdpSocket::bind("0.0.0.0:0").unwrap();
            (0..3).for_each(|_| assert_eq!(outside.send_to(&[7; 72], "10.231.9.9:9999").unwrap(), 72));
            call("10.231.2.2:7000");
            call("10.231.1.1:7100");
            let refused: SocketAddr = "10.231.2.2:7777".parse().unwrap();
            assert!(TcpStream::connect_timeout(&refused, Duration::from_millis(300)).is_err());
        }
        _ => unreachable!(),
    }
}

/// The cgroup of a container of a pod, as a kubelet with the cgroupfs driver names it; removed when dropped.
struct Cgroup(std::path::PathBuf);

impl Cgroup {
    const POD: &str = "5b1a4b6c-12ab-4cde-8f00-123456789abc";
    const CONTAINER: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

    fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|m| m[2] == "cgroup2").unwrap();
        let path = Path::new(mount[1]).join(format!("wa-test/kubepods/pod{}/{}", Self::POD, Self::CONTAINER));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// This very program in a namespace and in this cgroup from its first instant there, doing `role`.
    fn within(&self, namespace: &str, role: &str) -> Child {
        let script =
            r#"echo $$ > "$1/cgroup.procs"; exec nsenter --net="$2" "$3" --exact traffic --ignored --nocapture"#;
        let namespace = format!("/run/netns/{namespace}");
        let mut command = Command::new("bash");
        command.args(["-euc", script, "bash"]).arg(&self.0).arg(namespace).arg(std::env::current_exe().unwrap());
        command.env("WA_ROLE", role).spawn().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in self.0.ancestors().take(4) {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn serve(listener: &TcpListener, connections: usize) {
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    }
}

fn call(address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{error}"),
        }
    };
    stream.write_all(&[3; 50_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), 50_000);
}

fn counter(interface: &str, name: &str) -> u64 {
    let path = format!("/sys/class/net/{interface}/statistics/{name}");
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

async fn batches(log: &Log) -> Vec<RawBatch> {
    let mut reader = log.reader("flows.raw.v1", Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(1)).await.unwrap();
    records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap()).collect()
}

fn check_accounts(batches: &[RawBatch]) {
    let mut published = Totals::default();
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch.sequence, u64::try_from(number).unwrap());
        for sample in &batch.samples {
            published.packets += sample.packets;
            published.bytes += sample.bytes;
            published.samples += 1;
            assert!(sample.first_seen <= sample.last_seen);
            let tick = batch.tick..batch.tick + batch.tick_length * i64::from(batch.ticks) + 1;
            assert!(tick.contains(&sample.first_seen) && tick.contains(&sample.last_seen), "{tick:?} {sample:?}");
        }
        assert_eq!(batch.published, published);
        assert_eq!(batch.seen, batch.published, "nothing is lost: {:?}", batch.lost);
    }
}

/// Packets, bytes and starts by (point, end, interface) of the samples for which `wanted`.
fn sums(batches: &[RawBatch], wanted: impl Fn(&Sample) -> bool) -> BTreeMap<(Point, End, String), (u64, u64, u64)> {
    let mut sums = BTreeMap::new();
    for sample in batches.iter().flat_map(|batch| &batch.samples).filter(|sample| wanted(sample)) {
        let sum: &mut (u64, u64, u64) = sums.entry((sample.point, sample.end, sample.interface.clone())).or_default();
        sum.0 += sample.packets;
        sum.1 += sample.bytes;
        sum.2 += sample.started;
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn every_packet_between_pods_and_host_is_counted_once_at_each_end() {
    if !std::fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t0") || !Path::new("/run").exists() {
        eprintln!("skipped: needs root");
        return;
    }
    let _world = World::new();
    let log = Log::memory();
    log.ensure_topics(&[TopicSpec::new("flows.raw.v1", 1)]).await.unwrap();
    let settings = AgentSettings {
        node: Some("node-1".to_owned()),
        interfaces: vec!["wa-v*".to_owned(), "wa-h0".to_owned()],
        ..AgentSettings::default()
    };
    let before: Vec<u64> = ["wa-va", "wa-vb"]
        .iter()
        .flat_map(|i| ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"].map(|name| counter(i, name)))
        .collect();
    let stop = CancellationToken::new();
    let (agent_log, agent_stop) = (log.clone(), stop.clone());
    let (metrics, health) = (Metrics::new(), Health::default());
    let shown = metrics.clone();
    let agent_health = health.clone();
    let agent = tokio::spawn(async move {
        let record = RecordSettings::small("local");
        weir_agent::run(&settings, "local", &record, &agent_log, &metrics, &agent_health, agent_stop).await
    });
    let watching =
        || Command::new("bash").args(["-c", "bpftool net show dev wa-va; bpftool link | grep -c tcx"]).output();
    for waited in 0.. {
        assert!(waited < 600, "the agent did not become ready: {:?}", watching());
        if health.is_ready() && shown.value("weir_agent_interfaces", &[]) == Some(3.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let host = TcpListener::bind("10.231.1.1:7100").unwrap();
    let served = std::thread::spawn(move || serve(&host, 1));
    let cgroup = Cgroup::new();
    let mut server = cgroup.within("wa-b", "server");
    // Until the agent has looked at the node's processes, which on a busy machine it does more seldom: nobody is known
    // behind the client's interface only.
    for waited in 0.. {
        assert!(waited < 600, "the server's namespace did not become known");
        if shown.value("weir_agent_unknown_namespaces", &[]) == Some(1.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut client = within("wa-a", "client");
    tokio::task::spawn_blocking(|| call("10.231.2.2:7000")).await.unwrap();
    assert!(tokio::task::spawn_blocking(move || client.wait()).await.unwrap().unwrap().success());
    assert!(tokio::task::spawn_blocking(move || server.wait()).await.unwrap().unwrap().success());
    served.join().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    agent.await.unwrap().unwrap();

    let batches = batches(&log).await;
    check_accounts(&batches);
    let after: Vec<u64> = ["wa-va", "wa-vb"]
        .iter()
        .flat_map(|i| ["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"].map(|name| counter(i, name)))
        .collect();
    let gained: Vec<u64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    let pods = sums(&batches, |sample| sample.point == Point::Pod);
    for (place, interface) in ["wa-va", "wa-vb"].iter().enumerate() {
        for (direction, end) in [(0, End::Source), (2, End::Destination)] {
            let (packets, bytes, _) = pods[&(Point::Pod, end, (*interface).to_owned())];
            assert_eq!(packets, gained[place * 4 + direction], "{interface} {end:?}");
            assert_eq!(bytes + 14 * packets, gained[place * 4 + direction + 1], "{interface} {end:?}");
        }
    }

    // Ten conversations and a connection between the pods, each started once at each end.
    let between = |sample: &Sample| {
        let pair = [sample.source.to_string(), sample.destination.to_string()];
        pair.contains(&"10.231.1.2".to_owned()) && pair.contains(&"10.231.2.2".to_owned())
    };
    let forth = sums(&batches, |sample| between(sample) && sample.destination_port == 7000);
    assert_eq!(forth[&(Point::Pod, End::Source, "wa-va".to_owned())].2, 11);
    assert_eq!(forth[&(Point::Pod, End::Destination, "wa-vb".to_owned())].2, 11);
    assert_eq!(forth.len(), 2, "no other point: {forth:?}");
    let back = sums(&batches, |sample| between(sample) && sample.source_port == 7000);
    assert_eq!(back.values().map(|sum| sum.2).sum::<u64>(), 0);

    // The host's own ends of what it says to pod b, and of what pod a says to it.
    let to_pod = sums(&batches, |s| s.source.to_string() == "10.231.2.1" && s.destination_port == 7000);
    let to_host = sums(&batches, |s| s.destination.to_string() == "10.231.1.1" && s.destination_port == 7100);
    for (ends, interface) in [(&to_pod, "wa-vb"), (&to_host, "wa-va")] {
        assert_eq!(ends.len(), 2, "{ends:?}");
        let all: Vec<_> = ends.values().collect();
        assert_eq!(all[0], all[1]);
        assert_eq!(all[0].2, 1);
        assert!(ends.keys().all(|key| key.2 == interface));
        assert!(ends.keys().any(|key| key.0 == Point::Host) && ends.keys().any(|key| key.0 == Point::Pod));
    }
    // Out of the cluster behind the host's address: the pod's packets, and on the way out nobody's.
    let outside = sums(&batches, |s| s.destination_port == 9999);
    assert_eq!(outside.len(), 2, "{outside:?}");
    assert_eq!(outside[&(Point::Pod, End::Source, "wa-va".to_owned())], (3, 300, 1));
    assert_eq!(outside[&(Point::Transit, End::Source, "wa-h0".to_owned())], (3, 300, 1));

    let host: Vec<&Sample> =
        batches.iter().flat_map(|batch| &batch.samples).filter(|sample| sample.point == Point::Host).collect();
    let nameless: Vec<&&Sample> = host.iter().filter(|sample| sample.process.is_none()).collect();
    assert!(nameless.is_empty(), "the host's sockets were made while the agent ran: {nameless:#?}");

    // The server's pod and container are known by its cgroup, whoever spoke first; the client is in none.
    let at = |interface: &str| {
        let known = |s: &&Sample| s.interface == interface && s.point == Point::Pod && between(s);
        let ends: Vec<_> = batches.iter().flat_map(|b| &b.samples).filter(known).collect();
        ends.into_iter().map(|s| (s.pod_uid.as_deref(), s.container.as_deref())).collect::<BTreeSet<_>>()
    };
    let server_is = (Some(Cgroup::POD), Some(&Cgroup::CONTAINER[..12]));
    assert!(at("wa-vb").contains(&server_is), "{:?}", at("wa-vb"));
    assert!(at("wa-vb").is_subset(&BTreeSet::from([server_is, (None, None)])), "{:?}", at("wa-vb"));
    assert_eq!(at("wa-va"), BTreeSet::from([(None, None)]));

    let opened = batches.iter().flat_map(|b| &b.samples).filter(|s| between(s) && s.destination_port == 7000);
    assert!(opened.clone().all(|s| s.opened_by == OpenedBy::Source && s.opened_at.is_some()));

    let refused: Vec<&Sample> =
        batches.iter().flat_map(|b| &b.samples).filter(|s| s.destination_port == 7777).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((refused[0].point, refused[0].end), (Point::Pod, End::Source));
    assert_eq!(refused[0].drops.len(), 1);
    let drop = &refused[0].drops[0];
    assert_eq!((drop.reason.as_str(), drop.class), ("NETFILTER_DROP", DropClass::Policy));
    assert_eq!((drop.packets, drop.bytes), (refused[0].packets, refused[0].bytes));
}
