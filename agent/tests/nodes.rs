//! Two nodes with an agent each, as processes, and connections from a pod on one to a pod on the other. Needs root; says so
//! where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;

#[path = "support/kafka.rs"]
mod kafka;

use kafka::Kafka;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_schemas::raw::{DropClass, End, OpenedBy, Point, RawBatch, Sample};
use world::{World, is_root, sh};

/// The pods, one behind the namespace that is the other node, one behind this host.
const FAR: &str = "10.239.3.2";
const NEAR: &str = "10.239.2.2";

/// What the processes in the namespaces do. Not a test of its own.
#[test]
#[ignore = "started by the test below"]
fn traffic() {
    let Ok(role) = std::env::var("WEIR_TEST_ROLE") else { return };
    match role.as_str() {
        "server" => {
            let udp = UdpSocket::bind("0.0.0.0:7000").unwrap();
            let tcp = TcpListener::bind("0.0.0.0:7000").unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 2_000];
                while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                    udp.send_to(&buffer[..length], from).unwrap();
                }
            });
            let (mut stream, _) = tcp.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        }
        "client" => {
            for _ in 0..10 {
                let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
                udp.send_to(&[7; 100], (NEAR, 7_000)).unwrap();
                udp.recv_from(&mut [0; 200]).unwrap();
            }
            let mut stream = TcpStream::connect((NEAR, 7_000)).unwrap();
            stream.write_all(&[3; 200_000]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 200_000);
            let refused = format!("{NEAR}:7777").parse().unwrap();
            assert!(TcpStream::connect_timeout(&refused, Duration::from_millis(1_500)).is_err());
        }
        _ => unreachable!("{role}"),
    }
}

/// An agent of its own in a network namespace, or here.
fn agent(namespace: Option<&str>, kafka: &str, node: &str, interfaces: &str) -> Child {
    let mut command = match namespace {
        Some(name) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{name}")).arg(env!("CARGO_BIN_EXE_weir-agent"));
            command
        }
        None => Command::new(env!("CARGO_BIN_EXE_weir-agent")),
    };
    let silent = || if std::env::var_os("WEIR_TEST_OUTPUT").is_some() { Stdio::inherit() } else { Stdio::null() };
    let arguments = ["--kafka", kafka, "--cluster", "local", "--node", node, "--interfaces", interfaces];
    command.args(arguments).stdout(silent()).stderr(silent()).spawn().unwrap()
}

/// Packets and L3 bytes of an Ethernet interface in a namespace, by its own statistics: received, sent.
fn statistics(namespace: &str, interface: &str) -> [(u64, u64); 2] {
    let of = if namespace.is_empty() { String::new() } else { format!("-n {namespace}") };
    let text = sh(&format!("ip {of} -s -j link show {interface}"));
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["rx", "tx"].map(|direction| {
        let number = |name: &str| links[0]["stats64"][direction][name].as_u64().unwrap();
        (number("packets"), number("bytes") - 14 * number("packets"))
    })
}

struct Reports(Vec<RawBatch>);

impl Reports {
    fn of<'a>(&'a self, node: &'a str, wanted: impl Fn(&Sample) -> bool + 'a) -> Vec<&'a Sample> {
        let batches = self.0.iter().filter(move |batch| batch.node == node);
        batches.flat_map(|batch| &batch.samples).filter(move |sample| wanted(sample)).collect()
    }
}

fn sum(samples: &[&Sample]) -> (u64, u64) {
    samples.iter().fold((0, 0), |sum, sample| (sum.0 + sample.packets, sum.1 + sample.bytes))
}

type Tuple = (String, u16, String, u16, u8);

/// Packets, bytes and connections started and ended, by tuple.
fn by_tuple(samples: &[&Sample]) -> BTreeMap<Tuple, [u64; 4]> {
    let mut all: BTreeMap<Tuple, [u64; 4]> = BTreeMap::new();
    for s in samples {
        let tuple = (s.source.to_string(), s.source_port, s.destination.to_string(), s.destination_port, s.protocol);
        let sums = all.entry(tuple).or_default();
        for (sum, more) in sums.iter_mut().zip([s.packets, s.bytes, s.started, s.ended]) {
            *sum += more;
        }
    }
    all
}

/// The second node is a namespace: a bridge to this host, and a pod. Bridges stand for the nodes' own interfaces, because
/// the end of a veth pair whose other end is elsewhere stands for a pod.
const NODES: &str = "
    for p in a b; do ip link set wn-v$p gso_max_segs 1; ip -n wn-$p link set wn-p$p gso_max_segs 1; done
    ip link add wn-br address 02:00:00:ef:01:01 type bridge; ip link set wn-va master wn-br; ip addr flush dev wn-va
    echo 1 >/proc/sys/net/ipv6/conf/wn-br/disable_ipv6
    ip addr add 10.239.1.1/24 dev wn-br; ip link set wn-br up
    inside() { nsenter --net=/run/netns/wn-a \"$@\"; }
    ip netns add wn-c
    ip -n wn-a addr flush dev wn-pa
    ip -n wn-a link add wn-bra address 02:00:00:ef:01:02 type bridge; ip -n wn-a link set wn-pa master wn-bra
    inside sysctl -qw net.ipv6.conf.wn-bra.disable_ipv6=1 net.ipv4.ip_forward=1
    ip -n wn-a addr add 10.239.1.2/24 dev wn-bra; ip -n wn-a link set wn-bra up
    ip -n wn-a route add default via 10.239.1.1
    ip -n wn-a link add wn-vc address 02:00:00:ef:03:01 type veth peer name wn-pc address 02:00:00:ef:03:02 netns wn-c
    inside sysctl -qw net.ipv6.conf.wn-vc.disable_ipv6=1
    nsenter --net=/run/netns/wn-c sysctl -qw net.ipv6.conf.wn-pc.disable_ipv6=1
    ip -n wn-a link set wn-vc gso_max_segs 1; ip -n wn-c link set wn-pc gso_max_segs 1
    ip -n wn-a addr add 10.239.3.1/24 dev wn-vc; ip -n wn-a link set wn-vc up
    ip -n wn-c addr add 10.239.3.2/24 dev wn-pc; ip -n wn-c link set wn-pc up
    ip -n wn-c route add default via 10.239.3.1
    ip -n wn-a neigh replace 10.239.3.2 lladdr 02:00:00:ef:03:02 dev wn-vc nud permanent
    ip -n wn-c neigh replace 10.239.3.1 lladdr 02:00:00:ef:03:01 dev wn-pc nud permanent
    ip route add 10.239.3.0/24 via 10.239.1.2
    nft 'table ip wn-drop { chain forward { type filter hook forward priority 0; tcp dport 7777 drop; }; }'";

#[tokio::test(flavor = "multi_thread")]
async fn both_nodes_tell_the_same_and_what_one_of_them_drops_it_tells_for_its_pod() {
    if !is_root() {
        return;
    }
    let cleanup = "nft delete table ip wn-drop; ip netns del wn-c; ip link del wn-br";
    let world = World::new("wn", 239, cleanup);
    sh(NODES);
    let kafka = Kafka::start("10.239.1.1:0").await;
    let mut agents = [
        agent(Some("wn-a"), &kafka.address, "far", "wn-bra,wn-vc"),
        agent(None, &kafka.address, "near", "wn-br,wn-vb"),
    ];
    let begun = Instant::now();
    // Each says that it is there, with the first tick that it sees whole.
    loop {
        let there = Reports(kafka.batches().await);
        if ["far", "near"].iter().all(|node| there.0.iter().filter(|batch| batch.node == *node).count() > 1) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "an agent publishes nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = [statistics("wn-a", "wn-vc"), statistics("", "wn-vb")];
    let mut server = world.within("b", "server");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut client = world::within_of("wn", "c", "client");
    let ended = tokio::task::spawn_blocking(move || (client.wait().unwrap(), server.wait().unwrap())).await.unwrap();
    assert!(ended.0.success() && ended.1.success());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = [statistics("wn-a", "wn-vc"), statistics("", "wn-vb")];
    for agent in &mut agents {
        sh(&format!("kill {}", agent.id()));
        assert!(agent.wait().unwrap().success());
    }
    let reports = Reports(kafka.batches().await);

    // Each node's sums are what its pod's interface says of itself.
    for (place, (node, interface)) in [("far", "wn-vc"), ("near", "wn-vb")].into_iter().enumerate() {
        for (direction, end) in [End::Source, End::Destination].into_iter().enumerate() {
            let samples = reports.of(node, |s| s.point == Point::Pod && s.interface == interface && s.end == end);
            let (was, is) = (before[place][direction], after[place][direction]);
            assert_eq!(sum(&samples), (is.0 - was.0, is.1 - was.1), "{node} {end:?}");
        }
    }
    // Both ends of each conversation and direction say the same, and on the way it is nobody's.
    let between = |s: &Sample| s.destination_port == 7_000 || s.source_port == 7_000;
    let at = |node, point, end| by_tuple(&reports.of(node, move |s| s.point == point && s.end == end && between(s)));
    let left = at("far", Point::Pod, End::Source);
    assert_eq!(left.len(), 11, "{left:?}");
    assert_eq!(left.values().map(|sums| sums[2]).sum::<u64>(), 11, "{left:?}");
    assert_eq!(left, at("near", Point::Pod, End::Destination));
    let sizes = |all: BTreeMap<Tuple, [u64; 4]>| -> BTreeMap<Tuple, (u64, u64)> {
        all.into_iter().map(|(tuple, sums)| (tuple, (sums[0], sums[1]))).collect()
    };
    assert_eq!(sizes(left.clone()), sizes(at("far", Point::Transit, End::Source)));
    assert_eq!(sizes(left), sizes(at("near", Point::Transit, End::Destination)));
    assert_eq!(at("near", Point::Pod, End::Source), at("far", Point::Pod, End::Destination));

    // What was dropped on the second node left the first one, and the second says for its pod that it did not get it.
    let refused =
        |node, end| reports.of(node, move |s| s.point == Point::Pod && s.end == end && s.destination_port == 7_777);
    let (sent, told) = (refused("far", End::Source), refused("near", End::Destination));
    assert!(sum(&sent).0 >= 1 && sent.iter().all(|s| s.drops.is_empty() && s.source.to_string() == FAR), "{sent:?}");
    assert_eq!(sum(&told), (0, 0));
    let drops: Vec<_> = told.iter().flat_map(|s| &s.drops).collect();
    assert!(drops.iter().all(|drop| drop.class == DropClass::Policy && drop.reason == "NETFILTER_DROP"), "{drops:?}");
    assert_eq!(drops.iter().map(|drop| drop.packets).sum::<u64>(), sum(&sent).0);
    assert_eq!(told.iter().map(|s| s.started).sum::<u64>(), 1, "{told:?}");
    assert!(told.iter().all(|s| s.opened_by == OpenedBy::Source && s.opened_at.is_some()), "{told:?}");
}
