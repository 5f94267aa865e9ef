use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::index::{Action, Index, VersionCheck, WriteRequest};
use crate::mapping::Mapping;
use crate::search::request::SearchRequest;
use crate::search::{self, Searched};

/// The answer of aggregations over documents, written in segments of a few.
fn answer(documents: &[Value], aggs: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mapping = json!({"properties": {"k": {"type": "keyword"}, "n": {"type": "long"}}});
    let mapping = Arc::new(Mapping::parse(&mapping).unwrap());
    let meta = Meta {
        name: "x".into(),
        uuid: "u".into(),
        created: 0,
        settings: Default::default(),
        mapping,
        aliases: Default::default(),
    };
    let index = Arc::new(Index::create(folder.path(), meta, 1).unwrap());
    for (number, part) in documents.chunks(7).enumerate() {
        let requests: Vec<_> = part
            .iter()
            .enumerate()
            .map(|(at, document)| WriteRequest {
                id: format!("{number}-{at}"),
                action: Action::Index,
                check: VersionCheck::None,
                source: document.to_string().into_bytes(),
                fresh_id: true,
            })
            .collect();
        index.write(&requests, 100, 1);
        index.refresh(2).unwrap();
    }
    let searched = [Searched { meta: index.meta(), searcher: index.searcher(3).unwrap(), index }];
    let limits = Limits::default();
    let request = SearchRequest::parse(&json!({"size": 0, "aggs": aggs}), &limits).unwrap();
    search::run(&searched, &request, &limits, 4).unwrap().aggregations.unwrap()
}

fn documents() -> impl Strategy<Value = Vec<(String, i64)>> {
    proptest::collection::vec(("[a-d]", -1_000_000_000_000..1_000_000_000_000_i64), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn pages_of_a_composite_are_the_terms_and_their_sums(pairs in documents(), size in 1..4_usize) {
        let written: Vec<Value> = pairs.iter().map(|(k, n)| json!({"k": k, "n": n})).collect();
        let mut naive: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        for (k, n) in &pairs {
            let entry = naive.entry(k.clone()).or_default();
            *entry = (entry.0 + 1, entry.1 + n);
        }
        let mut found = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut composite = json!({"size": size, "sources": [{"k": {"terms": {"field": "k"}}}]});
            if !after.is_null() {
                composite["after"] = after.clone();
            }
            let page = answer(&written, &json!({"c": {"composite": composite, "aggs": {"s": {"sum": {"field": "n"}}}}}));
            let buckets = page["c"]["buckets"].as_array().unwrap().clone();
            if buckets.is_empty() {
                break;
            }
            prop_assert!(buckets.len() <= size);
            for bucket in buckets {
                found.push((bucket["key"]["k"].as_str().unwrap().to_owned(), bucket["doc_count"].as_u64().unwrap(), bucket["s"]["value"].as_f64().unwrap()));
            }
            after = page["c"]["after_key"].clone();
        }
        let naive: Vec<_> = naive.into_iter().map(|(k, (count, sum))| (k, count, sum as f64)).collect();
        prop_assert_eq!(found, naive);
    }

    #[test]
    fn histograms_lose_no_document(pairs in documents()) {
        let written: Vec<Value> = pairs.iter().map(|(k, n)| json!({"k": k, "n": n})).collect();
        let shown = answer(&written, &json!({"h": {"histogram": {"field": "n", "interval": 1e11}}, "t": {"terms": {"field": "k"}}}));
        for name in ["h", "t"] {
            let total: u64 = shown[name]["buckets"].as_array().unwrap().iter().map(|bucket| bucket["doc_count"].as_u64().unwrap()).sum();
            prop_assert_eq!(total, pairs.len() as u64);
        }
    }
}

#[test]
fn percentiles_of_many_values_stay_close() {
    let shared = Rc::new(Shared {
        collected: 0.into(),
        returned: 0.into(),
        most_collected: 1_000_000,
        most_returned: 10,
        now: 0,
    });
    let mut digest = percentiles::Digest::default();
    // All numbers below a prime, in an order without pattern.
    for n in 0..200_003_u64 {
        digest.add((n * 7_919 % 200_003) as f64);
    }
    for quantile in [0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999] {
        let found = digest.quantile(quantile).unwrap();
        assert!((found / 200_002.0 - quantile).abs() < 0.001, "{quantile}: {found}");
    }
    assert!(shared.keep(10).is_ok() && shared.keep(1_000_000).is_err());
}
