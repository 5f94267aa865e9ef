//! Load for the indexer as a program: records on a broker, an engine or a sink that accepts everything at once, and the processor
//! time that the program took. A run fails when not every document was written.
//!
//! `cargo test --bench load -- --help` says how.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a driver for people")]

#[path = "load/records.rs"]
mod records;
#[path = "load/set.rs"]
mod set;
#[path = "load/sink.rs"]
mod sink;
#[path = "load/sizes.rs"]
mod sizes;

use clap::Parser;
use records::Traffic;
use set::Set;
use sizes::{Sizes, per};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_elastic::{Elastic, ElasticSettings};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_stream::{KafkaSettings, Log, NewRecord, ProducerSettings, TopicPartition, TopicSpec};

#[derive(Clone, Parser)]
struct Arguments {
    /// The program to measure, built with optimization: target/release/weir-indexer
    #[arg(long)]
    indexer: Option<PathBuf>,
    /// An engine; without it a sink that accepts everything at once
    #[arg(long)]
    elasticsearch: Option<String>,
    /// Process id of the engine, whose processor time is measured too
    #[arg(long)]
    engine_pid: Option<u32>,
    /// What is written
    #[arg(long, value_enum, default_value_t = Set::Flows)]
    set: Set,
    /// Measures each level and each other set in turn, with `--elasticsearch`, and writes what each field costs into this file, in
    /// place of the table that is there
    #[arg(long)]
    bytes_by_field: Option<PathBuf>,
    /// Aggregation level
    #[arg(long, default_value_t = 2)]
    level: u8,
    /// How many records
    #[arg(long, default_value_t = 200_000)]
    records: u64,
    /// Pods behind each end at levels 2 and 3, at most five
    #[arg(long, default_value_t = 5)]
    pods: u64,
    /// How many others a workload calls, at most five; 0: any. A window has 2 000 records without it, and 200 for each with it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=5))]
    peers: u64,
    /// A file of records of that level, instead of made ones: `cargo bench -p weir-enricher --bench load -- records` writes it
    #[arg(long)]
    from: Option<PathBuf>,
    /// More arguments for the program, separated by blanks
    #[arg(long, default_value = "")]
    arguments: String,
    /// Given by `cargo`, without a meaning here
    #[arg(long, hide = true)]
    bench: bool,
}

/// User and system time of a process, seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: f64 = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// The messages, one after the other.
fn messages(arguments: &Arguments) -> Box<dyn Iterator<Item = Vec<u8>>> {
    let Some(path) = &arguments.from else {
        let traffic = Traffic { level: arguments.level, pods: arguments.pods, peers: arguments.peers };
        let set = arguments.set;
        let made = move |n| set.message(traffic, n);
        return Box::new((0..arguments.records).map(made));
    };
    let mut file = BufReader::new(File::open(path).unwrap());
    Box::new(std::iter::from_fn(move || {
        let mut length = [0; 4];
        file.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        file.read_exact(&mut message).unwrap();
        Some(message)
    }))
}

/// How many there are, and the bytes of their documents.
async fn produce(log: &Log, arguments: &Arguments) -> (u64, u64) {
    let topic = arguments.set.dataset().topic();
    let partitions = arguments.set.partitions();
    log.ensure_topics(&[TopicSpec::new(topic, partitions)]).await.unwrap();
    let producer = log.producer(&ProducerSettings::new("load")).unwrap();
    let (mut deliveries, mut count, mut bytes) = (Vec::new(), 0, 0);
    for message in messages(arguments) {
        let document = arguments.set.document(&message, arguments.level);
        bytes += u64::try_from(document.len()).unwrap();
        let message = NewRecord::new(topic, format!("{count}"), message);
        deliveries.push(producer.send(message.to_partition(i32::try_from(count).unwrap() % partitions)).unwrap());
        count += 1;
        if deliveries.len() >= 5_000 {
            for delivery in deliveries.drain(..) {
                delivery.await.unwrap();
            }
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    (count, bytes)
}

async fn wait_for_commit(log: &Log, set: Set, child: &mut Child) {
    let (topic, group) = (set.dataset().topic(), set.dataset().group("weir-indexer"));
    let partitions: Vec<_> = (0..set.partitions()).map(|p| TopicPartition::new(topic, p)).collect();
    let until = Instant::now() + Duration::from_secs(3_600);
    loop {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "the indexer did not get through");
        let mut done = true;
        for (partition, committed) in log.committed(&group, &partitions).await.unwrap() {
            done &= committed.map_or(0, |c| c.offset) >= log.log_end(&partition).await.unwrap();
        }
        if done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Has the program write the records, and says what that took; on a real engine also what they cost there.
async fn measure(arguments: &Arguments, program: &Path) -> Option<Sizes> {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerSettings::new(data.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    let log = Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap();
    let (count, bytes) = produce(&log, arguments).await;
    let engine = arguments.elasticsearch.clone().unwrap_or_else(sink::start);
    let elastic = connect(&engine);
    let pattern = arguments.set.pattern(arguments.level);
    if arguments.elasticsearch.is_some() {
        for index in elastic.indices(&pattern).await.unwrap() {
            elastic.delete_index(&index.name).await.unwrap();
        }
    }
    let engine_before = arguments.engine_pid.map(processor_time);
    let begun = Instant::now();
    let mut child = Command::new(program)
        .args(["--kafka", &broker.address().to_string(), "--elasticsearch", &engine])
        .args(arguments.arguments.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_commit(&log, arguments.set, &mut child).await;
    let (wall, own) = (begun.elapsed().as_secs_f64(), processor_time(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    let records: f64 = count.to_string().parse().unwrap();
    println!(
        "{count} documents of {:.0} B in {pattern}: {wall:.1} s, {own:.2} s of processor time, {:.0} documents/s a core",
        per(bytes, count),
        records / own
    );
    if let (Some(before), Some(pid)) = (engine_before, arguments.engine_pid) {
        let engine = processor_time(pid) - before;
        println!("engine: {engine:.2} s of processor time; the indexer took {:.1} % of that", 100.0 * own / engine);
    }
    let sizes = if arguments.elasticsearch.is_some() {
        let sizes = Sizes::of(&elastic, &pattern, count, bytes).await;
        sizes.print(&pattern);
        Some(sizes)
    } else {
        assert_eq!(sink::taken(), count, "every record is one document");
        None
    };
    broker.shutdown().await;
    sizes
}

/// Merging a whole day's index takes minutes.
fn connect(engine: &str) -> Elastic {
    let elasticsearch_timeout = Duration::from_secs(1_800);
    Elastic::new(&ElasticSettings { elasticsearch_timeout, ..ElasticSettings::of(&[engine]) }).unwrap()
}

/// Each level and each other set in turn, and the table of what their fields cost.
async fn bytes_by_field(arguments: &Arguments, program: &Path, file: &Path) {
    let engine = arguments.elasticsearch.as_deref().unwrap();
    let levels = (0..4).map(|level| (format!("level {level}"), Set::Flows, level));
    let others = [("DNS", Set::Dns), ("ledger", Set::Ledger), ("audit", Set::Audit)];
    let mut measured = Vec::new();
    for (name, set, level) in levels.chain(others.map(|(name, set)| (name.to_owned(), set, 0))) {
        let one = Arguments { set, level, ..arguments.clone() };
        measured.push((name, measure(&one, program).await.unwrap()));
    }
    let info = connect(engine).info().await.unwrap();
    let command = format!(
        "cargo test --bench load -- --indexer PROGRAM --elasticsearch URL --records {} --pods {} --bytes-by-field docs/benchmarks.md",
        arguments.records, arguments.pods
    );
    sizes::write(file, &format!("{} {}", info.distribution, info.version), &command, &measured);
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let Some(program) = &arguments.indexer else {
        return println!("nothing is measured without --indexer; see --help");
    };
    match &arguments.bytes_by_field {
        Some(file) => bytes_by_field(&arguments, program, file).await,
        None => drop(measure(&arguments, program).await),
    }
}
