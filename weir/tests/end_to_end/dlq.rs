//! Dead letters: listed with their cause and origin, put back on demand, never over a higher correction.

use crate::harness::{Engines, Up, weir};
use serde_json::{Value, json};
use std::time::Duration;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::enriched::{Enriched, document_id};
use weir_schemas::{encode, topics};
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start};

/// The JSON lines that a command of `weir dlq` prints.
fn dlq(up: &Up, arguments: &[&str]) -> Vec<Value> {
    let kafka = up.kafka();
    let output = weir(&[&["dlq"], arguments, &["--kafka", &kafka, "-o", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn send(log: &Log, topic: &str, key: &str, value: Vec<u8>) {
    let producer = log.producer(&ProducerSettings::new("test")).unwrap();
    producer.send(NewRecord::new(topic, key.to_owned(), value)).unwrap().await.unwrap();
}

fn letter(record: &Enriched) -> Vec<u8> {
    let value = encode(record).unwrap();
    let dead = DeadLetter {
        cause: "document_parsing_exception: an older mapping".to_owned(),
        topic: topics::ENRICHED.to_owned(),
        partition: 0,
        offset: 0,
        timestamp: 1,
        key: Some(record.id.clone().into_bytes()),
        length: u64::try_from(value.len()).unwrap(),
        value: Some(value),
    };
    encode(&dead).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_and_put_back_but_never_over_a_higher_correction() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
    up.wait_for("a flow", 60, |up| up.documents(1, &[]).pop());
    let log = Log::kafka(&KafkaSettings::at(up.kafka())).unwrap();
    send(&log, topics::ENRICHED, "x", b"junk".to_vec()).await;
    let listed = up.wait_for("the letter", 60, |up| dlq(up, &["list"]).pop());
    assert_eq!((&listed["origin"]["topic"], &listed["bytes"]), (&topics::ENRICHED.into(), &4.into()));
    assert!(listed["cause"].as_str().unwrap().contains("Avro"), "{listed}");

    // One record that nothing stands in the way of, and one of which a correction has come since.
    let mut reader = log.reader(topics::ENRICHED, Partitions::All, Start::Beginning).await.unwrap();
    let records = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
    let read = |r: &weir_stream::Record| weir_schemas::decode::<Enriched>(r.value.as_ref().unwrap()).ok();
    let some: Vec<Enriched> = records.iter().filter_map(read).take(2).collect();
    let free = Enriched { id: "00000000000000000000000000000001".to_owned(), ..some[0].clone() };
    let corrected = Enriched { correction: 1, ..some[1].clone() };
    send(&log, topics::ENRICHED, &corrected.id, encode(&corrected).unwrap()).await;
    let dead = topics::dead_letter(topics::ENRICHED);
    send(&log, &dead, "free", letter(&free)).await;
    send(&log, &dead, "superseded", letter(&some[1])).await;

    let arguments = ["retry", "--cause", "older mapping"];
    let said = dlq(&up, &arguments).pop().unwrap();
    assert_eq!(said["done"], false);
    assert_eq!(said["letters"]["to be processed again"], 1, "{said}");
    assert_eq!(said["letters"]["superseded by a higher correction"], 1, "{said}");
    assert_eq!(dlq(&up, &[&arguments[..], &["--yes"]].concat()).pop().unwrap()["done"], true);
    let find = |up: &Up| {
        let url = format!("{}/weir-flows/_search?q=", up.elasticsearch());
        let body = json!({"query": {"ids": {"values": [document_id(&free.id)]}}}).to_string();
        let url = url.trim_end_matches("?q=").to_owned();
        let text = up.curl(&["-H", "content-type: application/json", "-d", &body, &url]).ok()?;
        let answer: Value = serde_json::from_str(&text).ok()?;
        (answer["hits"]["total"]["value"] == 1).then_some(())
    };
    up.wait_for("the document of the letter", 60, find);
    let audited = up.wait_for("the audit", 60, |up| {
        let text = up.curl(&[&format!("{}/weir-audit/_count", up.elasticsearch())]).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["count"].as_u64().filter(|count| *count > 0)
    });
    assert_eq!(audited, 1);
    assert_eq!(up.interrupt(), Some(0));
}
