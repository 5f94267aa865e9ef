//! Exactly once while the broker goes away and comes back. Runs on the embedded broker, and on a real
//! Kafka where `WEIR_TEST_KAFKA=host:port` is set and `WEIR_TEST_KAFKA_RESTART` names a program that
//! stops it (as rudely as it likes) and starts it again.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use weir_embedded_broker::{Broker, BrokerSettings};
use weir_stream::{
    ErrorKind, Event, GroupConsumer, GroupMetadata, GroupSettings, KafkaSettings, Log, NewRecord, OffsetAndMetadata,
    Partitions, ProducerSettings, Record, Result, Start, TopicPartition, TopicSpec, TransactionSettings,
    TransactionalProducer,
};

const RECORDS: i64 = 400;
const LIMIT: Duration = Duration::from_secs(180);
const IDLE: Duration = Duration::from_secs(60);

struct Names {
    input: String,
    output: String,
    group: String,
}

/// One life of an owner, from committed positions to the end of the input or to an error.
async fn live(log: &Log, names: &Names, pace: Duration) -> Result<bool> {
    let settings = TransactionSettings::new(format!("{}-0", names.group));
    let mut producer = log.transactional_producer(&settings).await?;
    let mut consumer = log.group_consumer(&GroupSettings {
        instance_id: Some("0".into()),
        session_timeout: Duration::from_secs(10),
        max_batch_records: 10,
        ..GroupSettings::new(&names.group, [&names.input])
    })?;
    let outcome = work(&mut producer, &mut consumer, &names.output, pace).await;
    consumer.close().await;
    outcome
}

async fn work(
    producer: &mut TransactionalProducer,
    consumer: &mut GroupConsumer,
    output: &str,
    pace: Duration,
) -> Result<bool> {
    let mut current: Option<GroupMetadata> = None;
    let mut positions: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    while positions.is_empty() || positions.values().any(|position| *position < RECORDS) {
        match consumer.next(Duration::from_secs(1)).await? {
            Event::Assigned { partitions, group_metadata } => {
                let starts = partitions.iter().map(|assigned| {
                    let committed = assigned.committed.as_ref();
                    (assigned.partition.clone(), committed.map_or(0, |committed| committed.offset))
                });
                let starts: Vec<_> = starts.collect();
                consumer.start(&starts).await?;
                positions = starts.into_iter().collect();
                current = Some(group_metadata);
            }
            Event::Revoked { done, .. } | Event::Lost { done, .. } => {
                current = None;
                positions.clear();
                done.done();
            }
            Event::Records(records) => {
                let Some(group) = &current else { continue };
                match transact(producer, output, &records, group).await {
                    Ok(committed) => positions.extend(committed),
                    Err(error) if error.kind() == ErrorKind::Abortable => {
                        producer.abort().await?;
                        // Its records are behind the position: start over.
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(pace).await;
            }
            Event::OutOfRange { .. } | Event::Idle => {}
        }
    }
    Ok(true)
}

async fn transact(
    producer: &mut TransactionalProducer,
    output: &str,
    records: &[Record],
    group: &GroupMetadata,
) -> Result<BTreeMap<TopicPartition, i64>> {
    producer.begin().await?;
    let mut next = BTreeMap::new();
    for record in records {
        let text = format!("{}/{}", record.partition, record.offset);
        producer.send(NewRecord::new(output, text.clone(), text)).await?;
        next.insert(record.topic_partition(), record.offset + 1);
    }
    let positions: Vec<_> =
        next.iter().map(|(partition, offset)| (partition.clone(), OffsetAndMetadata::new(*offset, "1"))).collect();
    producer.send_offsets(&positions, group).await?;
    producer.commit().await?;
    Ok(next)
}

async fn run(log: &Log, restart: impl AsyncFn(u32)) {
    let started = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let names = Names {
        input: format!("restart-{started}-input"),
        output: format!("restart-{started}-output"),
        group: format!("restart-{started}"),
    };
    log.check(Duration::from_secs(30)).await.unwrap();
    let topics = [TopicSpec::new(&names.input, 2), TopicSpec::new(&names.output, 2)];
    log.ensure_topics(&topics).await.unwrap();
    let source = log.producer(&ProducerSettings::new("source")).unwrap();
    let deadline = Instant::now() + LIMIT;
    let fill = async {
        for number in 0..RECORDS {
            for partition in 0..2 {
                let record = NewRecord::new(&*names.input, "k", number.to_string());
                drop(source.send(record.to_partition(partition)).unwrap());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        source.flush(IDLE).await.unwrap();
    };
    let owner = async {
        let mut lives = 0;
        loop {
            assert!(Instant::now() < deadline, "not done after {lives} lives");
            lives += 1;
            match live(log, &names, Duration::from_millis(10)).await {
                Ok(true) => return lives,
                Ok(false) => {}
                Err(error) => eprintln!("life {lives}: {error}"),
            }
        }
    };
    let restarts = async {
        for number in 0..3 {
            tokio::time::sleep(Duration::from_millis(900)).await;
            restart(number).await;
        }
    };
    let (lives, (), ()) = tokio::join!(owner, fill, restarts);
    eprintln!("{lives} lives");

    let reader = log.reader(&names.output, Partitions::All, Start::Beginning).await;
    let read = reader.unwrap().read_to_end(IDLE).await.unwrap();
    let mut found: Vec<String> =
        read.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()).collect();
    let mut expected: Vec<String> =
        (0..2).flat_map(|partition| (0..RECORDS).map(move |number| format!("{partition}/{number}"))).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let settings = BrokerSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap());
    let broker = Broker::start(settings).await.unwrap();
    let address = broker.address();
    let log = Log::kafka(&KafkaSettings::at(address.to_string())).unwrap();
    let broker = tokio::sync::Mutex::new(Some(broker));
    run(&log, async |_| {
        let mut broker = broker.lock().await;
        broker.take().unwrap().shutdown().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let started = Broker::start(BrokerSettings::new(folder.path(), address)).await;
        *broker = Some(started.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka() {
    let (Ok(address), Ok(program)) = (std::env::var("WEIR_TEST_KAFKA"), std::env::var("WEIR_TEST_KAFKA_RESTART"))
    else {
        eprintln!("skipped: set WEIR_TEST_KAFKA and WEIR_TEST_KAFKA_RESTART to run on a real Kafka");
        return;
    };
    let log = Log::kafka(&KafkaSettings::at(address)).unwrap();
    run(&log, async |_| {
        let program = program.clone();
        let restarting = tokio::task::spawn_blocking(move || Command::new(program).status());
        assert!(restarting.await.unwrap().unwrap().success());
    })
    .await;
}
