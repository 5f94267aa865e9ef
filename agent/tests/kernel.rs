//! The kernel programs on the running kernel. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests")]

#[path = "support/packets.rs"]
mod packets;

use aya::util::KernelVersion;
use etherparse::IpNumber;
use packets::{ethernet, fixtures, mutated};
use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use weir_agent::abi;
use weir_agent::ebpf::links::Selection;
use weir_agent::ebpf::{Capture, Options, run::flip};
use weir_agent::packet::{LinkType, Unread, read};

fn capture(include: &str) -> Option<Capture> {
    if !std::fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t0") {
        eprintln!("skipped: needs root");
        return None;
    }
    let selection = Selection { include: vec![include.to_owned()], exclude: Vec::new() };
    Some(Capture::load(Options::new(selection, 4096, 4096)).unwrap())
}

/// What is missing although this kernel has it: reasons of drops from Linux 5.17 on, a table from 5.13 on.
fn missed(capture: &Capture) -> Vec<&str> {
    let is_before = |minor| KernelVersion::current().unwrap() < KernelVersion::new(5, minor, 0);
    let is_expected = |what: &str| {
        (is_before(17) && what.starts_with("why packets are dropped"))
            || (is_before(13) && what.starts_with("a table of flows"))
    };
    capture.missing().iter().map(|missing| missing.what.as_str()).filter(|what| !is_expected(what)).collect()
}

/// One with a table in front of the map of flows, and one with the map alone.
fn both_kinds() -> Option<[Capture; 2]> {
    let with = capture("wa-none")?;
    assert!(missed(&with).is_empty(), "{:?}", with.missing());
    let selection = Selection { include: vec!["wa-none".to_owned()], exclude: Vec::new() };
    let without = Capture::load(Options { table: false, ..Options::new(selection, 4096, 4096) }).unwrap();
    Some([with, without])
}

#[test]
fn loopback_is_counted() {
    let Some(mut capture) = capture("lo") else { return };
    assert!(missed(&capture).is_empty(), "{:?}", capture.missing());
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    assert!(capture.rescan().unwrap().is_empty());
    let a = UdpSocket::bind("127.0.0.1:0").unwrap();
    let b = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        a.send_to(&[0; 72], b.local_addr().unwrap()).unwrap();
    }
    let drained = flip(&mut capture, &mut active).unwrap();
    let port = a.local_addr().unwrap().port();
    let ours: Vec<_> = drained.flows.iter().filter(|(key, _)| key.source_port == port).collect();
    assert_eq!(ours.len(), 2);
    for (_, flow) in ours {
        assert_eq!((flow.packets, flow.bytes, flow.started), (10, 1000, 1));
    }
}

#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_one_packet() {
    let Some(mut capture) = capture("wa-none") else { return };
    capture.set_boundary(u64::MAX, 0);
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1234, 80, 1, 1000)
        .ack(5);
    let mut packet = Vec::new();
    builder.write(&mut packet, &[0; 26]).unwrap();
    let mut other = packet.clone();
    other[12..14].copy_from_slice(&[8, 6]);
    let mut broken = packet.clone();
    broken[14] = 0x42;
    for (name, packet) in [("not IP", other), ("broken", broken), ("tcp", packet)] {
        for program in ["weir_pod_in", "weir_host_in", "weir_host_out", "weir_lo_in"] {
            let best = (0..11).map(|_| capture.test_run(program, &packet, None, 1_000_000).unwrap().1).min().unwrap();
            eprintln!("{program}, {name}: {best:?} a packet");
        }
    }
}

type Sums = BTreeMap<(IpAddr, IpAddr, u16, u16, u8), (u64, u64, u32)>;

/// What the user space reading makes of packets, and how many it refuses: not IP, broken.
fn reference(packets: &[Vec<u8>]) -> (Sums, u64, u64) {
    let (mut sums, mut not_ip, mut broken) = (Sums::new(), 0, 0);
    for packet in packets {
        match read(LinkType::Ethernet, packet, u64::try_from(packet.len()).unwrap()) {
            Ok(p) => {
                let key = (p.source.ip(), p.destination.ip(), p.source_port, p.destination_port, p.protocol);
                let sum = sums.entry(key).or_default();
                *sum = (sum.0 + 1, sum.1 + p.bytes, sum.2 | u32::from(p.flags));
            }
            Err(Unread::NotIp) => not_ip += 1,
            Err(Unread::Broken { .. }) => broken += 1,
        }
    }
    (sums, not_ip, broken)
}

fn kernel(capture: &mut Capture, program: &str, packets: &[Vec<u8>]) -> (Sums, u64, u64) {
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    for packet in packets {
        assert_eq!(capture.test_run(program, packet, None, 1).unwrap().0, u32::MAX, "the verdict is left to others");
    }
    let drained = flip(capture, &mut active).unwrap();
    let address = |bytes| std::net::Ipv6Addr::from(bytes);
    let mut sums = Sums::new();
    for (key, flow) in &drained.flows {
        let ends = (address(key.source), address(key.destination));
        let key = (
            IpAddr::V6(ends.0).to_canonical(),
            IpAddr::V6(ends.1).to_canonical(),
            key.source_port,
            key.destination_port,
            key.protocol,
        );
        sums.insert(key, (flow.packets, flow.bytes, flow.tcp_flags));
    }
    let lost =
        |name: &str| drained.counters[abi::COUNTER_NAMES.iter().position(|counter| *counter == name).unwrap()].packets;
    assert_eq!(lost("seen"), sums.values().map(|sum| sum.0).sum::<u64>() + lost("parse"));
    (sums, lost("not_ip"), lost("parse"))
}

#[test]
fn the_kernel_reads_packets_as_user_space_does() {
    let Some(mut kinds) = both_kinds() else { return };
    let packets = fixtures();
    for program in ["weir_pod_in", "weir_pod_out", "weir_host_in", "weir_host_out", "weir_lo_in", "weir_lo_out"] {
        for capture in &mut kinds {
            assert_eq!(kernel(capture, program, &packets), reference(&packets), "{program}");
        }
    }
}

#[test]
fn damaged_and_cut_packets_are_read_alike_too() {
    let Some(mut kinds) = both_kinds() else { return };
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (wanted, seed) = (number("WEIR_TEST_PACKETS", 20_000), number("WEIR_TEST_SEED", 20_261_122));
    // A fixed sequence of pseudo-random numbers (Knuth's MMIX), so that a failure repeats.
    let mut state = seed;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let fixtures = fixtures();
    let (mut compared, mut flows, mut not_ip, mut broken) = (0, 0, 0, 0);
    while compared < wanted {
        // Few enough for all flows of a part to fit into the map.
        let part: Vec<Vec<u8>> = (0..PART)
            .map(|_| mutated(&fixtures[random(fixtures.len())], &mut random))
            // The test facility itself refuses frames that are cut inside the network header.
            .filter(|packet| packet.len() >= if packet[12..14] == [0x86, 0xdd] { 54 } else { 34 })
            .collect();
        let program = ["weir_pod_in", "weir_pod_out", "weir_lo_in"][random(3)];
        let (of_kernel, of_reference) = (kernel(&mut kinds[random(2)], program, &part), reference(&part));
        assert_eq!(of_kernel, of_reference, "{program}, after {compared} packets, WEIR_TEST_SEED={seed}");
        compared += u64::try_from(part.len()).unwrap();
        flows += of_reference.0.len();
        not_ip += of_reference.1;
        broken += of_reference.2;
    }
    println!("packets: {compared} read alike, WEIR_TEST_SEED={seed}, {flows} flows, {not_ip} not IP, {broken} broken");
    assert!(not_ip * 20 > compared && broken * 20 > compared, "the damage does no harm");
    assert!((not_ip + broken) * 2 < compared, "hardly a packet is read");
}

/// Mutated packets that are compared at once.
const PART: u32 = 3_000;

#[test]
fn super_packets_count_as_their_segments() {
    let Some(mut capture) = capture("wa-none") else { return };
    let mut packet = Vec::new();
    ethernet().ipv4([10, 9, 1, 1], [10, 9, 1, 2], 64).tcp(1, 2, 1, 9).ack(1).write(&mut packet, &[0; 3_500]).unwrap();
    // struct __sk_buff: gso_segs at 164, gso_size at 176.
    let mut context = [0_u8; 192];
    context[164..168].copy_from_slice(&4_u32.to_ne_bytes());
    context[176..180].copy_from_slice(&1_000_u32.to_ne_bytes());
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    capture.test_run("weir_pod_in", &packet, Some(&context), 1).unwrap();
    let drained = flip(&mut capture, &mut active).unwrap();
    let flow = drained.flows[0].1;
    assert_eq!((flow.packets, flow.bytes), (4, 3_500 + 4 * 40));
}

#[test]
fn a_repeated_syn_is_no_second_connection_and_ends_count_once_per_reporter() {
    let Some(mut capture) = capture("wa-none") else { return };
    let packet = |forth: bool, sequence: u32, flags: &str| {
        let (a, b) = if forth { (5, 6) } else { (6, 5) };
        let ports = if forth { (4_000, 80) } else { (80, 4_000) };
        let mut step = ethernet().ipv4([10, 9, 2, a], [10, 9, 2, b], 64).tcp(ports.0, ports.1, sequence, 9);
        for flag in flags.chars() {
            step = match flag {
                's' => step.syn(),
                'a' => step.ack(1),
                _ => step.fin(),
            };
        }
        let mut data = Vec::new();
        step.write(&mut data, &[]).unwrap();
        data
    };
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    let packets = [(true, 1, "s"), (true, 1, "s"), (false, 5, "sa"), (true, 2, "a"), (true, 2, "fa"), (false, 6, "fa")];
    for (forth, sequence, flags) in packets {
        // The same packets pass both pods' interfaces.
        let (first, second) = ("weir_pod_in", "weir_pod_out");
        for program in [first, second] {
            capture.test_run(program, &packet(forth, sequence, flags), None, 1).unwrap();
        }
    }
    let drained = flip(&mut capture, &mut active).unwrap();
    assert_eq!(drained.flows.len(), 4);
    let sum = |wanted: &dyn Fn(&abi::Key) -> bool, of: fn(&abi::Flow) -> u32| -> u32 {
        drained.flows.iter().filter(|(key, _)| wanted(key)).map(|(_, flow)| of(flow)).sum()
    };
    for hook in [abi::HOOK_POD_IN, abi::HOOK_POD_OUT] {
        let forth = |key: &abi::Key| key.hook == hook && key.source_port == 4_000;
        assert_eq!(sum(&forth, |flow| flow.started), 1);
    }
    assert_eq!(sum(&|_| true, |flow| flow.started), 2);
    assert_eq!(sum(&|_| true, |flow| flow.ended), 2);
    for (key, flow) in &drained.flows {
        assert_eq!(flow.opener, if key.source_port == 4_000 { abi::OPENER_SOURCE } else { abi::OPENER_DESTINATION });
    }
    // The port is used again: another connection.
    capture.test_run("weir_pod_in", &packet(true, 999, "s"), None, 1).unwrap();
    let again = flip(&mut capture, &mut active).unwrap();
    assert_eq!(again.flows[0].1.started, 1);
}

/// What a counter gained.
fn counted(drained: &weir_agent::ebpf::capture::Drained, name: &str) -> abi::Count {
    drained.counters[abi::COUNTER_NAMES.iter().position(|counter| *counter == name).unwrap()]
}

#[test]
fn a_filling_map_loses_ports_then_hosts_then_flows_and_says_so() {
    let Some(_) = capture("wa-none") else { return };
    for table in [true, false] {
        let selection = Selection { include: vec!["wa-none".to_owned()], exclude: Vec::new() };
        fill(Capture::load(Options { table, ..Options::new(selection, 800, 4096) }).unwrap());
    }
}

fn fill(mut capture: Capture) {
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    let mut send = |network: u8, host: u8, port: u16| {
        let mut packet = Vec::new();
        let step = ethernet().ipv4([10, network, 3, host], [10, 9, 3, 2], 64).tcp(port, 80, 1, 9).syn();
        step.write(&mut packet, &[0; 60]).unwrap();
        capture.test_run("weir_pod_in", &packet, None, 1).unwrap();
    };
    // 800 as they are; 100 hosts without ports; 100 networks; nothing for the rest.
    (0..800).for_each(|port| send(1, 1, 1_000 + port));
    (1..=100).for_each(|host| (0..3).for_each(|port| send(2, host, 1_000 + port)));
    (101..=200).for_each(|host| send(2, host, 1));
    (3..=110).for_each(|network| send(network, 1, 1));
    let drained = flip(&mut capture, &mut active).unwrap();
    let all: Vec<(u8, u64)> = drained.flows.iter().map(|(key, flow)| (key.coarsened, flow.packets)).collect();
    let of = |level: u8| all.iter().filter(|(l, _)| *l == level).fold((0, 0), |(n, p), (_, more)| (n + 1, p + more));
    let (exact, ports, prefixes) = (of(abi::COARSENED_NOT), of(abi::COARSENED_PORT), of(abi::COARSENED_PREFIX));
    assert_eq!(exact, (800, 800));
    assert_eq!(ports, (100, 300));
    let (networks, _) = prefixes;
    assert_eq!(networks, 100, "a quarter more than the limit, and no more");
    let full = counted(&drained, "map_full");
    assert_eq!(counted(&drained, "coarse_port").packets, ports.1);
    assert_eq!(counted(&drained, "coarse_prefix").packets, prefixes.1);
    assert!(full.packets > 0);
    assert_eq!(full.bytes, full.packets * 100);
    assert_eq!(exact.1 + ports.1 + prefixes.1 + full.packets, counted(&drained, "seen").packets);
    for (key, flow) in &drained.flows {
        match key.coarsened {
            abi::COARSENED_NOT => {}
            abi::COARSENED_PORT => assert_eq!((key.source_port, key.destination_port, flow.started), (0, 80, 3)),
            _ => assert_eq!((key.source[15], key.destination[15], key.source_port), (0, 0, 0)),
        }
    }
    // The next tick begins with an empty map.
    assert_eq!(capture.fill(0), 0);
}

#[test]
fn tunnels_that_cannot_be_made_here_are_known_by_their_headers() {
    let Some(_) = capture("wa-none") else { return };
    let selection = Selection { include: vec!["wa-none".to_owned()], exclude: Vec::new() };
    let options =
        Options { tunnel_ports: vec![6_081], wireguard_ports: vec![51_820], ..Options::new(selection, 1024, 1024) };
    let mut capture = Capture::load(options).unwrap();
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    let udp = |from: u16, to: u16, body: &[u8]| {
        let mut packet = Vec::new();
        ethernet().ipv4([10, 9, 5, 1], [10, 9, 5, 2], 64).udp(from, to).write(&mut packet, body).unwrap();
        packet
    };
    let inside = |protocol: u8, last: u8| {
        let mut packet = Vec::new();
        let body = [&[0, 9, 0, 10][..], &[0; 40]].concat();
        ethernet().ipv4([10, 9, 5, 1], [10, 9, 5, last], 64).write(&mut packet, IpNumber(protocol), &body).unwrap();
        packet
    };
    for (protocol, last, tunnel) in [(4, 9, true), (41, 10, true), (47, 11, false)] {
        capture.test_run("weir_host_in", &inside(protocol, last), None, 1).unwrap();
        let drained = flip(&mut capture, &mut active).unwrap();
        assert_eq!(drained.flows[0].1.flags & abi::FLOW_UNDERLAY != 0, tunnel, "protocol {protocol}");
    }
    let cases = [
        (udp(1, 6_081, &[0; 8]), true),                // Geneve
        (udp(6_081, 2, &[0; 8]), false),               // a tunnel's packets are known by their destination
        (udp(3, 51_820, &[4, 0, 0, 0, 1, 1]), true),   // WireGuard's data
        (udp(51_820, 4, &[1, 0, 0, 0, 1, 1]), true),   // and its first message, to a port of the peer's choice
        (udp(5, 51_820, &[5, 0, 0, 0, 1, 1]), false),  // no such message
        (udp(51_820, 53, &[1, 0, 1, 0, 0, 1]), false), // a client that happens to ask from there
        (udp(51_820, 7, &[4, 0]), false),              // too short to be one
    ];
    for (packet, _) in &cases {
        capture.test_run("weir_host_out", packet, None, 1).unwrap();
        capture.test_run("weir_pod_in", packet, None, 1).unwrap();
    }
    let drained = flip(&mut capture, &mut active).unwrap();
    for (packet, tunnel) in &cases {
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        for (key, flow) in &drained.flows {
            if (key.source_port, key.destination_port) == (port(34), port(36)) {
                // Pods' tunnels are the pods' own.
                let expected = *tunnel && key.hook == abi::HOOK_HOST_OUT;
                assert_eq!(flow.flags & abi::FLOW_UNDERLAY != 0, expected, "{key:?}");
            }
        }
    }
    assert_eq!(drained.flows.len(), 2 * cases.len());
}

#[test]
fn resets_closed_windows_and_handshakes_are_counted() {
    let Some(mut capture) = capture("wa-none") else { return };
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    let send = |capture: &mut Capture, program: &str, forth: bool, window: u16, flags: &str| {
        let (from, to) = if forth { ((7, 4_000), (8, 80)) } else { ((8, 80), (7, 4_000)) };
        let mut step = ethernet().ipv4([10, 9, 6, from.0], [10, 9, 6, to.0], 64).tcp(from.1, to.1, 1, window);
        for flag in flags.chars() {
            step = match flag {
                's' => step.syn(),
                'a' => step.ack(1),
                _ => step.rst(),
            };
        }
        let mut packet = Vec::new();
        step.write(&mut packet, &[]).unwrap();
        capture.test_run(program, &packet, None, 1).unwrap();
    };
    // A client behind one interface and a server behind another: the client's handshake takes longer.
    send(&mut capture, "weir_pod_in", true, 0, "s");
    std::thread::sleep(std::time::Duration::from_millis(20));
    send(&mut capture, "weir_pod_out", true, 0, "s");
    send(&mut capture, "weir_pod_in", false, 0, "sa");
    send(&mut capture, "weir_pod_out", false, 0, "sa");
    send(&mut capture, "weir_pod_out", false, 0, "sa");
    for (window, flags) in [(0, "a"), (5, "a"), (0, "a"), (0, "ra"), (5, "r")] {
        send(&mut capture, "weir_pod_in", true, window, flags);
    }
    let drained = flip(&mut capture, &mut active).unwrap();
    let flow = |hook: u8, port: u16| {
        drained.flows.iter().find(|(key, _)| key.hook == hook && key.source_port == port).unwrap().1
    };
    let sent = flow(abi::HOOK_POD_IN, 4_000);
    assert_eq!((sent.zero_windows, sent.resets), (2, 2), "neither SYN nor RST announce a window");
    let (client, server) = (flow(abi::HOOK_POD_OUT, 80).handshake, flow(abi::HOOK_POD_IN, 80).handshake);
    assert_eq!((client.count, server.count), (1, 1), "a SYN-ACK sent again is no second handshake");
    assert!(client.min >= 20_000 && server.max < client.min, "{client:?} {server:?}");
}

#[test]
fn the_doctor_says_what_each_set_of_capabilities_allows() {
    let Some(_) = capture("wa-none") else { return };
    let doctor = |capabilities: &str| {
        let sets = ["--bounding-set", "--inh-caps", "--ambient-caps"];
        let output = std::process::Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(sets.iter().flat_map(|set| [(*set).to_owned(), format!("-all{capabilities}")]))
            .args([env!("CARGO_BIN_EXE_weir-agent"), "--doctor"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let works = |name: &str| {
            let line = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            line.starts_with("yes")
        };
        [
            "connections",
            "DNS",
            "dropped",
            "round-trip",
            "retransmissions",
            "both sides of translated",
            "translations that",
            "pods and containers",
        ]
        .map(works)
    };
    let (yes, no) = (true, false);
    assert_eq!(doctor(""), [no; 8]);
    assert_eq!(doctor(",+bpf"), [no; 8]);
    assert_eq!(doctor(",+net_admin"), [no, no, no, no, no, yes, no, no]);
    assert_eq!(doctor(",+bpf,+net_admin"), [yes, yes, no, no, no, yes, no, no]);
    assert_eq!(doctor(",+bpf,+net_admin,+perfmon"), [yes, yes, yes, yes, yes, yes, yes, no]);
    assert_eq!(doctor(",+bpf,+net_admin,+perfmon,+sys_ptrace"), [yes; 8]);
}

#[test]
fn what_is_not_needed_is_given_up_before_anything_else() {
    let Some(_) = capture("wa-none") else { return };
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir-agent")).arg("--doctor").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let held = text.lines().find_map(|line| line.strip_prefix("capabilities: ")).unwrap_or_else(|| panic!("{text}"));
    let held: std::collections::BTreeSet<&str> = held.split(", ").collect();
    let expected = ["CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_PTRACE"];
    assert_eq!(held, expected.into_iter().collect());
}

#[test]
fn the_base_capture_needs_no_more_than_two_capabilities() {
    let Some(_) = capture("wa-none") else { return };
    let probe = |capabilities: &str| {
        let sets = ["--bounding-set", "--inh-caps", "--ambient-caps"];
        let output = std::process::Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(sets.iter().flat_map(|set| [(*set).to_owned(), format!("-all{capabilities}")]))
            .args([env!("CARGO_BIN_EXE_weir-agent"), "--probe"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let base = probe(",+bpf,+net_admin");
    assert!(
        base.contains("connections of the host") && base.contains("not captured: why packets are dropped"),
        "{base}"
    );
    let none = probe("");
    assert!(none.contains("no CAP_NET_ADMIN, CAP_BPF") && none.contains("setcap"), "{none}");
}

/// A payload as the kernel programs hand it on.
fn handed_on(capture: &mut Capture) -> Vec<abi::Message> {
    let mut all = Vec::new();
    capture.messages(|message| all.push(message));
    all
}

#[test]
fn payloads_of_dns_ports_are_handed_on_whole_and_others_are_not() {
    let Some(_) = capture("wa-none") else { return };
    let selection = Selection { include: vec!["wa-none".to_owned()], exclude: Vec::new() };
    let options = Options { dns_ports: vec![53, 5_353], ..Options::new(selection, 1024, 1024) };
    let mut capture = Capture::load(options).unwrap();
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    let payload = |length: usize| (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<u8>>();
    for (from, to, length) in [(1, 53, 1), (53, 1, 256), (2, 5_353, 257), (3, 53, 1_472), (4, 53, 3_000), (5, 54, 80)] {
        let mut packet = Vec::new();
        ethernet().ipv4([10, 9, 4, 1], [10, 9, 4, 2], 64).udp(from, to).write(&mut packet, &payload(length)).unwrap();
        // Twice: the first packet of a flow takes another way than the second.
        for _ in 0..2 {
            capture.test_run("weir_pod_in", &packet, None, 1).unwrap();
        }
    }
    let mut tcp = Vec::new();
    let step = ethernet().ipv6([1; 16], [2; 16], 64).tcp(6, 53, 1, 9).ack(1);
    step.options_raw(&[1; 12]).unwrap().write(&mut tcp, &payload(30)).unwrap();
    capture.test_run("weir_pod_in", &tcp, None, 1).unwrap();
    // Without a payload there is nothing to hand on.
    let mut empty = Vec::new();
    ethernet().ipv6([1; 16], [2; 16], 64).tcp(6, 53, 1, 9).ack(1).write(&mut empty, &[]).unwrap();
    capture.test_run("weir_pod_in", &empty, None, 1).unwrap();
    // The host's interfaces hand on what the host itself sends.
    capture.test_run("weir_host_out", &tcp, None, 1).unwrap();

    let messages = handed_on(&mut capture);
    let read: Vec<_> = messages.iter().map(|m| (m.key.source_port, m.length, m.payload.len())).collect();
    let twice = [(1, 1, 1), (53, 256, 256), (2, 257, 257), (3, 1_472, 1_472), (4, 3_000, 1_472)];
    let expected = twice.into_iter().flat_map(|one| [one; 2]).chain([(6, 30, 30); 2]).collect::<Vec<_>>();
    assert_eq!(read, expected);
    for message in &messages {
        assert_eq!(message.payload, payload(message.payload.len()));
        assert!(message.time > 0);
    }
    assert_eq!(messages[11].flags & abi::FLOW_HOST, abi::FLOW_HOST);
    let drained = flip(&mut capture, &mut active).unwrap();
    let counted = |name: &str| counted(&drained, name).packets;
    assert_eq!((counted("dns_seen"), counted("dns_full")), (12, 0));
}

#[test]
fn a_full_ring_of_payloads_is_counted() {
    let Some(_) = capture("wa-none") else { return };
    let selection = Selection { include: vec!["wa-none".to_owned()], exclude: Vec::new() };
    let mut capture = Capture::load(Options { dns_ports: vec![53], ..Options::new(selection, 1024, 1024) }).unwrap();
    let mut active = 0;
    capture.set_boundary(u64::MAX, active);
    let mut packet = Vec::new();
    ethernet().ipv4([10, 9, 4, 1], [10, 9, 4, 2], 64).udp(1, 53).write(&mut packet, &[7; 1_400]).unwrap();
    capture.test_run("weir_pod_in", &packet, None, 10_000).unwrap();
    let read = u64::try_from(handed_on(&mut capture).len()).unwrap();
    let drained = flip(&mut capture, &mut active).unwrap();
    let counted = |name: &str| counted(&drained, name).packets;
    assert!((2_000..10_000).contains(&read), "4 MiB hold some thousand payloads: {read}");
    assert_eq!((counted("dns_seen"), counted("dns_full")), (10_000, 10_000 - read));
}
