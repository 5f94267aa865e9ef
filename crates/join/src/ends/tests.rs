use super::*;
use crate::holders::Holders;
use proptest::prelude::*;
use weir_schemas::metadata::{Bound, BoundSource};

fn address(number: u8) -> Address {
    if number < 2 { format!("10.0.0.{number}") } else { format!("fd00::{number}") }.parse().unwrap()
}

fn span(from: i64, length: i64) -> Span {
    let bound = |at| Bound { earliest: at, latest: at, source: BoundSource::Status };
    Span::between(bound(from), bound(from + length))
}

#[test]
fn blocks_grow_by_a_third_or_a_half() {
    let sizes: Vec<u32> = [1, 2, 3, 4, 5, 6, 7, 9, 13, 17].into_iter().map(|length| class(length).1).collect();
    assert_eq!(sizes, [1, 2, 3, 4, 6, 6, 8, 12, 16, 24]);
}

proptest! {
    #[test]
    fn one_long_list_holds_what_a_list_for_each_address_would(
        steps in prop::collection::vec((any::<bool>(), 0u8..4, 0i64..20, 1i64..20, 0u32..3), 1..200)
    ) {
        let mut ends = Ends::default();
        let mut lists: Vec<Holders<AtNode>> = (0..4).map(|_| Holders::default()).collect();
        for (enter, number, from, length, identity) in steps {
            let (span, who) = (span(from, length), AtNode { identity, node: 7 });
            let list = &mut lists[usize::from(number)];
            if enter {
                ends.insert(address(number), span, who);
                list.insert(span, who);
            } else {
                ends.remove(address(number), span, who);
                list.remove(span, &who);
            }
            for (number, list) in (0u8..).zip(&lists) {
                let place = ends.place(address(number));
                prop_assert_eq!(place.is_none(), list.is_empty(), "no entry is left without a holder");
                let Some(place) = place else { continue };
                let view = ends.at(place);
                prop_assert_eq!(view.nested, list.view().nested);
                let pairs = view.list.iter().zip(list.view().list);
                prop_assert!(pairs.clone().all(|(a, b)| a.span == b.span && a.who == b.who));
                prop_assert_eq!(pairs.count(), list.view().list.len());
            }
        }
    }
}

#[test]
fn blocks_that_are_left_are_used_again() {
    let mut ends = Ends::default();
    for round in 0..100 {
        for length in 1..20 {
            ends.insert(address(round), span(length, 1), AtNode::default());
        }
        for length in 1..20 {
            ends.remove(address(round), span(length, 1), AtNode::default());
        }
    }
    assert!(ends.holders.len() < 100, "{}", ends.holders.len());
}

#[test]
fn a_services_address_has_a_place_while_it_is_served() {
    let mut ends = Ends::default();
    ends.serve(address(0), true);
    ends.serve(address(0), true);
    ends.insert(address(0), span(1, 1), AtNode::default());
    ends.remove(address(0), span(1, 1), AtNode::default());
    ends.serve(address(0), false);
    assert!(ends.place(address(0)).is_some_and(|place| ends.is_service(place)));
    ends.serve(address(0), false);
    assert_eq!(ends.place(address(0)), None);
}
