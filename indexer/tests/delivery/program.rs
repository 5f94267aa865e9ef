//! The program as a process: killed in the midst of a bulk, and with a broker, an engine and a disk that fail it.
//!
//! Scaled down; `cargo xtask soak "faults of the indexer"` runs it whole.

use crate::broker::BrokerProcess;
use crate::world::{World, broker, bulks, embedded, engine_or, expected, items, kafka, url};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_faults::{Fault, Plan};
use weir_schemas::enriched::Enriched;
use weir_stream::{KafkaSettings, Log};

/// `--indexer-memory` and `--indexer-bulk-bytes` of the test in which an engine fails in every way, and the indexer's own concurrency.
const MEMORY: u64 = 32 << 20;
const BULK: u64 = 256 << 10;
const CONCURRENCY: u64 = 2;

/// What an indexer takes at most beyond what it took when it began, bytes: as `docs/operate.md` says.
fn most() -> u64 {
    let (ends, pairs) = (16 << 20, 8 << 20);
    let bodies = (CONCURRENCY + 4) * (BULK + (64 << 10));
    let all = MEMORY + ends + pairs + bodies;
    all + all / 2
}

pub(crate) fn number(variable: &str, standard: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(standard)
}

/// An indexer as a process of its own.
struct Program(Child);

impl Program {
    fn start(world: &World, kafka: &str, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_weir-indexer"))
            .args(["--kafka", kafka, "--elasticsearch", &world.proxied.elasticsearch[0]])
            .args(["--indexer-bulk-wait", "20ms", "--indexer-instance", "one"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// A figure of `/proc/PID/status`, bytes.
    fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SIGKILL. Every other time the engine has done everything and its answer is on its way.
#[tokio::test]
async fn the_program_killed_mid_bulk_writes_each_record_once() {
    let (engine, _data) = embedded().await;
    let (broker, _logs) = broker().await;
    let plan = Plan::new(9).with(bulks(Fault::Delay { at_most: Duration::from_millis(400) }));
    let world = World::new(kafka(&broker), &engine_or(&url(&engine)), plan).await;
    let mut records: Vec<_> = (0..2_000).map(|n| world.record(n)).collect();
    world.produce_records(&records).await;
    let address = broker.address().to_string();
    let program = || Program::start(&world, &address, &["--indexer-bulk-bytes", "64KiB"]);
    let bulks_begun = || world.proxy.counts().injected();
    let kills = number("WEIR_TEST_KILLS", 8);
    for round in 0..kills {
        let more: Vec<_> = (0..60).map(|n| world.record(2_000 + 60 * round + n)).collect();
        world.produce_records(&more).await;
        records.extend(more);
        let begun = bulks_begun();
        let mut child = program();
        let until = Instant::now() + Duration::from_secs(20);
        while bulks_begun() < begun + 1 + round % 2 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(bulks_begun() > begun, "a bulk was under way");
        tokio::time::sleep(Duration::from_millis(7 * round % 100)).await;
        child.kill();
    }
    world.proxy.heal();
    let mut child = program();
    world.committed().await;
    child.kill();
    assert_eq!(world.documents().await, expected(&records));
    assert!(world.dead_letters().await.is_empty());
    eprintln!("fault kill of the indexer: {kills} times, {} records, each one document", records.len());
    world.delete_index().await;
    broker.shutdown().await;
    engine.shutdown().await;
}

/// The broker ends, cleanly and not, while records are written and read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_outlives_restarts_of_its_broker() {
    let (engine, _data) = embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let mut broker = BrokerProcess::start(folder.path());
    let address = broker.address().to_string();
    let log = Log::kafka(&KafkaSettings::at(address.clone())).unwrap();
    let world = World::new(log, &engine_or(&url(&engine)), Plan::new(3)).await;
    let mut program = Program::start(&world, &address, &["--indexer-bulk-bytes", "64KiB"]);
    let restarts = number("WEIR_TEST_RESTARTS", 4);
    let mut records = Vec::new();
    for round in 0..restarts {
        let more: Vec<_> = (0..200).map(|n| world.record(200 * round + n)).collect();
        let written = world.produce_records(&more);
        let restarted = async {
            tokio::time::sleep(Duration::from_millis(3 + 11 * round % 150)).await;
            tokio::task::block_in_place(|| broker.restart(round % 2 == 0));
        };
        tokio::join!(written, restarted);
        records.extend(more);
        assert!(program.lives(), "restart {round}");
    }
    world.committed().await;
    assert!(program.lives());
    program.kill();
    assert_eq!(world.documents().await, expected(&records));
    assert!(world.dead_letters().await.is_empty());
    eprintln!(
        "fault {}: {restarts} restarts, every other by SIGKILL, {} records, each one document",
        broker.name(),
        records.len()
    );
    world.delete_index().await;
    engine.shutdown().await;
}

/// Bytes and packets of all records, as documents name them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums(BTreeMap<String, u64>);

impl Sums {
    fn add(&mut self, record: &Enriched) {
        let totals = &record.totals;
        for (what, source, destination) in [
            ("bytes", totals.forward_bytes, totals.reverse_bytes),
            ("packets", totals.forward_packets, totals.reverse_packets),
        ] {
            for (whose, number) in [("source", source), ("destination", destination), ("network", source + destination)]
            {
                *self.0.entry(format!("{whose}.{what}")).or_default() += number;
            }
        }
    }

    async fn of_documents(world: &World) -> Self {
        let mut expected = Self::default();
        expected.add(&world.record(0));
        let sum = |field: &String| (field.clone(), json!({"sum": {"field": field}}));
        let sums: serde_json::Map<_, _> = expected.0.keys().map(sum).collect();
        let answer = world.direct.search(&world.index(), &json!({"size": 0, "aggs": sums})).await.unwrap();
        // Whole numbers of this size are exact as the engine's floating ones.
        let read = |field: &String| {
            (field.clone(), format!("{:.0}", answer["aggregations"][field]["value"].as_f64().unwrap()).parse().unwrap())
        };
        Self(expected.0.keys().map(read).collect())
    }
}

/// An engine that fails in every way at once: nothing is lost, and memory stays within what the setting says.
#[tokio::test]
async fn the_programs_memory_is_bounded_whatever_the_engine_does() {
    let (engine, _data) = embedded().await;
    let (broker, _logs) = broker().await;
    let faults = [
        bulks(Fault::Status(503)),
        bulks(Fault::Reset { within: 2_000 }),
        bulks(Fault::Cut { within: 2_000 }),
        bulks(Fault::ShortAnswer),
        bulks(Fault::DropAnswer),
        bulks(Fault::Throttle { bytes_per_second: 100_000 }),
        items(429, "es_rejected_execution_exception", 300),
    ];
    let plan = faults.into_iter().fold(Plan::new(11), |plan, rule| plan.with(rule.share(0.06)));
    let world = World::new(kafka(&broker), &engine_or(&url(&engine)), plan).await;
    let (memory, bulk) = (MEMORY.to_string(), BULK.to_string());
    let arguments = ["--indexer-memory", memory.as_str(), "--indexer-bulk-bytes", bulk.as_str()];
    let mut program = Program::start(&world, &broker.address().to_string(), &arguments);
    let record = |n: u64| {
        let mut record = world.record(n);
        record.totals.reverse_bytes = 7 * n + 3;
        (record.totals.forward_packets, record.totals.reverse_packets) = (1 + n % 5, n % 3);
        record
    };
    let mut sums = Sums::default();
    let first = record(0);
    sums.add(&first);
    world.produce_records(std::slice::from_ref(&first)).await;
    world.committed().await;
    let begin = program.memory("VmRSS");
    let documents = number("WEIR_TEST_DOCUMENTS", 9_000);
    for from in (1..documents).step_by(5_000) {
        let more: Vec<_> = (from..documents.min(from + 5_000)).map(record).collect();
        more.iter().for_each(|record| sums.add(record));
        world.produce_records(&more).await;
    }
    world.committed_within(Duration::from_secs(1_800)).await;
    let highest = program.memory("VmHWM");
    assert!(program.lives());
    program.kill();
    assert_eq!(world.count_documents().await, documents);
    assert_eq!(Sums::of_documents(&world).await, sums);
    assert!(world.dead_letters().await.is_empty());
    assert!(highest < begin + most(), "{highest} B at most, {begin} B at the start, {} B more are said", most());
    let mib = |bytes: u64| bytes >> 20;
    eprintln!(
        "fault engine: {documents} documents, {sums:?}, {:?}; {} MiB at the start, {} MiB at most, where {} MiB more than at the start are allowed",
        world.proxy.counts(),
        mib(begin),
        mib(highest),
        mib(most())
    );
    world.delete_index().await;
    broker.shutdown().await;
    engine.shutdown().await;
}

/// A small file system of its own, which can be full.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Nothing where mounting is not allowed.
    pub(crate) fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The broker's disk is full for a while: what it did not take is sent again, and what it took is one document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_outlives_a_full_disk_of_its_broker() {
    let Some(disk) = SmallDisk::mount(BrokerProcess::DISK) else {
        return eprintln!("skipped: a file system that can be full needs the right to mount");
    };
    let (engine, _data) = embedded().await;
    let mut broker = BrokerProcess::start(disk.path());
    let address = broker.address().to_string();
    let log = Log::kafka(&KafkaSettings::at(address.clone())).unwrap();
    let world = World::new(log, &engine_or(&url(&engine)), Plan::new(4)).await;
    let mut program = Program::start(&world, &address, &["--indexer-bulk-bytes", "64KiB"]);
    let rounds = number("WEIR_TEST_FULL_DISKS", 2);
    let (mut records, mut refused, mut ended) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        let more: Vec<_> = (0..500).map(|n| world.record(500 * round + n)).collect();
        world.produce_records(&more[..250]).await;
        disk.fill();
        let while_full = async {
            let mut open = more[250..].to_vec();
            while !open.is_empty() {
                open = world.produce_some(&open).await;
                refused += open.len();
            }
        };
        let freed = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            disk.free();
            // One that stops because of it is started again, as whoever watches over it would.
            loop {
                ended += u32::from(tokio::task::block_in_place(|| broker.start_if_ended()));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = while_full => {}
            () = freed => {}
        }
        records.extend(more);
        assert!(program.lives(), "round {round}");
    }
    ended += u32::from(broker.start_if_ended());
    world.committed_within(Duration::from_secs(120)).await;
    program.kill();
    assert_eq!(world.documents().await, expected(&records));
    assert!(world.dead_letters().await.is_empty());
    eprintln!(
        "fault disk of the {}: full {rounds} times for 2 s, which ended it {ended} times, {refused} records refused and sent again, {} records, each one document",
        broker.name(),
        records.len()
    );
    world.delete_index().await;
    engine.shutdown().await;
}
