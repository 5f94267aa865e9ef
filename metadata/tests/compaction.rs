//! The metadata topic under real compaction: what its log cleaner leaves must answer as everything that was written, and
//! a writer that starts from it must go on as if nothing had been taken away. Wants `WEIR_TEST_KAFKA=host:port`, a real
//! Kafka that does not have the topic yet.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use weir_flow::Millis;
use weir_join::{Ask, Table};
use weir_metadata::revisions::{About, History, Kind, Observed};
use weir_metadata::writer::Writer;
use weir_schemas::enriched::{NoneReason, Side};
use weir_schemas::metadata::{Bound, BoundSource, Metadata, Object, Pod, Proof, Revision, first_heartbeat_key};
use weir_schemas::{decode, topics};
use weir_stream::{KafkaSettings, Log, Partitions, Start, TopicSpec};

/// Small and soon: a segment ends after a tenth of a second, and every ended segment is cleaned.
const CONFIGS: [(&str, &str); 6] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("segment.bytes", "1048576"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("delete.retention.ms", "100"),
    ("max.compaction.lag.ms", "500"),
];
/// When the first change is, ms since the epoch.
const BEGIN: Millis = 1_700_000_000_000;
const CLUSTER: &str = "compaction";
/// How often the writer is opened anew.
const WRITERS: u64 = 6;
/// Transactions of one writer, and what happens in each.
const TRANSACTIONS: u64 = 40;
const CHANGES: u64 = 20;
/// Pods that exist at a time, and their addresses.
const PODS: u64 = 40;
const ADDRESSES: u64 = 25;
/// Time between two heartbeats, and how far they stay behind.
const STEP: Millis = 1_000;
const BEHIND: Millis = 2_500;

/// Pods that come, change, are asked to end and go, as a seed says.
struct World {
    state: u64,
    now: Millis,
    /// The pod in each place: how many there were before it, its address and its label.
    pods: BTreeMap<u64, (u64, u64, u64)>,
}

impl World {
    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % limit
    }

    fn seen(&self, place: u64) -> Observed {
        let (life, address, label) = self.pods[&place];
        let at = Bound { earliest: self.now - 700, latest: self.now - 200, source: BoundSource::Status };
        let pod = Pod {
            addresses: vec![format!("10.0.0.{}", address + 1).parse().unwrap()],
            node: "node".to_owned(),
            ..Pod::default()
        };
        Observed {
            uid: format!("{place}-{life}"),
            namespace: "shop".to_owned(),
            name: format!("pod-{place}-{life}"),
            labels: vec![format!("v={label}")],
            annotations: Vec::new(),
            object: Object::Pod(pod),
            since: Some(at),
            changed: Some(at),
            owner_known: true,
            about: About::default(),
        }
    }

    /// Something happens to one pod; every history that is given takes it, and all must say the same.
    fn happen(&mut self, histories: &mut [&mut History]) -> Vec<Revision> {
        let (place, what, address, label) = (self.below(PODS), self.below(10), self.below(ADDRESSES), self.below(3));
        let now = self.now;
        let (life, ..) = *self.pods.entry(place).or_insert((0, address, label));
        let uid = format!("{place}-{life}");
        let asked = Bound { earliest: now - 500, latest: now, source: BoundSource::Deletion };
        let mut written: Vec<Vec<Revision>> = Vec::new();
        match what {
            0..=1 => {
                written.extend(
                    histories
                        .iter_mut()
                        .map(|history| history.foresee_end(Kind::Pod, &uid, asked).into_iter().collect()),
                );
            }
            2..=4 => {
                let gone = |history: &mut &mut History| {
                    history.vanish(Kind::Pod, &uid, Some(asked), now).into_iter().collect()
                };
                written.extend(histories.iter_mut().map(gone));
                self.pods.insert(place, (life + 1, address, label));
            }
            _ => {
                self.pods.insert(place, (life, if what == 5 { address } else { self.pods[&place].1 }, label));
                let seen = self.seen(place);
                written.extend(histories.iter_mut().map(|history| history.observe(seen.clone(), now)));
            }
        }
        let first = written.remove(0);
        written.iter().for_each(|other| assert_eq!(other, &first, "a history from the topic says otherwise"));
        first
    }
}

/// Everything that was ever written, in order.
#[derive(Default)]
struct Written {
    messages: Vec<Metadata>,
    keys: BTreeSet<String>,
    records: usize,
}

impl Written {
    fn take(&mut self, message: Metadata) {
        let first = matches!(message, Metadata::Heartbeat(_)) && !self.keys.iter().any(|key| key.contains("heartbeat"));
        self.records += 1 + usize::from(first);
        if first {
            self.keys.insert(format!("{CLUSTER}/heartbeat/first"));
        }
        self.keys.insert(message.key(0));
        self.messages.push(message);
    }

    /// UIDs of which nothing is left without these keys: they ended before the raw topic begins, so that it has no flow of theirs.
    fn without(&self, keys: &[String]) -> BTreeSet<String> {
        let uid = |key: &String| key.split('/').nth(2).map(ToOwned::to_owned);
        let buried: BTreeSet<&String> = keys.iter().collect();
        let left: BTreeSet<String> = self.keys.iter().filter(|key| !buried.contains(key)).filter_map(uid).collect();
        keys.iter().filter_map(uid).filter(|uid| !left.contains(uid)).collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new(CLUSTER, 1);
        self.messages.iter().for_each(|message| table.apply(0, message));
        table
    }
}

/// The table of what the topic holds now, and how many records that is.
async fn read(log: &Log) -> (Table, usize) {
    let (table, keys) = read_keys(log).await;
    (table, keys.len())
}

/// The table of what the topic holds now, and the keys of its records, as often as they are there.
async fn read_keys(log: &Log) -> (Table, Vec<String>) {
    let mut table = Table::new(CLUSTER, 1);
    let mut reader = log.reader(topics::METADATA, Partitions::All, Start::Beginning).await.unwrap();
    let mut keys = Vec::new();
    while let Some(records) = reader.next_before_end(Duration::from_secs(30)).await.unwrap() {
        for record in records {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            let Some(value) = record.value else {
                table.forget(&key);
                keys.push(key);
                continue;
            };
            let message: Metadata = decode(&value).unwrap();
            table.apply(0, &message);
            if let Metadata::Heartbeat(heartbeat) = &message
                && key == first_heartbeat_key(CLUSTER)
            {
                table.whole_from(heartbeat.complete_to);
            }
            keys.push(key);
        }
    }
    (table, keys)
}

/// What a table says of every address and of every pod at every moment up to a time.
fn answers(table: &Table, from: Millis, to: Millis) -> Vec<Side> {
    answers_but(table, from, to, &BTreeSet::new())
}

/// The same, without what it says of some pods by their UIDs.
fn answers_but(table: &Table, from: Millis, to: Millis, unasked: &BTreeSet<String>) -> Vec<Side> {
    let mut sides = Vec::new();
    for at in (from..=to).step_by(250) {
        for address in 1..=ADDRESSES {
            sides.push(table.side(&Ask::address(at, format!("10.0.0.{address}").parse().unwrap())));
        }
        let uid = format!("{}-{}", at / 250 % i64::try_from(PODS).unwrap(), at / 1_000 % 7);
        if !unasked.contains(&uid) {
            sides.push(table.side(&Ask { pod_uid: Some(&uid), ..Ask::address(at, "10.0.0.1".parse().unwrap()) }));
        }
    }
    sides
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_compaction_leaves_answers_as_everything_that_was_written() {
    let Ok(address) = std::env::var("WEIR_TEST_KAFKA") else {
        eprintln!("skipped: WEIR_TEST_KAFKA is not set, and the embedded broker never compacts");
        return;
    };
    let log = Log::kafka(&KafkaSettings::at(address)).unwrap();
    log.check(Duration::from_secs(60)).await.unwrap();
    assert!(log.partition_count(topics::METADATA).await.is_err(), "the topic is there already: begin with --wipe");
    let spec = CONFIGS.iter().fold(TopicSpec::new(topics::METADATA, 1), |spec, (name, value)| spec.with(*name, *value));
    log.ensure_topics(&[spec]).await.unwrap();

    let begin = BEGIN;
    let mut world = World { state: 1, now: begin, pods: BTreeMap::new() };
    let (mut model, mut written) = (History::new(CLUSTER), Written::default());
    let mut during: Vec<(Table, usize)> = Vec::new();
    for number in 0..WRITERS {
        let reading = tokio::spawn({
            let log = log.clone();
            async move { read(&log).await }
        });
        write_some(&log, &mut world, &mut model, &mut written).await;
        if number > 0 {
            during.push(reading.await.unwrap());
        }
        // Between two looks of the cleaner, so that some writers and readers start on a cleaned log.
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    let left = wait_for_cleaning(&log, &mut world, &mut model, &mut written).await;
    eprintln!(
        "written {} records of {} keys; left {left}; read while cleaning: {:?}",
        written.records,
        written.keys.len(),
        during.iter().map(|(_, count)| *count).collect::<Vec<_>>()
    );

    let everything = written.table();
    let (table, _) = read(&log).await;
    assert_eq!(table.complete_to(), everything.complete_to());
    assert_eq!(table.history_start(), everything.history_start());
    assert!(
        answers(&table, begin - 5_000, world.now + 5_000) == answers(&everything, begin - 5_000, world.now + 5_000)
    );
    for (table, _) in &during {
        let to = table.complete_to();
        assert!(answers(table, begin - 5_000, to) == answers(&everything, begin - 5_000, to), "a reader up to {to}");
    }
    let (since, forgotten) = bury(&log, &mut world, &mut model, &mut written).await;
    // And it goes on: the same things happen to the model and to a history from what is left.
    write_some(&log, &mut world, &mut model, &mut written).await;
    let to = world.now + 5_000;
    let left = answers_but(&read(&log).await.0, since, to, &forgotten);
    assert!(left == answers_but(&written.table(), since, to, &forgotten));
}

/// Writes tombstones for what ended in the first half of the time, as when the raw topic holds nothing of it any more, and
/// reads until the log cleaner has taken away both what they stand for and the tombstones. Whatever a reader meets of that,
/// it answers for every later time as before. From when on that is.
async fn bury(log: &Log, world: &mut World, model: &mut History, written: &mut Written) -> (Millis, BTreeSet<String>) {
    let begun = Instant::now();
    let (mut writer, _) = Writer::open(log, CLUSTER).await.unwrap();
    let since = BEGIN.midpoint(world.now);
    let to = model.heartbeat();
    let keys = model.expire(since, usize::MAX);
    let forgotten = written.without(&keys);
    let before = answers_but(&written.table(), since, to, &forgotten);
    let whole_from = model.heartbeat_message(since, Proof::Probed, true);
    writer.bury(&keys, whole_from, &CancellationToken::new()).await.unwrap();
    let buried: BTreeSet<&String> = keys.iter().collect();
    assert!(buried.len() > written.keys.len() / 4, "{} of {}", buried.len(), written.keys.len());
    let mut met = Vec::new();
    loop {
        beat(&mut writer, world, model, written).await;
        let (table, left) = read_keys(log).await;
        assert_eq!(table.history_start(), since);
        let answers = answers_but(&table, since, to, &forgotten);
        let differs = answers.iter().zip(&before).find(|(left, before)| left != before);
        assert!(differs.is_none(), "with {} records left: {differs:#?}", left.len());
        let asked = table.side(&Ask::address(BEGIN + 5_000, "10.0.0.1".parse().unwrap()));
        assert_eq!(asked.reason, Some(NoneReason::BeforeHistory), "of what is forgotten nothing is said");
        met.push(left.iter().filter(|key| buried.contains(key)).count());
        if met.last() == Some(&0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the cleaner left of what is buried: {met:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    met.dedup();
    eprintln!("buried {} revisions; records of them that readers met: {met:?}", buried.len());
    // A history from what is left has nothing more to forget.
    let (_, mut history) = Writer::open(log, CLUSTER).await.unwrap();
    assert_eq!(history.expire(since, usize::MAX), Vec::<String>::new());
    (since, forgotten)
}

/// Opens the writer and lets it write; its history must say what one says that has forgotten nothing.
async fn write_some(log: &Log, world: &mut World, model: &mut History, written: &mut Written) {
    let token = CancellationToken::new();
    let (mut writer, mut history) = Writer::open(log, CLUSTER).await.unwrap();
    assert_eq!((history.heartbeat(), history.open()), (model.heartbeat(), model.open()));
    let open = |history: &History| history.open_of(Kind::Pod).cloned().collect::<Vec<_>>();
    assert_eq!(open(&history), open(model));
    for place in world.pods.keys() {
        let known = model.open_of(Kind::Pod).any(|revision| revision.uid == world.seen(*place).uid);
        assert!(
            !known || history.observe(world.seen(*place), world.now).is_empty(),
            "what is known is not written again"
        );
    }
    for _ in 0..TRANSACTIONS {
        let mut revisions = Vec::new();
        for _ in 0..CHANGES {
            revisions.extend(world.happen(&mut [model, &mut history]));
        }
        let heartbeat = model.heartbeat_message(world.now - BEHIND, Proof::Probed, true);
        writer.write(&revisions, Some(&heartbeat), &token).await.unwrap();
        revisions.into_iter().for_each(|revision| written.take(Metadata::Revision(revision)));
        for history in [&mut *model, &mut history] {
            history.promise(heartbeat.complete_to);
        }
        written.take(Metadata::Heartbeat(heartbeat));
        world.now += STEP;
    }
}

/// Writes a heartbeat and nothing else.
async fn beat(writer: &mut Writer, world: &mut World, model: &mut History, written: &mut Written) {
    let heartbeat = model.heartbeat_message(world.now - BEHIND, Proof::Probed, true);
    writer.write(&[], Some(&heartbeat), &CancellationToken::new()).await.unwrap();
    model.promise(heartbeat.complete_to);
    written.take(Metadata::Heartbeat(heartbeat));
    world.now += STEP;
}

/// Waits until little more than the last value of each key is left; heartbeats go on, because they end segments.
async fn wait_for_cleaning(log: &Log, world: &mut World, model: &mut History, written: &mut Written) -> usize {
    let begun = Instant::now();
    let (mut writer, _) = Writer::open(log, CLUSTER).await.unwrap();
    loop {
        beat(&mut writer, world, model, written).await;
        let (_, count) = read(log).await;
        if count < written.keys.len() + written.keys.len() / 10 && count < written.records * 3 / 4 {
            return count;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "the cleaner left {count} of {} records", written.records);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
