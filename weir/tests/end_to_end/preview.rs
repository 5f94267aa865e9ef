//! What an edit of policies would have done: the same from raw samples as from records of level 1, and the cost said first.

use crate::harness::{Engines, Up, weir};
use crate::replay::{alone, with_capture_and};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use weir_schemas::topics;
use weir_stream::{KafkaSettings, Log, TopicPartition};

/// Who has the addresses of the capture; 10.0.0.4 is outside.
const PODS: [(&str, &str); 3] = [("client", "10.0.0.1"), ("dns", "10.0.0.2"), ("other", "10.0.0.3")];
const SINCE: &str = "2026-01-31T00:00:00Z";

/// A folder with the pods.
fn manifests(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let pod = |(name, address): (&str, &str)| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, uid: uid-{name}, labels: {{app: {name}}}}}\n\
             status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}]}}\n---\n"
        )
    };
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, uid: shop}\n---\n".to_owned();
    std::fs::write(folder.join("pods.yaml"), text + &PODS.map(pod).concat()).unwrap();
}

fn preview(up: &Up, cluster: &str, edit: &Path, more: &[&str]) -> Output {
    let kafka = up.kafka();
    let mut arguments = vec!["policy", "preview", edit.to_str().unwrap(), "--kafka", &kafka, "--cluster", cluster];
    arguments.extend(["--since", SINCE, "--all", "-o", "json"]);
    arguments.extend(more);
    weir(&arguments)
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Deletes all records that are on the enriched topic.
fn delete_records(up: &Up) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let log = Log::kafka(&KafkaSettings::at(up.kafka())).unwrap();
        for number in 0..log.partition_count(topics::ENRICHED).await.unwrap() {
            let partition = TopicPartition::new(topics::ENRICHED, number);
            let end = log.log_end(&partition).await.unwrap();
            log.delete_records(&partition, end).await.unwrap();
        }
    });
}

#[test]
fn raw_samples_say_what_records_said_and_are_read_on_request_only() {
    let _alone = alone();
    for engines in Engines::all() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("manifests");
        manifests(&folder);
        let arguments = ["--manifests", folder.to_str().unwrap()];
        let (up, cluster, _) = with_capture_and(&engines, data.path(), &arguments);
        let edit = data.path().join("edit.yaml");
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: dns, namespace: shop}\n\
                      spec: {podSelector: {matchLabels: {app: dns}}}\n";
        std::fs::write(&edit, policy).unwrap();

        let stored = document(&preview(&up, &cluster, &edit, &[]));
        assert_eq!((&stored["source"], &stored["kept_from"]), (&json!("level1"), &Value::Null), "{stored:#}");
        let becomes = |name: &str| stored["totals"][name]["bytes"].as_u64().unwrap();
        assert_eq!((becomes("newly_denied"), becomes("unchanged")), (1_000, 2_000), "{stored:#}");
        let row = &stored["rows"][0];
        assert_eq!((&row["src"], &row["dst"], &row["port"]), (&json!("shop/client"), &json!("shop/dns"), &json!(53)));
        assert_eq!(row["first"]["time"], "2026-01-31T12:00:00Z");
        assert_eq!(row["last"]["destination"]["address"], "10.0.0.2");

        // Nobody is there to be asked, so that nothing is read, but what it would cost is said.
        let error = refusal(&preview(&up, &cluster, &edit, &["--from", "raw"]));
        assert!(error.contains("the raw topic has about ") && error.contains(" messages, "), "{error}");
        assert!(error.contains("hint: nothing was read: --yes reads it"), "{error}");
        let raw = document(&preview(&up, &cluster, &edit, &["--from", "raw", "--yes"]));
        assert_eq!(
            (&raw["rows"], &raw["totals"], &raw["records"]),
            (&stored["rows"], &stored["totals"], &stored["records"])
        );
        assert_eq!(raw["source"], "raw");
        assert!(raw["raw_messages"].as_u64().unwrap() >= 30 && raw["raw_bytes"].as_u64().unwrap() > 1_000, "{raw:#}");
        assert!(raw["seconds"].as_f64().unwrap() > 0.0);

        // Where records are gone, the raw topic is proposed.
        if matches!(engines, Engines::Embedded) {
            delete_records(&up);
            let error = refusal(&preview(&up, &cluster, &edit, &[]));
            assert!(error.contains("records of level 1 are gone or not kept; the raw topic has about"), "{error}");
            let raw = document(&preview(&up, &cluster, &edit, &["--yes"]));
            assert_eq!((&raw["rows"], &raw["source"]), (&stored["rows"], &json!("raw")));
            let left = document(&preview(&up, &cluster, &edit, &["--from", "level1"]));
            assert_eq!((&left["records"], &left["kept_from"]), (&json!(0), &json!("never")), "{left:#}");
        }
        assert_eq!(up.interrupt(), Some(0));
    }
}
