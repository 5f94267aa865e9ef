//! Data sets and kinds besides flows, and compressed requests.

use crate::world::{expected, on_engines};
use serde_json::json;
use weir_elastic::Elastic;
use weir_indexer::dataset::Dataset;
use weir_indexer::direct::Direct;
use weir_indexer::document;
use weir_indexer::index::IndexKind;
use weir_indexer::periods::Periods;
use weir_schemas::audit::Audit;
use weir_schemas::dns::Dns;
use weir_schemas::enriched::Kind;
use weir_schemas::ledger::{Ledger, Reporter, Stored};
use weir_schemas::raw::Totals;
use weir_schemas::topics;
use weir_service::Metrics;

/// Every data set that is not flows: a message of each becomes one document of its own index, read twice or not.
#[tokio::test]
async fn dns_ledger_and_audit_are_data_sets_of_their_own() {
    on_engines(|world| async move {
        let noon = world.day * 86_400_000 + 43_200_000;
        let record = world.record(1);
        let dns = Dns {
            id: record.id.clone(),
            correction: 0,
            kind: Kind::Upsert,
            origin: record.origin,
            cluster: "test".into(),
            window: noon,
            generation: noon,
            client: record.initiator.clone(),
            server: record.responder.clone(),
            question: "db.example.com".into(),
            question_type: "A".into(),
            response_code: "NOERROR".into(),
            count: 2,
            latency: None,
            answers: vec!["203.0.113.7".into()],
            answers_more: 0,
        };
        let line = Ledger::Stored(Stored {
            cluster: "test".into(),
            partition: 0,
            generation: noon,
            level: 1,
            reporter: Reporter::Initiator,
            stored: Totals { packets: 3, bytes: 300, samples: 1 },
            filtered: Totals::default(),
            outside: Totals::default(),
        });
        let entry = Audit {
            at: noon,
            action: "delete_index".into(),
            target: "weir-flows-l1-2020.01.01".into(),
            reason: "budget".into(),
            bytes: 1,
            documents: 1,
            by: "a test".into(),
        };
        let periods = Periods::default();
        let indices = [
            document::prepare_dns(&dns, &periods).unwrap().index.to_string(),
            document::prepare_ledger(&line, &periods).unwrap().index.to_string(),
            document::prepare_audit(&entry, &periods).unwrap().index.to_string(),
        ];
        for index in &indices {
            world.direct.delete_index(index).await.unwrap();
        }
        for _ in 0..2 {
            world.produce_to(topics::DNS, weir_schemas::encode(&dns).unwrap()).await;
            world.produce_to(topics::LEDGER, weir_schemas::encode(&line).unwrap()).await;
            world.produce_to(topics::AUDIT, weir_schemas::encode(&entry).unwrap()).await;
        }
        let indexer = world.run();
        for dataset in [Dataset::Dns, Dataset::Ledger, Dataset::Audit] {
            world.committed_of(dataset).await;
        }
        indexer.stop().await;
        assert!(world.health.is_ready(), "{:?}", world.health.report());
        for (index, (field, value)) in indices.iter().zip([
            ("dns.question.name", json!("db.example.com")),
            ("weir.ledger.stored.bytes", json!(300)),
            ("weir.audit.target", json!("weir-flows-l1-2020.01.01")),
        ]) {
            world.direct.refresh(index).await.unwrap();
            assert_eq!(world.direct.count(index, &json!({"term": { field: value }})).await.unwrap(), 1, "{index}");
            assert_eq!(world.direct.count(index, &json!({"match_all": {}})).await.unwrap(), 1, "{index}");
            let (alias, _) = index.rsplit_once('-').unwrap();
            assert_eq!(world.direct.count(alias, &json!({"term": { field: value }})).await.unwrap(), 1, "{alias}");
            world.direct.delete_index(index).await.unwrap();
        }
        for dataset in [Dataset::Dns, Dataset::Ledger, Dataset::Audit] {
            assert!(world.dead_letters_of(dataset.topic()).await.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn compressed_requests_are_understood() {
    on_engines(|mut world| async move {
        world.proxied.elasticsearch_gzip = true;
        let records: Vec<_> = (0..500).map(|n| world.record(n)).collect();
        world.produce_records(&records).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&records));
    })
    .await;
}

/// As `weir replay --index` does it: flows of their own kind, written without a topic, and nobody's flows otherwise.
#[tokio::test]
async fn replayed_flows_are_written_at_once_into_indices_of_their_own() {
    on_engines(|world| async move {
        let records: Vec<_> = (0..50).map(|n| world.record(n)).collect();
        let prepared: Vec<_> =
            records.iter().map(|r| document::prepare_as(IndexKind::Replay, r, &Periods::default()).unwrap()).collect();
        let index = prepared[0].index.to_string();
        assert!(index.starts_with("weir-replay-l1-"));
        world.direct.delete_index(&index).await.unwrap();
        let elastic = Elastic::new(&world.proxied).unwrap();
        let direct = Direct::start(&world.log, elastic, &Metrics::new(), 0).await.unwrap();
        for _ in 0..2 {
            direct.write(&prepared).await.unwrap();
        }
        world.direct.refresh(&index).await.unwrap();
        assert_eq!(world.direct.count(&index, &json!({"match_all": {}})).await.unwrap(), 50);
        assert_eq!(world.direct.count("weir-replay", &json!({"match_all": {}})).await.unwrap(), 50);
        world.direct.delete_index(&index).await.unwrap();
    })
    .await;
}
