//! The query API, the status, the page's headers and the guard.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};
use weir_console::ConsoleSettings;
use weir_console::filter::{Filter, Parameters};
use weir_console::row::from_record;
use weir_schemas::enriched::{Enriched, document_id};
use weir_schemas::raw::Origin;

use crate::samples::{NOON, flow, flows, hit, outside, pod};
use crate::{Stage, http};

fn ids(answer: &Value) -> Vec<String> {
    answer["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn rows_have_both_sides_counters_action_and_attribution() {
    let stage = Stage::new().await;
    stage.engine.hold(flows().iter().map(hit).collect());
    let answer = stage.json("/api/flows?port=5432&action=deny").await;
    let row = &answer["rows"][0];
    assert_eq!(answer["rows"].as_array().unwrap().len(), 1);
    assert_eq!(row["source"]["namespace"], "batch");
    assert_eq!(row["source"]["kind"], "pod");
    assert_eq!(row["destination"]["name"], "db-7d9f8b6c5-x9k2p");
    assert_eq!(row["destination"]["attribution"], "exact");
    assert_eq!(row["totals"]["forward_bytes"], 360);
    assert_eq!((&row["action"], &row["arrival"]), (&json!("deny"), &json!("never")));
    assert_eq!(row["time"], "2026-11-22T12:00:00.000Z");
    assert_eq!(answer["next"], Value::Null);
}

#[tokio::test]
async fn stored_and_live_flows_are_chosen_and_shown_the_same_way() {
    let stage = Stage::new().await;
    let records = flows();
    stage.engine.hold(records.iter().map(hit).collect());
    for question in [
        "",
        "namespace=shop",
        "namespace=batch",
        "pod=web",
        "pod=w*",
        "pod=web-7d9f8b6c5-x1k2p",
        "pod=web-1&level=2",
        "pod=web-*&level=2",
        "address=10.244.1.9",
        "address=10.244.0.0/16",
        "address=10.244.1.2&level=2",
        "address=2001:db8::/32",
        "port=443",
        "port=0",
        "action=deny,mixed",
        "since=2026-11-22T11:59:55Z",
        "until=2026-11-22T11:59:55Z",
        "level=3",
        "namespace=shop&port=443&action=allow",
    ] {
        let answer = stage.json(&format!("/api/flows?{question}")).await;
        let pairs = question.split('&').filter_map(|pair| pair.split_once('='));
        let object: serde_json::Map<String, Value> =
            pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let parameters: Parameters = serde_json::from_value(object.into()).unwrap();
        let filter = Filter::parse(&parameters, 1, NOON).unwrap();
        let live: BTreeSet<String> = records
            .iter()
            .filter(|record| filter.matches(&from_record(record), record))
            .map(|record| document_id(&record.id))
            .collect();
        assert_eq!(ids(&answer).into_iter().collect::<BTreeSet<_>>(), live, "{question}");
    }
}

#[tokio::test]
async fn cursor_walks_over_everything_once_newest_first() {
    let stage = Stage::new().await;
    stage.engine.hold(flows().iter().map(hit).collect());
    let all = stage.json("/api/flows").await;
    let mut walked = Vec::new();
    let mut next = String::new();
    loop {
        let answer = stage.json(&format!("/api/flows?limit=2&cursor={next}")).await;
        walked.extend(answer["rows"].as_array().unwrap().clone());
        match answer["next"].as_str() {
            Some(cursor) => next = cursor.to_owned(),
            None => break,
        }
    }
    assert_eq!(walked, *all["rows"].as_array().unwrap());
    assert!(walked.is_sorted_by(|left, right| left["time"].as_str() >= right["time"].as_str()));
    assert_eq!(walked.len(), 11);
}

#[tokio::test]
async fn nonsense_is_refused_with_the_parameter_and_asks_nobody() {
    let stage = Stage::new().await;
    let before = stage.engine.asked().len();
    for path in ["/api/flows?port=x", "/api/flows/stream?port=x"] {
        let answer = stage.get(path).await;
        assert_eq!(answer.status, 400);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["parameter"], "port");
        assert!(problem["error"].as_str().unwrap().contains("65535"));
    }
    let answer = stage.get("/api/flows?namespaec=x").await;
    assert!(answer.status == 400 && answer.body.contains("namespaec"), "{}", answer.body);
    assert_eq!(stage.engine.asked().len(), before);
}

#[tokio::test]
async fn engine_without_flows_or_without_answer_is_told_apart() {
    let stage = Stage::new().await;
    assert_eq!(stage.json("/api/flows").await["rows"], json!([]));
    let missing = json!({"error": {"type": "index_not_found_exception", "reason": "no such index"}, "status": 404});
    stage.engine.fail(Some((StatusCode::NOT_FOUND, missing)));
    assert_eq!(stage.json("/api/flows").await["rows"], json!([]));
    stage.engine.fail(Some((StatusCode::SERVICE_UNAVAILABLE, json!({"error": "starting"}))));
    let answer = stage.get("/api/flows").await;
    assert_eq!(answer.status, 503);
    assert!(serde_json::from_str::<Value>(&answer.body).unwrap()["error"].is_string(), "{}", answer.body);
    let refused = json!({"error": {"type": "parsing_exception", "reason": "unknown query"}, "status": 400});
    stage.engine.fail(Some((StatusCode::BAD_REQUEST, refused)));
    assert_eq!(stage.get("/api/flows").await.status, 502);
    let errors = |kind| stage.metrics.value("weir_console_search_errors_total", &[("kind", kind)]);
    assert!(errors("unavailable").is_some() && errors("rejected").is_some());
}

#[tokio::test]
async fn documents_that_are_no_flows_are_left_out_and_counted() {
    let stage = Stage::new().await;
    let mut broken = hit(&flow(20, outside("10.0.0.1"), outside("10.0.0.2"), 1, (1, 1)));
    broken["_id"] = Value::Null;
    stage.engine.hold(vec![broken, hit(&flows()[0])]);
    let answer = stage.json("/api/flows").await;
    assert_eq!((ids(&answer).len(), &answer["unreadable"]), (1, &json!(1)));
    assert_eq!(stage.metrics.value("weir_console_unreadable_total", &[]), Some(1.0));
}

#[tokio::test]
async fn status_says_what_runs_and_what_the_data_is() {
    let stage = Stage::new().await;
    let now = jiff::Timestamp::now().as_millisecond();
    let record = weir_schemas::enriched::Enriched {
        origin: Origin::Demo,
        cluster: "demo".into(),
        window: now - 60_000,
        ..flows().remove(0)
    };
    stage.engine.hold(vec![hit(&record)]);
    stage.health.set_ready("enricher", false, "waiting for metadata");
    stage.publish(&record).await;
    stage.publish_bytes(b"nonsense".to_vec()).await;
    let status = loop {
        let status = stage.json("/api/status").await;
        if status["live"]["undecodable"] == 1 && status["live"]["lag_records"] == 0 {
            break status;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(status["label"], "demo");
    assert_eq!(status["cluster"], json!({"known": true, "names": ["demo"]}));
    assert_eq!(status["search"]["levels"], json!([1]));
    assert_eq!(status["search"]["reachable"], true);
    assert_eq!((&status["live"]["connected"], &status["live"]["records"]), (&json!(true), &json!(1)));
    let age = status["live"]["age_seconds"].as_i64().unwrap();
    assert!((50..70).contains(&age), "{age}");
    assert_eq!(status["ready"], false);
    let conditions = status["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["reason"] == "waiting for metadata"));
}

#[tokio::test]
async fn page_is_served_with_a_policy_that_allows_nothing_inline() {
    let stage = Stage::new().await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/console.js", "text/javascript"),
        ("/console.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = stage.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{}", answer.head);
        assert!(
            answer.head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{}",
            answer.head
        );
        assert!(answer.head.contains("x-content-type-options: nosniff"));
        assert!(!answer.head.contains("unsafe"));
    }
    let page = stage.get("/").await.body;
    assert!(!page.contains("<script>") && !page.contains(" style=") && !page.contains(" onclick="));
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
    // The page's script, and whatever is imported by what is imported.
    let mut scripts = vec!["/console.js".to_owned()];
    let mut next = 0;
    while let Some(file) = scripts.get(next).cloned() {
        next += 1;
        let answer = stage.get(&file).await;
        assert_eq!(answer.status, 200, "{file}");
        for header in
            ["content-type: text/javascript", "cache-control: no-cache", "content-security-policy: default-src 'none'"]
        {
            assert!(answer.head.contains(header), "{file}: {}", answer.head);
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!answer.body.contains(sink), "{file}: {sink}");
        }
        let imports = answer.body.lines().filter(|line| line.starts_with("import "));
        for imported in imports.filter_map(|line| line.split('"').nth(1)) {
            if !scripts.iter().any(|known| known == imported) {
                scripts.push(imported.to_owned());
            }
        }
    }
    let kept = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
    let kept = kept.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "js"));
    assert_eq!(scripts.len(), kept.count(), "every script is used: {scripts:?}");
}

#[tokio::test]
async fn foreign_host_names_are_refused_on_every_path() {
    let stage =
        Stage::with(ConsoleSettings { console_host: vec!["flows.example".into()], ..ConsoleSettings::default() }).await;
    for path in ["/", "/api/flows", "/api/flows/stream", "/api/status", "/api/policies", "/api/preview", "/console.js"]
    {
        let answer = http::get(stage.address, path, "evil.example").await;
        assert_eq!(answer.status, 421, "{path}");
        assert!(answer.head.contains("content-security-policy"));
    }
    for host in ["flows.example:443", "localhost", "127.0.0.1:8080"] {
        assert_eq!(http::get(stage.address, "/", host).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn address_that_others_reach_needs_a_word() {
    let settings = ConsoleSettings { console_listen: "0.0.0.0:8080".parse().unwrap(), ..ConsoleSettings::default() };
    let error = settings.validate().unwrap_err();
    assert!(weir_service::hint::report(&error).contains("--console-allow-remote"));
    assert!(ConsoleSettings { console_allow_remote: true, ..settings }.validate().is_ok());
}

#[tokio::test]
async fn a_map_adds_up_what_the_filters_choose_at_the_level_that_is_stored() {
    let stage = Stage::new().await;
    stage.engine.hold(flows().iter().map(hit).collect());
    let map = stage.json("/api/map").await;
    assert_eq!((&map["level"], &map["records"], &map["more"]), (&json!(2), &json!(1), &json!(false)));
    assert_eq!(
        map["nodes"][0]["terms"],
        json!([
        {"field": "workload", "value": "\"web\""}, {"field": "namespace", "value": "\"shop\""}])
    );
    let edge = &map["edges"][0];
    assert_eq!((&edge["forward_bytes"], &edge["ports"][0]["port"]), (&json!(96_000), &json!(8080)));
    // Where nothing of level 2 is stored, it is made of what the page shows.
    stage.engine.hold(flows().iter().filter(|record| record.level == 1).map(hit).collect());
    let map = stage.json("/api/map").await;
    assert_eq!((&map["level"], &map["records"]), (&json!(1), &json!(11)));
    let denied = stage.json("/api/map?action=deny").await;
    assert_eq!((&denied["records"], &denied["edges"][0]["deny"]), (&json!(1), &json!(1)));
    let names: Vec<&str> =
        denied["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["report", "db"]);
    // What finds the flows of a connection does find them.
    let conditions = |node: &Value, side: &str| -> String {
        let terms = node["terms"].as_array().unwrap().iter();
        let terms = terms.map(|term| match (term["field"].as_str().unwrap(), term["value"].as_str()) {
            (field, Some(value)) => format!("{side}.{field} == {value}"),
            (field, None) => format!("not has({side}.{field})"),
        });
        terms.collect::<Vec<_>>().join(" and ")
    };
    for edge in map["edges"].as_array().unwrap() {
        let end = |side: &str| &map["nodes"][usize::try_from(edge[side].as_u64().unwrap()).unwrap()];
        let wanted = format!("{} and {}", conditions(end("source"), "src"), conditions(end("destination"), "dst"));
        let encoded: String = wanted.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let found = stage.json(&format!("/api/flows?filter={encoded}")).await;
        let expected: u64 = ["allow", "deny", "mixed"].iter().map(|action| edge[action].as_u64().unwrap()).sum();
        assert_eq!(u64::try_from(found["rows"].as_array().unwrap().len()).unwrap(), expected, "{wanted}");
    }
}

#[tokio::test]
async fn a_map_is_made_of_the_newest_pages_and_has_none_itself() {
    let stage = Stage::new().await;
    let many = (0..10_500_u32).map(|number| Enriched {
        window: NOON + i64::from(number / 100) * 5_000,
        ..flow(number, pod("shop", "web", 1), pod("shop", "db", 2), 5432, (1, 1))
    });
    stage.engine.hold(many.map(|record| hit(&record)).collect());
    let map = stage.json("/api/map?level=1").await;
    assert_eq!((&map["records"], &map["more"]), (&json!(10_000), &json!(true)));
    assert!(map["slots"].as_array().unwrap().len() <= 60);
    for parameter in ["limit=5", "cursor=x"] {
        let answer = stage.get(&format!("/api/map?{parameter}")).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains("has no pages"), "{}", answer.body);
    }
}
