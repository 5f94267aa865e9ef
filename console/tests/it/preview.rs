//! What an edit of policies would have done, over HTTP: its answer, its limits and who may ask.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weir_console::{Console, ConsoleSettings, Parts};
use weir_elastic::{Elastic, ElasticSettings};
use weir_schemas::metadata::{
    Bound, BoundSource, Heartbeat, Metadata, Namespace, Object, Pod, Policy, Proof, Revision,
};
use weir_schemas::topics;
use weir_service::{CancellationToken, Health, Metrics};
use weir_stream::{KafkaSettings, Log, NewRecord};

use crate::samples::flows;
use crate::{Stage, http};

const ALWAYS: Bound = Bound { earliest: 0, latest: 0, source: BoundSource::Always };
/// Everything that the samples hold.
const SINCE: &str = "2026-11-22T11:00:00Z";

/// Says that the pods of the samples were there all the time, with a policy on shop's database.
pub(crate) async fn with_metadata(stage: &Stage) {
    let mut number = 0;
    let mut revision = |namespace: &str, name: &str, uid: &str, labels: Vec<String>, object: Object| {
        number += 1;
        Metadata::Revision(Revision {
            cluster: "prod-eu".into(),
            uid: uid.into(),
            revision: number,
            namespace: namespace.into(),
            name: name.into(),
            labels,
            labels_dropped: 0,
            annotations: Vec::new(),
            changed_by: String::new(),
            changed_at: None,
            valid_from: ALWAYS,
            valid_to: None,
            object,
        })
    };
    let mut all = Vec::new();
    for namespace in ["shop", "batch", "ops", "kube-system"] {
        all.push(revision("", namespace, namespace, Vec::new(), Object::Namespace(Namespace::default())));
    }
    let mut known = std::collections::BTreeSet::new();
    for record in flows() {
        for side in [record.initiator, record.responder] {
            let (Some(uid), Some(name), Some(namespace)) = (side.pod_uid, side.pod, side.namespace) else { continue };
            if known.insert(uid.clone()) {
                let pod = Pod {
                    workload: side.workload.unwrap(),
                    addresses: side.address.into_iter().collect(),
                    ..Pod::default()
                };
                all.push(revision(&namespace, &name, &uid, side.labels, Object::Pod(pod)));
            }
        }
    }
    let spec = r#"{"podSelector":{"matchLabels":{"app":"db"}},"ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"cart"}}}]}]}"#;
    let policy = Policy {
        api_version: "networking.k8s.io/v1".into(),
        kind: "NetworkPolicy".into(),
        spec: spec.into(),
        staged: false,
    };
    all.push(revision("shop", "db", "policy-db", Vec::new(), Object::Policy(policy)));
    let heartbeat =
        Heartbeat { cluster: "prod-eu".into(), complete_to: i64::MAX, proof: Proof::Manifests, cluster_known: true };
    all.push(Metadata::Heartbeat(heartbeat));
    for message in all {
        let record = NewRecord::new(topics::METADATA, message.key(0), weir_schemas::encode(&message).unwrap());
        stage.producer.send(record).unwrap().await.unwrap();
    }
    for record in flows() {
        stage.publish(&record).await;
    }
}

/// Nobody but the database itself reaches web.
pub(crate) const EDIT: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  \
                    podSelector: {matchLabels: {app: cart}}\n  ingress:\n  - from: [{podSelector: {matchLabels: {app: db}}}]\n";

fn question(policies: &str) -> Value {
    json!({"policies": policies, "since": SINCE, "cluster": "prod-eu", "cni": "calico"})
}

async fn ask(stage: &Stage, question: &Value) -> http::Answer {
    let json = [("content-type", "application/json")];
    http::post(stage.address, "/api/preview", &json, &question.to_string()).await
}

#[tokio::test]
async fn an_edit_is_judged_against_the_records_of_its_time() {
    let stage = Stage::new().await;
    with_metadata(&stage).await;
    let answer = ask(&stage, &question(EDIT)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let rows = answer["rows"].as_array().unwrap();
    let denied: Vec<(&str, &str, u64)> = rows
        .iter()
        .filter(|row| row["becomes"] == "newly_denied")
        .map(|row| (row["src"].as_str().unwrap(), row["dst"].as_str().unwrap(), row["port"].as_u64().unwrap()))
        .collect();
    assert_eq!(denied, [("ops/scanner", "shop/cart", 22), ("shop/web", "shop/cart", 8080)], "{answer:#}");
    let web = rows.iter().find(|row| row["src"] == "shop/web" && row["becomes"] == "newly_denied").unwrap();
    assert_eq!(web["bytes"], 48_210 + 1_204_331);
    assert_eq!(web["first"]["source"]["pod"], "web-7d9f8b6c5-x1k2p");
    assert_eq!((&answer["since"], &answer["kept_from"], &answer["records"]), (&json!(SINCE), &Value::Null, &json!(11)));
    assert!(rows.iter().any(|row| row["becomes"] == "unknown" && row["why"].as_str().unwrap().contains("not certain")));
    // Deleting what holds the database back opens it for the report, whose bytes nobody knows.
    let mut delete = question("");
    delete["delete"] = json!(["networkpolicy/shop/db", "networkpolicy/shop/gone"]);
    let answer: Value = serde_json::from_str(&ask(&stage, &delete).await.body).unwrap();
    let row = &answer["rows"][0];
    assert_eq!(
        (&row["becomes"], &row["src"], &row["bytes"]),
        (&json!("newly_allowed"), &json!("batch/report"), &Value::Null)
    );
    assert_eq!(answer["missing"], json!(["NetworkPolicy shop/gone"]));
    let metrics = stage.metrics.encode().unwrap();
    assert!(metrics.contains("weir_console_previews_total{outcome=\"done\"} 2"), "{metrics}");
    assert!(metrics.contains("weir_console_preview_records_total 22"), "{metrics}");
}

#[tokio::test]
async fn what_is_wrong_in_policies_is_told_with_its_line() {
    let stage = Stage::new().await;
    let wrong = EDIT.replace("ingress:", "ingress:\n  - ports: [{port: 80, endPort: 79}]");
    let answer = ask(&stage, &question(&wrong)).await;
    assert_eq!(answer.status, 400);
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["parameter"], "policies");
    assert_eq!(
        (&problem["faults"][0]["line"], &problem["faults"][0]["policy"]),
        (&json!(7), &json!("NetworkPolicy shop/web"))
    );
    assert!(problem["faults"][0]["message"].as_str().unwrap().contains("must be greater than or equal to `port`"));
    for (field, value) in [
        ("cni", json!("flannel")),
        ("since", json!("yesterday")),
        ("delete", json!(["networkpolicy/db"])),
        ("policies", json!("")),
        ("policies", json!("a: [")),
    ] {
        let mut question = question(EDIT);
        question[field] = value;
        let answer = ask(&stage, &question).await;
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, problem["parameter"].as_str()), (400, Some(field)), "{}", answer.body);
    }
    let answer = ask(&stage, &json!({"policies": EDIT, "since": "1h", "sicne": "1h"})).await;
    assert!(answer.status == 422 && answer.body.contains("sicne"), "{}", answer.body);
}

#[tokio::test]
async fn a_question_is_bounded_and_only_the_consoles_page_may_ask() {
    let stage = Stage::new().await;
    with_metadata(&stage).await;
    let large = "#".repeat(600_000);
    assert_eq!(ask(&stage, &question(&large)).await.status, 413);
    let body = question(EDIT).to_string();
    let post = async |headers: &[(&str, &str)]| http::post(stage.address, "/api/preview", headers, &body).await.status;
    // A form of another page can send text without asking the browser first.
    assert_eq!(post(&[("content-type", "text/plain")]).await, 415);
    let json = ("content-type", "application/json");
    assert_eq!(post(&[json, ("origin", "https://evil.example")]).await, 403);
    assert_eq!(post(&[json, ("origin", "null")]).await, 403);
    assert_eq!(post(&[json, ("origin", "http://localhost")]).await, 200);
    assert_eq!(stage.get("/api/preview").await.status, 405);

    let unknown = ask(&stage, &json!({"policies": EDIT, "since": "1h", "cluster": "nobody"})).await;
    assert!(unknown.status == 502 && unknown.body.contains("says nothing about cluster nobody"), "{}", unknown.body);
    let off = Stage::with(ConsoleSettings { console_preview_seconds: 0, ..ConsoleSettings::default() }).await;
    let answer = ask(&off, &question(EDIT)).await;
    assert!(answer.status == 403 && answer.body.contains("--console-preview-seconds"), "{}", answer.body);
    assert_eq!(off.get("/api/policies").await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_runs_at_a_time_and_no_longer_than_it_may() {
    // A broker that takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kafka = KafkaSettings::at(silent.local_addr().unwrap().to_string());
    let settings = ConsoleSettings {
        console_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        console_preview_seconds: 1,
        ..ConsoleSettings::default()
    };
    let parts = Parts {
        elastic: Elastic::new(&ElasticSettings::of(&["http://127.0.0.1:1"])).unwrap(),
        log: Log::kafka(&kafka).unwrap(),
        metrics: Metrics::new(),
        health: Health::new(),
    };
    let console = Console::start(&settings, parts, CancellationToken::new()).await.unwrap();
    let (json, body) = ([("content-type", "application/json")], question(EDIT).to_string());
    let post = || http::post(console.address(), "/api/preview", &json, &body);
    let (one, other) = tokio::join!(post(), post());
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [503, 504], "{} {}", one.body, other.body);
    let text = one.body + &other.body;
    assert!(text.contains("another preview is running") && text.contains("longer than 1 s"), "{text}");
    // And then the next one may.
    assert_eq!(post().await.status, 504);
}

#[tokio::test]
async fn policies_in_force_are_listed_as_manifests() {
    let stage = Stage::new().await;
    with_metadata(&stage).await;
    let answer = stage.json("/api/policies?cluster=prod-eu").await;
    let policy = &answer["policies"][0];
    assert_eq!(policy["metadata"], json!({"name": "db", "namespace": "shop"}));
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"]["app"], "db");
    // What is listed can be asked about.
    let answer = ask(&stage, &question(&policy.to_string())).await;
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["totals"]["newly_denied"]["connections"], 0, "{answer:#}");
}
