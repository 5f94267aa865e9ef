//! Parameters, queries, and that a query and the predicate mean the same (the latter also in `tests/it/api.rs`).

use serde_json::{Value, json};

use super::*;
use crate::row::from_record;
use crate::row::tests::{NOON, record};

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    let object: serde_json::Map<String, serde_json::Value> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    serde_json::from_value(object.into()).unwrap()
}

fn filter(pairs: &[(&str, &str)]) -> Filter {
    Filter::parse(&parameters(pairs), 1, NOON + 60_000).unwrap()
}

fn refused(name: &str, value: &str) -> FilterError {
    Filter::parse(&parameters(&[(name, value)]), 1, NOON).unwrap_err()
}

#[test]
fn empty_filter_asks_for_the_newest_of_one_level() {
    assert_eq!(
        filter(&[("namespace", " "), ("pod", "")]).query(),
        json!({
            "size": 164,
            "track_total_hits": false,
            "query": {"bool": {"filter": [{"term": {"weir.level": 1}}]}},
            "sort": [{"@timestamp": "desc"}, {"weir.tiebreak": "desc"}],
        })
    );
}

#[test]
fn what_policies_said_is_asked_of_documents_and_rows_alike() {
    // Denied, and a mismatch.
    let record = record("a");
    let row = from_record(&record);
    for (wanted, field, holds) in [
        ("deny", "verdict", true),
        ("allow", "verdict", false),
        ("pending:deny", "pending", false),
        ("mismatch", "explanation", true),
        ("unexplained", "explanation", false),
    ] {
        let filter = filter(&[("policy", wanted)]);
        let clause = json!({"term": {format!("weir.policy.{field}"): wanted.trim_start_matches("pending:")}});
        assert_eq!(filter.query()["query"]["bool"]["filter"][1], clause);
        assert_eq!(filter.matches(&row, &record), holds, "{wanted}");
    }
    assert!(refused("policy", "maybe").problem.contains("mismatch"));
}

#[test]
fn every_parameter_is_a_clause() {
    let body = filter(&[
        ("namespace", "shop"),
        ("pod", "web-*"),
        ("address", "10.0.0.0/8"),
        ("port", "443"),
        ("action", "mixed,deny"),
        ("since", "1m"),
        ("until", "2026-11-22T13:00:00Z"),
        ("level", "2"),
        ("limit", "7"),
        ("cursor", "5_-6"),
    ])
    .query();
    let either = |clauses: serde_json::Value| json!({"bool": {"should": clauses, "minimum_should_match": 1}});
    assert_eq!(
        body["query"]["bool"]["filter"],
        json!([
            {"term": {"weir.level": 2}},
            either(json!([
                {"term": {"source.kubernetes.namespace": "shop"}},
                {"term": {"destination.kubernetes.namespace": "shop"}},
            ])),
            either(json!([
                {"prefix": {"source.kubernetes.pod.name": "web-"}},
                {"prefix": {"source.kubernetes.workload.name": "web-"}},
                {"wildcard": {"source.kubernetes.pods": {"value": "*/web-*"}}},
                {"prefix": {"destination.kubernetes.pod.name": "web-"}},
                {"prefix": {"destination.kubernetes.workload.name": "web-"}},
                {"wildcard": {"destination.kubernetes.pods": {"value": "*/web-*"}}},
            ])),
            {"term": {"related.ip": "10.0.0.0/8"}},
            either(json!([{"term": {"source.port": 443}}, {"term": {"destination.port": 443}}])),
            {"terms": {"event.action": ["deny", "mixed"]}},
            {"range": {"@timestamp": {"gte": NOON, "lt": NOON + 3_600_000, "format": "epoch_millis"}}},
        ])
    );
    assert_eq!(body["size"], 71);
    assert_eq!(body["search_after"], json!([5, -6]));
}

#[test]
fn every_field_that_is_asked_for_is_in_the_mapping() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../indexer/templates/weir-flows.json");
    let template: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let fields = [
        "@timestamp",
        "weir.tiebreak",
        "weir.level",
        "related.ip",
        "event.action",
        "weir.origin",
        "weir.cluster_known",
        "orchestrator.cluster.name",
        "source.port",
        "destination.port",
        "source.kubernetes.namespace",
        "destination.kubernetes.namespace",
        "source.kubernetes.pod.name",
        "destination.kubernetes.workload.name",
        "source.kubernetes.pods",
    ];
    for field in fields {
        let mapping = field.split('.').fold(&template["template"]["mappings"], |at, name| &at["properties"][name]);
        assert!(mapping["type"].is_string(), "{field} is not in the mapping");
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    for (name, value) in [
        ("namespace", "a b"),
        ("namespace", "*"),
        ("pod", "we*b"),
        ("pod", "a\"b"),
        ("address", "10.0.0"),
        ("address", "10.0.0.0/33"),
        ("address", "::/129"),
        ("port", "70000"),
        ("port", "http"),
        ("action", "drop"),
        ("action", "allow,"),
        ("since", "soon"),
        ("since", "-5m"),
        ("until", "1"),
        ("level", "4"),
        ("limit", "0"),
        ("limit", "1001"),
        ("cursor", "x"),
        ("cursor", "1"),
    ] {
        assert_eq!(refused(name, value).parameter, name, "{value}");
    }
    assert_eq!(refused("namespace", &"a".repeat(600)).parameter, "namespace");
    let backwards = parameters(&[("since", "1m"), ("until", "2m")]);
    assert_eq!(Filter::parse(&backwards, 1, NOON).unwrap_err().parameter, "until");
    assert!(serde_json::from_value::<Parameters>(json!({"namespaec": "x"})).is_err());
}

#[test]
fn cursor_reads_back() {
    for cursor in [Cursor { time: NOON, tiebreak: i64::MAX }, Cursor { time: -1, tiebreak: i64::MIN }] {
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }
}

#[test]
fn live_rows_are_chosen_by_either_end() {
    // shop/web-1 at 10.0.0.1 to 192.0.2.9 port 443, mixed, level 1, at noon.
    let record = record("a");
    let row = from_record(&record);
    let cases: [(&[(&str, &str)], bool); 32] = [
        (&[], true),
        (&[("namespace", "shop")], true),
        (&[("namespace", "sho")], false),
        (&[("pod", "web-1")], true),
        (&[("pod", "web")], true),
        (&[("pod", "we")], false),
        (&[("pod", "we*")], true),
        (&[("pod", "*")], true),
        (&[("address", "10.0.0.1")], true),
        (&[("address", "192.0.2.0/24")], true),
        (&[("address", "192.0.3.0/24")], false),
        (&[("address", "0.0.0.0/0")], true),
        (&[("address", "::/0")], false),
        (&[("port", "443")], true),
        (&[("port", "80")], false),
        (&[("action", "mixed")], true),
        (&[("action", "allow,deny")], false),
        (&[("level", "2")], false),
        (&[("since", "1m")], true),
        (&[("since", "59s")], false),
        (&[("since", "1d")], true),
        (&[("until", "1m")], false),
        (&[("until", "59s")], true),
        (&[("namespace", "shop"), ("port", "443")], true),
        (&[("namespace", "shop"), ("port", "80")], false),
        (&[("limit", "1"), ("cursor", "0_0")], true),
        (&[("filter", " ")], true),
        (&[("filter", "src.namespace == 'shop' and dst.port in [80, 443]")], true),
        (&[("filter", "src.pod.startsWith('web-') and not dst.address in ::/0")], true),
        (&[("filter", "action != mixed")], false),
        (&[("filter", "true"), ("port", "80")], false),
        (&[("filter", "dst.port == 80"), ("port", "443")], false),
    ];
    for (pairs, expected) in cases {
        assert_eq!(filter(pairs).matches(&row, &record), expected, "{pairs:?}");
    }
}

#[test]
fn an_expression_is_a_clause_beside_the_parameters() {
    let body = filter(&[("filter", "src.labels['app'].endsWith('a*b') or not has(dst.pod)"), ("port", "443")]).query();
    assert_eq!(
        body["query"]["bool"]["filter"][2],
        json!({"bool": {"should": [
            {"wildcard": {"source.kubernetes.labels": {"value": "app=*a\\*b"}}},
            {"bool": {"must_not": [{"exists": {"field": "destination.kubernetes.pod.name"}}]}},
        ], "minimum_should_match": 1}})
    );
}

#[test]
fn an_expression_without_meaning_or_without_a_query_is_refused_with_its_place() {
    let error = refused("filter", "src.namespce == 'x'");
    assert_eq!(error.parameter, "filter");
    assert!(error.problem.contains("^^^") && error.problem.contains("did you mean src.namespace?"), "{error}");
    for text in ["src.pod.matches('x')", "policy in drop_class"] {
        assert!(refused("filter", text).problem.contains('^'));
        Filter::parse_live(&parameters(&[("filter", text)]), 1, NOON).unwrap();
    }
}

#[test]
fn a_page_ends_where_the_order_does_not_tie() {
    let hits = |places: &[(i64, i64)]| -> Vec<Value> {
        places.iter().map(|(time, tiebreak)| json!({"sort": [time, tiebreak]})).collect()
    };
    let filter = Filter { limit: 2, ..Filter::default() };
    let page = |places: &[(i64, i64)]| {
        let hits = hits(places);
        let (page, next) = filter.page(&hits);
        (page.len(), next)
    };
    let at = |time, tiebreak| Some(Cursor { time, tiebreak });
    assert_eq!(page(&[]), (0, None));
    assert_eq!(page(&[(9, 1), (9, 0)]), (2, None), "there is no more");
    assert_eq!(page(&[(9, 1), (9, 0), (8, 0)]), (2, at(9, 0)));
    assert_eq!(page(&[(9, 1), (9, 0), (9, 0), (8, 7)]), (3, at(9, 0)), "what ties is not torn");
    assert_eq!(page(&[(9, 1), (9, 0), (9, 0)]), (3, None));
}
