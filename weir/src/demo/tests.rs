use super::*;
use std::collections::BTreeSet;
use weir_schemas::metadata::Object;

fn run(seed: u64, ticks: i64) -> (Vec<Metadata>, Vec<RawBatch>) {
    let mut demo = Demo::new(seed, 1_700_000_000_000, 1_000);
    let (mut metadata, mut batches) = (demo.initial_metadata(), Vec::new());
    for n in 0..ticks {
        let tick = demo.tick(1_700_000_000_000 + n * 1_000);
        metadata.extend(tick.metadata);
        batches.extend(tick.batches);
    }
    (metadata, batches)
}

#[test]
fn the_same_seed_gives_the_same_cluster_and_another_seed_another() {
    assert_eq!(run(7, 130), run(7, 130));
    assert_ne!(run(7, 3).1, run(8, 3).1);
}

#[test]
fn a_rollout_reuses_an_address_for_another_workload() {
    let (metadata, _) = run(1, 70);
    let mut holders = std::collections::BTreeMap::<_, BTreeSet<String>>::new();
    for message in &metadata {
        if let Metadata::Revision(r) = message
            && let Object::Pod(pod) = &r.object
        {
            holders.entry(pod.addresses[0]).or_default().insert(pod.workload.clone());
        }
    }
    assert!(holders.values().any(|workloads| workloads.len() > 1));
}

#[test]
fn every_closed_revision_was_open_before_with_the_same_start() {
    let (metadata, _) = run(1, 200);
    let revisions: Vec<_> = metadata
        .iter()
        .filter_map(|m| match m {
            Metadata::Revision(r) => Some(r),
            Metadata::Heartbeat(_) => None,
        })
        .collect();
    for closed in revisions.iter().filter(|r| r.valid_to.is_some()) {
        let open = revisions.iter().find(|r| r.uid == closed.uid && r.valid_to.is_none());
        assert_eq!(open.map(|o| o.valid_from), Some(closed.valid_from), "{}", closed.name);
    }
}

#[test]
fn samples_lie_in_their_tick_and_account_for_everything() {
    let (_, batches) = run(3, 130);
    let mut denied = 0;
    for batch in &batches {
        let sum: u64 = batch.samples.iter().map(|s| s.bytes).sum();
        assert!(batch.published.bytes >= sum);
        assert_eq!(batch.seen, batch.published);
        for s in &batch.samples {
            assert!(s.first_seen >= batch.tick && s.last_seen < batch.tick + batch.tick_length);
            denied += s.drops.len();
        }
    }
    assert!(denied > 0, "the scan is denied");
}

#[test]
fn pods_ask_for_the_names_of_what_they_talk_to() {
    let (_, batches) = run(3, 130);
    let questions: Vec<_> = batches.iter().flat_map(|batch| &batch.dns).collect();
    for name in ["cart.shop.svc.cluster.local", "api.payments.example", "files.dropzone.example"] {
        let asked: Vec<_> = questions.iter().filter(|q| q.question == name && q.question_type == 1).collect();
        assert!(asked.iter().all(|q| q.answers.len() == 1) && !asked.is_empty(), "{name}");
    }
    assert!(questions.iter().any(|q| q.response_code == Some(3)), "some name does not exist");
}
