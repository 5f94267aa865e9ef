//! Ways that packets take, each with sums equal to what interfaces and sockets say of themselves. Needs root; says so where
//! it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "support/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};
use weir_agent::AgentSettings;
use weir_schemas::raw::{End, OpenedBy, Point, Sample};
use world::{Agent, Seen, World, counter, is_root, sh};

fn settings(interfaces: &[&str]) -> AgentSettings {
    AgentSettings {
        node: Some("node-1".to_owned()),
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
        ..AgentSettings::default()
    }
}

const SHORT: u64 = 20_000;
const BULK: usize = 20_000_000;
/// Datagrams that fit into one packet of 9000 bytes, the last that does, and ones that do not.
const JUMBO: [usize; 5] = [72, 1_473, 8_972, 8_973, 40_000];

fn connected(address: &str) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => panic!("{address}: {error}"),
        }
    }
}

/// What a socket says of itself: ss(8) of a local port.
fn statistics(port: u16) -> String {
    let output = Command::new("ss").args(["-tinH", &format!("sport = :{port}")]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the processes in the namespaces do. Not a test of its own.
#[test]
#[ignore = "started by the tests below"]
fn traffic() {
    let Ok(role) = std::env::var("WEIR_TEST_ROLE") else { return };
    match role.as_str() {
        // Ends connections first, so that it is not the client's ports that wait.
        "short-server" => {
            let listener = TcpListener::bind("0.0.0.0:7000").unwrap();
            for _ in 0..SHORT {
                drop(listener.accept().unwrap());
            }
        }
        "short-client" => {
            let mut first = Some(connected("10.241.2.2:7000"));
            for _ in 0..SHORT {
                let mut stream = first.take().unwrap_or_else(|| TcpStream::connect("10.241.2.2:7000").unwrap());
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        }
        "bulk-server" => {
            let listener = TcpListener::bind("[::]:7000").unwrap();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut vec![0; BULK]).unwrap();
                stream.write_all(b"done").unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        }
        "bulk-client" => {
            let mut told = String::new();
            for address in ["10.242.2.2:7000", "[fd42::2:2]:7000"] {
                let mut stream = connected(address);
                stream.write_all(&vec![7; BULK]).unwrap();
                stream.read_exact(&mut [0; 4]).unwrap();
                // Until a delayed acknowledgement is out, too.
                std::thread::sleep(Duration::from_millis(300));
                let port = stream.local_addr().unwrap().port();
                told.push_str(&format!("port:{port} {}\n", statistics(port).replace('\n', " ")));
            }
            std::fs::write("/tmp/weir-test-bulk", told).unwrap();
        }
        "kinds" => {
            let four = UdpSocket::bind("0.0.0.0:6000").unwrap();
            let six = UdpSocket::bind("[::]:6001").unwrap();
            for size in [0, 1, 72, 1_472, 1_473, 4_000, 9_000, 60_000] {
                for _ in 0..5 {
                    assert_eq!(four.send_to(&vec![7; size], "10.242.2.2:7100").unwrap(), size);
                    assert_eq!(six.send_to(&vec![7; size], "[fd42::2:2]:7100").unwrap(), size);
                }
            }
        }
        "to-service" => {
            for port in [80, 81] {
                let mut stream = connected(&format!("10.243.96.1:{port}"));
                stream.write_all(&[7; 5_000]).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        }
        "service" => {
            let listener = TcpListener::bind("0.0.0.0:7000").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            stream.write_all(&[7; 700]).unwrap();
        }
        "jumbo-server" => {
            let listener = TcpListener::bind("0.0.0.0:7000").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 2_000_000);
        }
        "jumbo" => {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for size in JUMBO {
                assert_eq!(socket.send_to(&vec![7; size], "10.238.2.2:7100").unwrap(), size);
            }
            connected("10.238.2.2:7000").write_all(&[7; 2_000_000]).unwrap();
        }
        "ports" => {
            let socket = UdpSocket::bind("0.0.0.0:6000").unwrap();
            for port in 7_000..=7_003 {
                (0..10).for_each(|_| assert_eq!(socket.send_to(&[7; 72], ("10.244.2.2", port)).unwrap(), 72));
            }
        }
        "tunnelled" => {
            let socket = UdpSocket::bind("0.0.0.0:6000").unwrap();
            (0..10).for_each(|_| assert_eq!(socket.send_to(&[7; 72], "10.245.70.2:7000").unwrap(), 72));
        }
        _ => unreachable!("{role}"),
    }
}

async fn finished(mut child: std::process::Child) {
    assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
}

/// Both directions' packets and L3 bytes of Ethernet interfaces, by their own statistics: from the pod, to the pod.
fn statistics_of(interfaces: &[&str]) -> BTreeMap<(String, End), (u64, u64)> {
    let mut all = BTreeMap::new();
    for interface in interfaces {
        for (end, direction) in [(End::Source, "rx"), (End::Destination, "tx")] {
            let packets = counter(interface, &format!("{direction}_packets"));
            let bytes = counter(interface, &format!("{direction}_bytes")) - 14 * packets;
            all.insert(((*interface).to_owned(), end), (packets, bytes));
        }
    }
    all
}

fn gained(before: &BTreeMap<(String, End), (u64, u64)>, interfaces: &[&str]) -> BTreeMap<(String, End), (u64, u64)> {
    statistics_of(interfaces)
        .into_iter()
        .map(|(place, now)| {
            let before = before[&place];
            (place, (now.0 - before.0, now.1 - before.1))
        })
        .collect()
}

/// What was published at pods' interfaces, of samples that are `wanted`.
fn published(seen: &Seen, wanted: impl Fn(&Sample) -> bool) -> BTreeMap<(String, End), (u64, u64)> {
    let mut all: BTreeMap<(String, End), (u64, u64)> = BTreeMap::new();
    for sample in seen.samples().filter(|s| s.point == Point::Pod && wanted(s)) {
        let sum = all.entry((sample.interface.clone(), sample.end)).or_default();
        *sum = (sum.0 + sample.packets, sum.1 + sample.bytes);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_short_connections_over_a_thousand_ports_each_start_and_end_once() {
    if !is_root() {
        return;
    }
    let world = World::new("wq", 241, "");
    sh("nsenter --net=/run/netns/wq-a sysctl -qw net.ipv4.ip_local_port_range='20000 20999'");
    let agent = Agent::start(settings(&["wq-v*"])).await;
    let interfaces = ["wq-va", "wq-vb"];
    let before = statistics_of(&interfaces);
    let server = world.within("b", "short-server");
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "short-client")).await;
    finished(server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let passed = gained(&before, &interfaces);
    let seen = agent.stop().await;

    assert_eq!(published(&seen, |_| true), passed);
    for (interface, end) in [("wq-va", End::Source), ("wq-vb", End::Destination)] {
        let (mut started, mut ended) = (0, 0);
        for s in seen.samples().filter(|s| s.interface == interface && s.protocol == 6 && s.point == Point::Pod) {
            ended += s.ended;
            if s.end == end && s.destination_port == 7_000 {
                started += s.started;
                assert!((20_000..21_000).contains(&s.source_port), "{s:?}");
            }
        }
        // Also where a waiting end of the port's earlier connection is reset on the way: the SYN that comes again is the same.
        assert_eq!(started, SHORT, "{interface}");
        assert_eq!(ended, SHORT, "{interface}: whoever ends it first, and once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_families_fragments_and_super_packets_add_up() {
    if !is_root() {
        return;
    }
    let world = World::new("wx", 242, "sysctl -qw net.ipv6.conf.all.forwarding=0");
    sh("for p in 'a 1' 'b 2'; do set -- $p
          sysctl -qw net.ipv6.conf.wx-v$1.disable_ipv6=0 net.ipv6.conf.wx-v$1.accept_dad=0
          nsenter --net=/run/netns/wx-$1 sysctl -qw net.ipv6.conf.wx-p$1.disable_ipv6=0 net.ipv6.conf.wx-p$1.accept_dad=0
          ip addr add fd42::$2:1/112 dev wx-v$1 nodad; ip -n wx-$1 addr add fd42::$2:2/112 dev wx-p$1 nodad
          ip -6 neigh replace fd42::$2:2 lladdr 02:00:00:f2:0$2:02 dev wx-v$1 nud permanent
          ip -n wx-$1 -6 neigh replace fd42::$2:1 lladdr 02:00:00:f2:0$2:01 dev wx-p$1 nud permanent
          ip -n wx-$1 -6 route add default via fd42::$2:1
        done
        sysctl -qw net.ipv6.conf.all.forwarding=1");
    let agent = Agent::start(settings(&["wx-v*"])).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let interfaces = ["wx-va", "wx-vb"];
    let server = world.within("b", "bulk-server");
    finished(world.within("a", "bulk-client")).await;
    finished(server).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = statistics_of(&interfaces);
    finished(world.within("a", "kinds")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let passed = gained(&before, &interfaces);
    let seen = agent.stop().await;

    // Fragments: the first has the ports, later ones have none; all are of the two conversations, or of the refusals. Router
    // advertisements and the like may pass meanwhile, so that the interfaces tell of no less than was published.
    let kinds = published(&seen, |s| s.protocol == 17);
    let mut expected = (0, 0);
    for size in [0_u64, 1, 72, 1_472, 1_473, 4_000, 9_000, 60_000] {
        for header in [20, 48] {
            // Fragments carry multiples of 8; IPv6 has the header of fragments only where there are any.
            let whole = if header == 20 { 1_480 } else { 1_460 };
            let (data, each) = (size + 8, if header == 20 { 1_480 } else { 1_448 });
            let (count, bytes) = if data <= whole {
                (1, data + if header == 20 { 20 } else { 40 })
            } else {
                (data.div_ceil(each), data + data.div_ceil(each) * header)
            };
            expected = (expected.0 + 5 * count, expected.1 + 5 * bytes);
        }
    }
    assert_eq!(kinds[&("wx-va".to_owned(), End::Source)], expected);
    assert_eq!(kinds[&("wx-vb".to_owned(), End::Destination)], expected);
    for (place, published) in &kinds {
        assert!(passed[place].0 >= published.0 && passed[place].1 >= published.1, "{place:?} {passed:?} {kinds:?}");
    }

    // What the sockets sent, in segments as on the wire, whatever passed the interfaces at once.
    let told = std::fs::read_to_string("/tmp/weir-test-bulk").unwrap();
    for (line, header) in told.lines().zip([20, 40]) {
        let value = |name: &str| -> u64 {
            let word =
                line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| panic!("{line}"));
            word.parse().unwrap()
        };
        let port = u16::try_from(value("port:")).unwrap();
        let sent = published(&seen, |s| s.protocol == 6 && s.source_port == port);
        // And after that the FIN and the acknowledgement of the other's.
        let segments = value("segs_out:") + 2;
        // TCP's header with time stamps; the SYN has eight bytes of options more.
        let bytes = value("bytes_sent:") + segments * (header + 32) + 8;
        for (interface, end) in [("wx-va", End::Source), ("wx-vb", End::Destination)] {
            assert_eq!(sent[&(interface.to_owned(), end)], (segments, bytes), "{interface} {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jumbo_packets_add_up() {
    if !is_root() {
        return;
    }
    let world = World::new("wj", 238, "");
    sh(
        "for p in a b; do ip link set wj-v$p mtu 9000 gso_max_segs 1; ip -n wj-$p link set wj-p$p mtu 9000 gso_max_segs 1; done",
    );
    let agent = Agent::start(settings(&["wj-v*"])).await;
    let interfaces = ["wj-va", "wj-vb"];
    let before = statistics_of(&interfaces);
    let server = world.within("b", "jumbo-server");
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "jumbo")).await;
    finished(server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let passed = gained(&before, &interfaces);
    let seen = agent.stop().await;

    assert_eq!(published(&seen, |_| true), passed);
    // Of 8980 bytes after the headers; fragments but the last carry multiples of 8.
    let datagrams = published(&seen, |s| s.protocol == 17)[&("wj-vb".to_owned(), End::Destination)];
    let fragments = [1, 1, 1, 2, 5_u64];
    let bytes: usize = JUMBO.iter().map(|size| size + 8).sum();
    assert_eq!(datagrams, (fragments.iter().sum(), u64::try_from(bytes).unwrap() + 20 * fragments.iter().sum::<u64>()));
    let (segments, bytes) = published(&seen, |s| s.protocol == 6)[&("wj-vb".to_owned(), End::Destination)];
    assert!(bytes / segments > 8_000, "{bytes} B in {segments} segments are no jumbo packets");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_leads_to_another_pod_and_back_to_the_same_by_iptables_as_by_nft() {
    if !is_root() {
        return;
    }
    let has_iptables = Command::new("iptables").arg("--version").output().is_ok_and(|output| output.status.success());
    let cleanup = "nft delete table ip ws-service; iptables -t nat -D PREROUTING -d 10.243.96.1 -p tcp --dport 80 -j DNAT --to-destination 10.243.2.2:7000";
    let world = World::new("ws", 243, cleanup);
    // Interfaces count what comes at once as one: nothing does.
    sh("for p in a b; do ip link set ws-v$p gso_max_segs 1; ip -n ws-$p link set ws-p$p gso_max_segs 1; done");
    // Port 80 leads to the other pod, port 81 back to the one that asks, which then sees the host as its peer.
    let by_nft = if has_iptables {
        sh("iptables -t nat -A PREROUTING -d 10.243.96.1 -p tcp --dport 80 -j DNAT --to-destination 10.243.2.2:7000");
        ""
    } else {
        eprintln!("no iptables here: by nft alone");
        "ip daddr 10.243.96.1 tcp dport 80 dnat to 10.243.2.2:7000;"
    };
    sh(&format!(
        "nft 'table ip ws-service {{
           chain pre {{ type nat hook prerouting priority -100; {by_nft} ip daddr 10.243.96.1 tcp dport 81 dnat to 10.243.1.2:7000; }};
           chain post {{ type nat hook postrouting priority 100; ip saddr 10.243.1.2 ip daddr 10.243.1.2 masquerade; }}; }}'"
    )
    .replace("hook prerouting", "hook prerouting"));
    let agent = Agent::start(settings(&["ws-v*"])).await;
    let interfaces = ["ws-va", "ws-vb"];
    let before = statistics_of(&interfaces);
    let servers = [world.within("b", "service"), world.within("a", "service")];
    tokio::time::sleep(Duration::from_millis(500)).await;
    finished(world.within("a", "to-service")).await;
    for server in servers {
        finished(server).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let passed = gained(&before, &interfaces);
    let seen = agent.stop().await;

    assert_eq!(published(&seen, |_| true), passed);
    let mut starts = BTreeMap::new();
    for s in seen.samples().filter(|s| s.point == Point::Pod && s.protocol == 6 && s.started > 0) {
        let other = s.translated.unwrap_or_else(|| panic!("not known as translated: {s:?}"));
        let shown = (s.source.to_string(), s.destination.to_string(), s.destination_port);
        let hidden = (other.source.to_string(), other.destination.to_string(), other.destination_port);
        starts.insert((s.interface.as_str(), s.end, shown, hidden), s.started);
    }
    let tuple = |source: &str, destination: &str, port| (source.to_owned(), destination.to_owned(), port);
    let client = "10.243.1.2";
    let to_other = (tuple(client, "10.243.96.1", 80), tuple(client, "10.243.2.2", 7_000));
    let hairpin = (tuple(client, "10.243.96.1", 81), tuple("10.243.1.1", client, 7_000));
    let expected = BTreeMap::from([
        (("ws-va", End::Source, to_other.0.clone(), to_other.1.clone()), 1),
        (("ws-vb", End::Destination, to_other.1, to_other.0), 1),
        (("ws-va", End::Source, hairpin.0.clone(), hairpin.1.clone()), 1),
        (("ws-va", End::Destination, hairpin.1, hairpin.0), 1),
    ]);
    assert_eq!(starts, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_drops_redirects_and_rewrites_is_counted_as_it_came() {
    if !is_root() {
        return;
    }
    let world = World::new("wz", 244, "");
    let index: u32 = std::fs::read_to_string("/sys/class/net/wz-vb/ifindex").unwrap().trim().parse().unwrap();
    let object = include_bytes!("support/beside.bpf.o");
    let mut beside = aya::EbpfLoader::new().override_global("beside_interface", &index, true).load(object).unwrap();
    let program: &mut SchedClassifier = beside.program_mut("beside").unwrap().try_into().unwrap();
    program.load().unwrap();
    // It is there first; the agent goes before it all the same.
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    program.attach_with_options("wz-va", TcAttachType::Ingress, first).unwrap();
    let agent = Agent::start(settings(&["wz-v*"])).await;
    let interfaces = ["wz-va", "wz-vb"];
    let before = statistics_of(&interfaces);
    finished(world.within("a", "ports")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let passed = gained(&before, &interfaces);
    let seen = agent.stop().await;

    assert_eq!(published(&seen, |_| true), passed);
    let at = |interface: &str, end: End, port: u16| {
        let wanted = |s: &Sample| s.protocol == 17 && s.destination_port == port && s.interface == interface;
        published(&seen, wanted).get(&(interface.to_owned(), end)).copied().unwrap_or_default()
    };
    let arrived = [7_000, 7_001, 7_002, 7_003, 7_004].map(|port| at("wz-vb", End::Destination, port).0);
    for port in 7_000..=7_003 {
        assert_eq!(at("wz-va", End::Source, port), (10, 1_000), "as the pod sent it to {port}");
    }
    // What was redirected left by the other pod's interface, what was rewritten has another port there.
    assert_eq!(arrived, [10, 0, 10, 0, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ip_in_ip_counts_inside_and_its_outside_apart() {
    if !is_root() {
        return;
    }
    let has = Command::new("bash")
        .args([
            "-c",
            "modprobe -q ipip; ip link add wi-t type ipip local 10.245.2.1 remote 10.245.2.2 && ip link del wi-t",
        ])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this kernel has no IPIP devices");
        return;
    }
    let world = World::new("wi", 245, "ip link del wi-t");
    sh("ip link add wi-t type ipip local 10.245.2.1 remote 10.245.2.2
        ip addr add 10.245.70.1/24 dev wi-t; ip link set wi-t up");
    let agent = Agent::start(settings(&["wi-t", "wi-va", "wi-vb"])).await;
    let sent = counter("wi-t", "tx_packets");
    finished(world.within("a", "tunnelled")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sent = counter("wi-t", "tx_packets") - sent;
    let seen = agent.stop().await;
    let sum = |wanted: &dyn Fn(&Sample) -> bool| {
        seen.samples().filter(|s| wanted(s)).fold((0, 0), |sum, s| (sum.0 + s.packets, sum.1 + s.bytes))
    };
    assert_eq!(sent, 10);
    assert_eq!(sum(&|s| s.interface == "wi-t" && s.destination_port == 7_000), (10, 1_000), "inside");
    assert_eq!(sum(&|s| s.interface == "wi-va" && s.destination_port == 7_000), (10, 1_000), "from the pod");
    assert_eq!(sum(&|s| s.protocol == 4), (10, 1_200), "outside");
}

#[tokio::test(flavor = "multi_thread")]
async fn ip_in_ip_that_a_program_makes_where_there_is_no_device_is_the_underlays() {
    if !is_root() {
        return;
    }
    let world = World::new("wi", 245, "ip link del wi-h0");
    sh("ip link add wi-h0 type veth peer name wi-h1
        for i in wi-h0 wi-h1; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; ip link set $i up; done
        ip addr add 10.245.9.1/24 dev wi-h0
        ip neigh replace 10.245.9.9 lladdr 02:00:00:f5:09:09 dev wi-h0 nud permanent
        ip route add 10.245.70.0/24 via 10.245.9.9");
    let agent = Agent::start(settings(&["wi-h*", "wi-va", "wi-vb"])).await;
    let mut tunnel = aya::Ebpf::load(include_bytes!("support/beside.bpf.o")).unwrap();
    let program: &mut SchedClassifier = tunnel.program_mut("encapsulate").unwrap().try_into().unwrap();
    program.load().unwrap();
    // After the agent, as a tunnel's device is behind the interface whose packets it takes.
    let last = TcAttachOptions::TcxOrder(LinkOrder::last());
    program.attach_with_options("wi-h0", TcAttachType::Egress, last).unwrap();
    let before = statistics_of(&["wi-va", "wi-h1"]);
    finished(world.within("a", "tunnelled")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let passed = gained(&before, &["wi-va", "wi-h1"]);
    let seen = agent.stop().await;
    let sum = |point: Point, interface: &str, protocol: u8| {
        let wanted = |s: &&Sample| (s.point, s.interface.as_str(), s.protocol) == (point, interface, protocol);
        seen.samples().filter(wanted).fold((0, 0), |sum, s| (sum.0 + s.packets, sum.1 + s.bytes))
    };
    assert_eq!(sum(Point::Pod, "wi-va", 17), (10, 1_000), "from the pod");
    assert_eq!(sum(Point::Pod, "wi-va", 17), passed[&("wi-va".to_owned(), End::Source)]);
    assert_eq!(sum(Point::Transit, "wi-h0", 17), (10, 1_000), "inside, as it goes into the tunnel");
    // What comes out of one end of a pair comes into the other.
    assert_eq!(sum(Point::Underlay, "wi-h1", 4), (10, 1_200), "outside");
    assert_eq!(sum(Point::Underlay, "wi-h1", 4), passed[&("wi-h1".to_owned(), End::Source)]);
    assert_eq!(seen.samples().filter(|s| s.point == Point::Underlay).map(|s| s.packets).sum::<u64>(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_tries_and_its_own_policy_drops_before_any_interface_is_an_attempt() {
    if !is_root() {
        return;
    }
    let _world = World::new("wo", 237, "nft delete table ip wo-out");
    sh(
        "nft 'table ip wo-out { chain out { type filter hook output priority 0; meta l4proto { tcp, udp } th dport 7788 drop; }; }'",
    );
    // All interfaces, since where some are left out a drop that no flow tells of may be theirs.
    let agent = Agent::start(settings(&[])).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let to = "10.237.2.2:7788".parse().unwrap();
    let tried = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Refused at once, as the kernel tells the sender of a datagram that was dropped.
        (0..3).for_each(|_| assert!(socket.send_to(&[7; 72], to).is_err()));
        // Sent, and sent again after a second.
        TcpStream::connect_timeout(&to, Duration::from_millis(1_500))
    });
    assert!(tried.await.unwrap().is_err());
    let seen = agent.stop().await;
    for (protocol, packets) in [(6, 2), (17, 3)] {
        let all: Vec<&Sample> =
            seen.samples().filter(|s| s.protocol == protocol && s.destination_port == 7_788).collect();
        assert!(all.iter().all(|s| (s.point, s.end, s.packets) == (Point::Host, End::Source, 0)), "{all:?}");
        assert!(all.iter().all(|s| s.opened_by == OpenedBy::Source && s.opened_at.is_some()), "{all:?}");
        assert_eq!(all.iter().flat_map(|s| &s.drops).map(|drop| drop.packets).sum::<u64>(), packets);
        assert_eq!(all.iter().map(|s| s.started).sum::<u64>(), 1, "{all:?}");
    }
}
