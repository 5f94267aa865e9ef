//! Messages that fit their schema and whose texts are as long as a message may be: each becomes a dead letter, and what is
//! beside them goes on.

use super::*;
use crate::fixtures::{asking, dropped, question};
use weir_schemas::raw::{DropClass, Loss, Totals};

/// Sends a message between two good ones: what they hold becomes records, the message a dead letter that fits a message.
async fn harms_nobody(name: &str, key: &str, value: Vec<u8>) {
    assert!(key.len() + value.len() < 1_040_000, "{name}: a broker takes it");
    let world = World::new(1, 1).await;
    world.metadata(&heartbeat(FOR_EVER)).await;
    let raw = topics::raw(CLUSTER);
    world.raw(0, &batch("node-a", 0, 100_000, vec![sample(100)])).await;
    world.send(&raw, 0, key, value.clone()).await;
    world.raw(0, &batch("node-a", 1, 101_000, vec![sample(50)])).await;
    world.raw(0, &batch("node-a", 2, 120_000, vec![])).await;
    let mut running = world.start("one");
    let written = |world: &World| !world.enriched().is_empty();
    tokio::select! {
        () = world.until(name, written) => {}
        ended = &mut running.task => panic!("{name} ended the enricher: {:#}", ended.unwrap().unwrap_err()),
    }
    running.stop().await.unwrap();
    let records = world.enriched();
    let bytes: u64 = records.iter().filter(|record| record.level == 2).map(|r| r.totals.forward_bytes).sum();
    assert_eq!(bytes, 150, "{name}: what is beside it");
    let letters: Vec<DeadLetter> = world.read(&topics::dead_letter(&raw));
    assert_eq!(letters.len(), 1, "{name}");
    let letter = &letters[0];
    assert_eq!((letter.offset, letter.length), (1, u64::try_from(value.len()).unwrap()), "{name}");
    assert!(!letter.cause.is_empty() && letter.cause.len() <= 1_024, "{name}: a cause of {} bytes", letter.cause.len());
    assert!(encode(letter).unwrap().len() < 900_000, "{name}: the letter fits a message");
}

fn a_batch() -> RawBatch {
    batch("node-a", 7, 100_000, vec![sample(7)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_names_of_a_batch_are_dead_letters() {
    let long = "x".repeat(530_000);
    let cluster = RawBatch { cluster: "x".repeat(550_000), ..a_batch() };
    let foreign = RawBatch { cluster: "other".to_owned(), ..a_batch() };
    let node = RawBatch { node: long.clone(), ..a_batch() };
    let boot = RawBatch { boot: long.clone(), ..a_batch() };
    let loss = |n: usize| Loss { reason: format!("{n:0500}"), lost: Totals::default() };
    let lost = RawBatch { lost: (0..2_000).map(loss).collect(), ..a_batch() };
    let all = [("cluster", cluster), ("another cluster", foreign), ("node", node), ("boot", boot), ("losses", lost)];
    for (name, batch) in all {
        harms_nobody(name, "node-a", encode(&batch).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_texts_of_samples_are_dead_letters() {
    let long = "x".repeat(950_000);
    let mut drop = dropped(sample(7), DropClass::Policy, 1);
    drop.drops[0].reason.clone_from(&long);
    let text = || Some(long.as_str().into());
    let of = |sample| batch("node-a", 7, 100_000, vec![sample]);
    let all = [
        ("interface", of(crate::stage1::Sample { interface: long.as_str().into(), ..sample(7) })),
        ("pod", of(crate::stage1::Sample { pod_uid: text(), ..sample(7) })),
        ("container", of(crate::stage1::Sample { container: text(), ..sample(7) })),
        ("process", of(crate::stage1::Sample { process: text(), ..sample(7) })),
        ("drop", of(drop)),
        ("question", asking("node-a", 7, 100_000, vec![], vec![question(&long)])),
    ];
    for (name, batch) in all {
        harms_nobody(name, "node-a", encode(&batch).unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_key_with_a_long_value_is_a_dead_letter() {
    harms_nobody("key and value", &"k".repeat(519_000), vec![0; 520_000]).await;
}
