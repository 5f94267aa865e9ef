//! Consumer groups.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/clients.rs"]
mod support;

use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::*;

fn member(address: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut config = config(
        address,
        &[
            ("group.id", "g"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "200"),
        ],
    );
    for (key, value) in more {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&["t"]).unwrap();
    consumer
}

fn assigned(consumer: &BaseConsumer) -> BTreeSet<i32> {
    consumer.assignment().unwrap().elements().iter().map(|element| element.partition()).collect()
}

/// Polls the members until their assignments satisfy `done`.
fn poll_until(members: &[&BaseConsumer], what: &str, done: impl Fn(&[BTreeSet<i32>]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for member in members {
            if let Some(Err(error)) = member.poll(Duration::from_millis(20)) {
                panic!("{error}");
            }
        }
        let assignments: Vec<_> = members.iter().map(|member| assigned(member)).collect();
        if done(&assignments) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {assignments:?}");
    }
}

fn all() -> BTreeSet<i32> {
    (0..4).collect()
}

fn shared(assignments: &[BTreeSet<i32>]) -> bool {
    let union: BTreeSet<i32> = assignments.iter().flatten().copied().collect();
    let count: usize = assignments.iter().map(BTreeSet::len).sum();
    union == all() && count == 4 && assignments.iter().all(|one| !one.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_partitions_and_take_over_those_of_who_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 4, &[]).await;
    tokio::task::spawn_blocking(move || {
        for strategy in ["range", "cooperative-sticky"] {
            let group = format!("g-{strategy}");
            let settings = [("partition.assignment.strategy", strategy), ("group.id", group.as_str())];
            let one = member(&address, &settings);
            poll_until(&[&one], "alone", |found| found[0] == all());
            let two = member(&address, &settings);
            poll_until(&[&one, &two], "shared", shared);
            drop(one);
            poll_until(&[&two], "alone again", |found| found[0] == all());
        }
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_comes_back_without_a_rebalance() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 4, &[]).await;
    let rebalances = |broker: &weir_embedded_broker::Broker| {
        broker.metrics().iter().find(|(name, _)| *name == "rebalances").unwrap().1
    };
    let client = address.clone();
    let (one, two, kept) = tokio::task::spawn_blocking(move || {
        let one = member(&client, &[("group.instance.id", "i1")]);
        let two = member(&client, &[("group.instance.id", "i2")]);
        poll_until(&[&one, &two], "shared", shared);
        let kept = assigned(&two);
        (one, two, kept)
    })
    .await
    .unwrap();
    let before = rebalances(&broker);
    tokio::task::spawn_blocking(move || {
        // A static member that closes does not leave.
        drop(two);
        let two = member(&address, &[("group.instance.id", "i2")]);
        poll_until(&[&one, &two], "back", |found| found[1] == kept && shared(found));
    })
    .await
    .unwrap();
    assert_eq!(rebalances(&broker), before);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_loses_its_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 4, &[]).await;
    tokio::task::spawn_blocking(move || {
        let short = [("session.timeout.ms", "1000"), ("group.instance.id", "i1")];
        let one = member(&address, &short);
        poll_until(&[&one], "alone", |found| found[0] == all());
        let two = member(&address, &[("session.timeout.ms", "1000"), ("group.instance.id", "i2")]);
        poll_until(&[&one, &two], "shared", shared);
        drop(one);
        poll_until(&[&two], "taken over", |found| found[0] == all());
    })
    .await
    .unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let broker = start(folder.path()).await;
    let address = broker.address().to_string();
    create_topic(&address, "t", 4, &[]).await;
    tokio::task::spawn_blocking(move || {
        let one = member(&address, &[("group.instance.id", "i1"), ("client.id", "c1")]);
        poll_until(&[&one], "alone", |found| found[0] == all());
        let groups = one.fetch_group_list(None, PATIENCE).unwrap();
        let group = groups.groups().iter().find(|group| group.name() == "g").unwrap();
        assert_eq!(group.state(), "Stable");
        assert_eq!(group.protocol_type(), "consumer");
        assert_eq!(group.members().len(), 1);
        assert_eq!(group.members()[0].client_id(), "c1");
    })
    .await
    .unwrap();
    broker.shutdown().await;
}
