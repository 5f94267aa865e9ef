use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn latest(number: u32) -> Latest {
    Latest { since: Since::of(i64::from(number)), who: AtNode { identity: number, node: number ^ 1 } }
}

fn check(index: &Index<u64>, model: &HashMap<Key, u32>, keys: impl Iterator<Item = Key>) {
    assert_eq!(index.length, model.len());
    for key in keys {
        let found = index.find(index.home(key), key);
        let expected = model.get(&key).map(|number| (latest(*number), *number, u64::from(*number) << 40));
        let rest = |found: Found| (found.latest, found.number, *index.rest(found.slot).unwrap());
        assert_eq!(found.map(rest), expected, "{key:?}");
    }
}

proptest! {
    #[test]
    fn it_holds_what_a_map_would(
        steps in prop::collection::vec((0u8..3, (0u64..8, 0u64..8), 0u32..1_000_000), 1..400)
    ) {
        let (mut index, mut model) = (Index::<u64>::default(), HashMap::new());
        for (what, key, number) in steps {
            let (latest, rest) = (latest(number), u64::from(number) << 40);
            match (what, index.find(index.home(key), key)) {
                (0, Some(found)) => {
                    index.remove(found.slot);
                    model.remove(&key);
                }
                (0, None) => {}
                (_, Some(found)) => {
                    index.set(found.slot, latest, number, rest);
                    model.insert(key, number);
                }
                (_, None) => {
                    index.insert(key, latest, number, rest);
                    model.insert(key, number);
                }
            }
            check(&index, &model, (0..8).flat_map(|a| (0..8).map(move |b| (a, b))));
        }
    }
}

/// Whatever the seed is, and however addresses follow each other.
#[test]
fn most_keys_stand_in_the_line_that_their_hash_names() {
    let ways: [fn(u64) -> Key; 3] = [|n| (0, 0xffff_0a40_0000 + n), |n| (0xfd00 << 48 | n, 1), |n| (n % 100, n << 8)];
    for key in ways.into_iter().cycle().take(12) {
        let mut index = Index::<()>::default();
        for (number, n) in (0..20_000).zip(0..) {
            index.insert(key(n), latest(number), number, ());
        }
        let is_at_home = |n: &u64| {
            let home = index.home(key(*n));
            index.find(home, key(*n)).unwrap().slot.0 / 2 == home.0
        };
        assert!((0..20_000).filter(is_at_home).count() > 14_800);
        assert!(index.lines.len() * 2 < 20_000 * 8 / 5, "and few places are vacant");
    }
}

#[test]
fn half_a_cache_line_is_an_entry() {
    assert_eq!((size_of::<Entry>(), size_of::<Line>()), (32, 64));
}

#[test]
fn a_key_of_zeros_is_none_of_the_vacant_places() {
    let mut index = Index::<()>::default();
    index.insert((7, 7), latest(1), 1, ());
    assert_eq!(index.find(index.home((0, 0)), (0, 0)), None);
    index.insert((0, 0), latest(2), 2, ());
    assert_eq!(index.find(index.home((0, 0)), (0, 0)).map(|found| found.number), Some(2));
}
