//! What the table of a cluster costs: bytes held, revisions loaded a second, and time a look-up, by the cluster's size.
//!
//! `cargo bench -p weir-join --bench table [-- PODS…]`, by default 1 000, 10 000 and 100 000 pods with ten revisions
//! each. Every size is measured in a process of its own, so that memory is that table's alone. A look-up's time is that of
//! a batch of 64 by 64, so that the clock's own cost is out of it; p50 and p99 are of the batches. Beside them stands what
//! the machine takes to read one cache line for each pod, or two, from memory of the size in which the table has them.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench asks the clock and the process's memory")]

mod cluster;
mod memory;

use cluster::{Cluster, mix};
use std::hint::black_box;
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use weir_flow::Address;
use weir_join::{Ask, Resolution, Table};
use weir_schemas::metadata::Metadata;
use weir_schemas::{ReadMetadata, decode, decode_metadata};

/// As the enricher, which has the table.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages that are made, then loaded, at a time: as many as the enricher reads at once.
const CHUNK: u64 = 2_000;
/// Messages that are decoded, then applied, at a time, and groups of them that may wait, as in the enricher.
const GROUP: usize = 128;
const AHEAD: usize = 4;
/// Look-ups in a batch, and batches of each kind.
const BATCH: u64 = 64;
const BATCHES: u64 = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [first, pods, what] = arguments.as_slice()
        && first == "--measure"
    {
        let way = Way::ALL.get(what.parse::<usize>().unwrap()).unwrap().1;
        load(Cluster { pods: pods.parse().unwrap() }, way);
        return;
    }
    let sizes = if arguments.is_empty() { ["1000", "10000", "100000"].map(String::from).to_vec() } else { arguments };
    for pods in sizes {
        for what in 0..Way::ALL.len() {
            let program = std::env::current_exe().unwrap();
            assert!(Command::new(program).args(["--measure", &pods, &what.to_string()]).status().unwrap().success());
        }
    }
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// How long this thread has been on a processor: what other processes take does not count.
fn on_processor() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split_whitespace().next().unwrap().parse().unwrap())
}

fn report(cluster: Cluster, what: &str, figure: &str) {
    println!("{:>7} pods  {what:<62} {figure}", cluster.pods);
}

fn rate(count: u64, time: Duration) -> String {
    let a_second = u128::from(count) * 1_000_000_000 / time.as_nanos().max(1);
    format!("{a_second} revisions/s")
}

/// How a cluster is loaded.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// From bytes, as the enricher does, with a second thread that decodes: the messages' texts stay where they are.
    TwoThreads,
    /// The same in one thread.
    Bytes,
    /// What is decoded already, with texts of its own.
    Decoded,
}

impl Way {
    const ALL: [(&str, Self); 3] = [
        ("load from bytes, two threads", Self::TwoThreads),
        ("load from bytes, one thread", Self::Bytes),
        ("load of decoded messages, one thread", Self::Decoded),
    ];
}

/// Loads a cluster; then, of the first way only, memory and look-ups.
fn load(cluster: Cluster, way: Way) {
    let first = resident();
    let (mut decoding, mut applying, mut loading) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut table = Table::new("local", 1);
    let (mut index, mut bytes) = (0, 0);
    while index < cluster.messages() {
        let next = (index + CHUNK).min(cluster.messages());
        let encode = |n| weir_schemas::encode(&cluster.message(n)).unwrap();
        let chunk: Vec<Vec<u8>> = (index..next).map(encode).collect();
        bytes += chunk.iter().map(Vec::len).sum::<usize>();
        let start = Instant::now();
        match way {
            Way::TwoThreads => two_threads(&mut table, &chunk),
            Way::Bytes => chunk.chunks(GROUP).for_each(|group| {
                let start = on_processor();
                let group = decoded(group);
                let middle = on_processor();
                table.apply_all(&group);
                drop(group);
                decoding += middle.saturating_sub(start);
                applying += on_processor().saturating_sub(middle);
            }),
            Way::Decoded => {
                let messages: Vec<(usize, Metadata)> = chunk.iter().map(|bytes| (0, decode(bytes).unwrap())).collect();
                let start = Instant::now();
                messages.chunks(GROUP).for_each(|group| table.apply_all(group));
                loading += start.elapsed();
            }
        }
        if way != Way::Decoded {
            loading += start.elapsed();
        }
        index = next;
    }
    let held = resident() - first;
    let revisions = u64::try_from(table.revisions()).unwrap();
    let (name, _) = Way::ALL.into_iter().find(|(_, other)| *other == way).unwrap();
    report(cluster, name, &rate(revisions, loading));
    match way {
        Way::TwoThreads => {
            report(cluster, "memory", &format!("{} MB, {} B a revision", held / 1_000_000, held / revisions));
            report(cluster, "a message's length", &format!("{} B", u64::try_from(bytes).unwrap() / cluster.messages()));
            look_ups(cluster, &table);
        }
        Way::Bytes => {
            report(cluster, "of it decoding, by time on a processor", &rate(revisions, decoding));
            report(cluster, "of it applying, by time on a processor", &rate(revisions, applying));
        }
        Way::Decoded => {}
    }
}

fn decoded(group: &[Vec<u8>]) -> Vec<(usize, ReadMetadata<'_>)> {
    group.iter().map(|bytes| (0, decode_metadata(bytes).unwrap())).collect()
}

fn two_threads(table: &mut Table, chunk: &[Vec<u8>]) {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || chunk.chunks(GROUP).for_each(|group| sender.send(decoded(group)).unwrap()));
        receiver.iter().for_each(|group| table.apply_all(&group));
    });
}

/// A question about the address that a random pod had at a random time; every second is about a responder at a port.
fn ask_held(cluster: Cluster, random: u64) -> Ask<'static> {
    let (pod, mut at) = (mix(random) % cluster.pods, cluster.time(mix(random ^ 7)));
    let address = loop {
        match cluster.address_at(pod, at, random & 2 == 0) {
            Some(address) => break address,
            None => at += 600_000,
        }
    };
    Ask { at, ..asking(cluster, random, address) }
}

/// A question about any address of the pods' pools at a random time: three in five are held by nobody.
fn ask_any(cluster: Cluster, random: u64) -> Ask<'static> {
    let address = cluster.address(mix(random) % cluster.pods, (random >> 40) % 5, random & 2 == 0);
    asking(cluster, random, address)
}

/// The same about a service's address.
fn ask_service(cluster: Cluster, random: u64) -> Ask<'static> {
    let address = cluster.service_address(mix(random) % cluster.pods.div_ceil(20), random & 2 == 0);
    asking(cluster, random | 1, address)
}

/// A question of a node's stream of one tick: half are about a pod of its own, half about a popular one, of which the
/// n-th is asked for in proportion to 1/n.
fn ask_stream(cluster: Cluster, batch: u64, random: u64) -> Ask<'static> {
    let at = cluster.busy_time(mix(batch ^ 13));
    let mut random = random;
    loop {
        random = mix(random);
        let pod = if random & 4 == 0 {
            cluster.pod_of_node(mix(batch ^ 17), random >> 16)
        } else {
            cluster.popular_pod(random >> 16)
        };
        if let Some(address) = cluster.address_at(pod, at, random & 2 == 0) {
            return Ask { at, ..asking(cluster, random, address) };
        }
    }
}

/// A question about the address that a random pod has in a tick of now.
fn ask_now(cluster: Cluster, random: u64) -> Ask<'static> {
    let address = cluster.address_now(mix(random) % cluster.pods, random & 2 == 0);
    Ask { at: cluster.now(mix(random ^ 7)), ..asking(cluster, random, address) }
}

/// The pod of such a question that is about one by UID.
fn pod_now(cluster: Cluster, random: u64) -> String {
    cluster.uid(mix(random) % cluster.pods)
}

/// UIDs of the pods of one node, which it tells itself, and no UID for the others: of a tick's connections, each with the
/// end that is the node's own and one that is popular.
fn uids_of_tick(cluster: Cluster, batch: u64) -> Vec<Option<String>> {
    let own = |random: u64| cluster.uid(cluster.pod_of_node(mix(batch ^ 17), random >> 16));
    seeds(batch).enumerate().map(|(n, random)| (n % 2 == 0).then(|| own(random))).collect()
}

/// Both ends of a node's connections in a tick of now.
fn asks_of_tick(cluster: Cluster, batch: u64, uids: &[Option<String>]) -> Vec<Ask<'_>> {
    let at = cluster.now(mix(batch ^ 13));
    let far = |random: u64| cluster.address_now(cluster.popular_pod(random >> 16), random & 2 == 0);
    let both = seeds(batch).zip(uids);
    both.map(|(random, uid)| Ask { at, pod_uid: uid.as_deref(), ..asking(cluster, random, far(random)) }).collect()
}

/// UIDs and questions of a replay's batch, likewise.
fn uids_of_replay(cluster: Cluster, batch: u64) -> Vec<Option<String>> {
    let (_, node) = cluster.replayed(batch);
    let own = |random: u64| cluster.uid(cluster.pod_of_node(node, random >> 16));
    seeds(batch).enumerate().map(|(n, random)| (n % 2 == 0).then(|| own(random))).collect()
}

fn asks_of_replay(cluster: Cluster, batch: u64, uids: &[Option<String>]) -> Vec<Ask<'_>> {
    let (at, _) = cluster.replayed(batch);
    let far = |random: u64| {
        let mut randoms = std::iter::successors(Some(random), |random| Some(mix(*random)));
        randoms.find_map(|random| cluster.address_at(cluster.popular_pod(random >> 16), at, random & 2 == 0)).unwrap()
    };
    let both = seeds(batch).zip(uids);
    both.map(|(random, uid)| Ask { at, pod_uid: uid.as_deref(), ..asking(cluster, random, far(random)) }).collect()
}

fn asking(cluster: Cluster, random: u64, address: Address) -> Ask<'static> {
    let ask = Ask::address(cluster.time(mix(random ^ 7)), address);
    Ask { port: Some(443), protocol: 6, responder: random & 1 == 1, ..ask }
}

fn look_ups(cluster: Cluster, table: &Table) {
    let exact = seeds(1).filter(|random| table.resolve(&ask_held(cluster, *random)).identity.is_some()).count();
    assert!(exact > 60, "the bench asks for addresses that are held");
    look_ups_of_now(cluster, table);
    for (what, ask) in
        [("look-up by address", ask_held as fn(Cluster, u64) -> Ask<'static>), ("look-up by any address", ask_any)]
    {
        measure(cluster, what, |seed| {
            let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask(cluster, random)).collect();
            timed(|| asks.iter().map(|ask| table.resolve(ask)))
        });
    }
    for (what, together) in [("look-up by UID", false), ("look-up by UID, 64 at once", true)] {
        measure(cluster, what, |seed| {
            let uids: Vec<String> = seeds(seed).map(|random| cluster.uid(mix(random) % cluster.pods)).collect();
            let ask = |(random, uid): (u64, _)| Ask { pod_uid: Some(uid), ..ask_held(cluster, random) };
            let asks: Vec<Ask<'_>> = seeds(seed).zip(uids.iter().map(String::as_str)).map(ask).collect();
            if together { timed_together(table, &asks) } else { timed(|| asks.iter().map(|ask| table.resolve(ask))) }
        });
    }
    measure(cluster, "look-up by address, 64 at once", |seed| {
        let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask_held(cluster, random)).collect();
        timed_together(table, &asks)
    });
    for (what, together) in [("look-up of a node's stream", false), ("look-up of a node's stream, 64 at once", true)] {
        measure(cluster, what, |seed| {
            let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask_stream(cluster, seed, random)).collect();
            if together { timed_together(table, &asks) } else { timed(|| asks.iter().map(|ask| table.resolve(ask))) }
        });
    }
    for (what, together) in [("both ends of a node's ticks of a replay", false), ("a replay, 64 at once", true)] {
        measure(cluster, what, |seed| {
            let uids = uids_of_replay(cluster, seed);
            time_of(table, &asks_of_replay(cluster, seed, &uids), together)
        });
    }
    measure(cluster, "look-up by address, kept, 64 at once", |seed| {
        let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask_held(cluster, random)).collect();
        let (mut answers, mut kept) = (Vec::with_capacity(asks.len()), Vec::with_capacity(asks.len()));
        let start = Instant::now();
        table.resolve_all(&asks, &mut answers);
        kept.extend(answers.iter().map(Resolution::keep));
        black_box(&mut kept).clear();
        start.elapsed()
    });
    measure(cluster, "look-up of a service's address", |seed| {
        let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask_service(cluster, random)).collect();
        timed(|| asks.iter().map(|ask| table.resolve(ask)))
    });
    measure(cluster, "look-up by address, and whether covered", |seed| {
        let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask_held(cluster, random)).collect();
        timed(|| {
            asks.iter().map(|ask| {
                let found = table.resolve(ask);
                (table.covered(&found, ask.address, ask.at), found)
            })
        })
    });
}

/// What the enricher asks: about a tick of the last seconds.
fn look_ups_of_now(cluster: Cluster, table: &Table) {
    let exact = seeds(1).filter(|random| table.resolve(&ask_now(cluster, *random)).identity.is_some()).count();
    assert_eq!(exact, 64, "every pod has its addresses now");
    for (what, together) in [("now, by address", false), ("now, by address, 64 at once", true)] {
        measure(cluster, what, |seed| {
            let asks: Vec<Ask<'_>> = seeds(seed).map(|random| ask_now(cluster, random)).collect();
            time_of(table, &asks, together)
        });
    }
    for (what, together) in [("now, by UID", false), ("now, by UID, 64 at once", true)] {
        measure(cluster, what, |seed| {
            let uids: Vec<String> = seeds(seed).map(|random| pod_now(cluster, random)).collect();
            let ask = |(random, uid): (u64, _)| Ask { pod_uid: Some(uid), ..ask_now(cluster, random) };
            let asks: Vec<Ask<'_>> = seeds(seed).zip(uids.iter().map(String::as_str)).map(ask).collect();
            time_of(table, &asks, together)
        });
    }
    for (what, together) in [("both ends of a node's tick of now", false), ("the same, 64 at once", true)] {
        measure(cluster, what, |seed| {
            let uids = uids_of_tick(cluster, seed);
            time_of(table, &asks_of_tick(cluster, seed, &uids), together)
        });
    }
    for (lines, of) in [(cluster.pods, "pod"), (2 * cluster.pods, "address")] {
        let memory = memory::Lines::new(lines);
        let place = |seed| seeds(seed).map(|random| memory.place(random)).collect::<Vec<usize>>();
        measure(cluster, &format!("memory: a line for each {of}, each after the one before"), |seed| {
            let start = memory.place(mix(seed));
            let clock = Instant::now();
            black_box(memory.chase(start, BATCH));
            clock.elapsed()
        });
        measure(cluster, &format!("memory: a line for each {of}, 64 at once"), |seed| {
            let places = place(seed);
            let clock = Instant::now();
            black_box(memory.sum(&places));
            clock.elapsed()
        });
    }
}

fn time_of(table: &Table, asks: &[Ask<'_>], together: bool) -> Duration {
    if together { timed_together(table, asks) } else { timed(|| asks.iter().map(|ask| table.resolve(ask))) }
}

fn seeds(batch: u64) -> impl Iterator<Item = u64> {
    (0..BATCH).map(move |n| mix(batch * BATCH + n))
}

/// Time of what `answers` gives; each answer is dropped as soon as it is there.
fn timed<T, I: Iterator<Item = T>>(answers: impl FnOnce() -> I) -> Duration {
    let start = Instant::now();
    answers().for_each(|answer| drop(black_box(answer)));
    start.elapsed()
}

/// The same of all answers at once.
fn timed_together(table: &Table, asks: &[Ask<'_>]) -> Duration {
    let mut answers = Vec::with_capacity(asks.len());
    let start = Instant::now();
    table.resolve_all(asks, &mut answers);
    black_box(&mut answers).clear();
    start.elapsed()
}

fn measure(cluster: Cluster, what: &str, batch: impl Fn(u64) -> Duration) {
    (0..BATCHES / 10).for_each(|seed| assert!(!black_box(batch(seed)).is_zero()));
    let mut times: Vec<u128> = (0..BATCHES).map(|seed| batch(seed + BATCHES).as_nanos()).collect();
    times.sort_unstable();
    let part = |hundredths: usize| times.get(times.len() * hundredths / 100).copied().unwrap() / u128::from(BATCH);
    report(cluster, what, &format!("p50 {} ns, p99 {} ns", part(50), part(99)));
}
