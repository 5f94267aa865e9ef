use super::*;

#[test]
fn a_probe_proves_only_once_every_watch_has_passed_it() {
    let mut freshness: Freshness<2> = Freshness::new(0);
    freshness.reached(0, 10, 1);
    freshness.reached(1, 10, 1);
    freshness.probed(100, [10, 12], 110);
    assert_eq!(freshness.proven(111, 1_000, None), None, "the second watch is behind");
    freshness.reached(1, 12, 120);
    assert_eq!(freshness.proven(121, 1_000, None), Some((100, Proof::Probed)));
    assert_eq!(freshness.proven(122, 1_000, None), None, "once");
}

#[test]
fn a_later_probe_supersedes_earlier_ones() {
    let mut freshness: Freshness<1> = Freshness::new(0);
    for started in [100, 200, 300] {
        freshness.probed(started, [u64::try_from(started).unwrap()], started);
    }
    freshness.reached(0, 250, 310);
    assert_eq!(freshness.proven(311, 1_000, None), Some((200, Proof::Probed)));
    freshness.reached(0, 300, 312);
    assert_eq!(freshness.proven(313, 1_000, None), Some((300, Proof::Probed)));
}

#[test]
fn a_watch_that_has_told_nothing_proves_nothing() {
    let mut freshness: Freshness<2> = Freshness::new(0);
    freshness.reached(0, 99, 1);
    freshness.probed(100, [1, 0], 101);
    assert_eq!(freshness.proven(1_000_000, 10, None), None);
}

#[test]
fn without_probes_it_is_assumed_behind_the_most_silent_watch() {
    let mut freshness: Freshness<2> = Freshness::new(0);
    freshness.reached(0, 1, 40_000);
    freshness.reached(1, 1, 35_000);
    assert_eq!(freshness.proven(29_000, 10_000, None), None, "probes may still be answered");
    assert_eq!(freshness.proven(41_000, 10_000, None), Some((25_000, Proof::Assumed)));
    freshness.probed(42_000, [9, 9], 42_001);
    assert_eq!(
        freshness.proven(43_000, 10_000, None),
        None,
        "an answer that the watches have not reached is no assumption"
    );
}

#[test]
fn what_is_held_is_not_assumed_either() {
    let mut freshness: Freshness<1> = Freshness::new(0);
    freshness.reached(0, 9, 40_000);
    let held = Some(Held { kind: 0, version: 9, arrival: 36_000 });
    assert_eq!(freshness.proven(41_000, 10_000, held), Some((26_000, Proof::Assumed)));
    assert_eq!(freshness.proven(41_000, 10_000, None), Some((30_000, Proof::Assumed)));
}
