//! The scenario: requests, in order, and how their answers are compared.

#![allow(clippy::needless_pass_by_value, reason = "so that the scenario reads as a list of requests")]

use serde_json::{Value, json};

/// How much of two answers must be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    All,
    /// The status and the type of the error.
    ErrorType,
    Status,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) compare: Compare,
    /// The status that the embedded server must answer with.
    pub(crate) status: u16,
}

fn step(method: &'static str, path: &str, body: &Value, status: u16, compare: Compare) -> Step {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Step { method, path: path.to_owned(), body, compare, status }
}

fn ok(method: &'static str, path: &str, body: Value) -> Step {
    step(method, path, &body, 200, Compare::All)
}

fn search(body: Value) -> Step {
    ok("POST", "/conf-a,conf-b/_search", body)
}

fn query(query: Value) -> Step {
    search(json!({"query": query, "sort": ["seq"], "size": 50, "_source": ["seq"], "track_total_hits": true}))
}

fn aggs(aggs: Value) -> Step {
    search(json!({"size": 0, "aggs": aggs}))
}

fn refused(path: &str, body: Value, status: u16) -> Step {
    step("POST", path, &body, status, Compare::ErrorType)
}

/// The whole scenario.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = setting_up();
    steps.extend(writes());
    steps.extend(reads());
    steps.extend(queries());
    steps.extend(sorts());
    steps.extend(aggregations());
    steps.extend(refusals());
    steps.extend(names());
    steps.extend(tearing_down());
    steps
}

fn setting_up() -> Vec<Step> {
    let template = json!({"index_patterns": ["conf-*"], "priority": 500, "template": {
    "settings": {"index.number_of_replicas": 0, "refresh_interval": "1s"},
    "mappings": {"dynamic": "strict", "properties": {
        "@timestamp": {"type": "date"}, "seq": {"type": "integer"}, "host": {"type": "keyword", "ignore_above": 20},
        "source": {"properties": {"ip": {"type": "ip"}, "port": {"type": "integer"}}},
        "bytes": {"type": "long"}, "ratio": {"type": "double"}, "narrow": {"type": "float"},
        "open": {"type": "boolean"}, "tags": {"type": "keyword"}, "labels": {"type": "flattened"},
        "note": {"type": "text"}, "raw": {"type": "object", "enabled": false}, "loose": {"type": "object", "dynamic": "true"},
        "stored": {"type": "keyword", "index": false, "doc_values": false}
    }}}});
    vec![
        ok("PUT", "/_index_template/conf", template),
        ok("PUT", "/conf-a", Value::Null),
        ok("GET", "/conf-a/_mapping", Value::Null),
        step("PUT", "/conf-a", &Value::Null, 400, Compare::ErrorType),
        step("PUT", "/Upper", &Value::Null, 400, Compare::ErrorType),
        step("HEAD", "/conf-a", &Value::Null, 200, Compare::Status),
        step("HEAD", "/conf-z", &Value::Null, 404, Compare::Status),
        step("GET", "/_index_template/nothing", &Value::Null, 404, Compare::ErrorType),
    ]
}

/// Documents that differ in every field, without any chance.
fn documents() -> Vec<Value> {
    (0..60_i64)
        .map(|n| {
            let mut document = json!({
                "@timestamp": format!("2026-03-01T{:02}:{:02}:00.{:03}Z", n % 24, (n * 7) % 60, n),
                "seq": n, "host": format!("host-{}", n % 7), "bytes": n * n * 1_000 + 7, "ratio": (n as f64) / 8.0, "narrow": (n as f64) / 10.0,
                "open": n % 3 == 0, "tags": [format!("t{}", n % 4), format!("u{}", n % 5)],
                "source.port": 1_000 + n % 10, "source": {"ip": format!("10.{}.0.{}", n % 3, n)},
                "labels": {"app": format!("app-{}", n % 2), "tier": {"level": n % 3}}, "note": format!("Flow number {n} from node-{}", n % 4)
            });
            if n % 10 == 9 {
                let map = document.as_object_mut().unwrap();
                map.remove("host");
                map.remove("ratio");
                map.insert("bytes".into(), Value::Null);
                map.insert("source".into(), json!({"ip": ["2001:db8::1", format!("192.168.1.{n}")]}));
            }
            document
        })
        .collect()
}

fn bulk(path: &str, lines: &[Value]) -> Step {
    let mut body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    body.push('\n');
    Step { method: "POST", path: path.to_owned(), body, compare: Compare::All, status: 200 }
}

fn writes() -> Vec<Step> {
    let mut lines = Vec::new();
    for (n, document) in documents().into_iter().enumerate() {
        let index = if n % 2 == 0 { "conf-a" } else { "conf-b" };
        lines.push(json!({"index": {"_index": index, "_id": format!("d{n}")}}));
        lines.push(document);
    }
    let mixed = [
        json!({"create": {"_index": "conf-a", "_id": "d0"}}),
        json!({"seq": 1}),
        json!({"index": {"_index": "conf-a", "_id": "x1"}}),
        json!({"unknown": 1}),
        json!({"index": {"_index": "conf-a", "_id": "x2"}}),
        json!({"bytes": "many"}),
        json!({"index": {"_index": "conf-a", "_id": "x3"}}),
        json!({"source": {"ip": "10.0.0.300"}}),
        json!({"index": {"_index": "conf-a", "_id": "x4"}}),
        json!({"@timestamp": "yesterday"}),
        json!({"index": {"_index": "conf-a", "_id": "x5"}}),
        json!({"seq": 3_000_000_000_i64}),
        json!({"index": {"_index": "conf-a", "_id": "x6"}}),
        json!({"source": {"unknown": 1}}),
        json!({"index": {"_index": "conf-a", "_id": "v1", "version": 5, "version_type": "external"}}),
        json!({"seq": 100}),
        json!({"index": {"_index": "conf-a", "_id": "v1", "version": 5, "version_type": "external"}}),
        json!({"seq": 101}),
        json!({"index": {"_index": "conf-a", "_id": "v1", "version": 5, "version_type": "external_gte"}}),
        json!({"seq": 102}),
        json!({"index": {"_index": "conf-a", "_id": "v1", "version": 4, "version_type": "external_gte"}}),
        json!({"seq": 103}),
        json!({"update": {"_index": "conf-a", "_id": "v1"}}),
        json!({"doc": {"tags": ["upd"], "labels": {"app": "v"}}}),
        json!({"update": {"_index": "conf-a", "_id": "v1"}}),
        json!({"doc": {"tags": ["upd"]}}),
        json!({"update": {"_index": "conf-a", "_id": "v2"}}),
        json!({"doc": {"seq": 104}}),
        json!({"update": {"_index": "conf-a", "_id": "v2"}}),
        json!({"doc": {"seq": 104}, "doc_as_upsert": true}),
        json!({"delete": {"_index": "conf-a", "_id": "v2"}}),
        json!({"delete": {"_index": "conf-a", "_id": "v3"}}),
        json!({"index": {"_index": "conf-a", "_id": "v2"}}),
        json!({"seq": 105, "host": "a name that is longer than allowed", "stored": "s", "raw": {"any": {"thing": [1, "x"]}}}),
        json!({"index": {"_index": "conf-a", "_id": "big", "require_alias": true}}),
        json!({"seq": 106}),
        json!({"index": {"_index": "conf-a", "_id": "sum1"}}),
        json!({"seq": 107, "bytes": 9_007_199_254_740_993_i64}),
        json!({"index": {"_index": "conf-a", "_id": "loose"}}),
        json!({"seq": 108, "loose": {"text": "some words", "number": 5, "float": 1.5, "flag": true, "deep": {"date": "2026-01-02T03:04:05Z"}}}),
    ];
    vec![
        bulk("/_bulk?refresh=true", &lines),
        bulk("/_bulk?refresh=wait_for", &mixed),
        ok("GET", "/conf-a/_mapping", Value::Null),
        step("PUT", "/conf-b/_create/one", &json!({"seq": 200}), 201, Compare::All),
        step("PUT", "/conf-b/_create/one", &json!({"seq": 200}), 409, Compare::All),
        step("PUT", "/conf-b/_doc/one?if_seq_no=1000&if_primary_term=1", &json!({"seq": 201}), 409, Compare::ErrorType),
        ok("PUT", "/conf-b/_doc/one?refresh=true", json!({"seq": 201})),
        ok("POST", "/conf-b/_update/one", json!({"doc": {"seq": 202}})),
        ok("POST", "/conf-b/_update/one", json!({"doc": {"seq": 202}})),
        step("POST", "/conf-b/_update/none", &json!({"doc": {"seq": 202}}), 404, Compare::ErrorType),
        ok("DELETE", "/conf-b/_doc/one", Value::Null),
        step("DELETE", "/conf-b/_doc/one", &Value::Null, 404, Compare::All),
        step("DELETE", "/conf-zzz/_doc/one", &Value::Null, 404, Compare::ErrorType),
        step("POST", "/conf-b/_doc", &json!({"unknown": 1}), 400, Compare::ErrorType),
        step("POST", "/_bulk", &json!({"index": {}}), 400, Compare::ErrorType),
        ok("POST", "/conf-*/_refresh", Value::Null),
    ]
}

fn reads() -> Vec<Step> {
    vec![
        ok("GET", "/conf-a/_doc/d0", Value::Null),
        ok("GET", "/conf-a/_doc/v1?_source=false", Value::Null),
        ok("GET", "/conf-a/_doc/v1?_source_includes=labels", Value::Null),
        ok("GET", "/conf-a/_source/v2", Value::Null),
        step("GET", "/conf-a/_doc/none", &Value::Null, 404, Compare::All),
        step("GET", "/conf-zzz/_doc/none", &Value::Null, 404, Compare::ErrorType),
        ok("POST", "/conf-a/_mget", json!({"ids": ["d0", "none", "d2"]})),
        ok("GET", "/conf-a/_count", Value::Null),
        ok("POST", "/conf-*/_count", json!({"query": {"term": {"open": true}}})),
        ok("GET", "/_cat/indices/conf-*?format=json&h=index,docs.count,health,pri,rep&s=index", Value::Null),
    ]
}

fn queries() -> Vec<Step> {
    [
        json!({"match_all": {}}), json!({"match_none": {}}), json!({"term": {"host": "host-1"}}), json!({"term": {"host": {"value": "HOST-1", "case_insensitive": true}}}),
        json!({"terms": {"host": ["host-1", "host-2", "nothing"]}}), json!({"term": {"seq": 5}}), json!({"term": {"seq": 5.5}}), json!({"term": {"seq": "5"}}),
        json!({"terms": {"seq": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 55]}}), json!({"term": {"open": true}}), json!({"term": {"open": "false"}}),
        json!({"term": {"source.ip": "10.1.0.1"}}), json!({"term": {"source.ip": "10.1.0.0/16"}}), json!({"terms": {"source.ip": ["10.0.0.0/24", "2001:db8::/32"]}}),
        json!({"term": {"source.ip": "0.0.0.0/0"}}), json!({"term": {"source.ip": "::/0"}}), json!({"range": {"source.ip": {"gte": "10.1.0.5", "lt": "10.1.0.40"}}}),
        json!({"range": {"source.ip": {"gt": "192.168.0.0"}}}), json!({"range": {"seq": {"gt": 3, "lte": 7}}}), json!({"range": {"seq": {"gt": 3.5, "lt": 7.2}}}),
        json!({"range": {"bytes": {"gte": "9007199254740993"}}}), json!({"range": {"bytes": {"gt": 9_007_199_254_740_992_i64}}}),
        json!({"range": {"ratio": {"gte": 1.0, "lt": 1.5}}}), json!({"range": {"narrow": {"gte": 0.3, "lte": 0.5}}}), json!({"term": {"ratio": 1.125}}), json!({"term": {"narrow": 0.3}}),
        json!({"range": {"@timestamp": {"gte": "2026-03-01T05:00:00Z", "lt": "2026-03-01T07:00:00Z"}}}), json!({"range": {"@timestamp": {"gte": 1_772_344_800_000_i64}}}),
        json!({"range": {"@timestamp": {"lte": "2026-03-01T05"}}}), json!({"range": {"@timestamp": {"gt": "2026-03-01T05:00||/h"}}}), json!({"range": {"@timestamp": {"gte": "2026-03-01", "lte": "2026-03-01"}}}),
        json!({"range": {"@timestamp": {"gte": "2026-03-01T06:00:00", "time_zone": "+02:00"}}}), json!({"range": {"@timestamp": {"gte": "now-1d"}}}),
        json!({"range": {"host": {"gte": "host-3", "lt": "host-5"}}}), json!({"exists": {"field": "host"}}), json!({"exists": {"field": "source"}}), json!({"exists": {"field": "labels"}}),
        json!({"exists": {"field": "labels.app"}}), json!({"exists": {"field": "nothing"}}), json!({"exists": {"field": "ratio"}}), json!({"exists": {"field": "note"}}),
        json!({"prefix": {"host": "host-"}}), json!({"prefix": {"host": {"value": "HOST", "case_insensitive": true}}}), json!({"wildcard": {"host": "h*-?"}}), json!({"wildcard": {"host": {"value": "*1"}}}),
        json!({"ids": {"values": ["d1", "d2", "none"]}}), json!({"term": {"_id": "d4"}}), json!({"term": {"_index": "conf-a"}}), json!({"match": {"host": "host-2"}}), json!({"match": {"note": "FLOW 17"}}),
        json!({"match": {"note": {"query": "flow 17", "operator": "and"}}}), json!({"match_phrase": {"note": "number 17"}}),
        json!({"term": {"labels.app": "app-1"}}), json!({"term": {"labels": "app-1"}}), json!({"term": {"labels.tier.level": "2"}}), json!({"prefix": {"labels.app": "app"}}),
        json!({"term": {"tags": "t1"}}), json!({"bool": {"must": [{"term": {"tags": "t1"}}, {"term": {"tags": "u1"}}]}}), json!({"bool": {"must_not": [{"exists": {"field": "host"}}]}}),
        json!({"bool": {"should": [{"term": {"seq": 1}}, {"term": {"seq": 2}}]}}), json!({"bool": {"filter": [{"term": {"open": true}}], "should": [{"term": {"seq": 1}}]}}),
        json!({"bool": {"should": [{"term": {"tags": "t1"}}, {"term": {"tags": "u1"}}, {"term": {"open": true}}], "minimum_should_match": 2}}),
        json!({"bool": {"should": [{"term": {"tags": "t1"}}, {"term": {"tags": "u1"}}, {"term": {"open": true}}], "minimum_should_match": "67%"}}), json!({"bool": {}}),
        json!({"constant_score": {"filter": {"term": {"open": true}}}}), json!({"term": {"nothing": 1}}), json!({"term": {"loose.number": 5}}), json!({"match": {"loose.text": "words"}}), json!({"term": {"loose.text.keyword": "some words"}}),
        json!({"term": {"@timestamp": "2026-03-01T05:35:00.005Z"}}), json!({"terms": {"host": []}}),
    ]
    .into_iter()
    .map(query)
    .collect()
}

fn sorts() -> Vec<Step> {
    let sorted = |sort: Value| search(json!({"sort": sort, "size": 100, "_source": false}));
    let mut steps = vec![
        sorted(json!([{"bytes": "desc"}, {"seq": "asc"}])),
        sorted(json!([{"bytes": {"order": "asc", "missing": "_first"}}, "seq"])),
        sorted(json!([{"host": "asc"}, {"seq": "desc"}])),
        sorted(json!([{"host": {"order": "desc", "missing": "_first"}}, {"seq": "desc"}])),
        sorted(json!([{"source.ip": "desc"}, "seq"])),
        sorted(json!([{"ratio": {"order": "desc"}}, "seq"])),
        sorted(json!([{"@timestamp": {"order": "desc", "format": "strict_date_optional_time"}}, "seq"])),
        sorted(json!([{"open": "desc"}, "seq"])),
        sorted(json!([{"tags": {"order": "asc", "mode": "max"}}, "seq"])),
        sorted(json!([{"nothing": {"order": "asc", "unmapped_type": "long"}}, "seq"])),
        sorted(json!([{"bytes": {"order": "asc", "missing": 5}}, "seq"])),
        sorted(json!([{"labels.app": "asc"}, "seq"])),
        search(
            json!({"sort": [{"bytes": "desc"}, {"seq": "asc"}], "size": 7, "from": 10, "_source": ["bytes", "labels.*"]}),
        ),
        search(json!({"sort": [{"bytes": "desc"}, {"seq": "asc"}], "size": 7, "search_after": [1_000_007, 0]})),
        search(json!({"sort": [{"host": "asc"}, {"seq": "asc"}], "size": 70, "search_after": ["host-5", 10]})),
        search(
            json!({"sort": [{"bytes": "desc"}, {"seq": "asc"}], "size": 50, "search_after": [i64::MIN, 29], "_source": {"includes": ["source"], "excludes": ["source.ip"]}}),
        ),
        search(json!({"sort": ["seq"], "size": 60, "_source": {"excludes": ["source.ip", "la*", "@timestamp"]}})),
        search(json!({"sort": ["seq"], "size": 60, "_source": "*.ip"})),
        search(json!({"sort": ["seq"], "size": 3, "_source": ["source", "n*"]})),
        search(json!({"sort": [{"@timestamp": "asc"}], "size": 3, "version": true, "seq_no_primary_term": true})),
        search(json!({"query": {"term": {"host": "host-1"}}, "size": 0, "track_total_hits": false})),
        search(json!({"size": 0, "track_total_hits": 5})),
        search(json!({"size": 0, "track_total_hits": true})),
        search(
            json!({"query": {"match_all": {}}, "post_filter": {"term": {"open": true}}, "sort": ["seq"], "size": 3, "aggs": {"a": {"value_count": {"field": "seq"}}}}),
        ),
        ok("POST", "/conf-a/_search", json!({"query": {"term": {"host": "host-1"}}, "size": 3, "_source": false})),
        ok(
            "POST",
            "/conf-a/_search",
            json!({"query": {"bool": {"filter": {"term": {"host": "host-1"}}}}, "size": 3, "_source": false}),
        ),
        ok("POST", "/conf-a/_search", json!({"query": {"term": {"tags": "t2"}}, "size": 3, "_source": false})),
        ok(
            "POST",
            "/conf-a/_search",
            json!({"query": {"range": {"seq": {"lt": 5, "boost": 2.5}}}, "size": 3, "_source": false}),
        ),
        ok(
            "POST",
            "/conf-a/_search",
            json!({"query": {"bool": {"must": {"term": {"host": "host-1"}}, "should": [{"range": {"seq": {"gt": 40}}}]}}, "size": 20, "_source": false}),
        ),
        ok("GET", "/conf-a/_search?size=2&sort=seq:desc&_source_includes=seq&track_total_hits=true", Value::Null),
        ok("GET", "/conf-a/_search?rest_total_hits_as_int=true&size=0", Value::Null),
        ok("GET", "/conf-none*/_search", Value::Null),
        ok("GET", "/conf-a,conf-none/_search?ignore_unavailable=true&size=0", Value::Null),
        ok("GET", "/conf-a/_search?filter_path=hits.total,took.x&size=0", Value::Null),
    ];
    steps.push(ok("POST", "/conf-*/_pit?keep_alive=1m", Value::Null));
    steps.push(ok("POST", "/_search", json!({"pit": {"id": "$PIT", "keep_alive": "1m"}, "query": {"range": {"seq": {"lt": 20}}}, "sort": [{"host": "asc"}, {"seq": "asc"}], "size": 4, "_source": false, "search_after": ["host-2", 2]})).status_only());
    steps.push(ok("DELETE", "/_pit", json!({"id": "$PIT"})).status_only());
    steps
}

impl Step {
    fn status_only(mut self) -> Self {
        self.compare = Compare::Status;
        self
    }
}

fn aggregations() -> Vec<Step> {
    let sum = json!({"b": {"sum": {"field": "bytes"}}});
    let mut steps: Vec<Step> = [
        json!({"a": {"sum": {"field": "bytes"}}, "b": {"min": {"field": "bytes"}}, "c": {"max": {"field": "bytes"}}, "d": {"avg": {"field": "seq"}}, "e": {"value_count": {"field": "tags"}}, "f": {"stats": {"field": "ratio"}}}),
        json!({"a": {"min": {"field": "@timestamp"}}, "b": {"max": {"field": "@timestamp"}}, "c": {"stats": {"field": "@timestamp"}}, "d": {"avg": {"field": "nothing"}}, "e": {"sum": {"field": "nothing"}}, "f": {"stats": {"field": "nothing"}}}),
        json!({"a": {"cardinality": {"field": "host"}}, "b": {"cardinality": {"field": "source.ip"}}, "c": {"cardinality": {"field": "seq"}}, "d": {"cardinality": {"field": "nothing"}}, "e": {"max": {"field": "open"}}}),
        json!({"a": {"percentiles": {"field": "seq"}}, "b": {"percentiles": {"field": "ratio", "percents": [50, 99.9], "keyed": false}}, "c": {"percentiles": {"field": "nothing"}}}),
        json!({"a": {"terms": {"field": "host"}, "aggs": sum}}), json!({"a": {"terms": {"field": "host", "size": 3, "order": {"b": "desc"}}, "aggs": sum}}),
        json!({"a": {"terms": {"field": "tags", "size": 4, "order": {"_key": "desc"}}}}), json!({"a": {"terms": {"field": "seq", "size": 5, "order": {"_key": "asc"}}}}), json!({"a": {"terms": {"field": "open"}}}),
        json!({"a": {"terms": {"field": "source.ip", "size": 3, "order": {"_key": "asc"}}}}), json!({"a": {"terms": {"field": "@timestamp", "size": 2, "order": {"_key": "asc"}}}}), json!({"a": {"terms": {"field": "ratio", "size": 3, "order": {"_key": "asc"}}}}),
        json!({"a": {"terms": {"field": "host", "missing": "none", "order": [{"_count": "asc"}, {"_key": "desc"}]}}}), json!({"a": {"terms": {"field": "host", "include": ["host-1", "host-2"]}}}),
        json!({"a": {"terms": {"field": "labels.app"}}}), json!({"a": {"terms": {"field": "labels"}}}), json!({"a": {"terms": {"field": "nothing"}}}), json!({"a": {"terms": {"field": "host", "min_doc_count": 9}}}),
        json!({"a": {"terms": {"field": "host"}, "aggs": {"s": {"stats": {"field": "seq"}}, "t": {"terms": {"field": "open"}, "aggs": sum}}}}),
        json!({"a": {"terms": {"field": "host", "order": {"s.max": "asc"}}, "aggs": {"s": {"stats": {"field": "seq"}}}}}), json!({"a": {"terms": {"field": "host", "order": {"f>c": "desc"}}, "aggs": {"f": {"filter": {"term": {"open": true}}, "aggs": {"c": {"value_count": {"field": "seq"}}}}}}}),
        json!({"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "6h"}, "aggs": sum}}), json!({"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day"}}}), json!({"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "hour", "min_doc_count": 3}}}),
        json!({"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "12h", "time_zone": "+00:00", "offset": "+1h"}}}), json!({"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "8h", "extended_bounds": {"min": "2026-02-28", "max": "2026-03-02"}, "order": {"_key": "desc"}}}}),
        json!({"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "1d", "format": "yyyy-MM-dd"}}}), json!({"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "month"}}}), json!({"a": {"date_histogram": {"field": "nothing", "calendar_interval": "month"}}}),
        json!({"a": {"histogram": {"field": "seq", "interval": 25}, "aggs": {"m": {"max": {"field": "ratio"}}}}}), json!({"a": {"histogram": {"field": "ratio", "interval": 2.5, "min_doc_count": 1}}}),
        json!({"a": {"range": {"field": "seq", "ranges": [{"to": 10}, {"from": 10, "to": 20.5}, {"key": "rest", "from": 20.5}]}, "aggs": sum}}), json!({"a": {"range": {"field": "seq", "keyed": true, "ranges": [{"to": 10}]}}}),
        json!({"a": {"date_range": {"field": "@timestamp", "ranges": [{"from": "2026-03-01T12:00:00Z"}, {"to": "2026-03-01T12:00:00Z"}]}}}),
        json!({"a": {"filter": {"term": {"open": true}}, "aggs": sum}}), json!({"a": {"filters": {"filters": {"x": {"term": {"open": true}}, "y": {"match_all": {}}}}, "aggs": sum}}), json!({"a": {"filters": {"other_bucket": true, "filters": [{"term": {"host": "host-1"}}]}}}),
        json!({"a": {"missing": {"field": "host"}, "aggs": sum}}), json!({"a": {"date_histogram": {"field": "@timestamp", "fixed_interval": "12h"}, "aggs": {"t": {"terms": {"field": "host", "size": 2}, "aggs": {"p": {"percentiles": {"field": "seq", "percents": [50]}}}}}}}),
        json!({"a": {"composite": {"size": 5, "sources": [{"h": {"terms": {"field": "host"}}}, {"o": {"terms": {"field": "open"}}}]}, "aggs": sum}}),
        json!({"a": {"composite": {"size": 5, "after": {"h": "host-2", "o": false}, "sources": [{"h": {"terms": {"field": "host"}}}, {"o": {"terms": {"field": "open"}}}]}}}),
        json!({"a": {"composite": {"size": 4, "sources": [{"t": {"date_histogram": {"field": "@timestamp", "fixed_interval": "6h", "order": "desc"}}}, {"p": {"terms": {"field": "source.port", "order": "desc"}}}]}}}),
        json!({"a": {"composite": {"size": 4, "sources": [{"t": {"date_histogram": {"field": "@timestamp", "calendar_interval": "1d", "format": "yyyy-MM-dd"}}}, {"i": {"terms": {"field": "source.ip"}}}]}}}),
        json!({"a": {"composite": {"size": 3, "sources": [{"h": {"terms": {"field": "host", "missing_bucket": true}}}]}}}), json!({"a": {"composite": {"sources": [{"x": {"terms": {"field": "nothing"}}}]}}}), json!({"a": {"composite": {"size": 100, "sources": [{"x": {"histogram": {"field": "seq", "interval": 20}}}, {"t": {"terms": {"field": "tags"}}}]}}}),
    ]
    .into_iter()
    .map(aggs)
    .collect();
    steps.push(ok("POST", "/conf-none*/_search", json!({"size": 0, "aggs": {"a": {"terms": {"field": "host"}}}})));
    steps.push(search(json!({"query": {"match_none": {}}, "size": 0, "aggs": {"a": {"terms": {"field": "host"}}, "b": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h"}}, "c": {"sum": {"field": "bytes"}}, "d": {"range": {"field": "seq", "ranges": [{"to": 1}]}, "aggs": {"t": {"terms": {"field": "host"}}}}, "e": {"composite": {"sources": [{"h": {"terms": {"field": "host"}}}]}}}})));
    steps
}

fn refusals() -> Vec<Step> {
    let search = "/conf-a/_search";
    vec![
        refused(search, json!({"query": {"nonsense": {}}}), 400),
        refused(search, json!({"nonsense": 1}), 400),
        refused(search, json!({"query": {"term": {"source.ip": "nonsense"}}}), 400),
        refused(search, json!({"query": {"range": {"@timestamp": {"gte": "nonsense"}}}}), 400),
        refused(search, json!({"query": {"term": {"seq": "nonsense"}}}), 400),
        refused(search, json!({"sort": ["nothing"]}), 400),
        refused(search, json!({"from": 9_999, "size": 2}), 400),
        refused(search, json!({"size": -1}), 400),
        refused(search, json!({"sort": ["seq"], "search_after": [1, 2]}), 400),
        refused(search, json!({"sort": ["note"]}), 400),
        refused(search, json!({"aggs": {"a": {"terms": {"field": "note"}}}}), 400),
        refused(search, json!({"aggs": {"a": {"nonsense": {}}}}), 400),
        refused(search, json!({"aggs": {"a": {"sum": {"field": "host"}}}}), 400),
        refused(search, json!({"aggs": {"a": {"histogram": {"field": "bytes", "interval": 1}}}}), 400).status_any(),
        refused("/conf-none/_search", json!({}), 404),
        refused(search, json!({"query": {"match_all": {"x": 1}}}), 400),
        refused(search, json!({"query": {"range": {"seq": {"x": 1}}}}), 400),
        refused(search, json!({"query": {"term": {"a": 1, "b": 2}}}), 400),
        refused(search, json!({"query": {"term": {"host": ["a"]}}}), 400),
        refused(search, json!({"query": []}), 400),
        refused(search, json!({"sort": [{"seq": {"x": 1}}]}), 400),
        refused(search, json!({"sort": [{"seq": "up"}]}), 400),
        refused(search, json!({"aggs": {"a": {"terms": {}}}}), 400),
        refused(search, json!({"aggs": {"a": {}}}), 400),
        refused(search, json!({"aggs": {"a": {"sum": {"field": "seq", "x": 1}}}}), 400),
        refused(search, json!({"aggs": {"a": {"date_histogram": {"field": "@timestamp"}}}}), 400),
        refused(
            search,
            json!({"aggs": {"a": {"date_histogram": {"field": "@timestamp", "calendar_interval": "2d"}}}}),
            400,
        ),
        refused(search, json!({"aggs": {"a": {"composite": {"sources": []}}}}), 400),
        refused(
            search,
            json!({"aggs": {"a": {"sum": {"field": "seq"}, "aggs": {"b": {"sum": {"field": "seq"}}}}}}),
            400,
        ),
        refused(search, json!({"aggs": {"a": {"terms": {"field": "host", "order": {"zzz": "asc"}}}}}), 400)
            .status_any(),
        refused(search, json!({"aggs": {"a": {"percentiles": {"field": "seq", "percents": [101]}}}}), 400),
        refused("/_search", json!({"pit": {"id": "nonsense"}}), 400).status_any(),
        refused(search, json!({"query": {"bool": {"nonsense": []}}}), 400),
        refused(search, json!({"query": {"exists": {"field": ""}}}), 400).status_any(),
        refused("/conf-a/_search?nonsense=1", json!({}), 400),
        refused(search, json!({"aggs": {"a": {"terms": {"field": "host", "size": 0}}}}), 400),
        refused(search, json!({"query": {"terms": {"host": "x"}}}), 400),
        step(
            "PUT",
            "/conf-bad",
            &json!({"mappings": {"properties": {"x": {"type": "nonsense"}}}}),
            400,
            Compare::ErrorType,
        ),
        step(
            "PUT",
            "/conf-bad",
            &json!({"mappings": {"properties": {"x": {"type": "keyword", "nonsense": 1}}}}),
            400,
            Compare::ErrorType,
        ),
        step("PUT", "/conf-a/_mapping", &json!({"properties": {"host": {"type": "long"}}}), 400, Compare::ErrorType),
        step("PUT", "/conf-bad", &json!({"settings": {"nonsense": 1}}), 400, Compare::ErrorType),
        step("DELETE", "/conf-*", &Value::Null, 400, Compare::ErrorType),
        step("DELETE", "/conf-none", &Value::Null, 404, Compare::ErrorType),
    ]
}

impl Step {
    fn status_any(mut self) -> Self {
        self.compare = Compare::Status;
        self
    }
}

fn names() -> Vec<Step> {
    vec![
        ok("PUT", "/conf-a/_mapping", json!({"properties": {"added": {"type": "keyword"}}})),
        ok(
            "POST",
            "/_aliases",
            json!({"actions": [{"add": {"index": "conf-a", "alias": "conf"}}, {"add": {"index": "conf-b", "alias": "conf", "is_write_index": true}}]}),
        ),
        ok("GET", "/_alias/conf", Value::Null),
        step("GET", "/_alias/other", &Value::Null, 404, Compare::Status),
        step("PUT", "/conf/_doc/through-alias?refresh=true", &json!({"seq": 300}), 201, Compare::All),
        ok("GET", "/conf/_count", Value::Null),
        ok(
            "POST",
            "/_aliases",
            json!({"actions": [{"add": {"index": "conf-b", "alias": "conf", "is_write_index": false}}]}),
        ),
        step("PUT", "/conf/_doc/x", &json!({"seq": 1}), 400, Compare::ErrorType),
        step("PUT", "/conf", &Value::Null, 400, Compare::ErrorType),
        ok("GET", "/_resolve/index/conf*", Value::Null).status_only(),
        ok("DELETE", "/conf-a/_alias/conf", Value::Null),
        step("DELETE", "/conf-a/_alias/conf", &Value::Null, 404, Compare::Status),
        step("DELETE", "/conf", &Value::Null, 400, Compare::ErrorType),
        step(
            "PUT",
            "/_index_template/conf-2",
            &json!({"index_patterns": ["conf-x*"], "priority": 500, "template": {}}),
            400,
            Compare::ErrorType,
        ),
        ok("POST", "/conf-a/_forcemerge?max_num_segments=1", Value::Null),
        ok("GET", "/conf-a/_count", Value::Null),
        ok("GET", "/_cluster/health", Value::Null).status_only(),
        ok("GET", "/_nodes/stats/fs", Value::Null).status_only(),
        ok("GET", "/_cat/shards/conf-a?format=json&h=index,shard,prirep,state", Value::Null),
        ok("GET", "/conf-a/_stats/docs,store", Value::Null).status_only(),
        ok("GET", "/_cluster/settings", Value::Null).status_only(),
    ]
}

fn tearing_down() -> Vec<Step> {
    vec![
        ok("DELETE", "/conf-a,conf-b", Value::Null),
        ok("DELETE", "/_index_template/conf", Value::Null),
        ok("GET", "/conf-*/_count", Value::Null),
    ]
}
