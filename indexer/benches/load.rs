//! Load for the indexer as a program: records on a broker, an engine or a sink that accepts everything at once, and the processor
//! time that the program took. A run fails when not every document was written.
//!
//! `cargo test --bench load -- --help` says how.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a driver for people")]

#[path = "load/records.rs"]
mod records;
#[path = "load/sink.rs"]
mod sink;

use clap::Parser;
use records::Traffic;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weir_elastic::{Elastic, ElasticSettings, Method};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_indexer::document::prepare;
use weir_indexer::periods::Periods;
use weir_schemas::enriched::Enriched;
use weir_schemas::topics;
use weir_stream::{KafkaSettings, Log, NewRecord, ProducerSettings, TopicPartition, TopicSpec};

#[derive(Parser)]
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
        let made = move |n| weir_schemas::encode(&records::record(traffic, n)).unwrap();
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
    let partitions = 4;
    log.ensure_topics(&[TopicSpec::new(topics::ENRICHED, partitions)]).await.unwrap();
    let producer = log.producer(&ProducerSettings::new("load")).unwrap();
    let (mut deliveries, mut count, mut bytes) = (Vec::new(), 0, 0);
    for message in messages(arguments) {
        let record: Enriched = weir_schemas::decode(&message).unwrap();
        assert_eq!(record.level, arguments.level);
        let operation = prepare(&record, &Periods::default()).unwrap().operation;
        let document = operation.as_bytes().split(|byte| *byte == b'\n').nth(1).unwrap();
        bytes += u64::try_from(document.len()).unwrap();
        let partition = i32::try_from(count % 4).unwrap();
        let message = NewRecord::new(topics::ENRICHED, record.id, message);
        deliveries.push(producer.send(message.to_partition(partition)).unwrap());
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

async fn wait_for_commit(log: &Log, child: &mut Child) {
    let partitions: Vec<_> = (0..4).map(|p| TopicPartition::new(topics::ENRICHED, p)).collect();
    let until = Instant::now() + Duration::from_secs(3_600);
    loop {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "the indexer did not get through");
        let mut done = true;
        for (partition, committed) in log.committed("weir-indexer", &partitions).await.unwrap() {
            done &= committed.map_or(0, |c| c.offset) >= log.log_end(&partition).await.unwrap();
        }
        if done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bytes of the level's indices after a merge, and of each field where the engine tells.
async fn sizes(elastic: &Elastic, level: u8, records: u64) {
    let pattern = format!("weir-flows-l{level}-*");
    elastic.refresh(&pattern).await.unwrap();
    let before: u64 = elastic.indices(&pattern).await.unwrap().iter().filter_map(|i| i.bytes).sum();
    for index in elastic.indices(&pattern).await.unwrap() {
        elastic
            .request(Method::Post, &format!("/{}/_forcemerge", index.name), &[("max_num_segments", "1")], None)
            .await
            .unwrap();
        elastic.request(Method::Post, &format!("/{}/_flush", index.name), &[], None).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let listed = elastic.indices(&pattern).await.unwrap();
    let (docs, bytes) = listed.iter().fold((0, 0), |(d, b), i| (d + i.docs.unwrap_or(0), b + i.bytes.unwrap_or(0)));
    assert_eq!(docs, records, "every record is one document");
    println!("level {level}: {:.1} B a document as written, {:.1} B merged", per(before, docs), per(bytes, docs));
    let mut fields: BTreeMap<String, u64> = BTreeMap::new();
    for index in &listed {
        let path = format!("/{}/_disk_usage", index.name);
        let Ok(reply) = elastic.request(Method::Post, &path, &[("run_expensive_tasks", "true")], None).await else {
            return println!("this engine does not tell what a field costs");
        };
        let answer: Value = serde_json::from_slice(&reply.body).unwrap();
        for (name, field) in answer[&index.name]["fields"].as_object().into_iter().flatten() {
            *fields.entry(name.clone()).or_default() += field["total_in_bytes"].as_u64().unwrap_or(0);
        }
    }
    let all: u64 = fields.values().sum();
    println!("level {level}: {:.1} B a document by all its fields", per(all, docs));
    let mut fields: Vec<_> = fields.into_iter().filter(|(_, bytes)| per(*bytes, docs) >= 0.05).collect();
    fields.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (name, bytes) in fields {
        println!("  {:>6.2} B  {name}", per(bytes, docs));
    }
}

fn per(total: u64, count: u64) -> f64 {
    let number = |n: u64| n.to_string().parse::<f64>().unwrap();
    number(total) / number(count.max(1))
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let Some(program) = &arguments.indexer else {
        return println!("nothing is measured without --indexer; see --help");
    };
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerSettings::new(data.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    let log = Log::kafka(&KafkaSettings::at(broker.address().to_string())).unwrap();
    let (count, bytes) = produce(&log, &arguments).await;
    let engine = arguments.elasticsearch.clone().unwrap_or_else(sink::start);
    // Merging a whole day's index takes minutes.
    let elasticsearch_timeout = Duration::from_secs(1_800);
    let settings = ElasticSettings { elasticsearch_timeout, ..ElasticSettings::of(&[&engine]) };
    let elastic = Elastic::new(&settings).unwrap();
    if arguments.elasticsearch.is_some() {
        for index in elastic.indices(&format!("weir-flows-l{}-*", arguments.level)).await.unwrap() {
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
    wait_for_commit(&log, &mut child).await;
    let (wall, own) = (begun.elapsed().as_secs_f64(), processor_time(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    let records: f64 = count.to_string().parse().unwrap();
    println!(
        "{count} documents of {:.0} B at level {}: {wall:.1} s, {own:.2} s of processor time, {:.0} documents/s a core",
        per(bytes, count),
        arguments.level,
        records / own
    );
    if let (Some(before), Some(pid)) = (engine_before, arguments.engine_pid) {
        let engine = processor_time(pid) - before;
        println!("engine: {engine:.2} s of processor time; the indexer took {:.1} % of that", 100.0 * own / engine);
    }
    if arguments.elasticsearch.is_some() {
        sizes(&elastic, arguments.level, count).await;
    } else {
        assert_eq!(sink::taken(), count, "every record is one document");
    }
    broker.shutdown().await;
}
