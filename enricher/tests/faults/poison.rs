//! Messages that are no batches, among batches: every one becomes a dead letter with its origin and its bytes, and what is
//! beside them is counted exactly.

use crate::world::{World, now, number};
use crate::{ALONE, USUAL};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::time::Duration;
use weir_schemas::dead_letter::DeadLetter;
use weir_schemas::metadata::{Heartbeat, Metadata, Proof};
use weir_schemas::raw::RawBatch;
use weir_schemas::{decode, encode, topics};

/// How much of a value a dead letter keeps, bytes.
const KEPT: usize = 512 << 10;

/// Bytes of a message that is sent as some hundred, and can be unpacked.
const LARGE: usize = 10 << 20;

/// The same, of one that takes more memory than a client may.
const BOMB: usize = 120 << 20;

/// The most memory that a process may have, kB: some 70 MB without such messages, a fetch of each stage and a batch unpacked for
/// the member and for the probe, 32 MiB each, and what is copied of one.
const BOUND: u64 = 400_000;

/// Something that is no batch: bytes without meaning, a batch that is cut, one that claims more samples than there can be,
/// one of a version that nobody knows, another topic's message, and things that are large.
fn poison(kind: u64, batch: &RawBatch, random: &mut SmallRng) -> Vec<u8> {
    let valid = encode(batch).unwrap();
    let header = valid[..10].to_vec();
    match kind % 8 {
        0 => (0..random.random_range(0..4_000)).map(|_| random.random()).collect(),
        1 => valid[..random.random_range(0..valid.len())].to_vec(),
        2 => [header, vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]].concat(),
        3 => [vec![0xc3, 0x01], random.random::<[u8; 8]>().to_vec(), valid[10..].to_vec()].concat(),
        4 => encode(&Metadata::Heartbeat(Heartbeat {
            cluster: batch.cluster.clone(),
            complete_to: now(),
            proof: Proof::Probed,
            cluster_known: true,
        }))
        .unwrap(),
        // A value that a compressor makes nothing of.
        5 => vec![0; 900 << 10],
        // The magic of a zstd frame, and a frame header that promises 2^40 bytes.
        6 => vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0],
        _ => [valid, vec![0; random.random_range(1..100)]].concat(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_becomes_dead_letters_and_harms_nobody() {
    let _alone = ALONE.lock().await;
    let mut world = World::taking("poison", 6, 60, 12 << 20).await;
    let mut enricher = world.start.enricher("one");
    let mut random = SmallRng::seed_from_u64(number("WEIR_TEST_SEED", 1));
    let mut sent: BTreeMap<(i32, i64), Vec<u8>> = BTreeMap::new();
    let batch = world.some_batch();
    for kind in 0..number("WEIR_TEST_FAULT_POISON", 1_000) {
        let (partition, value) = (random.random_range(0..4), poison(kind, &batch, &mut random));
        let place = world.publish_bytes(partition, value.clone()).await;
        assert!(sent.insert(place, value).is_none());
        if kind % 20 == 0 {
            world.run(Duration::from_millis(50)).await;
        }
    }
    let large = world.publish_bomb(0, LARGE).await;
    sent.insert(large, vec![0; LARGE]);
    // What packs to nothing and what does not pack at all, between good ones.
    let bombs = [world.publish_bomb(1, BOMB).await, world.publish_bomb(1, BOMB).await];
    let noise: Vec<u8> = (0..LARGE).map(|_| random.random()).collect();
    sent.insert(world.publish_large(2, noise.clone()).await, noise);
    world.until_newer(now(), USUAL).await;
    enricher.assert_running();
    let most = enricher.peak();
    world.expect_exact(USUAL).await;

    let letters = world.read_all(&topics::dead_letter(&topics::raw(&world.traffic.cluster))).await;
    let (mut found, mut without) = (BTreeMap::new(), 0);
    for letter in letters.iter().map(|bytes| decode::<DeadLetter>(bytes).unwrap()) {
        assert!(!letter.cause.is_empty() && letter.topic == topics::raw(&world.traffic.cluster), "{letter:?}");
        let place = (letter.partition, letter.offset);
        if bombs.contains(&place) {
            assert!(letter.value.is_none() && letter.cause.contains("unpacked"), "{letter:?}");
            assert!(found.insert(place, letter.cause).is_none(), "twice");
            continue;
        }
        let value = &sent[&place];
        assert_eq!(letter.length, u64::try_from(value.len()).unwrap());
        match &letter.value {
            Some(kept) => assert_eq!(*kept, value[..value.len().min(KEPT)], "{}", letter.cause),
            None => without += 1,
        }
        assert!(found.insert(place, letter.cause).is_none(), "twice");
    }
    let causes: std::collections::BTreeSet<String> =
        found.values().map(|cause| cause.chars().filter(|c| !c.is_ascii_hexdigit()).collect()).collect();
    eprintln!("fault poison: {} dead letters, at most {most} kB; {causes:?}", found.len());
    assert_eq!(found.len(), sent.len() + bombs.len(), "each has its dead letter");
    assert!(without * 10 <= found.len(), "{without} letters without their bytes");
    assert!(most < BOUND, "{most} kB");
}
