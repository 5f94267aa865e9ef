//! What a packet costs in the kernel, by BPF_PROG_TEST_RUN: `cargo bench -p weir-agent --bench packets` as root.
//!
//! `-- --peer-object PATH [--peer-program NAME]` measures another program at a tc hook in the same run: PATH is an object
//! that aya can load, or a program pinned in a BPF file system, however it came there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark: prints a table, ends at the first surprise")]

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use etherparse::PacketBuilder;
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};
use std::time::Duration;
use weir_agent::ebpf::links::Selection;
use weir_agent::ebpf::{Capture, Options};

const HOT: u32 = 1_000_000;
const FLOWS: u32 = 90_000;
const TIMES: usize = 11;

fn packet(flow: u32) -> Vec<u8> {
    let [_, a, b, c] = flow.to_be_bytes();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, a, b, c], [10, 255, 0, 1], 64)
        .tcp(40_000, 443, 1, 1_000)
        .ack(5);
    let mut packet = Vec::new();
    builder.write(&mut packet, &[0; 26]).unwrap();
    packet
}

/// Something that a packet can be given to.
enum Subject {
    Own(Box<Capture>, &'static str),
    /// The object, where there is one, holds the maps.
    Peer {
        program: Box<SchedClassifier>,
        _object: Option<Box<Ebpf>>,
    },
}

impl Subject {
    fn run(&mut self, packet: &[u8], repeat: u32) -> Duration {
        match self {
            Self::Own(capture, program) => capture.test_run(program, packet, None, repeat).unwrap().1,
            Self::Peer { program, .. } => {
                let mut options = TestRunOptions::new();
                options.data_in = Some(packet);
                options.repeat = repeat;
                program.test_run(options).unwrap().duration
            }
        }
    }
}

fn own(program: &'static str, rules: &[&str]) -> Subject {
    with_table(program, rules, true)
}

fn with_table(program: &'static str, rules: &[&str], table: bool) -> Subject {
    let selection = Selection { include: vec!["none".to_owned()], exclude: Vec::new() };
    let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
    let options = Options {
        table,
        dns_ports: vec![53],
        tunnel_ports: vec![4_789],
        wireguard_ports: vec![51_820],
        rules: weir_agent::rules::parse_all(&rules).unwrap(),
        ..Options::new(selection, 131_072, 131_072)
    };
    let capture = Capture::load(options).unwrap();
    capture.set_boundary(u64::MAX, 0);
    Subject::Own(Box::new(capture), program)
}

fn peer(path: &str, name: Option<&str>) -> Subject {
    if let Ok(program) = SchedClassifier::from_pin(path) {
        return Subject::Peer { program: Box::new(program), _object: None };
    }
    let mut object = EbpfLoader::new().load_file(path).unwrap();
    let name = name.map_or_else(|| object.programs().next().unwrap().0.to_owned(), str::to_owned);
    let program: &mut SchedClassifier = object.program_mut(&name).unwrap().try_into().unwrap();
    program.load().unwrap();
    let pinned = format!("/sys/fs/bpf/weir-bench-{}", std::process::id());
    program.pin(&pinned).unwrap();
    let program = SchedClassifier::from_pin(&pinned).unwrap();
    std::fs::remove_file(pinned).unwrap();
    Subject::Peer { program: Box::new(program), _object: Some(Box::new(object)) }
}

fn percentile(times: &mut [Duration], per_thousand: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * per_thousand / 1_000]
}

/// The hot flow's best of several runs, and of many flows in random order the insertions and updates.
fn measure(name: &str, subject: &mut Subject, nothing: Duration) {
    let hot = packet(0);
    let best = (0..TIMES).map(|_| subject.run(&hot, HOT)).min().unwrap();
    let mut packets: Vec<Vec<u8>> = (1..=FLOWS).map(packet).collect();
    let mut order = StdRng::seed_from_u64(20_261_130);
    packets.shuffle(&mut order);
    let mut inserts: Vec<Duration> = packets.iter().map(|packet| subject.run(packet, 1)).collect();
    packets.shuffle(&mut order);
    let mut updates: Vec<Duration> = packets.iter().map(|packet| subject.run(packet, 1)).collect();
    println!(
        "{name:<28} hot {best:>6.0?} net {:>6.0?}   {FLOWS} flows: update p50 {:>7.0?} p99 {:>7.0?}   insert p50 {:>7.0?} p99 {:>7.0?}",
        best.saturating_sub(nothing),
        percentile(&mut updates, 500),
        percentile(&mut updates, 990),
        percentile(&mut inserts, 500),
        percentile(&mut inserts, 990),
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|place| arguments.get(place + 1));
    let mut nothing = own("weir_nothing", &[]);
    let call = (0..TIMES).map(|_| nothing.run(&packet(0), HOT)).min().unwrap();
    measure("nothing", &mut nothing, call);
    measure("one look-up, two additions", &mut own("weir_least", &[]), call);
    measure("weir, pod, ingress", &mut own("weir_pod_in", &[]), call);
    measure("weir, pod, no table", &mut with_table("weir_pod_in", &[], false), call);
    measure("weir, host, egress", &mut own("weir_host_out", &[]), call);
    measure(
        "weir, pod, 3 rules",
        &mut own(
            "weir_pod_in",
            &["drop: src.port == 1 or dst.port == 1", "sample 9: src.port == 2 or dst.port == 2", "keep: true"],
        ),
        call,
    );
    measure("weir, pod, all left out", &mut own("weir_pod_in", &["drop"]), call);
    if let Some(path) = value("--peer-object") {
        measure("peer", &mut peer(path, value("--peer-program").map(String::as_str)), call);
    }
}
