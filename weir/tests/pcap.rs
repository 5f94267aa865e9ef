//! `weir flows --source pcap:FILE`: the flows of capture files, with nothing else running. Their sums are those that the capture was
//! made of and those that softflowd, nfcapd and nfdump find in it; says so where those are not installed.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Source and its port, destination and its port, protocol. ICMP has no ports here: everybody writes its types in another way.
type Key = (IpAddr, u16, IpAddr, u16, u8);
/// Packets and bytes.
type Sums = BTreeMap<Key, (u64, u64)>;

const START: u32 = 1_760_000_000;

fn add(sums: &mut Sums, key: Key, packets: u64, bytes: u64) {
    let sum = sums.entry(key).or_default();
    *sum = (sum.0 + packets, sum.1 + bytes);
}

/// A capture file as it is written, and what is in it.
struct Made {
    file: Vec<u8>,
    sums: Sums,
    packets: u32,
}

impl Made {
    fn new() -> Self {
        let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        file.extend([2_u16, 4].map(u16::to_le_bytes).concat());
        // No time zone, no accuracy, whole packets, Ethernet.
        file.extend([0_u32, 0, 65_535, 1].map(u32::to_le_bytes).concat());
        Self { file, sums: Sums::new(), packets: 0 }
    }

    /// A packet 3 ms after the one before.
    fn put(&mut self, (source, destination): (IpAddr, IpAddr), protocol: u8, payload: &[u8]) {
        let mut packet = vec![2; 12];
        let length = u16::try_from(payload.len()).unwrap();
        match (source, destination) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                packet.extend([8, 0, 0x45, 0]);
                packet.extend((length + 20).to_be_bytes());
                packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
                packet.extend([a.octets(), b.octets()].concat());
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                packet.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
                packet.extend(length.to_be_bytes());
                packet.extend([protocol, 64]);
                packet.extend([a.octets(), b.octets()].concat());
            }
            _ => unreachable!("both of one family"),
        }
        packet.extend(payload);
        let micros = self.packets * 3_000;
        let size = u32::try_from(packet.len()).unwrap();
        let header = [START + micros / 1_000_000, micros % 1_000_000, size, size];
        self.file.extend(header.map(u32::to_le_bytes).concat());
        self.file.extend(&packet);
        self.packets += 1;
        let ports = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        let [from, to] = if matches!(protocol, 6 | 17) { [ports(0), ports(2)] } else { [0, 0] };
        add(&mut self.sums, (source, from, destination, to, protocol), 1, u64::from(size) - 14);
    }
}

fn tcp(ports: [u16; 2], flags: u8, payload: usize) -> Vec<u8> {
    let mut segment = ports.map(u16::to_be_bytes).concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment.resize(20 + payload, b'x');
    segment
}

fn udp(ports: [u16; 2], payload: u16) -> Vec<u8> {
    let mut datagram = ports.map(u16::to_be_bytes).concat();
    datagram.extend((8 + payload).to_be_bytes());
    datagram.resize(usize::from(8 + payload), 0);
    datagram
}

/// Twenty seconds of TCP, UDP and ICMP over both families, of sizes and partners that differ; in two files by turns.
fn captures(folder: &Path) -> (Vec<PathBuf>, Sums) {
    let mut made = [Made::new(), Made::new()];
    for number in 0..3_000_u16 {
        let n = number.wrapping_mul(40_503) >> 4;
        let (a, b) = (u8::try_from(n % 7).unwrap(), u8::try_from(n % 5).unwrap());
        let ends: (IpAddr, IpAddr) = if n % 3 == 0 {
            let six = |host| Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0x9abc, 0xdef0, 1, host);
            (six(u16::from(a)).into(), six(u16::from(b) + 16).into())
        } else {
            (Ipv4Addr::new(10, 0, 0, a + 1).into(), Ipv4Addr::new(10, 1, 0, b + 1).into())
        };
        let (ports, back) = ([40_000 + n % 40, 443], (ends.1, ends.0));
        let file = &mut made[usize::from(number % 2)];
        match n % 4 {
            0 | 1 => {
                file.put(ends, 6, &tcp(ports, if number % 50 == 0 { 2 } else { 0x10 }, usize::from(n % 1_300)));
                file.put(back, 6, &tcp([ports[1], ports[0]], 0x10, usize::from(n % 90)));
            }
            2 => file.put(ends, 17, &udp([ports[0], 8_125], n % 700)),
            _ => file.put(
                ends,
                if ends.0.is_ipv4() { 1 } else { 58 },
                &[if ends.0.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 1, 2, 0, 1],
            ),
        }
    }
    let mut sums = Sums::new();
    let files = ["one.pcap", "two.pcap"].map(|name| folder.join(name));
    for (made, file) in made.iter().zip(&files) {
        std::fs::write(file, &made.file).unwrap();
        made.sums.iter().for_each(|(key, (packets, bytes))| add(&mut sums, *key, *packets, *bytes));
    }
    (files.into(), sums)
}

fn flows(files: &[PathBuf], more: &[&str]) -> Output {
    let sources = files.iter().flat_map(|file| ["--source".to_owned(), format!("pcap:{}", file.display())]);
    Command::new(env!("CARGO_BIN_EXE_weir")).arg("flows").args(sources).args(more).output().unwrap()
}

/// What the lines of JSON add up to.
fn sums(output: &Output) -> Sums {
    let mut sums = Sums::new();
    for line in std::str::from_utf8(&output.stdout).unwrap().lines() {
        let flow: Value = serde_json::from_str(line).unwrap();
        assert_eq!(flow["level"], 0, "{line}");
        let end = |name: &str| {
            let port = flow[name]["port"].as_u64().unwrap_or(0);
            (flow[name]["address"].as_str().unwrap().parse().unwrap(), u16::try_from(port).unwrap())
        };
        let (source, destination) = (end("source"), end("destination"));
        let protocol = match flow["protocol"].as_str().unwrap() {
            "tcp" => 6,
            "udp" => 17,
            "icmp" => 1,
            "ipv6-icmp" => 58,
            other => panic!("{other}"),
        };
        let ports = |port| if matches!(protocol, 6 | 17) { port } else { 0 };
        for (direction, from, to) in [("forward", source, destination), ("reverse", destination, source)] {
            let counted = |what: &str| flow["totals"][format!("{direction}_{what}")].as_u64().unwrap();
            if counted("packets") > 0 {
                let key = (from.0, ports(from.1), to.0, ports(to.1), protocol);
                add(&mut sums, key, counted("packets"), counted("bytes"));
            }
        }
    }
    sums
}

/// What `/proc/net/udp` says of a port of this host: nothing, or how many bytes wait there.
fn waiting(port: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let line = table.lines().find(|line| line.contains(&format!("0100007F:{port:04X}")))?;
    let queues = line.split_whitespace().nth(4)?;
    u64::from_str_radix(queues.split_once(':')?.1, 16).ok()
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What softflowd exports of the files and nfdump adds up.
fn nfdump(files: &[PathBuf], folder: &Path) -> Sums {
    let kept = folder.join("netflow");
    std::fs::create_dir(&kept).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut collector = Command::new("nfcapd")
        .args(["-b", "127.0.0.1", "-p", &port.to_string(), "-w"])
        .arg(&kept)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait("nfcapd listening", || waiting(port).is_some());
    for file in files {
        // Without a control socket, at which it may wait for ever once the file is read.
        let exported = Command::new("softflowd")
            .args(["-d", "-a", "-6", "-v", "9", "-m", "100000", "-c", "none", "-n", &format!("127.0.0.1:{port}"), "-r"])
            .arg(file)
            .output()
            .unwrap();
        assert!(exported.status.success(), "{exported:?}");
    }
    wait("nfcapd reading everything", || waiting(port) == Some(0));
    Command::new("kill").args(["-TERM", &collector.id().to_string()]).status().unwrap();
    collector.wait().unwrap();
    let list = Command::new("nfdump")
        .args(["-q", "-N", "-6", "-o", "fmt:%sa,%sp,%da,%dp,%pr,%pkt,%byt", "-R"])
        .arg(&kept)
        .output()
        .unwrap();
    let mut sums = Sums::new();
    for line in String::from_utf8_lossy(&list.stdout).lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let &[source, from, destination, to, protocol, packets, bytes] = fields.as_slice() else { panic!("{line}") };
        let protocol = protocol.parse().unwrap();
        let port = |text: &str| if matches!(protocol, 6 | 17) { text.parse().unwrap() } else { 0 };
        let key = (source.parse().unwrap(), port(from), destination.parse().unwrap(), port(to), protocol);
        add(&mut sums, key, packets.parse().unwrap(), bytes.parse().unwrap());
    }
    sums
}

#[test]
fn flows_of_capture_files_have_the_sums_of_the_packets_and_those_that_softflowd_and_nfdump_find() {
    let folder = tempfile::tempdir().unwrap();
    let (files, expected) = captures(folder.path());
    let printed = flows(&files, &["-o", "jsonl"]);
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(sums(&printed), expected);
    assert_eq!(flows(&files, &["-o", "jsonl"]).stdout, printed.stdout, "the same files give the same bytes");
    if Command::new("nfcapd").arg("-V").output().is_err() || Command::new("softflowd").arg("-h").output().is_err() {
        eprintln!("skipped: the comparison needs softflowd and nfdump");
        return;
    }
    assert_eq!(nfdump(&files, folder.path()), expected);
}

#[test]
fn filters_levels_and_limits_hold_for_capture_files() {
    let folder = tempfile::tempdir().unwrap();
    let (files, expected) = captures(folder.path());
    let count = |more: &[&str]| {
        let output = flows(&files, more);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let udp = flows(&files, &["protocol == udp", "-o", "json"]);
    let only: Sums = expected.into_iter().filter(|(key, _)| key.4 == 17).collect();
    assert_eq!(sums(&udp), only);
    assert_eq!(count(&["-o", "json", "--limit", "7"]).len(), 7);
    assert!(count(&["-o", "json", "--level", "2"]).iter().all(|line| line.contains("\"level\":2")));
    let table = count(&["--limit", "3"]);
    assert!(table[0].contains("SOURCE") && table.len() == 4, "{table:?}");
}

#[test]
fn a_file_that_is_cut_off_gives_what_is_before_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = captures(folder.path()).0.remove(0);
    let packets = |output: &Output| sums(output).values().map(|(packets, _)| packets).sum::<u64>();
    let all = packets(&flows(std::slice::from_ref(&file), &["-o", "jsonl"]));
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 7]).unwrap();
    let output = flows(&[file], &["-o", "jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(packets(&output), all - 1);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("one.pcap") && error.contains("cut off") && error.contains("hint"), "{error}");
    for (source, code) in [("pcap:/nowhere/x.pcap", 1), ("netflow:x", 2), ("pcap:", 2)] {
        let refused = Command::new(env!("CARGO_BIN_EXE_weir")).args(["flows", "--source", source]).output().unwrap();
        assert_eq!(refused.status.code(), Some(code), "{source}: {refused:?}");
    }
}
