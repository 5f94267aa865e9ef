//! The table of flows in front of the map, on the running kernel. Needs root; says so where it is not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "support/packets.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod packets;

use aya::programs::{TestRun, TestRunOptions};
use packets::ethernet;
use std::collections::{BTreeMap, HashMap};
use std::sync::Barrier;
use weir_agent::abi::{self, Key};
use weir_agent::ebpf::capture::Drained;
use weir_agent::ebpf::links::Selection;
use weir_agent::ebpf::{Capture, Options, run::flip};

const PROGRAM: &str = "weir_pod_in";
/// Of a packet here, at the IP layer.
const BYTES: u64 = 20 + 8 + 60;

fn options(flows: u32) -> Options {
    Options::new(Selection { include: vec!["wa-none".to_owned()], exclude: Vec::new() }, flows, 4096)
}

fn capture(flows: u32) -> Option<Capture> {
    if !std::fs::read_to_string("/proc/self/status").unwrap().contains("Uid:\t0\t0") {
        eprintln!("skipped: needs root");
        return None;
    }
    let capture = Capture::load(options(flows)).unwrap();
    assert!(capture.table().is_some(), "{:?}", capture.missing());
    capture.set_boundary(u64::MAX, 0);
    Some(capture)
}

/// A packet of flow number `flow`.
fn packet(flow: u32) -> Vec<u8> {
    let [a, b, c, d] = flow.to_be_bytes();
    let mut packet = Vec::new();
    let ports = (1_000 + u16::from(a), 2_000);
    ethernet().ipv4([10, b, c, d], [10, 255, 0, 1], 64).udp(ports.0, ports.1).write(&mut packet, &[7; 60]).unwrap();
    packet
}

fn send(capture: &mut Capture, flows: std::ops::Range<u32>) {
    for flow in flows {
        capture.test_run(PROGRAM, &packet(flow), None, 1).unwrap();
    }
}

fn counted(drained: &Drained, name: &str) -> abi::Count {
    drained.counters[abi::COUNTER_NAMES.iter().position(|counter| *counter == name).unwrap()]
}

/// Connections started.
fn started(drained: &Drained) -> u32 {
    drained.flows.iter().map(|(_, flow)| flow.started).sum()
}

/// Packets by flow. Each flow stands once, and what was seen is in them to the byte.
fn exact(drained: &Drained) -> BTreeMap<Key, u64> {
    let mut flows = BTreeMap::new();
    for (key, flow) in &drained.flows {
        assert_eq!(flow.bytes, flow.packets * BYTES, "{key:?}");
        assert!(flow.first > 0 && flow.first <= flow.last, "{key:?}");
        assert_eq!((key.coarsened, flow.again), (abi::COARSENED_NOT, 0), "{key:?}");
        assert!(flows.insert(*key, flow.packets).is_none(), "twice: {key:?}");
    }
    let (seen, sum) = (counted(drained, "seen"), flows.values().sum::<u64>());
    assert_eq!((seen.packets, seen.bytes), (sum, sum * BYTES));
    flows
}

#[test]
fn a_flow_for_which_the_table_has_no_room_is_in_the_map_and_sums_are_exact() {
    let Some(mut capture) = capture(4_096) else { return };
    let mut active = 0;
    // Both buffers, and the first one again.
    for tick in 0..3 {
        for _ in 0..3 {
            send(&mut capture, 0..4_000);
        }
        assert_eq!(capture.fill(active), 4_000);
        let drained = flip(&mut capture, &mut active).unwrap();
        let flows = exact(&drained);
        assert_eq!(flows.len(), 4_000);
        assert!(flows.values().all(|packets| *packets == 3));
        assert_eq!(started(&drained), if tick == 0 { 4_000 } else { 0 });
        // Of as many flows as there are slots about a sixth finds all four that it may take taken.
        assert!((100..1_200).contains(&drained.beyond_table), "{} beyond the table", drained.beyond_table);
        assert_eq!(capture.fill(1 - active), 0);
    }
    let drained = flip(&mut capture, &mut active).unwrap();
    assert!(drained.flows.is_empty(), "nothing is read twice");
}

#[test]
fn beyond_the_limit_flows_are_coarse_although_the_table_has_room() {
    // 1 024 slots: what is smaller has as many.
    let Some(mut capture) = capture(100) else { return };
    let mut active = 0;
    send(&mut capture, 0..300);
    send(&mut capture, 0..300);
    let drained = flip(&mut capture, &mut active).unwrap();
    let of = |level: u8| drained.flows.iter().filter(|(key, _)| key.coarsened == level).count();
    assert_eq!(of(abi::COARSENED_NOT), 100);
    assert_eq!(of(abi::COARSENED_PORT), 12, "an eighth more");
    assert!(of(abi::COARSENED_PREFIX) <= 13, "and a quarter in all");
    let sum: u64 = drained.flows.iter().map(|(_, flow)| flow.packets).sum();
    assert_eq!(sum + counted(&drained, "map_full").packets, 600);
    assert_eq!(counted(&drained, "seen").packets, 600);
}

#[test]
fn a_flow_that_stands_twice_is_added_up() {
    let Some(mut capture) = capture(4_096) else { return };
    let mut active = 0;
    // As if other processors were entering flows everywhere: these go to the map.
    capture.table().unwrap().claim(0, true).unwrap();
    send(&mut capture, 0..500);
    capture.table().unwrap().claim(0, false).unwrap();
    // These find room in the table; half of them stand in the map, too.
    send(&mut capture, 250..750);
    send(&mut capture, 250..750);
    let drained = flip(&mut capture, &mut active).unwrap();
    let flows = exact(&drained);
    let of = |packets: u64| flows.values().filter(|count| **count == packets).count();
    assert_eq!((flows.len(), of(1), of(3), of(2)), (750, 250, 250, 250));
    assert_eq!(started(&drained), 750);
    // By chance one or the other finds no room later, either.
    assert!((500..520).contains(&drained.beyond_table), "{}", drained.beyond_table);
}

#[test]
fn a_slot_that_is_still_being_filled_in_is_left_alone() {
    let Some(mut capture) = capture(4_096) else { return };
    let mut active = 0;
    send(&mut capture, 0..200);
    capture.table().unwrap().claim(0, true).unwrap();
    assert_eq!(exact(&flip(&mut capture, &mut active).unwrap()).len(), 200);
    // The other buffer is another half.
    send(&mut capture, 0..200);
    let other = flip(&mut capture, &mut active).unwrap();
    assert_eq!(exact(&other).len(), 200);
    assert!(other.beyond_table < 20, "{}", other.beyond_table);
    // In the first one what was claimed is still claimed, and only what was read is free.
    send(&mut capture, 0..300);
    let drained = flip(&mut capture, &mut active).unwrap();
    assert_eq!(exact(&drained).len(), 300);
    assert!(drained.beyond_table >= 50, "{}", drained.beyond_table);
}

#[test]
fn many_processors_enter_the_same_flows_at_once_and_sums_are_exact() {
    const THREADS: u32 = 6;
    const FLOWS: u32 = 3_500;
    // A flow that two enter at the same moment may count twice towards the limit, which is not what is tried here.
    let Some(mut capture) = capture(2 * FLOWS) else { return };
    let mut active = 0;
    let packets: Vec<Vec<u8>> = (0..FLOWS).map(packet).collect();
    let mut beyond = 0;
    for _ in 0..6 {
        let program = capture.program(PROGRAM).unwrap();
        let start = Barrier::new(usize::try_from(THREADS).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for packet in &packets {
                        let mut options = TestRunOptions::new();
                        options.data_in = Some(packet);
                        options.repeat = 2;
                        program.test_run(options).unwrap();
                    }
                });
            }
        });
        let drained = flip(&mut capture, &mut active).unwrap();
        let flows: HashMap<Key, u64> = exact(&drained).into_iter().collect();
        assert_eq!(flows.len(), packets.len());
        assert!(flows.values().all(|packets| *packets == u64::from(2 * THREADS)));
        beyond += drained.beyond_table;
    }
    assert!(beyond > 0, "the map behind the table is not tried");
}

#[test]
fn nobody_can_know_where_flows_are() {
    let Some(mut one) = capture(4_096) else { return };
    let Some(mut other) = capture(4_096) else { return };
    let slots = |capture: &mut Capture| {
        send(capture, 0..4_000);
        let mut own: Vec<Key> = Vec::new();
        capture.set_boundary(u64::MAX, 1);
        std::thread::sleep(std::time::Duration::from_millis(30));
        capture.table().unwrap().drain(0, |key, _| own.push(*key)).unwrap();
        own
    };
    assert_ne!(slots(&mut one), slots(&mut other), "flows are in other slots in every table");
}

#[test]
fn a_successor_finds_what_was_counted_and_counts_on_in_the_same_slots() {
    let Some(_) = capture(4_096) else { return };
    let bpffs = Bpffs::mount();
    let load = |table: bool| {
        let capture = Capture::load(Options { table, pins: Some(bpffs.0.join("weir")), ..options(4_096) }).unwrap();
        assert!(capture.is_pinned() && capture.missing().is_empty(), "{:?}", capture.missing());
        capture
    };
    let mut first = load(true);
    first.set_boundary(u64::MAX, 0);
    send(&mut first, 0..1_000);
    drop(first);
    let (mut second, mut active) = (load(true), 0);
    send(&mut second, 500..1_500);
    let drained = flip(&mut second, &mut active).unwrap();
    assert_eq!(exact(&drained).len(), 1_500);
    send(&mut second, 0..700);
    drop(second);
    let mut third = load(true);
    let left = third.inherit().unwrap().unwrap();
    assert_eq!(left.drained.flows.iter().map(|(_, flow)| flow.packets).sum::<u64>(), 700);
    send(&mut third, 0..5);
    drop(third);
    // What was pinned with a table does not fit an agent that has none, and the other way round.
    for table in [false, true] {
        let mut other = load(table);
        assert!(other.inherit().unwrap().is_none(), "nothing is taken over");
        other.set_boundary(u64::MAX, 0);
        send(&mut other, 0..5);
        assert_eq!(exact(&flip(&mut other, &mut 0).unwrap()).len(), 5);
    }
}

/// A BPF file system of the test's own.
struct Bpffs(std::path::PathBuf);

impl Bpffs {
    fn mount() -> Self {
        let path = std::env::temp_dir().join(format!("weir-table-bpffs-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "bpf", "weir-table"]).arg(&path).status();
        assert!(mounted.unwrap().success());
        Self(path)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
