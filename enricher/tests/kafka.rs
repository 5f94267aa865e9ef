//! A cluster over the Kafka protocol: the embedded broker, or a real Kafka where `WEIR_TEST_KAFKA=host:port` is set.

#![allow(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};
use weir_embedded_broker::{Broker, BrokerSettings};
use weir_enricher::EnricherSettings;
use weir_enricher::replay::{PlanError, Replay, Request};
use weir_flow::{RecordSettings, time};
use weir_schemas::enriched::Enriched;
use weir_schemas::metadata::{Heartbeat, Metadata, Proof};
use weir_schemas::raw::{Coarsening, End, OpenedBy, Origin, Point, RawBatch, Sample, Totals};
use weir_schemas::settings::Settings;
use weir_schemas::{Message, decode, encode, topics};
use weir_service::{CancellationToken, Health, Metrics};
use weir_stream::{
    KafkaSettings, Log, NewRecord, Partitions, Producer, ProducerSettings, Start, TopicPartition, TopicSpec,
};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn sample(end: End, tick: i64) -> Sample {
    Sample {
        zero_windows: 0,
        coarsened: Coarsening::None,
        handshake: None,
        resets: 0,
        point: Point::Host,
        end,
        interface: "eth0".to_owned(),
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        source_port: 40_000,
        destination_port: 443,
        protocol: 6,
        translated: None,
        opened_by: OpenedBy::Source,
        first_seen: tick,
        last_seen: tick,
        bytes: 100,
        packets: 1,
        tcp_flags: 0x18,
        started: 0,
        ended: 0,
        opened_at: None,
        cumulative_bytes: 0,
        cumulative_packets: 0,
        drops: Vec::new(),
        retransmits: 0,
        round_trip: None,
        pod_uid: None,
        container: None,
        process: None,
        sampling: 1,
    }
}

fn batch(cluster: &str, node: &str, sequence: u64, tick: i64, end: End) -> RawBatch {
    RawBatch {
        dns: Vec::new(),
        cluster: cluster.to_owned(),
        node: node.to_owned(),
        boot: "boot".to_owned(),
        sequence,
        tick,
        tick_length: 1_000,
        ticks: 1,
        part: 0,
        parts: 1,
        origin: Origin::Ebpf,
        seen: Totals::default(),
        published: Totals::default(),
        lost: Vec::new(),
        samples: vec![sample(end, tick)],
    }
}

async fn put<T: Message>(producer: &Producer, topic: &str, partition: i32, key: &str, value: &T) {
    let record = NewRecord::new(topic, key.to_owned(), encode(value).unwrap()).to_partition(partition);
    producer.send(record).unwrap().await.unwrap();
}

async fn prepare(log: &Log, producer: &Producer, cluster: &str) {
    log.check(Duration::from_secs(60)).await.unwrap();
    let specs: Vec<TopicSpec> = topics::of(cluster, 3, 2, 2)
        .into_iter()
        .map(|topic| TopicSpec { name: topic.name, partitions: topic.partitions, configs: topic.configs })
        .collect();
    log.ensure_topics(&specs).await.unwrap();
    let settings = RecordSettings { raw_partitions: 3, internal_partitions: 2, ..RecordSettings::small(cluster) };
    put(producer, topics::SETTINGS, 0, cluster, &Settings::from(&settings)).await;
    let heartbeat = Metadata::Heartbeat(Heartbeat {
        cluster: cluster.to_owned(),
        complete_to: time::FOR_EVER,
        proof: Proof::Closed,
        cluster_known: false,
    });
    put(producer, topics::METADATA, 0, &format!("{cluster}/heartbeat/0"), &heartbeat).await;
}

fn start(log: &Log, cluster: &str, instance: &str) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let settings = EnricherSettings {
        cluster: cluster.to_owned(),
        instance: Some(instance.to_owned()),
        ..EnricherSettings::default()
    };
    let (token, log) = (CancellationToken::new(), log.clone());
    let stop = token.clone();
    let task =
        tokio::spawn(async move { weir_enricher::run(settings, log, &Metrics::new(), &Health::new(), stop).await });
    (token, task)
}

/// A replay gives the very bytes, while it can; then it names what was lost.
async fn replayed_to_the_byte(log: &Log, cluster: &str, begin: i64, stored: &BTreeMap<String, Enriched>) {
    let last = stored.values().map(|record| record.generation).max().unwrap();
    let request = Request {
        cluster: cluster.to_owned(),
        from: begin,
        to: last,
        // The late bound is an hour.
        open: true,
        before_history: false,
        mmdb: Vec::new(),
        as_far_as_known: false,
        level: None,
    };
    let mut replay = Replay::prepare(&request, log, &Metrics::new()).await.unwrap();
    let mut replayed = BTreeMap::new();
    while let Some(records) = replay.next().await.unwrap() {
        for record in records.flows {
            assert!(replayed.insert(record.id.clone(), encode(&record).unwrap()).is_none(), "given twice");
        }
    }
    let expected: BTreeMap<_, _> = stored.iter().map(|(id, record)| (id.clone(), encode(record).unwrap())).collect();
    assert_eq!(replayed, expected);
    assert!(replay.written_by_the_enricher().await.unwrap().is_some_and(|written| written >= last));

    let refused = Replay::prepare(&Request { open: false, ..request.clone() }, log, &Metrics::new()).await;
    assert!(matches!(refused.unwrap_err().downcast_ref(), Some(PlanError::Incomplete { .. })));
    let partition = TopicPartition::new(topics::raw(cluster), 0);
    log.delete_records(&partition, 5).await.unwrap();
    let refused = Replay::prepare(&request, log, &Metrics::new()).await.unwrap_err();
    let lost = matches!(
        refused.downcast_ref(),
        Some(PlanError::Expired { to: 5, .. } | PlanError::NoCheckpoint { log_start: 5, .. })
    );
    assert!(lost, "{refused:#}");
}

/// Two enrichers, one of which goes away while agents work; then the agents fall silent. One of three raw partitions is
/// never written to by an agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_is_counted_once_also_after_the_agents_fall_silent() {
    let folder = tempfile::tempdir().unwrap();
    let real = std::env::var("WEIR_TEST_KAFKA").ok();
    let broker = match &real {
        Some(_) => None,
        None => {
            let address = "127.0.0.1:0".parse().unwrap();
            Some(Broker::start(BrokerSettings::new(folder.path().to_path_buf(), address)).await.unwrap())
        }
    };
    let address = broker.as_ref().map_or_else(|| real.unwrap_or_default(), |broker| broker.address().to_string());
    let log = Log::kafka(&KafkaSettings::at(address)).unwrap();
    let producer = log.producer(&ProducerSettings::new("test")).unwrap();
    let cluster = format!("test-{}", now());
    prepare(&log, &producer, &cluster).await;
    let (first, second) = (start(&log, &cluster, "one"), start(&log, &cluster, "two"));
    let (raw, mut sent) = (topics::raw(&cluster), 0);
    let begin = time::floor_to(now(), 1_000);
    for sequence in 0..12_u64 {
        let tick = begin + i64::try_from(sequence).unwrap() * 1_000;
        while now() < tick + 1_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        put(&producer, &raw, 0, "node-a", &batch(&cluster, "node-a", sequence, tick, End::Source)).await;
        put(&producer, &raw, 1, "node-b", &batch(&cluster, "node-b", sequence, tick, End::Destination)).await;
        sent += 100;
        if sequence == 6 {
            second.0.cancel();
        }
    }
    second.1.await.unwrap().unwrap();
    let mut reader = log.reader(topics::ENRICHED, Partitions::All, Start::Beginning).await.unwrap();
    let mut stored: BTreeMap<String, Enriched> = BTreeMap::new();
    let begun = Instant::now();
    let bytes = |stored: &BTreeMap<String, Enriched>, side: fn(&Enriched) -> u64| {
        stored.values().filter(|record| record.level == 1).map(side).sum::<u64>()
    };
    // Nobody covers the initiator, so that the responder's report counts.
    while bytes(&stored, |record| record.totals.forward_bytes) < sent {
        assert!(begun.elapsed() < Duration::from_secs(90), "timed out with {stored:?}");
        for record in reader.next(Duration::from_millis(500)).await.unwrap() {
            let record: Enriched = decode(record.value.as_ref().unwrap()).unwrap();
            if record.cluster == cluster {
                assert!(stored.insert(record.id.clone(), record).is_none(), "a record was written twice");
            }
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.0.cancel();
    first.1.await.unwrap().unwrap();
    assert_eq!(bytes(&stored, |record| record.totals.forward_bytes), sent);
    let reported = |record: &Enriched| record.by_initiator.as_ref().map_or(0, |report| report.counters.forward_bytes);
    assert_eq!(bytes(&stored, reported), sent);
    replayed_to_the_byte(&log, &cluster, begin, &stored).await;
    drop(producer);
    if let Some(broker) = broker {
        let _ = broker.shutdown().await;
    }
}
