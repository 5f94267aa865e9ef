//! An expression as a query to the search server selects exactly the documents of the records that it holds for.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod random;

use random::Random;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weir_console::filter::{Filter, Parameters};
use weir_console::row::{Row, from_record};
use weir_elastic::bulk::Body;
use weir_elastic::{Elastic, ElasticSettings};
use weir_embedded_search::{SearchServer, SearchSettings};
use weir_indexer::document::prepare;
use weir_indexer::periods::Periods;
use weir_indexer::template::{FLOWS as TEMPLATE, FLOWS_ALIAS as READ_ALIAS};
use weir_schemas::enriched::{Enriched, document_id};

const RECORDS: u32 = 300;
const EXPRESSIONS: u32 = 600;

/// Puts the documents of records where the indexer would.
async fn index(elastic: &Elastic, records: &[Enriched]) {
    let template: Value = serde_json::from_str(TEMPLATE).unwrap();
    let prepared: Vec<_> = records.iter().map(|record| prepare(record, &Periods::default()).unwrap()).collect();
    let indices: BTreeSet<_> = prepared.iter().map(|one| one.index).collect();
    for index in indices {
        let body = json!({
            "settings": template["template"]["settings"],
            "mappings": template["template"]["mappings"],
            "aliases": {READ_ALIAS: {}, index.write_alias(): {}},
        });
        elastic.create_index(&index.to_string(), &body).await.unwrap();
    }
    let body = Body::of(prepared.iter().map(|one| &one.operation));
    let answer = elastic.bulk(&body).await.unwrap();
    assert_eq!(body.items(), records.len(), "{answer:?}");
    elastic.refresh("weir-*").await.unwrap();
}

/// The ids of one level that a filter selects by its query, and those that it selects by itself.
async fn selected(
    elastic: &Elastic,
    records: &[(Row, Enriched)],
    text: &str,
    level: usize,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let parameters = Parameters {
        filter: Some(text.to_owned()),
        level: Some(level.to_string()),
        limit: Some("1000".to_owned()),
        ..Parameters::default()
    };
    let filter = Filter::parse(&parameters, 1, 0).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let answer = elastic.search(READ_ALIAS, &filter.query()).await.unwrap_or_else(|error| panic!("{text}\n{error}"));
    let hits = answer["hits"]["hits"].as_array().unwrap();
    let asked = hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect();
    let held = records.iter().filter(|(row, record)| filter.matches(row, record));
    (asked, held.map(|(_, record)| document_id(&record.id)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_selects_what_the_expression_holds_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = SearchServer::start(SearchSettings::new(folder.path(), "127.0.0.1:0".parse().unwrap())).await.unwrap();
    let elastic = Elastic::new(&ElasticSettings::of(&[&format!("http://{}", server.address())])).unwrap();
    let mut random = Random::new(20_261_125);
    let records: Vec<Enriched> = (0..RECORDS).map(|number| random.record(number)).collect();
    index(&elastic, &records).await;
    let records: Vec<(Row, Enriched)> = records.into_iter().map(|record| (from_record(&record), record)).collect();
    let mut all = 0;
    for level in 0..4 {
        all += selected(&elastic, &records, "true", level).await.0.len();
    }
    assert_eq!(all, records.len(), "every record is a document");
    let mut telling = 0;
    let mut texts: Vec<String> = (0..EXPRESSIONS).map(|_| random.expression(3)).collect();
    texts.extend(random.every_field());
    for (number, text) in texts.iter().enumerate() {
        let level = number % 4;
        let (asked, held) = selected(&elastic, &records, text, level).await;
        assert_eq!(asked, held, "{text}");
        let of_level = records.iter().filter(|(_, record)| usize::from(record.level) == level).count();
        telling += usize::from(!held.is_empty() && held.len() < of_level);
    }
    assert!(telling > texts.len() / 2, "only {telling} of {} expressions told records apart", texts.len());
    server.shutdown().await;
}
