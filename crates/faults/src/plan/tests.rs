use super::*;
use proptest::prelude::*;

fn run(plan: &Plan, request: Request<'_>, exchanges: u64) -> Vec<Option<Action>> {
    let mut strikes = vec![Strikes::default(); plan.rules.len()];
    (0..exchanges).map(|exchange| plan.decide(&mut strikes, &request, 3, exchange)).collect()
}

#[test]
fn the_same_seed_makes_the_same_faults_and_another_seed_others() {
    let plan = |seed| Plan::new(seed).with(Rule::new(Fault::Cut { within: 1000 }).share(0.5));
    let faults = |seed| run(&plan(seed), Request::Connection, 200);
    assert_eq!(faults(1), faults(1));
    assert_ne!(faults(1), faults(2));
}

#[test]
fn a_share_is_kept_about() {
    for share in [0.0, 0.1, 0.5, 1.0] {
        let plan = Plan::new(9).with(Rule::new(Fault::Blackhole).share(share));
        let struck = run(&plan, Request::Connection, 10_000).iter().flatten().count();
        let struck = f64::from(u32::try_from(struck).unwrap()) / 10_000.0;
        assert!((struck - share).abs() < 0.02, "{struck} of {share}");
    }
}

#[test]
fn rules_spare_end_and_choose() {
    let plan = Plan::new(1)
        .with(Rule::new(Fault::Reset { within: 0 }).apis(&[ApiKey::EndTxn]).skip(2).at_most(3))
        .with(Rule::new(Fault::Status(503)).paths(&["/_bulk"]).at_most(1));
    let end_txn = run(&plan, Request::Kafka(ApiKey::EndTxn as i16), 8);
    let reset = Some(Action::Reset);
    assert_eq!(end_txn, [None, None, reset, reset, reset, None, None, None]);
    assert_eq!(run(&plan, Request::Kafka(ApiKey::Fetch as i16), 2), [None, None]);
    assert_eq!(run(&plan, Request::Http("/x/_bulk"), 2), [Some(Action::Status(503)), None]);
    assert_eq!(run(&plan, Request::Http("/_search"), 1), [None]);
    assert_eq!(run(&plan, Request::Connection, 1), [None]);
}

proptest! {
    #[test]
    fn drawn_numbers_keep_within_their_bounds(within in any::<u64>(), drawn in any::<u64>(), millis in 0_u64..1 << 40) {
        if let Action::CutAfter(bytes) = action(Fault::Cut { within }, drawn) {
            prop_assert!(bytes <= within);
        }
        match action(Fault::Reset { within }, drawn) {
            Action::ResetAfter(bytes) => prop_assert!((1..=within).contains(&bytes)),
            other => prop_assert_eq!((other, within), (Action::Reset, 0)),
        }
        let at_most = Duration::from_millis(millis);
        if let Action::Delay(delay) = action(Fault::Delay { at_most }, drawn) {
            prop_assert!(delay <= at_most);
        }
    }
}
