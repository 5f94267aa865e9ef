use super::*;
use proptest::prelude::*;

/// Of initiator, responder and port.
fn record(initiator: u8, responder: u8, port: u16, weight: u64) -> Member {
    let (from, to, port) = (u128::from(initiator), u128::from(responder), u128::from(port));
    let pair = from << 64 | to << 32;
    Member { initiator: from << 64, responder: 1 << 120 | to << 32 | port, pair, is_pair: false, weight }
}

fn ordinary() -> Vec<Member> {
    (0..200_u8).map(|n| record(n % 20, 100 + n / 40, 80, 1)).collect()
}

/// One that scrapes everybody, more than the scan scans.
#[test]
fn a_scan_goes_before_what_is_answered() {
    let scan = (0..60_u8).map(|n| record(99, 100 + n, 22, UNANSWERED));
    let scraped = (0..200_u8).map(|n| record(98, n, 9_090, 1));
    let members: Vec<Member> = ordinary().into_iter().chain(scraped).chain(scan).collect();
    let found = noisiest(&members, &Coarse::default(), 20);
    assert_eq!((found.groups, found.freed), (vec![(99 << 64, Shape::Initiator)], 59));
}

#[test]
fn a_scan_of_one_hosts_ports_keeps_the_host() {
    let scan = (0..60_u16).map(|port| record(99, 100, port, UNANSWERED));
    let members: Vec<Member> = ordinary().into_iter().chain(scan).collect();
    let found = noisiest(&members, &Coarse::default(), 20);
    assert_eq!((found.groups, found.freed), (vec![(99 << 64, Shape::Pair)], 59));
    let coarse = Coarse::from_iter([(99 << 64, Shape::Pair)]);
    assert_eq!(noisiest(&members, &coarse, 20).groups, [(99 << 64, Shape::Initiator)], "the next step");
}

#[test]
fn a_flood_from_everywhere_keeps_the_responder() {
    let flood = (0..90_u8).map(|n| record(100 + n, 77, 443, UNANSWERED));
    let members: Vec<Member> = ordinary().into_iter().chain(flood).collect();
    let found = noisiest(&members, &Coarse::default(), 20);
    assert_eq!(found.groups, [(1 << 120 | 77 << 32 | 443, Shape::Responder)]);
}

#[test]
fn where_nothing_is_noisy_nothing_is_found() {
    let members: Vec<Member> = (0..100_u8).map(|n| record(n, n, 80, 1)).collect();
    let found = noisiest(&members, &Coarse::default(), 20);
    assert_eq!((found.groups.len(), found.freed), (0, 0));
}

proptest! {
    #[test]
    fn the_order_of_the_records_does_not_matter(
        list in prop::collection::vec((0..6_u8, 0..6_u8, 0..4_u16, prop_oneof![Just(1), Just(UNANSWERED)]), 0..80),
        turn in 0..80_usize,
        goal in 1..40_usize,
    ) {
        let mut members: Vec<Member> = list.into_iter().map(|(i, r, p, w)| record(i, r, p, w)).collect();
        let found = noisiest(&members, &Coarse::default(), goal);
        let turn = turn.min(members.len());
        members.rotate_left(turn);
        members.reverse();
        let again = noisiest(&members, &Coarse::default(), goal);
        prop_assert_eq!(found.groups, again.groups);
        prop_assert_eq!(found.freed, again.freed);
    }
}
