use super::*;
use proptest::prelude::*;

const MOST: Allowance = Allowance { operations: 8_000, bulks: 4 };

/// A whole bulk in one request.
fn whole(congestion: &Congestion, operations: usize) -> Request {
    Request { sent: congestion.sent(), operations, of: operations }
}

/// An engine that takes so many operations at once; hands back how many requests of a thousand it refused.
fn against(congestion: &mut Congestion, takes: usize) -> usize {
    let mut refused = 0;
    for _ in 0..1_000 {
        let request = whole(congestion, congestion.allowance().operations);
        if request.operations > takes {
            refused += 1;
            congestion.busy(request);
        } else {
            congestion.took(request);
        }
    }
    refused
}

#[test]
fn what_was_learnt_of_an_engine_that_takes_little_holds_from_one_bulk_to_the_next() {
    let mut congestion = Congestion::new(MOST);
    let refused = against(&mut congestion, 500);
    assert!(congestion.allowance().operations <= 600, "{congestion:?}");
    assert!(refused < 500, "most requests are of a size that it takes: {refused} of 1000 were refused");
    assert_eq!(against(&mut congestion, usize::MAX), 0);
    assert_eq!(congestion.allowance(), MOST, "it recovers");
}

#[test]
fn it_halves_when_half_of_the_latest_answers_are_busy_and_grows_slowly() {
    let mut congestion = Congestion::new(MOST);
    let first = whole(&congestion, 8_000);
    for _ in 0..3 {
        congestion.busy(first);
        assert_eq!(congestion.allowance(), MOST);
    }
    congestion.busy(first);
    assert_eq!(congestion.allowance(), Allowance { operations: 4_000, bulks: 2 });
    // Others that were under way meanwhile say nothing of what is sent from then on.
    for _ in 0..10 {
        congestion.busy(first);
    }
    assert_eq!(congestion.allowance(), Allowance { operations: 4_000, bulks: 2 });
    congestion.took(whole(&congestion, 4_000));
    assert_eq!(congestion.allowance(), Allowance { operations: 4_500, bulks: 2 });
    congestion.took(whole(&congestion, 100));
    assert_eq!(congestion.allowance().operations, 4_500, "a small one tells nothing of larger ones");
    for _ in 0..6 {
        congestion.took(whole(&congestion, 100));
    }
    assert_eq!(congestion.allowance().bulks, 3);
}

#[test]
fn what_is_left_of_a_bulk_tells_nothing_of_whole_ones() {
    let mut congestion = Congestion::new(MOST);
    for _ in 0..100 {
        congestion.busy(Request { sent: congestion.sent(), operations: 10, of: 8_000 });
    }
    assert_eq!(congestion.allowance(), MOST);
}

#[test]
fn down_to_one_operation_in_one_bulk_and_no_further() {
    let mut congestion = Congestion::new(MOST);
    for _ in 0..100 {
        congestion.busy(whole(&congestion, congestion.allowance().operations));
    }
    assert_eq!(congestion.allowance(), Allowance { operations: 1, bulks: 1 });
    assert_eq!(against(&mut congestion, usize::MAX), 0);
    assert_eq!(congestion.allowance(), MOST);
}

/// Three of ten requests refused whatever their size: smaller ones would only be more.
#[test]
fn an_engine_that_refuses_by_chance_gets_no_small_bulks_and_several_at_once() {
    let most = Allowance { bulks: 8, ..MOST };
    let mut congestion = Congestion::new(most);
    let (mut state, mut operations, mut bulks) = (1_u64, 0, 0);
    for _ in 0..10_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let request = whole(&congestion, congestion.allowance().operations);
        operations += request.operations;
        bulks += usize::from(congestion.allowance().bulks);
        if (state >> 33) % 10 < 3 { congestion.busy(request) } else { congestion.took(request) }
    }
    assert!(operations / 10_000 > MOST.operations / 2, "{} on average", operations / 10_000);
    assert!(bulks / 10_000 >= 4, "{} on average", bulks / 10_000);
}

#[test]
fn a_request_too_large_for_the_engine_costs_no_concurrency() {
    let mut congestion = Congestion::new(MOST);
    congestion.too_large(whole(&congestion, 3_000));
    assert_eq!(congestion.allowance(), Allowance { operations: 1_500, bulks: 4 });
}

proptest! {
    #[test]
    fn it_stays_within_its_limits(answers in prop::collection::vec((0_u8..4, 0_usize..10_000, 0_usize..10_000), 0..500)) {
        let mut congestion = Congestion::new(MOST);
        let mut sent = congestion.sent();
        for (kind, operations, more) in answers {
            let request = Request { sent, operations, of: operations + more };
            match kind {
                0 => congestion.busy(request),
                1 => congestion.too_large(request),
                2 => congestion.took(request),
                _ => sent = congestion.sent(),
            }
            let allowed = congestion.allowance();
            prop_assert!((1..=MOST.operations).contains(&allowed.operations) && (1..=MOST.bulks).contains(&allowed.bulks));
        }
    }
}
