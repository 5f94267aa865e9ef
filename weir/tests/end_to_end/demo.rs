use crate::harness::{Engines, Up, bytes_by_window, number, questions, raw_by_window, weir};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use weir_schemas::ledger::Ledger;
use weir_schemas::topics;
use weir_stream::{KafkaSettings, Log, NewRecord, Partitions, ProducerSettings, Start};

const WINDOW: i64 = 5_000;

/// Waits until every window that the raw topic has completed is stored with exactly the bytes that were published.
pub(crate) fn assert_stored_equals_published(up: &Up, at_least: usize) {
    up.wait_for("what was published is stored", 60, |up| {
        let (published, last) = raw_by_window(&up.kafka(), "flows.raw.v1.demo", WINDOW);
        let complete: Vec<_> = published.into_iter().filter(|(w, _)| w + WINDOW + 2_000 <= last - 3_000).collect();
        if complete.len() < at_least {
            return None;
        }
        for level in [1, 2] {
            let stored = bytes_by_window(&up.documents(level, &[json!({"term": {"weir.origin": "demo"}})]));
            for (window, bytes) in &complete {
                let found = stored.get(window).copied().unwrap_or(0);
                assert!(
                    found <= *bytes,
                    "window {window} level {level}: {found} bytes stored, {bytes} published: counted twice"
                );
                if found < *bytes {
                    return None;
                }
            }
        }
        Some(())
    });
}

#[test]
fn the_demo_is_named_summed_exactly_and_labelled() {
    for engines in Engines::all() {
        let data = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let up = Up::start(data.path(), &engines, None, &["--demo"]);
        let named = json!({"term": {"source.kubernetes.workload.name": "frontend"}});
        let first = up.wait_for("the first named flow", 60, |up| up.documents(2, std::slice::from_ref(&named)).pop());
        eprintln!("{engines:?}: first named flow after {:.1} s", started.elapsed().as_secs_f64());
        assert_eq!(first["weir"]["origin"], "demo");
        assert_eq!(first["source"]["kubernetes"]["namespace"], "shop");
        assert_eq!(first["weir"]["source"]["attribution"], "exact");
        assert_stored_equals_published(&up, 3);

        let page = up.curl(&[&format!("http://127.0.0.1:{}/", up.ports.console)]).unwrap();
        assert!(page.contains("<title"), "{page}");
        let url = up.elasticsearch();
        let listed = weir(&["flows", "--elasticsearch", &url, "--namespace", "shop", "-o", "json", "--limit", "5"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let lines: Vec<serde_json::Value> = listed
            .stdout
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect();
        assert_eq!(lines.len(), 5);
        let table = weir(&["flows", "--elasticsearch", &url, "--limit", "5"]);
        assert!(String::from_utf8_lossy(&table.stdout).contains("shop/"), "{}", String::from_utf8_lossy(&table.stdout));
        assert!(up.output().contains("demo"), "the start says that it is a demo:\n{}", up.output());
        assert_the_ledger_adds_up(&up);
        if matches!(engines, Engines::Embedded) {
            // On a broker of its own: the line stays.
            assert_the_ledger_notices_another_line(&up);
        }
        assert_eq!(up.interrupt(), Some(0));
    }
}

/// `weir ledger` finds everything that was seen in records.
fn assert_the_ledger_adds_up(up: &Up) {
    let kafka = up.kafka();
    let arguments = ["ledger", "--cluster", "demo", "--kafka", &kafka];
    let told = up.wait_for("windows in the ledger", 60, |_| {
        let told = weir(&[&arguments[..], &["-o", "json"]].concat());
        assert!(told.status.success(), "{told:?}");
        serde_json::from_slice::<Value>(&told.stdout).ok().filter(|told| told["windows"].as_u64() >= Some(3))
    });
    assert_eq!((&told["adds_up"], &told["seen"]), (&true.into(), &told["received"]), "{told:#}");
    assert_eq!(told["agents"].as_array().map(Vec::len), Some(3), "{told:#}");
    for level in told["levels"].as_array().unwrap() {
        assert_eq!((&level["comparison"], &level["stored"]["bytes"]), (&"equal".into(), &told["received"]["bytes"]));
    }
    let words = String::from_utf8(weir(&arguments).stdout).unwrap();
    assert!(words.contains("It adds up") && words.contains("demo-node-2"), "{words}");
    let empty = weir(&[&arguments[..], &["--until", "30d", "--since", "31d"]].concat());
    let words = String::from_utf8_lossy(&empty.stdout);
    assert!(empty.status.success() && words.contains("no lines since"), "{empty:?}");
}

fn assert_the_ledger_notices_another_line(up: &Up) {
    let kafka = up.kafka();
    let wrong = tokio::runtime::Runtime::new().unwrap().block_on(contradict(&kafka));
    let told = weir(&["ledger", "--cluster", "demo", "--kafka", &kafka]);
    assert_eq!(told.status.code(), Some(3), "{wrong} {told:?}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("weir replay --compare"), "{told:?}");
}

/// Writes a line of the ledger again with other content, and gives its key.
async fn contradict(kafka: &str) -> String {
    let log = Log::kafka(&KafkaSettings::at(kafka.to_owned())).unwrap();
    let mut reader = log.reader(topics::LEDGER, Partitions::All, Start::Beginning).await.unwrap();
    let lines = reader.read_to_end(Duration::from_secs(10)).await.unwrap();
    let line = lines.iter().find_map(|line| match weir_schemas::decode(line.value.as_ref()?).ok()? {
        Ledger::Received(line) if line.received.packets > 0 => Some(line),
        _ => None,
    });
    let mut line = line.unwrap();
    line.counted.packets -= 1;
    let line = Ledger::Received(line);
    let producer = log.producer(&ProducerSettings::new("test")).unwrap();
    let record = NewRecord::new(topics::LEDGER, line.key(), weir_schemas::encode(&line).unwrap());
    producer.send(record).unwrap().await.unwrap();
    line.key()
}

#[test]
fn the_denied_scan_is_shown_as_denied() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
    let denied = json!({"term": {"event.action": "deny"}});
    let found = up.wait_for("a denied flow", 60, |up| up.documents(1, std::slice::from_ref(&denied)).pop());
    assert_eq!(found["source"]["kubernetes"]["pod"]["name"], "debug-shell");
    assert_eq!(found["destination"]["kubernetes"]["namespace"], "payments");
    assert!(number(&found, "weir.initiator.dropped.policy.forward_packets") > 0);
    assert_eq!(found["weir"]["policy"]["verdict"], json!(["deny"]), "{found:#}");
    assert_eq!(found["weir"]["policy"]["explanation"], "as_judged", "{found:#}");
    assert_eq!(found["rule"]["name"], json!(["end of tier"]), "{found:#}");
    assert_explained_beside_traffic(&up, &found);
    assert_eq!(up.interrupt(), Some(0));
}

/// `weir explain` of a flow says what was observed, too.
fn assert_explained_beside_traffic(up: &Up, flow: &Value) {
    let end = |side: &str| {
        let end = &flow[side]["kubernetes"];
        format!("{}/{}", end["namespace"].as_str().unwrap(), end["pod"]["name"].as_str().unwrap())
    };
    let (kafka, elasticsearch) = (up.kafka(), up.elasticsearch());
    let port = format!("tcp/{}", flow["destination"]["port"]);
    let (source, destination) = (end("source"), end("destination"));
    let mut arguments = vec!["explain", &source, &destination, &port, "--cluster", "demo", "--at", "0s"];
    arguments.extend(["--traffic", "10m", "--kafka", &kafka, "--elasticsearch", &elasticsearch]);
    let told = weir(&[&arguments[..], &["-o", "json"]].concat());
    let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    assert_eq!(told["explanations"][0]["source"], source, "{told:#}");
    assert_eq!(told["explanations"][0]["verdict"], "deny", "{told:#}");
    assert_eq!(told["traffic"]["lines"][0]["action"], "deny", "{told:#}");
    assert_eq!(told["traffic"]["lines"][0]["port"], flow["destination"]["port"], "{told:#}");
    let words = String::from_utf8(weir(&arguments).stdout).unwrap();
    assert!(words.contains("observed from") && words.contains("PACKETS SHOWED"), "{words}");
}

#[test]
fn what_pods_ask_for_is_on_its_topic_and_names_their_flows() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
    let named = json!({"term": {"destination.domain": "api.payments.example"}});
    let found = up.wait_for("a flow with a name", 60, |up| up.documents(2, std::slice::from_ref(&named)).pop());
    assert_eq!(found["source"]["kubernetes"]["workload"]["name"], "gateway");
    assert_eq!(found["source"]["kubernetes"]["labels"], json!(["app=gateway", "team=payments"]));
    let asked = up.wait_for("a name that does not exist", 60, |up| {
        questions(&up.kafka()).into_iter().find(|record| record.response_code == "NXDOMAIN")
    });
    assert_eq!((asked.client.workload.as_deref(), asked.question_type.as_str()), (Some("gateway"), "A"));
    assert_eq!(asked.server.service.as_deref(), Some("kube-system/coredns"));
    assert_eq!(up.interrupt(), Some(0));
}

#[test]
fn a_second_start_goes_on_where_the_first_stopped() {
    let data = tempfile::tempdir().unwrap();
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
    up.wait_for("a flow", 60, |up| up.documents(2, &[]).pop());
    assert_eq!(up.interrupt(), Some(0));
    let up = Up::start(data.path(), &Engines::Embedded, None, &["--demo"]);
    assert_stored_equals_published(&up, 4);
    assert_eq!(up.interrupt(), Some(0));
}
