//! Indices of older and newer versions.

use crate::records::with;
use crate::world::{World, expected, on_engines};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use weir_elastic::Method;
use weir_schemas::enriched::{Enriched, Kind};

/// An index that an older version made, whose strict mapping does not know every field, takes records of this version.
#[tokio::test]
async fn an_open_index_of_an_older_version_gets_the_fields_that_it_lacks() {
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        let network = mappings["properties"]["network"]["properties"].as_object_mut().unwrap();
        assert!(network.remove("community_id").is_some());
        mappings["_meta"]["version"] = json!(1);
        let older = json!({"settings": template["template"]["settings"], "mappings": mappings});
        world.direct.create_index(&world.index(), &older).await.unwrap();
        let named = Enriched { community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".to_owned()), ..world.record(1) };
        world.produce_records(std::slice::from_ref(&named)).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[named]));
        assert!(world.dead_letters().await.is_empty());
    })
    .await;
}

/// An index that a newer version made keeps its mapping; what this version writes fits into it.
#[tokio::test]
async fn an_open_index_of_a_newer_version_is_left_as_it_is() {
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        mappings["_meta"]["version"] = json!(999);
        mappings["properties"]["of_tomorrow"] = json!({"type": "keyword"});
        let alias = format!("{}-write", world.index());
        let newer =
            json!({"settings": template["template"]["settings"], "mappings": mappings, "aliases": { alias: {} }});
        world.direct.create_index(&world.index(), &newer).await.unwrap();
        world.produce_records(&[world.record(1)]).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[world.record(1)]));
        let states = world.direct.states(&world.index()).await.unwrap();
        assert_eq!(states[&world.index()].mappings["_meta"]["version"], 999);
    })
    .await;
}

/// This version meets an index of a newer one that does not take what it writes, or names documents otherwise: nothing is written,
/// nothing is given up, and it says what to do.
#[tokio::test]
async fn an_index_of_a_newer_version_that_takes_no_such_documents_is_named_and_counted() {
    type Change = fn(&mut serde_json::Value);
    let keeps_otherwise: Change =
        |mappings| mappings["properties"]["network"]["properties"]["transport"] = json!({"type": "long"});
    let names_otherwise: Change = |mappings| mappings["_meta"]["id_bits"] = json!(64);
    for (change, said) in [(keeps_otherwise, " refused, "), (names_otherwise, "have other ids")] {
        on_engines(|world| async move {
            let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
            let mut mappings = template["template"]["mappings"].clone();
            mappings["_meta"]["version"] = json!(999);
            change(&mut mappings);
            let alias = format!("{}-write", world.index());
            let newer =
                json!({"settings": template["template"]["settings"], "mappings": mappings, "aliases": { alias: {} }});
            make_without_template(&world, &newer).await;
            let records: Vec<_> = (0..100).map(|n| world.record(n)).collect();
            world.produce_records(&records).await;
            let indexer = world.run();
            let until = Instant::now() + Duration::from_secs(30);
            let told = || {
                let report = format!("{:?}", world.health.report());
                report.contains("is of a newer version (mapping 999)") && report.contains("upgrade this indexer")
            };
            while !told() || world.count("weir_indexer_alarms", &[]) < 1.0 {
                let fate = |fate| world.count("weir_indexer_operations_total", &[("fate", fate)]);
                let fates = (fate("stored"), fate("dead"), world.count("weir_indexer_newer_indices_total", &[]));
                assert!(Instant::now() < until, "{fates:?} {:?}", world.health.report());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let report = format!("{:?}", world.health.report());
            assert!(report.contains(said), "{report}");
            // What is in hand would be waited for.
            indexer.kill().await;
            assert!(world.count("weir_indexer_newer_indices_total", &[]) >= 1.0);
            assert!(!world.is_committed().await && world.dead_letters().await.is_empty());
            assert_eq!(world.count_documents().await, 0);
            world.delete_index().await;
        })
        .await;
    }
}

/// The mapping of an index of ours is brought up to date before anything is written; a copy that somebody made is not.
#[tokio::test]
async fn open_indices_of_an_older_version_are_up_to_date_when_the_indexer_has_started() {
    on_engines(|world| async move {
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let mut mappings = template["template"]["mappings"].clone();
        mappings["_meta"]["version"] = json!(1);
        let copy = format!("{}-copy", world.index());
        world.direct.delete_index(&copy).await.unwrap();
        for (index, aliases) in [
            (world.index(), json!({ format!("{}-write", world.index()): {} })),
            (copy.clone(), json!({ format!("{}-write", world.index()): {"is_write_index": false} })),
        ] {
            let body = json!({"settings": template["template"]["settings"], "mappings": mappings, "aliases": aliases});
            world.direct.create_index(&index, &body).await.unwrap();
        }
        let indexer = world.run();
        let until = Instant::now() + Duration::from_secs(30);
        let ours = weir_indexer::template::version(&template["template"]["mappings"]);
        let versions = async || {
            let states = world.direct.states(&format!("{}*", world.index())).await.unwrap();
            let version = |index: &str| states[index].mappings["_meta"]["version"].as_u64().unwrap();
            (version(&world.index()), version(&copy))
        };
        while !world.health.is_ready() || versions().await.0 != ours {
            assert!(Instant::now() < until, "{:?}", world.health.report());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        indexer.stop().await;
        assert_eq!(versions().await, (ours, 1));
        world.direct.delete_index(&copy).await.unwrap();
    })
    .await;
}

/// An index of version 3 as it was made then: its fields are kept otherwise, and its documents have whole ids, under which what
/// is read again is found.
#[tokio::test]
async fn an_index_of_version_3_takes_repeats_and_corrections_under_its_own_ids() {
    on_engines(|world| async move {
        let mut older: serde_json::Value = serde_json::from_str(include_str!("../golden/weir-flows.v3.json")).unwrap();
        older["aliases"] = json!({ format!("{}-write", world.index()): {} });
        make_without_template(&world, &older).await;
        let corrected = with(&world.record(1), 1, 777, Kind::Upsert);
        // Each twice, as after a crash.
        world
            .produce_records(&[world.record(1), world.record(2), world.record(1), corrected.clone(), world.record(2)])
            .await;
        for round in 0..2 {
            let indexer = world.run();
            world.committed().await;
            indexer.stop().await;
            let expected: BTreeMap<_, _> =
                [(corrected.id.clone(), 777), (world.record(2).id, world.record(2).totals.forward_bytes)].into();
            assert_eq!(world.documents().await, expected, "round {round}");
            assert!(world.dead_letters().await.is_empty());
            // The second time the mapping says the present version.
            world.produce_records(&[world.record(1), world.record(2)]).await;
        }
        let states = world.direct.states(&world.index()).await.unwrap();
        let template: serde_json::Value = serde_json::from_str(weir_indexer::template::FLOWS).unwrap();
        let ours = weir_indexer::template::version(&template["template"]["mappings"]);
        assert_eq!(weir_indexer::template::version(&states[&world.index()].mappings), ours);
    })
    .await;
}

/// Makes the world's index. A template of this version, which others may have put by now, would not let it be made.
pub(crate) async fn make_without_template(world: &World, index: &serde_json::Value) {
    for _ in 0..100 {
        let _ = world.direct.request(Method::Delete, "/_index_template/weir-flows", &[], None).await;
        if world.direct.create_index(&world.index(), index).await.is_ok() {
            return;
        }
    }
    panic!("a template is always there");
}

/// An engine that knows settings that save disk makes indices with them; where they are refused all the same, as the embedded engine
/// does, which answers as a version that knows them, indices are made without.
#[tokio::test]
async fn an_index_has_what_its_engine_knows_and_refusing_it_holds_nothing() {
    on_engines(|world| async move {
        world.produce_records(&[world.record(1)]).await;
        let indexer = world.run();
        world.committed().await;
        indexer.stop().await;
        assert_eq!(world.documents().await, expected(&[world.record(1)]));
        let ask = async |path: &str| -> serde_json::Value {
            let reply = world.direct.request(Method::Get, path, &[], None).await.unwrap();
            serde_json::from_slice(&reply.body).unwrap()
        };
        let knows = weir_indexer::template::compact(&json!({}), &world.direct.info().await.unwrap()).is_some();
        let embedded = ask("/").await["version"]["build_flavor"] == "weir-embedded";
        let settings = ask(&format!("/{}/_settings", world.index())).await;
        let made = &settings[&world.index()]["settings"]["index"]["seq_no"]["index_options"];
        assert_eq!(made == "doc_values_only", knows && !embedded, "{settings}");
    })
    .await;
}
