use super::*;
use proptest::prelude::*;

fn addresses(numbers: &[u8]) -> Vec<Address> {
    numbers.iter().map(|n| format!("10.0.0.{n}").parse().unwrap()).collect()
}

#[test]
fn a_list_of_two_takes_less_than_a_cache_line() {
    assert!(size_of::<List>() <= 40);
}

proptest! {
    /// Lists are taken in, shared and released as revisions come and go; each stays what it was while anyone uses it, and
    /// what nobody uses makes room.
    #[test]
    fn a_list_stays_while_it_is_used(steps in prop::collection::vec((0u8..3, prop::collection::vec(0u8..9, 0..5)), 1..200)) {
        let mut lists = AddressLists::default();
        let mut used: Vec<(ListNumber, Vec<Address>)> = Vec::new();
        let mut most = 0;
        for (what, numbers) in steps {
            let some = numbers.first().map_or(0, |n| usize::from(*n) % used.len().max(1));
            match (what, used.get(some).cloned()) {
                (1, Some((number, list))) => used.push((lists.share(number), list)),
                (2, Some((number, _))) => {
                    used.swap_remove(some);
                    lists.release(number);
                }
                _ => {
                    let list = addresses(&numbers);
                    used.push((lists.insert(&list), list));
                }
            }
            for (number, list) in &used {
                prop_assert_eq!(lists.get(*number), list.as_slice());
            }
            most = most.max(used.len());
            prop_assert!(lists.lists.len() <= most);
        }
        used.into_iter().for_each(|(number, _)| lists.release(number));
        prop_assert!(lists.long.is_empty() && lists.free.len() == lists.lists.len());
        prop_assert_eq!(lists.get(NONE), &[] as &[Address]);
    }
}
