//! One scenario, answered by the embedded server and, with `WEIR_TEST_ELASTICSEARCH=http://127.0.0.1:PORT`,
//! by a real Elasticsearch too: both must answer the same. With an OpenSearch what Elasticsearch alone has is said in its
//! words, and of errors only the status is compared.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "support/client.rs"]
mod common;
#[path = "conformance/steps.rs"]
mod steps;

use std::net::SocketAddr;

use common::Answer;
use serde_json::Value;
use steps::{Compare, Step};

/// What differs from run to run, or tells of the machine.
const IGNORED: [&str; 14] = [
    "took",
    "uuid",
    "index_uuid",
    "node",
    "creation_date",
    "created",
    "pit_id",
    "_shards",
    "line",
    "col",
    "root_cause",
    "failed_shards",
    "caused_by",
    "terminated_early",
];

fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in IGNORED {
                map.remove(name);
            }
            // Elasticsearch says 0.0 where it could leave all shards out, and null where it could not.
            if map.get("hits").and_then(Value::as_array).is_some_and(Vec::is_empty) {
                map.remove("max_score");
            }
            map.values_mut().for_each(normalise);
        }
        Value::Array(values) => values.iter_mut().for_each(normalise),
        Value::String(text) => {
            // Where in the body something is wrong: "[1:8] ".
            if let Some((position, rest)) = text.split_once("] ")
                && position
                    .strip_prefix('[')
                    .is_some_and(|inner| inner.contains(':') && inner.chars().all(|c| c.is_ascii_digit() || c == ':'))
            {
                *text = rest.to_owned();
            }
        }
        _ => {}
    }
}

/// The first difference between two answers, as a path and both sides.
fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(left), Value::Object(right)) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            keys.into_iter().find_map(|key| {
                let missing = Value::String("(absent)".into());
                difference(
                    &format!("{path}.{key}"),
                    left.get(key).unwrap_or(&missing),
                    right.get(key).unwrap_or(&missing),
                )
            })
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(at, (left, right))| difference(&format!("{path}[{at}]"), left, right)),
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            let near = (left - right).abs() <= 1e-6 * left.abs().max(right.abs()).max(1.0) * 1e-1;
            (!near).then(|| format!("{path}: ours {left}, theirs {right}"))
        }
        (left, right) => (left != right).then(|| format!("{path}: ours {left}, theirs {right}")),
    }
}

fn send(address: SocketAddr, step: &Step, pit: &str) -> Answer {
    let body = step.body.replace("$PIT", pit);
    common::send(address, step.method, &step.path, body.as_bytes())
}

/// A step as OpenSearch takes it: points in time have another path there, and the type of labels another name.
fn send_to_opensearch(address: SocketAddr, step: &Step, pit: &str) -> Answer {
    let mut body = step.body.replace("$PIT", pit).replace("\"type\":\"flattened\"", "\"type\":\"flat_object\"");
    let mut path = step.path.clone();
    if step.path == "/_pit" {
        path = "/_search/point_in_time".into();
        body = serde_json::json!({"pit_id": [pit]}).to_string();
    } else if step.path.contains("/_pit?") {
        path = step.path.replace("/_pit?", "/_search/point_in_time?");
    }
    common::send(address, step.method, &path, body.as_bytes())
}

/// Where OpenSearch answers otherwise than Elasticsearch, in ways that no service of Weir's depends on: it writes mappings and
/// causes in other words, interpolates percentiles otherwise, takes the sub-objects of labels for values, has another stand-in for a
/// missing truth value, cannot format a missing date, and answers two refusals with 500.
const OTHERWISE_ON_OPENSEARCH: [&str; 8] = [
    "\"percentiles\"",
    "\"terms\":{\"field\":\"labels",
    "{\"unknown\":1}",
    "\"includes\":[\"source\"]",
    "\"sort\":[{\"open\"",
    "\"format\":\"strict_date_optional_time\"",
    "{\"aggs\":{\"b\":{\"sum\":{\"field\":\"seq\"}}},\"sum\"",
    "\"order\":{\"zzz\"",
];

/// What OpenSearch does not refuse: a histogram of thousands of millions of buckets, and deleting by a pattern.
fn is_deadly_to_opensearch(step: &Step) -> bool {
    step.body.contains("{\"histogram\":{\"field\":\"bytes\",\"interval\":1}}")
        || (step.method == "DELETE" && step.path.contains('*'))
}

fn is_otherwise_on_opensearch(step: &Step) -> bool {
    let mapping = step.method == "GET" && step.path.ends_with("/_mapping");
    mapping || OTHERWISE_ON_OPENSEARCH.iter().any(|part| step.body.contains(part))
}

/// What OpenSearch scores otherwise, or does not tell (of changes of aliases, that none failed).
fn without_scores(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in ["_ignored", "_score", "max_score"] {
                map.remove(name);
            }
            if map.contains_key("acknowledged") {
                map.remove("errors");
            }
            map.values_mut().for_each(without_scores);
        }
        Value::Array(values) => values.iter_mut().for_each(without_scores),
        _ => {}
    }
}

fn is_opensearch(address: SocketAddr) -> bool {
    common::send(address, "GET", "/", b"").json()["version"]["distribution"] == "opensearch"
}

fn compare(step: &Step, ours: &Answer, theirs: &Answer, opensearch: bool) -> Option<String> {
    if ours.status != theirs.status {
        return Some(format!("status: ours {} {}, theirs {} {}", ours.status, ours.text, theirs.status, theirs.text));
    }
    match step.compare {
        Compare::Status => None,
        Compare::ErrorType if opensearch => None,
        Compare::ErrorType => {
            let (ours, theirs) = (ours.json(), theirs.json());
            difference("error.type", &root_type(&ours), &root_type(&theirs))
        }
        Compare::All => {
            let (mut ours, mut theirs) = (ours.json(), theirs.json());
            normalise(&mut ours);
            normalise(&mut theirs);
            if opensearch {
                without_scores(&mut ours);
                without_scores(&mut theirs);
            }
            difference("", &ours, &theirs)
        }
    }
}

fn root_type(answer: &Value) -> Value {
    answer["error"]["root_cause"][0]["type"].clone()
}

fn real_engine() -> Option<SocketAddr> {
    let text = std::env::var("WEIR_TEST_ELASTICSEARCH").ok()?;
    let address = text.trim_start_matches("http://").trim_end_matches('/');
    Some(address.parse().expect("WEIR_TEST_ELASTICSEARCH must be http://ADDRESS:PORT"))
}

/// What must hold of the embedded server's answer alone.
fn check_alone(step: &Step, answer: &Answer) -> Option<String> {
    let wanted = step.status;
    (answer.status != wanted).then(|| format!("status {} in place of {wanted}: {}", answer.status, answer.text))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scenario_is_answered_as_elasticsearch_answers_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = common::start(folder.path()).await;
    let address = server.address();
    let differences = common::blocking(move || {
        let real = real_engine();
        if real.is_none() {
            println!(
                "skipped: the comparison with a real Elasticsearch; set WEIR_TEST_ELASTICSEARCH=http://127.0.0.1:PORT"
            );
        }
        let opensearch = real.is_some_and(is_opensearch);
        let mut differences = Vec::new();
        let (mut our_pit, mut their_pit) = (String::new(), String::new());
        for (number, step) in steps::all().iter().enumerate() {
            let ours = send(address, step, &our_pit);
            let keep = |answer: &Answer, pit: &mut String| {
                if step.path.contains("/_pit?") {
                    let json = answer.json();
                    *pit = json["id"].as_str().or(json["pit_id"].as_str()).unwrap().to_owned();
                }
            };
            keep(&ours, &mut our_pit);
            let mut found = check_alone(step, &ours);
            if let Some(real) = real.filter(|_| !(opensearch && is_deadly_to_opensearch(step))) {
                let theirs =
                    if opensearch { send_to_opensearch(real, step, &their_pit) } else { send(real, step, &their_pit) };
                keep(&theirs, &mut their_pit);
                let compared = !(opensearch && is_otherwise_on_opensearch(step));
                if compared && !step.path.contains("/_pit?") {
                    found = compare(step, &ours, &theirs, opensearch).or(found);
                }
            }
            differences.extend(found.map(|found| found.chars().take(700).collect::<String>()).map(|found| {
                format!(
                    "step {number} {} {} {}\n    {found}",
                    step.method,
                    step.path,
                    step.body.chars().take(300).collect::<String>()
                )
            }));
        }
        differences
    })
    .await;
    server.shutdown().await;
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
