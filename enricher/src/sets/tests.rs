use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn a_bounded_set_keeps_the_smallest_and_says_that_there_are_more() {
    let mut set = BoundedSet::default();
    for member in (0..LIMIT + 2).rev() {
        set.insert(member);
    }
    set.insert(0);
    let (members, more) = set.into_parts();
    assert_eq!((members.len(), members.first(), more), (LIMIT, Some(&0), 1));
    let mut full = BoundedSet::default();
    for member in (0..LIMIT).chain(0..LIMIT) {
        full.insert(member);
        assert!(full.members.len() <= 2 * LIMIT, "what waits is bounded, too");
    }
    assert_eq!(full.into_parts().1, 0, "a member that is listed is not one more");
}

#[test]
fn what_two_partials_could_not_carry_may_be_the_same() {
    let mut union = Union::new(vec![1, 2, 3], 1);
    union.merge(Union::new(vec![2, 3, 4], 1));
    assert_eq!(union.clone().list(2, &[]), Listed { members: vec![1, 2], more: 2, at_least: true });
    union.merge(Union::new(vec![1, 2], 9));
    assert_eq!(union.list(2, &[]), Listed { members: vec![1, 2], more: 9, at_least: true });
}

#[test]
fn what_stands_elsewhere_is_neither_listed_nor_counted() {
    let union = Union::new(vec!["a", "b", "c", "d"], 0);
    assert_eq!(union.list(2, &["b"]), Listed { members: vec!["a", "c"], more: 1, at_least: false });
    let cut = Union::new(vec!["a", "b"], 3);
    assert_eq!(cut.list(9, &["b", "z"]), Listed { members: vec!["a"], more: 2, at_least: true });
}

fn union(parts: &[(Vec<u8>, u64)]) -> Option<Union<u8>> {
    parts.iter().map(|(members, more)| Union::new(members.clone(), *more)).reduce(|mut a, b| {
        a.merge(b);
        a
    })
}

proptest! {
    #[test]
    fn a_bounded_set_is_a_set(members in prop::collection::vec(0..90_u8, 0..300), cut in 0..300_usize) {
        let (mut one, mut other) = (BoundedSet::default(), BoundedSet::default());
        for (place, member) in members.iter().enumerate() {
            let set = if place < cut { &mut one } else { &mut other };
            set.insert(*member);
        }
        one.merge(other);
        let truth: BTreeSet<u8> = members.into_iter().collect();
        prop_assert_eq!(one.into_parts(), (truth.into_iter().collect::<Vec<_>>(), 0));
    }

    #[test]
    fn unions_are_the_same_in_any_grouping_and_count_exactly(
        parts in prop::collection::vec((prop::collection::vec(0..40_u8, 0..20), 0..3_u64), 1..6),
        cut in 0..6_usize,
        limit in 0..12_usize,
    ) {
        let cut = cut.min(parts.len());
        let whole = union(&parts).unwrap();
        let grouped = match (union(&parts[cut..]), union(&parts[..cut])) {
            (Some(mut last), Some(first)) => {
                last.merge(first);
                last
            }
            (one, other) => one.or(other).unwrap(),
        };
        prop_assert_eq!(&grouped, &whole);
        prop_assert_eq!(&Union::of_all(parts.iter().cloned()), &whole);
        let truth: BTreeSet<u8> = parts.iter().flat_map(|(members, _)| members.iter().copied()).collect();
        let listed = whole.list(limit, &[]);
        prop_assert_eq!(&listed.members, &truth.iter().copied().take(limit).collect::<Vec<_>>());
        let beyond = u64::try_from(truth.len() - listed.members.len()).unwrap();
        prop_assert_eq!(listed.at_least, parts.iter().any(|(_, more)| *more > 0));
        prop_assert!(listed.more == beyond || listed.at_least && listed.more > beyond);
    }
}
