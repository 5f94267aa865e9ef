//! The services as processes of their own on real engines, as docker-compose and Kubernetes start them.
//!
//! `WEIR_TEST_KAFKA=host:port` and `WEIR_TEST_ELASTICSEARCH=http://host:port` name the engines; each run is a cluster of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_flow::{Address, Millis, time};
use weir_schemas::metadata::{Agent, Bound, BoundSource, Heartbeat, Metadata, Object, Proof, Revision};
use weir_schemas::raw::{Coarsening, End, OpenedBy, Origin, Point, RawBatch, Sample, Totals};
use weir_schemas::topics;
use weir_stream::{KafkaSettings, Log, NewRecord, Producer, ProducerSettings};

const NODES: i32 = 4;
const TICKS: i64 = 60;
const FLOWS: u64 = 50;

struct Engines {
    kafka: String,
    elasticsearch: String,
    cluster: String,
}

/// A service that is killed when the test ends.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program of a service, beside `weir`.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_weir")).with_file_name(name)
}

impl Engines {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .env("WEIR_KAFKA", &self.kafka)
            .env("WEIR_ELASTICSEARCH", &self.elasticsearch)
            .env("WEIR_CLUSTER", &self.cluster)
            .stdin(Stdio::null());
        command
    }

    fn start(&self, name: &str, environment: &[(&str, &str)]) -> Service {
        let mut command = self.command(name);
        command.envs(environment.iter().copied());
        Service(command.spawn().unwrap_or_else(|e| panic!("{name}: {e} (build it: cargo build --bins)")))
    }

    /// Sum of bytes and number of documents of this cluster at a level.
    fn stored(&self, level: u8) -> (u64, u64) {
        let body = json!({
            "size": 0,
            "track_total_hits": true,
            "query": {"bool": {"filter": [
                {"term": {"weir.level": level}}, {"term": {"orchestrator.cluster.name": self.cluster}}]}},
            "aggs": {"bytes": {"sum": {"field": "network.bytes"}}},
        });
        let url = format!("{}/weir-flows/_search?ignore_unavailable=true", self.elasticsearch);
        let output = Command::new("curl")
            .args(["-sS", "-XPOST", "-H", "content-type: application/json", "-d", &body.to_string(), &url])
            .output()
            .unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let bytes = answer["aggregations"]["bytes"]["value"].as_f64().unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sums here are small whole numbers"
        )]
        let bytes = bytes as u64;
        (bytes, answer["hits"]["total"]["value"].as_u64().unwrap_or(0))
    }
}

fn sample(node: i32, tick: Millis, flow: u64) -> Sample {
    let host = u8::try_from(flow % 200).unwrap() + 1;
    let bytes = 100 + flow * 7;
    Sample {
        zero_windows: 0,
        coarsened: Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Pod,
        end: End::Source,
        interface: "veth".to_owned(),
        source: Address::new(Ipv4Addr::new(10, 1, u8::try_from(node).unwrap(), host).into()),
        destination: Address::new(Ipv4Addr::new(10, 2, 0, host).into()),
        source_port: 40_000 + u16::try_from(flow).unwrap(),
        destination_port: 443,
        protocol: 6,
        translated: None,
        opened_by: OpenedBy::Source,
        first_seen: tick,
        last_seen: tick + 500,
        bytes,
        packets: 1 + flow % 5,
        tcp_flags: 2,
        started: 1,
        ended: 0,
        opened_at: Some(tick),
        cumulative_bytes: bytes,
        cumulative_packets: 1 + flow % 5,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
    }
}

/// Publishes ticks `from..to` of every node; the bytes published.
async fn publish(engines: &Engines, producer: &Producer, begin: Millis, from: i64, to: i64) -> u64 {
    let mut bytes = 0;
    for n in from..to {
        for node in 0..NODES {
            let tick = begin + n * 1_000;
            let samples: Vec<_> = (0..FLOWS).map(|f| sample(node, tick, f)).collect();
            bytes += samples.iter().map(|s| s.bytes).sum::<u64>();
            let batch = RawBatch {
                dns: Vec::new(),
                cluster: engines.cluster.clone(),
                node: format!("node-{node}"),
                boot: "boot".to_owned(),
                sequence: u64::try_from(n).unwrap(),
                tick,
                tick_length: 1_000,
                ticks: 1,
                part: 0,
                parts: 1,
                origin: Origin::Ebpf,
                seen: Totals::default(),
                published: Totals::default(),
                lost: Vec::new(),
                samples,
            };
            let value = weir_schemas::encode(&batch).unwrap();
            let record = NewRecord::new(topics::raw(&engines.cluster), batch.node, value).to_partition(node);
            producer.send(record).unwrap().await.unwrap();
        }
    }
    bytes
}

/// One agent that covers everything, and that nothing more will be learnt.
async fn publish_metadata(engines: &Engines, producer: &Producer) {
    let always = Bound { earliest: i64::MIN, latest: i64::MIN, source: BoundSource::Always };
    let agent = Agent { node: "node-0".to_owned(), networks: vec!["10.0.0.0/8".to_owned()], one_observer: false };
    let revision = Revision {
        labels_dropped: 0,
        annotations: Vec::new(),
        changed_at: None,
        changed_by: String::new(),
        cluster: engines.cluster.clone(),
        uid: "agent".to_owned(),
        revision: 1,
        namespace: String::new(),
        name: "agent".to_owned(),
        labels: Vec::new(),
        valid_from: always,
        valid_to: None,
        object: Object::Agent(agent),
    };
    let heartbeat = Heartbeat {
        cluster: engines.cluster.clone(),
        complete_to: time::FOR_EVER,
        proof: Proof::Closed,
        cluster_known: false,
    };
    for message in [Metadata::Revision(revision), Metadata::Heartbeat(heartbeat)] {
        let value = weir_schemas::encode(&message).unwrap();
        producer.send(NewRecord::new(topics::METADATA, message.key(0), value).to_partition(0)).unwrap().await.unwrap();
    }
}

#[test]
fn two_enrichers_one_killed_count_every_byte_once() {
    let (Ok(kafka), Ok(elasticsearch)) = (std::env::var("WEIR_TEST_KAFKA"), std::env::var("WEIR_TEST_ELASTICSEARCH"))
    else {
        eprintln!("skipped: needs real engines (set WEIR_TEST_KAFKA and WEIR_TEST_ELASTICSEARCH)");
        return;
    };
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let engines = Engines { kafka, elasticsearch, cluster: format!("test-{now}") };
    let init = |more: &[&str]| {
        let arguments = ["init", "--tick", "1s", "--window", "5s", "--grace", "2s", "--tolerance", "1s"];
        let partitions = ["--raw-partitions", "4", "--internal-partitions", "2", "--enriched-partitions", "1"];
        engines.command("weir").args(arguments).args(partitions).args(more).output().unwrap()
    };
    let made = init(&[]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(String::from_utf8_lossy(&init(&[]).stdout).contains("was ready already"));
    let other = init(&["--late-bound", "2h"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("late bound is 1h, not 2h"));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = Log::kafka(&KafkaSettings::at(engines.kafka.clone())).unwrap();
    let producer = runtime.block_on(async { log.producer(&ProducerSettings::new("test")).unwrap() });
    runtime.block_on(publish_metadata(&engines, &producer));

    let first = engines.start("weir-enricher", &[("WEIR_INSTANCE", "e-0")]);
    let _second = engines.start("weir-enricher", &[("WEIR_INSTANCE", "e-1")]);
    let _indexer = engines.start("weir-indexer", &[("WEIR_INDEXER_GROUP", &engines.cluster)]);
    let begin = time::floor_to(now - 120_000, 5_000);
    let mut published = runtime.block_on(publish(&engines, &producer, begin, 0, TICKS / 2));
    std::thread::sleep(Duration::from_secs(6));
    drop(first); // kill -9, with transactions under way or not
    published += runtime.block_on(publish(&engines, &producer, begin, TICKS / 2, TICKS));
    let _first = engines.start("weir-enricher", &[("WEIR_INSTANCE", "e-0")]);

    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let stored: Vec<_> = [1, 2].map(|level| engines.stored(level)).to_vec();
        assert!(
            stored.iter().all(|(bytes, _)| *bytes <= published),
            "{stored:?} stored, {published} published: counted twice"
        );
        if stored.iter().all(|(bytes, _)| *bytes == published) {
            // One record per window and key: 50 flows of 4 nodes at level 1. Agents that are two minutes behind do not hold windows
            // open, so that the second half is late: of a window that came while a generation ended there are two of each.
            let keys = FLOWS * u64::try_from(NODES).unwrap();
            let windows = u64::try_from(TICKS).unwrap() / 5;
            assert!((windows * keys..=(windows + 2) * keys).contains(&stored[0].1), "{stored:?}");
            break;
        }
        assert!(Instant::now() < deadline, "{stored:?} stored, {published} published");
        std::thread::sleep(Duration::from_millis(500));
    }
}
