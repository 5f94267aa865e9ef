//! Flows of past windows made again: the same to the byte, losses named, corrections written once.

use crate::harness::{Engines, Up, raw_by_window, weir};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weir_schemas::audit::Audit;
use weir_schemas::enriched::{Enriched, Kind};
use weir_schemas::topics;
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start, TopicPartition};

const WINDOW: i64 = 5_000;
/// 2026-01-31T12:00:00Z.
const NOON: u32 = 1_769_860_800;

/// A classic file of UDP packets in raw IPv4, one every second for half a minute.
fn capture(path: &Path) {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    for word in [0x0004_0002_u32, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    for second in 0..30_u8 {
        let mut packet = vec![0x45, 0, 0, 28 + 72, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, second % 3 + 2];
        packet.extend([0x9c, 0x40, 0, 53, 0, 80, 0, 0]);
        // Contents name the cluster, and an engine of the tests may know those of an earlier run.
        packet.extend(started.to_le_bytes());
        packet.extend([0; 56]);
        let length = u32::try_from(packet.len()).unwrap();
        for word in [NOON + u32::from(second), 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    std::fs::write(path, file).unwrap();
}

/// `weir replay` of windows of a cluster.
fn replay(up: &Up, cluster: &str, windows: [i64; 2], more: &[&str]) -> Output {
    let [from, to] = windows.map(|window| jiff::Timestamp::from_millisecond(window).unwrap().to_string());
    let kafka = up.kafka();
    let mut arguments = vec!["replay", "--kafka", &kafka, "--cluster", cluster, "--from", &from, "--to", &to];
    arguments.extend(more);
    weir(&arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The comparison as a document, and the exit code.
fn compared(up: &Up, cluster: &str, windows: [i64; 2], more: &[&str]) -> (Value, Option<i32>) {
    let mut arguments = vec!["-o", "json"];
    arguments.extend(more);
    let output = replay(up, cluster, windows, &arguments);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    (document, output.status.code())
}

fn counts(document: &Value) -> [u64; 4] {
    ["identical", "missing", "different", "extra"].map(|name| document[name].as_u64().unwrap())
}

/// Two hosts on the same engines would be one another's indexer: what uses the real ones goes one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static REAL: Mutex<()> = Mutex::new(());
    REAL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_demo_is_replayed_to_the_byte() {
    let _alone = alone();
    for engines in Engines::all() {
        let data = tempfile::tempdir().unwrap();
        let up = Up::start(data.path(), &engines, None, &["--demo"]);
        up.wait_for("something to replay", 60, |up| {
            // Windows of long ago hold nothing, which is known once metadata is.
            replay(up, "demo", [0, 0], &["--open"]).status.success().then_some(())
        });
        let (published, last) = up.wait_for("some windows", 90, |up| {
            let (published, last) = raw_by_window(&up.kafka(), "flows.raw.v1.demo", WINDOW);
            (published.len() >= 8).then_some((published, last))
        });
        let first = *published.keys().rev().nth(6).unwrap();
        let windows = [first, (last - 3 * WINDOW).div_euclid(WINDOW) * WINDOW];
        let (document, code) = compared(&up, "demo", windows, &["--open", "--compare"]);
        let [identical, missing, different, extra] = counts(&document);
        assert_eq!((missing, different, extra, code), (0, 0, 0, Some(0)), "{document:#}");
        assert!(identical > 20, "{document:#}");

        let first = replay(&up, "demo", windows, &["--open"]);
        let second = replay(&up, "demo", windows, &["--open"]);
        assert!(first.status.success(), "{}", text(&first.stderr));
        assert_eq!(text(&first.stdout), text(&second.stdout), "two replays are the same bytes");
        let lines: Vec<Value> = text(&first.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(u64::try_from(lines.len()).unwrap(), identical);
        let order = |line: &Value| (line["generation"].as_i64().unwrap(), line["id"].as_str().unwrap().to_owned());
        assert!(lines.is_sorted_by_key(order));

        let (document, code) = compared(&up, "demo", windows, &["--open", "--compare", "--dns"]);
        let [asked, missing, different, extra] = counts(&document);
        assert_eq!((missing, different, extra, code), (0, 0, 0, Some(0)), "{document:#}");
        let questions = replay(&up, "demo", windows, &["--open", "--dns"]);
        let lines =
            text(&questions.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
        assert!(asked > 5 && u64::try_from(lines.len()).unwrap() == asked, "{document:#}");
        assert!(
            lines.iter().all(|line| line["question"].is_string() && line["client"]["address"].is_null()),
            "{lines:?}"
        );

        let refused = replay(&up, "demo", windows, &["--compare"]);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{error}");
        assert!(error.contains("not complete before") && error.contains("--open"), "{error}");
        assert_eq!(up.interrupt(), Some(0));
    }
}

/// Starts on a capture, and waits until all of it is stored; the windows of the capture.
fn with_capture(engines: &Engines, data: &Path) -> (Up, String, [i64; 2]) {
    with_capture_and(engines, data, &[])
}

/// The same, with more arguments.
pub(crate) fn with_capture_and(engines: &Engines, data: &Path, more: &[&str]) -> (Up, String, [i64; 2]) {
    let file = data.join("traffic.pcap");
    capture(&file);
    let up = Up::start(&data.join("up"), engines, None, &[&["--pcap", file.to_str().unwrap()], more].concat());
    let first = i64::from(NOON) * 1_000;
    let windows = [first, first + 29_000];
    let cluster = up.wait_for("the capture's cluster", 60, |up| {
        let output = up.output();
        output.split("as cluster ").nth(1).and_then(|t| t.split('.').next()).map(str::to_owned)
    });
    up.wait_for("all of the capture", 60, |up| {
        let output = replay(up, &cluster, windows, &["--compare", "-o", "json"]);
        let document: Value = serde_json::from_slice(&output.stdout).ok()?;
        (counts(&document)[0] > 0 && counts(&document)[1] == 0 && document["not_yet_written"] == 0).then_some(())
    });
    (up, cluster, windows)
}

/// What stands on the enriched topic of a cluster, by correction.
async fn standing(log: &Log, cluster: &str) -> Vec<Enriched> {
    let mut reader = log.reader(topics::ENRICHED, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
    let records = records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap());
    let mut records: Vec<Enriched> = records.filter(|record: &Enriched| record.cluster == cluster).collect();
    records.sort_by_key(|record| (record.correction, record.id.clone()));
    records
}

/// What the audit says of corrections to flows of a cluster.
async fn audited(log: &Log, cluster: &str) -> Vec<Audit> {
    let mut reader = log.reader(topics::AUDIT, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
    let entries = records.iter().map(|record| weir_schemas::decode(record.value.as_ref().unwrap()).unwrap());
    let of = format!("{} of cluster {cluster},", topics::ENRICHED);
    entries.filter(|entry: &Audit| entry.action == "correct_records" && entry.target.starts_with(&of)).collect()
}

/// Writes one record that differs and one that is too much, as corrections that nobody should have written.
async fn spoil(log: &Log, cluster: &str) {
    let right = standing(log, cluster).await.swap_remove(0);
    let mut different = Enriched { correction: 1, ..right.clone() };
    different.totals.forward_bytes += 1;
    let extra = Enriched { id: "f".repeat(32), ..right };
    let producer = log.producer(&ProducerSettings::new("test")).unwrap();
    for record in [different, extra] {
        let value = weir_schemas::encode(&record).unwrap();
        producer.send(NewRecord::new(topics::ENRICHED, record.id.clone(), value)).unwrap().await.unwrap();
    }
}

#[test]
fn corrections_are_written_once_and_then_everything_is_the_same() {
    let _alone = alone();
    for engines in Engines::all() {
        let data = tempfile::tempdir().unwrap();
        let (up, cluster, windows) = with_capture(&engines, data.path());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let log = {
            let _inside = runtime.enter();
            Log::kafka(&KafkaSettings::at(up.kafka())).unwrap()
        };
        let (document, _) = compared(&up, &cluster, windows, &["--compare"]);
        let all = counts(&document)[0];
        runtime.block_on(spoil(&log, &cluster));

        let (document, code) = compared(&up, &cluster, windows, &["--compare"]);
        assert_eq!((counts(&document), code), ([all - 1, 0, 1, 1], Some(1)), "{document:#}");
        let different = &document["differences"][0];
        assert_eq!(different["fields"][0]["field"], "totals.forward_bytes", "{document:#}");
        assert_eq!(document["differences"][1]["what"], "extra");

        let before = runtime.block_on(standing(&log, &cluster));
        let (_, code) = compared(&up, &cluster, windows, &["--repair"]);
        assert_eq!(code, Some(1), "nothing is written without --yes");
        assert_eq!(runtime.block_on(standing(&log, &cluster)), before);
        let (document, code) = compared(&up, &cluster, windows, &["--repair", "--yes"]);
        assert_eq!((document["corrected"].as_bool(), code), (Some(true), Some(0)), "{document:#}");
        let mut written = runtime.block_on(standing(&log, &cluster));
        written.retain(|record| !before.contains(record));
        let kinds: Vec<_> = written.iter().map(|record| (record.correction, record.kind)).collect();
        assert_eq!(kinds, [(1, Kind::Delete), (2, Kind::Upsert)]);
        let audited = runtime.block_on(audited(&log, &cluster));
        assert_eq!(audited.iter().map(|entry| entry.documents).sum::<u64>(), 2, "{audited:?}");
        assert!(audited.iter().all(|entry| entry.by.starts_with("weir replay --repair by ")), "{audited:?}");

        let (document, code) = compared(&up, &cluster, windows, &["--repair", "--yes"]);
        assert_eq!((counts(&document), code), ([all, 0, 0, 0], Some(0)), "{document:#}");
        let after = runtime.block_on(standing(&log, &cluster)).len();
        assert_eq!(after, before.len() + 2, "a second repair writes nothing");
        assert_eq!(runtime.block_on(self::audited(&log, &cluster)), audited);
        drop(log);
        drop(runtime);
        assert_eq!(up.interrupt(), Some(0));
    }
}

#[test]
fn to_a_file_and_to_a_topic_go_the_very_records() {
    let data = tempfile::tempdir().unwrap();
    let (up, cluster, windows) = with_capture(&Engines::Embedded, data.path());
    let file = data.path().join("flows.jsonl");
    let output = replay(&up, &cluster, windows, &["--file", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("records of"), "{}", text(&output.stdout));
    let lines = std::fs::read_to_string(&file).unwrap().lines().count();
    let output = replay(&up, &cluster, windows, &["--topic", "flows.replayed"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let log = Log::kafka(&KafkaSettings::at(up.kafka())).unwrap();
        let mut reader = log.reader("flows.replayed", Partitions::All, Start::Beginning).await.unwrap();
        let mut replayed = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
        let mut reader = log.reader(topics::ENRICHED, Partitions::All, Start::Beginning).await.unwrap();
        let mut stood = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
        replayed.sort_by_key(|record| record.key.clone());
        stood.sort_by_key(|record| record.key.clone());
        let bytes = |records: &[weir_stream::Record]| records.iter().map(|r| r.value.clone()).collect::<Vec<_>>();
        assert_eq!(bytes(&replayed), bytes(&stood));
        assert_eq!(replayed.len(), lines);
    });
    let refused = replay(&up, &cluster, windows, &["--topic", "flows.enriched.v1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert_eq!(up.interrupt(), Some(0));
}

#[test]
fn what_was_deleted_is_a_named_loss_and_wrong_usage_is_said() {
    let data = tempfile::tempdir().unwrap();
    let (up, cluster, windows) = with_capture(&Engines::Embedded, data.path());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let log = Log::kafka(&KafkaSettings::at(up.kafka())).unwrap();
        let partition = TopicPartition::new(topics::raw(&cluster), 0);
        log.delete_records(&partition, 12).await.unwrap();
    });
    let lost = replay(&up, &cluster, windows, &[]);
    let error = text(&lost.stderr);
    assert_eq!((lost.status.code(), lost.stdout.len()), (Some(3), 0), "{error}");
    assert!(error.contains(&topics::raw(&cluster)) && error.contains("12"), "{error}");
    assert!(error.contains("hint: "), "{error}");

    let unknown = replay(&up, "nobody", windows, &[]);
    assert!(text(&unknown.stderr).contains("weir init --cluster nobody"), "{}", text(&unknown.stderr));
    let backwards = replay(&up, &cluster, [windows[1], windows[0]], &[]);
    assert_eq!(backwards.status.code(), Some(2), "{}", text(&backwards.stderr));
    assert_eq!(up.interrupt(), Some(0));
}
