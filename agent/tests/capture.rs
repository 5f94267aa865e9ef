//! What is counted apart, left out, sampled and coarsened, in network namespaces. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use weir_agent::AgentSettings;
use weir_agent::ebpf::links::Selection;
use weir_agent::ebpf::{Capture, Options};
use weir_schemas::raw::{Coarsening, End, Point};
use world::{Agent, World, counter, is_root, sh};

fn settings(interfaces: &[&str]) -> AgentSettings {
    AgentSettings {
        node: Some("node-1".to_owned()),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        ..AgentSettings::default()
    }
}

const CONVERSATIONS: u16 = 400;

/// What the processes in the namespaces do. Not a test of its own.
#[test]
#[ignore = "started by the tests below"]
fn traffic() {
    let Ok(role) = std::env::var("WEIR_TEST_ROLE") else { return };
    match role.as_str() {
        "conversations" => {
            for port in 20_000..20_000 + CONVERSATIONS {
                let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
                for (to, times) in [("10.235.2.2:7000", 3), ("10.235.2.2:7001", 2)] {
                    (0..times).for_each(|_| assert_eq!(socket.send_to(&[7; 72], to).unwrap(), 72));
                }
            }
        }
        "caller" => {
            for _ in 0..20 {
                let mut stream = TcpStream::connect("10.238.96.1:80").unwrap();
                stream.write_all(&[7; 1_000]).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        }
        "service" => {
            let listener = TcpListener::bind("0.0.0.0:7000").unwrap();
            for _ in 0..20 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
                stream.write_all(&[7; 500]).unwrap();
            }
        }
        "talker" => {
            let mut stream = TcpStream::connect("10.238.96.1:80").unwrap();
            let mut answer = [0; 10];
            while stream.write_all(&[7; 10]).is_ok() && stream.read_exact(&mut answer).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        "answerer" => {
            let (mut stream, _) = TcpListener::bind("0.0.0.0:7000").unwrap().accept().unwrap();
            let mut question = [0; 10];
            while stream.read_exact(&mut question).is_ok() && stream.write_all(&question).is_ok() {}
        }
        "refused" => {
            let service = "10.238.96.1:80".parse().unwrap();
            assert!(TcpStream::connect_timeout(&service, Duration::from_millis(500)).is_err());
        }
        "echo" => {
            let socket = UdpSocket::bind("10.237.70.2:7300").unwrap();
            for _ in 0..5 {
                let mut buffer = [0; 200];
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&buffer[..length], from).unwrap();
            }
        }
        "flood" => {
            for port in 20_000..30_000 {
                let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
                assert_eq!(socket.send_to(&[7; 72], "10.236.2.2:7000").unwrap(), 72);
            }
        }
        _ => unreachable!("{role}"),
    }
}

async fn finished(mut child: std::process::Child) {
    assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_leave_out_and_sample_and_corrected_sums_are_right() {
    if !is_root() {
        return;
    }
    let world = World::new("wr", 235, "");
    let rules =
        ["drop: src.port == 7001 or dst.port == 7001", "sample 4: addresses in 10.235.2.0/24 and protocol == udp"];
    let agent = Agent::start(AgentSettings {
        capture_rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        ..settings(&["wr-v*"])
    })
    .await;
    finished(world.within("a", "conversations")).await;
    let seen = agent.stop().await;

    let total = u64::from(CONVERSATIONS);
    assert!(seen.samples().all(|s| s.source_port != 7001 && s.destination_port != 7001));
    // Two packets a conversation, at both pods' interfaces.
    assert_eq!(seen.lost("filtered"), total * 2 * 2);
    let mut chosen: BTreeMap<End, BTreeSet<u16>> = BTreeMap::new();
    let (mut packets, mut corrected) = (0, 0);
    for sample in seen.samples().filter(|s| s.point == Point::Pod && s.destination_port == 7000) {
        assert_eq!((sample.sampling, sample.packets), (4, 3));
        chosen.entry(sample.end).or_default().insert(sample.source_port);
        packets += sample.packets;
        corrected += sample.packets * u64::from(sample.sampling);
    }
    // What is sampled out is known exactly; and both interfaces, as two nodes would, chose the same connections.
    assert_eq!(seen.lost("sampled_out"), total * 3 * 2 - packets);
    assert_eq!(chosen[&End::Source], chosen[&End::Destination]);
    // A binomial of 400 trials with p = 1/4, times 4, has a standard deviation of 34.6: four of them.
    let expected = total * 3 * 2;
    assert!(corrected.abs_diff(expected) < 139 * 3 * 2, "{corrected} of {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tunnel_carries_counts_inside_and_its_outside_apart() {
    if !is_root() {
        return;
    }
    // The host's wu-h0 leads over a bridge to the namespace wu-c: a neighbour on the network, not a pod of this node.
    let cleanup = "ip netns del wu-c; ip link del wu-x; ip link del wu-h0; ip link del wu-br";
    let world = World::new("wu", 237, cleanup);
    sh("ip netns add wu-c; ip link add wu-br type bridge; ip link set wu-br up
        ip link add wu-h0 type veth peer name wu-h1; ip link add wu-c0 type veth peer name wu-c1 netns wu-c
        for i in wu-h0 wu-h1 wu-c0 wu-br; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; done
        ip link set wu-h1 master wu-br up; ip link set wu-c0 master wu-br up; ip link set wu-h0 up
        ip addr add 10.237.9.1/24 dev wu-h0
        ip -n wu-c addr add 10.237.9.2/24 dev wu-c1; ip -n wu-c link set wu-c1 up
        for s in '1 2' '2 1'; do set -- $s
          if [ $1 = 1 ]; then n=; else n='-n wu-c'; fi
          ip $n link add wu-x address 02:00:00:00:77:0$1 type vxlan id 7 local 10.237.9.$1 remote 10.237.9.$2 dstport 4790
          ip $n addr add 10.237.70.$1/24 dev wu-x; ip $n link set wu-x up
          ip $n neigh replace 10.237.70.$2 lladdr 02:00:00:00:77:0$2 dev wu-x nud permanent
        done
        echo 1 >/proc/sys/net/ipv6/conf/wu-x/disable_ipv6
        nsenter --net=/run/netns/wu-c sysctl -qw net.ipv6.conf.wu-x.disable_ipv6=1 net.ipv6.conf.wu-c1.disable_ipv6=1");
    let agent = Agent::start(settings(&["wu-h0", "wu-x"])).await;
    let (sent, received) = (counter("wu-x", "tx_packets"), counter("wu-x", "rx_packets"));
    let neighbour = world.within("c", "echo");
    let inside = UdpSocket::bind("10.237.70.1:7301").unwrap();
    inside.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    // Until it answers.
    let answered = |socket: &UdpSocket| {
        socket.send_to(&[7; 100], "10.237.70.2:7300").unwrap();
        socket.recv_from(&mut [0; 200]).is_ok()
    };
    let tries = (1..=40).find(|_| answered(&inside)).unwrap();
    (0..4).for_each(|_| assert!(answered(&inside)));
    finished(neighbour).await;
    // To the port of a tunnel that is none here, and no WireGuard: the host's own.
    let socket = UdpSocket::bind("10.237.9.1:0").unwrap();
    (0..4).for_each(|_| assert_eq!(socket.send_to(b"hello", "10.237.9.2:51820").unwrap(), 5));
    let (sent, received) = (counter("wu-x", "tx_packets") - sent, counter("wu-x", "rx_packets") - received);
    let seen = agent.stop().await;

    let sum = |point: Point, end: End, interface: &str, protocol: u8, port: u16| -> (u64, u64) {
        seen.samples()
            .filter(|s| s.point == point && s.end == end && s.interface == interface && s.protocol == protocol)
            .filter(|s| port == 0 || s.destination_port == port)
            .fold((0, 0), |(packets, bytes), s| (packets + s.packets, bytes + s.bytes))
    };
    let (out, back) = (End::Source, End::Destination);
    for (end, carried) in [(out, sent), (back, received)] {
        let (packets, _) = sum(Point::Underlay, end, "wu-h0", 17, 4790);
        let all: Vec<_> =
            seen.samples().map(|s| (s.point, s.end, &s.interface, s.protocol, s.destination_port, s.packets)).collect();
        assert_eq!(packets, carried, "{end:?}: {all:?}");
        let port = if end == out { 7_300 } else { 7_301 };
        let expected = if end == out { tries + 4 } else { 5 };
        assert_eq!(sum(Point::Host, end, "wu-x", 17, port), (expected, expected * 128), "{end:?}");
    }
    let outside = seen.samples().filter(|s| s.interface == "wu-h0" && s.point != Point::Underlay);
    let outside: Vec<_> =
        outside.filter(|s| s.protocol == 17).map(|s| (s.point, s.destination_port, s.packets)).collect();
    assert_eq!(outside, [(Point::Host, 51_820, 4)], "nothing else is the host's");
}

const SERVICE: &str = "nft 'table ip wn-service { chain pre { type nat hook prerouting priority -100;
          ip daddr 10.238.96.1 tcp dport 80 dnat to 10.238.2.2:7000; }; }'";

/// Each sample at a pod has both tuples; each connection started once at each end.
fn both_tuples_are_known(seen: &world::Seen) {
    let (client, service, server) = ("10.238.1.2", ("10.238.96.1", 80), ("10.238.2.2", 7_000));
    let mut ends: BTreeMap<(String, End), u64> = BTreeMap::new();
    for sample in seen.samples().filter(|s| s.point == Point::Pod && s.protocol == 6) {
        let other = sample.translated.unwrap_or_else(|| panic!("not known as translated: {sample:?}"));
        let (here, there) = if sample.interface == "wn-va" { (service, server) } else { (server, service) };
        let shown = (sample.source.to_string(), sample.destination.to_string());
        let hidden = (other.source.to_string(), other.destination.to_string());
        if shown.0 == client {
            assert_eq!((shown.1.as_str(), sample.destination_port), here);
            assert_eq!((hidden.0.as_str(), other.source_port), (client, sample.source_port));
            assert_eq!((hidden.1.as_str(), other.destination_port), there);
        } else {
            assert_eq!((shown.0.as_str(), sample.source_port, shown.1.as_str()), (here.0, here.1, client));
            assert_eq!((hidden.0.as_str(), other.source_port, hidden.1.as_str()), (there.0, there.1, client));
        }
        *ends.entry((sample.interface.clone(), sample.end)).or_default() += sample.started;
    }
    let expected = |interface: &str, end, started| ((interface.to_owned(), end), started);
    let (source, destination) = (End::Source, End::Destination);
    assert_eq!(
        ends,
        BTreeMap::from([
            expected("wn-va", source, 20),
            expected("wn-va", destination, 0),
            expected("wn-vb", source, 0),
            expected("wn-vb", destination, 20),
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_through_a_service_is_known_by_both_of_its_tuples() {
    if !is_root() {
        return;
    }
    let world = World::new("wn", 238, "nft delete table ip wn-service");
    sh(SERVICE);
    let agent = Agent::start(settings(&["wn-v*"])).await;
    let server = world.within("b", "service");
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "caller")).await;
    finished(server).await;
    both_tuples_are_known(&agent.stop().await);
}

/// Connection tracking tells nobody of connections while this is there.
struct Silence(String);

impl Silence {
    const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

    fn keep() -> Self {
        let before = std::fs::read_to_string(Self::SWITCH).unwrap();
        std::fs::write(Self::SWITCH, "0").unwrap();
        Self(before)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::SWITCH, &self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_connection_tracking_does_not_tell_of_is_known_by_both_of_its_tuples_all_the_same() {
    if !is_root() {
        return;
    }
    let world = World::new("wn", 238, "nft delete table ip wn-service");
    sh(SERVICE);
    let _silence = Silence::keep();
    let agent = Agent::start(settings(&["wn-v*"])).await;
    // Those of earlier tests may still be in the kernel's table.
    let told = || agent.metrics.value("weir_agent_translations", &[]).unwrap();
    let before = told();
    let server = world.within("b", "service");
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "caller")).await;
    finished(server).await;
    assert!(told() <= before, "it was told of");
    both_tuples_are_known(&agent.stop().await);
}

#[test]
fn a_connection_older_than_the_agent_shows_how_it_is_translated() {
    if !is_root() {
        return;
    }
    let world = World::new("wn", 238, "nft delete table ip wn-service");
    sh(SERVICE);
    let mut server = world.within("b", "answerer");
    std::thread::sleep(Duration::from_millis(500));
    let mut client = world.within("a", "talker");
    std::thread::sleep(Duration::from_secs(1));

    let selection = Selection { include: vec!["wn-v*".to_owned()], exclude: Vec::new() };
    let mut capture = Capture::load(Options::new(selection, 1_024, 1_024)).unwrap();
    capture.set_boundary(u64::MAX, 0);
    assert!(capture.rescan().unwrap().is_empty());
    std::thread::sleep(Duration::from_secs(1));
    capture.detach();
    let mut shown = Vec::new();
    capture.translations(|original, reply| shown.push((original, reply))).unwrap();
    for child in [&mut client, &mut server] {
        // In order, so that what it started ends with it.
        sh(&format!("kill {}", child.id()));
        child.wait().unwrap();
    }

    let text = |address: [u8; 16]| std::net::Ipv6Addr::from(address).to_ipv4_mapped().unwrap().to_string();
    let [(original, reply)] = shown[..] else { panic!("one connection, shown in both directions: {shown:?}") };
    assert_eq!(
        [original.source, original.destination, reply.source, reply.destination].map(text),
        ["10.238.1.2", "10.238.96.1", "10.238.2.2", "10.238.1.2"]
    );
    assert_eq!((original.destination_port, reply.source_port, original.protocol), (80, 7_000, 6));
    assert_eq!(original.source_port, reply.destination_port);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_on_its_way_to_a_service_has_both_of_its_tuples() {
    if !is_root() {
        return;
    }
    let world = World::new("wn", 238, "nft delete table ip wn-service; nft delete table ip wn-drop");
    sh(SERVICE);
    sh("nft 'table ip wn-drop { chain forward { type filter hook forward priority 0; tcp dport 7000 drop; }; }'");
    let agent = Agent::start(settings(&["wn-v*"])).await;
    finished(world.within("a", "refused")).await;
    let seen = agent.stop().await;
    let sent = ("10.238.1.2".to_owned(), "10.238.96.1".to_owned(), 80);
    let dropped = ("10.238.1.2".to_owned(), "10.238.2.2".to_owned(), 7_000);
    let mut found = BTreeSet::new();
    for sample in seen.samples().filter(|s| s.protocol == 6) {
        let other = sample.translated.unwrap_or_else(|| panic!("not known as translated: {sample:?}"));
        let here = (sample.source.to_string(), sample.destination.to_string(), sample.destination_port);
        let there = (other.source.to_string(), other.destination.to_string(), other.destination_port);
        assert_eq!((&here, &there), (&sent, &dropped));
        found.insert((here, sample.drops.iter().map(|drop| drop.packets).sum::<u64>() > 0));
    }
    assert_eq!(found, BTreeSet::from([(sent.clone(), false), (sent, true)]), "told at the pod that sent it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_a_small_map_loses_detail_and_no_packet() {
    if !is_root() {
        return;
    }
    let world = World::new("wf", 236, "");
    let agent = Agent::start(AgentSettings { flows_limit: 1_000, ..settings(&["wf-v*"]) }).await;
    let before = counter("wf-va", "rx_packets");
    finished(world.within("a", "flood")).await;
    let sent = counter("wf-va", "rx_packets") - before;
    let flushes = agent.metrics.value("weir_agent_early_flushes_total", &[]).unwrap();
    let seen = agent.stop().await;

    let counted: u64 = seen
        .samples()
        .filter(|s| s.point == Point::Pod && s.end == End::Source && s.interface == "wf-va")
        .map(|s| s.packets)
        .sum();
    assert_eq!(counted, sent, "as the interface says");
    assert!(counted >= 10_000);
    let lost: u64 = seen.batches.last().unwrap().lost.iter().map(|loss| loss.lost.packets).sum();
    assert_eq!(lost, 0);
    let coarse: u64 = seen.samples().filter(|s| s.coarsened != Coarsening::None).map(|s| s.packets).sum();
    assert!(flushes > 0.0 || coarse > 0, "the map of 1000 flows was never under pressure");
    for sample in seen.samples().filter(|s| s.coarsened != Coarsening::None && s.destination_port == 7000) {
        assert_eq!(sample.source_port, 0);
    }
}
