use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{ErrorKind, Event, Log, NewRecord};

const NOW: Duration = Duration::ZERO;

fn log(topic: &str, partitions: i32) -> (MemoryLog, Log) {
    let memory = MemoryLog::new();
    memory.ensure_topics(&[TopicSpec::new(topic, partitions)]).unwrap();
    (memory.clone(), Log::from(memory))
}

fn values(memory: &MemoryLog, topic: &str) -> Vec<String> {
    let records = memory.all_records(topic);
    let value = |record: &Record| String::from_utf8_lossy(record.value.as_deref().unwrap()).into();
    records.iter().map(value).collect()
}

async fn written(memory: &MemoryLog, id: &str, topic: &str, value: &str) -> TransactionalProducer {
    let settings = TransactionSettings::new(id);
    let mut producer = memory.transactional_producer(&settings);
    producer.begin().await.unwrap();
    let record = NewRecord::new(topic, "k", value.to_owned());
    producer.send(record).await.unwrap();
    producer
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_as_injected() {
    for applied in [false, true] {
        let (memory, _) = log("t", 1);
        let mut producer = written(&memory, "id", "t", "torn").await;
        memory.inject(Fault::CommitUnknown { applied });
        let error = producer.commit().await.unwrap_err();
        assert!(error.needs_rebuild(), "{error}");
        assert!(producer.begin().await.unwrap_err().needs_rebuild());
        let successor = written(&memory, "id", "t", "next").await;
        assert_eq!(values(&memory, "t").len(), usize::from(applied));
        drop(successor);
        assert_eq!(memory.faults(), []);
    }
}

#[tokio::test]
async fn an_abortable_fault_leaves_the_producer_usable() {
    let (memory, _) = log("t", 1);
    let mut producer = written(&memory, "id", "t", "one").await;
    memory.inject(Fault::CommitAbortable);
    assert_eq!(producer.commit().await.unwrap_err().kind(), ErrorKind::Abortable);
    assert_eq!(producer.begin().await.unwrap_err().kind(), ErrorKind::Abortable);
    producer.abort().await.unwrap();
    producer.begin().await.unwrap();
    producer.send(NewRecord::new("t", "k", "two")).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(values(&memory, "t"), ["two"]);
}

#[tokio::test]
async fn a_late_duplicate_of_a_commit_tears_the_next_transaction() {
    let (memory, _) = log("t", 1);
    let mut producer = written(&memory, "id", "t", "first half").await;
    memory.duplicate_commit("id");
    assert_eq!(values(&memory, "t"), ["first half"]);
    producer.send(NewRecord::new("t", "k", "second half")).await.unwrap();
    assert_eq!(values(&memory, "t"), ["first half"]);
    producer.commit().await.unwrap();
    assert_eq!(values(&memory, "t"), ["first half", "second half"]);
}

#[tokio::test]
async fn an_expired_transaction_fences_its_producer() {
    let (memory, _) = log("t", 1);
    let mut producer = written(&memory, "id", "t", "late").await;
    memory.expire_transaction("id");
    assert_eq!(producer.commit().await.unwrap_err().kind(), ErrorKind::Fenced);
    assert!(values(&memory, "t").is_empty());
}

#[tokio::test]
async fn a_delivery_of_unknown_outcome_is_as_injected() {
    for written in [false, true] {
        let (memory, log) = log("t", 1);
        memory.inject(Fault::DeliveryUnknown { written });
        let producer = log.producer(&ProducerSettings::new("p")).unwrap();
        let delivery = producer.send(NewRecord::new("t", "k", "v")).unwrap();
        let error = delivery.await.unwrap_err();
        assert!(matches!(error, StreamError::Delivery { outcome_unknown: true, .. }), "{error}");
        assert_eq!(values(&memory, "t").len(), usize::from(written));
    }
}

#[tokio::test]
async fn a_test_deals_out_the_partitions() {
    let (memory, log) = log("t", 3);
    memory.manual_assignment("g");
    let member = |name: &str| {
        let settings = GroupSettings { instance_id: Some(name.into()), ..GroupSettings::new("g", ["t"]) };
        log.group_consumer(&settings).unwrap()
    };
    let mut one = member("one");
    let mut two = member("two");
    assert!(matches!(one.next(NOW).await.unwrap(), Event::Idle));
    let tp = |partition| TopicPartition::new("t", partition);
    memory.rebalance("g", &[("one", vec![tp(0), tp(2)]), ("two", vec![tp(1)])]);
    let of = |event: Event| match event {
        Event::Assigned { partitions, .. } => partitions.iter().map(|p| p.partition.partition).collect::<Vec<_>>(),
        other => panic!("an assignment expected, not {other:?}"),
    };
    assert_eq!(of(one.next(NOW).await.unwrap()), [0, 2]);
    assert_eq!(of(two.next(NOW).await.unwrap()), [1]);

    memory.rebalance("g", &[("two", vec![tp(0), tp(1), tp(2)])]);
    let first = one.next(NOW).await.unwrap();
    let second = two.next(NOW).await.unwrap();
    let (Event::Revoked { done: first, .. }, Event::Revoked { done: second, .. }) = (first, second) else {
        panic!("revocations expected");
    };
    first.done();
    assert!(matches!(two.next(NOW).await.unwrap(), Event::Idle));
    second.done();
    assert_eq!(of(two.next(NOW).await.unwrap()), [0, 1, 2]);
    assert_eq!(of(one.next(NOW).await.unwrap()), [] as [i32; 0]);
}

#[tokio::test]
async fn an_expired_member_is_told_and_refused() {
    let (memory, log) = log("t", 1);
    let settings = GroupSettings::new("g", ["t"]);
    let mut consumer = log.group_consumer(&settings).unwrap();
    let Event::Assigned { group_metadata: stale, .. } = consumer.next(NOW).await.unwrap() else {
        panic!("an assignment expected");
    };
    memory.expire_member("g", "g");
    let mut producer = written(&memory, "id", "t", "zombie").await;
    let positions = [(TopicPartition::new("t", 0), OffsetAndMetadata::new(1, ""))];
    let refused = producer.send_offsets(&positions, &stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Abortable);
    let Event::Lost { done, .. } = consumer.next(NOW).await.unwrap() else {
        panic!("a loss expected");
    };
    done.done();
    assert!(matches!(consumer.next(NOW).await.unwrap(), Event::Assigned { .. }));
    producer.abort().await.unwrap();
    let fresh = consumer.group_metadata().unwrap().clone();
    producer.begin().await.unwrap();
    producer.send_offsets(&positions, &fresh).await.unwrap();
    producer.commit().await.unwrap();
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let (memory, log) = log("t", 1);
    written(&memory, "id", "t", "a").await.commit().await.unwrap();
    written(&memory, "id", "t", "b").await.abort().await.unwrap();
    let metrics: BTreeMap<&str, f64> = log.metrics().iter().map(|m| (m.name, m.value)).collect();
    assert!(metrics["stream_records_written"] > 1.5);
    assert!((metrics["stream_transactions_committed"] - 1.0).abs() < 0.1);
    assert!((metrics["stream_transactions_aborted"] - 1.0).abs() < 0.1);
}

#[derive(Clone, Debug)]
enum Step {
    Plain(u8),
    Begin,
    Send(u8),
    Commit,
    Abort,
    /// A new producer of the same id.
    Restart,
    CommitUnknown(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any::<u8>().prop_map(Step::Plain),
        3 => Just(Step::Begin),
        6 => any::<u8>().prop_map(Step::Send),
        3 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::CommitUnknown),
    ]
}

/// What the steps leave visible, kept the simplest way.
#[derive(Default)]
struct Model {
    visible: Vec<(u64, u8)>,
    pending: Option<Vec<(u64, u8)>>,
    sequence: u64,
}

impl Model {
    fn number(&mut self, value: u8) -> (u64, u8) {
        self.sequence += 1;
        (self.sequence, value)
    }

    fn end(&mut self, commit: bool) {
        let pending = self.pending.take().unwrap_or_default();
        if commit {
            self.visible.extend(pending);
        }
    }

    /// Readers stop at the first record of an open transaction.
    fn read(&self) -> Vec<u8> {
        let first_open = self.pending.iter().flatten().map(|(n, _)| *n).min();
        let mut seen: Vec<_> = self.visible.clone();
        seen.retain(|(number, _)| first_open.is_none_or(|open| *number < open));
        seen.sort_unstable();
        seen.into_iter().map(|(_, value)| value).collect()
    }
}

proptest! {
    #[test]
    fn committed_readers_see_what_the_model_sees(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (memory, log) = log("t", 1);
            let settings = TransactionSettings::new("id");
            let plain = log.producer(&ProducerSettings::new("p")).unwrap();
            let mut producer = memory.transactional_producer(&settings);
            let mut model = Model::default();
            let record = |value: u8| NewRecord::new("t", vec![value % 3], vec![value]);
            for step in steps {
                match step {
                    Step::Plain(value) => {
                        plain.send(record(value)).unwrap().await.unwrap();
                        let numbered = model.number(value);
                        model.visible.push(numbered);
                    }
                    Step::Begin => {
                        let open = model.pending.is_some();
                        assert_eq!(producer.begin().await.is_ok(), !open);
                        model.pending.get_or_insert_default();
                    }
                    Step::Send(value) => {
                        let sent = producer.send(record(value)).await.is_ok();
                        assert_eq!(sent, model.pending.is_some());
                        if sent {
                            let numbered = model.number(value);
                            model.pending.as_mut().unwrap().push(numbered);
                        }
                    }
                    Step::Commit => {
                        assert_eq!(producer.commit().await.is_ok(), model.pending.is_some());
                        model.end(true);
                    }
                    Step::Abort => {
                        producer.abort().await.unwrap();
                        model.end(false);
                    }
                    Step::Restart => {
                        producer = memory.transactional_producer(&settings);
                        model.end(false);
                    }
                    Step::CommitUnknown(applied) => {
                        if model.pending.is_none() {
                            continue;
                        }
                        memory.inject(Fault::CommitUnknown { applied });
                        assert!(producer.commit().await.unwrap_err().needs_rebuild());
                        producer = memory.transactional_producer(&settings);
                        model.end(applied);
                    }
                }
                let read: Vec<u8> = memory
                    .records("t", 0)
                    .iter()
                    .map(|record| record.value.as_ref().unwrap()[0])
                    .collect();
                assert_eq!(read, model.read());
            }
            // Compaction keeps the last visible record of each key, at its offset.
            let before = memory.records("t", 0);
            memory.compact("t", false).unwrap();
            let mut last: BTreeMap<_, _> = BTreeMap::new();
            for record in before {
                last.insert(record.key.clone(), record);
            }
            let mut expected: Vec<_> = last.into_values().collect();
            expected.sort_by_key(|record| record.offset);
            assert_eq!(memory.records("t", 0), expected);
        });
    }
}

#[tokio::test]
async fn compaction_keeps_tombstones_until_told() {
    let (memory, log) = log("t", 1);
    let producer = log.producer(&ProducerSettings::new("p")).unwrap();
    for record in [NewRecord::new("t", "a", "1"), NewRecord::new("t", "b", "1"), NewRecord::tombstone("t", "a")] {
        producer.send(record).unwrap().await.unwrap();
    }
    memory.compact("t", false).unwrap();
    let offsets: Vec<i64> = memory.records("t", 0).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, [1, 2]);
    memory.compact("t", true).unwrap();
    let mut reader = log.reader("t", Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(1)).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(reader.positions(), [(0, 3)]);
}
