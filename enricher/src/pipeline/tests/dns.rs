//! DNS from raw batches to its topic.

use super::*;
use crate::fixtures::{asking, question};
use crate::replay::{Replay, Request};
use weir_schemas::dns::Dns;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_become_records_and_name_what_was_talked_to() {
    let world = World::new(2, 2).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    world.raw(0, &asking("node-a", 0, 100_000, vec![sample(1)], vec![question("db.shop"); 3])).await;
    for (partition, node) in [(0, "node-a"), (1, "node-b")] {
        world.raw(partition, &batch(node, 1, 120_000, vec![])).await;
    }
    let running = world.start("one");
    let done = |world: &World| !world.read::<Dns>(topics::DNS).is_empty() && world.enriched().len() >= 4;
    world.until("a DNS record and four levels", done).await;
    running.stop().await.unwrap();
    let records = world.read::<Dns>(topics::DNS);
    assert_eq!(replayed(&world).await, records);
    assert_eq!((records.len(), records[0].count, records[0].answers.as_slice()), (1, 3, &["10.0.0.2".to_owned()][..]));
    assert_eq!((records[0].window, records[0].client.workload.as_deref()), (100_000, Some("web")));
    assert!(world.enriched().iter().all(|record| record.responder.domains == ["db.shop"]));
    let metric = |name| world.metrics.value(name, &[]);
    assert_eq!(metric("weir_enricher_dns_samples_total"), Some(3.0));
    assert_eq!(metric("weir_enricher_dns_records_total"), Some(1.0));
}

/// The DNS records of a replay of the first window.
async fn replayed(world: &World) -> Vec<Dns> {
    let (cluster, mmdb) = (CLUSTER.to_owned(), Vec::new());
    let request = Request {
        cluster,
        from: 100_000,
        to: 100_000,
        open: true,
        before_history: false,
        mmdb,
        as_far_as_known: false,
        level: None,
    };
    let mut replay = Replay::prepare(&request, &world.log, &Metrics::new()).await.unwrap();
    let mut records = Vec::new();
    while let Some(more) = replay.next().await.unwrap() {
        records.extend(more.dns);
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_whose_question_is_dropped_is_nowhere() {
    let world = World::bare(1, 1).await;
    let rules = ["drop: dns.question == \"secret.shop\"", "drop: dst.port == 53 and not dns"];
    let filters = rules.iter().map(|rule| weir_filter::parse_rule(rule).unwrap()).collect();
    let record = Settings::from(&weir_flow::RecordSettings { filters, ..settings(1, 1) });
    world.put(topics::SETTINGS, 0, "local/0", &record).await;
    for message in [a_pod("web-1", "10.0.0.1", "web", "node-a"), heartbeat(FOR_EVER)] {
        world.metadata(&message).await;
    }
    let agent = Object::Agent(Agent { node: "node-a".to_owned(), ..Agent::default() });
    world.metadata(&revision("node-a", "", "node-a", agent)).await;
    let asked = vec![question("secret.shop"), question("db.shop")];
    world.raw(0, &asking("node-a", 0, 100_000, vec![sample(1)], asked)).await;
    world.raw(0, &batch("node-a", 1, 120_000, vec![])).await;
    let running = world.start("one");
    let done = |world: &World| !world.read::<Dns>(topics::DNS).is_empty() && world.enriched().len() >= 4;
    world.until("a DNS record and four levels", done).await;
    running.stop().await.unwrap();
    let asked: Vec<String> = world.read::<Dns>(topics::DNS).into_iter().map(|record| record.question).collect();
    assert_eq!(asked, ["db.shop"]);
    assert!(world.enriched().iter().all(|record| record.responder.domains == ["db.shop"]));
    let dropped = [("outcome", "dropped")];
    assert_eq!(world.metrics.value("weir_enricher_dns_samples_filtered_total", &dropped), Some(1.0));
    let (mut taken, mut lost, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for line in world.read::<Ledger>(topics::LEDGER) {
        match line {
            Ledger::Received(line) if line.generation == 100_000 => {
                taken.push((line.node, line.questions.asked, line.questions_counted));
                lost.extend(line.questions_lost.into_iter().map(|loss| (loss.reason, loss.lost.asked)));
            }
            Ledger::Questions(line) => stored.push((line.generation, line.records, line.stored, line.coarsened)),
            Ledger::Received(_) | Ledger::Stored(_) => {}
        }
    }
    assert_eq!(taken, [("node-a".to_owned(), 1, 1)]);
    assert_eq!(lost, [("filtered".to_owned(), 1)]);
    assert_eq!(stored, [(100_000, 1, 1, 0)]);
}
